"""The training loop and its services; it uses tasks only through the interfaces in `cbalign.engine.task`."""
