"""cbalign: declarative vision-language alignment through a representation codebook."""

__version__ = "0.1.0"
