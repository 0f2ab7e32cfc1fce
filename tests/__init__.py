"""Tests of cbalign; each folder mirrors one of its packages."""
