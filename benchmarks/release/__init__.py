"""Commands that make the shipped checkpoints and pictures."""
