"""What the command line's commands do. Here, and only here, the package prints and shows progress bars."""
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minidiff import recipes
from minidiff.fit import Fit


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bar(steps: Iterable, total: int, text: str, unit: str = "step") -> Iterator:
    """The same steps, with a progress bar on the terminal's error stream."""
    yield from tqdm(steps, desc=text, total=total, unit=unit, dynamic_ncols=True, mininterval=0.5)


def train(args) -> None:
    if args.recipe == "recogniser":
        return train_recogniser(args)
    out = args.out or Path("runs") / args.recipe
    plan = recipes.recipe(args.recipe)
    if not args.resume and not (args.minutes or args.steps):
        raise ValueError("Say how long to train: --minutes M or --steps N (or --resume to go on with a training).")
    fit = Fit(out, plan, args.digits, args.minutes, args.steps, args.seed, args.resume, best_device())
    train_with_bar(fit)
    print(f"Trained {fit.run.step} steps ({fit.facts()['clips']:,} clips) in {fit.seconds / 60:.1f} minutes. Next:\n"
          f"  python -m minidiff sample {out / 'model.safetensors'} --out {out / 'clips.gif'}")


def train_with_bar(fit: Fit) -> list[float]:
    """Run a training to its end; the losses. When it is interrupted, says how to go on."""
    progress = tqdm(total=fit.total, initial=fit.run.step, desc="training", unit="step", dynamic_ncols=True, mininterval=0.5)
    losses = []
    try:
        for record in fit.steps():
            losses.append(record.loss)
            progress.update()
            if record.step % 10 == 0:
                progress.set_postfix(loss=f"{np.mean(losses[-100:]):.4f}")
    except KeyboardInterrupt:
        progress.close()
        print(f"\nStopped at step {fit.run.step} of {fit.total}; everything is in {fit.folder}. "
              f"Go on with: python -m minidiff train {fit.plan.name} --out {fit.folder} --resume", file=sys.stderr)
        raise
    finally:
        progress.close()
        fit.close()
    return losses
