"""What a guidance scale does, from 0 to 15: the table of the chapter on guidance and prompts.

    python benchmarks/guidance_scales.py [--models mmnist32 mmnist64-text] [--n 200] [--score 192]

For each model and scale, from one set of noises: adherence, diversity, saturation and contrast (see
`minidiff.course.exercises.ch06.traits`) with 95 % intervals over noises, and SCORE of as many clips
as --score says (0: none), with its own interval. Models that read are asked for one digit and its
heading, ten prompts in turn; adherence is then both. A row that is in the file already is not made
again, so a run that was stopped goes on; rows of another checkpoint are refused.
"""
import argparse
import csv
import os
import platform
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from minidiff import evaluate, files, load
from minidiff.course.exercises.ch06 import interval, traits
from minidiff.measures import measure, prompt_hits
from minidiff.pipeline import Pipeline, checkpoint
from minidiff.text import Thing, describe

SCALES = 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0
TRAITS = "adherence", "diversity", "saturation", "contrast"
PARTS = "SCORE", "ID", "PHY", "FIT", "COVER", "PROMPT"
COLUMNS = ("model", "sha256", "scale", "n", *(f"{t}{end}" for t in (*TRAITS, "SCORE")
                                              for end in ("", "_low", "_high")), *PARTS[1:])
BATCH = 32


def asked(model: Pipeline, n: int) -> tuple[dict, torch.Tensor, torch.Tensor | None]:
    """What to ask for, as the pipeline takes it, the digits (n,) and the headings (n,) or None."""
    digit = torch.arange(n) % 10
    if model.recipe.classes:
        return {"labels": digit}, digit, None
    heading = (3 * digit + 4) % 8                                # none of these pairs is held out
    return ({"prompt": [describe([Thing(*pair)])
                        for pair in zip(digit.tolist(), heading.tolist(), strict=True)]},
            digit, heading)


def measured(model: Pipeline, scale: float, args) -> dict[str, float]:
    """The four traits and SCORE at one scale, each with its limits."""
    settings = {"guidance": scale} | ({"steps": args.steps} if args.steps else {})
    wish, digit, heading = asked(model, args.n)
    videos = [model(**{k: v[i:i + BATCH] for k, v in wish.items()}, seed=args.seed, first=i,
                    **settings) for i in range(0, args.n, BATCH)]
    clips = torch.cat([v.tensor for v in videos])
    sprite = model.recipe.clips.get("sprite") or 14
    found = traits(clips, digit, sprite)
    if heading is not None:
        hits = prompt_hits(measure(clips, sprite, 1), digit[:, None], heading[:, None])
        found["adherence"] = hits["joint"].float()
    row = {}
    for trait in TRAITS:
        mean, half = interval(found[trait])
        row |= {trait: mean, f"{trait}_low": mean - half, f"{trait}_high": mean + half}
    if args.score:
        judged = evaluate.row(model, args.score, args.seed, args.digits, **settings)
        low, high = judged["interval"]["SCORE"] or ("", "")
        row |= {k: judged[k] for k in PARTS} | {"SCORE_low": low, "SCORE_high": high}
    return row


def done(path: Path) -> list[dict]:
    """The rows that are there already."""
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return list(csv.DictReader(lines))


def begin(path: Path, args) -> None:
    """The first lines: where and when, and the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chip = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    with path.open("w", encoding="utf-8", newline="") as f:
        f.write(f"# python benchmarks/guidance_scales.py --n {args.n} --score {args.score}\n"
                f"# {date.today()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
                f"{chip}, seed {args.seed}\n")
        csv.DictWriter(f, COLUMNS).writeheader()


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", default=["mmnist32", "mmnist64-text"])
    p.add_argument("--scales", nargs="+", type=float, default=SCALES)
    p.add_argument("--n", type=int, default=200)
    p.add_argument("--score", type=int, default=192)
    p.add_argument("--steps", type=int, help="the model's own unless given")
    p.add_argument("--digits", default="mnist", help="what the models learnt from")
    p.add_argument("--seed", type=int, default=100)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--out", type=Path, default=Path("solutions/tables/guidance_scales.csv"))
    args = p.parse_args()
    if not done(args.out):
        begin(args.out, args)
    for name in args.models:
        model = load(name, args.device)
        sha = files.digest(files.load_tensors(checkpoint(name))[0])[:12]
        rows = [r for r in done(args.out) if r["model"] == name]
        if any(r["sha256"] != sha for r in rows):
            p.error(f"{args.out} holds rows of another {name}; remove them first.")
        there = {float(r["scale"]) for r in rows}
        for scale in tqdm([s for s in args.scales if s not in there], desc=name):
            row = {k: round(v, 5) if isinstance(v, float) else v
                   for k, v in measured(model, scale, args).items()}
            with args.out.open("a", encoding="utf-8", newline="") as f:
                csv.DictWriter(f, COLUMNS).writerow(
                    {"model": name, "sha256": sha, "scale": scale, "n": args.n} | row)
                f.flush()
                os.fsync(f.fileno())


if __name__ == "__main__":
    main()
