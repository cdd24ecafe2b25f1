"""Reflow: a flow trained on its teacher's own pairs of noise and clip (rectified flow, Liu 2023).

Flow matching pairs each clip with any noise, so the straight lines between them cross, and the
flow, which cannot cross itself, has to bend. A teacher's path joins one noise with one clip. Lines
between such pairs cross less, so a flow that is trained on them is straighter, and its few long
steps err less. The teacher's guidance is in the clips.
"""
from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff.denoiser import Denoiser
from minidiff.pipeline import Teacher, load_teacher
from minidiff.recipes import Recipe, Training
from minidiff.runtime.distributed import sharded_draw
from minidiff.runtime.seeds import FLOAT, generator
from minidiff.samplers import ddim, last
from minidiff.schedules import Schedule, timesteps
from minidiff.train import Objective, Record, TrainState, denoising_objective, draw_times, train


def reflow(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is reflow, on a pool of the teacher's pairs.

    Raises ValueError for prompts: their clips come again with other captions, and pairs would not.
    """
    plan = recipe.training
    if recipe.vocabulary:
        raise ValueError("Reflow is made for models of classes; for one that reads prompts choose "
                         "progressive, consistency or matching.")
    teacher = load_teacher(plan["teacher"], recipe, device).guided_denoiser
    ts = timesteps(plan["calls"] * plan["substeps"], recipe.sampling["shift"])

    def loop(state: TrainState, batches: Iterator, steps: int, seed: int = 0) -> Iterator[Record]:
        pairs = reflow_pairs(teacher, student.schedule, batches, ts, seed, state.step, plan["pool"])
        return train(state, pairs, steps, reflow_objective(), seed=seed)
    return Training(TrainState(student, plan["lr"], plan["ema"]), loop, denoising_objective())


def reflow_objective(times: str = "logit-normal", shift: float = 1.0) -> Objective:
    """The usual loss, but each clip has the noise that the teacher made it from (Liu 2023 eq. 1).

    The batches hold pairs: x0 (B, 2, ...) is a clip and its noise, as `reflow_pairs` makes them.
    """
    def objective(student: Denoiser, pairs: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        x0, noise = pairs.unbind(1)
        t = draw_times(len(x0), g, times, shift)
        return student.loss(x0, cond, t, noise)
    return objective


def reflow_pairs(teacher: Teacher, schedule: Schedule, batches: Iterator, ts: Tensor, seed: int,
                 start: int = 0, pool: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (pairs (B, 2, ...), cond) from batches (x0, cond): the teacher's clip and its noise.

    ts: the teacher's grid. start: the number of the first batch. After `pool` batches the same
    pairs come again. The clips of the batches give only their shape and conditions.
    """
    kept = {}
    for k, (x0, cond) in enumerate(batches, start):
        number = k % pool
        if number not in kept:
            noise = pair_noise(x0, seed, number)
            clips = last(ddim(teacher(cond), schedule, noise, ts))
            kept[number] = torch.stack([clips, noise], 1), cond
        yield kept[number]


def pair_noise(x0: Tensor, seed: int, number: int) -> Tensor:
    """The noise of a batch of pairs, like x0; of several processes, each gets its own rows."""
    g = generator("reflow", seed, number)
    noise = sharded_draw(len(x0), lambda n: torch.randn(n, *x0.shape[1:], generator=g, **FLOAT))
    return noise.to(x0.device)
