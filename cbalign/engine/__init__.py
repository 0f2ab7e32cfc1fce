"""The training loop and its services: it knows tasks only through `cbalign.engine.task.Task`."""
