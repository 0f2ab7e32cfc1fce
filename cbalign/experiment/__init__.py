"""What an experiment is: the typed sections of a spec, and how a file becomes one. No torch."""
