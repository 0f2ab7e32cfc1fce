"""What an experiment will cost, found out without reading a weight: size, memory, operations, steps, hours, disk."""
