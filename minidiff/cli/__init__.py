"""The command line: `python -m minidiff`."""
