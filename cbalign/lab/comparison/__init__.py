"""What tells runs, checkpoints and bundles apart beyond their specs. Reads folders; never imports torch."""
