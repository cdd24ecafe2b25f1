"""Ideas of the field on top of the twelve core files, one per file; none imports another.

Here: object slots. Watermarking, for example, would be one more file.
"""
