"""The ruler: a row of figures for a set of generated clips, each beside what real clips reach.

SCORE is the geometric mean of ID, PHY, FIT, COVER (and PROMPT where labels were asked for), each 0 .. 1 where 1 is what real clips reach:
ID      share of frames in which the recogniser is sure of the clip's own digit and little ink lies elsewhere;
PHY     smooth x bounce x motion, of the ink's centre: straight flight, turns at the walls, the right speeds;
FIT     Fréchet distance on local features, log scale, 0 = uniform noise, 1 = another draw of real clips of the same number;
COVER   recall: share of real clips with a generated clip *of the same digit* nearby (without these words, missing digits cost nothing).
No part is safe alone; no trivial answer passes them all. The distance is printed as fvd_local: it is not comparable with published FVD.
Papers: FID (Heusel 2017), FVD (Unterthiner 2018), precision and recall (Kynkäänniemi 2019), half samples (Shao & Wu 1989).
"""
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from minidiff.recogniser import SURE, load_recogniser
from minidiff.tracker import Flight, flight, ink_centres, outside_mask, windows

CHECKPOINTS = Path(__file__).parent / "checkpoints"
NEIGHBOURS, HALVES, LEAST, COPIER = 5, 16, 32, 0.25
HEADLINES = ("SCORE", "ID", "PHY", "FIT", "COVER", "PROMPT")


class Measured(NamedTuple):
    """What is measured of N clips with T frames, a row a clip."""
    looks: Tensor     # (N, T, 32), the recogniser's features
    track: Tensor     # (N, T, 2), the ink's centre as a share of the size
    digit: Tensor     # (N,), the digit that most of the clip shows
    sure: Tensor      # (N, T), 1 where the recogniser is sure of that digit and no more than a fifth of the ink lies elsewhere
    flight: Flight
    picture: Tensor   # (N, 256), the mean of the windows around the digit
    flicker: Tensor   # (N,), mean change from frame to frame outside the digit's box

    def points(self) -> Tensor:
        """Looks' mean and spread over time, and the track: (N, 64 + 2 T)."""
        return torch.cat([self.looks.mean(1), self.looks.std(1), self.track.flatten(1)], 1)


class Reference(NamedTuple):
    """What real clips are like in one setting. Two draws of n clips, from digits that no generator sees (the "test" split)."""
    about: dict       # source, size, frames, sprite, n, seed, evaluator, noise, real, rows
    points: Tensor    # (2, n, 64 + 2 T); the second draw is the real row
    labels: Tensor    # (2, n), the digits shown
    read: Tensor      # (n,), the digits that the recogniser reads in the second draw
    looks: Tensor     # (33, 32), mean and covariance of the first draw's frames
    basis: Tensor     # (257, 24), the digits' principal components and, last row projected, their mean
    train: Tensor     # (M, 24) int8, the training digits in that basis
    held: Tensor      # (K, 24) int8, digits that are in no draw and no generator


# Measuring

def checked(clips: Tensor) -> Tensor:
    """Clips (N, T, C, H, W) as float32 (N, T, H, W), or a ValueError that says what is wrong with them."""
    if not isinstance(clips, Tensor) or clips.ndim != 5 or not clips.is_floating_point() or clips.shape[-1] != clips.shape[-2]:
        what = f"{tuple(clips.shape)} of {clips.dtype}" if isinstance(clips, Tensor) else type(clips).__name__
        raise ValueError(f"Clips to score must be a float tensor (N, T, C, H, W) with H = W, got {what}.")
    if len(clips) < LEAST or clips.shape[1] < 4:
        raise ValueError(f"Scoring needs at least {LEAST} clips of at least 4 frames, got {len(clips)} of {clips.shape[1]}.")
    if not clips.isfinite().all():
        raise ValueError("Clips to score must be finite; these hold NaN or infinity.")
    if clips.min() < -0.01 or clips.max() > 1.01:
        raise ValueError(f"Clips to score must be in [0, 1], got {clips.min():.2f} to {clips.max():.2f}; from [-1, 1] take (x + 1) / 2.")
    return clips.float().mean(2).clamp(0, 1)


@torch.no_grad()
def measure(clips: Tensor, sprite: int | None = None) -> Measured:
    """Measure clips (N, T, C, S, S) in [0, 1]. sprite: the digit's square in pixels, 7/16 of the size unless given."""
    blocks = [measure_block(x, sprite or x.shape[-1] * 7 // 16) for x in checked(clips).split(128)]
    flights = Flight(*map(torch.cat, zip(*(b.flight for b in blocks), strict=True)))
    return Measured(*(flights if k == "flight" else torch.cat([getattr(b, k) for b in blocks]) for k in Measured._fields))


def measure_block(x: Tensor, sprite: int) -> Measured:
    net, _ = load_recogniser()
    (n, T, size), frames = x.shape[:3], x.flatten(0, 1)
    centres, seen = ink_centres(frames, sprite)
    views = windows(frames, centres, sprite)                                     # (N T, 16, 16)
    log_odds, looks = net(views)
    p = rearrange(log_odds.softmax(-1), "(n t) d -> n t d", t=T)
    digit = p[..., :10].mean(1).argmax(-1)                                       # (N,)
    away = outside_mask(centres, size, sprite)                                   # (N T, S, S)
    ink = (frames - 0.1).clamp(min=0)
    lonely = (ink * away).sum((1, 2)) <= 0.2 * ink.sum((1, 2))
    sure = (p.gather(-1, digit[:, None, None].expand(n, T, 1))[..., 0] >= SURE) & (lonely & seen).view(n, T)
    away = away.unflatten(0, (n, T))
    both = away[:, 1:] * away[:, :-1]
    flicker = (x.diff(dim=1).abs() * both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp(min=1)
    centres = centres.view(n, T, 2)
    picture = rearrange(views, "(n t) h w -> n t (h w)", t=T).mean(1)
    return Measured(looks.view(n, T, -1), centres / size, digit, sure.float(), flight(centres, seen.view(n, T), size, sprite),
                    picture, flicker)


def share(hits: Tensor, among: Tensor) -> float:
    """The mean of the hits among those that count; 0 where none does."""
    return float(hits[among].float().mean()) if among.any() else 0.


def physics(f: Flight, size: int) -> dict[str, float]:
    """smooth and bounce, and the shares of free-flight steps off by more than half a pixel and one (of 32)."""
    off = {name: share(f.jolts > size / px, f.free) for name, px in (("off_half", 64), ("off_one", 32))}
    return {"smooth": share((-f.jolts * 64 / size).exp(), f.free), "bounce": share(f.turned, f.contact)} | off


def motion(speeds: Tensor, real: Tensor) -> float:
    """1 - W1(speeds, real) / W1(0, real), at least 0: W1 is the area between two quantile curves."""
    levels = torch.linspace(0, 1, 513)
    a, b = (s.flatten().quantile(levels) for s in (speeds, real))
    return max(0., 1 - float((a - b).abs().mean() / b.mean()))


# Distances

def gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.double().mean(0), x.double().T.cov()


def frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (mean, covariance) (Heusel 2017 eq. 6)."""
    values, vectors = torch.linalg.eigh(a[1])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b[1] @ root).clamp(min=0).sqrt().sum()
    return max(0., float((a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * cross))


class Yard(NamedTuple):
    """The first draw of a reference, ready to compare with."""
    mean: Tensor
    std: Tensor
    points: Tensor
    gauss: tuple[Tensor, Tensor]
    radii: Tensor    # (n,), of each real clip to its 5th neighbour
    labels: Tensor
    speeds: Tensor


def with_velocity(points: Tensor) -> Tensor:
    """Append the track's steps to points (N, 64 + 2 T)."""
    track = rearrange(points[:, 64:], "n (t d) -> n t d", d=2)
    return torch.cat([points, track.diff(dim=1).flatten(1)], 1)


def speeds_of(points: Tensor) -> Tensor:
    return rearrange(points[:, 64:], "n (t d) -> n t d", d=2).diff(dim=1).norm(dim=-1)


def yard(points: Tensor, labels: Tensor) -> Yard:
    x = with_velocity(points)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-4)
    z = (x - mean) / std
    return Yard(mean, std, z, gaussian(z), radii(torch.cdist(z, z)), labels, speeds_of(points))


def radii(distances: Tensor) -> Tensor:
    return distances.kthvalue(min(NEIGHBOURS + 1, len(distances)), 1).values     # itself is the first


class Placed(NamedTuple):
    """Clips among the real ones: points, distances to each other and to the real clips, the digits read."""
    points: Tensor    # (N, D), standardised as the yard
    among: Tensor     # (N, N)
    across: Tensor    # (R, N)
    digit: Tensor     # (N,)
    speeds: Tensor    # (N, T - 1)

    def rows(self, r: Tensor) -> "Placed":
        return Placed(self.points[r], self.among[r][:, r], self.across[:, r], self.digit[r], self.speeds[r])


def set_down(points: Tensor, digit: Tensor, y: Yard) -> Placed:
    z = (with_velocity(points) - y.mean) / y.std
    return Placed(z, torch.cdist(z, z), torch.cdist(y.points, z), digit, speeds_of(points))


def distances(p: Placed, y: Yard) -> dict[str, float]:
    """fvd_local, recall (of the same digit), precision and motion of clips set down in the yard."""
    near = (p.across <= radii(p.among)) & (p.digit == y.labels[:, None])         # (R, N)
    return {"fvd_local": frechet(y.gauss, gaussian(p.points)), "recall": float(near.any(1).float().mean()),
            "precision": float((p.across <= y.radii[:, None]).any(0).float().mean()), "motion": motion(p.speeds, y.speeds)}
