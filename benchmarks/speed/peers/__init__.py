"""The models that are compared: ours and those of packages that anyone can install.

Each is built for clips of one shape and trains and samples as its own package does. optimisations:
what it gets beyond its defaults, of "bf16" (autocast) and "channels_last".
"""
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

Action = Callable[[], object]


class Implementation(NamedTuple):
    """The parts of a model that are timed; clips (B, T, 1, H, W) in [-1, 1], labels (B,).

    calls: of the network, in its usual sampling. passes_per_call: how often the network processes
    each clip in a call. conditional: whether it uses labels.
    """
    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]            # clips, labels -> their mean loss
    training_step: Callable[[Tensor, Tensor], Action]   # clips, labels -> a whole training step
    sampling_step: Callable[[Tensor], Action]           # labels -> a sampler's step, one call
    generate: Callable[[Tensor], Tensor]                # labels -> whole clips, in [0, 1]
    calls: int
    passes_per_call: int = 1
    conditional: bool = True


IMPLEMENTATIONS = {                                     # name: module, function, its settings
    "minidiff": ("minidiff", "unet", {}),
    "video-diffusion-pytorch": ("video_diffusion_pytorch", "unet", dict(dim=64)),
    "video-diffusion-pytorch, dim 16": ("video_diffusion_pytorch", "unet", dict(dim=16)),
    "diffusers UNet3DConditionModel": ("diffusers", "unet", {}),
    "diffusers LatteTransformer3DModel": ("diffusers", "latte", {})}


def import_package(name: str) -> ModuleType:
    """Import what an implementation needs. Raises ImportError if it is not installed."""
    return import_module(f"benchmarks.speed.peers.{IMPLEMENTATIONS[name][0]}")


def build(name: str, size: int, frames: int, optimisations: tuple[str, ...] = ()) -> Implementation:
    """The implementation for clips of so many frames, size x size."""
    _, function, settings = IMPLEMENTATIONS[name]
    return getattr(import_package(name), function)(size, frames, optimisations, **settings)
