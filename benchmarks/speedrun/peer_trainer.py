"""A peer's training against the clock: its network, loss, optimiser and sampler, our clips.

It sees the batches that ours sees, its constant learning rate is its own, and it is judged by an
average of its weights, as the Trainer of video-diffusion-pytorch makes one.
"""
import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.speed.peers import build
from benchmarks.speedrun.clock import Clock
from minidiff.data import digits
from minidiff.evaluation import scoreboard
from minidiff.recipes import Recipe, training_batches
from minidiff.train import EMA

EMA_DECAY = 0.995                                            # of weights, a step
SAMPLE_BATCH = 32                                                  # clips made at once


class PeerTrainer:
    """Another library, trained on the recipe's clips as `MinidiffTrainer` trains minidiff."""

    def __init__(self, name: str, recipe: Recipe, seed: int, clock: Clock, budget: float,
                 optimisations: tuple[str, ...] = ()):
        torch.manual_seed(seed)
        self.side = build(name, recipe.clips["size"], recipe.clips["frames"], optimisations)
        self.batches = training_batches(recipe, digits.load("builtin", "train"), seed)
        self.ema = EMA(self.side.network, EMA_DECAY)
        self.clock, self.budget = clock, budget

    def steps(self) -> Iterator[float]:
        """The losses, until the time is over."""
        yield from self.clock.steps_until(self.budget, self.losses())

    def losses(self) -> Iterator[float]:
        """Endless training steps, each on the next batch."""
        x, labels = (batch.clone() for batch in next(self.batches))
        step = self.side.training_step(x, labels)     # it trains on these tensors: fill them
        while True:
            loss = step()
            self.ema.update(self.side.network)
            yield loss
            for kept, fresh in zip((x, labels), next(self.batches), strict=True):
                kept.copy_(fresh)

    def current_weights(self) -> dict[str, Tensor]:
        """The averaged weights, as they are now."""
        return copy.deepcopy(self.ema.model.state_dict())

    def score_weights(self, weights: dict[str, Tensor], n: int, seed: int) -> dict:
        """The scoreboard's row for n clips; without PROMPT if the model uses no labels."""
        labels = torch.arange(n) % 10
        with using_weights(self.side.network, weights), torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            clips = torch.cat([self.side.generate(some) for some in labels.split(SAMPLE_BATCH)])
        return scoreboard.score(clips, labels if self.side.conditional else None, seeds=(seed,))


@contextmanager
def using_weights(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """The network has these weights, in evaluation mode, inside the block."""
    own = copy.deepcopy(network.state_dict())
    network.load_state_dict(weights)
    network.eval()
    yield
    network.load_state_dict(own)
    network.train()
