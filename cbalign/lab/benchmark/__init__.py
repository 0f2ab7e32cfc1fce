"""How fast a bundle is, how much memory it takes and what it finds, beside the PyTorch model it was made from."""
