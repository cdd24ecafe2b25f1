"""A model on the scoreboard: clips of one sampling seed, and the row that they get."""
from collections.abc import Iterator

import torch

from minidiff import scoreboard
from minidiff.pipeline import Pipeline, Video
from minidiff.references import reference_name


def clips(pipeline: Pipeline, n: int, seed: int = 0, digit: int | None = None, batch: int = 32,
          **settings) -> Iterator[Video]:
    """n clips of a digit, or of all in turn, batch by batch; clip i depends on (seed, i) alone.

    settings: as for the pipeline.
    """
    labels = pipeline.labels(digit, n)
    for i in range(0, n, batch):
        yield pipeline(labels=labels[i:i + batch], seed=seed, first=i, **settings)


def judge(videos: list[Video], source: str, seed: int) -> dict:
    """The row of one seed's clips, against real clips of the digits that the model learned from.

    source: where those came from; a folder need not exist any more. Raises ValueError for a word
    that names no digits.
    """
    name = reference_name(source, gone=True)
    x, labels = torch.cat([v.tensor for v in videos]), torch.cat([v.labels for v in videos])
    return scoreboard.score(x, labels, reference=name, seeds=(seed,))
