"""SCORE against network calls, for every sampler on one model, as a table that chapter 08 reads.

    python benchmarks/calls.py --n 256 --calls 4,6,8,10,15,20,30,50,100,1000 --seed 100

A row is written as soon as it is known, the cheap ones first; run it again and it goes on where it
was stopped. Every sampler takes as many steps as a number of calls allows (Heun calls twice a step,
once in the last), with the model's own guidance and grid. Above 100 calls only the samplers in
--long are tried. One call of one guided clip is 0.05 s on one core: 1,000 calls for 256 clips are
three and a half hours there, minutes on a GPU.
"""
import argparse
import csv
import platform
import time
from datetime import date
from pathlib import Path

import torch

from minidiff import evaluate, pipeline
from minidiff.duel import fitting
from minidiff.schedules import timesteps

TABLE = Path(__file__).resolve().parents[1] / "solutions" / "tables" / "calls.csv"
PARTS = "SCORE", "ID", "PHY", "FIT", "COVER", "PROMPT"
FIELDS = ("model", "sampler", "calls", "steps", "n", "seed", "low", "high", *PARTS, "seconds",
          "device")
LONG = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mmnist32", help="a checkpoint's name or file")
    parser.add_argument("--n", type=int, default=256, help="clips a row, 32 or more")
    parser.add_argument("--calls", type=numbers, default="4,6,8,10,15,20,30,50,100,1000",
                        help="network calls to allow, with commas between")
    parser.add_argument("--samplers", type=words, default="ddpm,ddim,heun,dpmpp_2m")
    parser.add_argument("--long", type=words, default="ddpm",
                        help=f"those to be tried with more than {LONG} calls, too")
    parser.add_argument("--seed", type=int, default=100, help="of the sampling")
    parser.add_argument("--out", type=Path, default=TABLE)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = pipeline.load(args.model, device)
    done = begun(args.out)
    for calls in sorted(args.calls):
        for sampler in args.samplers if calls <= LONG else args.long:
            key = args.model, sampler, str(calls), str(args.n), str(args.seed)
            if key in done:
                continue
            row = measured(model, sampler, calls, args.n, args.seed)
            append(args.out, dict(zip(("model", "sampler", "calls", "n", "seed"), key)) | row)
            print(f"{sampler:10} {calls:5} calls   SCORE {row['SCORE']} ({row['low']} to "
                  f"{row['high']})   {row['seconds']} s", flush=True)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def words(text: str) -> list[str]:
    return text.split(",")


def measured(model: pipeline.Pipeline, sampler: str, calls: int, n: int, seed: int) -> dict:
    """The row of one sampler at so many calls, as text."""
    steps = len(fitting(sampler, timesteps, calls)) - 1
    start = time.perf_counter()
    row = evaluate.row(model, n, seed, model.about["digits"], sampler=sampler, steps=steps)
    seconds = time.perf_counter() - start
    (low, high), device = row["interval"]["SCORE"] or (None, None), model.device.type
    figures = {k: row[k] for k in PARTS} | {"low": low, "high": high}
    return {k: "" if v is None else f"{v:.4f}" for k, v in figures.items()} | {
        "steps": steps, "seconds": f"{seconds:.1f}", "device": device}


def begun(path: Path) -> set[tuple]:
    """The rows that are there; a new table gets its first lines: the machine and the date."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        path.write_text(
            "# SCORE against network calls: python benchmarks/calls.py; low, high: 95 % limits\n"
            f"# {date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, {gpu}, "
            f"Python {platform.python_version()}, torch {torch.__version__}\n"
            + ",".join(FIELDS) + "\n")
    with path.open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {tuple(r[k] for k in ("model", "sampler", "calls", "n", "seed")) for r in rows}


def append(path: Path, row: dict) -> None:
    with path.open("a", newline="") as file:
        csv.DictWriter(file, FIELDS, lineterminator="\n").writerow(row)


if __name__ == "__main__":
    main()
