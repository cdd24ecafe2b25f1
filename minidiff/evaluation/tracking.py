"""Where the digit is in every frame, and how it moves: from pixels alone.

The centre of a digit is the ink-weighted mean of the pixels in a window around it. Sub-pixel
placing keeps that centre exactly, so a real clip's centres lie on straight lines between two walls
to within float32. Coordinates are (y, x) in pixels from the frame's upper left corner, as in
`moving_mnist`: the first pixel's middle is at .5.
"""
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

WINDOW_SIZE = 16            # the recogniser sees 16 x 16 samples, on which a sprite measures 14
CENTRE_OFFSET = (-0.002, 0.038)  # how far past a sprite's middle its mass lies, in sprites: MNIST, built-in


class Motion(NamedTuple):
    """How the digits of N clips with T frames move; lengths in pixels."""
    speeds: Tensor   # (N, T - 1), from frame to frame; 0 where a frame has no ink
    accelerations: Tensor    # (N, T - 2), size of second differences at frames 1 .. T - 2; inf without ink
    free: Tensor     # (N, T - 2) bool, no wall within a step before or after
    wall_contact: Tensor  # (N, T - 3, 2) bool, a wall is in the way (y, x) from frame k >= 1 to k + 1
    reflected: Tensor   # (N, T - 3, 2) bool, the velocity on that axis turns there and keeps its size


def ink_centres(frames: Tensor, sprite: int) -> tuple[Tensor, Tensor]:
    """Frames (N, H, W) in [0, 1] -> the ink's centre (N, 2) and whether there is ink at all (N,).

    First the square of about a sprite that holds most ink, then three times the centre of the ink
    around the last centre; ink elsewhere does not count. Where there is no ink the centre is the
    frame's middle.
    """
    size, half = frames.shape[-1], sprite / 2 + 1
    pixels = torch.arange(size, device=frames.device) + 0.5
    band = ((pixels[:, None] - pixels).abs() <= half).to(frames.dtype)    # (S, S)
    best = (band @ frames @ band).flatten(1).argmax(1)                    # row-major
    centres = torch.stack([best // size, best % size], -1) + 0.5          # (N, 2)
    for _ in range(3):
        inside = (half + 0.5 - (pixels - centres[..., None]).abs()).clamp(0, 1)
        rows, columns = inside.unbind(1)                                  # (N, S) each
        down = (frames @ columns[..., None])[..., 0] * rows               # (N, S), by row
        across = (rows[:, None] @ frames)[:, 0] * columns                 # (N, S), by column
        ink = down.sum(1)
        moments = torch.stack([down @ pixels, across @ pixels], -1) / ink.clamp(min=1e-6)[:, None]
        seen = ink > sprite**2 / 200                                      # a thin 1: ten times that
        centres = torch.where(seen[:, None], moments, size / 2)
    return centres, seen


def crop_windows(frames: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """Cut (N, 16, 16) around the centres out of frames (N, H, W), where a sprite measures 14.

    Sub-pixel: each sample is the mean under a hat function as wide as its step, bilinear at 14 px,
    smoothing where sprites are larger.
    """
    step = sprite / 14
    pixels = torch.arange(frames.shape[-1], device=frames.device) + 0.5
    grid = (torch.arange(WINDOW_SIZE, device=frames.device) - (WINDOW_SIZE - 1) / 2) * step
    at = centres[..., None] + grid                                             # (N, 2, WINDOW)
    hats = (1 - (at[..., None] - pixels).abs() / max(step, 1)).clamp(min=0) / max(step, 1)
    rows, columns = hats.unbind(1)                                             # (N, WINDOW, S) each
    return rows @ frames @ columns.mT


def outside_mask(centres: Tensor, size: int, sprite: int) -> Tensor:
    """1 where a pixel lies outside the digit's box, 0 inside: centres (N, 2) -> (N, size, size)."""
    pixels = torch.arange(size, device=centres.device) + 0.5
    inside = (pixels - centres[..., None]).abs() < sprite / 2 + 2                # (N, 2, S)
    rows, columns = inside.to(centres.dtype).unbind(1)
    return 1 - rows[:, :, None] * columns[:, None, :]


def measure_motion(centres: Tensor, visible: Tensor, size: int, sprite: int,
           offset: tuple[float, float] = CENTRE_OFFSET, occluded: Tensor | None = None) -> Motion:
    """Centres (N, T, 2) and seen (N, T), T >= 4 -> speeds, jolts, free steps and wall contacts.

    A step is free where the flight carried on and the flight carried back both stay clear of the
    walls, whatever the digit's ink. A contact is an axis on which the flight carried on goes
    through a wall, for the first time; or, with the film run backwards, the same. A turn there
    keeps its speed to 20 % or a quarter of a pixel (at size 32). Steps into and out of frames
    without ink count as free, and as infinitely far off.
    off: how far the ink's centre lies from the middle of the digit's square, least and most, as a
    share of the sprite.
    hidden: (N, T), frames not seen that nobody could see (see `segmentation`); their steps do not count.
    """
    low, high = ([wall + o * sprite for o in offset] for wall in (sprite / 2, size - sprite / 2))
    d = centres.diff(dim=1)                                                # (N, T-1, 2)
    both = visible[:, 1:] & visible[:, :-1]                                      # (N, T-1)
    ahead = centres[:, 1:-1] + d[:, :-1]                                   # (N, T-2, 2), carried on
    back = centres[:, 1:-1] - d[:, 1:]                                     # carried back
    known = both[:, 1:] & both[:, :-1]                                     # (N, T-2)
    jolts = d.diff(dim=1).norm(dim=-1).masked_fill(~known, float("inf"))
    clear = [(p > low[1]) & (p < high[0]) for p in (ahead, back)]          # (N, T-2, 2) each
    through = [(p < low[0]) | (p > high[1]) for p in (ahead, back)]
    contact = torch.zeros_like(through[0][:, 1:])                          # (N, T-3, 2)
    contact[:, 1:] |= through[0][:, 1:-1] & clear[0][:, :-2]               # else maybe an echo
    contact[:, :-1] |= through[1][:, 1:-1] & clear[1][:, 2:]
    contact &= (known[:, :-1] & known[:, 1:])[..., None]
    before, after = d[:, :-2], d[:, 2:]                                    # (N, T-3, 2)
    kept = (after.abs() - before.abs()).abs() <= (0.2 * before.abs()).clamp(min=size / 128)
    free = (clear[0] & clear[1]).all(-1) | ~known
    if occluded is not None:
        free &= ~(occluded[:, 2:] | occluded[:, 1:-1] | occluded[:, :-2])
    return Motion(d.norm(dim=-1) * both, jolts, free, contact, (before * after < 0) & kept)


# Whereto at first

def wall_positions(size: int, sprite: int, offset: float = sum(CENTRE_OFFSET) / 2) -> tuple[float, float]:
    """Between which coordinates the ink's centre flies; off: one of `CENTRE_OFFSET`, or their mean."""
    return sprite * (0.5 + offset), size - sprite * (0.5 - offset)


def reflect(position: Tensor, velocity: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Places and velocities one frame on, turned round at walls on each axis."""
    ahead = position + velocity
    past = ahead - ahead.clamp(low, high)
    return (ahead - 2 * past).clamp(low, high), torch.where(past == 0, velocity, -velocity)


def sectors(v: Tensor) -> Tensor:
    """Velocities (..., 2) as (y, x) -> their sectors of 45 degrees, as in `prompts.DIRECTIONS`."""
    return (torch.atan2(v[..., 0], v[..., 1]) * 4 / pi).round().long() % 8


def initial_directions(centres: Tensor, visible: Tensor, motion: Motion, size: int, sprite: int) -> Tensor:
    """Into which of eight sectors digits move at frame 0, (N,); -1 where they do not or none knows.

    centres: (N, T, 2); seen: (N, T). The velocity is the mean over the first free steps without
    jolts, four changes of step at most. From there the film runs backwards to frame 0, and the
    velocity turns round on each axis on which the flight carried back meets a wall and the digit
    does not follow it.
    """
    n, T, _ = centres.shape
    rows, at = torch.arange(n), torch.arange(T - 2)
    good = (motion.free & (motion.accelerations < size / 32)) | (motion.accelerations < size / 1280)            # (N, T-2)
    first = good.int().argmax(1)
    later = (at >= first[:, None]) & (at < first[:, None] + 4)
    steps = 1 + (later & ((later & ~good).cumsum(1) == 0)).sum(1)                # of the first run
    c = centres[rows, first]
    v = (centres[rows, first + steps] - c) / steps[:, None]
    inner = wall_positions(size, sprite, CENTRE_OFFSET[1])[0], wall_positions(size, sprite, CENTRE_OFFSET[0])[1]
    low, high = wall_positions(size, sprite)
    for t in range(T - 4, -1, -1):
        now, there = (first > t)[:, None], visible[:, t, None]
        q, turned = reflect(c, -v, low, high)
        past, was = c - v, torch.where(there, centres[:, t], q)
        missed = ((past < inner[0]) | (past > inner[1])) & ((past - was).abs() > size / 1280)
        v = torch.where(now & torch.where(there, missed, turned != -v), -v, v)
        c = torch.where(now, was, c)
    moves = good.any(1) & (v.norm(dim=-1) > size / 64)
    return torch.where(moves, sectors(v), -1)


# Figures

def masked_mean(hits: Tensor, mask: Tensor) -> float:
    """The mean of the hits among those that count; 0 where none does."""
    return float(hits[mask].float().mean()) if mask.any() else 0.


def physics_metrics(motion: Motion, size: int) -> dict[str, float]:
    """smooth, bounce, and the shares of free steps off by over half a pixel and one (of 32)."""
    limits = {"off_half": size / 64, "off_one": size / 32}
    off = {name: masked_mean(motion.accelerations > limit, motion.free) for name, limit in limits.items()}
    return {"smooth": masked_mean((-motion.accelerations * 64 / size).exp(), motion.free),
            "bounce": masked_mean(motion.reflected, motion.wall_contact)} | off


def speed_similarity(speeds: Tensor, real: Tensor) -> float:
    """1 - W1(speeds, real) / W1(0, real), at least 0; W1: the area between two quantile curves."""
    levels = torch.linspace(0, 1, 513)
    a, b = (s.flatten().quantile(levels) for s in (speeds, real))
    return max(0., 1 - float((a - b).abs().mean() / b.mean()))
