"""One part of every kind for cbalign."""
