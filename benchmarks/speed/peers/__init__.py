"""The models that are timed side by side: ours and those of packages anyone can install.

Each is built for clips of one shape and trains and samples as its own package does. ways: what it
is given beyond its defaults, of "bf16" (autocast) and "channels_last".
"""
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

Action = Callable[[], object]


class Implementation(NamedTuple):
    """What can be timed of a model; clips (B, T, 1, H, W) in [-1, 1], labels (B,).

    calls: of the network, in its usual sampling. seen: how often a call sees each clip. told:
    whether it heeds labels.
    """
    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]       # clips, labels -> their mean loss
    training_step: Callable[[Tensor, Tensor], Action]      # -> a whole training step
    sampling_step: Callable[[Tensor], Action]             # labels -> a sampler's step, one network call
    generate: Callable[[Tensor], Tensor]               # labels -> whole clips, in [0, 1]
    calls: int
    passes_per_call: int = 1
    conditional: bool = True


IMPLEMENTATIONS = {                                          # name: module here, function, its settings
    "minidiff": ("minidiff", "unet", {}),
    "video-diffusion-pytorch": ("video_diffusion_pytorch", "unet", dict(dim=64)),
    "video-diffusion-pytorch, dim 16": ("video_diffusion_pytorch", "unet", dict(dim=16)),
    "diffusers UNet3DConditionModel": ("diffusers", "unet", {}),
    "diffusers LatteTransformer3DModel": ("diffusers", "latte", {})}


def import_package(name: str) -> ModuleType:
    """Import all that a side needs. Raises ImportError where it is not installed."""
    return import_module(f"benchmarks.speed.peers.{IMPLEMENTATIONS[name][0]}")


def build(name: str, size: int, frames: int, optimisations: tuple[str, ...] = ()) -> Implementation:
    """The side for clips of so many frames, size x size."""
    _, function, settings = IMPLEMENTATIONS[name]
    return getattr(import_package(name), function)(size, frames, optimisations, **settings)
