"""What the peers share: an ordinary training step, and ways to make them faster."""
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.speed.peers import Action

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def autocast(ways: tuple[str, ...]):
    return torch.autocast("cpu", torch.bfloat16, enabled="bf16" in ways)


def laid_out(network: nn.Module, ways: tuple[str, ...]) -> nn.Module:
    """The network, its convolutions' weights in channels_last if wanted."""
    if "channels_last" in ways:
        for p in network.parameters():
            if p.ndim in FORMATS:
                p.data = p.data.contiguous(memory_format=FORMATS[p.ndim])
    return network


def training(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor],
             clip: float | None = None) -> Action:
    """A step: forward, backward, optimiser; gradients clipped to norm `clip` if given."""
    def step() -> float:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        return value.item()
    return step
