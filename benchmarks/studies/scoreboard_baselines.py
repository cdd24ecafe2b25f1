"""What the scoreboard says of real clips, and of clips that no model made (`baselines`).

    python -m benchmarks.studies.scoreboard_baselines --digits builtin|mnist|FOLDER --n 256

Each line is one case: SCORE with its 95 % limits, and all parts. A SCORE outside the case's own
limits, which were set for n = 256, is marked. Two digits: --digits mnist --size 64 --frames 16
--sprite 20 --number 2
"""
import argparse
import json
import time
from pathlib import Path

from minidiff.evaluation import references
from minidiff.evaluation.baselines import BASELINES
from minidiff.evaluation.reference_rows import baseline_rows
from minidiff.evaluation.rows import HEADLINE_METRICS, score_interval
from minidiff.runtime import files

COLUMNS = [k for k in HEADLINE_METRICS if k != "PROMPT"]      # baselines have no prompts
SINGLE_PARTS = [k for k in COLUMNS if k not in ("SCORE", "CLIPS")]
WIDTH = 36                                                    # of a name


def outside(name: str, row: dict) -> str:
    """What is wrong with a baseline's SCORE, or nothing."""
    limits = BASELINES[name]
    if row["SCORE"] > limits.at_most:
        return f"above {limits.at_most:.2f}"
    return f"below {limits.at_least:.2f}" if row["SCORE"] < limits.at_least else ""


def text_line(name: str, row: dict) -> str:
    """A baseline's line of the printed table."""
    low, high = score_interval(row)
    score, *parts = (f"{row[k]:.2f}".rjust(6) for k in COLUMNS)
    wrong = outside(name, row)
    return (f"{name:{WIDTH}}{BASELINES[name].kind:13}{score}  {low:.2f} to {high:.2f}"
            f"{''.join(parts)}{f'   ! {wrong}' if wrong else ''}")


def markdown_line(name: str, row: dict) -> str:
    """A baseline's line of the Markdown table."""
    lowest, wrong = min(SINGLE_PARTS, key=row.get), outside(name, row)
    score = f"{row['SCORE']:.2f}" + (f" ({wrong})" if wrong else "")
    return f"| {BASELINES[name].kind} | {name} | {score} | {lowest} {row[lowest]:.2f} |"


def main() -> None:
    """Measure, and print or store the figures."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="builtin",
                        help="builtin, mnist or a folder with MNIST's files")
    parser.add_argument("--other", help="digits of another source, builtin or a folder, for the "
                                        "case that needs them; else it is left out")
    parser.add_argument("--n", type=int, default=256, help="clips in each row")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--sprite", type=int, help="pixels; 7/16 of the size unless given")
    parser.add_argument("--number", type=int, default=1, help="digits in a clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--markdown", action="store_true",
                        help="a Markdown table: kind, case, SCORE, and the lowest part")
    args = parser.parse_args()
    start, rows = time.perf_counter(), {}
    ref = references.reference_for(args.digits, args.size, args.frames, args.sprite, args.number)
    heads = "".join(k.rjust(6) for k in COLUMNS[1:])
    print("| kind | case | SCORE | lowest part |\n| --- | --- | --- | --- |" if args.markdown else
          f"{'case':{WIDTH}}{'kind':13}{'SCORE':>6}  {'95 % limits':12}{heads}", flush=True)
    line = markdown_line if args.markdown else text_line
    for name, row in baseline_rows(args.digits, args.n, args.seed, ref, other=args.other):
        rows[name] = row
        print(line(name, row), flush=True)
    wrong = sum(bool(outside(name, row)) for name, row in rows.items())
    print(f"\n{ref.name()}, n = {args.n}, digit classifier {ref.metadata['evaluator'][:12]}, "
          f"{time.perf_counter() - start:.0f} s. Outside their limits: {wrong} of {len(rows)}.")
    if args.json:
        files.write_text(args.json, json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
