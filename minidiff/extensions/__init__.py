"""Ideas of the field on top of the twelve core files, one per file; none imports another.

Here: object slots; students of few calls (distillation, reflow, shortcut, arcflow and
distribution_matching). Watermarking, for example, would be one more file.
"""
