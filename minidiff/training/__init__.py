"""A training run stored in a folder, its log, its cost and the profiles of sizes."""
