"""Measurements and reproductions, each one command; their tables are under docs/results."""
