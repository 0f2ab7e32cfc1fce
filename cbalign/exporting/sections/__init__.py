"""Sections of the spec language; no torch."""
