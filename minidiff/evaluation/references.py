"""References: measured real clips with which generated clips are compared, stored in files.

A reference has two draws of clips. Generated clips are compared with the first; the second gives
the ceiling: what other real clips reach at the same number n. Both draws use the same digits
("test": 1,000 of MNIST, 20,000 built-in ones) but no clip is in both, and no training and no
digit classifier has seen these digits. Sharing digits does not raise the ceiling: at n = 512 the
distance between the draws is .28 on MNIST and .25 on built-in digits; clips of 8,000 other MNIST
digits are at .27, clips of newly drawn curves at .21 to .24.
"""
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.data.digits import Digits, load
from minidiff.data.moving_mnist import (
    Clips,
    default_sprite,
    moving_mnist,
    place_sprites,
    resize_sprites,
)
from minidiff.evaluation.digit_classifier import centred_windows, load_digit_classifier
from minidiff.evaluation.metrics import (
    MIN_FRAMES,
    Measurements,
    RealStatistics,
    distribution_metrics,
    frame_side,
    frechet_distance,
    mean_and_cov,
    measure,
    prompt_rates,
    real_statistics,
    tracking_rates,
    tracks_by_clip,
)
from minidiff.evaluation.segmentation import min_cost_assignment
from minidiff.evaluation.tracking import physics_metrics, sectors
from minidiff.runtime.files import CHECKPOINTS, load_tensors, save_tensors
from minidiff.runtime.old_files import with_new_names
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default

MIN_SPRITE = 10          # pixels: below, the classifier is sure of fewer than 1 % of frames
MAX_DIGITS = 6           # of a clip: tracks and prompts are matched in all orders
MAX_CLIP_PIXELS = 2**18  # of all frames together: 2,000 such clips take 2 GB
NUM_TRACKS = 2000        # of a draw


class Reference(NamedTuple):
    """Measured real clips of one setting; T frames, n tracks of digits in each draw."""
    metadata: dict          # source, size, frames, sprite, num_digits, n clips, seed, real, ...
    embeddings: Tensor      # (2, n, 64 + 2 T), `Measurements.embeddings` of both draws
    labels: Tensor          # (2, n), the true digits
    predicted: Tensor       # (n,), the digits that the classifier reads in the second draw
    frame_mean_cov: Tensor  # (33, 32), mean and covariance of frame features of the first draw
    basis: Tensor           # (25, 256), 24 principal components of the training digits, their mean
    train_codes: Tensor     # (M, 24) int8, the training digits in that basis
    val_codes: Tensor       # (K, 24) int8, the "val" digits, which are in no draw

    def name(self) -> str:
        """The setting as one word: source, size, frames, sprite, digits, n and seed."""
        a, number = self.metadata, self.digits_per_clip()
        digits = "" if number == 1 else f"-digits{digits_text(number)}"
        return (f"{a['source']}-{a['size']}x{a['frames']}-sprite{a['sprite']}{digits}"
                f"-n{a['n']}-seed{a['seed']}")

    def digits_per_clip(self) -> int | tuple[int, int]:
        """The number of digits in a clip, or the least and the most."""
        number = self.metadata.get("num_digits", 1)
        return number if isinstance(number, int) else tuple(number)

    def with_labels(self, labels: Tensor) -> "Reference":
        """The tracks whose digits occur in the same proportions as the labels (N,).

        Few different labels leave few tracks: about 190 of 2,000 for a single digit.
        `scoreboard.score` checks that they are enough.
        """
        want = torch.bincount(labels, minlength=10) / len(labels)
        have = F.one_hot(self.labels, 10)                                        # (2, n, 10)
        each = ((have.sum(1) / want)[:, want > 0].min() * want).long()           # (10,), in both
        keep = [h.nonzero().flatten() for h in ((have.cumsum(1) <= each) & (have > 0)).any(-1)]
        embeddings, both = (torch.stack([x[k] for x, k in zip(v, keep, strict=True)])
                            for v in (self.embeddings, self.labels))
        return self._replace(embeddings=embeddings, labels=both, predicted=self.predicted[keep[1]])

    def real_metrics(self, n: int) -> dict[str, float]:
        """The metrics of n real tracks, the mean over 8 subsets of the second draw.

        Metrics that do not depend on n are added from the metadata.
        """
        have = len(self.predicted)
        n, real = min(n, have), real_statistics(self.embeddings[0], self.labels[0], n)
        repeats = range(8 if n < have else 1)
        subsets = [torch.randperm(have, generator=generator("subset", n, i))[:n] for i in repeats]
        found = [distribution_metrics(real.project(self.embeddings[1][r], self.predicted[r]), real)
                 for r in subsets]
        means = {k: sum(f[k] for f in found) / len(found) for k in found[0]}
        return self.metadata["real"] | means


@none_means_default
def reference_for(source: str | Path, size: int | tuple[int, int], frames: int,
                  sprite: int | None = None,
                  num_digits: int | tuple[int, int] = 1) -> Reference:
    """The shipped reference of a setting; any other is built, which takes a minute or two.

    source: "builtin", "mnist", or a folder with MNIST's files, which are read only if no file is
    shipped for the setting. sprite: the side of a digit's square in pixels, 7/16 of the size unless
    given. num_digits: digits in a clip, or the least and the most (each number equally often).
    Raises ValueError for another source, and for a setting that cannot be judged.
    """
    size = frame_side(size)
    path = CHECKPOINTS / reference_file_name(source, size, frames, sprite, num_digits)
    if path.is_file():
        return load_reference(path)
    check_setting(size, frames, sprite, num_digits)
    return build_reference(source, size, frames, sprite, num_digits)


def check_setting(size: int, frames: int, sprite: int | None = None,
                  num_digits: int | tuple[int, int] = 1) -> None:
    """Raises ValueError, before any work, for clips with which no reference can be built."""
    sprite = default_sprite(size) if sprite is None else sprite
    usual = -(-16 * MIN_SPRITE // 7)
    if sprite < MIN_SPRITE:
        raise ValueError(
            f"Clips of {size}x{size} px with digits of {sprite} px are not judged: such small "
            f"digits cannot be read. Frames of {usual}x{usual} px or more can be judged, or digits "
            f"of {MIN_SPRITE} px or more (sprite=...).")
    if sprite >= size:
        raise ValueError(f"A digit of {sprite} px does not fit frames of {size}x{size} px; "
                         f"sprite must be from {MIN_SPRITE} to {size - 1}.")
    if frames < MIN_FRAMES or frames * size**2 > MAX_CLIP_PIXELS:
        raise ValueError(
            f"Clips of {frames} frames of {size}x{size} px are not judged: a clip must have "
            f"{MIN_FRAMES} frames or more, and {MAX_CLIP_PIXELS:,} pixels at most, which are 16 "
            f"frames of {isqrt(MAX_CLIP_PIXELS // 16)}x{isqrt(MAX_CLIP_PIXELS // 16)} px.")
    if max([num_digits] if isinstance(num_digits, int) else num_digits) > MAX_DIGITS:
        raise ValueError(f"Clips of {digits_text(num_digits)} digits are not judged: "
                         f"{MAX_DIGITS} digits are the most.")


def reference_file_name(source: str | Path, size: int, frames: int, sprite: int | None = None,
                        num_digits: int | tuple[int, int] = 1) -> str:
    """The file name of a setting; digits and sprite are in it unless it is one usual digit."""
    sprite = sprite or default_sprite(size)
    usual = num_digits == 1 and sprite == default_sprite(size)
    digits = "" if usual else f"-{digits_text(num_digits)}x{sprite}"
    return f"reference-{reference_name(source)}-{size}x{frames}{digits}.safetensors"


def digits_text(num_digits: int | tuple[int, int]) -> str:
    """The number of digits as text: "2", or "1to2" for the least and the most."""
    return str(num_digits) if isinstance(num_digits, int) else f"{num_digits[0]}to{num_digits[1]}"


def reference_name(source: str | Path, allow_missing: bool = False) -> str:
    """The digits with which a source is compared: "builtin", or "mnist" for it and any folder.

    allow_missing: the source comes from a model's metadata, and its folder may no longer exist;
    text with a separator then counts as a folder. Raises ValueError for any other source.
    """
    text = str(source)
    if text in ("builtin", "mnist"):
        return text
    if Path(source).expanduser().is_dir() or (allow_missing and ("/" in text or "\\" in text)):
        return "mnist"
    raise ValueError(f"There are no digits {text!r} to compare with; "
                     "give builtin, mnist, or an existing folder with MNIST's files.")


def load_reference(path: str | Path) -> Reference:
    """A reference from its file.

    Raises FileNotFoundError, or ValueError for a damaged file or one made with another digit
    classifier.
    """
    return read_reference(Path(path).expanduser())


@lru_cache
def read_reference(path: Path) -> Reference:
    """`load_reference`, kept in memory."""
    tensors, metadata = with_new_names(*load_tensors(path))
    if metadata.get("evaluator") != load_digit_classifier()[1]:
        raise ValueError(f"{path} was made with another digit classifier; "
                         "build it anew with minidiff.evaluation.baselines.ship_reference.")
    kinds = {torch.float16: torch.float32, torch.uint8: torch.int64}
    return Reference(metadata, **{k: v.to(kinds.get(v.dtype, v.dtype)) for k, v in tensors.items()})


def save_reference(ref: Reference, path: str | Path) -> Path:
    """Write a reference in half precision and bytes, about 1 MB; returns the path."""
    path, kinds = Path(path).expanduser(), {torch.float32: torch.float16, torch.int64: torch.uint8}
    tensors = {k: v for k, v in ref._asdict().items() if k != "metadata"}
    tensors = {k: v.to(kinds.get(v.dtype, v.dtype)) for k, v in tensors.items()}
    save_tensors(path, tensors, ref.metadata)
    read_reference.cache_clear()
    return path


@lru_cache
@none_means_default
def build_reference(source: str | Path = "builtin", size: int = 32, frames: int = 8,
                    sprite: int | None = None, num_digits: int | tuple[int, int] = 1,
                    n: int | None = None, seed: int = 0) -> Reference:
    """Draw and measure 2 x n real clips of the (digit, direction) pairs that training shows.

    source: as in `digits.load`; "test" digits make the clips, "train" and "val" digits serve to
    recognise copies (`memorisation_rate`). n: clips, as many as make 2,000 digits unless given.
    Prompts are checked on the second draw, and on a third draw of the held-out pairs only. Raises
    ValueError for a setting that cannot be judged.
    """
    check_setting(size, frames, sprite, num_digits)
    test, held, train = load(source, "test"), load(source, "val", 2000), load(source, "train")
    sprite = sprite or default_sprite(size)
    n = n or NUM_TRACKS // torch.tensor(num_digits).max().item()
    setting = dict(size=size, frames=frames, sprite=sprite, num_digits=num_digits, seed=seed)
    draws = [moving_mnist(test, n, step=k, pairs=pairs, **setting)
             for k, pairs in ((1, "seen"), (2, "seen"), (3, "held_out"))]
    first, second, third = found = [
        measure((d.x + 1) / 2, sprite, (d.labels >= 0).sum(1)) for d in draws]
    most = min(len(first.clip_index), len(second.clip_index))
    embeddings = torch.stack([m.embeddings()[:most].half().float() for m in (first, second)])
    labels = torch.stack([true_digits(m, d)[:most]
                          for m, d in zip(found[:2], draws[:2], strict=True)])
    real = (physics_metrics(second.motion, size) | upper_bounds(second, draws[1], third, draws[2])
            | {"noise": noise_distance(real_statistics(embeddings[0], labels[0], most),
                                       draws[0], sprite, seed)})
    basis, scale, codes = principal_components(mean_windows(train), mean_windows(held))
    metadata = setting | {"source": train.source, "n": n, "evaluator": load_digit_classifier()[1],
                          "real": real, "memo_scale": scale, "memo_line": 0., "rows": {}}
    mean, cov = mean_and_cov(first.features.flatten(0, 1))
    ref = Reference(metadata, embeddings, labels, second.digit[:most],
                    torch.cat([mean[None], cov]).float(), basis, *codes)
    metadata["memo_line"] = float(memorisation_ratio(second, ref).quantile(0.01))
    return ref


def noise_distance(real: RealStatistics, clips: Clips, sprite: int, seed: int) -> float:
    """The Fréchet distance of 500 clips of uniform noise, shaped as the real clips."""
    noise = torch.rand(500, *clips.x.shape[1:], generator=generator("pure noise", seed))
    found = measure(noise, sprite, clips.labels.shape[1])
    projected = real.project(found.embeddings(), found.digit)
    return frechet_distance(real.mean_cov, mean_and_cov(projected.embeddings))


def upper_bounds(m: Measurements, clips: Clips, held_out: Measurements,
                 held_out_clips: Clips) -> dict[str, float]:
    """ID, prompt and tracking rates of real clips: the ceilings of generated ones."""
    seen, held = (prompt_rates(x, c.labels, sectors(c.velocities[:, 0]))
                  for x, c in ((m, clips), (held_out, held_out_clips)))
    rates = {f"prompt_{k}_seen": seen[k] for k in ("digit", "direction", "joint")}
    return tracking_rates(m) | rates | {
        "prompt_joint_shuffled": seen["shuffled"], "prompt_joint_heldout": held["joint"],
        "ID": float(m.confident.mean()), "PROMPT": seen["digit"]}


def true_digits(m: Measurements, clips: Clips) -> Tensor:
    """The digits (N,) that the tracks follow: of each clip, the digits at the nearest positions."""
    K = clips.labels.shape[1]
    track = tracks_by_clip(m, m.track * clips.x.shape[-1], K)                    # (n, K, T, 2)
    positions = clips.positions.transpose(1, 2)
    distance = (track[:, :, None] - positions[:, None]).norm(dim=-1).mean(-1)    # (n, K, K)
    there = tracks_by_clip(m, m.digit * 0, K) == 0
    distance = distance + 1e6 * (there[:, :, None] != (clips.labels >= 0)[:, None])
    return clips.labels.gather(1, min_cost_assignment(distance))[there]


# Memorisation: is a clip's digit a training digit?

def mean_windows(digits: Digits, places: int = 4) -> Tensor:
    """The windows (M, 256) that `measure` would see of digits, averaged over sub-pixel places."""
    sprites = resize_sprites(digits.images, 14)
    corners = 4 + 2 * torch.rand(len(sprites), places, 1, 2, generator=generator("sprite places"))
    rows = []
    for s, c in zip(sprites.split(1000), corners.split(1000), strict=True):
        frames = place_sprites(s[:, None], c, 24).flatten(0, 3)          # (1000 places, 24, 24)
        rows.append(centred_windows(frames).view(len(s), places, -1).mean(1))
    return torch.cat(rows)


def principal_components(train: Tensor, val: Tensor,
                         k: int = 24) -> tuple[Tensor, float, list[Tensor]]:
    """The k principal components of the training windows and their mean, (k + 1, 256).

    Also returned: a scale, and both sets of windows in that basis, divided by the scale, as int8.
    """
    middle = train.mean(0)
    _, vectors = torch.linalg.eigh((train - middle).T @ (train - middle))        # rising
    basis = vectors[:, -k:].T
    codes = [(x - middle) @ basis.T for x in (train, val)]
    scale = max(float(c.abs().max()) for c in codes) / 127
    codes = [(c / scale).round().to(torch.int8) for c in codes]
    return torch.cat([basis, middle[None]]), scale, codes


def memorisation_ratio(m: Measurements, ref: Reference) -> Tensor:
    """Distance to the nearest training digit over distance to the nearest held-out digit, (N,)."""
    z = (m.mean_window - ref.basis[-1]) @ ref.basis[:-1].T / ref.metadata["memo_scale"]
    train, val = (torch.cdist(z, codes.float()).amin(1)
                  for codes in (ref.train_codes, ref.val_codes))
    return train / val.clamp(min=1e-6)


def memorisation_rate(m: Measurements, ref: Reference) -> float:
    """The share of clips that are copies: nearer to a training digit than 99 % of real clips.

    Nearness is `memorisation_ratio`. The rate is about .01 for clips of unseen digits, .95 for
    clips of training digits, .5 for pairs of 20 px. Training digits distorted by a quarter of a
    pixel (of 28) still give .6, by half a pixel .13, by more .03. The shipped files know the
    training digits of the package (8,000 of MNIST, 20,000 built-in); for MNIST's 60,000 build a
    reference from a folder that holds them.
    """
    return float((memorisation_ratio(m, ref) < ref.metadata["memo_line"]).float().mean())
