"""Ideas of the field on top of the twelve core files, one per file; none imports another.

Here: object slots; students of few calls (distillation, reflow, shortcut, arcflow and
distribution_matching); pixels that are given (conditioning), editing without a training, control by
a hint, and low-rank adapters (lora). Watermarking, for example, would be one more file.
"""
