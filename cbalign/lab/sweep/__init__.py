"""One spec trained over many settings and seeds: which ones, what is there already, the rest, the table."""
