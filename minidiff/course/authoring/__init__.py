"""Building, checking and releasing the chapters.

A new exercise is an entry in `course/exercises`, one in `course/answers` and cells in `solutions/`.
"""
