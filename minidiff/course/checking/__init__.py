"""What an exercise is, what a function does on it, and the verdict."""
