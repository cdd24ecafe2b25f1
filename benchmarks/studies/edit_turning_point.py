"""SDEdit on clips of digits: how much noise keeps the path, and how much changes the class?

    python -m benchmarks.studies.edit_turning_point --digits FOLDER --n 96

Real clips of test digits are noised to t0 and made anew by `mmnist32` as another class.

    path     the share of frames whose digit is within two pixels of where it was
    class    the share of frames that are read, surely, as the new class
    chance   path, for the clips of other paths: what an edit that keeps nothing would have

The turning point is the t0 at which both curves cross, with a 95 % interval (bootstrap over clips).
"""
import argparse
from pathlib import Path

import torch

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.course.exercises.ch10 import crossing, judge, near
from minidiff.data import digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import moving_mnist
from minidiff.extensions.editing import redraw

COLUMNS = ("t0", "seed", "n", "path", "path_half", "class", "class_half", "chance")
TABLES = Path(__file__).parents[1] / "tables"
BATCH = 32


def main() -> None:
    """Measure, and store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--digits", default="builtin", help="of the clips: a folder or builtin")
    p.add_argument("--n", type=int, default=96)
    p.add_argument("--seed", type=int, default=100, help="of the clips and of sampling")
    p.add_argument("--times", type=lambda text: [float(t) for t in text.split(",")],
                   default="0.4,0.5,0.6,0.7,0.75,0.8,0.85,0.9,0.95,1")
    args = p.parse_args()
    table = ResultsTable("edit_turning_point", COLUMNS, ("t0", "seed"), TABLES)
    model = pipeline.load("mmnist32")
    real = moving_mnist(digits.load(args.digits, "test"), args.n, seed=args.seed, step=3)
    new = (real.labels[:, 0] + 5) % 10
    paths = judge(to_unit(real.x), new).path
    kept, changed = [], []
    for t0 in args.times:
        clips = torch.cat([
            redraw(model, real.x[i:i + BATCH], t0, labels=new[i:i + BATCH], seed=args.seed,
                   first_index=i).tensor for i in range(0, args.n, BATCH)])
        found = judge(clips, new)
        path, read = near(found.path, paths), found.kept.mean(1)
        kept.append(path)
        changed.append(read)
        if not table.has(t0=t0, seed=args.seed):
            table.add(t0=t0, seed=args.seed, n=args.n, **{
                "path": path.mean().item(), "path_half": half(path), "class": read.mean().item(),
                "class_half": half(read),
                "chance": near(found.path, paths.roll(1, 0)).mean().item()})
        print(f"t0 {t0:4}   path kept {path.mean():.3f} ± {half(path):.3f}   "
              f"class changed {read.mean():.3f} ± {half(read):.3f}", flush=True)
    at, around = crossing(torch.tensor(args.times), torch.stack(changed), torch.stack(kept))
    print(f"the curves cross at t0 = {at:.3f} ± {around:.3f}")


def half(values: torch.Tensor) -> float:
    """Half the 95 % interval of a mean over clips."""
    return 1.96 * values.std().item() / len(values) ** 0.5


if __name__ == "__main__":
    main()
