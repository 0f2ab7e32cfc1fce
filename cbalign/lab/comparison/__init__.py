"""Compare runs, checkpoints and bundles beyond their specs. Reads files only, without torch."""
