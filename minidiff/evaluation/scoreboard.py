"""The scoreboard, second edition: a row of metrics for a set of generated clips.

Every part is a number from 0 to 1, and 1 is what real clips of other digits reach. The film of each
digit gets a mark, the product of
ID      its frames surely show one digit, and no dirt,
LOOKS   its picture stays the same picture,
PHY     it flies straight and is reflected at the walls,
NEW     it is no copy of a training digit, and
PROMPT  it does what was asked, if labels are given.
CLIPS   is the mean mark. Two parts look at the whole set:
FIT     its distribution is that of real clips (a kernel distance; each film counts by its mark),
COVER   it has all classes, and as many different looks within each, and paths, as real clips.
SCORE = min(CLIPS, FIT, COVER): a set is as good as its worst side, so that no strength makes up for
good clips that are all alike, or for many kinds of bad ones.

Marks and not rates are multiplied: of a set in which every fifth clip is noise, four fifths are
left, whatever noise does to each part. What the parts charge, and what they cannot see, is in
`baselines` with an example of each.

Each digit of a clip gives a film (see `segmentation`). Where inks touch, frames are judged by their
union; "tracked" is the share of frames in which the digits can be told apart.
"""
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.evaluation.distribution import (
    BLOCK,
    CLASS_BLOCK,
    LOOKS_SHARE,
    PATH_SHARE,
    Points,
    class_coverage,
    kernel_distance,
    real_neighbourhoods,
    same_path,
    same_picture,
    spread,
    without_twin,
)
from minidiff.evaluation.marks import LEAST_CONTACTS, film_marks, wall_mark
from minidiff.evaluation.metrics import (
    Measurements,
    checked_clips,
    frechet_distance,
    mean_and_cov,
    measure,
    prompt_hits,
    prompt_rates,
    tracking_rates,
)
from minidiff.evaluation.references import Films, Reference, digits_text, reference_for
from minidiff.evaluation.rows import EDITION, HEADLINE_METRICS
from minidiff.evaluation.tracking import physics_metrics
from minidiff.runtime.checks import check, either, list_of, whole
from minidiff.runtime.seeds import MAX_SEED, generator
from minidiff.runtime.settings import none_means_default

WORST_OF = "CLIPS", "FIT", "COVER"
NUM_GROUPS = 16            # of clips, left out in turn for the intervals
MIN_TRACKS = 100           # of a reference, left after `match_label_mix`
DISTANCE_UNIT = 0.1        # the squared kernel distance at which FIT is 1/e
SLACK = 0.9                # this share of what real clips cover is enough for COVER = 1
REAL_PICTURES = 0.8        # of real films have no twin of their picture: 1,000 images, some alike
T_QUANTILE = 2.131         # of Student's t with 15 degrees of freedom, for 95 %


@none_means_default
def score(clips: Tensor, labels: Tensor | None = None, directions: Tensor | None = None, *,
          held_out: tuple[Tensor, Tensor, Tensor] | None = None,
          reference: Reference | str | Path = "builtin", sprite: int | None = None,
          num_digits: int | tuple[int, int] | None = None, seeds: tuple[int, ...] = ()) -> dict:
    """One row of the scoreboard for clips (N, T, C, S, S) in [0, 1]: plain numbers, fit for JSON.

    labels: the prompted digits, (N,) or (N, K), -1 if a clip has fewer than others; they add PROMPT
    (see `match_label_mix`). directions: the first directions, shaped as the labels, indices of
    `prompts.DIRECTIONS`, -1 if the prompt names none; PROMPT then counts clips whose digits and
    directions are all right, in any order.
    held_out: clips, labels and directions of pairs that training never showed, for
    prompt_joint_heldout.
    reference: the training digits of the generator, "builtin", "mnist" or a folder with MNIST's
    files; or a `Reference`. Shipped are one digit in 8 frames of 32 px, and two MNIST digits of
    20 px (sprite) in 16 frames of 64 px; another setting is built once, in a minute or two.
    num_digits: digits in a clip, or the least and the most; unless given as the labels, or 1.
    seeds: the sampling seeds, noted in the row.
    row["interval"] has 95 % limits. Raises ValueError for clips of another shape, type, range or
    number, for clips that cannot be judged, for labels that do not fit, and for an unknown
    reference.
    """
    n, T, size, _ = checked_clips(clips).shape
    labels, directions = checked_labels(labels, directions, n)
    check_settings(held_out, reference, num_digits, seeds)
    ref = reference
    if not isinstance(ref, Reference):
        ref = reference_for(reference, size, T, sprite, num_digits or labelled_digits(labels))
    metadata = ref.metadata
    check_fits(ref, T, size)
    m, hits = measure(clips, metadata["sprite"], digit_counts(labels, ref, n)), {}
    if labels is not None:
        ref, hits = match_label_mix(ref, labels[labels >= 0]), prompt_hits(m, labels, directions)
    real = metadata["real"]
    e = entry(m, hits, ref)
    row = with_intervals(part_estimates(e, ref), n) | prompt_keys(hits, real)
    if held_out is not None:
        row["prompt_joint_heldout"] = joint_prompt_rate(*held_out, ref)
    row |= control_metrics(m, ref, size) | {"memo": float(e.films.copied.mean())}
    return row | {
        "n": n, "seeds": list(seeds), "evaluator": metadata["evaluator"], "edition": EDITION,
        "reference": ref.name()}


def check_fits(ref: Reference, frames: int, size: int) -> None:
    """Raises ValueError unless a reference judges clips of this length and size."""
    its = ref.metadata["frames"], ref.metadata["size"]
    if its != (frames, size):
        raise ValueError(f"This reference judges clips of {its[0]} frames of {its[1]} px, "
                         f"got {frames} frames of {size} px.")


def check_settings(held_out, reference, num_digits, seeds) -> None:
    """Raises ValueError for settings of `score` that are not of the right kind."""
    count = whole(1, 1000)
    if num_digits is not None:
        check("num_digits", num_digits, either(count, list_of(count, 2, 2)))
    check("seeds", seeds, list_of(whole(0, MAX_SEED), 0, 10_000))
    if not isinstance(reference, Reference | str | Path):
        raise ValueError("reference must be builtin, mnist, a folder with MNIST's files, or a "
                         f"Reference, got {reference!r}.")
    if held_out is not None and (not isinstance(held_out, tuple | list) or len(held_out) != 3):
        raise ValueError("held_out must be three things: clips, their labels and directions.")


def control_metrics(m: Measurements, ref: Reference, size: int) -> dict[str, float]:
    """The numbers of a row beside SCORE and its parts: motion, digit counts, tracking."""
    real = ref.metadata["real"]
    rates = tracking_rates(m) if ref.digits_per_clip() != 1 else {}
    return rates | {f"real_{k}": real[k] for k in rates} | physics_metrics(m.motion, size) | {
        "fvd_frames": frame_frechet_distance(m, ref), "chi_square": chi_square(m, ref),
        "flicker": float(m.flicker.mean())}


def checked_labels(labels: Tensor | None, directions: Tensor | None,
                   n: int) -> tuple[Tensor | None, Tensor | None]:
    """Labels and directions as (n, K) each. Raises ValueError that names the problem."""
    if labels is None:
        if directions is not None:
            raise ValueError("Directions to score need labels: the digits that are to move there.")
        return None, None
    labels = whole_numbers(labels)
    if labels is None or len(labels) != n or not labels.shape[1] or (
            labels.min() < -1 or labels.max() > 9 or (labels < 0).all(1).any()):
        raise ValueError(f"Labels to score must be {n} digits from 0 to 9, one per clip, or {n} "
                         "rows of them, filled up with -1.")
    if directions is not None:
        directions = whole_numbers(directions)
        if directions is None or directions.shape != labels.shape or (
                directions.min() < -1 or directions.max() > 7):
            raise ValueError("Directions to score must be sectors from 0 to 7, or -1, as many as "
                             f"the labels: {tuple(labels.shape)}.")
    return labels, directions


def whole_numbers(values) -> Tensor | None:
    """Values as int64, (n, K); None if they are no list, or two-fold list, of whole numbers."""
    try:
        values = torch.as_tensor(values).cpu()
    except (TypeError, ValueError, RuntimeError):
        return None
    if values.ndim not in (1, 2) or values.dtype == torch.bool or (
            values.is_floating_point() or values.is_complex()):
        return None
    return values.long() if values.ndim == 2 else values.long()[:, None]


def labelled_digits(labels: Tensor | None) -> int | tuple[int, int]:
    """The number of digits per clip, or the least and the most, of labels (N, K)."""
    if labels is None:
        return 1
    least, most = (labels >= 0).sum(1).aminmax()
    return int(most) if least == most else (int(least), int(most))


def digit_counts(labels: Tensor | None, ref: Reference, n: int) -> Tensor:
    """The number of digits that each clip must show, (n,). ValueError unless the reference fits."""
    number = ref.digits_per_clip()
    least, most = (number, number) if isinstance(number, int) else number
    if labels is None:
        if least != most:
            raise ValueError(f"This reference has {least} to {most} digits in a clip; "
                             "labels must say how many each clip must show.")
        return torch.full((n,), most)
    counts = (labels >= 0).sum(1)
    if counts.min() < least or counts.max() > most:
        raise ValueError(f"This reference has clips of {digits_text(number)} digits; "
                         f"the labels ask for {digits_text(labelled_digits(labels))}.")
    return counts


def prompt_keys(hits: dict[str, Tensor], real: dict) -> dict[str, float]:
    """The keys of prompts with directions, each with the value of real clips if it is known."""
    if "joint" not in hits:
        return {}
    names = {"digit": "digit_seen", "direction": "direction_seen", "joint": "joint_seen",
             "shuffled": "joint_shuffled"}
    row = {f"prompt_{v}": float(hits[k].float().mean()) for k, v in names.items()}
    return row | {f"real_{k}": real[k] for k in (*row, "prompt_joint_heldout") if k in real}


def joint_prompt_rate(clips: Tensor, labels: Tensor, directions: Tensor, ref: Reference) -> float:
    """The share of clips that show all prompted digits and directions. Raises as `score`."""
    n, T, size, _ = checked_clips(clips).shape
    check_fits(ref, T, size)
    labels, directions = checked_labels(labels, directions, n)
    if directions is None:
        raise ValueError("Held-out prompts must be clips with labels and directions.")
    m = measure(clips, ref.metadata["sprite"], digit_counts(labels, ref, n))
    return prompt_rates(m, labels, directions)["joint"]


def match_label_mix(ref: Reference, labels: Tensor) -> Reference:
    """The reference's tracks with digits in the same proportions as the labels (N,).

    Raises ValueError if hardly any are left.
    """
    ref = ref.with_labels(labels)
    if len(ref.predicted) < MIN_TRACKS:
        raise ValueError(f"The reference holds only {len(ref.predicted)} real clips of these "
                         "digits in these proportions; score digits that are more evenly mixed.")
    return ref


def chi_square(m: Measurements, ref: Reference) -> float:
    """The chi-square statistic of the digit counts against the reference; about 9 if they agree."""
    shares = torch.bincount(ref.labels.flatten(), minlength=10) / ref.labels.numel()
    expected = shares * len(m.clip_index)
    found = torch.bincount(m.digit[m.digit >= 0], minlength=10)
    return float(((found - expected) ** 2 / expected.clamp(min=0.5)).sum())


def frame_frechet_distance(m: Measurements, ref: Reference) -> float:
    """The Fréchet distance of single frames' features, which ignores time.

    In units of a quarter of the variance of real frames' features.
    """
    mean, cov = ref.frame_mean_cov[0].double(), ref.frame_mean_cov[1:].double()
    distance = frechet_distance((mean, cov), mean_and_cov(m.features.flatten(0, 1)))
    return 4 * distance / float(cov.trace())


class Entry(NamedTuple):
    """What SCORE is computed from: N films of n clips."""
    films: Films
    embeddings: Tensor          # (N, 32 + 2 T)
    pictures: Tensor            # (N, 256), mean windows
    digit: Tensor               # (N,), as read
    clip: Tensor                # (N,), the number of each film's clip
    hit: Tensor | None          # (N,), 1 if the clip does what was asked
    kind: str                   # the test of `prompt_hits` that was passed: "digit" or "joint"

    def select(self, clips: Tensor) -> "Entry":
        """Some of the clips (k,), by number."""
        r = (clips[:, None] == self.clip).nonzero()
        own = (x[r[:, 1]] for x in (self.embeddings, self.pictures, self.digit))
        hit = None if self.hit is None else self.hit[r[:, 1]]
        return Entry(self.films.select(r[:, 1]), *own, r[:, 0], hit, self.kind)


def entry(m: Measurements, hits: dict[str, Tensor], ref: Reference) -> Entry:
    """Measured clips and, if there were prompts, their hits."""
    kind = "joint" if "joint" in hits else "digit"
    hit = hits[kind].float()[m.clip_index] if hits else None
    return Entry(ref.measured_films(m), m.embeddings(), m.mean_window, m.digit, m.clip_index, hit,
                 kind)


def part_estimates(e: Entry, ref: Reference) -> dict[str, Tensor]:
    """SCORE and its parts, (1 + NUM_GROUPS,) each: of all clips, and without each group of them.

    Values above 1 stay as they are.
    """
    n = int(e.clip.max()) + 1
    clips = torch.ones(n, 1 + NUM_GROUPS)
    order = torch.randperm(n, generator=generator("groups of clips", n))
    for k, group in enumerate(order.tensor_split(NUM_GROUPS)):
        clips[group, 1 + k] = 0
    keep = clips[e.clip].double()                                                # (N, R)
    parts = clip_parts(e, ref, keep) | set_parts(e, ref, keep)
    return {"SCORE": torch.stack([parts[k] for k in WORST_OF]).amin(0)} | parts


def clip_parts(e: Entry, ref: Reference, keep: Tensor) -> dict[str, Tensor]:
    """The parts that are means of marks over the kept films, divided by those of real films."""
    real = ref.real_films()
    marks, real_marks = film_marks(e.films, ref), film_marks(real, ref)
    least = LEAST_CONTACTS * float(real.walls[:, 0].mean())

    def mean(mark: Tensor) -> Tensor:
        return mark.double() @ keep / keep.sum(0)

    walls = (wall_mark(e.films.walls, marks["PHY"][:, None] * keep, least)
             / wall_mark(real.walls, real_marks["PHY"][:, None], least))
    parts = {k: mean(v) / float(real_marks[k].mean()) for k, v in marks.items()}
    parts["PHY"] = parts["PHY"] * walls
    mark, most = prod(marks.values()), float(prod(real_marks.values()).mean())
    if e.hit is not None:
        ceiling = prompt_ceiling(ref, e.kind)
        mark, most, parts["PROMPT"] = mark * e.hit, most * ceiling, mean(e.hit) / ceiling
    return {"CLIPS": mean(mark) / most * walls} | parts


def prompt_ceiling(ref: Reference, kind: str) -> float:
    """The share of real clips that pass a test of `prompt_hits`: "digit" or "joint".

    A single digit's direction is read in all real clips.
    """
    real = ref.metadata["real"]
    return real.get("prompt_joint_seen", real["PROMPT"]) if kind == "joint" else real["PROMPT"]


def set_parts(e: Entry, ref: Reference, keep: Tensor) -> dict[str, Tensor]:
    """FIT and COVER of the kept films. In FIT each counts by its mark."""
    scale = spread(ref.embeddings[0])
    x = scale.points(e.embeddings, e.digit)
    first, second = (scale.points(ref.embeddings[k], digit)
                     for k, digit in ((0, ref.labels[0]), (1, ref.predicted)))
    weights, real_weights = (prod(film_marks(films, ref).values())
                             for films in (e.films, ref.real_films(0)))
    keep_weights = weights.double()[:, None] * keep
    distance = kernel_distance(x.joint(), keep_weights, first.joint(), real_weights)
    enough = keep_weights.sum(0) >= 1                          # of one good film's worth, at least
    seen = e.films.certainty.double()[:, None] * keep
    block = min(BLOCK, int(keep.sum(0).min()))
    paths, pictures = (without_twin(near, e.clip, seen, keep, block)
                       for near in (same_path(x.track), same_picture(e.pictures)))
    return {"FIT": torch.where(enough, (-distance / DISTANCE_UNIT).exp(), 0),
            "COVER": cover(x, first, second, keep, block) * paths
            * (pictures / REAL_PICTURES).clamp(max=1)}


def cover(x: Points, first: Points, second: Points, keep: Tensor, block: int) -> Tensor:
    """The coverage (R,) of looks, paths or classes, whichever is smallest.

    Looks and paths are 0 where a single image a class, or a single path, would be, and 1 at SLACK
    of what real films reach.
    """
    around = real_neighbourhoods(first)
    most = around.coverage(second, torch.ones(len(second.digit), 1), block)
    found = around.coverage(x, keep, block)
    scaled = [(value - share) / (SLACK * float(ceiling) - share) for value, ceiling, share
              in zip(found, most, (LOOKS_SHARE, PATH_SHARE), strict=True)]
    few = min(CLASS_BLOCK, block)
    classes, all_classes = (class_coverage(digit, first.digit, rows, few) for digit, rows in (
        (x.digit, keep), (second.digit, torch.ones(len(second.digit), 1))))
    return torch.stack([*scaled, classes / all_classes]).amin(0).clamp(min=0)


def with_intervals(parts: dict[str, Tensor], n: int) -> dict:
    """A row's parts, at most 1, and their 95 % limits by the jackknife (Efron 1982, eq. 3.2).

    parts: (1 + NUM_GROUPS,), a value of all n clips and values without one group each. The spread
    of the latter is that of values above 1, too. No interval is narrower than one clip more or less
    makes it.
    """
    row, interval = {}, {}
    for name in (k for k in HEADLINE_METRICS if k in parts):
        value, without = float(parts[name][0]), parts[name][1:]
        error = ((NUM_GROUPS - 1) * without.var(correction=0)).sqrt()
        row[name] = min(1., max(0., value))
        interval[name] = limits(value, max(1 / n, T_QUANTILE * float(error)))
    return row | {"interval": interval}


def limits(value: float, reach: float) -> list[float]:
    """[value - reach, value + reach], inside [0, 1]."""
    return [min(1., max(0., value - reach)), max(0., min(1., value + reach))]


def combine_rows(rows: list[dict]) -> dict:
    """The rows of several sampling seeds as one: means weighted by n, seeds and n together.

    SCORE is the smallest of the combined parts, as it would be for all clips at once. Half an
    interval is the larger of two values: from the rows' own intervals, and from the spread of the
    rows. Raises ValueError for no rows, or rows of different editions, digit classifiers,
    references or parts.
    """
    kinds = {(r.get("edition"), r["evaluator"], r["reference"], tuple(sorted(r))) for r in rows}
    if len(kinds) != 1:
        raise ValueError("Rows to combine must be one or more, of one edition of the scoreboard, "
                         "one digit classifier, one reference and the same parts.")
    n, out = sum(r["n"] for r in rows), dict(rows[0])
    out |= {key: sum(r[key] * r["n"] for r in rows) / n
            for key, v in out.items() if isinstance(v, float)}
    interval = {key: combined_interval(rows, key, out[key]) for key in rows[0]["interval"]}
    if "SCORE" in out:                                  # rows of a VAE have parts only
        worst = min(WORST_OF, key=out.get)
        out["SCORE"], interval["SCORE"] = out[worst], interval[worst]
    return out | {"n": n, "seeds": [s for r in rows for s in r["seeds"]], "interval": interval}


def combined_interval(rows: list[dict], key: str, value: float) -> list[float]:
    """95 % limits around the mean of the rows' values of a headline metric."""
    values, k = torch.tensor([r[key] for r in rows]), len(rows)
    halves = [(r["interval"][key][1] - r["interval"][key][0]) / 2 for r in rows]
    own = sum(half**2 for half in halves) ** 0.5 / k
    spread = 1.96 * float(values.std()) / k**0.5 if k > 1 else 0.
    return limits(value, max(own, spread))
