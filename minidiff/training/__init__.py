"""A training run stored in a folder, and what it costs."""
