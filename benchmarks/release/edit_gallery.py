"""The picture of editing, control and adapters in the README: twenty clips, four rows.

    python -m benchmarks.release.edit_gallery [--seed 0] [--out FILE.gif]

Rows: a first frame is given; the left half is given; a path is given; adapters for a letter and for
a style. Given pictures are drawn digits, which none of the models saw in training. No clip is
picked: each is the first that its model makes.
"""
import argparse
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.release.prompt_gallery import save_gallery
from minidiff import load
from minidiff.course.exercises.ch11 import shapes
from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.extensions.conditioning import kept
from minidiff.extensions.control import path_hint

FIVE = torch.tensor([2, 3, 5, 6, 8])


def given_rows(seed: int) -> tuple[list[Tensor], list[str]]:
    """Clips that begin with a given picture, then clips whose left half is given."""
    model = load("mmnist32-frames")
    shown = moving_mnist(digits.load("builtin", "test", 500), 5, labels=FIVE, seed=seed).x
    clips, words = [], []
    for region, caption in (("first", "its first frame\nis given"),
                            ("left", "its left half\nis given")):
        where = kept(region, tuple(shown.shape[1:]))
        clips.append(model(labels=FIVE, given=shown, where=where, seed=seed).tensor)
        words += [f"a {d}: {caption}" for d in FIVE.tolist()]
    return clips, words


def path_row(seed: int) -> tuple[Tensor, list[str]]:
    """Clips whose digits follow paths."""
    paths = dict(islice(shapes().items(), len(FIVE)))
    made = load("mmnist32-path")(labels=FIVE, hint=path_hint(torch.stack([*paths.values()])),
                                 seed=seed).tensor
    return made, [f"a {d} told a path:\n{name}" for d, name in zip(
        FIVE.tolist(), paths, strict=True)]


def adapter_row(seed: int) -> tuple[Tensor, list[str]]:
    """Clips of a letter and of drawn digits, by adapters of a model of handwriting."""
    letters = load("letter-a")("A", n=2, seed=seed).tensor
    drawn = load("style-strokes")(labels=FIVE[:3], seed=seed).tensor
    return torch.cat([letters, drawn]), [
        *["an adapter has\nlearnt the letter A"] * 2,
        *[f"a {d}: an adapter has\nlearnt drawn digits" for d in FIVE[:3].tolist()]]


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "edit_gallery.gif")
    args = p.parse_args()
    clips, words = given_rows(args.seed)
    for row in (path_row, adapter_row):
        made, captions = row(args.seed)
        clips.append(made)
        words += captions
    save_gallery(torch.cat(clips), words, args.out)


if __name__ == "__main__":
    main()
