"""How close training comes to the exact minimum on linear-Gaussian clips, with and without time.

    python -m benchmarks.studies.linear_gaussian_optimum [--network dit] [--rho 0.9] [--steps 2000]

Every pixel of a clip is an AR(1) process over its frames, so both least errors are known: that of
the whole clip, `ar1_denoiser` D*, and that of one frame at a time, `gaussian_denoiser`. The same
network is trained twice, once with its frames apart and once with temporal layers. Then, on fresh
clips and noise, the same for all, a denoiser's excess over the minimum is

    E|D - x0|^2 - E|D* - x0|^2 = E|D - D*|^2,

since D* is the posterior mean: its error D* - x0 has mean 0 given x_t, and D - D* is a function of
x_t, so their product averages to 0. The right side is measured, as x0's own spread is not in it.
The gap is the excess of the best per-frame denoiser. It is the mean of D* given the frame, so by
the same argument no denoiser that sees one frame has a smaller one; neighbouring pixels do not help
either, as they are independent. Networks are measured in float32.
"""
import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn, Denoiser
from minidiff.dit import DiT
from minidiff.gaussians import (
    ar1_clips,
    ar1_denoiser,
    ar1_mse,
    gaussian_denoiser,
    gaussian_mse,
)
from minidiff.runtime.machine import machine_description
from minidiff.runtime.precision import has_bf16
from minidiff.runtime.seeds import generator
from minidiff.schedules import Flow, add_noise
from minidiff.train import TrainState, denoising_objective, train
from minidiff.unet import UNet

SCHEDULE, STD, SHAPE = Flow(), 1.0, (8, 1, 8, 8)          # of a clip: T, C, H, W
NETWORKS = {
    "dit": lambda mode: DiT(dim=64, depth=2, patch=(1, 4, 4), time=mode),
    "unet": lambda mode: UNet(channels=(64,), patch=4, time=mode, emb_dim=64),
}
TIMES = {"t = .2": 0.2, "t = .5": 0.5, "t = .8": 0.8, "t = .95": 0.95, "average": None}


def ar1_batches(rho: float, batch: int, seed: int) -> Iterator[tuple[Tensor, None]]:
    """Batches of fresh clips for `train`: no clip is seen twice."""
    return ((ar1_clips((batch, *SHAPE), rho, STD, generator("clips", seed, step)), None)
            for step in count())


def train_denoiser(network: str, mode: str, rho: float, steps: int,
                   seed: int) -> tuple[DenoiseFn, float]:
    """The averaged weights after so many steps of 16 clips, and the processor's seconds for it."""
    torch.manual_seed(seed)
    run = TrainState(Denoiser(NETWORKS[network](mode), SCHEDULE, "flow"), lr=6e-3)
    began = time.process_time()
    objective = denoising_objective(times="uniform")
    for _ in train(run, ar1_batches(rho, 16, seed), steps, objective, seed=seed):
        pass
    return run.ema.model, time.process_time() - began


def noisy_clips(rho: float, t: float | None, n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """x_t (n, T, C, H, W) and t (n,): one time for all, or, for None, uniform as in training."""
    t = torch.rand(n, generator=g) if t is None else torch.full((n,), t)
    x0 = ar1_clips((n, *SHAPE), rho, STD, g)
    return add_noise(SCHEDULE, x0, torch.randn(x0.shape, generator=g), t), t


@torch.no_grad()
def excess_error(denoise: DenoiseFn, exact: DenoiseFn, x: Tensor, t: Tensor,
                 batch: int = 64) -> Tensor:
    """|D - D*|^2 of each clip, per element: (n,), float64. Its mean estimates the excess."""
    parts = zip(x.split(batch), t.split(batch))
    return torch.cat([(denoise(x, t).double() - exact(x.double(), t)).square().flatten(1).mean(1)
                      for x, t in parts])


def mean_with_interval(values: Tensor) -> tuple[float, float]:
    """The mean of independent values (n,), and half the width of its 95 % interval."""
    return values.mean().item(), 1.96 * (values.std() / len(values) ** 0.5).item()


def ratio_with_interval(values: Tensor, whole: Tensor) -> tuple[float, float]:
    """mean(values) / mean(whole), both (n,) in pairs, and half the width of its 95 % interval.

    The ratio r errs like mean(values - r whole) / mean(whole) (Cochran 1977 chapter 6), so what
    chance does to both alike cancels.
    """
    ratio = (values.mean() / whole.mean()).item()
    return ratio, mean_with_interval(values - ratio * whole)[1] / whole.mean().item()


def minimum_error(mse: Callable[[Tensor], Tensor], t: float | None) -> float:
    """An exact minimum at t or, for None, averaged over uniform t (the midpoint rule)."""
    grid = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    return mse(grid if t is None else torch.tensor([t], dtype=torch.float64)).mean().item()


def table_column(rho: float, denoisers: dict[str, DenoiseFn], t: float | None, n: int,
                 g: torch.Generator) -> dict[str, str]:
    """A column of the table, for one t: the minima, the gap, each denoiser's excess and its share.

    Squared errors are in thousandths of the data's variance.
    """
    exact, frame = ar1_denoiser(SCHEDULE, rho, STD), gaussian_denoiser(SCHEDULE, 0, STD)
    clip = minimum_error(lambda t: ar1_mse(SCHEDULE, SHAPE[0], rho, STD, t), t)
    alone = minimum_error(lambda t: gaussian_mse(SCHEDULE, STD, t), t)
    x, times = noisy_clips(rho, t, n, g)
    gap = excess_error(frame, exact, x, times)
    cells = {"least, whole clip": f"{1e3 * clip:.3f}", "least, one frame": f"{1e3 * alone:.3f}",
             "gap": f"{1e3 * (alone - clip):.3f}",
             "gap, measured": format_interval(*mean_with_interval(1e3 * gap), 3)}
    for name, denoise in denoisers.items():
        own = excess_error(denoise, exact, x, times)
        cells[f"{name}, excess"] = format_interval(*mean_with_interval(1e3 * own), 3)
        share = (100 * part for part in ratio_with_interval(own, gap))
        cells[f"{name}, % of gap"] = format_interval(*share, 2)
    return cells


def format_interval(middle: float, half: float, digits: int) -> str:
    """A number and half the width of its 95 % interval."""
    return f"{middle:.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--network", choices=NETWORKS, default="dit")
    p.add_argument("--rho", type=float, default=0.9, help="not 0, where there is no gap")
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    if args.rho == 0:
        p.error("Without correlation there is no gap to close: choose another rho than 0.")
    bf16 = "trained in bfloat16" if has_bf16("cpu") else "trained in float32"
    print(f"{machine_description()}, {bf16}, seed {args.seed}")
    denoisers = {}
    for name, mode in (("temporal", "factorised"), ("per frame", "none")):
        denoisers[name], seconds = train_denoiser(args.network, mode, args.rho, args.steps,
                                                  args.seed)
        print(f"{args.network}, {name}: {args.steps} steps, {seconds:.0f} processor seconds",
              flush=True)
    columns = [table_column(args.rho, denoisers, t, 1024, generator("evaluation", args.seed, i))
               for i, t in enumerate(TIMES.values())]
    print(f"\n{'errors in 1e-3':20}" + "".join(f"{label:>18}" for label in TIMES))
    for row in columns[0]:
        print(f"{row:20}" + "".join(f"{cells[row]:>18}" for cells in columns))


if __name__ == "__main__":
    main()
