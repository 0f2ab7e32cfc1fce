"""Estimate the cost of a training without loading weights: size, memory, operations, steps, hours and disk."""
