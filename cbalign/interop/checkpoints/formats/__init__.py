"""The formats of published checkpoints; each module defines `FORMAT` and imports no torch."""
