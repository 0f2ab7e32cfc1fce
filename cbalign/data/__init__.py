"""From files to batches: sources, decoding, text, augmentation, the loader."""
