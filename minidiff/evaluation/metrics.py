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

from minidiff.evaluation.digit_classifier import (
    CONFIDENCE_THRESHOLD,
    JUNK_CLASS,
    load_digit_classifier,
)
from minidiff.evaluation.segmentation import (
    min_cost_assignment,
    reorder,
    segment_digits,
    track_digits,
)
from minidiff.evaluation.tracking import (
    Motion,
    crop_windows,
    initial_directions,
    ink_centres,
    measure_motion,
    outside_mask,
    speed_similarity,
)
from minidiff.runtime.seeds import generator

NUM_FEATURES = 32                  # features of a frame that the recogniser hands out
MIN_CLIPS = 32                 # clips
NUM_NEIGHBOURS = 5             # how many clips away a real clip's neighbourhood ends
GROUP_WEIGHTS = 2, 2, 2, 4, 2    # of looks, spread, track, steps, changes of steps: motion counts most


class Measurements(NamedTuple):
    """What is measured of N digits over T frames: a row a digit, clip by clip."""
    features: Tensor     # (N, T, 32), the recogniser's features
    track: Tensor     # (N, T, 2), the ink's centre as a share of the size
    clip_index: Tensor      # (N,), the number of the clip
    digit: Tensor     # (N,), the digit that most of the clip shows; -1 where one of several is lost
    direction: Tensor   # (N,), its sector at frame 0, an index of `prompts.DIRECTIONS`; -1 not known
    known: Tensor     # (N, T), 1 where its ink can be told from other digits'
    confident: Tensor      # (N, T), 1 where it is sure and at most a fifth of the ink lies elsewhere
    mean_window: Tensor   # (N, 256), the mean of the windows around the digit
    flicker: Tensor   # (N,), mean change from frame to frame outside the digit's box
    motion: Motion

    def embeddings(self) -> Tensor:
        """(N, 64 + 2 T): the looks' mean and spread over time, and the track."""
        return torch.cat([self.features.mean(1), self.features.std(1), self.track.flatten(1)], 1)

    def select(self, r: Tensor) -> "Measurements":
        return Measurements(*(x[r] for x in self[:-1]), Motion(*(x[r] for x in self.motion)))


def checked_clips(clips: Tensor) -> Tensor:
    """Clips (N, T, C, S, S) as float32 (N, T, S, S), or a ValueError that says what is wrong."""
    if not isinstance(clips, Tensor):
        raise ValueError("Clips to score must be a float tensor (N, T, C, H, W), "
                         f"got a {type(clips).__name__}.")
    if clips.ndim != 5 or not clips.is_floating_point() or clips.shape[-1] != clips.shape[-2]:
        raise ValueError("Clips to score must be floats (N, T, C, S, S), "
                         f"got {tuple(clips.shape)} of {clips.dtype}.")
    if len(clips) < MIN_CLIPS or clips.shape[1] < 4:
        raise ValueError(f"Scoring needs {MIN_CLIPS} clips of 4 frames, or more; "
                         f"got {len(clips)} of {clips.shape[1]}.")
    if not clips.isfinite().all():
        raise ValueError("Clips to score must be finite; these hold NaN or infinity.")
    low, high = clips.min().item(), clips.max().item()
    if low < -0.01 or high > 1.01:
        raise ValueError(f"Clips to score must be in [0, 1], got {low:.2f} to {high:.2f}; "
                         "use (x + 1) / 2?")
    return clips.cpu().float().mean(2).clamp(0, 1)


@torch.no_grad()
def measure(clips: Tensor, sprite: int, num_digits: int | Tensor = 1) -> Measurements:
    """Measure clips (N, T, C, S, S) in [0, 1]; sprite: the digit's square in pixels.

    number: how many digits are to be seen, in all clips or in each (N,). One digit is taken to be
    all ink there is; several are told apart as in `segmentation`, each gives a row, and what the nearest
    frame shows of a digit stands for a frame in which it is not known.
    Raises what `checked_clips` raises.
    """
    x, blocks = checked_clips(clips), []
    num_digits = torch.as_tensor(num_digits).expand(len(x))
    for k in num_digits.unique().tolist():
        at = (num_digits == k).nonzero().flatten()
        for rows in at.split(max(1, 128 // k**2)):
            m = measure_batch(x[rows], sprite, k)
            blocks.append(m._replace(clip_index=rows[m.clip_index]))
    *columns, flights = zip(*blocks, strict=True)
    m = Measurements(*map(torch.cat, columns), Motion(*map(torch.cat, zip(*flights, strict=True))))
    return m if len(num_digits.unique()) == 1 else m.select(m.clip_index.argsort(stable=True))


class FrameFeatures(NamedTuple):
    """What each frame shows of K digits, each by itself; n clips, T frames."""
    features: Tensor     # (n, T, K, 32)
    probabilities: Tensor    # (n, T, K, 11), the recogniser's probabilities
    windows: Tensor     # (n, T, K, 256), the windows around them
    isolated: Tensor     # (n, T, K) bool, at most a fifth of the ink lies elsewhere
    visible: Tensor      # (n, T, K) bool
    centres: Tensor   # (n, T, K, 2)


def frame_features(inks: Tensor, sprite: int) -> FrameFeatures:
    """Look at the inks (n, T, K, S, S) of K digits."""
    frames = inks.flatten(0, 2)                                                  # (n T K, S, S)
    centres, seen = ink_centres(frames, sprite)
    views = crop_windows(frames, centres, sprite)                                     # (n T K, 16, 16)
    log_odds, looks = load_digit_classifier()[0](views)
    away = outside_mask(centres, frames.shape[-1], sprite)
    ink = (frames - 0.1).clamp(min=0)
    alone = (ink * away).sum((1, 2)) <= 0.2 * ink.sum((1, 2))
    found = looks, log_odds.softmax(-1), views.flatten(1), alone, seen, centres
    return FrameFeatures(*(v.unflatten(0, inks.shape[:3]) for v in found))


def measure_batch(x: Tensor, sprite: int, K: int) -> Measurements:
    """Measure clips (n, T, S, S) of K digits."""
    n, T, size = x.shape[:3]
    if K == 1:
        g = frame_features(x[:, :, None], sprite)
        known, hidden = torch.ones_like(g.visible), torch.zeros_like(g.visible)
    else:
        inks, whole = (v.unflatten(0, (n, T)) for v in segment_digits(x.flatten(0, 1), sprite, K))
        g = frame_features(inks, sprite)
        sure = (g.probabilities[..., :JUNK_CLASS].amax(-1) >= CONFIDENCE_THRESHOLD) & g.isolated
        order, known, hidden, places = track_digits(g.centres, whole & g.visible, g.probabilities, sure, size,
                                              sprite)
        g = FrameFeatures(*(reorder(v, order) for v in g))._replace(centres=places)
    flicker = background_flicker(x, g.centres, sprite).repeat_interleave(K)
    g = FrameFeatures(*(rearrange(v, "n t k ... -> (n k) t ...") for v in g))
    known, hidden = (rearrange(v, "n t k -> (n k) t") for v in (known, hidden))
    return measure_tracks(g, known, hidden, size, sprite)._replace(
        clip_index=torch.arange(n).repeat_interleave(K), flicker=flicker)


def background_flicker(x: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """The mean change (n,) from frame to frame outside the boxes around centres (n, T, K, 2)."""
    away = outside_mask(centres.flatten(0, 2), x.shape[-1], sprite)
    away = away.unflatten(0, centres.shape[:3]).prod(2)                          # (n, T, S, S)
    away = away[:, 1:] * away[:, :-1]
    return (x.diff(dim=1).abs() * away).sum((1, 2, 3)) / away.sum((1, 2, 3)).clamp(min=1)


def measure_tracks(g: FrameFeatures, known: Tensor, hidden: Tensor, size: int, sprite: int) -> Measurements:
    """Tracks (N, T, ...) -> what is measured of them, but for clip and flicker."""
    n, T = known.shape
    rows, at = torch.arange(n), torch.arange(T)
    gap = (at[:, None] - at).abs() + 2 * T * ~known[:, None]                     # (N, T, T)
    looks, belief, views = (v[rows[:, None], gap.argmin(-1)]                     # where it is known
                            for v in (g.features, g.probabilities, g.windows))
    seen = g.visible & known
    digit = belief[..., :JUNK_CLASS].mean(1).argmax(-1)                                # (N,)
    sure = (belief[rows, :, digit] >= CONFIDENCE_THRESHOLD) & g.isolated & seen
    digit = torch.where(known.any(1), digit, -1)
    fly = measure_motion(g.centres, seen, size, sprite, occluded=hidden)
    return Measurements(looks, g.centres / size, rows, digit,
                    initial_directions(g.centres, seen, fly, size, sprite), known.float(), sure.float(),
                    views.mean(1), flicker=rows.float(), motion=fly)


def tracking_rates(m: Measurements) -> dict[str, float]:
    """tracked: the share of frames in which digits can be told apart; unread: of unread headings.

    A heading is unread where no three frames on end are free of walls and of other digits.
    """
    return {"tracked": float(m.known.mean()), "unread": float((m.direction < 0).float().mean())}


# Prompts

def tracks_by_clip(m: Measurements, values: Tensor, K: int) -> Tensor:
    """A track's values (N, ...) by clip, (clips, K, ...); -1 where a clip has fewer tracks."""
    place = torch.arange(len(m.clip_index)) - torch.searchsorted(m.clip_index, m.clip_index)       # within its clip
    out = values.new_full((int(m.clip_index[-1]) + 1, K, *values.shape[1:]), -1)
    out[m.clip_index, place] = values
    return out


def all_matched(right: Tensor) -> Tensor:
    """Whether things and tracks (N, K, K) can be paired so that all are right, (N,)."""
    ways = min_cost_assignment(1 - right.float())                                             # (N, K)
    return right.gather(2, ways[..., None]).all(1)[:, 0]


def prompt_hits(m: Measurements, labels: Tensor, directions: Tensor | None = None) -> dict[str, Tensor]:
    """What each clip does of what it was asked, (N,) bool by name.

    labels: (N, K), -1 where a clip is to have fewer digits; directions: (N, K), indices of
    `prompts.DIRECTIONS`, -1 where none was asked. "digit": all its digits are right, whichever track
    shows which; and with directions "direction": all headings are; "joint": both at once;
    "shuffled": both, by the prompts of other clips, all in one ring drawn by lot.
    """
    digit, heading = (tracks_by_clip(m, v, labels.shape[1])[:, None] for v in (m.digit, m.direction))

    def right(rows):
        asked, whereto = labels[rows, :, None], directions[rows, :, None]        # (N, K, 1)
        return asked == digit, (whereto == heading) | (whereto < 0) | (asked < 0)

    if directions is None:
        return {"digit": all_matched(labels[..., None] == digit)}
    ring = torch.randperm(len(labels), generator=generator("nearest neighbours", len(labels)))
    other = torch.empty_like(ring).index_put_((ring,), ring.roll(1))
    (a, b), (c, d) = right(torch.arange(len(labels))), right(other)
    return {"digit": all_matched(a), "direction": all_matched(b), "joint": all_matched(a & b),
            "shuffled": all_matched(c & d)}


def prompt_rates(m: Measurements, labels: Tensor, directions: Tensor | None = None) -> dict[str, float]:
    """The shares of clips in `prompt_hits`."""
    return {k: float(v.float().mean()) for k, v in prompt_hits(m, labels, directions).items()}


# What guidance changes

@torch.no_grad()
def guidance_metrics(clips: Tensor, labels: Tensor, sprite: int = 14) -> dict[str, Tensor]:
    """What guidance changes, a number a clip: clips (N, T, C, S, S) in [0, 1], labels (N,) asked.

    adherence: 1 where most of the clip shows the digit asked for; diversity: how far its look (the
    recogniser's features, mean over time) is from the other clips' of the same label, the mean
    distance, NaN for a label asked once; saturation: the share of its ink that is white to the
    limit; contrast: the standard deviation of its pixels.
    """
    x, labels = clips.cpu().float().mean(2, keepdim=True), labels.cpu()
    seen = frame_features(x, sprite)
    digit, look = seen.probabilities[:, :, 0, :JUNK_CLASS].mean(1).argmax(-1), seen.features[:, :, 0].mean(1)
    alike = labels[:, None] == labels
    alike &= ~torch.eye(len(labels), dtype=torch.bool)
    x = x.flatten(1)
    return {"adherence": (digit == labels).float(),
            "diversity": (torch.cdist(look, look) * alike).sum(1) / alike.sum(1),
            "saturation": (x > 0.99).sum(1) / (x > 0.1).sum(1).clamp(min=1),
            "contrast": x.std(1)}


# Points and their distances

def displacements(embeddings: Tensor) -> Tensor:
    """The steps of the track inside points (N, 64 + 2 T), (N, T - 1, 2)."""
    return rearrange(embeddings[:, 2 * NUM_FEATURES:], "n (t d) -> n t d", d=2).diff(dim=1)


def split_groups(embeddings: Tensor) -> list[Tensor]:
    """Points (N, 64 + 2 T) -> the looks' mean and spread, the track, its steps, their changes."""
    d = displacements(embeddings)
    return [embeddings[:, :NUM_FEATURES], embeddings[:, NUM_FEATURES:2 * NUM_FEATURES], embeddings[:, 2 * NUM_FEATURES:],
            d.flatten(1), d.diff(dim=1).flatten(1)]


def mean_and_cov(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.double().mean(0), x.double().T.cov()


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (m, C) (Heusel 2017 eq. 6)."""
    values, vectors = torch.linalg.eigh(a[1])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b[1] @ root).clamp(min=0).sqrt().sum()
    return max(0., float((a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * cross))


class RealStatistics(NamedTuple):
    """Real clips to compare n clips with: all for Fréchet's distance, the first n for coverage."""
    scale: Tensor     # (D,)
    embeddings: Tensor    # (n, D)
    labels: Tensor    # (n,)
    radii: Tensor     # (n,), from each to its 5th neighbour
    mean_cov: tuple[Tensor, Tensor]
    speeds: Tensor    # of all

    def project(self, embeddings: Tensor, digit: Tensor) -> "Projected":
        z = torch.cat(split_groups(embeddings), 1) / self.scale
        return Projected(z, torch.cdist(self.embeddings, z), digit, displacements(embeddings).norm(dim=-1))


class Projected(NamedTuple):
    """N clips put into a yard of n real ones."""
    embeddings: Tensor    # (N, D)
    distances: Tensor    # (n, N), distances
    digit: Tensor     # (N,)
    speeds: Tensor    # (N, T - 1)

    def select(self, r: Tensor, real: int) -> "Projected":
        """Some of the clips, amid the first so many real ones."""
        return Projected(self.embeddings[r], self.distances[:real, r], self.digit[r], self.speeds[r])


def real_statistics(embeddings: Tensor, labels: Tensor, n: int) -> RealStatistics:
    """The yard of real points (R, 64 + 2 T) in which n clips are compared."""
    parts = split_groups(embeddings)
    spread = [x.var(0).sum().sqrt() for x in parts]
    spread[1], spread[4] = spread[0], spread[3]                  # changes, in units of what changes
    scale = torch.cat([(s / w).expand(x.shape[1])
                       for s, w, x in zip(spread, GROUP_WEIGHTS, parts, strict=True)])
    z = torch.cat(parts, 1) / scale
    n = min(n, len(z))
    nearest = min(NUM_NEIGHBOURS + 1, n)                             # the first is itself
    radii = torch.cdist(z[:n], z[:n]).kthvalue(nearest, 1).values
    return RealStatistics(scale, z[:n], labels[:n], radii, mean_and_cov(z), displacements(embeddings).norm(dim=-1))


def distribution_metrics(projected: Projected, real: RealStatistics) -> dict[str, float]:
    """fvd_local, coverage, precision and motion.

    Coverage is the share of real clips near which one shows the same digit.
    """
    near = projected.distances <= real.radii[:, None]                                          # (n, N)
    same = near & (projected.digit == real.labels[:, None])
    return {"fvd_local": frechet_distance(real.mean_cov, mean_and_cov(projected.embeddings)),
            "coverage": float(same.any(1).float().mean()),
            "precision": float(near.any(0).float().mean()), "motion": speed_similarity(projected.speeds, real.speeds)}
