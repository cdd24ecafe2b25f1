"""Tracking: the position of the digit in every frame, and its motion, from pixels alone.

The centre of a digit is the ink-weighted mean position of the pixels in a window around it.
Sub-pixel placement keeps that centre exactly, so the centres of a real clip lie on straight lines
between two walls, up to float32 rounding. Coordinates are (y, x) in pixels from the frame's upper
left corner, as in `moving_mnist`: the middle of the first pixel is at .5.
"""
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

TOP_SPEED = 4.5                   # pixels a frame and axis at size 32: paths are sought up to it
WINDOW_SIZE = 16                  # the classifier reads 16 x 16 samples; a sprite spans 14 of them
CENTRE_OFFSET = (-0.002, 0.038)   # ink's centre minus sprite's, in sprites: MNIST, built-in digits


class Motion(NamedTuple):
    """The motion of the digits of N clips with T frames; lengths in pixels."""
    speeds: Tensor         # (N, T - 1), from frame to frame; 0 if a frame has no ink
    accelerations: Tensor  # (N, T - 2), size of second differences, frames 1 to T - 2; inf: no ink
    free: Tensor           # (N, T - 2) bool, no wall within a step before or after
    wall_contact: Tensor   # (N, T - 3, 2) bool, the digit hits a wall (y, x) after frame k >= 1
    reflected: Tensor      # (N, T - 3, 2) bool, the velocity changes its sign there, not its size


def ink_centres(frames: Tensor, sprite: int) -> tuple[Tensor, Tensor]:
    """Frames (N, H, W) in [0, 1] -> the ink's centre (N, 2) and whether there is any ink (N,).

    The first guess is the middle of the square, about as large as a sprite, with most ink. The
    centre of the ink around the last guess is then taken three times; ink elsewhere does not count.
    Without ink the centre is the frame's middle.
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
        seen = ink > sprite**2 / 200                                # a thin 1 has ten times as much
        centres = torch.where(seen[:, None], moments, size / 2)
    return centres, seen


def crop_windows(frames: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """Windows (N, 16, 16) around the centres (N, 2) of frames (N, H, W); a sprite spans 14 samples.

    Each sample is the mean under a hat function at a sub-pixel position: bilinear interpolation for
    sprites of 14 px or less, smoothing for larger ones.
    """
    step = sprite / 14
    pixels = torch.arange(frames.shape[-1], device=frames.device) + 0.5
    grid = (torch.arange(WINDOW_SIZE, device=frames.device) - (WINDOW_SIZE - 1) / 2) * step
    at = centres[..., None] + grid                                             # (N, 2, WINDOW)
    hats = (1 - (at[..., None] - pixels).abs() / max(step, 1)).clamp(min=0) / max(step, 1)
    rows, columns = hats.unbind(1)                                             # (N, WINDOW, S) each
    return rows @ frames @ columns.mT


def outside_mask(centres: Tensor, size: int, sprite: int, margin: float = 2) -> Tensor:
    """1 for pixels outside the digit's box, 0 inside: centres (N, 2) -> (N, size, size).

    margin: how far the box reaches past the digit's square.
    """
    pixels = torch.arange(size, device=centres.device) + 0.5
    inside = (pixels - centres[..., None]).abs() < sprite / 2 + margin           # (N, 2, S)
    rows, columns = inside.to(centres.dtype).unbind(1)
    return 1 - rows[:, :, None] * columns[:, None, :]


def measure_motion(centres: Tensor, visible: Tensor, size: int, sprite: int,
                   offset: tuple[float, float] = CENTRE_OFFSET,
                   occluded: Tensor | None = None) -> Motion:
    """The motion of centres (N, T, 2), visible (N, T), for T >= 4.

    A step is free if both the forward and the backward extrapolation stay clear of the walls,
    whatever the digit's ink. A contact is an axis on which the forward extrapolation passes a wall
    for the first time, or the backward one in the reversed film. A reflection keeps the speed up to
    20 % or a quarter of a pixel (at size 32). Steps to and from frames without ink count as free
    and as infinitely large errors.
    offset: how far the ink's centre may lie from the middle of the digit's square, least and most,
    as a share of the sprite. occluded: (N, T), frames in which another digit hides this one (see
    `segmentation`); steps next to them do not count.
    """
    low, high = ([wall + o * sprite for o in offset] for wall in (sprite / 2, size - sprite / 2))
    step = centres.diff(dim=1)                                             # (N, T-1, 2)
    both = visible[:, 1:] & visible[:, :-1]                                # (N, T-1)
    ahead = centres[:, 1:-1] + step[:, :-1]                                # (N, T-2, 2), forward
    back = centres[:, 1:-1] - step[:, 1:]                                  # backward
    known = both[:, 1:] & both[:, :-1]                                     # (N, T-2)
    accelerations = step.diff(dim=1).norm(dim=-1).masked_fill(~known, float("inf"))
    clear = [(p > low[1]) & (p < high[0]) for p in (ahead, back)]          # (N, T-2, 2) each
    through = [(p < low[0]) | (p > high[1]) for p in (ahead, back)]
    contact = torch.zeros_like(through[0][:, 1:])                          # (N, T-3, 2)
    contact[:, 1:] |= through[0][:, 1:-1] & clear[0][:, :-2]               # not twice for one wall
    contact[:, :-1] |= through[1][:, 1:-1] & clear[1][:, 2:]
    contact &= (known[:, :-1] & known[:, 1:])[..., None]
    before, after = step[:, :-2], step[:, 2:]                              # (N, T-3, 2)
    kept = (after.abs() - before.abs()).abs() <= (0.2 * before.abs()).clamp(min=size / 128)
    free = (clear[0] & clear[1]).all(-1) | ~known
    if occluded is not None:
        free &= ~(occluded[:, 2:] | occluded[:, 1:-1] | occluded[:, :-2])
    return Motion(step.norm(dim=-1) * both, accelerations, free, contact,
                  (before * after < 0) & kept)


# The path

class Path(NamedTuple):
    """The bouncing path that fits a digit's centres best."""
    errors: Tensor     # (N, T), the distance of each centre from it in pixels; 0 where not seen
    velocity: Tensor   # (N, 2), pixels per frame at frame 0

    def rms(self, seen: Tensor) -> Tensor:
        """The root mean square error (N,) of the frames seen (N, T); the fit took two of them."""
        return (self.errors.square().sum(1) / (seen.sum(1) - 2).clamp(min=1)).sqrt()


def fit_path(centres: Tensor, seen: Tensor, size: int, sprite: int) -> Path:
    """The path p + k v, reflected between the walls, that is nearest to centres (N, T, 2).

    seen: (N, T), the frames that count. Each axis alone: the best of a grid of positions and
    velocities, then four steps of Gauss-Newton.
    """
    low, high = wall_positions(size, sprite)
    room, (n, T) = high - low, seen.shape
    y = (centres - low).mT.flatten(0, 1)                                         # (2 N, T)
    w, t = seen.to(y.dtype).repeat_interleave(2, 0), torch.arange(T, dtype=y.dtype)
    speeds = torch.linspace(-1, 1, 129) * TOP_SPEED * size / 32
    starts = torch.linspace(0, 2 * room, 65)[:-1]
    grid = fold(starts[:, None, None] + speeds[:, None] * t, room).flatten(0, 1)  # (P V, T)
    best = (w @ grid.square().T - 2 * (w * y) @ grid.T).argmin(1)                # least squares
    p, v = starts[best // len(speeds)], speeds[best % len(speeds)]
    for _ in range(4):
        path = p[:, None] + v[:, None] * t
        slope = torch.where(path.remainder(2 * room) < room, w, -w)
        rows = torch.stack([slope, slope * t], -1)                               # (2 N, T, 2)
        gram = rows.mT @ rows + 1e-6 * torch.eye(2)
        change = torch.linalg.solve(gram, (rows * (w * (y - fold(path, room)))[..., None]).sum(1))
        p, v = p + change[:, 0], v + change[:, 1]
    errors = w * (y - fold(p[:, None] + v[:, None] * t, room))
    return Path(errors.view(n, 2, T).norm(dim=1), v.view(n, 2))


def fold(path: Tensor, room: float) -> Tensor:
    """A straight path, reflected at 0 and at `room`."""
    return room - (path.remainder(2 * room) - room).abs()


def wall_speeds(centres: Tensor, motion: Motion, size: int) -> tuple[Tensor, Tensor]:
    """The speeds across the walls of each clip's contacts, summed: before and after, (N,) each.

    In pixels at size 32; a digit that goes on in its direction counts as a negative speed after.
    """
    step = centres.diff(dim=1) * 32 / size
    before, after = step[:, :-2], step[:, 2:]                                    # (N, T - 3, 2)
    hits = motion.wall_contact
    return ((before.abs() * hits).sum((1, 2)), (-after * before.sign() * hits).sum((1, 2)))


# The first direction

def wall_positions(size: int, sprite: int,
                   offset: float = sum(CENTRE_OFFSET) / 2) -> tuple[float, float]:
    """The least and largest coordinate that the ink's centre reaches, in pixels.

    offset: one of `CENTRE_OFFSET`, their mean unless given.
    """
    return sprite * (0.5 + offset), size - sprite * (0.5 - offset)


def reflect(position: Tensor, velocity: Tensor, low: float,
            high: float) -> tuple[Tensor, Tensor]:
    """Position and velocity one frame later, reflected at the walls on each axis."""
    ahead = position + velocity
    past = ahead - ahead.clamp(low, high)
    return (ahead - 2 * past).clamp(low, high), torch.where(past == 0, velocity, -velocity)


def sectors(v: Tensor) -> Tensor:
    """Velocities (..., 2) as (y, x) -> their sectors of 45 degrees, as in `prompts.DIRECTIONS`."""
    return (torch.atan2(v[..., 0], v[..., 1]) * 4 / pi).round().long() % 8


def initial_directions(centres: Tensor, visible: Tensor, motion: Motion, size: int,
                       sprite: int) -> Tensor:
    """The sector into which each digit moves at frame 0, (N,); -1 if it rests or it is unknown.

    centres: (N, T, 2); visible: (N, T). The velocity is the mean over the first free steps without
    acceleration, five steps at most. From there it is followed backwards to frame 0; on each axis
    it changes its sign if the backward extrapolation meets a wall and the digit is not behind it.
    """
    n, T, _ = centres.shape
    rows, times = torch.arange(n), torch.arange(T - 2)
    steady = motion.accelerations < size / 1280
    good = (motion.free & (motion.accelerations < size / 32)) | steady           # (N, T-2)
    first = good.int().argmax(1)
    later = (times >= first[:, None]) & (times < first[:, None] + 4)
    steps = 1 + (later & ((later & ~good).cumsum(1) == 0)).sum(1)                # of the first run
    position = centres[rows, first]
    velocity = (centres[rows, first + steps] - position) / steps[:, None]
    inner = (wall_positions(size, sprite, CENTRE_OFFSET[1])[0],
             wall_positions(size, sprite, CENTRE_OFFSET[0])[1])
    low, high = wall_positions(size, sprite)
    for t in range(T - 4, -1, -1):
        now, seen = (first > t)[:, None], visible[:, t, None]
        folded, turned = reflect(position, -velocity, low, high)
        unfolded, found = position - velocity, torch.where(seen, centres[:, t], folded)
        beyond = (unfolded < inner[0]) | (unfolded > inner[1])
        missed = beyond & ((unfolded - found).abs() > size / 1280)
        flips = now & torch.where(seen, missed, turned != -velocity)
        velocity = torch.where(flips, -velocity, velocity)
        position = torch.where(now, found, position)
    moves = good.any(1) & (velocity.norm(dim=-1) > size / 64)
    return torch.where(moves, sectors(velocity), -1)


# Metrics

def masked_mean(hits: Tensor, mask: Tensor) -> float:
    """The mean of hits over the mask; 0 if the mask is empty."""
    return float(hits[mask].float().mean()) if mask.any() else 0.


def physics_metrics(motion: Motion, size: int) -> dict[str, float]:
    """smooth, bounce, off_half and off_one, each from 0 to 1.

    smooth: mean of exp(-64 |acceleration| / size) over free steps. bounce: the share of wall
    contacts that are reflections. off_half, off_one: the shares of free steps that are off by more
    than half a pixel and one pixel (at size 32).
    """
    limits = {"off_half": size / 64, "off_one": size / 32}
    off = {name: masked_mean(motion.accelerations > limit, motion.free)
           for name, limit in limits.items()}
    return {"smooth": masked_mean((-motion.accelerations * 64 / size).exp(), motion.free),
            "bounce": masked_mean(motion.reflected, motion.wall_contact)} | off

