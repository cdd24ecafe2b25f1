"""SCORE against network calls, for every sampler: the table of the chapter on fast samplers.

    python -m benchmarks.studies.score_vs_network_calls [--calls 4,8,15] [--samplers ddim,ddpm]

The cheap rows come first. A row is stored as soon as it is known, and a stored row is not made
again, whatever its n, so an interrupted run continues. Each sampler makes as many steps as the
number of calls allows (Heun calls twice a step, once in the last), with the model's own guidance
and grid and without autoguidance. Above 100 calls only the samplers of --long are used. --exact:
all in float32. One call for one guided clip of mmnist32 takes about 40 ms of one core, so 1,000
calls for 256 clips take three hours there.
"""
import argparse
import time

import torch

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.evaluation import evaluate
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.runtime import files
from minidiff.runtime.precision import has_bf16
from minidiff.schedules import timesteps
from minidiff.visual.sampler_duel import longest_grid

COLUMNS = ("model", "sha256", "sampler", "calls", "dtype", "seed", "n", "steps", "SCORE_half",
           *HEADLINE_METRICS, "edition", "seconds")
MANY_CALLS = 100


def score_row(model: pipeline.Pipeline, sampler: str, calls: int, args) -> dict:
    """The entries of a row beside its key; SCORE_half: half of its 95 % interval."""
    steps = len(longest_grid(sampler, timesteps, calls)) - 1
    start = time.perf_counter()
    row = evaluate.evaluate_model(model, args.n, args.seed, model.metadata["digits"],
                                  sampler=sampler, steps=steps, exact=args.exact,
                                  autoguidance=0.0)
    seconds, (low, high) = time.perf_counter() - start, row["interval"]["SCORE"]
    return {"n": args.n, "steps": steps, "SCORE_half": (high - low) / 2,
            **{k: row[k] for k in (*HEADLINE_METRICS, "edition")}, "seconds": seconds}


def int_list(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(word) for word in text.split(",")]


def str_list(text: str) -> list[str]:
    """Words with commas between."""
    return text.split(",")


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist32", help="a checkpoint's name or file")
    p.add_argument("--n", type=int, default=256, help="clips a row, 32 or more")
    p.add_argument("--calls", type=int_list, default="4,6,8,10,15,20,30,50,100,1000",
                   help="network calls to allow, with commas between")
    p.add_argument("--samplers", type=str_list, default="ddpm,ddim,heun,dpmpp_2m")
    p.add_argument("--long", type=str_list, default="ddpm",
                   help=f"those to be tried with more than {MANY_CALLS} calls, too")
    p.add_argument("--exact", action="store_true", help="float32 where bfloat16 is usual")
    p.add_argument("--seed", type=int, default=100, help="of the sampling")
    args = p.parse_args()
    model = pipeline.load(args.model, "cuda" if torch.cuda.is_available() else "cpu")
    sha = files.digest(files.load_tensors(pipeline.checkpoint_path(args.model))[0])[:12]
    dtype = "float32" if args.exact or not has_bf16(model.device) else "bfloat16"
    table = ResultsTable("score_vs_network_calls", COLUMNS,
                         ("model", "sampler", "calls", "dtype", "seed"),
                         note="SCORE of the shipped models; half: of a 95 % interval over clips")
    if any(r["model"] == args.model and r["sha256"] != sha for r in table.rows):
        p.error(f"{table.path} holds rows of another {args.model}; remove them first.")
    for calls in sorted(args.calls):
        for sampler in args.samplers if calls <= MANY_CALLS else args.long:
            key = {"model": args.model, "sampler": sampler, "calls": calls, "dtype": dtype,
                   "seed": args.seed}
            if table.has(**key):
                continue
            row = score_row(model, sampler, calls, args)
            table.add(**key, sha256=sha, **row)
            print(f"{sampler:10} {calls:5} calls   SCORE {row['SCORE']} ± {row['SCORE_half']}   "
                  f"{row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
