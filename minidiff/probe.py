"""What a training costs here, found out before it is begun: a few steps, timed and weighed."""
import time
from itertools import islice
from typing import NamedTuple

import torch

from minidiff import digits
from minidiff.pipeline import vae_of
from minidiff.recipes import Recipe, build, frame_sizes, objective, stream
from minidiff.train import Run, train


class Cost(NamedTuple):
    """Seconds a step and bytes beyond those of torch itself, on one machine."""
    seconds: float
    bytes: int
    parameters: int

    def minutes(self, steps: int) -> float:
        return self.seconds * steps / 60


def probe(plan: Recipe, device="cpu", steps: int = 3) -> Cost:
    """The cost of a recipe's training step, by `steps` of them after one to warm up.

    Memory is counted, not measured: weights, their gradients, averages and momenta, and what the
    forward pass keeps for the backward one.
    """
    run = Run(build(plan.model).to(device), plan.training["lr"], plan.training["ema"])
    few = digits.built_in("train", 100)
    sizes = frame_sizes(plan)                                # the first batch is the largest
    batches = stream(plan, few, 0, len(sizes) - 1, device, vae_of(plan, device))
    steps = max(steps, len(sizes))
    records, took, kept = train(run, batches, steps + 1, objective(plan)), [], {}

    def weigh(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x
    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda x: x):
        next(records)
    began = time.perf_counter()
    for _ in islice(records, steps):
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
    states = [v for _, _, s in run.optimizer_states() for v in s.values() if torch.is_tensor(v)]
    weights = list(run.model.parameters())
    size = sum(v.numel() * v.element_size() for v in [*weights, *weights, *weights, *states])
    seconds = sorted(took)[len(took) // 2] if len(sizes) == 1 else sum(took) / len(took)
    return Cost(seconds, size + sum(kept.values()),
                sum(p.numel() for p in weights))
