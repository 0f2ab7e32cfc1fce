"""Searching a folder of images with a bundle: an index on disk, kept up to date, and what is found in it. No torch."""
