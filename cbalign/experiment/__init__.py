"""Experiments: the typed sections of a spec, and loading a spec from a file. Does not import torch."""
