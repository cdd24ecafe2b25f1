"""The parts of SCORE beside what they charge: each part in a sentence, with three cases it catches.

    python -m benchmarks.studies.scoreboard_figure --digits builtin --out parts.png

The cases are `baselines`. A part of single clips is shown by one clip, frame after frame; a part of
the whole set by one frame of eight clips. Above each: the case, the part, and SCORE (n = 256).
"""
import argparse
from pathlib import Path
from typing import NamedTuple

from einops import rearrange
from torch import Tensor

from minidiff.data import digits
from minidiff.evaluation.baselines import BASELINES, Studio
from minidiff.evaluation.scoreboard import score
from minidiff.runtime import files
from minidiff.visual.figures import NotebookFigure, new_figure, styled

SHOWN = 8                # frames of a clip, or clips of a set
EXAMPLE = 4              # the clip that is shown


class Part(NamedTuple):
    """A part of SCORE, what it charges, and the names of cases."""
    name: str
    sentence: str
    cases: tuple[str, str, str]
    of_set: bool = False


PARTS = (
    Part("ID", "one digit, surely,\nin every frame; no dirt",
         ("swapped", "4 white pixels flash", "a faint ghost in a corner")),
    Part("LOOKS", "its picture stays\nthe same picture",
         ("another image from the middle on", "turning 10 degrees a frame",
          "every second frame darker")),
    Part("PHY", "a straight path, a\nreal speed, walls\nthat reflect",
         ("shuffled", "frozen from the middle", "walls keep 0.7 of the speed")),
    Part("NEW", "no copy of a\ntraining digit",
         ("copies", "copies, turned by 6 degrees", "copies, mean of the nearest two")),
    Part("FIT", "a distribution like\nthat of real clips",
         ("static", "blurred", "mean video"), of_set=True),
    Part("COVER", "all classes, many looks\nof each, many paths",
         ("ten images", "4 images a class", "one path"), of_set=True))


def strip(clips: Tensor, part: Part) -> Tensor:
    """Eight frames (S, 8 S): of one clip, or the first of eight clips."""
    frames = clips[:SHOWN, 0] if part.of_set else clips[EXAMPLE, :SHOWN]
    return rearrange(frames, "t 1 h w -> h (t w)")


@styled
def parts_figure(studio: Studio, source: str) -> NotebookFigure:
    """The figure of cases made from a studio, judged by the clips of a source of digits."""
    fig = new_figure(14, 0.95 * len(PARTS))
    grid = fig.subplots(len(PARTS), 4, width_ratios=(1, 2, 2, 2))
    for part, (text, *axes) in zip(PARTS, grid, strict=True):
        text.axis("off")
        text.text(0, 1.1, part.name, weight="bold", va="top", fontsize=12)
        text.text(0, 0.8, part.sentence, va="top", fontsize=10)
        for name, ax in zip(part.cases, axes, strict=True):
            clips = BASELINES[name].make(studio)
            row = score(clips, reference=source, seeds=(studio.seed,))
            ax.imshow(strip(clips, part), cmap="gray", vmin=0, vmax=1)
            ax.axis("off")
            ax.set_title(f"{name}: {part.name} {row[part.name]:.2f}, SCORE {row['SCORE']:.2f}",
                         fontsize=9)
    return fig


def main() -> None:
    """Draw, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="builtin",
                        help="builtin, mnist or a folder with MNIST's files")
    parser.add_argument("--n", type=int, default=256, help="clips of each case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("scoreboard_parts.png"))
    args = parser.parse_args()
    studio = Studio(digits.load(args.digits, "test"), args.n, args.seed,
                    train=digits.load(args.digits, "train"))
    figure = parts_figure(studio, args.digits)
    with files.atomic_write(args.out) as draft:
        figure.savefig(draft, format="png", dpi=90)
    print(args.out)


if __name__ == "__main__":
    main()
