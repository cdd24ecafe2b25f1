"""The score of a model after a fixed time of training."""
