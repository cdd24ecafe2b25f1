"""Moving-MNIST: digits fly straight and bounce off the walls (Srivastava 2015), made on the fly.

A digit's top-left corner at frame k is its unfolded path p + k v, reflected into
`[0, size - sprite]`. It is placed at that sub-pixel position by hat functions (bilinear), which
keep its ink and its centre exactly; overlapping digits are composed by maximum. Everything random
is drawn on the CPU from (seed, step), so a batch is the same on every device and after every
restart.
"""
from collections.abc import Iterator
from math import inf, pi
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.data.digits import Digits
from minidiff.data.prompts import PACES, ObjectSpec, describe, paraphrase
from minidiff.runtime.seeds import generator

HELD_OUT = tuple((d, (3 * d + 1) % 8) for d in range(10))   # (digit, direction), never trained on
PAIR_SETS = ("seen", "all", "held_out")


class Clips(NamedTuple):
    """A batch of clips and all there is to know about them.

    B clips, T frames, N digits; positions in pixels as (y, x).
    """
    x: Tensor            # (B, T, C, H, W) in [-1, 1]
    labels: Tensor       # (B, N); -1 where a clip has fewer digits than others
    positions: Tensor    # (B, T, N, 2), the centre of the digit's square
    velocities: Tensor   # (B, T, N, 2), pixels per frame, from this frame on
    captions: list[str]  # "a 3 moving up left and a 7 moving down"

    def to(self, device) -> "Clips":
        return Clips(*(v.to(device) if isinstance(v, Tensor) else v for v in self))


def moving_mnist(digits: Digits, n: int, *, size: int = 32, frames: int = 8,
                 num_digits: int | tuple[int, int] = 1,
                 sprite: int | None = None, speed: tuple[float, float] | None = None,
                 pairs: str = "seen", labels: Tensor | None = None,
                 seed: int = 0, step: int = 0, device="cpu") -> Clips:
    """n clips of `number` bouncing digits, `frames` frames of size x size.

    digits: images (M, 1, h, w) in [0, 1] with labels, from `digits.load` or of your own.
    number: digits in a clip, or the least and the most, each number as often.
    sprite: the digit's square in pixels, 7/16 of the size unless given.
    speed: pixels per frame, drawn uniformly between the two; size * (1, 3) / 32 unless given.
    pairs: which (digit, direction) pairs occur: "seen" leaves the `HELD_OUT` ones away, "held_out"
    shows only them, "all" both.
    labels: (n, number), or (n,) for one digit, the digits to show; drawn at random unless given.
    Raises ValueError for settings that cannot be met.
    """
    least, num_digits = (num_digits, num_digits) if isinstance(num_digits, int) else num_digits
    sprite = default_sprite(size) if sprite is None else sprite
    low, high = (size / 32, 3 * size / 32) if speed is None else speed
    if n < 1 or frames < 1 or not 1 <= least <= num_digits:
        raise ValueError("moving_mnist needs n, frames and number of at least 1, "
                         f"got n={n}, frames={frames}, number={num_digits}.")
    if not 1 <= sprite < size or not 0 <= low <= high < inf:
        raise ValueError(f"A digit of {sprite} px does not fit frames of {size} px, "
                         f"or the speeds {low} to {high} are not finite and rising from 0 up.")
    if pairs not in PAIR_SETS:
        raise ValueError(f"Unknown pairs {pairs!r}; choose one of {', '.join(PAIR_SETS)}.")
    g = generator("clips", seed, step)
    which = choose_sprites(digits.labels, labels, (n, num_digits), g)                        # (n, N), rows
    labels = digits.labels[which]
    sector = choose_directions(labels, pairs, g)                                 # (n, N)
    angle = (sector + torch.rand(n, num_digits, generator=g) - 0.5) * pi / 4
    pace = low + (high - low) * torch.rand(n, num_digits, generator=g)
    velocity = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]     # (n, N, 2), (y, x)
    start = torch.rand(n, num_digits, 2, generator=g) * (size - sprite)
    corners, velocities = bounce(start, velocity, frames, size - sprite)         # (n, T, N, 2) each
    images = resize_sprites(digits.images[which.flatten()], sprite).unflatten(0, (n, num_digits))
    if least < num_digits:
        gone = torch.arange(num_digits) >= torch.randint(least, num_digits + 1, (n, 1), generator=g)
        labels, images = labels.masked_fill(gone, -1), images * ~gone[..., None, None, None]
    x = place_sprites(images.to(device), corners.to(device), size).amax(2).clamp(max=1)  # (n, T, C, H, W)
    captions = [describe([ObjectSpec(d, s) for d, s in zip(*row, strict=True) if d >= 0])
                for row in zip(labels.tolist(), sector.tolist(), strict=True)]
    return Clips(2 * x - 1, labels, corners + sprite / 2, velocities, captions).to(device)


def object_specs(clips: Clips) -> list[list[ObjectSpec]]:
    """What can be said of each clip's digits: which, whereto at first, how fast.

    The slowest third of the usual speeds is "slowly", the fastest "quickly"; between them nothing
    is said.
    """
    v = clips.velocities[:, 0].cpu() * 32 / clips.x.shape[-1]                # (B, N, 2), for 32 px
    sector = (torch.atan2(v[..., 0], v[..., 1]) * 4 / pi).round().long() % 8
    pace = ((v.norm(dim=-1) - 1) * 1.5).floor().clamp(0, 2).long()               # thirds of 1 to 3
    word = PACES[0], None, PACES[1]
    rows = zip(*(x.tolist() for x in (clips.labels, sector, pace)), strict=True)
    return [[ObjectSpec(d, s, word[p]) for d, s, p in zip(*row, strict=True) if d >= 0] for row in rows]


def sample_captions(clips: Clips, *seeds: int) -> list[str]:
    """A caption for training for each clip, worded by chance (see `prompts.paraphrase`).

    Where the pace is sayable it is said in half of the cases.
    """
    said = object_specs(clips)
    chance = torch.rand(len(said), 24, generator=generator("captions", *seeds)).tolist()
    words = []
    for row, numbers in zip(said, map(iter, chance), strict=True):
        row = [t if next(numbers) < 0.5 else t._replace(pace=None) for t in row]
        words.append(paraphrase(row, numbers))
    return words


def default_sprite(size: int) -> int:
    """The side of the digit's square in frames of so many pixels: 7/16, which is 14 of 32."""
    return size * 7 // 16


def batches(digits: Digits, batch: int, seed: int = 0, start: int = 0,
            **settings) -> Iterator[Clips]:
    """Endless batches for training; number k depends on (seed, k) alone. start: the first k."""
    step = start
    while True:
        yield moving_mnist(digits, batch, seed=seed, step=step, **settings)
        step += 1


def choose_sprites(available: Tensor, wanted: Tensor | None, shape: tuple[int, int], g: torch.Generator) -> Tensor:
    """Rows of the digits, (n, N): any at all, or for each wanted label one of its own.

    Raises ValueError for a label that no digit has, and for labels of another shape.
    """
    if wanted is None:
        return torch.randint(len(available), shape, generator=g)
    wanted = torch.as_tensor(wanted).cpu()
    if wanted.shape != shape and (shape[1] > 1 or wanted.shape != shape[:1]):
        raise ValueError(f"labels must be (n, number) = {tuple(shape)}, one for each digit shown, "
                         f"got {tuple(wanted.shape)}.")
    counts = torch.bincount(available, minlength=10)
    if wanted.min() < 0 or wanted.max() >= len(counts) or (counts[wanted] == 0).any():
        known = ", ".join(str(d) for d in counts.nonzero().flatten().tolist())
        raise ValueError("There is no digit for some of the wanted labels; "
                         f"the labels at hand are {known}.")
    order = available.argsort(stable=True)                                      # rows sorted by label
    first = counts.cumsum(0) - counts                                      # where each label begins
    wanted = wanted.view(shape)
    within = (torch.rand(shape, generator=g) * counts[wanted]).long()
    return order[first[wanted] + within]


def choose_directions(labels: Tensor, pairs: str, g: torch.Generator) -> Tensor:
    """A sector 0 .. 7 for every digit, (n, N), among those that `pairs` allows for its label.

    Raises ValueError for a label without a held-out sector where only those are wanted.
    """
    direction = dict(HELD_OUT)
    held = torch.tensor([direction.get(int(d), -1) for d in labels.flatten()]).view(labels.shape)
    if pairs == "held_out":
        if (held < 0).any():
            raise ValueError("Only the labels 0 to 9 have a held-out direction; "
                             "use pairs='all' for other sprites.")
        return held
    if pairs == "all":
        return torch.randint(8, labels.shape, generator=g)
    other = torch.randint(1, 8, labels.shape, generator=g)                       # away from held
    return torch.where(held < 0, torch.randint(8, labels.shape, generator=g), (held + other) % 8)


def bounce(start: Tensor, velocity: Tensor, frames: int, room: float) -> tuple[Tensor, Tensor]:
    """Corners and velocities at each frame, (n, T, N, 2), bouncing elastically in [0, room]^2."""
    velocity = velocity[:, None]
    path = start[:, None] + velocity * torch.arange(frames).view(1, -1, 1, 1)
    path = path % (2 * room)
    back = path > room
    return torch.where(back, 2 * room - path, path), torch.where(back, -velocity, velocity)


def resize_sprites(images: Tensor, sprite: int) -> Tensor:
    """Sprites (M, C, h, w) -> (M, C, sprite, sprite), each pixel the mean of the area it covers."""
    if images.shape[-2:] == (sprite, sprite):
        return images
    return F.interpolate(images, size=(sprite, sprite), mode="area")


def place_sprites(sprites: Tensor, corners: Tensor, size: int) -> Tensor:
    """Sprites (n, N, C, s, s) at sub-pixel corners (n, T, N, 2) -> frames (n, T, N, C, size, size).

    Black elsewhere. A shift separates into rows and columns: frame = Y sprite X^T with hat
    functions `Y[y, i] = max(0, 1 - |y - (corner + i)|)`.
    """
    s = sprites.shape[-1]
    at = corners[..., None] + torch.arange(s, device=corners.device)    # (n, T, N, 2, s)
    pixels = torch.arange(size, device=corners.device)[:, None]
    hats = (1 - (pixels - at[..., None, :]).abs()).clamp(min=0)         # (n, T, N, 2, size, s)
    rows, columns = hats[..., None, :, :].unbind(3)                     # (n, T, N, 1, size, s) each
    return rows @ sprites[:, None] @ columns.transpose(-1, -2)


def load_public_test(folder: str | Path) -> Tensor:
    """The fixed public test set (Srivastava 2015): (10000, 20, 1, 64, 64) in [-1, 1].

    folder: where `mnist_test_seq.npy` is, which torchvision's MovingMNIST downloads. Raises
    FileNotFoundError or ValueError that says what is wrong with it.
    """
    places = [Path(folder) / sub / "mnist_test_seq.npy" for sub in ("", "MovingMNIST")]
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
