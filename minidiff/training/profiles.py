"""How big things are: smoke (a test, seconds), cpu (two cores, minutes) and gpu; set only here."""
import os
from typing import NamedTuple

import torch

from minidiff.recipes import Recipe, get_recipe


class Profile(NamedTuple):
    """Sizes of the demo: what is trained, for how long (minutes or steps), how it is sampled and
    how many clips are scored."""
    name: str
    recipe: str
    settings: dict
    sampling: dict
    minutes: float | None
    steps: int | None
    clips: int

    def get_recipe(self) -> Recipe:
        """The recipe with its settings; how to sample it travels with the model."""
        return get_recipe(self.recipe, **self.settings)._replace(sampling=self.sampling)


# A model trained for minutes errs less in smaller steps.
CPU_SAMPLING = dict(steps=40, guidance=2.0, autoguidance=0.5)
PROFILES = {p.name: p for p in (
    Profile("smoke", "tiny", {}, {}, None, 30, 32),
    Profile("cpu", "mmnist32", {"channels": [32, 64, 128], "attention": 1}, CPU_SAMPLING, 6.1, None, 128),
    Profile("gpu", "mmnist32", {"batch": 64}, {}, 1.0, None, 512),
)}


def get_profile(name: str | None = None) -> Profile:
    """The profile asked for, or the one in MINIDIFF_PROFILE, or gpu where there is one, else cpu.

    Raises ValueError that names the profiles there are.
    """
    usual = "gpu" if torch.cuda.is_available() else "cpu"
    name = name or os.environ.get("MINIDIFF_PROFILE") or usual
    if name not in PROFILES:
        raise ValueError(f"Unknown profile {name!r} (from --profile or MINIDIFF_PROFILE); "
                         f"choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]
