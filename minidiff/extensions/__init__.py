"""Ideas of the field on top of the twelve, one per file; none knows of another."""
