"""What is measured of clips, and how far two sets of clips are apart.

A clip becomes a point: the recogniser's 32 features averaged over time and their spread, the track
of the ink's centre, its steps and the steps' changes, each in units of what varies among real
clips. Sets of points are compared by Fréchet's distance (Heusel 2017; Unterthiner 2018) and by
coverage (Naeem 2020). The recall of Kynkäänniemi 2019 would not do: points strewn far and wide have
wide balls, so that a random walk reached .91 and shuffled frames .99 of it where real clips reached
.94.
"""
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from minidiff.recogniser import SURE, load_recogniser
from minidiff.tracker import Flight, flight, ink_centres, motion, outside_mask, windows

LOOK = 32                  # features of a frame that the recogniser hands out
LEAST = 32                 # clips
NEIGHBOURS = 5             # how many clips away a real clip's neighbourhood ends
WEIGHTS = 2, 2, 2, 4, 2    # of looks, spread, track, steps, changes of steps: motion counts most


class Measured(NamedTuple):
    """What is measured of N clips with T frames, a row a clip."""
    looks: Tensor     # (N, T, 32), the recogniser's features
    track: Tensor     # (N, T, 2), the ink's centre as a share of the size
    digit: Tensor     # (N,), the digit that most of the clip shows
    sure: Tensor      # (N, T), 1 where it is sure and at most a fifth of the ink lies elsewhere
    picture: Tensor   # (N, 256), the mean of the windows around the digit
    flicker: Tensor   # (N,), mean change from frame to frame outside the digit's box
    flight: Flight

    def points(self) -> Tensor:
        """(N, 64 + 2 T): the looks' mean and spread over time, and the track."""
        return torch.cat([self.looks.mean(1), self.looks.std(1), self.track.flatten(1)], 1)

    def rows(self, r: Tensor) -> "Measured":
        return Measured(*(x[r] for x in self[:-1]), Flight(*(x[r] for x in self.flight)))


def checked(clips: Tensor) -> Tensor:
    """Clips (N, T, C, S, S) as float32 (N, T, S, S), or a ValueError that says what is wrong."""
    if not isinstance(clips, Tensor):
        raise ValueError("Clips to score must be a float tensor (N, T, C, H, W), "
                         f"got a {type(clips).__name__}.")
    if clips.ndim != 5 or not clips.is_floating_point() or clips.shape[-1] != clips.shape[-2]:
        raise ValueError("Clips to score must be floats (N, T, C, S, S), "
                         f"got {tuple(clips.shape)} of {clips.dtype}.")
    if len(clips) < LEAST or clips.shape[1] < 4:
        raise ValueError(f"Scoring needs {LEAST} clips of 4 frames, or more; "
                         f"got {len(clips)} of {clips.shape[1]}.")
    if not clips.isfinite().all():
        raise ValueError("Clips to score must be finite; these hold NaN or infinity.")
    low, high = clips.min().item(), clips.max().item()
    if low < -0.01 or high > 1.01:
        raise ValueError(f"Clips to score must be in [0, 1], got {low:.2f} to {high:.2f}; "
                         "use (x + 1) / 2?")
    return clips.cpu().float().mean(2).clamp(0, 1)


@torch.no_grad()
def measure(clips: Tensor, sprite: int) -> Measured:
    """Measure clips (N, T, C, S, S) in [0, 1]; sprite: the digit's square in pixels.

    Raises what `checked` raises.
    """
    blocks = [measure_block(x, sprite) for x in checked(clips).split(128)]
    *columns, flights = zip(*blocks, strict=True)
    return Measured(*map(torch.cat, columns), Flight(*map(torch.cat, zip(*flights, strict=True))))


def measure_block(x: Tensor, sprite: int) -> Measured:
    (n, T, size), frames = x.shape[:3], x.flatten(0, 1)
    centres, seen = ink_centres(frames, sprite)
    views = windows(frames, centres, sprite)                                     # (N T, 16, 16)
    log_odds, looks = load_recogniser()[0](views)
    p = log_odds.softmax(-1).unflatten(0, (n, T))                                # (N, T, 11)
    digit = p[..., :10].mean(1).argmax(-1)                                       # (N,)
    belief = p[torch.arange(n), :, digit]                                        # (N, T)
    away = outside_mask(centres, size, sprite)                                   # (N T, S, S)
    ink = (frames - 0.1).clamp(min=0)
    alone = (ink * away).sum((1, 2)) <= 0.2 * ink.sum((1, 2))
    sure = (belief >= SURE) & (alone & seen).view(n, T)
    away = away.view(x.shape)[:, 1:] * away.view(x.shape)[:, :-1]
    flicker = (x.diff(dim=1).abs() * away).sum((1, 2, 3)) / away.sum((1, 2, 3)).clamp(min=1)
    centres = centres.view(n, T, 2)
    picture = rearrange(views, "(n t) h w -> n t (h w)", t=T).mean(1)
    return Measured(looks.view(n, T, -1), centres / size, digit, sure.float(), picture, flicker,
                    flight(centres, seen.view(n, T), size, sprite))


# Points and their distances

def steps(points: Tensor) -> Tensor:
    """The steps of the track inside points (N, 64 + 2 T), (N, T - 1, 2)."""
    return rearrange(points[:, 2 * LOOK:], "n (t d) -> n t d", d=2).diff(dim=1)


def split(points: Tensor) -> list[Tensor]:
    """Points (N, 64 + 2 T) -> the looks' mean and spread, the track, its steps, their changes."""
    d = steps(points)
    return [points[:, :LOOK], points[:, LOOK:2 * LOOK], points[:, 2 * LOOK:],
            d.flatten(1), d.diff(dim=1).flatten(1)]


def gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.double().mean(0), x.double().T.cov()


def frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (m, C) (Heusel 2017 eq. 6)."""
    values, vectors = torch.linalg.eigh(a[1])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b[1] @ root).clamp(min=0).sqrt().sum()
    return max(0., float((a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * cross))


class Yard(NamedTuple):
    """Real clips to compare n clips with: all for Fréchet's distance, the first n for coverage."""
    scale: Tensor     # (D,)
    points: Tensor    # (n, D)
    labels: Tensor    # (n,)
    radii: Tensor     # (n,), from each to its 5th neighbour
    gauss: tuple[Tensor, Tensor]
    speeds: Tensor    # of all

    def put(self, points: Tensor, digit: Tensor) -> "Put":
        z = torch.cat(split(points), 1) / self.scale
        return Put(z, torch.cdist(self.points, z), digit, steps(points).norm(dim=-1))


class Put(NamedTuple):
    """N clips put into a yard of n real ones."""
    points: Tensor    # (N, D)
    across: Tensor    # (n, N), distances
    digit: Tensor     # (N,)
    speeds: Tensor    # (N, T - 1)

    def rows(self, r: Tensor) -> "Put":
        return Put(self.points[r], self.across[:len(r), r], self.digit[r], self.speeds[r])


def yard(points: Tensor, labels: Tensor, n: int) -> Yard:
    """The yard of real points (R, 64 + 2 T) in which n clips are compared."""
    parts = split(points)
    spread = [x.var(0).sum().sqrt() for x in parts]
    spread[1], spread[4] = spread[0], spread[3]                  # changes, in units of what changes
    scale = torch.cat([(s / w).expand(x.shape[1])
                       for s, w, x in zip(spread, WEIGHTS, parts, strict=True)])
    z = torch.cat(parts, 1) / scale
    n = min(n, len(z))
    nearest = min(NEIGHBOURS + 1, n)                             # the first is itself
    radii = torch.cdist(z[:n], z[:n]).kthvalue(nearest, 1).values
    return Yard(scale, z[:n], labels[:n], radii, gaussian(z), steps(points).norm(dim=-1))


def distances(p: Put, y: Yard) -> dict[str, float]:
    """fvd_local, coverage, precision and motion.

    Coverage is the share of real clips near which one shows the same digit.
    """
    near = p.across <= y.radii[:, None]                                          # (n, N)
    same = near & (p.digit == y.labels[:, None])
    return {"fvd_local": frechet(y.gauss, gaussian(p.points)),
            "coverage": float(same.any(1).float().mean()),
            "precision": float(near.any(0).float().mean()), "motion": motion(p.speeds, y.speeds)}
