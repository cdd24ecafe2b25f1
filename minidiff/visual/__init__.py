"""Figures, videos, widgets and the report."""
