"""The evaluation of clips: segmentation, tracking, metrics, and the scoreboard made from them.

A new measurement of a clip goes into `metrics`, the part of SCORE made of it into `marks`; a
comparison of two sets into `distribution`; clips that try to fool the scoreboard into `baselines`.
`rows` names and orders the columns that are shown.
"""
