"""The commands that measure: `python -m benchmarks NAME` beside peers, or a file each."""
