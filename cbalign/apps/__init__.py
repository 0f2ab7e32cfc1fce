"""Applications of a trained model: search, server, report."""
