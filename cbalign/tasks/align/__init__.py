"""Pretraining and retrieval: aligning images and texts."""
