"""How SCORE and its parts depend on the number of clips, and whether their intervals are right.

    python -m benchmarks.studies.scoreboard_statistics --digits builtin|mnist|FOLDER [--draws 200]

2,048 clips of each case (`baselines`) are made and measured once. Of them n clips are drawn without
repeats, again and again, and judged. For SCORE and each part is printed: the value of all clips;
and for each n, mean and standard deviation over the draws, and the share of the 95 % intervals
that contain the value of all clips. Means and deviations are of the estimates before they are cut
off at 1.

Draws of one set share clips. So the deviation is too small by a factor of about
sqrt(1 - n / 2048): .97 for n = 128, .94 for 256, .71 for 1,024.
"""
import argparse
from collections.abc import Iterator

import torch

from minidiff.data import digits
from minidiff.evaluation import references, scoreboard
from minidiff.evaluation.baselines import BASELINES, Studio
from minidiff.evaluation.metrics import measure
from minidiff.evaluation.references import Reference
from minidiff.evaluation.scoreboard import Entry
from minidiff.runtime.seeds import generator

SIZE, FRAMES = 32, 8
CASES = ("real", "4 images a class", "positions off by 0.2 px", "turning 5 degrees a frame",
         "50 % first frame", "half missing")
LEAST_DRAWS = 8


def judged_draws(entry: Entry, ref: Reference, n: int, draws: int, total: int,
                 g: torch.Generator) -> Iterator[tuple[dict[str, float], dict]]:
    """Of draws of n out of `total` clips: estimates of SCORE and its parts, and their intervals."""
    for _ in range(draws):
        clips = torch.randperm(total, generator=g)[:n]
        parts = scoreboard.part_estimates(entry.select(clips), ref)
        row = scoreboard.with_intervals(parts, n)
        yield {k: float(v[0]) for k, v in parts.items()}, row["interval"]


def statistics(entry: Entry, ref: Reference, n: int, draws: int, total: int, g: torch.Generator,
               whole: dict[str, float]) -> dict[str, tuple[float, float, float]]:
    """Mean and standard deviation of each part, and the share of intervals that contain `whole`."""
    estimates, intervals = zip(*judged_draws(entry, ref, n, draws, total, g), strict=True)
    found = {}
    for k, value in whole.items():
        values = torch.tensor([each[k] for each in estimates])
        shown = min(1., max(0., value))
        inside = [low <= shown <= high for low, high in (each[k] for each in intervals)]
        found[k] = float(values.mean()), float(values.std()), sum(inside) / draws
    return found


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="builtin",
                        help="builtin, mnist or a folder with MNIST's files")
    parser.add_argument("--cases", nargs="+", choices=BASELINES, default=CASES, metavar="CASE",
                        help="names of baselines (default: %(default)s)")
    parser.add_argument("--n", type=int, nargs="+", default=[128, 256, 1024],
                        help="clips in a draw (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=200,
                        help="of the smallest n; of larger ones as many fewer, at least "
                             f"{LEAST_DRAWS} (default: %(default)s)")
    parser.add_argument("--total", type=int, default=2048, help="clips of each case")
    parser.add_argument("--other", help="digits of another source, for the case that needs them")
    parser.add_argument("--seed", type=int, default=77)
    args = parser.parse_args()
    if max(args.n) >= args.total:
        parser.error("Each --n must be smaller than --total.")
    if "other source" in args.cases and args.other is None:
        parser.error("The case 'other source' needs --other.")
    ref = references.reference_for(args.digits, SIZE, FRAMES)
    studio = Studio(digits.load(args.digits, "test"), args.total, args.seed,
                    train=digits.load(args.digits, "train"),
                    other=args.other and digits.load(args.other, "test"))
    draws = {n: max(LEAST_DRAWS, args.draws * min(args.n) // n) for n in sorted(args.n)}
    print(f"{ref.name()}; mean +- standard deviation, intervals that hold the value of n = "
          f"{args.total}\n{'':8}{f'n = {args.total}':>10}"
          + "".join(f"{f'n = {n}, {d} draws':>28}" for n, d in draws.items()))
    for name in args.cases:
        m = measure(BASELINES[name].make(studio), ref.metadata["sprite"])
        entry, g = scoreboard.entry(m, {}, ref), generator("draws of clips", args.seed)
        whole = {k: float(v[0]) for k, v in scoreboard.part_estimates(entry, ref).items()}
        found = [statistics(entry, ref, n, d, args.total, g, whole) for n, d in draws.items()]
        print(name)
        for k, value in whole.items():
            cells = (f"{mean:.3f} +- {std:.3f}, {inside:.0%}" for mean, std, inside in
                     (each[k] for each in found))
            print(f"  {k:6}{value:10.3f}{''.join(c.rjust(28) for c in cells)}", flush=True)


if __name__ == "__main__":
    main()
