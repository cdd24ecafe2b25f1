"""Grading notebooks that were handed in."""
