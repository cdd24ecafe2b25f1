"""Random numbers that can be repeated: every draw names its purpose, so no two streams coincide.

    noise = torch.randn(shape, generator=generator("noise", seed, step))
"""
import hashlib
from numbers import Integral

import torch

MAX_SEED = 2**63 - 1
FLOAT = dict(dtype=torch.float32, device="cpu")   # of draws that do not depend on torch's defaults


def generator(purpose: str, *numbers: int, device="cpu") -> torch.Generator:
    """A generator that depends on the purpose, on all the numbers and on how many there are.

    Two purposes give independent streams, whatever the numbers: data, times and noise of a training
    may share seed and step. Raises TypeError for a purpose that is no text, ValueError unless each
    number is whole and from 0 to 2^63 - 1.
    """
    if not isinstance(purpose, str):
        raise TypeError("A generator needs its purpose first, as in "
                        f"generator('noise', seed, step); got {purpose!r}.")
    numbers = tuple(check_seed(n) for n in numbers)
    mixed = hashlib.sha256(repr((purpose, numbers)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(mixed[:8], "little") >> 1)


def check_seed(seed: int) -> int:
    """The seed as an int. Raises ValueError unless it is a whole number from 0 to 2^63 - 1."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"A seed must be a whole number from 0 to {MAX_SEED} (2^63 - 1), "
                         f"got {seed!r}.")
    return int(seed)
