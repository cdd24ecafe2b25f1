"""How big things are: smoke (a test, seconds), cpu (two cores, minutes) and gpu. All sizes are set here and nowhere else."""
import os
from typing import NamedTuple

import torch


class Profile(NamedTuple):
    """Sizes. demo: the recipe and its settings, its budget (minutes or steps), how many clips are scored."""
    name: str
    recipe: str
    settings: dict
    minutes: float | None
    steps: int | None
    clips: int


PROFILES = {p.name: p for p in (
    Profile("smoke", "tiny", {}, None, 30, 32),
    Profile("cpu", "mmnist32", {}, 5.0, None, 128),
    Profile("gpu", "mmnist32", {"batch": 64}, 1.0, None, 512),
)}


def profile(name: str | None = None) -> Profile:
    """The profile asked for; else the one in MINIDIFF_PROFILE; else gpu where there is a GPU, and cpu where there is none.

    Raises ValueError that names the profiles there are.
    """
    name = name or os.environ.get("MINIDIFF_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"Unknown profile {name!r} (from --profile or MINIDIFF_PROFILE); choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]
