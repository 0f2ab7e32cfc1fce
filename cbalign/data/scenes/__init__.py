"""scenes: drawn figures with captions, questions, statements and hypotheses that are true by construction.

Everything is a function of (seed, split, index): there are no files, any scene can be asked for, and the same scene
comes out on every machine. `graph` says what a scene holds, `drawing` draws it, `facts` says what can be known from the
drawing; `captions`, `questions`, `statements` and `hypotheses` say it in words, which `language` chooses.

A figure may stand in the shade: its shape, size and place are seen, its colour and material are not. So a picture
leaves something open, and what is open is known exactly.
"""
