"""A transformer or a U-Net, at equal compute, three sizes of each: the table of chapter 04.

    python -m benchmarks.studies.dit_vs_unet [--minutes 1.4] [--seed 0]

Clips of 32x32, 8 frames, one built-in digit, and the recipes' settings (`mmnist32`, `mmnist32-dit`)
with smaller networks. The smallest pair gets --minutes of the processor's time, the next twice and
the largest four times as many: 14 times --minutes in all. From size to size a step costs about
half as much again, so that half of the new compute goes into the network and half into its
training (Hoffmann 2022 section 3). Minutes are the processor's, so other work on the machine does
not count. Models that are trained for minutes are compared by their loss on held-out clips: on the
scoreboard all of them have about 0. An interrupted run continues; models stay under --out. Another
--seed adds rows.
"""
import argparse
import tempfile
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results_table import ResultsTable
from benchmarks.trained_model import trained_model
from minidiff.course.student.claims import TABLES
from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.pipeline import Pipeline
from minidiff.recipes import Recipe, get_recipe
from minidiff.runtime.seeds import generator
from minidiff.train import median_duration
from minidiff.training.training_run import TrainingRun

SIZES = {"unet": [dict(channels=c) for c in ((32, 64), (64, 64), (64, 96))],
         "dit": [dict(dim=d, depth=n) for d, n in ((64, 4), (96, 4), (128, 4))]}
RECIPE_NAMES = {"unet": "mmnist32", "dit": "mmnist32-dit"}
COLUMNS = ("net", "size", "seed", "minutes", "parameters", "steps", "ms", "mflop", "loss",
           "loss_half", "losses")
SETS, CLIPS, TIMES = 16, 16, (0.1, 0.3, 0.5, 0.7, 0.9)


def sized_recipe(net: str, size: int) -> Recipe:
    """The recipe of one network in one size; its average is shorter, as the trainings are."""
    more = dict(attention=1) if net == "unet" else {}
    return get_recipe(RECIPE_NAMES[net], ema=0.998, **SIZES[net][size], **more)


def steps_within(minutes: float, plan: Recipe, seed: int) -> int:
    """How many steps fit into so many minutes of processor time: ten timed, three to warm up."""
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(folder, plan, steps=13, seed=seed)
        each = median_duration(run.steps(save_every=inf), warm_up=3, clock=time.process_time)
        run.close()
    return max(1, round(60 * minutes / each))


def train_model(folder: Path, plan: Recipe, minutes: float, seed: int) -> Pipeline:
    """The model of a folder, trained for so many minutes of processor time first if need be."""
    return trained_model(folder, plan, lambda: steps_within(minutes, plan, seed), seed)


@torch.no_grad()
def held_out_losses(model: Pipeline) -> Iterator[Tensor]:
    """The training's loss on sets of clips of unseen digits, at the same times and noise for all.

    One number a set.
    """
    unseen = digits.load("builtin", "test", n=2000)
    for k in range(SETS):
        made, g = moving_mnist(unseen, CLIPS, seed=77, step=k), generator("times and noise", 77, k)
        noise = torch.randn(made.x.shape, generator=g)
        at = [model.denoiser.loss(made.x, made.labels[:, 0], torch.full((CLIPS,), t), noise).mean()
              for t in TIMES]
        yield torch.stack(at).mean()


def mflop(model: Pipeline) -> float:
    """Million operations of a forward pass, for one clip (a training step takes about three)."""
    with FlopCounterMode(display=False) as count, torch.no_grad():
        model.denoiser.net(torch.zeros(1, *model.sample_shape()), torch.ones(1))
    return count.get_total_flops() / 1e6


def result_row(model: Pipeline, minutes: float) -> dict:
    """A row of the table."""
    losses = torch.stack([*held_out_losses(model)])
    steps = model.metadata["steps"]
    return dict(parameters=sum(p.numel() for p in model.denoiser.parameters()), steps=steps,
                ms=60_000 * minutes / steps, mflop=mflop(model), loss=losses.mean().item(),
                loss_half=1.96 * losses.std().item() / SETS**0.5,
                losses=" ".join(f"{v:.6f}" for v in losses.tolist()))


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=1.4, help="of the smallest networks")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/dit_vs_unet"), help="for the models")
    p.add_argument("--tables", type=Path, default=TABLES, help="where the CSV is")
    args = p.parse_args()
    rows = ResultsTable("dit_vs_unet", COLUMNS, ("net", "size", "seed"), args.tables)
    for size in range(3):
        for net in SIZES:
            key, minutes = dict(net=net, size=size, seed=args.seed), args.minutes * 2**size
            if not rows.has(**key):
                folder = args.out / f"{net}-{size}-{args.seed}"
                model = train_model(folder, sized_recipe(net, size), minutes, args.seed)
                rows.add(**key, minutes=minutes, **result_row(model, minutes))


if __name__ == "__main__":
    main()
