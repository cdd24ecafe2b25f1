"""Two sets of clips compared: how far apart they are, and how much of one the other covers.

A digit's film becomes a point: the mean over time of the classifier's 32 features (its looks), and
its path. Every number here is computed for many subsets of the clips at once: `keep` (N, R) says
with 0 and 1 which of N films each of R subsets has. None of them depends on how many clips there
are: kernel distances leave out pairs of a film with itself (Gretton 2012), and coverage is that of
BLOCK films drawn from the set, on average over all draws.

Papers: the unbiased kernel distance (Gretton 2012 eq. 3; for images Bińkowski 2018), coverage
(Naeem 2020).
"""
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minidiff.evaluation.metrics import NUM_FEATURES, smooth_windows

BLOCK = 128                # coverage of looks and paths is that of so many films
CLASS_BLOCK = 32           # that of classes
LOOKS_SHARE = 0.08         # of the real films of a class lie in the neighbourhood of one
PATH_SHARE = 0.02          # of all real films
TWIN_PICTURE = 0.05        # pictures of unit length that lie so near are one; real ones: .12 apart
TWIN = 0.25                # paths whose frames lie so near, in pixels at size 32, are one path


class Points(NamedTuple):
    """N films as points: looks, path and digit, in units of the real films."""
    looks: Tensor    # (N, 32)
    path: Tensor     # (N, 4 T - 2), the track, and its steps with twice the weight
    track: Tensor    # (N, 2 T), in frames
    digit: Tensor    # (N,)

    def joint(self) -> Tensor:
        """Looks and path together."""
        return torch.cat([self.looks, self.path], 1)


class Scale(NamedTuple):
    """The spread of real films, in whose units points are given."""
    looks: Tensor    # ()
    track: Tensor
    step: Tensor

    def points(self, embeddings: Tensor, digit: Tensor) -> Points:
        """Embeddings (N, 32 + 2 T), see `Measurements.embeddings`, as points."""
        looks, track = embeddings[:, :NUM_FEATURES], embeddings[:, NUM_FEATURES:]
        path = torch.cat([track / self.track, 2 * steps(track) / self.step], 1)
        return Points(looks / self.looks, path, track, digit)


def steps(track: Tensor) -> Tensor:
    """The steps (N, 2 T - 2) of tracks (N, 2 T)."""
    return rearrange(track, "n (t d) -> n t d", d=2).diff(dim=1).flatten(1)


def spread(embeddings: Tensor) -> Scale:
    """The scale of real films with embeddings (N, 32 + 2 T)."""
    looks, track = embeddings[:, :NUM_FEATURES], embeddings[:, NUM_FEATURES:]
    return Scale(*(x.var(0).sum().sqrt() for x in (looks, track, steps(track))))


# Distance

def kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    """exp(-|a - b|^2 / (2 bandwidth^2)) for all pairs of points (N, D) and (M, D)."""
    return (-torch.cdist(a, b).square() / (2 * bandwidth**2)).exp()


def mean_of_pairs(k: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of k (N, N) over pairs of two different points, for weights (N, R)."""
    own = (k.diagonal()[:, None] * weights.square()).sum(0)
    pairs = weights.sum(0).square() - weights.square().sum(0)
    return ((weights * (k @ weights)).sum(0) - own) / pairs.clamp(min=1e-9)


def kernel_distance(x: Tensor, weights: Tensor, real: Tensor, real_weights: Tensor) -> Tensor:
    """The squared kernel distance (R,) of points (N, D), by weights (N, R), from real ones (M, D).

    Unbiased, so it may be below 0. The bandwidth is half of the real points' median distance.
    """
    bandwidth = float(torch.cdist(real[:1000], real[:1000]).median()) / 2
    weights, real_weights = weights.double(), real_weights.double()[:, None]
    own, others = (mean_of_pairs(kernel(a, a, bandwidth).double(), w)
                   for a, w in ((x, weights), (real, real_weights)))
    between = kernel(x, real, bandwidth).double() @ real_weights / real_weights.sum()   # (N, 1)
    mean = (weights * between).sum(0) / weights.sum(0).clamp(min=1e-9)
    return own + others - 2 * mean


# Coverage

def miss_chance(hits: Tensor, n: Tensor, block: int) -> Tensor:
    """The chance that `block` of n things, drawn without repeats, are none of the hits among them.

    The product of binomials (n - hits over block) / (n over block).
    """
    hits, n = hits.double(), torch.as_tensor(n).double()
    left = n - hits - block
    log = (torch.lgamma(n - hits + 1) - torch.lgamma(left.clamp(min=0) + 1)
           - torch.lgamma(n + 1) + torch.lgamma(n - block + 1))
    return log.exp() * (left >= 0)


def neighbourhoods(points: Tensor, share: float, group: Tensor | None = None) -> Tensor:
    """Radii (M,) within which such a share of the other points (of the same group) lies."""
    far = torch.cdist(points, points).fill_diagonal_(float("inf"))
    others = torch.full((len(points),), len(points) - 1)
    if group is not None:
        same = group[:, None] == group
        far, others = far.masked_fill(~same, float("inf")), same.sum(1) - 1
    k = (share * others).round().long().clamp(min=1)
    nearest = far.topk(int(k.max()), largest=False).values                       # rising
    return nearest.gather(1, k[:, None] - 1)[:, 0]


def covered(near: Tensor, keep: Tensor, block: int) -> Tensor:
    """The share (R,) of real films near one of `block` kept ones; near: (M, N) bool."""
    keep = keep.float()
    return 1 - miss_chance(near.float() @ keep, keep.sum(0), block).mean(0)


class Neighbourhoods(NamedTuple):
    """What is near each of M real films: radii for its looks, within its class, and its path."""
    real: Points
    looks: Tensor    # (M,)
    path: Tensor     # (M,)

    def coverage(self, x: Points, keep: Tensor, block: int) -> tuple[Tensor, Tensor]:
        """The shares (R,) of real films near a film in looks (of the same digit), and in path."""
        looks = torch.cdist(self.real.looks, x.looks) <= self.looks[:, None]
        looks &= self.real.digit[:, None] == x.digit
        path = torch.cdist(self.real.path, x.path) <= self.path[:, None]
        return covered(looks, keep, block), covered(path, keep, block)


def real_neighbourhoods(real: Points) -> Neighbourhoods:
    """The neighbourhoods of real films: LOOKS_SHARE of their class, PATH_SHARE of all."""
    return Neighbourhoods(real, neighbourhoods(real.looks, LOOKS_SHARE, real.digit),
                          neighbourhoods(real.path, PATH_SHARE))


def class_coverage(digit: Tensor, real: Tensor, keep: Tensor, block: int) -> Tensor:
    """The share (R,) of real digits (M,) whose class is among those of `block` kept films.

    digit: (N,), as read; any other number for none. More films of one class do not make up for a
    missing one.
    """
    shares = torch.bincount(real, minlength=10) / len(real)
    films = (digit[:, None] == torch.arange(10)).to(keep.dtype)                  # (N, 10)
    missed = miss_chance(films.T @ keep, keep.sum(0), block)                     # (10, R)
    return 1 - shares.to(missed.dtype) @ missed


def without_twin(near: Tensor, clip: Tensor, weights: Tensor, keep: Tensor,
                 block: int) -> Tensor:
    """The share (R,) of films in a block, by weight (N, R), that have no twin in another clip.

    near: (N, N), which films are twins; clip: (N,), the number of each film's clip.
    """
    near = near & (clip[:, None] != clip)
    alone = miss_chance(near.float() @ keep.float(), keep.sum(0) - 1, block - 1)       # (N, R)
    return (alone * weights).sum(0) / weights.sum(0).clamp(min=1e-9)


def same_path(track: Tensor) -> Tensor:
    """Which pairs of films have one path, (N, N), by their tracks (N, 2 T)."""
    return torch.cdist(track, track) * 32 <= TWIN * (track.shape[1] // 2)**0.5


def same_picture(windows: Tensor) -> Tensor:
    """Which pairs of films show one picture, (N, N), by their mean windows (N, 256).

    Brightness does not count.
    """
    unit = F.normalize(smooth_windows(windows), dim=-1, eps=1e-3)
    return torch.cdist(unit, unit) <= TWIN_PICTURE
