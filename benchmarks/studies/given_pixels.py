"""A clip of which a part is given: trained conditioning against replacement and RePaint.

    python -m benchmarks.studies.given_pixels --digits FOLDER --n 128

Clips of test digits, of which the first frame or the left half is known, with their class. Rows:

    real       the clips themselves
    floor      no model: the first frame repeated, or black where nothing is known
    trained    `mmnist32-frames`, whose network is told the known pixels
    replaced   `mmnist32`, whose guess is fixed where pixels are known (`guidance.inpainted`)
    replaced5  the same with five times as many steps
    repaint    the same with R = 5 repeats of each step, five times as many calls, too

    kept       the share of clips that show the known digit, by most of their frames
    seam       free-flight violations (more than half a pixel) at the given frame, over those
               inside, for the same model; first frame only
    speeds     the 1-Wasserstein distance of speeds from the real clips', over their mean speed
    known      the largest error of a known pixel
"""
import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.data import digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import Clips, moving_mnist
from minidiff.evaluation import scoreboard
from minidiff.evaluation.metrics import Measurements, measure
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.extensions.conditioning import kept
from minidiff.extensions.editing import repaint
from minidiff.pipeline import Pipeline

COLUMNS = ("mask", "method", "seed", "n", "SCORE_half", *HEADLINE_METRICS, "kept", "kept_half",
           "seam", "inside", "speeds", "known")
TABLES = Path(__file__).parents[1] / "tables"
MASKS = {"first": "first", "half": "left"}
METHODS = {"trained": ("mmnist32-frames", {}), "replaced": ("mmnist32", {}),
           "replaced5": ("mmnist32", {"steps": 100}),
           "repaint": ("mmnist32", {"sampler": repaint(5)})}
BATCH, SPRITE, HALF_PIXEL = 32, 14, 0.5


def made_clips(model: Pipeline, real: Clips, where: Tensor, seed: int, settings: dict) -> Tensor:
    """The model's clips, in [0, 1], for what is known of each real one."""
    labels, clips = real.labels[:, 0], []
    for i in range(0, len(labels), BATCH):
        rows = slice(i, i + BATCH)
        clips.append(model(labels=labels[rows], given=real.x[rows], where=where, seed=seed,
                           first_index=i, **settings).tensor)
    return torch.cat(clips)


def floor(x: Tensor, where: Tensor) -> Tensor:
    """What no model is needed for: a known first frame repeated, or black where unknown."""
    return x[:, :1].expand_as(x) if where[0].all() else x * where


def violations(m: Measurements, steps: slice) -> float:
    """The share of free steps, of these places of a clip, that are off by half a pixel or more."""
    free = m.motion.free[:, steps]
    return float((m.motion.accelerations[:, steps][free] > HALF_PIXEL).float().mean())


def figures(x: Tensor, real: Clips, where: Tensor, reference: str) -> dict:
    """The figures of clips x in [0, 1]."""
    labels, truth = real.labels[:, 0], to_unit(real.x)
    row = scoreboard.score(x, labels, reference=reference)
    m, own = measure(x, SPRITE), measure(truth, SPRITE)
    apart = (m.speed.sort().values - own.speed.sort().values).abs().mean() / own.speed.mean()
    hits = (m.digit == labels).float()
    low, high = row["interval"]["SCORE"]
    return {**{k: row[k] for k in HEADLINE_METRICS}, "SCORE_half": (high - low) / 2,
            "kept": hits.mean().item(), "kept_half": 1.96 * hits.std().item() / len(hits) ** 0.5,
            "seam": violations(m, slice(0, 1)), "inside": violations(m, slice(1, None)),
            "speeds": apart.item(), "known": ((x - truth) * where).abs().max().item()}


def main() -> None:
    """Measure, and store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--digits", default="builtin", help="the models' digits: a folder or builtin")
    p.add_argument("--n", type=int, default=128, help="clips a row, 32 or more")
    p.add_argument("--seed", type=int, default=100, help="of the clips and of sampling")
    p.add_argument("--masks", nargs="*", default=[*MASKS], choices=[*MASKS])
    args = p.parse_args()
    table = ResultsTable("given_pixels", COLUMNS, ("mask", "method", "seed"), TABLES)
    models = {name: pipeline.load(name) for name in ("mmnist32-frames", "mmnist32")}
    reference = "builtin" if args.digits == "builtin" else "mnist"
    real = moving_mnist(digits.load(args.digits, "test"), args.n, seed=args.seed, step=3)
    for name in args.masks:
        where = kept(MASKS[name], tuple(real.x.shape[1:]))
        x = to_unit(real.x)
        rows = {"real": lambda x=x: x, "floor": lambda x=x, where=where: floor(x, where)} | {
            method: lambda model=model, settings=settings, where=where: made_clips(
                models[model], real, where, args.seed, settings)
            for method, (model, settings) in METHODS.items()}
        for method, make in rows.items():
            key = dict(mask=name, method=method, seed=args.seed)
            if not table.has(**key):
                row = figures(make(), real, where, reference)
                table.add(**key, n=args.n, **row)
                print(f"{name:6} {method:10} SCORE {row['SCORE']:.3f} ± {row['SCORE_half']:.3f}   "
                      f"kept {row['kept']:.3f}   seam {row['seam']:.3f} / {row['inside']:.3f}   "
                      f"speeds {row['speeds']:.3f}   known {row['known']:.4f}", flush=True)


if __name__ == "__main__":
    main()
