"""The public Python API. `import cbalign` offers all of it; import it from there."""
