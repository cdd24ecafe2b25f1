"""Real clips to judge by: drawn once from digits no generator sees, measured, kept in a file.

A reference has two draws. The first is what clips are compared with; the second stands for the real
row: what other real clips reach at the same number n. The two share digits ("test": 1,000 of MNIST,
20,000 built-in ones), though no clip, and share none with any training or with the recogniser. That
this does not lift the ceiling was measured at n = 512: against a real-real distance of .28 on MNIST
and .25 on built-in digits, clips of 8,000 other MNIST digits are at .27 and clips of freshly drawn
curves at .21 to .24.
"""
from functools import lru_cache
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
    Measurements,
    distribution_metrics,
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


class Reference(NamedTuple):
    """What real clips are like in one setting; T frames, n digits a draw, each with its track."""
    metadata: dict       # source, size, frames, sprite, number, n clips, seed, evaluator, real, ...
    embeddings: Tensor    # (2, n, 64 + 2 T), `Measured.points` of both draws
    labels: Tensor    # (2, n), the digits shown
    predicted: Tensor      # (n,), the digits that the recogniser reads in the second draw
    frame_mean_cov: Tensor     # (33, 32), mean and covariance of the looks of the first draw's frames
    basis: Tensor     # (25, 256), 24 principal components of the training digits, and their mean
    train_codes: Tensor     # (M, 24) int8, the training digits in that basis
    val_codes: Tensor      # (K, 24) int8, the "val" digits, which are in no draw

    def name(self) -> str:
        a = self.metadata
        digits = "" if self.digits_per_clip() == 1 else f"-digits{digits_text(self.digits_per_clip())}"
        return (f"{a['source']}-{a['size']}x{a['frames']}-sprite{a['sprite']}{digits}"
                f"-n{a['n']}-seed{a['seed']}")

    def digits_per_clip(self) -> int | tuple[int, int]:
        """Digits in a clip, or the least and the most."""
        number = self.metadata.get("num_digits", 1)
        return number if isinstance(number, int) else tuple(number)

    def with_labels(self, labels: Tensor) -> "Reference":
        """Cut down to tracks that show digits in the proportions of the labels (N,).

        Few digits leave few tracks (about 190 of 2,000 for one), which `scoreboard.score` heeds.
        """
        want = torch.bincount(labels, minlength=10) / len(labels)
        have = F.one_hot(self.labels, 10)                                        # (2, n, 10)
        each = ((have.sum(1) / want)[:, want > 0].min() * want).long()           # (10,), in both
        keep = [h.nonzero().flatten() for h in ((have.cumsum(1) <= each) & (have > 0)).any(-1)]
        points, both = (torch.stack([x[k] for x, k in zip(v, keep, strict=True)])
                        for v in (self.embeddings, self.labels))
        return self._replace(embeddings=points, labels=both, predicted=self.predicted[keep[1]])

    def real_metrics(self, n: int) -> dict[str, float]:
        """What n real tracks reach, on average over 8 subsets of the second draw.

        What does not depend on n comes along.
        """
        have = len(self.predicted)
        n, y = min(n, have), real_statistics(self.embeddings[0], self.labels[0], n)
        repeats = range(8 if n < have else 1)
        subsets = [torch.randperm(have, generator=generator("subset", n, i))[:n] for i in repeats]
        found = [distribution_metrics(y.project(self.embeddings[1][r], self.predicted[r]), y) for r in subsets]
        return self.metadata["real"] | {k: sum(f[k] for f in found) / len(found) for k in found[0]}


def reference_for(source: str | Path, size: int, frames: int, sprite: int | None = None,
                  num_digits: int | tuple[int, int] = 1) -> Reference:
    """The shipped reference of a setting; where there is none it is built (a minute or two).

    source: "builtin", "mnist", or a folder with MNIST's files, which are read only where nothing is
    shipped. number: digits in a clip, or the least and the most, each number as often. Raises
    ValueError for any other source.
    """
    path = CHECKPOINTS / reference_file_name(source, size, frames, sprite, num_digits)
    if path.is_file():
        return load_reference(path)
    return build_reference(source, size, frames, sprite, num_digits)


def reference_file_name(source: str | Path, size: int, frames: int, sprite: int | None = None,
              num_digits: int | tuple[int, int] = 1) -> str:
    """The file of a setting; digits and sprite are named unless it is one of the usual size."""
    sprite = sprite or default_sprite(size)
    usual = num_digits == 1 and sprite == default_sprite(size)
    digits = "" if usual else f"-{digits_text(num_digits)}x{sprite}"
    return f"reference-{reference_name(source)}-{size}x{frames}{digits}.safetensors"


def digits_text(num_digits: int | tuple[int, int]) -> str:
    return str(num_digits) if isinstance(num_digits, int) else f"{num_digits[0]}to{num_digits[1]}"


def reference_name(source: str | Path, allow_missing: bool = False) -> str:
    """The shipped reference for digits of a source: "builtin", or "mnist" for it and any folder.

    gone: the source is what a model remembers of its training, perhaps a folder that is no more;
    text with a separator then counts as one. Raises ValueError for any other source.
    """
    text = str(source)
    if text in ("builtin", "mnist"):
        return text
    if Path(source).is_dir() or (allow_missing and ("/" in text or "\\" in text)):
        return "mnist"
    raise ValueError(f"There are no digits {text!r} to compare with; "
                     "give builtin, mnist, or an existing folder with MNIST's files.")


@lru_cache
def load_reference(path: Path) -> Reference:
    """A reference from its file.

    Raises FileNotFoundError, or ValueError for a damaged file or one made with another recogniser.
    """
    tensors, about = with_new_names(*load_tensors(path))
    if about.get("evaluator") != load_digit_classifier()[1]:
        raise ValueError(f"{path} was made with another recogniser; "
                         "build it anew with minidiff.evaluation.baselines.ship_reference.")
    kinds = {torch.float16: torch.float32, torch.uint8: torch.int64}
    return Reference(about, **{k: v.to(kinds.get(v.dtype, v.dtype)) for k, v in tensors.items()})


def save_reference(ref: Reference, path: Path) -> Path:
    """Write a reference in half precision and bytes, about 1 MB."""
    kinds = {torch.float32: torch.float16, torch.int64: torch.uint8}
    tensors = {k: v for k, v in ref._asdict().items() if k != "metadata"}
    tensors = {k: v.to(kinds.get(v.dtype, v.dtype)) for k, v in tensors.items()}
    save_tensors(path, tensors, ref.metadata)
    load_reference.cache_clear()
    return path


@lru_cache
def build_reference(source: str | Path = "builtin", size: int = 32, frames: int = 8,
                    sprite: int | None = None, num_digits: int | tuple[int, int] = 1,
                    n: int | None = None, seed: int = 0) -> Reference:
    """Draw and measure two times n real clips, of the (digit, direction) pairs that training shows.

    source: as in `digits.load`; "test" digits make the clips, "train" and "val" digits serve to
    tell copies (`memorisation_rate`). n: clips, as many as make 2,000 digits unless given. Prompts are asked of
    the second draw, and of a third that shows only the pairs held out.
    """
    test, held, train = load(source, "test"), load(source, "val", 2000), load(source, "train")
    sprite, n = sprite or default_sprite(size), n or 2000 // torch.tensor(num_digits).max().item()
    setting = dict(size=size, frames=frames, sprite=sprite, num_digits=num_digits, seed=seed)
    draws = [moving_mnist(test, n, step=k, pairs=pairs, **setting)
             for k, pairs in ((1, "seen"), (2, "seen"), (3, "held_out"))]
    first, second, third = found = [
        measure((d.x + 1) / 2, sprite, (d.labels >= 0).sum(1)) for d in draws]
    noise = torch.rand(500, frames, 1, size, size, generator=generator("pure noise", seed))
    noise = measure(noise, sprite, draws[0].labels.shape[1])
    most = min(len(first.clip_index), len(second.clip_index))
    points = torch.stack([m.embeddings()[:most].half().float() for m in (first, second)])
    labels = torch.stack([true_digits(m, d)[:most] for m, d in zip(found[:2], draws[:2], strict=True)])
    y, looks = real_statistics(points[0], labels[0], most), mean_and_cov(first.features.flatten(0, 1))
    real = physics_metrics(second.motion, size) | upper_bounds(second, draws[1], third, draws[2]) | {
        "noise": frechet_distance(y.mean_cov, mean_and_cov(y.project(noise.embeddings(), noise.digit).embeddings))}
    basis, scale, codes = principal_components(mean_windows(train), mean_windows(held))
    about = {"source": train.source, "size": size, "frames": frames, "sprite": sprite,
             "num_digits": num_digits, "n": n, "seed": seed, "evaluator": load_digit_classifier()[1],
             "real": real, "memo_scale": scale, "memo_line": 0., "rows": {}}
    looks = torch.cat([looks[0][None], looks[1]]).float()
    ref = Reference(about, points, labels, second.digit[:most], looks, basis, *codes)
    about["memo_line"] = float(memorisation_ratio(second, ref).quantile(0.01))
    return ref


def upper_bounds(m: Measurements, clips: Clips, other: Measurements, held_out: Clips) -> dict[str, float]:
    """What real clips reach of ID and prompts, and how often they defeat the tracker."""
    seen, held = (prompt_rates(x, d.labels, sectors(d.velocities[:, 0]))
                  for x, d in ((m, clips), (other, held_out)))
    return tracking_rates(m) | {f"prompt_{k}_seen": seen[k] for k in ("digit", "direction", "joint")} | {
        "prompt_joint_shuffled": seen["shuffled"], "prompt_joint_heldout": held["joint"],
        "ID": float(m.confident.mean()), "PROMPT": seen["digit"]}


def true_digits(m: Measurements, clips: Clips) -> Tensor:
    """The digits (N,) that tracks follow: of each clip's, those whose places are nearest."""
    K = clips.labels.shape[1]
    track = tracks_by_clip(m, m.track * clips.x.shape[-1], K)                             # (n, K, T, 2)
    places = clips.positions.transpose(1, 2)
    far = (track[:, :, None] - places[:, None]).norm(dim=-1).mean(-1)            # (n, K, K)
    there = tracks_by_clip(m, m.digit * 0, K) == 0
    far = far + 1e6 * (there[:, :, None] != (clips.labels >= 0)[:, None])
    return clips.labels.gather(1, min_cost_assignment(far))[there]


# Memory: is a clip's digit a training digit?

def mean_windows(digits: Digits, places: int = 4) -> Tensor:
    """Digits as `measure` sees them in a clip: the mean window over sub-pixel places, (M, 256)."""
    sprites = resize_sprites(digits.images, 14)
    corners = 4 + 2 * torch.rand(len(sprites), places, 1, 2, generator=generator("sprite places"))
    rows = []
    for s, c in zip(sprites.split(1000), corners.split(1000), strict=True):
        frames = place_sprites(s[:, None], c, 24).flatten(0, 3)                      # (1000 places, 24, 24)
        rows.append(centred_windows(frames).view(len(s), places, -1).mean(1))
    return torch.cat(rows)


def principal_components(train: Tensor, val: Tensor, k: int = 24) -> tuple[Tensor, float, list[Tensor]]:
    """The training pictures' k principal components and their mean, (k + 1, 256).

    With them come a scale, and both sets of pictures in that basis as bytes.
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
    near, far = (torch.cdist(z, codes.float()).amin(1) for codes in (ref.train_codes, ref.val_codes))
    return near / far.clamp(min=1e-6)


def memorisation_rate(m: Measurements, ref: Reference) -> float:
    """Share of clips that copy: nearer to a training digit than 99 % of real clips are.

    Nearness is measured by held-out digits. About .01 for clips of unseen digits, .95 for clips of
    training digits, .5 in pairs of 20 px. Training digits bent by a quarter of a pixel (of 28)
    still give .6, by half a pixel .13, by more .03. The shipped files know the training digits that
    the package has (8,000 of MNIST, 20,000 built-in); for MNIST's 60,000 build a reference from a
    folder that holds them.
    """
    return float((memorisation_ratio(m, ref) < ref.metadata["memo_line"]).float().mean())
