"""A model on the scoreboard: what it is asked, the clips it makes, and the row that they get."""
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data import digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import choose_directions, moving_mnist
from minidiff.data.prompts import ObjectSpec, describe
from minidiff.evaluation import scoreboard
from minidiff.evaluation.metrics import MIN_CLIPS
from minidiff.evaluation.references import reference_name
from minidiff.pipeline import GeneratedVideo, Pipeline
from minidiff.recipes import Recipe, frame_sizes
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.vae import VAE

BATCH_SIZE = 32
ProgressBar = Callable[[Iterable, int, str, str], Iterable]     # shows progress: (steps, total, text, unit)


def no_progress(steps: Iterable, *_) -> Iterable:
    return steps


class SampleConditions(NamedTuple):
    """What a model is asked, clip by clip: in its own words, and as the scoreboard reads it."""
    prompts: list[str] | None
    labels: Tensor              # (N,), or (N, K) where prompts name K digits
    directions: Tensor | None   # (N, K), indices of `prompts.DIRECTIONS`

    def pipeline_inputs(self, r: slice) -> dict:
        """What a `Pipeline` takes for some of the clips."""
        return {"labels": self.labels[r]} if self.prompts is None else {"prompt": self.prompts[r]}


def evaluation_conditions(model: Pipeline, n: int, seed: int = 0, pairs: str = "seen") -> SampleConditions:
    """n clips to ask for: the classes in turn, or plain prompts with as many digits as it knows.

    pairs: which (digit, heading) pairs prompts name, as in `moving_mnist`.
    """
    if model.recipe.classes:
        return SampleConditions(None, model.make_labels(None, n), None)
    g = generator("prompts", seed)
    labels = torch.randint(10, (n, max_digits(model.recipe.clips)), generator=g)
    directions = choose_directions(labels, pairs, g)
    rows = zip(labels.tolist(), directions.tolist(), strict=True)
    return SampleConditions([describe([ObjectSpec(*pair) for pair in zip(*row, strict=True)]) for row in rows],
                 labels, directions)


def max_digits(clips: dict) -> int:
    """How many digits a recipe's clips show at most."""
    return clips["num_digits"] if isinstance(clips["num_digits"], int) else clips["num_digits"][1]


def sample_clips(model: Pipeline, conditions: SampleConditions, seed: int = 0, batch: int = BATCH_SIZE,
          **settings) -> Iterator[GeneratedVideo]:
    """What is asked for, batch by batch; clip i depends on (seed, i) alone.

    settings: as for the pipeline.
    """
    for i in range(0, len(conditions.labels), batch):
        yield model(**conditions.pipeline_inputs(slice(i, i + batch)), seed=seed, first_index=i, **settings)


def evaluate_model(model: Pipeline, n: int, seed: int, source: str, progress: ProgressBar = no_progress, **settings) -> dict:
    """The row of n clips of one sampling seed.

    A model that reads is asked for a quarter more, of pairs that it never saw.

    source: the digits that the model learned from; a folder need not exist any more. Raises
    ValueError for a word that names no digits.
    """
    def made(asked: SampleConditions, text: str) -> Tensor:
        steps = sample_clips(model, asked, seed, **settings)
        videos = progress(steps, -(-len(asked.labels) // BATCH_SIZE), text, "batch")
        return torch.cat([v.tensor for v in videos])

    asked, held = evaluation_conditions(model, n, seed), None
    x = made(asked, f"sampling, seed {seed}")
    if asked.directions is not None:
        strange = evaluation_conditions(model, max(MIN_CLIPS, n // 4), seed, "held_out")
        held = made(strange, "held-out pairs"), strange.labels, strange.directions
    c = model.recipe.clips
    return scoreboard.score(x, asked.labels, asked.directions, held_out=held, seeds=(seed,),
                            reference=reference_name(source, allow_missing=True), sprite=c.get("sprite"))


@torch.no_grad()
def evaluate_vae(vae: VAE, n: int, seed: int, source: str, progress: ProgressBar = no_progress) -> dict:
    """What a VAE loses: a row for n real clips after encoding and decoding, real ones beside it.

    PSNR in decibels, of pixels in [0, 1]; REC and PHY as parts of the row; for flicker, free steps
    off by more than half a pixel, and the recogniser's sure frames, the real clips' own as well.
    """
    c = vae.metadata["recipe"]["clips"]
    size = max(frame_sizes(Recipe(**vae.metadata["recipe"])))
    real = moving_mnist(digits.load(source, "test"), n, size=size, frames=c["frames"],
                        num_digits=max_digits(c), sprite=c.get("sprite"), seed=seed, step=3)
    device, rebuilt = vae.latent_mean.device, []
    for x in progress(real.x.split(BATCH_SIZE), -(-n // BATCH_SIZE), "encoding and decoding", "batch"):
        with autocast(device):
            rebuilt.append(vae.decode(vae.encode(x.to(device))).float().cpu())
    x, y = to_unit(real.x), to_unit(torch.cat(rebuilt))
    own, its = (scoreboard.score(v, real.labels, reference=reference_name(source, allow_missing=True),
                                 sprite=c.get("sprite"), seeds=(seed,)) for v in (x, y))
    error = (x - y).square().flatten(1).mean(1)
    keys = "flicker", "off_half", "off_one", "smooth", "bounce"
    parts = "ID", "PHY", "FIT"
    return {"PSNR": float(-10 * error.log10().mean()), "REC": its["ID"] / own["ID"],
            **{k: its[k] for k in parts},
            "numbers": x[0].numel() / vae.encode(real.x[:1].to(device)).numel(),
            **{k: its[k] for k in keys}, **{f"real_{k}": own[k] for k in keys},
            **{k: its[k] for k in ("n", "seeds", "evaluator", "reference")},
            "interval": {k: its["interval"][k] for k in parts}}
