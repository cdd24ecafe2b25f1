"""What a speedrun tries: classes of equal time, and ideas, each a small change of their recipe.

    plan = planned("no attention", CLASSES["cpu-10min"])

An idea maps a recipe to a recipe, so it means the same in every class. What is no setting of a
recipe but of its training against the clock (`sprint`) stands in `training` as well.
"""
import hashlib
import json
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

from minidiff import recipes
from minidiff.recipes import Recipe
from minidiff.training.profiles import profile

Idea = Callable[[Recipe], Recipe]


class Class(NamedTuple):
    """Seconds from a process's start, a SCORE to reach in them, and where.

    profile says which recipe is the record's. cores: how many it is for.
    """
    name: str
    seconds: float
    target: float
    profile: str
    device: str
    cores: int | None = None


CLASSES = {c.name: c for c in (Class("cpu-10min", 600, 0.8, "cpu", "cpu", 2),
                               Class("core-10min", 600, 0.8, "cpu", "cpu", 1),
                               Class("gpu-60s", 60, 0.9, "gpu", "cuda"))}


def model(**settings) -> Idea:
    return lambda plan: plan._replace(model=plan.model | settings)


def net(**settings) -> Idea:
    return lambda plan: model(net=plan.model["net"] | settings)(plan)


def training(**settings) -> Idea:
    return lambda plan: plan._replace(training=plan.training | settings)


def scaled(key: str, factor: float) -> Idea:
    """A number of the training's, times a factor; batches stay whole."""
    def idea(plan: Recipe) -> Recipe:
        value = plan.training[key]
        return training(**{key: type(value)(factor * value)})(plan)
    return idea


def another(name: str, **settings) -> Idea:
    """Another recipe, with the record's batches and sampling."""
    def idea(plan: Recipe) -> Recipe:
        other = recipes.recipe(name, batch=plan.training["batch"], **settings)
        return other._replace(sampling=plan.sampling)
    return idea


def all_of(*ideas: Idea) -> Idea:
    return lambda plan: reduce(lambda so_far, idea: idea(so_far), ideas, plan)


RECORD = "record"
IDEAS: dict[str, Idea] = {
    RECORD: lambda plan: plan,                             # the demo's recipe, as it is
    # how frames meet
    "frames never meet": net(time="none"),
    "time by attention": net(mix=["attention"]),
    "time by convolution": net(mix=["conv"]),
    "full attention": net(time="full"),
    "no attention": net(attention=0),
    "attention a level finer": lambda plan: net(attention=plan.model["net"]["attention"] + 1)(plan),
    # the network
    "pixels not folded": net(patch=1),
    "pixels folded 4x4": net(patch=4),
    "narrow": net(channels=[32, 64, 96]),
    "wide": net(channels=[64, 128, 256]),
    "small DiT": another("mmnist32-dit", dim=128, depth=6),
    "DiT": another("mmnist32-dit"),
    # what is predicted, and when
    "v on a cosine": model(schedule="cosine", prediction="v"),
    "eps on a cosine": model(schedule="cosine", prediction="eps"),
    "eps on DDPM's betas": all_of(model(schedule="linear betas", prediction="eps"),
                                  training(times="uniform")),
    "x0": model(prediction="x0"),
    "uniform times": training(times="uniform"),
    "times towards noise": training(shift=3.0),
    # batches, learning rate, average
    "half the batch": scaled("batch", 0.5),
    "twice the batch": scaled("batch", 2),
    "half the rate": scaled("lr", 0.5),
    "twice the rate": scaled("lr", 2),
    "no average": training(ema=0.0),
    "short average": training(ema=0.99),
    "short average, twice the rate": all_of(training(ema=0.99), scaled("lr", 2)),
    # single frames: every other batch, or all of the first quarter of the time
    "half stills": training(images=0.5),
    "stills first": training(stills=0.25),
    # the machinery
    "AdamW": training(optimizer="adamw"),
    "AdamW at a third of the rate": all_of(training(optimizer="adamw"), scaled("lr", 1 / 3)),
    "compiled": training(compiled=True)}


def planned(idea: str, among: Class) -> Recipe:
    """The record's recipe of a class, changed by an idea."""
    return IDEAS[idea](profile(among.profile).plan())


def fingerprint(plan: Recipe) -> str:
    """Eight hexadecimal digits that change with any setting."""
    return hashlib.sha256(json.dumps(plan._asdict(), sort_keys=True).encode()).hexdigest()[:8]
