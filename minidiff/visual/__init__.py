"""Figures, the viewer of videos, widgets of the notebooks and the report."""
