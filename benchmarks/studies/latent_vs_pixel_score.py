"""Latents against pixels at equal compute: the table of the chapter on latent diffusion.

    python -m benchmarks.studies.latent_vs_pixel_score [--budgets 45,90,180] [--vae 240] [--n 256]

A small U-Net learns clips of 32x32 and 8 frames by flow matching for so many seconds: on the
latents of a small VAE ("latents"), on pixels folded 2x2 ("pixels"), and on pixels folded 4x4, a
grid as coarse as the latents' ("pixels, 4x4 folded"). All get the same clips, training seed and
sampling seed. The VAE is trained first, for --vae seconds; encoding the clips once is added to
them. "ceiling" is the SCORE of real clips through the VAE. Seconds are the processor's, of all
cores, so other work on the machine does not count. A row is stored as soon as it is known, and an
interrupted run continues.
"""
import argparse
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results_table import ResultsTable
from minidiff.data import digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import batches, moving_mnist
from minidiff.denoiser import Denoiser
from minidiff.evaluation import scoreboard
from minidiff.guidance import clipped
from minidiff.recipes import vae_objective
from minidiff.runtime.seeds import generator
from minidiff.samplers import ddpm, last
from minidiff.schedules import Flow, timesteps
from minidiff.train import Objective, TrainState, denoising_objective, median_duration, train
from minidiff.training.cost import measure_step_cost
from minidiff.unet import UNet
from minidiff.vae import VAE

PATCHES = {"latents": 1, "pixels": 2, "pixels, 4x4 folded": 4}
PARTS = "CLIPS", "ID", "LOOKS", "PHY", "NEW", "FIT", "COVER"
COLUMNS = ("kind", "seconds", "seed", "steps", "ms", "mib", "vae_seconds", "n", "SCORE", "low",
           "high", *PARTS, "edition")
BATCH, SAMPLE_BATCH = 16, 32                              # clips in training and in sampling


def small_vae() -> VAE:
    """A VAE of 32x32 clips to 8x8 places of 2 numbers."""
    return VAE(channels=(32, 64), bottleneck_channels=64, latent_channels=2, patch=2, depth=1,
               beta=1e-4)


def train_for(run: TrainState, data: Iterator, seconds: float,
              objective: Objective) -> tuple[int, float]:
    """Train for so many processor seconds: the number of steps, and seconds of one.

    The number of steps is fixed at the start, by a fresh copy's median step, because the learning
    rate falls towards the last one.
    """
    start = {k: v.clone() for k, v in run.model.state_dict().items()}
    probe = TrainState(run.model, run.lr, run.ema.decay)
    each = median_duration(train(probe, data, 13, objective), warm_up=3, clock=time.process_time)
    run.model.load_state_dict(start)
    steps = max(1, round(seconds / each))
    before = time.process_time()
    for _ in train(run, data, steps, objective):
        pass
    return steps, (time.process_time() - before) / steps


def training_clips(source: str, n: int, seed: int) -> Tensor:
    """n clips (n, 8, 1, 32, 32)."""
    return moving_mnist(digits.load(source, "train"), n, seed=seed).x


def trained_vae(args) -> tuple[VAE, float]:
    """The trained VAE and its seconds: from the folder if it is there, else made."""
    path = args.out / "vae.safetensors"
    torch.manual_seed(args.seed)
    run = TrainState(small_vae(), lr=3e-3, ema=0.99)
    if path.exists():
        run.load(path)
        return run.ema.model, run.notes["seconds"]
    before = time.process_time()
    pairs = ((c.x, None) for c in batches(digits.load(args.digits, "train"), 16, seed=args.seed))
    train_for(run, pairs, args.vae, vae_objective())
    run.ema.model.fit_latent_stats(training_clips(args.digits, 64, args.seed))
    run.notes["seconds"] = time.process_time() - before
    path.parent.mkdir(parents=True, exist_ok=True)
    run.save(path)
    return run.ema.model, run.notes["seconds"]


@torch.no_grad()
def apply_in_batches(f, x: Tensor) -> Tensor:
    """f of all clips, some at a time, in float32."""
    return torch.cat([f(part).float() for part in x.split(SAMPLE_BATCH)])


def training_batches(x: Tensor, seed: int) -> Iterator[tuple[Tensor, None]]:
    """Endless batches of the kept clips, or latents."""
    for step in count():
        yield x[torch.randint(len(x), (BATCH,), generator=generator("batch", seed, step))], None


def new_training_state(kind: str, x: Tensor, seed: int) -> TrainState:
    """A fresh U-Net for latents or pixels of the shape of x."""
    torch.manual_seed(seed)
    net = UNet(channels=(32, 64), in_channels=x.shape[2], patch=PATCHES[kind], attention_levels=1)
    return TrainState(Denoiser(net, Flow(), "flow"), lr=3e-3, ema=0.99)


def sample_clips(denoise, shape: tuple[int, ...], n: int, seed: int) -> Tensor:
    """n samples of this shape by 20 steps of ddpm."""
    g = generator("sampling", seed)

    def randn(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=g)
    made = []
    for k in range(0, n, SAMPLE_BATCH):
        noise = torch.randn(min(SAMPLE_BATCH, n - k), *shape, generator=g)
        made.append(last(ddpm(denoise, Flow(), noise, timesteps(20, 3.0), randn)))
    return torch.cat(made)


def score_row(clips: Tensor, args) -> dict:
    """The scores of clips, with the interval of SCORE."""
    row = scoreboard.score(to_unit(clips), reference=args.digits, seeds=(args.seed,))
    low, high = row["interval"]["SCORE"]
    return {"n": len(clips), "low": low, "high": high,
            **{k: row[k] for k in ("SCORE", *PARTS, "edition")}}


def fill_table(args) -> ResultsTable:
    """The table, with all requested rows."""
    note = f"batches of {BATCH}, {args.clips} clips, VAE of {args.vae:g} s, seed {args.seed}"
    table = ResultsTable("latent_vs_pixel_score", COLUMNS, ("kind", "seconds", "seed"),
                         args.tables, note)
    vae, paid = trained_vae(args)
    x, before = training_clips(args.digits, args.clips, args.seed), time.process_time()
    z = apply_in_batches(vae.encode, x)
    paid += time.process_time() - before
    if not table.has(kind="ceiling", seconds=0.0, seed=args.seed):
        real = moving_mnist(digits.load(args.digits, "test"), args.n, seed=args.seed).x
        rebuilt = apply_in_batches(lambda clips: vae.decode(vae.encode(clips)), real)
        table.add(kind="ceiling", seconds=0.0, seed=args.seed, vae_seconds=paid,
                  steps=None, ms=None, mib=None, **score_row(rebuilt, args))
    for seconds in args.budgets:
        for kind in PATCHES:
            if table.has(kind=kind, seconds=seconds, seed=args.seed):
                continue
            data = z if kind == "latents" else x
            objective = denoising_objective()
            cost = measure_step_cost(new_training_state(kind, data, 0), training_batches(data, 0),
                                     partial(train, objective=objective))
            run = new_training_state(kind, data, args.seed)
            steps, each = train_for(run, training_batches(data, args.seed), seconds, objective)
            model = run.ema.model.eval()
            denoise = model if kind == "latents" else clipped(model)
            made = sample_clips(denoise, data.shape[1:], args.n, args.seed)
            made = apply_in_batches(vae.decode, made) if kind == "latents" else made
            table.add(kind=kind, seconds=seconds, seed=args.seed, steps=steps, ms=1e3 * each,
                      mib=cost.bytes / 2**20, vae_seconds=paid if kind == "latents" else 0.0,
                      **score_row(made, args))
            print(", ".join(f"{k} {v}" for k, v in table.rows[-1].items()), flush=True)
    return table


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--budgets", type=lambda text: [float(s) for s in text.split(",")],
                   default="45,90,180", help="seconds of training, with commas between")
    p.add_argument("--vae", type=float, default=240.0, help="seconds for the VAE")
    p.add_argument("--clips", type=int, default=4096, help="kept to train on")
    p.add_argument("--n", type=int, default=256, help="clips that are scored for a row, 32 or more")
    p.add_argument("--digits", default="builtin")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/latent_vs_pixel"),
                   help="where the VAE is kept; remove it to train it anew")
    p.add_argument("--tables", type=Path, default=Path("minidiff/course/tables"))
    fill_table(p.parse_args())


if __name__ == "__main__":
    main()
