"""Measurements of clips: what each frame shows, how it moves, and how steady its looks are.

Each digit of a clip gives one row. The frame's background (its median) is taken away first. In
frames in which the inks of two digits touch, neither can be read: there the frame is compared with
the picture that the digits of the other frames would give at these places.
"""
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minidiff.data.moving_mnist import place_sprites
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
    WINDOW_SIZE,
    Motion,
    crop_windows,
    fit_path,
    initial_directions,
    ink_centres,
    measure_motion,
    outside_mask,
    wall_speeds,
)
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default

NUM_FEATURES = 32             # of a frame, from the digit classifier
MIN_CLIPS, MIN_FRAMES = 32, 4
DIRT = 0.5                    # white pixels outside the box that leave 1/e of a frame's mark
INVISIBLE = 0.02              # differences from the background that no eye sees
FAINT = 0.4                   # the brightest pixel of a digit that can hardly be seen; real: .5 up
GRAIN = 0.03                  # of the energy lies in the finest checkerboard; real clips: less
GRAIN_UNIT = 0.02             # more of it leaves 1/e of a clip's mark
ODD_FRAME = 0.1               # by so much one frame may differ more from the others than they do
DISAGREEMENT = 0.25           # 1 - cos^2 of two pictures that leaves 1/e of a frame's mark
GREY_TOLERANCE = 0.02         # channels that differ by more are colours


class Measurements(NamedTuple):
    """Measurements of N digits over T frames: one row per digit, in the order of the clips."""
    features: Tensor     # (N, T, 32), the classifier's features
    track: Tensor        # (N, T, 2), the ink's centre divided by the frame's size
    clip_index: Tensor   # (N,), the number of the clip
    digit: Tensor        # (N,), the digit that most of the clip shows; -1 if the digit is lost
    direction: Tensor    # (N,), its sector at frame 0, an index of `prompts.DIRECTIONS`; -1 unknown
    known: Tensor        # (N, T), 1 if its ink can be separated from other digits' ink
    certainty: Tensor    # (N, T), how sure the frame shows the clip's own digit and no dirt, 0 to 1
    change: Tensor       # (N,), mean distance between the windows of any two frames
    path_error: Tensor   # (N,), rms distance from the best bouncing path, in pixels at size 32
    speed: Tensor        # (N,), of that path, in pixels per frame at size 32
    walls: Tensor        # (N, 2), speeds across the walls before and after contacts, summed
    mean_window: Tensor  # (N, 256), the mean of the windows around the digit
    flicker: Tensor      # (N,), mean change from frame to frame outside the digit's box
    motion: Motion

    def embeddings(self) -> Tensor:
        """(N, 32 + 2 T): the mean of the features over time, and the track."""
        return torch.cat([self.features.mean(1), self.track.flatten(1)], 1)

    def select(self, r: Tensor) -> "Measurements":
        """The rows r, by index or mask."""
        return Measurements(*(x[r] for x in self[:-1]), Motion(*(x[r] for x in self.motion)))


def checked_clips(clips: Tensor) -> Tensor:
    """Clips (N, T, C, S, S) as float32 (N, T, S, S).

    Raises ValueError that names the problem and its cure.
    """
    if not isinstance(clips, Tensor):
        raise ValueError("Clips to score must be a float tensor (N, T, C, H, W), "
                         f"got a {type(clips).__name__}.")
    if clips.ndim != 5 or not clips.is_floating_point():
        raise ValueError("Clips to score must be floats (N, T, C, H, W), "
                         f"got {tuple(clips.shape)} of {clips.dtype}.")
    frame_side(clips.shape[-2:])
    if len(clips) < MIN_CLIPS or clips.shape[1] < MIN_FRAMES:
        raise ValueError(f"Scoring needs {MIN_CLIPS} clips of {MIN_FRAMES} frames, or more; "
                         f"got {len(clips)} of {clips.shape[1]}.")
    check_pixels(clips)
    return clips.cpu().float().mean(2).clamp(0, 1)


def frame_side(size: int | Sequence[int]) -> int:
    """The side of square frames, from a number or (height, width). ValueError if not square."""
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or not height:
        raise ValueError(f"Clips of {height}x{width} px are not judged: the scoreboard compares "
                         "with real clips of square frames, floats (N, T, C, S, S).")
    return height


def check_pixels(clips: Tensor) -> None:
    """Raises ValueError unless all pixels are finite, in [0, 1] and grey."""
    if not clips.numel():
        raise ValueError(f"Clips to score must have pixels, got {tuple(clips.shape)}.")
    if not clips.isfinite().all():
        raise ValueError("Clips to score must be finite; these hold NaN or infinity. The training "
                         "or the sampling diverged: check that the model's weights are finite.")
    low, high = clips.min().item(), clips.max().item()
    if low < -0.01 or high > 1.01:
        cure = ("(x + 1) / 2 brings [-1, 1] there" if -1.01 <= low < -0.01 and high <= 1.01 else
                "x / 255 brings 0 to 255 there" if low >= 0 and high <= 255 else
                "scale or clip them")
        raise ValueError("Clips to score must be in [0, 1], "
                         f"got {low:.2f} to {high:.2f}; {cure}.")
    if clips.shape[2] != 1 and float((clips.amax(2) - clips.amin(2)).max()) > GREY_TOLERANCE:
        raise ValueError("Colour clips are not judged: the scoreboard was made for grey digits. "
                         "If yours are grey, score their mean: clips.mean(2, keepdim=True).")


@torch.no_grad()
@none_means_default
def measure(clips: Tensor, sprite: int, num_digits: int | Tensor = 1) -> Measurements:
    """Measurements of clips (N, T, C, S, S) in [0, 1].

    sprite: the side of the digit's square in pixels. num_digits: the number of digits in all clips,
    or in each clip (N,). A single digit is all the ink of its clip. Several digits are separated as
    in `segmentation`, and each gives a row; for a frame in which a digit is not known, the nearest
    frame in which it is known is used. Raises the errors of `checked_clips`.
    """
    x, blocks = checked_clips(clips), []
    num_digits = torch.as_tensor(num_digits).expand(len(x))
    for k in num_digits.unique().tolist():
        at = (num_digits == k).nonzero().flatten()
        for rows in at.split(max(1, 128 // k**2)):
            m = measure_batch(x[rows], sprite, k)
            blocks.append(m._replace(clip_index=rows[m.clip_index]))
    *columns, motions = zip(*blocks, strict=True)
    m = Measurements(*map(torch.cat, columns), Motion(*map(torch.cat, zip(*motions, strict=True))))
    return m if len(num_digits.unique()) == 1 else m.select(m.clip_index.argsort(stable=True))


def without_background(x: Tensor) -> Tensor:
    """Frames (n, T, S, S) whose median, the grey of the background, becomes black.

    Nothing is made brighter: a digit that hardly differs from its background stays pale.
    """
    return (x - x.flatten(2).median(-1).values[..., None, None]).clamp(min=0)


class FrameFeatures(NamedTuple):
    """Features of each of K digits in each frame; n clips, T frames."""
    features: Tensor       # (n, T, K, 32)
    probabilities: Tensor  # (n, T, K, 11), of the digit classifier
    windows: Tensor        # (n, T, K, 256), the windows around the digits
    isolated: Tensor       # (n, T, K) bool, at most a fifth of the ink lies elsewhere
    visible: Tensor        # (n, T, K) bool
    centres: Tensor        # (n, T, K, 2)


def frame_features(inks: Tensor, sprite: int) -> FrameFeatures:
    """The features of K digits from their separate inks (n, T, K, S, S)."""
    frames = inks.flatten(0, 2)                                                  # (n T K, S, S)
    centres, visible = ink_centres(frames, sprite)
    windows = crop_windows(frames, centres, sprite)                              # (n T K, 16, 16)
    log_odds, features = load_digit_classifier()[0](windows)
    outside = outside_mask(centres, frames.shape[-1], sprite)
    ink = (frames - 0.1).clamp(min=0)
    isolated = (ink * outside).sum((1, 2)) <= 0.2 * ink.sum((1, 2))
    found = features, log_odds.softmax(-1), windows.flatten(1), isolated, visible, centres
    return FrameFeatures(*(v.unflatten(0, inks.shape[:3]) for v in found))


def measure_batch(x: Tensor, sprite: int, K: int) -> Measurements:
    """Measurements of clips (n, T, S, S) of K digits."""
    grey, x = x, without_background(x)
    n, T, size = x.shape[:3]
    if K == 1:
        found = frame_features(x[:, :, None], sprite)
        known, occluded = torch.ones_like(found.visible), torch.zeros_like(found.visible)
    else:
        inks, whole = (v.unflatten(0, (n, T)) for v in segment_digits(x.flatten(0, 1), sprite, K))
        found = frame_features(inks, sprite)
        best = found.probabilities[..., :JUNK_CLASS].amax(-1)
        confident = (best >= CONFIDENCE_THRESHOLD) & found.isolated
        order, known, occluded, centres = track_digits(
            found.centres, whole & found.visible, found.probabilities, confident, size, sprite)
        found = FrameFeatures(*(reorder(v, order) for v in found))._replace(centres=centres)
    flicker = background_flicker(x, found.centres, sprite).repeat_interleave(K)
    clean = cleanness(grey, found.centres, sprite) * smoothness(x)[:, None]      # (n, T)
    agreement = clean if K == 1 else clean * composed_agreement(x, found, known, sprite)
    found = FrameFeatures(*(rearrange(v, "n t k ... -> (n k) t ...") for v in found))
    known, occluded = (rearrange(v, "n t k -> (n k) t") for v in (known, occluded))
    clean, agreement = (v.repeat_interleave(K, 0) for v in (clean, agreement))
    m = measure_tracks(found, known, occluded, size, sprite)
    return m._replace(certainty=torch.where(occluded, agreement, clean * m.certainty),
                      clip_index=torch.arange(n).repeat_interleave(K), flicker=flicker)


def outside_boxes(centres: Tensor, size: int, sprite: int, margin: float = 2) -> Tensor:
    """1 outside the boxes of all digits, 0 inside: centres (n, T, K, 2) -> (n, T, S, S)."""
    outside = outside_mask(centres.flatten(0, 2), size, sprite, margin)
    return outside.unflatten(0, centres.shape[:3]).prod(2)


def cleanness(x: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """How clean each frame of x (n, T, S, S) is outside the digits, (n, T) from 0 to 1.

    exp(-dirt / DIRT), where dirt is the squared difference from the clip's median, summed over
    pixels outside the digits' boxes and, everywhere, over darker ones: one white pixel counts 1,
    fifty of .1 about .3. A background that is even all the time is no dirt, nor is what no eye
    sees (`INVISIBLE`). One dirty frame is seen in the others, too: half of each frame's mark is the
    worst frame's.
    """
    off = x - x.flatten(1).median(-1).values[:, None, None, None]
    where = torch.maximum(outside_boxes(centres, x.shape[-1], sprite, margin=1), (off < 0).float())
    dirt = ((off.abs() - INVISIBLE).clamp(min=0).square() * where).sum((2, 3))
    clean = (-dirt / DIRT).exp()
    return clean * (1 + clean.amin(1, keepdim=True)) / 2


def smoothness(x: Tensor) -> Tensor:
    """How free of grain clips x (n, T, S, S) are, (n,) from 0 to 1.

    Grain is the share of the ink's energy in the finest checkerboard, [1, -2, 1] on both axes. Ink
    has strokes of two or three pixels and hardly any (`GRAIN`); the windows, which are smoothed,
    would not show it.
    """
    line = torch.tensor([1., -2., 1.]) / 4
    fine = F.conv2d(x.flatten(0, 1)[:, None], (line[:, None] * line)[None, None], padding=1)
    grain = fine.unflatten(0, x.shape[:2]).square().sum((1, 2, 3, 4)) / x.square().sum(
        (1, 2, 3)).clamp(min=1)
    return (-(grain - GRAIN).clamp(min=0) / GRAIN_UNIT).exp()


def composed_agreement(x: Tensor, found: FrameFeatures, known: Tensor, sprite: int) -> Tensor:
    """How well frames agree with their own digits, from 0 to 1: (n, T) for x (n, T, S, S).

    Each digit's mean window over the frames in which it is known is put at its place, and all are
    composed by maximum: this is what a frame shows in which inks touch.
    """
    n, _, K = known.shape
    seen = known[..., None].to(x.dtype)
    windows = (found.windows * seen).sum(1) / seen.sum(1).clamp(min=1)           # (n, K, 256)
    side = round(WINDOW_SIZE * sprite / 14)
    images = F.interpolate(windows.view(n * K, 1, WINDOW_SIZE, WINDOW_SIZE), (side, side),
                           mode="bilinear").view(n, K, 1, side, side)
    composed = place_sprites(images, found.centres - side / 2, x.shape[-1]).amax(2)[:, :, 0]
    cos = F.cosine_similarity(composed.flatten(2), x.flatten(2), dim=-1)
    return (-(1 - cos.square()) / DISAGREEMENT).exp()


def background_flicker(x: Tensor, centres: Tensor, sprite: int) -> Tensor:
    """The mean change (n,) from frame to frame outside the boxes around centres (n, T, K, 2)."""
    outside = outside_boxes(centres, x.shape[-1], sprite)
    outside = outside[:, 1:] * outside[:, :-1]
    change = (x.diff(dim=1).abs() * outside).sum((1, 2, 3))
    return change / outside.sum((1, 2, 3)).clamp(min=1)


def measure_tracks(found: FrameFeatures, known: Tensor, occluded: Tensor, size: int,
                   sprite: int) -> Measurements:
    """Measurements of N tracks from features (N, T, ...); clip_index and flicker are set later.

    The certainty is the classifier's alone, 0 in frames in which the digit is not known.
    """
    n, T = known.shape
    rows, times = torch.arange(n), torch.arange(T)
    gap = (times[:, None] - times).abs() + 2 * T * ~known[:, None]               # (N, T, T)
    features, probabilities, windows = (                             # of the nearest known frame
        v[rows[:, None], gap.argmin(-1)]
        for v in (found.features, found.probabilities, found.windows))
    visible = found.visible & known
    digit = probabilities[..., :JUNK_CLASS].mean(1).argmax(-1)                   # (N,)
    certainty = probabilities[rows, :, digit] * visible * brightness(windows)
    digit = torch.where(known.any(1), digit, -1)
    motion = measure_motion(found.centres, visible, size, sprite, occluded=occluded)
    direction = initial_directions(found.centres, visible, motion, size, sprite)
    path = fit_path(found.centres, visible, size, sprite)
    return Measurements(features, found.centres / size, rows, digit, direction, known.float(),
                        certainty, mean_change(windows, visible), path.rms(visible) * 32 / size,
                        path.velocity.norm(dim=-1) * 32 / size,
                        torch.stack(wall_speeds(found.centres, motion, size), -1),
                        windows.mean(1), flicker=rows.float(), motion=motion)


def brightness(windows: Tensor) -> Tensor:
    """How well digits in windows (N, T, 256) can be seen, (N, T): 1 from `FAINT` on, less below.

    The classifier reads digits that no eye would find.
    """
    return (windows.amax(-1) / FAINT).clamp(max=1).square()


def mean_change(windows: Tensor, seen: Tensor) -> Tensor:
    """The mean distance (N,) between the windows (N, T, 256) of any two frames that are seen.

    The windows follow the digit, so its motion does not count. They are smoothed: what a shift by a
    part of a pixel changes is small then. An eye sees one odd frame among many: its mean distance
    from the others, less `ODD_FRAME`, counts if it is more (if all frames are seen: of a frame in
    which digits touch, a part may be missing).
    """
    smooth = smooth_windows(windows.flatten(0, 1)).view(windows.shape)
    pairs = (seen[:, :, None] & seen[:, None]) & ~torch.eye(seen.shape[1], dtype=torch.bool)
    far = torch.cdist(smooth, smooth) * pairs                                    # (N, T, T)
    mean = far.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)
    odd = (far.sum(2) / pairs.sum(2).clamp(min=1)).amax(1) - ODD_FRAME
    return torch.where(seen.all(1), torch.maximum(mean, odd), mean)


def smooth_windows(windows: Tensor) -> Tensor:
    """Windows (N, 256), each sample averaged with its neighbours: weights 1, 2, 1 on each axis."""
    line = torch.tensor([1., 2., 1.]) / 4
    images = windows.reshape(-1, 1, WINDOW_SIZE, WINDOW_SIZE)
    return F.conv2d(images, (line[:, None] * line)[None, None], padding=1).flatten(1)


def tracking_rates(m: Measurements) -> dict[str, float]:
    """tracked: the share of frames with separable digits; unread: of tracks without a direction.

    A direction is unread if no three consecutive frames are free of walls and of other digits.
    """
    return {"tracked": float(m.known.mean()), "unread": float((m.direction < 0).float().mean())}


# Prompts

def tracks_by_clip(m: Measurements, values: Tensor, K: int) -> Tensor:
    """A track's values (N, ...) by clip, (clips, K, ...); -1 if a clip has fewer tracks."""
    place = torch.arange(len(m.clip_index)) - torch.searchsorted(m.clip_index, m.clip_index)
    out = values.new_full((int(m.clip_index[-1]) + 1, K, *values.shape[1:]), -1)
    out[m.clip_index, place] = values
    return out


def all_matched(right: Tensor) -> Tensor:
    """Whether K prompted digits and K tracks can be paired so that every pair is right, (N,).

    right: (N, K, K) bool, for each pair.
    """
    columns = min_cost_assignment(1 - right.float())                             # (N, K)
    return right.gather(2, columns[..., None]).all(1)[:, 0]


def prompt_hits(m: Measurements, labels: Tensor,
                directions: Tensor | None = None) -> dict[str, Tensor]:
    """Whether each clip follows its prompt, (N,) bool by name.

    labels: (N, K), -1 if a clip is to have fewer digits; directions: (N, K), indices of
    `prompts.DIRECTIONS`, -1 if the prompt names none. "digit": all digits are right, in any order.
    With directions also "direction": all directions are right; "joint": each digit has its own
    direction; "shuffled": the same as joint, but with the prompt of another clip (a control).
    """
    digit, direction = (tracks_by_clip(m, v, labels.shape[1])[:, None]
                        for v in (m.digit, m.direction))

    def right(rows):
        label, sector = labels[rows, :, None], directions[rows, :, None]         # (N, K, 1)
        return label == digit, (sector == direction) | (sector < 0) | (label < 0)

    if directions is None:
        return {"digit": all_matched(labels[..., None] == digit)}
    ring = torch.randperm(len(labels), generator=generator("nearest neighbours", len(labels)))
    other = torch.empty_like(ring).index_put_((ring,), ring.roll(1))
    (a, b), (c, d) = right(torch.arange(len(labels))), right(other)
    return {"digit": all_matched(a), "direction": all_matched(b), "joint": all_matched(a & b),
            "shuffled": all_matched(c & d)}


def prompt_rates(m: Measurements, labels: Tensor,
                 directions: Tensor | None = None) -> dict[str, float]:
    """The shares of clips that pass each test of `prompt_hits`."""
    return {k: float(v.float().mean()) for k, v in prompt_hits(m, labels, directions).items()}


# The effects of guidance

@torch.no_grad()
@none_means_default
def guidance_metrics(clips: Tensor, labels: Tensor, sprite: int = 14) -> dict[str, Tensor]:
    """Four numbers per clip that change with the guidance scale.

    clips: (N, T, C, S, S) in [0, 1]; labels: (N,), the prompted digits. adherence: 1 if most of the
    clip shows the prompted digit. diversity: the mean distance of the clip's features (averaged
    over time) to those of the other clips with the same label, NaN if there are none. saturation:
    the share of the ink above .99. contrast: the standard deviation of the pixels.
    """
    x, labels = clips.cpu().float().mean(2, keepdim=True), labels.cpu()
    found = frame_features(x, sprite)
    digit = found.probabilities[:, :, 0, :JUNK_CLASS].mean(1).argmax(-1)
    features = found.features[:, :, 0].mean(1)
    alike = labels[:, None] == labels
    alike &= ~torch.eye(len(labels), dtype=torch.bool)
    x = x.flatten(1)
    return {"adherence": (digit == labels).float(),
            "diversity": (torch.cdist(features, features) * alike).sum(1) / alike.sum(1),
            "saturation": (x > 0.99).sum(1) / (x > 0.1).sum(1).clamp(min=1),
            "contrast": x.std(1)}


# The distance of single frames

def mean_and_cov(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) and covariance (D, D) of points (N, D), in float64."""
    return x.double().mean(0), x.double().T.cov()


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussians (m, C) (Heusel 2017 eq. 6)."""
    values, vectors = torch.linalg.eigh(a[1])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b[1] @ root).clamp(min=0).sqrt().sum()
    return max(0., float((a[0] - b[0]).square().sum() + a[1].trace() + b[1].trace() - 2 * cross))
