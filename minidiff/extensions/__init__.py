"""Ideas of the field on top of the twelve core files, one per file; none imports another.

Here: object slots; students of few calls (distillation, distribution_matching, shortcut, arcflow).
Watermarking, for example, would be one more file.
"""
