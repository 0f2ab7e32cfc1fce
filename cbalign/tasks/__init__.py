"""Tasks: each connects a model, its losses and its evaluation to the engine."""
