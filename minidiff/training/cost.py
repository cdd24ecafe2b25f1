"""What a training costs here, found out before it is begun: a few steps, timed and weighed."""
import time
from collections.abc import Iterable
from typing import NamedTuple

import torch

from minidiff.data import digits
from minidiff.pipeline import load_recipe_vae
from minidiff.recipes import Recipe, build_model, build_objective, frame_sizes, training_batches
from minidiff.train import Objective, TrainState, train


class Cost(NamedTuple):
    """Seconds a step and bytes beyond those of torch itself, on one machine."""
    seconds: float
    bytes: int
    parameters: int

    def minutes(self, steps: int) -> float:
        return self.seconds * steps / 60


def measure_recipe_cost(recipe: Recipe, device="cpu", steps: int = 3) -> Cost:
    """The cost of a recipe's training step, by `steps` of them after one to warm up."""
    run = TrainState(build_model(recipe.model).to(device), recipe.training["lr"], recipe.training["ema"])
    few = digits.built_in("train", 100)
    sizes = frame_sizes(recipe)                                # the first batch is the largest
    batches = training_batches(recipe, few, 0, len(sizes) - 1, device, load_recipe_vae(recipe, device))
    return measure_step_cost(run, batches, build_objective(recipe), max(steps, len(sizes)), mixed_sizes=len(sizes) > 1)


def measure_step_cost(state: TrainState, batches: Iterable[tuple], objective: Objective | None = None, steps: int = 3,
         mixed_sizes: bool = False) -> Cost:
    """The cost of a step of a run, which takes 1 + `steps` of them: give a copy.

    mixed: batches differ in size, so the mean counts and not the median. Memory is counted, not
    measured: weights, their gradients, averages and momenta, and what the forward pass keeps for
    the backward one. Raises ValueError for fewer than two batches.
    """
    records, took, kept = train(state, batches, state.step + steps + 1, objective), [], {}

    def weigh(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x
    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda x: x):
        next(records, None)
    began = time.perf_counter()
    for _ in records:
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
    if not took:
        raise ValueError("A probe needs at least two batches: one to warm up, one to time.")
    states = [v for _, _, s in state.optimizer_states() for v in s.values() if torch.is_tensor(v)]
    weights = list(state.model.parameters())
    size = sum(v.numel() * v.element_size() for v in [*weights, *weights, *weights, *states])
    seconds = sum(took) / len(took) if mixed_sizes else sorted(took)[len(took) // 2]
    return Cost(seconds, size + sum(kept.values()), sum(p.numel() for p in weights))
