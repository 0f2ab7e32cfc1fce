"""Benchmark speed, memory and recall of a bundle, compared with its PyTorch model."""
