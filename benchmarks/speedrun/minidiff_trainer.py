"""A training against the clock: its budget is a time, and its learning rate follows that time.

Nothing is planned by a probe: after every step the rate is that of the share of the budget which
is gone, so it is at its end when the time is, however fast the machine is just then.
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

UNLIMITED_STEPS = 10**9                                            # steps: the clock ends it
DECAY_SHARE = 0.4                                                # the share in which the rate falls


class MinidiffTrainer(TrainingRun):
    """A `Fit` on built-in digits that ends `budget` seconds on the clock.

    plan.training may say more than a recipe does. optimizer="adamw": for all weights. stills: the
    share of the time, from its beginning, in which clips are single frames. compiled=True: by
    torch.compile.
    """

    def __init__(self, folder: Path, plan: Recipe, seed: int, device, clock: Clock,
                 budget: float):
        super().__init__(folder, plan, steps=UNLIMITED_STEPS, seed=seed, device=device)
        self.clock, self.budget = clock, budget
        if plan.training.get("optimizer") == "adamw":
            self.state.optimizers = [torch.optim.AdamW(self.state.model.parameters(), self.state.lr,
                                                     betas=(0.9, 0.99), weight_decay=0.01)]
        if plan.training.get("compiled"):
            self.state.model.net.compile()

    def batches(self, start: int) -> Iterator[tuple]:
        still = self.recipe._replace(training=self.recipe.training | {"images": 1})
        alone, moving = (training_batches(plan, self.dataset, self.seed, start, self.device)
                         for plan in (still, self.recipe))
        until = self.budget * self.recipe.training.get("stills", 0)
        while True:
            yield next(alone if self.clock() < until else moving)

    def steps(self) -> Iterator[Record]:
        """Train until the time is over; saved when it is."""
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
