"""How fast, how much memory: alternating timings against peers."""
