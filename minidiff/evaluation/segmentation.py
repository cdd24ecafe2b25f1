"""Segmentation: the digits of a clip are separated in every frame and followed over time.

Connected ink is a component. A frame separates its digits if it has as many components as digits,
each with about the ink of a digit and no larger than one. If two inks touch or overlap, the frame
says nothing about either digit. From frame to frame, a digit is the component that lies near the
extrapolated track and that the classifier reads as it has read this track so far. K digits give K
tracks.
"""
from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.evaluation.tracking import reflect, wall_positions

INK_THRESHOLD = 0.15    # a pixel above it is ink; fainter edges are given to a component later
UNREACHABLE = 1e6       # a distance, or an age in frames, larger than any real one


class Tracks(NamedTuple):
    """Which component belongs to which digit; n clips, T frames, K digits."""
    assignment: Tensor  # (n, T, K), the component of each track
    known: Tensor       # (n, T, K) bool, the component is the track's digit and nothing else
    occluded: Tensor    # (n, T, K) bool, not known because another digit is near
    centres: Tensor     # (n, T, K, 2), the ink's centre, interpolated if not known


# One frame: connected ink

def dilate(x: Tensor) -> Tensor:
    """The largest value of each pixel and its eight neighbours, for x (N, S, S).

    This is several times as fast as max_pool2d, which also keeps indices.
    """
    x = F.pad(x, (1, 1))
    x = F.pad(torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:]), (0, 0, 1, 1))
    return torch.maximum(torch.maximum(x[:, :-2], x[:, 1:-1]), x[:, 2:])


def connected_components(frames: Tensor) -> Tensor:
    """Frames (N, S, S) in [0, 1] -> each component's number at its ink, 0 elsewhere, (N, S, S).

    The highest number spreads from pixel to pixel of ink until nothing changes. Gaps of one or two
    pixels are not bridged: bridging joined two digits more often than the pieces of one (frames
    that separate both digits: .79 without it, .75 and .71 with it).
    """
    ink = (frames > INK_THRESHOLD).float()
    names = ink * torch.arange(1, ink[0].numel() + 1, device=ink.device).view(ink[0].shape)
    while not torch.equal(wider := dilate(names) * ink, names):
        names = wider
    return names


def bounding_box_side(own: Tensor) -> Tensor:
    """Masks (..., S, S) -> the larger side of each mask's bounding box in pixels, (...)."""
    sides = []
    for axis in (-1, -2):
        line = own.any(axis).int()                                               # (..., S)
        sides.append(line.shape[-1] - line.argmax(-1) - line.flip(-1).argmax(-1))
    return torch.maximum(*sides)


def segment_digits(frames: Tensor, sprite: int, num_digits: int) -> tuple[Tensor, Tensor]:
    """Frames (N, S, S) -> the separate inks (N, K, S, S) of the K = num_digits largest components.

    The second result (N, K), bool, is true if the component may be a digit: it has a sixth of a
    digit's usual ink or more, and is no larger than a digit. All remaining ink (faint edges, small
    pieces, haze) is given to the component that it touches or to the nearest one.
    """
    names, S = connected_components(frames), frames.shape[-1]
    amount = frames.new_zeros(len(frames), S * S + 1)
    amount.scatter_add_(1, names.flatten(1).long(), frames.flatten(1))
    amount[:, 0] = 0
    most, which = amount.topk(num_digits)                                            # (N, K)
    there, which = most > 0, which[..., None, None]
    own = (names[:, None] == which) & there[..., None, None]                     # (N, K, S, S)
    whole = (most >= sprite**2 / 50) & (bounding_box_side(own) <= sprite + 2)
    pixels = torch.arange(S, device=frames.device) + 0.5
    ink = frames[:, None] * own
    middle = torch.stack([ink.sum(-1) @ pixels, ink.sum(-2) @ pixels], -1)       # (N, K, 2)
    middle = torch.where(there[..., None], middle / most[..., None], UNREACHABLE)
    down, across = ((pixels - middle[..., None])**2).unbind(2)                   # (N, K, S) each
    far = down[..., None] + across[..., None, :]                                 # (N, K, S, S)
    for _ in range(2):                                                           # its edges
        names = torch.where(names > 0, names, dilate(names))
    wide = (names[:, None] == which) & there[..., None, None]
    lies = far <= far.amin(1, keepdim=True)
    return frames[:, None] * torch.where(wide.any(1, keepdim=True), wide, lies), whole


# Frame after frame: components and digits

def min_cost_assignment(cost: Tensor) -> Tensor:
    """Costs (..., K, K) of column j for row i -> the columns (..., K) with the least total cost."""
    k = cost.shape[-1]
    orders = torch.tensor(list(permutations(range(k))), device=cost.device)      # (K!, K)
    sums = cost[..., torch.arange(k, device=cost.device), orders].sum(-1)        # (..., K!)
    return orders[sums.argmin(-1)]


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """x (..., K, *rest) with its K entries in the order (..., K)."""
    rest = x.shape[order.ndim:]
    index = order.view(*order.shape, *[1] * len(rest)).expand(*order.shape, *rest)
    return x.gather(order.ndim - 1, index)


def link_tracks(centres: Tensor, full: Tensor, probabilities: Tensor, size: int,
                sprite: int) -> Tensor:
    """The component of each track, (n, T, K), in the frames that separate all digits, full (n, T).

    centres: (n, T, K, 2); probabilities: (n, T, K, C), of the digit classifier for each component.
    The cost of a component is its distance from the extrapolated track, in units that grow with the
    number of frames since the last full one, minus the agreement with earlier classifications.
    """
    n, T, K, _ = centres.shape
    low, high = wall_positions(size, sprite)
    position, velocity = centres.new_zeros(n, K, 2), centres.new_zeros(n, K, 2)
    evidence, age = probabilities[:, 0] * 0, torch.full((n,), UNREACHABLE, device=centres.device)
    orders = []
    for t in range(T):
        ahead, reflected = reflect(position, velocity, low, high)
        distance = torch.cdist(ahead, centres[:, t]) * 32 / size / (1 + age)[:, None, None]
        agreement = F.normalize(evidence, dim=-1) @ probabilities[:, t].mT       # (n, K, K)
        orders.append(min_cost_assignment(distance - 2 * agreement))
        found, now = reorder(centres[:, t], orders[-1]), full[:, t, None, None]
        straight = (age == 1)[:, None, None] & (reflected == velocity)
        velocity = torch.where(now & straight, found - position, reflected)
        position = torch.where(now, found, ahead)
        evidence = evidence + reorder(probabilities[:, t], orders[-1]) * now
        age = torch.where(full[:, t], 1, age + 1)
    return torch.stack(orders, 1)


def extrapolate_tracks(centres: Tensor, known: Tensor, size: int,
                       sprite: int) -> tuple[Tensor, Tensor]:
    """Positions (n, T, K, 2), and the frames since the last known position (n, T, K).

    If a position is not known, the motion continues from the last known one; before the first it is
    the frame's middle.
    """
    low, high = wall_positions(size, sprite)
    position = torch.full_like(centres[:, 0], size / 2)
    velocity = torch.zeros_like(position)
    age = torch.full_like(known[:, 0], UNREACHABLE, dtype=centres.dtype)
    positions, ages = [], []
    for found, now in zip(centres.unbind(1), known.unbind(1), strict=True):
        ahead, reflected = reflect(position, velocity, low, high)
        straight = (age == 0)[..., None] & (reflected == velocity)
        velocity = torch.where(now[..., None] & straight, found - position, reflected)
        position = torch.where(now[..., None], found, ahead)
        age = torch.where(now, 0, age + 1)
        positions.append(position)
        ages.append(age)
    return torch.stack(positions, 1), torch.stack(ages, 1)


def interpolate_gaps(centres: Tensor, known: Tensor, size: int, sprite: int) -> Tensor:
    """Centres (n, T, K, 2); unknown ones lie between forward and backward extrapolation."""
    forward, since = extrapolate_tracks(centres, known, size, sprite)
    backward, until = (
        x.flip(1) for x in extrapolate_tracks(centres.flip(1), known.flip(1), size, sprite))
    share = (since / (since + until).clamp(min=1))[..., None]
    return torch.where(known[..., None], centres, forward + share * (backward - forward))


def near_another(centres: Tensor, sprite: int) -> Tensor:
    """Whether another digit is so near that the inks may touch: (n, T, K, 2) -> (n, T, K) bool."""
    distance = (centres[..., :, None, :] - centres[..., None, :, :]).abs().amax(-1)
    distance = distance + UNREACHABLE * torch.eye(centres.shape[2], device=centres.device)
    return (distance < sprite + 2).any(-1)                          # from (n, T, K, K)


def track_digits(centres: Tensor, whole: Tensor, probabilities: Tensor, confident: Tensor,
                 size: int, sprite: int) -> Tracks:
    """K digits followed through the components of T frames.

    centres: (n, T, K, 2) of the components; whole: (n, T, K), whether each may be a digit;
    probabilities: (n, T, K, C); confident: (n, T, K), whether each surely is a digit. Frames that
    separate all digits are linked first. In any other frame, a component that surely is a digit is
    given to the nearest track, unless the tracks are so near that the component may be two digits.
    A track without a component has lost its digit.
    """
    full = whole.all(2)                                                          # (n, T)
    linked = link_tracks(centres, full, probabilities, size, sprite)
    places = interpolate_gaps(reorder(centres, linked), full[..., None].expand_as(whole), size,
                              sprite)
    may_touch = near_another(places, sprite) & full.any(1)[:, None, None]
    single = whole & confident & ~full[..., None]                                # (n, T, K)
    distance = torch.cdist(places, centres) * single[..., None, :]
    order = torch.where(full[..., None], linked, min_cost_assignment(distance))
    known = full[..., None] | (reorder(single, order) & ~may_touch)
    places = interpolate_gaps(reorder(centres, order), known, size, sprite)
    occluded = ~known & near_another(places, sprite) & full.any(1)[:, None, None]
    return Tracks(order, known, occluded, places)
