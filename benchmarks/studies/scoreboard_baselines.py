"""The scoreboard's rows for real clips, for clips that need no model, and for flawed clips.

    python -m benchmarks.studies.scoreboard_baselines --digits builtin|mnist|FOLDER --n 512

Two digits: --digits mnist --size 64 --frames 16 --sprite 20 --number 2
"""
import argparse
import json
import time
from pathlib import Path

from minidiff.evaluation import baselines, references

KEYS = ("SCORE", "ID", "PHY", "smooth", "bounce", "motion", "FIT", "fvd_local", "fvd_frames",
        "COVER", "coverage", "precision", "chi_square", "flicker", "memo", "off_half", "off_one",
        "tracked", "unread")                                     # of those that the reference has


def main() -> None:
    """Measure, and print or store the figures."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="builtin",
                        help="builtin, mnist or a folder with MNIST's files")
    parser.add_argument("--n", type=int, default=512, help="clips in each row")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--sprite", type=int, help="pixels; 7/16 of the size unless given")
    parser.add_argument("--number", type=int, default=1, help="digits in a clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    args = parser.parse_args()
    start = time.perf_counter()
    ref = references.reference_for(args.digits, args.size, args.frames, args.sprite, args.number)
    built = time.perf_counter() - start
    rows = baselines.baseline_rows(args.digits, args.n, args.seed, ref)
    each = (time.perf_counter() - start - built) / len(rows)
    first = rows["real"]
    keys = [k for k in KEYS if k in first]
    print(f"{ref.name()}, n = {first['n']}, real-real {first['real_real']:.3f}, "
          f"digit classifier {first['evaluator'][:12]}")
    print(" " * 12 + "".join(k[:9].rjust(10) for k in keys) + "   95 % limits")
    for name, row in rows.items():
        values = "".join(("copier" if row[k] is None else f"{row[k]:.3f}").rjust(10) for k in keys)
        low_high = row["interval"]["SCORE"]
        limits = f"   {low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
        print(f"{name:12}{values}{limits}")
    print(f"reference {built:.1f} s, each row {each:.1f} s with its clips")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
