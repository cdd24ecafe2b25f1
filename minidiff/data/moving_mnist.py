"""Moving-MNIST: digits move straight and bounce off the walls (Srivastava 2015), made on the fly.

A digit's top-left corner at frame k is its unfolded path p + k v, reflected into
`[0, height - sprite] x [0, width - sprite]`. It is placed at that sub-pixel position by hat
functions (bilinear), which keep its ink and its centre exactly; overlapping digits are composed by
maximum. Everything random is drawn on the CPU, in float32, from (seed, step), so a batch is the
same on every device and after every restart.
"""
from collections.abc import Iterator
from itertools import count
from math import inf, pi
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.data
from torch import Tensor

from minidiff.data.digits import Digits
from minidiff.data.prompts import PACES, ObjectSpec, describe, paraphrase
from minidiff.runtime.memory import check_memory
from minidiff.runtime.seeds import FLOAT, generator

HELD_OUT = tuple((d, (3 * d + 1) % 8) for d in range(10))   # (digit, direction), never trained on
PAIR_SETS = ("seen", "all", "held_out")


class Clips(NamedTuple):
    """A batch of clips and everything that is known about them.

    B clips, T frames, N digits; positions in pixels as (y, x).
    """
    x: Tensor            # (B, T, C, H, W) in [-1, 1]
    labels: Tensor       # (B, N); -1 if a clip has fewer digits than others
    positions: Tensor    # (B, T, N, 2), the centre of the digit's square
    velocities: Tensor   # (B, T, N, 2), pixels per frame, from this frame on
    captions: list[str]  # "a 3 moving up left and a 7 moving down"

    def to(self, device) -> "Clips":
        """The same batch with its tensors on another device."""
        return Clips(*(v.to(device) if isinstance(v, Tensor) else v for v in self))


def moving_mnist(digits: Digits, n: int, *, size: int | tuple[int, int] = 32, frames: int = 8,
                 num_digits: int | tuple[int, int] = 1,
                 sprite: int | None = None, speed: tuple[float, float] | None = None,
                 pairs: str = "seen", labels: Tensor | None = None,
                 seed: int = 0, step: int = 0, device="cpu") -> Clips:
    """n clips of bouncing digits.

    digits: images (M, C, h, w) in [0, 1] with labels, from `digits.load` or of your own.
    size: the side of a frame in pixels, or (height, width). frames: how many in a clip.
    num_digits: digits in a clip, or the least and the most, each number equally often.
    sprite: the side of the digit's square in pixels, 7/16 of the shorter side unless given.
    speed: pixels per frame, drawn uniformly between the two; (1, 3) / 32 of the shorter side unless
    given.
    pairs: which (digit, direction) pairs occur: "seen" leaves out the `HELD_OUT` ones, "held_out"
    shows only those, "all" shows both.
    labels: (n, num_digits), or (n,) for one digit, the digits to show; drawn unless given.
    Raises ValueError for settings that cannot be met.
    """
    height, width = size = frame_size(size)
    least, num_digits = ((num_digits, num_digits) if isinstance(num_digits, Integral | None)
                         else num_digits)
    sprite = default_sprite(min(size)) if sprite is None else sprite
    low, high = (min(size) / 32, 3 * min(size) / 32) if speed is None else speed
    check_settings(n, frames, size, (least, num_digits), sprite, (low, high), pairs)
    check_memory(8 * n * frames * num_digits * digits.images.shape[1] * height * width,
                 f"{n} clips of {frames} frames", "ask for fewer, or smaller ones")
    g = generator("clips", seed, step)
    rows = choose_sprites(digits.labels, labels, (n, num_digits), g)             # (n, N)
    labels = digits.labels.long()[rows]
    sector = choose_directions(labels, pairs, g)                                 # (n, N)
    angle = (sector + torch.rand(n, num_digits, generator=g, **FLOAT) - 0.5) * pi / 4
    pace = low + (high - low) * torch.rand(n, num_digits, generator=g, **FLOAT)
    velocity = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]     # (n, N, 2), (y, x)
    room = torch.tensor([height - sprite, width - sprite], **FLOAT)              # (2,), (y, x)
    start = torch.rand(n, num_digits, 2, generator=g, **FLOAT) * room
    corners, velocities = bounce(start, velocity, frames, room)                  # (n, T, N, 2) each
    images = resize_sprites(digits.images[rows.flatten()], sprite).unflatten(0, (n, num_digits))
    if least < num_digits:
        many = torch.randint(least, num_digits + 1, (n, 1), generator=g, device="cpu")
        gone = torch.arange(num_digits, device="cpu") >= many                    # (n, N)
        labels, images = labels.masked_fill(gone, -1), images * ~gone[..., None, None, None]
    x = place_sprites(images.to(device), corners.to(device), size).amax(2)       # (n, T, C, H, W)
    captions = [describe([ObjectSpec(d, s) for d, s in zip(*row, strict=True) if d >= 0])
                for row in zip(labels.tolist(), sector.tolist(), strict=True)]
    x = 2 * x.clamp(max=1) - 1
    return Clips(x, labels, corners + sprite / 2, velocities, captions).to(device)


def frame_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size in pixels: one number is a square.

    Raises ValueError unless it is one whole number, or two, of at least 1.
    """
    sides = [size, size] if isinstance(size, Real) else list(size or ())
    if len(sides) != 2 or not all(isinstance(s, Integral) and s >= 1 for s in sides):
        raise ValueError("size must be a whole number of pixels, or (height, width), "
                         f"got {size!r}.")
    return int(sides[0]), int(sides[1])


def check_settings(n: int, frames: int, size: tuple[int, int], num_digits: tuple[int, int],
                   sprite: int, speed: tuple[float, float], pairs: str) -> None:
    """Raises ValueError for settings of `moving_mnist` that cannot be met."""
    (least, most), (low, high) = num_digits, speed
    if not all(isinstance(v, Integral) for v in (n, frames, least, most)) or (
            n < 1 or frames < 1 or not 1 <= least <= most):
        raise ValueError("moving_mnist needs whole numbers n, frames and num_digits of at least 1, "
                         f"got n={n}, frames={frames}, num_digits={num_digits}.")
    if not isinstance(sprite, Integral) or not 1 <= sprite < min(size) or (
            not 0 <= low <= high < inf):
        raise ValueError(f"A digit of {sprite} px does not fit frames of {size[0]}x{size[1]} px, "
                         f"or the speeds {low} to {high} are not finite and rising from 0 up.")
    if pairs not in PAIR_SETS:
        raise ValueError(f"Unknown pairs {pairs!r}; choose one of {', '.join(PAIR_SETS)}.")


def object_specs(clips: Clips) -> list[list[ObjectSpec]]:
    """What can be said of each clip's digits: which digit, its first direction, its pace.

    The slowest third of the usual speeds is "slowly", the fastest "quickly"; nothing is said of
    those between.
    """
    side = min(clips.x.shape[-2:])
    v = clips.velocities[:, 0].cpu() * 32 / side                                # (B, N, 2)
    sector = (torch.atan2(v[..., 0], v[..., 1]) * 4 / pi).round().long() % 8
    pace = ((v.norm(dim=-1) - 1) * 1.5).floor().clamp(0, 2).long()              # thirds of 1 to 3
    word = PACES[0], None, PACES[1]
    rows = zip(*(x.tolist() for x in (clips.labels, sector, pace)), strict=True)
    return [[ObjectSpec(d, s, word[p]) for d, s, p in zip(*row, strict=True) if d >= 0]
            for row in rows]


def sample_captions(clips: Clips, *seeds: int) -> list[str]:
    """A random caption for training for each clip (see `prompts.paraphrase`).

    If a digit is slow or quick, half of the captions say so.
    """
    specs = object_specs(clips)
    uniforms = torch.rand(len(specs), 24, generator=generator("captions", *seeds), **FLOAT).tolist()
    captions = []
    for row, numbers in zip(specs, map(iter, uniforms), strict=True):
        row = [spec if next(numbers) < 0.5 else spec._replace(pace=None) for spec in row]
        captions.append(paraphrase(row, numbers))
    return captions


def default_sprite(size: int) -> int:
    """The side of the digit's square in frames of so many pixels: 7/16, which is 14 of 32."""
    return size * 7 // 16


def batches(digits: Digits, batch: int, seed: int = 0, start: int = 0,
            **settings) -> Iterator[Clips]:
    """Endless batches for training; batch k depends on (seed, k) alone.

    start: the first k. Several workers of a `DataLoader` share the numbers (`batch_numbers`).
    """
    for step in batch_numbers(start):
        yield moving_mnist(digits, batch, seed=seed, step=step, **settings)


def batch_numbers(start: int = 0) -> Iterator[int]:
    """start, start + 1, ...; worker i of a `DataLoader` with n workers gets every n-th, from i on.

    So the loader, which asks its workers in turn, yields each batch once and in order.
    """
    worker = torch.utils.data.get_worker_info()
    return count(start) if worker is None else count(start + worker.id, worker.num_workers)


def choose_sprites(available: Tensor, wanted: Tensor | None, shape: tuple[int, int],
                   g: torch.Generator) -> Tensor:
    """Rows of the digits, (n, N): any rows, or one row with each wanted label.

    Labels may be of any integer type. Raises ValueError for a label that no digit has, and for
    labels of another shape or type.
    """
    if wanted is None:
        return torch.randint(len(available), shape, generator=g, device="cpu")
    wanted, available = torch.as_tensor(wanted).cpu(), available.cpu().long()
    if wanted.shape != shape and (shape[1] > 1 or wanted.shape != shape[:1]):
        raise ValueError(f"labels must be (n, num_digits) = {tuple(shape)}, one for each digit "
                         f"shown, got {tuple(wanted.shape)}.")
    if wanted.is_floating_point() or wanted.is_complex() or wanted.dtype == torch.bool:
        raise ValueError(f"labels must be whole numbers, got {wanted.dtype}.")
    wanted = wanted.long().view(shape)
    counts = torch.bincount(available, minlength=10)
    if wanted.min() < 0 or wanted.max() >= len(counts) or (counts[wanted] == 0).any():
        known = ", ".join(str(d) for d in counts.nonzero().flatten().tolist())
        raise ValueError("There is no digit for some of the wanted labels; "
                         f"the labels at hand are {known}.")
    order = available.argsort(stable=True)                               # rows sorted by label
    first = counts.cumsum(0) - counts                                    # each label's first place
    within = (torch.rand(shape, generator=g, **FLOAT) * counts[wanted]).long()
    return order[first[wanted] + within]


def choose_directions(labels: Tensor, pairs: str, g: torch.Generator) -> Tensor:
    """A sector 0 .. 7 for every digit, (n, N), among those that `pairs` allows for its label.

    Raises ValueError for a label without a held-out sector if only those are wanted.
    """
    direction = dict(HELD_OUT)
    held = torch.tensor([direction.get(int(d), -1) for d in labels.flatten()], device="cpu")
    held = held.view(labels.shape)
    if pairs == "held_out":
        if (held < 0).any():
            raise ValueError("Only the labels 0 to 9 have a held-out direction; "
                             "use pairs='all' for other sprites.")
        return held
    draw = dict(size=labels.shape, generator=g, device="cpu")
    if pairs == "all":
        return torch.randint(8, **draw)
    other = torch.randint(1, 8, **draw)                                  # away from held
    return torch.where(held < 0, torch.randint(8, **draw), (held + other) % 8)


def bounce(start: Tensor, velocity: Tensor, frames: int,
           room: Tensor | float) -> tuple[Tensor, Tensor]:
    """Corners and velocities at each frame, (n, T, N, 2), bouncing elastically.

    start, velocity: (n, N, 2). room: the largest corner, one number or (2,) for y and x.
    """
    velocity = velocity[:, None]
    path = start[:, None] + velocity * torch.arange(frames, device=start.device).view(1, -1, 1, 1)
    path = path % (2 * room)
    back = path > room
    return torch.where(back, 2 * room - path, path), torch.where(back, -velocity, velocity)


def resize_sprites(images: Tensor, sprite: int) -> Tensor:
    """Sprites (M, C, h, w) -> (M, C, sprite, sprite), each pixel the mean of the area it covers."""
    if images.shape[-2:] == (sprite, sprite):
        return images
    return F.interpolate(images, size=(sprite, sprite), mode="area")


def place_sprites(sprites: Tensor, corners: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Sprites (n, N, C, s, s) at sub-pixel corners (n, T, N, 2) -> frames (n, T, N, C, H, W).

    Black elsewhere. A shift separates into rows and columns: frame = Y sprite X^T with hat
    functions `Y[y, i] = max(0, 1 - |y - (corner + i)|)`.
    """
    within = torch.arange(sprites.shape[-1], device=corners.device)

    def hats(side: int, corner: Tensor) -> Tensor:
        at = corner[..., None] + within                                   # (n, T, N, s)
        pixels = torch.arange(side, device=corners.device)[:, None]
        return (1 - (pixels - at[..., None, :]).abs()).clamp(min=0)       # (n, T, N, side, s)
    (height, width), (y, x) = frame_size(size), corners.unbind(-1)
    rows, columns = hats(height, y)[..., None, :, :], hats(width, x)[..., None, :, :]
    return rows @ sprites[:, None] @ columns.transpose(-1, -2)


def load_public_test(folder: str | Path) -> Tensor:
    """The fixed public test set (Srivastava 2015): (10000, 20, 1, 64, 64) in [-1, 1].

    folder: holds `mnist_test_seq.npy`, which torchvision's MovingMNIST downloads. Raises
    FileNotFoundError or ValueError that says what is wrong with it.
    """
    folder = Path(folder).expanduser()
    places = [folder / sub / "mnist_test_seq.npy" for sub in ("", "MovingMNIST")]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} does not hold mnist_test_seq.npy; "
                                "torchvision.datasets.MovingMNIST downloads it.")
    try:
        clips = np.load(path, allow_pickle=False)                                # (T, N, H, W)
    except (ValueError, EOFError) as e:
        raise ValueError(f"{path} is not a whole .npy file ({e}); fetch it anew.") from None
    if clips.ndim != 4 or clips.dtype != np.uint8:
        raise ValueError(f"{path} should hold bytes (T, N, H, W), "
                         f"but holds {clips.dtype} of shape {clips.shape}.")
    return torch.from_numpy(clips).transpose(0, 1)[:, :, None] / 127.5 - 1       # (N, T, C, H, W)
