"""Train one spec with many settings and seeds, reuse existing runs, and tabulate the results."""
