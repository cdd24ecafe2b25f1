"""The few named trainings, each a function of keyword arguments that says all there is to say.

The model, the clips it learns from, how it is trained: a checkpoint's name is its recipe's.
"""
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from minidiff import schedules
from minidiff.denoiser import Denoiser
from minidiff.digits import Digits
from minidiff.moving_mnist import batches
from minidiff.unet import UNet

NETWORKS = {"unet": UNet}
SCHEDULES = {"flow": schedules.Flow, "cosine": schedules.Cosine,
             "linear betas": schedules.Discrete.linear, "cosine betas": schedules.Discrete.cosine}


class Recipe(NamedTuple):
    """Keyword arguments, in three groups; all fit into JSON, so a checkpoint can carry them."""
    name: str
    model: dict     # network, its settings, schedule, prediction
    clips: dict     # size, frames, number, ... of moving_mnist
    training: dict  # batch, lr, ema, p_drop, times, ...


def mmnist32(channels=(64, 96, 128), attention: int = 2, time: str = "factorised", batch: int = 16,
             lr: float = 3e-3, ema: float = 0.999, times: str = "logit-normal") -> Recipe:
    """32x32, 8 frames, one bouncing digit, told which: a U-Net of 2.8 M parameters, by flow."""
    net = dict(channels=list(channels), attention=attention, time=time, classes=10)
    return Recipe("mmnist32", dict(network="unet", net=net, schedule="flow", prediction="flow"),
                  dict(size=32, frames=8, number=1),
                  dict(batch=batch, lr=lr, ema=ema, times=times, p_drop=0.1))


def tiny(channels=(32, 64), patch: int = 4, batch: int = 4, lr: float = 3e-3) -> Recipe:
    """mmnist32 made small: nothing to look at, everything to test. Seconds."""
    net = dict(channels=list(channels), patch=patch, attention=1, classes=10, emb_dim=64)
    return Recipe("tiny", dict(network="unet", net=net, schedule="flow", prediction="flow"),
                  dict(size=32, frames=8, number=1),
                  dict(batch=batch, lr=lr, ema=0.99, times="logit-normal", p_drop=0.1))


RECIPES: dict[str, Callable[..., Recipe]] = {f.__name__: f for f in (mmnist32, tiny)}


def recipe(name: str, **settings) -> Recipe:
    """The named recipe with some settings changed. Raises ValueError that names the recipes."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name](**settings)


def build(model: dict) -> Denoiser:
    """A fresh denoiser from a recipe's `model`."""
    net = NETWORKS[model["network"]](**model["net"])
    return Denoiser(net, SCHEDULES[model["schedule"]](), model["prediction"])


def stream(recipe: Recipe, digits: Digits, seed: int, start: int = 0,
           device="cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """The recipe's endless training batches (x0, labels), from number `start` on."""
    settings = dict(seed=seed, start=start, device=device, **recipe.clips)
    for clips in batches(digits, recipe.training["batch"], **settings):
        yield clips.x, clips.labels[:, 0]
