"""Tasks: each puts a model, its losses and its evaluation behind what the engine trains."""
