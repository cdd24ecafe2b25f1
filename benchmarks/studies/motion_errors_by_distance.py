"""Motion errors of digits that are alone, apart or near each other, in clips of one and two.

    python -m benchmarks.studies.motion_errors_by_distance [--model NAME] [--digits FOLDER] [--n 64]

Free steps (see `tracking`) of real clips, of real clips through a text model's VAE, and of clips
that the model makes. Two digits are near if their squares are at most two pixels apart: they may
then touch, be separated wrongly, or be drawn into each other.
"""
import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff import pipeline, recipes
from minidiff.course.student import claims
from minidiff.data import digits, media
from minidiff.data.moving_mnist import moving_mnist
from minidiff.data.prompts import DIRECTIONS, ObjectSpec, describe
from minidiff.evaluation import evaluate
from minidiff.evaluation.metrics import measure, tracks_by_clip
from minidiff.evaluation.segmentation import near_another
from minidiff.evaluation.tracking import masked_mean


def motion_rows(clips: Tensor, sprite: int, number: int) -> Iterator[tuple]:
    """(case, free steps, share in which the digit was not seen, share of the others that are off
    by more than half a pixel of 32, smoothness) for each case.

    If the digits of a clip cannot be separated in any frame, none of its steps is seen.
    """
    m, size = measure(clips, sprite, number), clips.shape[-1]
    accelerations, free = m.motion.accelerations, m.motion.free                    # (N, T - 2)
    if number == 1:
        cases = {"alone": free}
    else:
        places = tracks_by_clip(m, m.track * size, number).transpose(1, 2)      # (n, T, K, 2)
        near = near_another(places, sprite).transpose(1, 2).flatten(0, 1)       # (N, T)
        near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
        cases = {"apart": free & ~near, "near": free & near}
    for name, steps in cases.items():
        seen = steps & accelerations.isfinite()
        yield (name, int(steps.sum()), masked_mean(~seen, steps),
               masked_mean(accelerations > size / 64, seen),
               masked_mean((-accelerations * 64 / size).exp(), seen))


def build_prompts(n: int, number: int) -> list[str]:
    """Prompts for so many digits each, headings in turn."""
    return [describe([ObjectSpec((i + 3 * k) % 10, (i + 5 * k) % len(DIRECTIONS))
                      for k in range(number)]) for i in range(n)]


def main() -> None:
    """Measure, and print or store the figures."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="mmnist64-text", help="a checkpoint's name or file")
    p.add_argument("--digits", default="mnist", help="whose held-out digits real clips show")
    p.add_argument("--n", type=int, default=64, help="clips, 32 or more")
    p.add_argument("--seed", type=int, default=31)
    args = p.parse_args()
    model, held_out = pipeline.load(args.model), digits.load(args.digits, "test")
    if getattr(model, "vae", None) is None or not model.recipe.vocabulary:
        p.error(f"{args.model} is no latent model that reads prompts; give mmnist64-text.")
    c, lines = model.recipe.clips, []
    for number in range(1, evaluate.max_digits(c) + 1):
        real = moving_mnist(held_out, args.n, seed=args.seed, **c | dict(num_digits=number)).x
        z = torch.cat([recipes.encode_latents(model.vae, x)
                       for x in real.split(evaluate.BATCH_SIZE)])
        made = model(build_prompts(args.n, number), seed=args.seed).tensor
        for name, clips in (("real", media.to_unit(real)), ("through the VAE", model.decode(z)),
                            (args.model, made)):
            lines += [(name, number, *line) for line in motion_rows(clips, c["sprite"], number)]
    heads = ("clips", "digits", "case", "free steps", "not seen", "off by > .5 px", "smooth")
    print(claims.markdown_table(heads, lines).data)


if __name__ == "__main__":
    main()
