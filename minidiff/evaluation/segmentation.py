"""Whose ink is whose: the digits of a clip told apart in every frame and followed over time.

Ink that hangs together is a blob. A frame with as many blobs as digits, each with the ink of a
digit and no larger than one, shows every digit apart; where inks touch or overlap it tells nothing
of either. From frame to frame a digit is the blob that lies where its flight leads, and that reads
as it has read so far. K digits give K tracks.
"""
from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.evaluation.tracking import reflect, wall_positions

INK_THRESHOLD = 0.15        # what counts as ink where blobs are told apart; the fainter edges go with them
UNREACHABLE = 1e6       # frames


class Tracks(NamedTuple):
    """Which blob is which digit's; n clips, T frames, K digits."""
    assignment: Tensor    # (n, T, K), the blob of each track
    known: Tensor    # (n, T, K) bool, that blob is the track's digit and nothing else
    occluded: Tensor   # (n, T, K) bool, not known because another digit is near
    centres: Tensor   # (n, T, K, 2), the ink's centre, where it is not known carried on


# One frame: which ink hangs together

def dilate(x: Tensor) -> Tensor:
    """The largest value among a pixel and its eight neighbours, of x (N, S, S).

    Shifts are several times as fast as max_pool2d, which keeps indices.
    """
    x = F.pad(x, (1, 1))
    x = F.pad(torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:]), (0, 0, 1, 1))
    return torch.maximum(torch.maximum(x[:, :-2], x[:, 1:-1]), x[:, 2:])


def connected_components(frames: Tensor) -> Tensor:
    """Frames (N, S, S) in [0, 1] -> a number per blob at its ink, 0 elsewhere, (N, S, S).

    The highest number spreads from pixel to pixel of ink until nothing changes. To join ink across
    gaps of one or two pixels, as broken digits have them, was tried: it joined two digits more
    often than one digit's pieces (frames that show both apart: .79 without, .75 and .71 with).
    """
    ink = (frames > INK_THRESHOLD).float()
    names = ink * torch.arange(1, ink[0].numel() + 1, device=ink.device).view(ink[0].shape)
    while not torch.equal(wider := dilate(names) * ink, names):
        names = wider
    return names


def bounding_box_side(own: Tensor) -> Tensor:
    """Masks (..., S, S) -> the larger side of the box around each, (...)."""
    sides = []
    for axis in (-1, -2):
        line = own.any(axis).int()                                               # (..., S)
        sides.append(line.shape[-1] - line.argmax(-1) - line.flip(-1).argmax(-1))
    return torch.maximum(*sides)


def segment_digits(frames: Tensor, sprite: int, num_digits: int) -> tuple[Tensor, Tensor]:
    """Frames (N, S, S) -> the ink of the `number` largest blobs alone, and which look like digits.

    (N, K, S, S) and (N, K) bool: a sixth of a digit's usual ink or more, and no larger. What is
    left of a frame's ink, faint edges, pieces, haze, goes to the blob it touches or lies nearest.
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


# Frame after frame: which blob is which digit's

def min_cost_assignment(cost: Tensor) -> Tensor:
    """Costs (..., K, K) of giving row i column j -> the columns that cost least, (..., K)."""
    k = cost.shape[-1]
    ways = torch.tensor(list(permutations(range(k))), device=cost.device)        # (K!, K)
    sums = cost[..., torch.arange(k, device=cost.device), ways].sum(-1)          # (..., K!)
    return ways[sums.argmin(-1)]


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """x (..., K, *rest) with its K entries in the order (..., K)."""
    rest = x.shape[order.ndim:]
    index = order.view(*order.shape, *[1] * len(rest)).expand(*order.shape, *rest)
    return x.gather(order.ndim - 1, index)


def link_tracks(centres: Tensor, full: Tensor, probabilities: Tensor, size: int, sprite: int) -> Tensor:
    """Which blob is which track's, (n, T, K), in the frames that are full (n, T).

    centres: (n, T, K, 2); belief: (n, T, K, C), what each blob reads as. A blob's price is how far
    it lies from where the track leads, in units that grow with the frames since the last full one,
    less how well it reads as the track has read.
    """
    n, T, K, _ = centres.shape
    low, high = wall_positions(size, sprite)
    at, v, read = centres.new_zeros(n, K, 2), centres.new_zeros(n, K, 2), probabilities[:, 0] * 0
    ways, age = [], torch.full((n,), UNREACHABLE, device=centres.device)
    for t in range(T):
        ahead, turned = reflect(at, v, low, high)
        far = torch.cdist(ahead, centres[:, t]) * 32 / size / (1 + age)[:, None, None]
        alike = F.normalize(read, dim=-1) @ probabilities[:, t].mT                      # (n, K, K)
        ways.append(min_cost_assignment(far - 2 * alike))
        c, now = reorder(centres[:, t], ways[-1]), full[:, t, None, None]
        straight = (age == 1)[:, None, None] & (turned == v)
        v = torch.where(now & straight, c - at, turned)
        at = torch.where(now, c, ahead)
        read = read + reorder(probabilities[:, t], ways[-1]) * now
        age = torch.where(full[:, t], 1, age + 1)
    return torch.stack(ways, 1)


def extrapolate_tracks(centres: Tensor, known: Tensor, size: int, sprite: int) -> tuple[Tensor, Tensor]:
    """Places (n, T, K, 2) and frames since the last known one (n, T, K).

    Where a place is not known, the flight goes on from the last one that is; before the first it is
    the middle.
    """
    at, v = torch.full_like(centres[:, 0], size / 2), torch.zeros_like(centres[:, 0])
    age, (low, high) = torch.full_like(known[:, 0], UNREACHABLE, dtype=centres.dtype), wall_positions(size, sprite)
    places, ages = [], []
    for c, now in zip(centres.unbind(1), known.unbind(1), strict=True):
        ahead, turned = reflect(at, v, low, high)
        straight = (age == 0)[..., None] & (turned == v)
        v = torch.where(now[..., None] & straight, c - at, turned)
        at = torch.where(now[..., None], c, ahead)
        age = torch.where(now, 0, age + 1)
        places.append(at)
        ages.append(age)
    return torch.stack(places, 1), torch.stack(ages, 1)


def interpolate_gaps(centres: Tensor, known: Tensor, size: int, sprite: int) -> Tensor:
    """Centres (n, T, K, 2), where not known between the flight carried on and carried back."""
    (on, since), (back, until) = (
        extrapolate_tracks(centres, known, size, sprite),
        (x.flip(1) for x in extrapolate_tracks(centres.flip(1), known.flip(1), size, sprite)))
    share = (since / (since + until).clamp(min=1))[..., None]
    return torch.where(known[..., None], centres, on + share * (back - on))


def near_another(centres: Tensor, sprite: int) -> Tensor:
    """Where another digit is near enough for the inks to touch: (n, T, K, 2) -> (n, T, K)."""
    apart = (centres[..., :, None, :] - centres[..., None, :, :]).abs().amax(-1)   # (n, T, K, K)
    apart = apart + UNREACHABLE * torch.eye(centres.shape[2], device=centres.device)
    return (apart < sprite + 2).any(-1)


def track_digits(centres: Tensor, whole: Tensor, probabilities: Tensor, confident: Tensor, size: int,
           sprite: int) -> Tracks:
    """Follow K digits through the blobs of T frames.

    centres: (n, T, K, 2) of the blobs; whole: (n, T, K), such as may be digits; belief:
    (n, T, K, C); sure: (n, T, K), whether the blob is surely a digit. First the frames that show
    all digits are linked. In the others a blob that is surely a digit goes to the nearest track,
    unless the tracks are so near that it may be two at once; the track that has none has lost its
    digit.
    """
    full = whole.all(2)                                                          # (n, T)
    ways = link_tracks(centres, full, probabilities, size, sprite)
    places = interpolate_gaps(reorder(centres, ways), full[..., None].expand_as(whole), size, sprite)
    may_touch = near_another(places, sprite) & full.any(1)[:, None, None]
    lone = whole & confident & ~full[..., None]                                       # (n, T, K), blobs
    far = torch.cdist(places, centres) * lone[..., None, :]
    order = torch.where(full[..., None], ways, min_cost_assignment(far))
    known = full[..., None] | (reorder(lone, order) & ~may_touch)
    places = interpolate_gaps(reorder(centres, order), known, size, sprite)
    hidden = ~known & near_another(places, sprite) & full.any(1)[:, None, None]
    return Tracks(order, known, hidden, places)
