"""What the other libraries share: a training step, bfloat16 and channels_last."""
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.speed.peers import Action

CHANNELS_LAST_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def autocast(optimisations: tuple[str, ...]):
    """Computation in bfloat16 on the CPU, if wanted."""
    return torch.autocast("cpu", torch.bfloat16, enabled="bf16" in optimisations)


def to_channels_last(network: nn.Module, optimisations: tuple[str, ...]) -> nn.Module:
    """The network, with its convolutions' weights in channels_last if wanted."""
    if "channels_last" in optimisations:
        for p in network.parameters():
            if p.ndim in CHANNELS_LAST_FORMATS:
                p.data = p.data.contiguous(memory_format=CHANNELS_LAST_FORMATS[p.ndim])
    return network


def make_training_step(network: nn.Module, optimizer: torch.optim.Optimizer,
                       loss: Callable[[], Tensor], clip: float | None = None) -> Action:
    """A training step: forward, backward, optimiser; gradients clipped to norm `clip` if given."""
    def step() -> float:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        return value.item()
    return step
