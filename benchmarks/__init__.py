"""Commands that measure: `python -m benchmarks NAME`, or `python -m benchmarks.studies.NAME`."""
