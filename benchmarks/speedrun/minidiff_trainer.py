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
from minidiff.recipes import Recipe, stream
from minidiff.train import Record, rate
from minidiff.training.training_run import Fit

ENDLESS = 10**9                                            # steps: the clock ends it
DECAY = 0.4                                                # the share in which the rate falls


class Sprint(Fit):
    """A `Fit` on built-in digits that ends `budget` seconds on the clock.

    plan.training may say more than a recipe does. optimizer="adamw": for all weights. stills: the
    share of the time, from its beginning, in which clips are single frames. compiled=True: by
    torch.compile.
    """

    def __init__(self, folder: Path, plan: Recipe, seed: int, device, clock: Clock,
                 budget: float):
        super().__init__(folder, plan, steps=ENDLESS, seed=seed, device=device)
        self.clock, self.budget = clock, budget
        if plan.training.get("optimizer") == "adamw":
            self.run.optimizers = [torch.optim.AdamW(self.run.model.parameters(), self.run.lr,
                                                     betas=(0.9, 0.99), weight_decay=0.01)]
        if plan.training.get("compiled"):
            self.run.model.net.compile()

    def batches(self, start: int) -> Iterator[tuple]:
        still = self.plan._replace(training=self.plan.training | {"images": 1})
        alone, moving = (stream(plan, self.digits, self.seed, start, self.device)
                         for plan in (still, self.plan))
        until = self.budget * self.plan.training.get("stills", 0)
        while True:
            yield next(alone if self.clock() < until else moving)

    def steps(self) -> Iterator[Record]:
        """Train until the time is over; saved when it is."""
        with closing(super().steps(every=inf)) as records:
            for record in self.clock.until(self.budget, records):
                gone = min(1.0, self.clock() / self.budget)
                self.run.lr = self.plan.training["lr"] * rate(gone, 1, 0, DECAY)
                yield record

    def weights(self) -> Denoiser:
        """The model of the averaged weights, as they are now."""
        return copy.deepcopy(self.run.ema.model)

    def judged(self, weights: Denoiser, n: int, seed: int) -> dict:
        """The scoreboard's row for n clips."""
        return evaluate.row(Pipeline(weights, self.facts()), n, seed, self.source)
