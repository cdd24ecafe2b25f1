"""How good a model can be after a fixed time."""
