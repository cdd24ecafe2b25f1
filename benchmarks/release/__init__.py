"""What makes the shipped checkpoints and pictures."""
