"""How well digits follow a path: the error of their centres against the strength of control.

    python -m benchmarks.studies.path_error --n 128

Paths of other clips of digits, drawn as a dot in each frame, steer `mmnist32-path`. Rows:

    strength   a factor of what the branch adds; 0 is the base
    hint       own: the path to obey; another: the same noise and class with the next clip's path

    error      the median distance of the ink's centre from the hint's path, over clips and frames,
               in pixels of 32; error_own: from the clip's own path, which says nothing of the hint
    follow     the share of frames within one pixel of the hint's path
"""
import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation import scoreboard
from minidiff.evaluation.references import reference_name
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.extensions.control import centres_of_ink, path_hint
from minidiff.pipeline import Pipeline

COLUMNS = ("strength", "hint", "seed", "n", "SCORE_half", *HEADLINE_METRICS, "error", "error_own",
           "follow")
TABLES = Path(__file__).parents[1] / "tables"
BATCH = 32


def steered_clips(model: Pipeline, labels: Tensor, paths: Tensor, seed: int,
                  strength: float) -> Tensor:
    """Clips (n, T, 1, 32, 32) in [0, 1] for paths (n, T, 2)."""
    clips = []
    for i in range(0, len(labels), BATCH):
        rows = slice(i, i + BATCH)
        clips.append(model(labels=labels[rows], hint=path_hint(paths[rows]), strength=strength,
                           seed=seed, first_index=i).tensor)
    return torch.cat(clips)


def main() -> None:
    """Measure, and store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist32-path")
    p.add_argument("--n", type=int, default=128, help="clips a row, 32 or more")
    p.add_argument("--seed", type=int, default=100, help="of the paths and of sampling")
    p.add_argument("--strengths", type=lambda text: [float(s) for s in text.split(",")],
                   default="0,0.25,0.5,1,1.5")
    args = p.parse_args()
    table = ResultsTable("path_error", COLUMNS, ("strength", "hint", "seed"), TABLES)
    model = pipeline.load(args.model)
    reference = reference_name(model.metadata["digits"], allow_missing=True)
    labels = torch.arange(args.n) % 10
    flights = moving_mnist(digits.load("builtin", "test"), args.n, labels=labels, seed=args.seed,
                           step=3)
    own = centres_of_ink(flights.x)
    plans = [(s, "own", own) for s in args.strengths] + [(1.0, "another", own.roll(-1, 0))]
    for strength, hint, paths in plans:
        if not table.has(strength=strength, hint=hint, seed=args.seed):
            x = steered_clips(model, labels, paths, args.seed, strength)
            row, at = scoreboard.score(x, labels, reference=reference), centres_of_ink(2 * x - 1)
            off = (at - paths).norm(dim=-1)
            low, high = row["interval"]["SCORE"]
            table.add(strength=strength, hint=hint, seed=args.seed, n=args.n,
                      SCORE_half=(high - low) / 2, **{k: row[k] for k in HEADLINE_METRICS},
                      error=off.median().item(), error_own=(at - own).norm(dim=-1).median().item(),
                      follow=(off < 1).float().mean().item())
            print(f"strength {strength:4} {hint:8} error {off.median():.2f} px   "
                  f"within 1 px {(off < 1).float().mean():.2f}   SCORE {row['SCORE']:.3f}",
                  flush=True)


if __name__ == "__main__":
    main()
