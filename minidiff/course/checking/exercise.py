"""The public part of an exercise: its task, its hints and the inputs of its check.

The right answer and the known mistakes are in `answers`, so that the process that runs a student's
notebook for grading need not contain them.
"""
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """One call of a student's function in a check.

    description: the input in words, "4 clips, t = 0.3, float32".
    call: how the function is used, if not as `f(*args, **kwargs)`; its result is compared.
    raises: whether the right answer raises an error for this input.
    """
    description: str
    args: tuple = ()
    kwargs: dict = {}                                                # noqa: RUF012 (only read)
    call: Callable | None = None
    raises: bool = False


class Exercise(NamedTuple):
    """A task in a notebook: write the function `entry`.

    difficulty: 1 to 3. hints: three, each with more of the answer. cases: makes the calls, always
    the same. package_equivalents: dotted names of the package's functions that solve the
    exercise; calling one does not pass. gradients: whether the gradients of the function count,
    too; not of a whole loop, which no training differentiates through.
    """
    id: str
    entry: str
    title: str
    points: int
    minutes: int
    difficulty: int
    hints: tuple[str, str, str]
    cases: Callable[[], list[Case]]
    package_equivalents: tuple[str, ...] = ()
    gradients: bool = True


class Question(NamedTuple):
    """A choice: what a cell will show ("predict"), or which bug it shows ("bughunt")."""
    id: str
    kind: str
    text: str
    choices: tuple[str, ...]
    points: int = 0
    minutes: int = 1


def seeded_randn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers for a case: the same for the same seed, on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dtype_name(dtype: torch.dtype) -> str:
    """The dtype's name without "torch."."""
    return str(dtype).removeprefix("torch.")
