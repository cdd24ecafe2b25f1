"""Students of few calls beside their teacher: SCORE, distance to the teacher, seconds a clip.

    python -m benchmarks.studies.few_calls --teacher mmnist32 --students mmnist32-4 FILE ...

A row is a model (a checkpoint's name or a file), a sampler and a number of calls. Students are
sampled with their own sampler; the teacher, as the control, with dpmpp_2m, ddim and ddpm, guided
but without autoguidance, which would cost a second pass; and with its own settings. Passes are
network passes of one clip: guidance doubles them, autoguidance adds one.

    distance   |clip - end of the teacher's ddim on the same noise|^2 / energy of that end's ink
    minutes    of training, as the student's file says

Three noise seeds unless given; a row is stored as soon as it is known (`benchmarks/tables`), and an
interrupted run continues.
"""
import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.results_table import ResultsTable
from minidiff import pipeline
from minidiff.evaluation import evaluate
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.pipeline import Pipeline
from minidiff.runtime import files

CONTROLS = "dpmpp_2m", "ddim", "ddpm"
COLUMNS = ("model", "sha256", "sampler", "calls", "passes", "seed", "n", "SCORE_half",
           *HEADLINE_METRICS, "edition", "distance", "distance_half", "seconds", "minutes")
TABLES = Path(__file__).parents[1] / "tables"
DISTANCE_CLIPS, DISTANCE_STEPS = 32, 20


class Passes:
    """A context that counts the network passes of a model, one for each clip of a batch."""

    def __init__(self, model: Pipeline):
        self.net, self.count = model.denoiser.net, 0

    def __enter__(self) -> "Passes":
        self.hook = self.net.register_forward_pre_hook(self.add)
        return self

    def add(self, _, inputs: tuple) -> None:
        """Count the clips of one call."""
        self.count += len(inputs[0])

    def __exit__(self, *error) -> None:
        self.hook.remove()


def some_clips(model: Pipeline, n: int, seed: int, **settings) -> Tensor:
    """n clips of the evaluation's conditions."""
    conditions = evaluate.evaluation_conditions(model, n, seed)
    return torch.cat([v.tensor for v in evaluate.sample_clips(model, conditions, seed, **settings)])


def distance(clips: Tensor, ends: Tensor) -> tuple[float, float]:
    """The mean squared distance to the teacher's ends, over their energy, and half its interval."""
    each = (clips - ends).square().flatten(1).sum(1) / ends.square().sum((1, 2, 3, 4)).mean()
    return each.mean().item(), 1.96 * each.std().item() / len(each) ** 0.5


def result_row(model: Pipeline, ends: Tensor, n: int, seed: int, settings: dict) -> dict:
    """All figures of one model, sampler and number of calls."""
    with Passes(model) as passes:
        began = time.perf_counter()
        clips = some_clips(model, len(ends), seed, **settings)
        seconds = (time.perf_counter() - began) / len(ends)
    row = evaluate.evaluate_model(model, n, seed, model.metadata["digits"], **settings)
    (low, high), (apart, half) = row["interval"]["SCORE"], distance(clips, ends)
    return {"n": n, "SCORE_half": (high - low) / 2, "passes": passes.count / len(ends),
            **{k: row[k] for k in (*HEADLINE_METRICS, "edition")}, "distance": apart,
            "distance_half": half, "seconds": seconds, "minutes": model.metadata.get("minutes")}


def plans(args) -> list[tuple[str, str, int, dict]]:
    """(model, sampler, calls, settings) of all rows: the teacher, its controls, the students."""
    rows = [(args.teacher, "its own", 0, {})]
    for calls in args.calls:
        rows += [(args.teacher, sampler, calls,
                  dict(sampler=sampler, steps=calls, autoguidance=0.0)) for sampler in CONTROLS]
        rows += [(name, "its own", calls, dict(steps=calls)) for name in args.students]
    return rows


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--teacher", default="mmnist32")
    p.add_argument("--students", nargs="*", default=[])
    p.add_argument("--calls", type=lambda text: [int(c) for c in text.split(",")], default="1,2,4")
    p.add_argument("--n", type=int, default=256, help="clips a row, 32 or more")
    p.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")],
                   default="100,101,102")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args()
    table = ResultsTable("few_calls", COLUMNS, ("model", "sha256", "sampler", "calls", "seed"),
                         TABLES, "the teacher's own settings stand as 0 calls")
    models = {name: pipeline.load(name, args.device) for name in (args.teacher, *args.students)}
    sha = {name: files.digest(files.load_tensors(pipeline.checkpoint_path(name))[0])[:12]
           for name in models}
    for seed in args.seeds:
        ends = some_clips(models[args.teacher], min(DISTANCE_CLIPS, args.n), seed, sampler="ddim",
                          steps=DISTANCE_STEPS)
        for name, sampler, calls, settings in plans(args):
            key = dict(model=name, sha256=sha[name], sampler=sampler, calls=calls, seed=seed)
            if not table.has(**key):
                row = result_row(models[name], ends, args.n, seed, settings)
                table.add(**key, **row)
                print(f"{name:20} {sampler:9} {calls:2}   SCORE {row['SCORE']:.3f} "
                      f"± {row['SCORE_half']:.3f}   distance {row['distance']:.3f}   "
                      f"{row['seconds']:.2f} s a clip", flush=True)


if __name__ == "__main__":
    main()
