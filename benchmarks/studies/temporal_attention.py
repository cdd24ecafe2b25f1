"""Kinds of temporal layers at equal compute: the table of the chapter on time.

    python -m benchmarks.studies.temporal_attention [--minutes 5.2] [--n 256] [--only NAME ...]

The recipes `time-none` (none), `time-factorised`, `time-full` and `time-causal`, and
two ablations of the second, `time-conv` (no attention through time) and `time-attention` (no
temporal convolution), are trained for the same processor minutes each, with the same seed and
clips, and scored with the same sampling seed. Minutes are the processor's, so other work on the
machine does not count. An interrupted training continues, and a stored row is not made again.

Intervals are 95 %: of SCORE and its parts by the jackknife over groups of clips
(`scoreboard.score`), of smooth, bounce, off_half and flicker over clips.
"""
import argparse
import json
import tempfile
import time
from math import inf
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.results_table import ResultsTable
from benchmarks.trained_model import trained_model
from minidiff.course.student.claims import TABLES, confidence_interval
from minidiff.evaluation import evaluate, scoreboard
from minidiff.evaluation.metrics import measure
from minidiff.evaluation.references import reference_name
from minidiff.pipeline import Pipeline
from minidiff.recipes import Recipe, get_recipe
from minidiff.runtime import files
from minidiff.training.training_run import TrainingRun
from minidiff.unet import TIME_MODES

ABLATIONS = "conv", "attention"                               # what is left of "factorised"
MODE_NAMES = *TIME_MODES, *ABLATIONS
HEADLINES = scoreboard.HEADLINE_METRICS
PARTS = "smooth", "bounce", "off_half", "flicker"             # as in the row, with intervals here
COLUMNS = ("name", "steps", "minutes", "n", "seed",
           *(f"{k}{end}" for k in (*HEADLINES, *PARTS) for end in ("", "_low", "_high")),
           "memo", "edition")


def mode_recipe(name: str) -> Recipe:
    """The recipe of a mode, or of an ablation: "factorised" with one of its two layers."""
    if name in TIME_MODES:
        return get_recipe(f"time-{name}")
    return get_recipe("time-factorised", temporal_layers=[name])._replace(name=f"time-{name}")


def steps_per_mode(args) -> dict[str, int]:
    """How many steps each gets in so many processor minutes; kept beside the trainings.

    By the median of twelve steps, all recipes' in turn, so that the state of the machine, its
    caches and other work, is the same for all.
    """
    kept = args.out / "steps.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            runs = {n: TrainingRun(Path(folder) / n, mode_recipe(n), args.digits, steps=15,
                                   seed=args.seed) for n in MODE_NAMES}
            running = {n: run.steps(save_every=inf) for n, run in runs.items()}
            took = {n: [] for n in MODE_NAMES}
            for _ in range(15):
                for name, records in running.items():
                    before = time.process_time()
                    next(records)
                    took[name].append(time.process_time() - before)
            for name in MODE_NAMES:
                running[name].close()
                runs[name].close()
        steps = {n: round(60 * args.minutes / median(each[3:])) for n, each in took.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(kept, json.dumps(steps))
    return json.loads(kept.read_text())


def train_model(name: str, args) -> Pipeline:
    """The model of a mode, trained in its folder first if need be."""
    return trained_model(args.out / name, mode_recipe(name),
                         lambda: args.steps or steps_per_mode(args)[name], args.seed, args.digits)


def ratio_with_interval(hits: Tensor, cases: Tensor) -> tuple[float, float]:
    """sum(hits) / sum(cases) over clips (N, ...), and half the width of its interval.

    The ratio r errs like the mean of hits - r cases (Cochran 1977 chapter 6).
    """
    hits, cases = hits.double().flatten(1).sum(1), cases.double().flatten(1).sum(1)
    r = float(hits.sum() / cases.sum().clamp(min=1e-9))
    return r, confidence_interval(hits - r * cases)[1] / max(cases.mean().item(), 1e-9)


def motion_parts(clips: Tensor, sprite: int) -> dict[str, tuple[float, float]]:
    """PARTS of clips (N, T, 1, S, S), each with half its interval."""
    m, size = measure(clips, sprite), clips.shape[-1]
    free, accelerations, contact = m.motion.free, m.motion.accelerations, m.motion.wall_contact
    return {"smooth": ratio_with_interval((-accelerations * 64 / size).exp() * free, free),
            "bounce": ratio_with_interval(m.motion.reflected & contact, contact),
            "off_half": ratio_with_interval((accelerations > size / 64) & free, free),
            "flicker": confidence_interval(m.flicker)}


def score_row(model: Pipeline, args) -> dict:
    """The row of a model."""
    conditions = evaluate.evaluation_conditions(model, args.n)
    settings = {"steps": args.calls} if args.calls else {}
    made = tqdm(evaluate.sample_clips(model, conditions, args.seed + 100, **settings),
                desc="sampling", total=-(-args.n // evaluate.BATCH_SIZE))
    x = torch.cat([video.tensor for video in made])
    reference = reference_name(args.digits, allow_missing=True)
    row = scoreboard.score(x, conditions.labels, reference=reference, seeds=(args.seed + 100,))
    out = {k: row[k] for k in (*HEADLINES, "memo", "edition")}
    for k in HEADLINES:
        out[f"{k}_low"], out[f"{k}_high"] = row["interval"][k]
    for k, (mean, half) in motion_parts(x, 14).items():
        out |= {k: mean, f"{k}_low": mean - half, f"{k}_high": mean + half}
    return out | dict(steps=model.metadata["steps"], minutes=args.minutes, n=args.n, seed=args.seed)


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=5.2, help="of the processor, for each training")
    p.add_argument("--steps", type=int, help="so many steps for each instead of minutes")
    p.add_argument("--digits", default="builtin")
    p.add_argument("--n", type=int, default=256, help="clips to judge")
    p.add_argument("--calls", type=int, help="sampling steps, the recipe's unless given")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--only", nargs="+", choices=MODE_NAMES, default=MODE_NAMES)
    p.add_argument("--out", type=Path, default=Path("runs/time"), help="where trainings are")
    p.add_argument("--table", type=Path, default=TABLES, help="the folder of the table")
    args = p.parse_args()
    rows = ResultsTable("temporal_attention", COLUMNS, ("name", "seed", "n"), args.table)
    for name in args.only:
        if not rows.has(name=f"time-{name}", seed=args.seed, n=args.n):
            rows.add(name=f"time-{name}", **score_row(train_model(name, args), args))


if __name__ == "__main__":
    main()
