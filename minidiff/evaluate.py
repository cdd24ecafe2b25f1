"""A model on the scoreboard: clips from one or more sampling seeds, judged, and the rows made one."""
from collections.abc import Iterator

import torch

from minidiff import scoreboard
from minidiff.pipeline import Pipeline, Video


def clips(pipeline: Pipeline, n: int, seed: int = 0, batch: int = 32, **settings) -> Iterator[Video]:
    """n clips of all digits in turn, a batch at a time; clip i depends on (seed, i) alone. settings: as for the pipeline."""
    labels = pipeline.labels(None, n)
    for i in range(0, n, batch):
        yield pipeline(labels=labels[i:i + batch], seed=seed, first=i, **settings)


def judge(videos: list[Video], source: str, seed: int) -> dict:
    """The row of one seed's clips, against real clips of the digits that the model was trained on."""
    x, labels = torch.cat([v.tensor for v in videos]), torch.cat([v.labels for v in videos])
    return scoreboard.score(x, labels, reference=reference_name(source), seeds=(seed,))


def reference_name(source: str) -> str:
    """The shipped reference that digits of a source are compared with: every source but the built-in one is MNIST."""
    return "builtin" if source == "builtin" else "mnist"
