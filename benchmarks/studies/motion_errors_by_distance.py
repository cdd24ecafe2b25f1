"""Whether motion errs where digits are alone, apart or near each other, in clips of one and two.

    python -m benchmarks.studies.motion_errors_by_distance [--model mmnist64-text] [--digits FOLDER] [--n 64]

Free steps (see `tracking`) of real clips, of what the VAE of a model that reads makes of them, and
of clips that the model makes itself. Two digits are near where their squares come within two pixels
of each other, so that inks may touch, be told apart wrongly, or be drawn into each other.
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
    """Where, how many free steps, the share in which the digit was not seen; of the others: off by
    over half a pixel (of 32), smooth. A clip that never tells its digits apart has none seen."""
    m = measure(clips, sprite, number)
    size, jolts, free = clips.shape[-1], m.motion.accelerations, m.motion.free           # (N, T - 2)
    if number == 1:
        where = {"alone": free}
    else:
        places = tracks_by_clip(m, m.track * size, number).transpose(1, 2)                # (n, T, K, 2)
        by = near_another(places, sprite).transpose(1, 2).flatten(0, 1)                 # (N, T)
        by = by[:, :-2] | by[:, 1:-1] | by[:, 2:]
        where = {"apart": free & ~by, "near": free & by}
    for name, among in where.items():
        seen = among & jolts.isfinite()
        yield (name, int(among.sum()), masked_mean(~seen, among), masked_mean(jolts > size / 64, seen),
               masked_mean((-jolts * 64 / size).exp(), seen))


def build_prompts(n: int, number: int) -> list[str]:
    """Prompts for so many digits each, headings in turn."""
    return [describe([ObjectSpec((i + 3 * k) % 10, (i + 5 * k) % len(DIRECTIONS))
                      for k in range(number)]) for i in range(n)]


def main() -> None:
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
        z = torch.cat([recipes.encode_latents(model.vae, x) for x in real.split(evaluate.BATCH_SIZE)])
        made = model(build_prompts(args.n, number), seed=args.seed).tensor
        for name, clips in (("real", media.to_unit(real)), ("through the VAE", model.decode(z)),
                            (args.model, made)):
            lines += [(name, number, *line) for line in motion_rows(clips, c["sprite"], number)]
    print(claims.markdown_table(("clips", "digits", "where", "free steps", "not seen", "off by > .5 px",
                        "smooth"), lines).data)


if __name__ == "__main__":
    main()
