"""The ideas of a speedrun: each is a small change of the recipe of a class of equal time.

    recipe = variant_recipe("no attention", BUDGET_CLASSES["cpu-10min"])

An idea maps a recipe to a recipe, so it means the same in every class. Settings of
`minidiff_trainer` that no recipe has are changed by `with_training`, too.
"""
import hashlib
import json
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from minidiff import recipes
from minidiff.recipes import Recipe
from minidiff.training.profiles import get_profile

Variant = Callable[[Recipe], Recipe]


class BudgetClass(NamedTuple):
    """Seconds from a process's start, a SCORE to reach in them, and the device.

    profile: its recipe is the record's. cores: the number of CPU cores.
    """
    name: str
    seconds: float
    target: float
    profile: str
    device: str
    cores: int | None = None


BUDGET_CLASSES = {c.name: c for c in (BudgetClass("cpu-10min", 600, 0.8, "cpu", "cpu", 2),
                               BudgetClass("core-10min", 600, 0.8, "cpu", "cpu", 1),
                               BudgetClass("gpu-60s", 60, 0.9, "gpu", "cuda"))}


def with_model(**settings) -> Variant:
    """The idea that changes settings of the model."""
    return lambda recipe: recipe._replace(model=recipe.model | settings)


def with_net(**settings) -> Variant:
    """The idea that changes settings of the network."""
    return lambda recipe: with_model(net=recipe.model["net"] | settings)(recipe)


def with_training(**settings) -> Variant:
    """The idea that changes settings of the training."""
    return lambda recipe: recipe._replace(training=recipe.training | settings)


def scaled_training(key: str, factor: float) -> Variant:
    """The idea that multiplies a number of the training; batches stay whole numbers."""
    def idea(recipe: Recipe) -> Recipe:
        value = recipe.training[key]
        return with_training(**{key: type(value)(factor * value)})(recipe)
    return idea


def other_recipe(name: str, **settings) -> Variant:
    """The idea that takes another recipe, with the record's batches and sampling."""
    def idea(recipe: Recipe) -> Recipe:
        other = recipes.get_recipe(name, batch=recipe.training["batch"], **settings)
        return other._replace(sampling=recipe.sampling)
    return idea


def combined(*ideas: Variant) -> Variant:
    """The idea that applies several ideas, the first one first."""
    return lambda recipe: reduce(lambda so_far, idea: idea(so_far), ideas, recipe)


RECORD = "record"
VARIANTS: dict[str, Variant] = {
    RECORD: lambda recipe: recipe,                             # the demo's recipe, as it is
    # temporal layers
    "frames never meet": with_net(time="none"),
    "time by attention": with_net(temporal_layers=["attention"]),
    "time by convolution": with_net(temporal_layers=["conv"]),
    "full attention": with_net(time="full"),
    "no attention": with_net(attention_levels=0),
    "attention a level finer": lambda recipe: with_net(
        attention_levels=recipe.model["net"]["attention_levels"] + 1)(recipe),
    # the network
    "pixels not folded": with_net(patch=1),
    "pixels folded 4x4": with_net(patch=4),
    "narrow": with_net(channels=[32, 64, 96]),
    "wide": with_net(channels=[64, 128, 256]),
    "small DiT": other_recipe("mmnist32-dit", dim=128, depth=6),
    "DiT": other_recipe("mmnist32-dit"),
    # what is predicted, and when
    "v on a cosine": with_model(schedule="cosine", prediction="v"),
    "eps on a cosine": with_model(schedule="cosine", prediction="eps"),
    "eps on DDPM's betas": combined(with_model(schedule="linear betas", prediction="eps"),
                                    with_training(times="uniform")),
    "x0": with_model(prediction="x0"),
    "uniform times": with_training(times="uniform"),
    "times towards noise": with_training(shift=3.0),
    # batches, learning rate, average
    "half the batch": scaled_training("batch", 0.5),
    "twice the batch": scaled_training("batch", 2),
    "half the rate": scaled_training("lr", 0.5),
    "twice the rate": scaled_training("lr", 2),
    "no average": with_training(ema=0.0),
    "short average": with_training(ema=0.99),
    "short average, twice the rate": combined(with_training(ema=0.99), scaled_training("lr", 2)),
    # single frames: every other batch, or all of the first quarter of the time
    "half stills": with_training(images=0.5),
    "stills first": with_training(stills=0.25),
    # the machinery
    "AdamW": with_training(optimizer="adamw"),
    "AdamW at a third of the rate": combined(with_training(optimizer="adamw"),
                                             scaled_training("lr", 1 / 3)),
    "compiled": with_training(compiled=True)}


def variant_recipe(idea: str, budget_class: BudgetClass) -> Recipe:
    """The recipe of a class, changed by an idea."""
    return VARIANTS[idea](get_profile(budget_class.profile).get_recipe())


def fingerprint(recipe: Recipe) -> str:
    """Eight hexadecimal digits that change with any setting."""
    return hashlib.sha256(json.dumps(recipe._asdict(), sort_keys=True).encode()).hexdigest()[:8]
