"""What ALBEF's published code computed, and whether cbalign computes the same: `python -m tests.reference FOLDER`."""
