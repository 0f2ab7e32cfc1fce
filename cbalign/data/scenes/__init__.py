"""Scenes: drawn figures with captions, questions, statements and hypotheses that are correct by construction.

Everything is a function of (seed, split, index): there are no files, scenes can be read in any order, and are the same
on every machine. `graph` defines the content of a scene, `drawing` draws it, `facts` decides what is known from the
drawing; `captions`, `questions`, `statements` and `hypotheses` put it into words, chosen by `language`.

A figure can be in the shade: its shape, size and place are visible, its colour and material are not. So a picture
leaves some facts open, and it is known exactly which.
"""
