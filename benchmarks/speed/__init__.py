"""Speed and memory: timings in alternating turns with other libraries."""
