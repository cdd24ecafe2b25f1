"""Muon against AdamW on the main recipe, by the loss on unseen clips.

    python -m benchmarks.studies.muon_vs_adamw [--steps 300] [--digits builtin]

Network, clips, noise and learning rate are the same. Both are trained for the same number of steps;
AdamW also for twice as many.
"""
import argparse
import time

import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.recipes import build_model, get_recipe, training_batches
from minidiff.runtime.machine import machine_description
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.train import TrainState, denoising_objective, train


def train_recipe(optimizer: str, steps: int, source: str, seed: int) -> tuple[TrainState, float]:
    """A run of so many steps, and the processor's seconds for it."""
    torch.manual_seed(seed)
    recipe = get_recipe("mmnist32")
    run = TrainState(build_model(recipe.model), recipe.training["lr"], recipe.training["ema"])
    if optimizer == "AdamW":
        run.optimizers = [torch.optim.AdamW(run.model.parameters(), run.lr, betas=(0.9, 0.99),
                                            weight_decay=0.01)]
    began = time.process_time()
    batches = training_batches(recipe, digits.load(source), seed)
    for _ in train(run, batches, steps, denoising_objective(10), seed=seed):
        pass
    return run, time.process_time() - began


@torch.no_grad()
def validation_loss(run: TrainState, source: str, n: int = 256) -> float:
    """The averaged weights' loss on clips of validation digits, at n times even over [0, 1]."""
    clips, g = moving_mnist(digits.load(source, "val"), n, seed=7), generator("times and noise", 7)
    t = (torch.randperm(n, generator=g) + 0.5) / n
    noise = torch.randn(clips.x.shape, generator=g)
    with autocast("cpu"):
        return run.ema.model.loss(clips.x, clips.labels[:, 0], t, noise).mean().item()


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--digits", default="builtin")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    print(f"{machine_description()}, seed {args.seed}")
    runs = ("Muon", args.steps), ("AdamW", args.steps), ("AdamW", 2 * args.steps)
    for optimizer, steps in runs:
        run, seconds = train_recipe(optimizer, steps, args.digits, args.seed)
        print(f"{optimizer:>6} {steps:5d} steps  {seconds:6.0f} processor seconds  validation loss "
              f"{validation_loss(run, args.digits):.4f}", flush=True)


if __name__ == "__main__":
    main()
