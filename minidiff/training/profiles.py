"""How big things are: smoke (a test, seconds), cpu (two cores, minutes) and gpu; set only here."""
import os
from typing import NamedTuple

import torch

from minidiff.recipes import Recipe, get_recipe


class Profile(NamedTuple):
    """A size of the demo.

    The recipe with its settings, how to sample its model, the minutes or the steps of the training,
    and how many clips are scored.
    """
    name: str
    recipe: str
    settings: dict
    sampling: dict
    minutes: float | None
    steps: int | None
    clips: int

    def get_recipe(self) -> Recipe:
        """The recipe with the profile's settings; its sampling is stored with the model."""
        return get_recipe(self.recipe, **self.settings)._replace(sampling=self.sampling)


# A model trained for minutes errs less in smaller steps.
CPU_SAMPLING = dict(steps=40, guidance=2.0, autoguidance=0.5)
PROFILES = {p.name: p for p in (
    Profile("smoke", "tiny", {}, {}, None, 30, 32),
    Profile("cpu", "mmnist32", {"channels": [32, 64, 128], "attention": 1}, CPU_SAMPLING, 6.1, None,
            128),
    Profile("gpu", "mmnist32", {"batch": 64}, {}, 1.0, None, 512),
)}


def get_profile(name: str | None = None) -> Profile:
    """The profile of this name, or of MINIDIFF_PROFILE; else gpu if there is a GPU, else cpu.

    Raises ValueError that names the valid profiles.
    """
    usual = "gpu" if torch.cuda.is_available() else "cpu"
    name = name or os.environ.get("MINIDIFF_PROFILE") or usual
    if name not in PROFILES:
        raise ValueError(f"Unknown profile {name!r} (from --profile or MINIDIFF_PROFILE); "
                         f"choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]
