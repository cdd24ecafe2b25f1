"""The effect of the guidance scale, from 0 to 15: the table of the chapter on guidance.

    python -m benchmarks.studies.guidance_scales [--models NAME ...] [--n 200] [--score 192]

For each model and scale, guided at all times and without autoguidance, from one set of noises:
adherence, diversity, saturation and contrast (`minidiff.evaluation.metrics.guidance_metrics`) with
halves of 95 % intervals over noises, and SCORE of --score clips (0: none). Text models get prompts
of one digit and its heading, ten in turn; adherence then means both. A row is stored as soon as it
is known. A stored row is not made again, whatever its n, and rows of another checkpoint are
refused. One step of one guided clip takes about 15 ms of one core with mmnist32, twice that with
mmnist64-text.
"""
import argparse

import torch
from tqdm import tqdm

from benchmarks.results_table import ResultsTable
from minidiff import load
from minidiff.course.student.claims import confidence_interval
from minidiff.data.prompts import ObjectSpec, describe
from minidiff.evaluation import evaluate
from minidiff.evaluation.metrics import guidance_metrics, measure, prompt_hits
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.pipeline import Pipeline, checkpoint_path
from minidiff.runtime import files

SCALES = 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0
TRAITS = "adherence", "diversity", "saturation", "contrast"
COLUMNS = ("model", "sha256", "scale", "seed", "n",
           *(f"{t}{end}" for t in TRAITS for end in ("", "_half")), "SCORE_half",
           *HEADLINE_METRICS, "edition")
BATCH = 32


def build_prompts(model: Pipeline, n: int) -> tuple[dict, torch.Tensor, torch.Tensor | None]:
    """The pipeline's conditions, the digits (n,) and the headings (n,) or None."""
    digit = torch.arange(n) % 10
    if model.recipe.classes:
        return {"labels": digit}, digit, None
    heading = (3 * digit + 4) % 8                                # none of these pairs is held out
    return ({"prompt": [describe([ObjectSpec(*pair)])
                        for pair in zip(digit.tolist(), heading.tolist(), strict=True)]},
            digit, heading)


def result_row(model: Pipeline, scale: float, args) -> dict[str, float]:
    """The four traits and SCORE at one scale, each with half its interval."""
    settings = {"guidance": scale, "interval": None, "autoguidance": 0.0}
    settings |= {"steps": args.steps} if args.steps else {}
    conditions, digit, heading = build_prompts(model, args.n)
    videos = [model(**{k: v[i:i + BATCH] for k, v in conditions.items()}, seed=args.seed,
                    first_index=i, **settings) for i in range(0, args.n, BATCH)]
    clips = torch.cat([v.tensor for v in videos])
    sprite = model.recipe.clips.get("sprite") or 14
    found = guidance_metrics(clips, digit, sprite)
    if heading is not None:
        hits = prompt_hits(measure(clips, sprite, 1), digit[:, None], heading[:, None])
        found["adherence"] = hits["joint"].float()
    row = {}
    for trait in TRAITS:
        row[trait], row[f"{trait}_half"] = confidence_interval(found[trait])
    if args.score:
        scores = evaluate.evaluate_model(model, args.score, args.seed, model.metadata["digits"],
                                         **settings)
        low, high = scores["interval"]["SCORE"]
        row |= {k: scores[k] for k in (*HEADLINE_METRICS, "edition")}
        row["SCORE_half"] = (high - low) / 2
    return row


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", default=["mmnist32", "mmnist64-text"])
    p.add_argument("--scales", nargs="+", type=float, default=SCALES)
    p.add_argument("--n", type=int, default=200, help="noises, 32 or more")
    p.add_argument("--score", type=int, default=192, help="clips for SCORE, or 0")
    p.add_argument("--steps", type=int, help="the model's own unless given")
    p.add_argument("--seed", type=int, default=100)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args()
    table = ResultsTable("guidance_scales", COLUMNS, ("model", "scale", "seed"),
                         note="from one set of noises; half: of a 95 % interval, over noises")
    for name in args.models:
        model = load(name, args.device)
        sha = files.digest(files.load_tensors(checkpoint_path(name))[0])[:12]
        if any(r["model"] == name and r["sha256"] != sha for r in table.rows):
            p.error(f"{table.path} holds rows of another {name}; remove them first.")
        for scale in tqdm(args.scales, desc=name):
            key = {"model": name, "scale": scale, "seed": args.seed}
            if not table.has(**key):
                table.add(**key, sha256=sha, n=args.n, **result_row(model, scale, args))


if __name__ == "__main__":
    main()
