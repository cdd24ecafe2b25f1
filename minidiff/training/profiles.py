"""How big things are: smoke (a test, seconds), cpu (two cores, minutes) and gpu; set only here."""
import os
from typing import NamedTuple

import torch

from minidiff.recipes import Recipe, get_recipe

FEW_STEPS = 1200                          # a network trained for fewer is unsure of its guesses


class Profile(NamedTuple):
    """A size of the demo.

    The recipe with its settings, how to sample its model, the minutes or the steps of the training,
    and how many clips are scored. short_sampling: what differs in the sampling after few steps.
    """
    name: str
    recipe: str
    settings: dict
    sampling: dict
    minutes: float | None
    steps: int | None
    clips: int
    short_sampling: dict = {}  # noqa: RUF012 (never changed)

    def get_recipe(self, steps: float = FEW_STEPS) -> Recipe:
        """The recipe with the profile's settings, for a training of so many steps.

        Its sampling is stored with the model.
        """
        few = self.short_sampling if steps < FEW_STEPS else {}
        return get_recipe(self.recipe, **self.settings)._replace(sampling=self.sampling | few)

    def clips_after(self, steps: float) -> int:
        """How many clips are scored; half as many where steps are slow, as sampling is, too."""
        return self.clips // 2 if self.short_sampling and steps < FEW_STEPS else self.clips


# A model trained for minutes errs less in smaller steps. After few steps: what was tried stands in
# benchmarks/README.md, "The demo"; the differences are about as large as their intervals.
CPU_SAMPLING = dict(steps=40, guidance=2.0, autoguidance=0.5)
CPU_SHORT_SAMPLING = dict(guidance=4.0, autoguidance=1.0, shift=1.5)
PROFILES = {p.name: p for p in (
    Profile("smoke", "tiny", {}, {}, None, 30, 32),
    Profile("cpu", "mmnist32", {"channels": [32, 64, 128], "attention": 1}, CPU_SAMPLING, 6.1, None,
            128, CPU_SHORT_SAMPLING),
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
