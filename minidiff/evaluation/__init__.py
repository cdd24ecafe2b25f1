"""The evaluation of clips: segmentation, tracking, metrics, and the scoreboard made from them.

A new metric goes into `metrics`; `rows` names and orders the columns that are shown.
"""
