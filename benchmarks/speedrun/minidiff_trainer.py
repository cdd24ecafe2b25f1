"""A training within a budget of time: the learning rate follows the clock.

After each step the learning rate is set by the share of the budget that has passed, so its schedule
ends with the time, however fast the machine is.
"""
import copy
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path

import torch

from benchmarks.speedrun.clock import Clock
from minidiff.denoiser import Denoiser
from minidiff.evaluation import evaluate
from minidiff.pipeline import Pipeline
from minidiff.recipes import Recipe, training_batches
from minidiff.train import Record, lr_factor
from minidiff.training.training_run import TrainingRun

UNLIMITED_STEPS = 10**9                               # the clock ends the training
DECAY_SHARE = 0.4                                     # the last share, in which the rate falls


class MinidiffTrainer(TrainingRun):
    """A `TrainingRun` on built-in digits that ends when the clock shows `budget` seconds.

    recipe.training may have settings beyond a recipe's. optimizer="adamw": for all weights.
    stills: the first share of the time, in which clips are single frames. compiled=True: with
    torch.compile.
    """

    def __init__(self, folder: Path, recipe: Recipe, seed: int, device, clock: Clock,
                 budget: float):
        super().__init__(folder, recipe, steps=UNLIMITED_STEPS, seed=seed, device=device)
        self.clock, self.budget = clock, budget
        if recipe.training.get("optimizer") == "adamw":
            self.state.optimizers = [torch.optim.AdamW(self.state.model.parameters(), self.state.lr,
                                                     betas=(0.9, 0.99), weight_decay=0.01)]
        if recipe.training.get("compiled"):
            self.state.model.net.compile()

    def batches(self, start: int) -> Iterator[tuple]:
        """The recipe's batches; single frames in the first share of the time, if there is one."""
        still = self.recipe._replace(training=self.recipe.training | {"images": 1})
        frames, clips = (training_batches(recipe, self.dataset, self.seed, start, self.device)
                         for recipe in (still, self.recipe))
        until = self.budget * self.recipe.training.get("stills", 0)
        while True:
            yield next(frames if self.clock() < until else clips)

    def steps(self) -> Iterator[Record]:
        """Train until the time is over, then save."""
        with closing(super().steps(save_every=inf)) as records:
            for record in self.clock.steps_until(self.budget, records):
                gone = min(1.0, self.clock() / self.budget)
                self.state.lr = self.recipe.training["lr"] * lr_factor(gone, 1, 0, DECAY_SHARE)
                yield record

    def current_weights(self) -> Denoiser:
        """The model of the averaged weights, as they are now."""
        return copy.deepcopy(self.state.ema.model)

    def score_weights(self, weights: Denoiser, n: int, seed: int) -> dict:
        """The scoreboard's row for n clips."""
        return evaluate.evaluate_model(Pipeline(weights, self.metadata()), n, seed, self.source)
