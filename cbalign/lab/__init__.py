"""Everything around one training: run folders, comparison, plans, sweeps and benchmarks."""
