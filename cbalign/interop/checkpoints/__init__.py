"""Importing published checkpoints as runs: one module per format in `formats`, and what they share."""
