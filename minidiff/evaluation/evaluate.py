"""The evaluation of a model: its prompts, the clips it makes, and their row of the scoreboard."""
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data import digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import choose_directions, moving_mnist
from minidiff.data.prompts import ObjectSpec, describe
from minidiff.evaluation import scoreboard
from minidiff.evaluation.metrics import MIN_CLIPS, check_pixels, frame_side
from minidiff.evaluation.references import reference_name
from minidiff.pipeline import GeneratedVideo, Pipeline, check_count
from minidiff.recipes import Recipe, frame_sizes
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default
from minidiff.vae import VAE

BATCH_SIZE = 32
ProgressBar = Callable[[Iterable, int, str, str], Iterable]     # of (steps, total, text, unit)


def no_progress(steps: Iterable, *_) -> Iterable:
    """A `ProgressBar` that shows nothing."""
    return steps


class SampleConditions(NamedTuple):
    """The conditions of N clips: in the model's own form, and as the scoreboard reads them."""
    prompts: list[str] | None
    labels: Tensor              # (N,), or (N, K) if prompts name K digits
    directions: Tensor | None   # (N, K), indices of `prompts.DIRECTIONS`

    def pipeline_inputs(self, r: slice) -> dict:
        """The keyword arguments of a `Pipeline` for the clips r."""
        return {"labels": self.labels[r]} if self.prompts is None else {"prompt": self.prompts[r]}


@none_means_default
def evaluation_conditions(model: Pipeline, n: int, seed: int = 0,
                          pairs: str = "seen") -> SampleConditions:
    """Conditions of n clips: the ten digits in turn, or plain prompts with as many as possible.

    pairs: the (digit, direction) pairs that prompts name, as in `moving_mnist`. Raises ValueError
    for a model that takes neither digits nor prompts of digits.
    """
    names = model.recipe.clips.get("class_names") or ()
    if (model.recipe.classes or 0) > 10 and [*names][:10] != [*"0123456789"]:
        raise ValueError(f"This model is not judged: it has {model.recipe.classes} classes, and "
                         "the first ten are not named as the ten digits that are judged.")
    if model.recipe.classes:
        labels = torch.arange(check_count(n), device="cpu") % min(model.recipe.classes, 10)
        return SampleConditions(None, labels, None)
    if not model.recipe.vocabulary:
        raise ValueError("This model is not judged: it takes neither digits nor prompts. Sample "
                         "its clips and score them without labels (scoreboard.score).")
    g = generator("prompts", seed)
    labels = torch.randint(10, (n, max_digits(model.recipe.clips)), generator=g)
    directions = choose_directions(labels, pairs, g)
    rows = zip(labels.tolist(), directions.tolist(), strict=True)
    prompts = [describe([ObjectSpec(*pair) for pair in zip(*row, strict=True)]) for row in rows]
    return SampleConditions(prompts, labels, directions)


def max_digits(clips: dict) -> int:
    """The largest number of digits in a recipe's clips."""
    return clips["num_digits"] if isinstance(clips["num_digits"], int) else clips["num_digits"][1]


@none_means_default
def sample_clips(model: Pipeline, conditions: SampleConditions, seed: int = 0,
                 batch: int = BATCH_SIZE, **settings) -> Iterator[GeneratedVideo]:
    """The clips of the conditions, batch by batch; clip i depends on (seed, i) alone.

    settings: as for the pipeline; a list of negative prompts has one for each clip.
    """
    negative = settings.pop("negative_prompt", None)
    for i in range(0, len(conditions.labels), batch):
        rows = slice(i, i + batch)
        inputs = (conditions.pipeline_inputs(rows) if model.recipe.conditions
                  else {"n": len(conditions.labels[rows])})
        if negative is not None:
            inputs["negative_prompt"] = negative if isinstance(negative, str) else negative[rows]
        yield model(**inputs, seed=seed, first_index=i, **settings)


def judged_clips(videos: Iterable[GeneratedVideo]) -> Tensor:
    """The clips of all videos. ValueError at the first video that the scoreboard cannot judge."""
    clips = []
    for video in videos:
        frame_side(video.tensor.shape[-2:])
        check_pixels(video.tensor)
        clips.append(video.tensor)
    return torch.cat(clips)


@none_means_default
def evaluate_model(model: Pipeline, n: int = 512, seed: int = 0, source: str = "builtin",
                   progress: ProgressBar = no_progress, **settings) -> dict:
    """The row of n clips of one sampling seed.

    Text models get 25 % extra prompts with held-out pairs. source: the digits that the model
    learned from; a folder need not exist any more. settings: as for the pipeline. Raises ValueError
    for a source that names no digits, and for clips that cannot be judged.
    """
    name = reference_name(source, allow_missing=True)

    def make(conditions: SampleConditions, text: str) -> Tensor:
        videos = sample_clips(model, conditions, seed, **settings)
        total = -(-len(conditions.labels) // BATCH_SIZE)
        return judged_clips(progress(videos, total, text, "batch"))

    conditions, held_out = evaluation_conditions(model, n, seed), None
    x = make(conditions, f"sampling, seed {seed}")
    if conditions.directions is not None:
        unseen = evaluation_conditions(model, max(MIN_CLIPS, n // 4), seed, "held_out")
        held_out = make(unseen, "held-out pairs"), unseen.labels, unseen.directions
    return scoreboard.score(x, conditions.labels, conditions.directions, held_out=held_out,
                            seeds=(seed,), reference=name, sprite=model.recipe.clips.get("sprite"))


@torch.no_grad()
def rebuilt_clips(vae: VAE, x: Tensor, progress: ProgressBar) -> Tensor:
    """Clips (N, T, C, H, W) in [-1, 1], encoded and decoded."""
    device, total, rebuilt = vae.latent_mean.device, -(-len(x) // BATCH_SIZE), []
    for batch in progress(x.split(BATCH_SIZE), total, "encoding and decoding", "batch"):
        with autocast(device):
            rebuilt.append(vae.decode(vae.encode(batch.to(device))).float().cpu())
    return torch.cat(rebuilt)


@torch.no_grad()
@none_means_default
def evaluate_vae(vae: VAE, n: int = 512, seed: int = 0, source: str = "builtin",
                 progress: ProgressBar = no_progress) -> dict:
    """The losses of a VAE: a row for n real clips after encoding and decoding.

    PSNR is in decibels, of pixels in [0, 1]; REC is ID after the VAE over ID before it. Keys that
    begin with real_ are those of the clips before the VAE. numbers: pixels per latent number.
    """
    c = vae.metadata["recipe"]["clips"]
    size = max(frame_sizes(Recipe(**vae.metadata["recipe"])))
    real = moving_mnist(digits.load(source, "test"), n, size=size, frames=c["frames"],
                        num_digits=max_digits(c), sprite=c.get("sprite"), seed=seed, step=3)
    x, y = to_unit(real.x), to_unit(rebuilt_clips(vae, real.x, progress))
    before, after = (
        scoreboard.score(v, real.labels, reference=reference_name(source, allow_missing=True),
                         sprite=c.get("sprite"), seeds=(seed,)) for v in (x, y))
    error = (x - y).square().flatten(1).mean(1)
    latent = vae.encode(real.x[:1].to(vae.latent_mean.device))
    keys = "flicker", "off_half", "off_one", "smooth", "bounce"
    parts = "ID", "PHY", "FIT"
    return {"PSNR": float(-10 * error.log10().mean()), "REC": after["ID"] / before["ID"],
            **{k: after[k] for k in parts},
            "numbers": x[0].numel() / latent.numel(),
            **{k: after[k] for k in keys}, **{f"real_{k}": before[k] for k in keys},
            **{k: after[k] for k in ("n", "seeds", "evaluator", "edition", "reference")},
            "interval": {k: after["interval"][k] for k in parts}}
