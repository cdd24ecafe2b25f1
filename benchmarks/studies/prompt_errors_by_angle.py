"""Which prompts of two digits are missed, by the angle between the two headings.

    python -m benchmarks.studies.prompt_errors_by_angle [--model NAME] [--digits FOLDER] [--n 192]

Real clips and clips that a model makes with its own settings, measured alike. A heading cannot be
read if no three successive frames show its digit apart from the other one.
"""
import argparse

import torch
from torch import Tensor

from benchmarks.studies.denoise_from_noise_level import clip_conditions
from minidiff import pipeline
from minidiff.course.student import claims
from minidiff.data import digits, media
from minidiff.data.moving_mnist import moving_mnist
from minidiff.data.prompts import DIRECTIONS
from minidiff.evaluation import evaluate
from minidiff.evaluation.metrics import measure, prompt_hits, tracks_by_clip


def heading_angles(headings: Tensor) -> Tensor:
    """(N, 2) -> (N,): how many sectors of 45 degrees lie between two headings, 0 to 4."""
    apart = (headings[:, 0] - headings[:, 1]).abs()
    return torch.minimum(apart, len(DIRECTIONS) - apart)


def result_rows(name: str, clips: Tensor, labels: Tensor, headings: Tensor,
                sprite: int) -> list[tuple]:
    """A line for each angle, then one for all: shares of clips."""
    m = measure(clips, sprite, 2)
    hits = prompt_hits(m, labels, headings)
    unread, angle = (tracks_by_clip(m, m.direction, 2) < 0).any(1), heading_angles(headings)
    rows = [(f"{45 * a}", angle == a) for a in range(5)] + [("all", angle >= 0)]
    return [(name, text, int(chosen.sum()),
             *(f"{float(hit[chosen].float().mean()):.2f}"
               for hit in (hits["joint"], hits["digit"], hits["direction"], unread)))
            for text, chosen in rows]


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist64-text", help="a checkpoint's name or file")
    p.add_argument("--digits", default="mnist", help="whose held-out digits real clips show")
    p.add_argument("--n", type=int, default=192, help="clips, 32 or more")
    p.add_argument("--seed", type=int, default=902)
    args = p.parse_args()
    model = pipeline.load(args.model)
    c = getattr(getattr(model, "recipe", None), "clips", {})
    if not c or not model.recipe.vocabulary or evaluate.max_digits(c) != 2:
        p.error(f"{args.model} reads no prompts of two digits; give mmnist64-text.")
    held_out = digits.load(args.digits, "test")
    real = moving_mnist(held_out, args.n, seed=args.seed, **c | dict(num_digits=2))
    _, shown = clip_conditions(model, real)
    conditions = evaluate.evaluation_conditions(model, args.n, args.seed)
    made = torch.cat([v.tensor for v in evaluate.sample_clips(model, conditions, args.seed)])
    found = (result_rows("real", media.to_unit(real.x), real.labels, shown, c["sprite"])
             + result_rows(args.model, made, conditions.labels, conditions.directions,
                           c["sprite"]))
    heads = "clips", "degrees between", "n", "joint", "digits", "headings", "one unread"
    print(claims.markdown_table(heads, found).data)


if __name__ == "__main__":
    main()
