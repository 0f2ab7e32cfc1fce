"""Find, describe, compare and remove runs, from their directories alone."""
