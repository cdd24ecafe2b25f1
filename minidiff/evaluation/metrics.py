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

from minidiff.evaluation.digit_classifier import JUNK, SURE, load_recogniser
from minidiff.evaluation.segmentation import assign, follow, part, pick
from minidiff.evaluation.tracking import (
    Flight,
    flight,
    headings,
    ink_centres,
    motion,
    outside_mask,
    windows,
)
from minidiff.runtime.seeds import generator

LOOK = 32                  # features of a frame that the recogniser hands out
LEAST = 32                 # clips
NEIGHBOURS = 5             # how many clips away a real clip's neighbourhood ends
WEIGHTS = 2, 2, 2, 4, 2    # of looks, spread, track, steps, changes of steps: motion counts most


class Measured(NamedTuple):
    """What is measured of N digits over T frames: a row a digit, clip by clip."""
    looks: Tensor     # (N, T, 32), the recogniser's features
    track: Tensor     # (N, T, 2), the ink's centre as a share of the size
    clip: Tensor      # (N,), the number of the clip
    digit: Tensor     # (N,), the digit that most of the clip shows; -1 where one of several is lost
    heading: Tensor   # (N,), its sector at frame 0, an index of `text.DIRECTIONS`; -1 not known
    known: Tensor     # (N, T), 1 where its ink can be told from other digits'
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
def measure(clips: Tensor, sprite: int, number: int | Tensor = 1) -> Measured:
    """Measure clips (N, T, C, S, S) in [0, 1]; sprite: the digit's square in pixels.

    number: how many digits are to be seen, in all clips or in each (N,). One digit is taken to be
    all ink there is; several are told apart as in `inks`, each gives a row, and what the nearest
    frame shows of a digit stands for a frame in which it is not known.
    Raises what `checked` raises.
    """
    x, blocks = checked(clips), []
    number = torch.as_tensor(number).expand(len(x))
    for k in number.unique().tolist():
        at = (number == k).nonzero().flatten()
        for rows in at.split(max(1, 128 // k**2)):
            m = measure_block(x[rows], sprite, k)
            blocks.append(m._replace(clip=rows[m.clip]))
    *columns, flights = zip(*blocks, strict=True)
    m = Measured(*map(torch.cat, columns), Flight(*map(torch.cat, zip(*flights, strict=True))))
    return m if len(number.unique()) == 1 else m.rows(m.clip.argsort(stable=True))


class Glance(NamedTuple):
    """What each frame shows of K digits, each by itself; n clips, T frames."""
    looks: Tensor     # (n, T, K, 32)
    belief: Tensor    # (n, T, K, 11), the recogniser's probabilities
    views: Tensor     # (n, T, K, 256), the windows around them
    alone: Tensor     # (n, T, K) bool, at most a fifth of the ink lies elsewhere
    seen: Tensor      # (n, T, K) bool
    centres: Tensor   # (n, T, K, 2)


def glance(inks: Tensor, sprite: int) -> Glance:
    """Look at the inks (n, T, K, S, S) of K digits."""
    frames = inks.flatten(0, 2)                                                  # (n T K, S, S)
    centres, seen = ink_centres(frames, sprite)
    views = windows(frames, centres, sprite)                                     # (n T K, 16, 16)
    log_odds, looks = load_recogniser()[0](views)
    away = outside_mask(centres, frames.shape[-1], sprite)
    ink = (frames - 0.1).clamp(min=0)
    alone = (ink * away).sum((1, 2)) <= 0.2 * ink.sum((1, 2))
    found = looks, log_odds.softmax(-1), views.flatten(1), alone, seen, centres
    return Glance(*(v.unflatten(0, inks.shape[:3]) for v in found))


def measure_block(x: Tensor, sprite: int, K: int) -> Measured:
    """Measure clips (n, T, S, S) of K digits."""
    n, T, size = x.shape[:3]
    if K == 1:
        g = glance(x[:, :, None], sprite)
        known, hidden = torch.ones_like(g.seen), torch.zeros_like(g.seen)
    else:
        inks, whole = (v.unflatten(0, (n, T)) for v in part(x.flatten(0, 1), sprite, K))
        g = glance(inks, sprite)
        sure = (g.belief[..., :JUNK].amax(-1) >= SURE) & g.alone
        order, known, hidden, places = follow(g.centres, whole & g.seen, g.belief, sure, size,
                                              sprite)
        g = Glance(*(pick(v, order) for v in g))._replace(centres=places)
    flicker = flickers(x, g.centres, sprite).repeat_interleave(K)
    g = Glance(*(rearrange(v, "n t k ... -> (n k) t ...") for v in g))
    known, hidden = (rearrange(v, "n t k -> (n k) t") for v in (known, hidden))
    return measure_tracks(g, known, hidden, size, sprite)._replace(
        clip=torch.arange(n).repeat_interleave(K), flicker=flicker)


def flickers(x: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """The mean change (n,) from frame to frame outside the boxes around centres (n, T, K, 2)."""
    away = outside_mask(centres.flatten(0, 2), x.shape[-1], sprite)
    away = away.unflatten(0, centres.shape[:3]).prod(2)                          # (n, T, S, S)
    away = away[:, 1:] * away[:, :-1]
    return (x.diff(dim=1).abs() * away).sum((1, 2, 3)) / away.sum((1, 2, 3)).clamp(min=1)


def measure_tracks(g: Glance, known: Tensor, hidden: Tensor, size: int, sprite: int) -> Measured:
    """Tracks (N, T, ...) -> what is measured of them, but for clip and flicker."""
    n, T = known.shape
    rows, at = torch.arange(n), torch.arange(T)
    gap = (at[:, None] - at).abs() + 2 * T * ~known[:, None]                     # (N, T, T)
    looks, belief, views = (v[rows[:, None], gap.argmin(-1)]                     # where it is known
                            for v in (g.looks, g.belief, g.views))
    seen = g.seen & known
    digit = belief[..., :JUNK].mean(1).argmax(-1)                                # (N,)
    sure = (belief[rows, :, digit] >= SURE) & g.alone & seen
    digit = torch.where(known.any(1), digit, -1)
    fly = flight(g.centres, seen, size, sprite, hidden=hidden)
    return Measured(looks, g.centres / size, rows, digit,
                    headings(g.centres, seen, fly, size, sprite), known.float(), sure.float(),
                    views.mean(1), flicker=rows.float(), flight=fly)


def tracking(m: Measured) -> dict[str, float]:
    """tracked: the share of frames in which digits can be told apart; unread: of unread headings.

    A heading is unread where no three frames on end are free of walls and of other digits.
    """
    return {"tracked": float(m.known.mean()), "unread": float((m.heading < 0).float().mean())}


# Prompts

def slots(m: Measured, values: Tensor, K: int) -> Tensor:
    """A track's values (N, ...) by clip, (clips, K, ...); -1 where a clip has fewer tracks."""
    place = torch.arange(len(m.clip)) - torch.searchsorted(m.clip, m.clip)       # within its clip
    out = values.new_full((int(m.clip[-1]) + 1, K, *values.shape[1:]), -1)
    out[m.clip, place] = values
    return out


def matched(right: Tensor) -> Tensor:
    """Whether things and tracks (N, K, K) can be paired so that all are right, (N,)."""
    ways = assign(1 - right.float())                                             # (N, K)
    return right.gather(2, ways[..., None]).all(1)[:, 0]


def prompt_hits(m: Measured, labels: Tensor, directions: Tensor | None = None) -> dict[str, Tensor]:
    """What each clip does of what it was asked, (N,) bool by name.

    labels: (N, K), -1 where a clip is to have fewer digits; directions: (N, K), indices of
    `text.DIRECTIONS`, -1 where none was asked. "digit": all its digits are right, whichever track
    shows which; and with directions "direction": all headings are; "joint": both at once;
    "shuffled": both, by the prompts of other clips, all in one ring drawn by lot.
    """
    digit, heading = (slots(m, v, labels.shape[1])[:, None] for v in (m.digit, m.heading))

    def right(rows):
        asked, whereto = labels[rows, :, None], directions[rows, :, None]        # (N, K, 1)
        return asked == digit, (whereto == heading) | (whereto < 0) | (asked < 0)

    if directions is None:
        return {"digit": matched(labels[..., None] == digit)}
    ring = torch.randperm(len(labels), generator=generator(len(labels), 6))
    other = torch.empty_like(ring).index_put_((ring,), ring.roll(1))
    (a, b), (c, d) = right(torch.arange(len(labels))), right(other)
    return {"digit": matched(a), "direction": matched(b), "joint": matched(a & b),
            "shuffled": matched(c & d)}


def prompt_rates(m: Measured, labels: Tensor, directions: Tensor | None = None) -> dict[str, float]:
    """The shares of clips in `prompt_hits`."""
    return {k: float(v.float().mean()) for k, v in prompt_hits(m, labels, directions).items()}


# What guidance changes

@torch.no_grad()
def traits(clips: Tensor, labels: Tensor, sprite: int = 14) -> dict[str, Tensor]:
    """What guidance changes, a number a clip: clips (N, T, C, S, S) in [0, 1], labels (N,) asked.

    adherence: 1 where most of the clip shows the digit asked for; diversity: how far its look (the
    recogniser's features, mean over time) is from the other clips' of the same label, the mean
    distance, NaN for a label asked once; saturation: the share of its ink that is white to the
    limit; contrast: the standard deviation of its pixels.
    """
    x, labels = clips.cpu().float().mean(2, keepdim=True), labels.cpu()
    seen = glance(x, sprite)
    digit, look = seen.belief[:, :, 0, :JUNK].mean(1).argmax(-1), seen.looks[:, :, 0].mean(1)
    alike = labels[:, None] == labels
    alike &= ~torch.eye(len(labels), dtype=torch.bool)
    x = x.flatten(1)
    return {"adherence": (digit == labels).float(),
            "diversity": (torch.cdist(look, look) * alike).sum(1) / alike.sum(1),
            "saturation": (x > 0.99).sum(1) / (x > 0.1).sum(1).clamp(min=1),
            "contrast": x.std(1)}


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

    def rows(self, r: Tensor, real: int) -> "Put":
        """Some of the clips, amid the first so many real ones."""
        return Put(self.points[r], self.across[:real, r], self.digit[r], self.speeds[r])


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
