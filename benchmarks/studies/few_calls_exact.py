"""Distillation where the answer is known: which methods reach the exact one-call map?

    python -m benchmarks.studies.few_calls_exact [--frames 8] [--rho 0.9] [--picture FILE.png]

The clips are linear-Gaussian (AR(1) over their frames, `minidiff.gaussians`), so the flow from
noise to clip is a known matrix: a factor c_i on each principal axis of a clip, c_i^2 its variance.
Every method's fixed point is a matrix, too, and is computed here without any training:

    map      |student's clip - exact clip|^2 / |exact clip|^2, over noises: the same noise
    spread   the largest |standard deviation / c_i - 1| over the axes: the same distribution

Progressive and consistency distillation keep the error of the teacher's path, and a shortcut model
(not shown) in the same way that of its shortest steps. Consistency training without a teacher errs
just as ddim's path with as many steps does. Reflow on exact pairs is exact, if there are as many
pairs as numbers in a clip. Distribution matching reaches the distribution by any map that has it
(here a random rotation). An arc follows the whole curved path in one call, for which map and spread
are means and maxima over the way.
"""
import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from minidiff.gaussians import ar1_axes, gaussian_denoiser, gaussian_flow
from minidiff.samplers import ddim, heun, last
from minidiff.schedules import Flow, timesteps

BUDGETS = 1, 2, 4, 8, 16, 32, 64
SHIFT = 1.0


def path_factors(std: Tensor, steps: int, sampler: Callable = ddim) -> Tensor:
    """Where a teacher's path of so many steps leads from noise 1 on each axis: (T,)."""
    one = torch.ones(1, len(std), dtype=torch.float64)
    ts = timesteps(steps, SHIFT)
    return last(sampler(gaussian_denoiser(Flow(), 0.0, std), Flow(), one, ts))[0]


def consistency_training_factors(std: Tensor, steps: int) -> Tensor:
    """The one-call factors that consistency training without a teacher settles at: (T,).

    With one noise at both times of a gap, x_0 from x_t is the regression of x_0 from x_u on x_t.
    """
    ts, lands = timesteps(steps, SHIFT).flip(0), torch.ones_like(std)
    for u, t in itertools.pairwise(ts):
        together = (1 - t) * (1 - u) * std**2 + t * u
        lands = lands * together / ((1 - t)**2 * std**2 + t**2)
    return lands


def reflow_map(exact: Tensor, pairs: int, g: torch.Generator) -> Tensor:
    """The least-squares map (T, T) through so many exact pairs of noise and clip."""
    noise = torch.randn(pairs, len(exact), generator=g, dtype=torch.float64)
    return torch.linalg.lstsq(noise, noise * exact, driver="gelsd").solution


def arc_errors(std: Tensor, velocities: int, points: int = 256) -> tuple[float, float]:
    """`map` and `spread` over the whole path from t = 1, for one arc of so many velocities.

    The arc is the least-squares fit to the exact path's velocities.
    """
    t = torch.linspace(1, 0, points + 1, dtype=torch.float64)
    flow, one = gaussian_flow(Flow(), 0.0, std), torch.ones(1, len(std), dtype=torch.float64)
    path = torch.stack([flow(one, t[0], s)[0] for s in t])                       # (points + 1, T)
    rates = arc_rates(velocities)
    z = rates * (1 - t)[:, None]
    gone = torch.where(rates == 0, (1 - t)[:, None],
                       torch.expm1(z) / torch.where(rates == 0, 1, rates))       # (points + 1, K)
    arc = 1 - gone @ torch.linalg.lstsq(gone, 1 - path).solution
    apart = (arc - path).square().sum(1) / path.square().sum(1)
    return apart.mean().item(), (arc / path - 1).abs().max().item()


def arc_rates(velocities: int) -> Tensor:
    """0, and then rates of slow to fast changes along the way, of both signs."""
    rates = [0.0] + [(-1)**k * 2.0 ** (1 + k // 2) for k in range(velocities - 1)]
    return torch.tensor(rates, dtype=torch.float64)


def errors(made: Tensor, exact: Tensor) -> tuple[float, float]:
    """`map` and `spread` of a student's factors (T,) or matrix (T, T)."""
    matrix = made if made.ndim == 2 else torch.diag(made)
    apart = (matrix - torch.diag(exact)).square().sum() / exact.square().sum()
    spread = (matrix.square().sum(0).sqrt() / exact - 1).abs().max()
    return apart.item(), spread.item()


def rows(frames: int = 8, rho: float = 0.9, seed: int = 0) -> list[dict]:
    """Each method at each budget: its two errors."""
    variances, _ = ar1_axes(frames, rho)
    std = exact = variances.sqrt()
    g, found = torch.Generator().manual_seed(seed), []
    turn, _ = torch.linalg.qr(torch.randn(frames, frames, generator=g, dtype=torch.float64))
    methods = {
        "progressive, consistency (ddim's path)": lambda n: path_factors(std, n),
        "the same on heun's path": lambda n: path_factors(std, n, heun),
        "consistency training": lambda n: consistency_training_factors(std, n),
        "reflow": lambda n: reflow_map(exact, n, g),
    }
    for name, make in methods.items():
        for n in BUDGETS:
            found.append(row(name, n, errors(make(n), exact)))
    for n in (1, 2, 3, 4, 6, 8):
        found.append(row("arc, all along the path", n, arc_errors(std, n)))
    return [*found, row("distribution matching", 1, errors(turn * exact, exact))]


def row(method: str, n: int, found: tuple[float, float]) -> dict:
    """An entry of the table."""
    return {"method": method, "n": n, "map": found[0], "spread": found[1]}


def draw(found: list[dict], path: Path) -> None:
    """Both errors over the budget, a line for each method."""
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, 2, figsize=(12, 3.6), sharex=True)
    styles = ["-", "--", ":", "-.", (0, (5, 1)), "-"]
    for ax, error in zip(axes, ("map", "spread"), strict=True):
        for k, name in enumerate(dict.fromkeys(r["method"] for r in found)):
            mine = [r for r in found if r["method"] == name]
            ax.plot([r["n"] for r in mine], [max(r[error], 1e-8) for r in mine], label=name,
                    linestyle=styles[k], marker="os^vD*"[k], markersize=4)
        ax.set(xscale="log", yscale="log", title=error,
               xlabel="steps of the teacher, gaps, pairs or velocities")
    axes[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def main() -> None:
    """Print the table, and draw it if wanted."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frames", type=int, default=8)
    p.add_argument("--rho", type=float, default=0.9)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--picture", type=Path)
    args = p.parse_args()
    found = rows(args.frames, args.rho, args.seed)
    for row in found:
        print(f"{row['method']:46} {row['n']:3}   map {row['map']:.2e}   "
              f"spread {row['spread']:.2e}")
    if args.picture:
        draw(found, args.picture)


if __name__ == "__main__":
    main()
