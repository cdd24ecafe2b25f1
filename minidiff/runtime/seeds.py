"""Randomness that can be repeated: a generator made from several numbers."""
import numpy as np
import torch


def generator(*numbers: int, device="cpu") -> torch.Generator:
    """A generator that depends on all the numbers, (seed, step) for example, and on nothing else.

    Raises ValueError unless each is at least 0.
    """
    if any(n < 0 for n in numbers):
        raise ValueError(f"Seeds must be whole numbers from 0 up, got {numbers}.")
    mixed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> 1))
