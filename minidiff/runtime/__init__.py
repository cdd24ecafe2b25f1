"""Basics that every room may import: files, seeds, precision, several processes, an optimiser."""
