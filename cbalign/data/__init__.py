"""Data: sources of items, images, texts, and the batches that training reads."""
