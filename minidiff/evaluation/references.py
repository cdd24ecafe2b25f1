"""References: measured real clips with which generated clips are compared, stored in files.

A reference has two draws of clips, of two halves of the digits that no training and no digit
classifier has seen ("test": 1,000 of MNIST, 20,000 built-in ones), so no image is in both.
Generated clips are compared with the first; the second gives the ceiling: what clips of other real
images reach. It also holds the training digits, as codes, so that copies of them are found.
"""
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.data.digits import Digits, load
from minidiff.data.images import warp
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
    frame_side,
    measure,
    prompt_rates,
    smooth_windows,
    tracking_rates,
    tracks_by_clip,
)
from minidiff.evaluation.rows import EDITION
from minidiff.evaluation.segmentation import min_cost_assignment
from minidiff.evaluation.tracking import physics_metrics, sectors
from minidiff.runtime.files import CHECKPOINTS, load_tensors, save_tensors
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default

MIN_SPRITE = 10          # pixels: below, the classifier is sure of fewer than 1 % of frames
MAX_DIGITS = 6           # of a clip: tracks and prompts are matched in all orders
COPY_RATE = 0.045        # of real films that each of three tests calls copies
USUAL_REST, REST_TOLERANCE = 0.4, 0.1   # of pictures outside the components; real: 99 % below .35
TURNS, SCALES = (-6, -3, 0, 3, 6), (0.9, 1.0, 1.1)   # degrees and sizes that are tried
MAX_CLIP_PIXELS = 2**18  # of all frames together: 2,000 such clips take 2 GB
NUM_TRACKS = 2000        # of a draw


class Films(NamedTuple):
    """What the mark of each of N films is made of (see `marks`), as in `Measurements`."""
    certainty: Tensor    # (N,), its mean over time
    change: Tensor       # (N,)
    path_error: Tensor   # (N,)
    speed: Tensor        # (N,)
    walls: Tensor        # (N, 2)
    copied: Tensor       # (N,), 1 for copies of training digits

    def select(self, r: Tensor) -> "Films":
        """The rows r, by index or mask."""
        return Films(*(x[r] for x in self))


class Reference(NamedTuple):
    """Measured real clips of one setting; T frames, n tracks of digits in each draw."""
    metadata: dict          # source, size, frames, sprite, num_digits, n clips, seed, real, ...
    embeddings: Tensor      # (2, n, 32 + 2 T), `Measurements.embeddings` of both draws
    labels: Tensor          # (2, n), the true digits
    predicted: Tensor       # (n,), the digits that it reads in the second draw; 255: none
    films: Tensor           # (2, n, 7), `Films` of both draws
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
        embeddings, both, films = (torch.stack([x[k] for x, k in zip(v, keep, strict=True)])
                                   for v in (self.embeddings, self.labels, self.films))
        return self._replace(embeddings=embeddings, labels=both, films=films,
                             predicted=self.predicted[keep[1]])

    def real_films(self, draw: int | None = None) -> Films:
        """The films of the first draw (0), of the second (1), or of both."""
        x = self.films.flatten(0, 1) if draw is None else self.films[draw]
        return Films(*x[:, :4].unbind(1), x[:, 4:6], x[:, 6])

    def measured_films(self, m: Measurements) -> Films:
        """The films of measured clips, copies of the training digits marked.

        The certainty falls for pictures that only the classifier takes for digits.
        """
        certainty = m.certainty.mean(1) * self.likeness(m.mean_window)
        return Films(certainty, m.change, m.path_error, m.speed, m.walls,
                     self.is_copy(m.mean_window).float())

    def likeness(self, windows: Tensor) -> Tensor:
        """How much windows (N, 256) look like any digit, (N,) from 0 to 1.

        By what of them is outside the principal components of the training digits: .2 of real
        pictures of unit length, .7 of patterns that are made to deceive the classifier.
        """
        unit = F.normalize(windows, dim=-1, eps=1e-3) - self.basis[-1]
        rest = (unit - unit @ self.basis[:-1].T @ self.basis[:-1]).norm(dim=-1)
        return (-((rest - USUAL_REST).clamp(min=0) / REST_TOLERANCE).square()).exp()

    def is_copy(self, windows: Tensor) -> Tensor:
        """Which of the windows (N, 256) are copies of training digits, (N,) bool.

        They are nearer to the training than all but few real films, by one of `copy_ratios`.
        """
        return (self.copy_ratios(windows) < torch.tensor(self.metadata["copy_lines"])).any(1)

    def copy_ratios(self, windows: Tensor) -> Tensor:
        """Three ratios (N, 3) of distances, small for copies of training digits.

        The distance to the nearest training digit over (1) that to the nearest digit kept from
        training, (2) that to the second nearest training digit; (3) the product of both, after the
        best of several turns and sizes. Pictures have unit length: brightness does not count.
        """
        nearest, second, kept = self.code_distances(windows[:, None])
        square = windows.view(-1, 16, 16)
        views = torch.stack([warp(square, a, z).flatten(1) for a in TURNS for z in SCALES], 1)
        turned, turned_second, turned_kept = self.code_distances(views)
        return torch.stack([nearest / kept, nearest / second,
                            turned.square() / (turned_second * turned_kept)], 1)

    def code_distances(self, views: Tensor) -> list[Tensor]:
        """Distances (N,) of the best view (N, V, 256): to the nearest and second training digit,
        and to the nearest digit kept from training.

        The best view is the one that is nearest to a training digit; the best for kept digits is
        their own.
        """
        unit = F.normalize(views, dim=-1, eps=1e-3).flatten(0, 1)
        z = (unit - self.basis[-1]) @ self.basis[:-1].T / self.metadata["code_scale"]
        train, kept = (
            torch.cat([torch.cdist(part, codes.float()).topk(2, largest=False).values
                       for part in z.split(512)]).view(*views.shape[:2], 2).clamp(min=1e-3)
            for codes in (self.train_codes, self.val_codes))
        best = train[..., 0].argmin(1)[:, None, None].expand(-1, 1, 2)
        nearest, second = train.gather(1, best)[:, 0].unbind(1)
        return [nearest, second, kept[..., 0].amin(1)]


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
    tensors, metadata = load_tensors(path)
    if (metadata.get("evaluator") != load_digit_classifier()[1]
            or metadata.get("edition") != EDITION):
        raise ValueError(f"{path} was made with another digit classifier, or for another edition "
                         "of the scoreboard; build it anew with "
                         "minidiff.evaluation.reference_rows.ship_reference.")
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
    recognise copies (`Reference.is_copy`). n: clips, as many as make 2,000 digits unless given.
    Prompts are checked on the second draw, and on a third draw of the held-out pairs only. Raises
    ValueError for a setting that cannot be judged.
    """
    check_setting(size, frames, sprite, num_digits)
    test, held, train = load(source, "test"), load(source, "val", 2000), load(source, "train")
    halves = [Digits(test.images[k::2], test.labels[k::2], test.source) for k in (0, 1)]
    sprite = sprite or default_sprite(size)
    n = n or NUM_TRACKS // torch.tensor(num_digits).max().item()
    setting = dict(size=size, frames=frames, sprite=sprite, num_digits=num_digits, seed=seed)
    draws = [moving_mnist(part, n, step=k, pairs=pairs, **setting) for part, k, pairs in (
        (halves[0], 1, "seen"), (halves[1], 2, "seen"), (halves[1], 3, "held_out"))]
    first, second, third = found = [
        measure((d.x + 1) / 2, sprite, (d.labels >= 0).sum(1)) for d in draws]
    most = min(len(first.clip_index), len(second.clip_index))
    labels = torch.stack([true_digits(m, d)[:most]
                          for m, d in zip(found[:2], draws[:2], strict=True)])
    basis, scale, codes = principal_components(mean_windows(train), mean_windows(held))
    metadata = setting | {
        "source": train.source, "n": n, "evaluator": load_digit_classifier()[1], "edition": EDITION,
        "real": physics_metrics(second.motion, size) | upper_bounds(
            second, draws[1], third, draws[2]),
        "change": [float(second.change.quantile(0.99)), image_distance(second, true_digits(
            second, draws[1]))],
        "speeds": second.speed.quantile(torch.tensor([0.01, 0.99])).tolist(),
        "code_scale": scale, "copy_lines": [0., 0., 0.], "rows": {}}
    frames_seen = first.features.flatten(0, 1).double()
    ref = Reference(
        metadata, torch.stack([m.embeddings()[:most].half().float() for m in (first, second)]),
        labels, second.digit[:most], torch.zeros(2, most, 7),
        torch.cat([frames_seen.mean(0)[None], frames_seen.T.cov()]).float(), basis, *codes)
    ratios = torch.cat([ref.copy_ratios(m.mean_window) for m in (first, second)])
    metadata["copy_lines"] = ratios.quantile(COPY_RATE, 0).tolist()
    films = [torch.column_stack([*ref.measured_films(m)])[:most].half().float()
             for m in (first, second)]
    return ref._replace(films=torch.stack(films))


def image_distance(m: Measurements, labels: Tensor) -> float:
    """The mean distance between the smoothed windows of two images of one class."""
    windows = smooth_windows(m.mean_window)
    pairs = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    return float(torch.cdist(windows, windows)[pairs].mean())


def upper_bounds(m: Measurements, clips: Clips, held_out: Measurements,
                 held_out_clips: Clips) -> dict[str, float]:
    """ID, prompt and tracking rates of real clips: the ceilings of generated ones."""
    seen, held = (prompt_rates(x, c.labels, sectors(c.velocities[:, 0]))
                  for x, c in ((m, clips), (held_out, held_out_clips)))
    rates = {f"prompt_{k}_seen": seen[k] for k in ("digit", "direction", "joint")}
    return tracking_rates(m) | rates | {
        "prompt_joint_shuffled": seen["shuffled"], "prompt_joint_heldout": held["joint"],
        "PROMPT": seen["digit"]}


def true_digits(m: Measurements, clips: Clips) -> Tensor:
    """The digits (N,) that the tracks follow: of each clip, the digits at the nearest positions."""
    K = clips.labels.shape[1]
    track = tracks_by_clip(m, m.track * clips.x.shape[-1], K)                    # (n, K, T, 2)
    positions = clips.positions.transpose(1, 2)
    distance = (track[:, :, None] - positions[:, None]).norm(dim=-1).mean(-1)    # (n, K, K)
    there = tracks_by_clip(m, m.digit * 0, K) == 0
    distance = distance + 1e6 * (there[:, :, None] != (clips.labels >= 0)[:, None])
    return clips.labels.gather(1, min_cost_assignment(distance))[there]


# Training digits as codes

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
    """The k principal components of training windows of unit length, and their mean: (k + 1, 256).

    Also returned: a scale, and both sets of windows in that basis, divided by the scale, as int8.
    """
    train, val = (F.normalize(x, dim=-1, eps=1e-3) for x in (train, val))
    middle = train.mean(0)
    _, vectors = torch.linalg.eigh((train - middle).T @ (train - middle))        # rising
    basis = vectors[:, -k:].T
    codes = [(x - middle) @ basis.T for x in (train, val)]
    scale = max(float(c.abs().max()) for c in codes) / 127
    codes = [(c / scale).round().to(torch.int8) for c in codes]
    return torch.cat([basis, middle[None]]), scale, codes
