"""The scoreboard: a row of metrics for a set of generated clips, relative to real clips.

SCORE is the geometric mean of these parts, each from 0 to 1, where 1 is what real clips reach:
ID      identity: share of frames in which the digit classifier is sure of the clip's own digit and
        little ink lies elsewhere;
PHY     physics: smooth x bounce x motion of the ink's centre, which are straight motion,
        reflections at the walls, and the right speeds;
FIT     fidelity: Fréchet distance on local features, on a log scale: 0 = uniform noise, 1 = as many
        other real clips;
COVER   coverage: share of real clips with a near clip of the same digit (without the digit, missing
        digits would not show);
PROMPT  share of clips that follow their prompt, if labels are given: the digits, and with
        directions also the digits' first directions.

Each digit of a clip gives a track (see `segmentation`); all parts but PROMPT are computed from
tracks. Touching inks cannot be separated: such frames count as not sure in ID and are left out of
PHY, for real clips as well. "tracked" is the share of frames that remain, "real_tracked" the share
for real clips.

Each part alone can be passed by some baseline without a model; seven such baselines score at most
.25 (`baselines`). The distance is printed as fvd_local: it is not comparable with published FVD.
Papers: FID (Heusel 2017), FVD (Unterthiner 2018), coverage (Naeem 2020), half samples
(Shao & Wu 1989).
"""
from math import log, prod
from pathlib import Path

import torch
from torch import Tensor

from minidiff.evaluation.metrics import (
    GROUP_WEIGHTS,
    Measurements,
    Projected,
    RealStatistics,
    checked_clips,
    distribution_metrics,
    frechet_distance,
    mean_and_cov,
    measure,
    prompt_hits,
    prompt_rates,
    real_statistics,
    tracking_rates,
)
from minidiff.evaluation.references import Reference, digits_text, memorisation_rate, reference_for
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.evaluation.tracking import physics_metrics
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default

NUM_HALVES, MEMORISATION_LIMIT, MAX_SHORTFALL = 16, 0.25, 0.3


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
    row["interval"] has the 95 % limits of `score_with_intervals`. A row with memo > .25 has SCORE
    None: its clips are copies. Raises ValueError for clips of another shape, type, range or number,
    for clips that cannot be judged, for labels that do not fit, and for an unknown reference.
    """
    n, T, size, _ = checked_clips(clips).shape
    labels, directions = checked_labels(labels, directions, n)
    ref = reference
    if not isinstance(ref, Reference):
        ref = reference_for(reference, size, T, sprite, num_digits or labelled_digits(labels))
    metadata = ref.metadata
    if (metadata["frames"], metadata["size"]) != (T, size) or n > metadata["n"]:
        raise ValueError(
            f"This reference judges at most {metadata['n']} clips of {metadata['frames']} frames "
            f"of {metadata['size']} px, got {n} of {T} frames of {size} px.")
    m, hits = measure(clips, metadata["sprite"], digit_counts(labels, ref, n)), {}
    if labels is not None:
        ref, hits = match_label_mix(ref, labels[labels >= 0]), prompt_hits(m, labels, directions)
    real = ref.real_metrics(len(m.clip_index))
    row = score_with_intervals(m, hits, ref, real, size) | prompt_keys(hits, real)
    if held_out is not None:
        row["prompt_joint_heldout"] = joint_prompt_rate(*held_out, ref)
    row |= control_metrics(m, ref, real) | {"n": n, "seeds": list(seeds),
                                            "evaluator": metadata["evaluator"],
                                            "reference": ref.name()}
    if row["memo"] > MEMORISATION_LIMIT:
        row["SCORE"] = row["interval"]["SCORE"] = None
    return row


def control_metrics(m: Measurements, ref: Reference, real: dict) -> dict[str, float]:
    """The numbers of a row beside SCORE and its parts: distances, digit counts, copies, tracking.

    real_real: the distance between as many real clips; memo: see `memorisation_rate`.
    """
    rates = tracking_rates(m) if "tracked" in real else {}
    return rates | {f"real_{k}": real[k] for k in rates} | {
        "real_real": real["fvd_local"], "fvd_frames": frame_frechet_distance(m, ref),
        "chi_square": chi_square(m, ref), "flicker": float(m.flicker.mean()),
        "memo": memorisation_rate(m, ref)}


def checked_labels(labels: Tensor | None, directions: Tensor | None,
                   n: int) -> tuple[Tensor | None, Tensor | None]:
    """Labels and directions as (n, K) each. Raises ValueError that names the problem."""
    if labels is None:
        if directions is not None:
            raise ValueError("Directions to score need labels: the digits that are to move there.")
        return None, None
    labels = torch.as_tensor(labels).cpu()
    labels = labels if labels.ndim == 2 else labels.reshape(-1, 1)
    if (len(labels) != n or labels.is_floating_point() or labels.min() < -1 or labels.max() > 9
            or (labels < 0).all(1).any()):
        raise ValueError(f"Labels to score must be {n} digits from 0 to 9, one per clip, or {n} "
                         "rows of them, filled up with -1.")
    labels = labels.long()
    if directions is not None:
        directions = torch.as_tensor(directions).cpu()
        directions = directions if directions.ndim == 2 else directions.reshape(-1, 1)
        if (directions.shape != labels.shape or directions.is_floating_point()
                or directions.min() < -1 or directions.max() > 7):
            raise ValueError("Directions to score must be sectors from 0 to 7, or -1, as many as "
                             f"the labels: {tuple(labels.shape)}.")
    return labels, directions


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
    n = len(checked_clips(clips))
    labels, directions = checked_labels(labels, directions, n)
    if directions is None:
        raise ValueError("Held-out prompts must be clips with labels and directions.")
    m = measure(clips, ref.metadata["sprite"], digit_counts(labels, ref, n))
    return prompt_rates(m, labels, directions)["joint"]


def match_label_mix(ref: Reference, labels: Tensor) -> Reference:
    """The reference's tracks with digits in the same proportions as the labels (N,).

    Raises ValueError if they are fewer than the labels. A single digit has about 190 tracks. If the
    labels name all ten digits, 30 % fewer are enough: digits in turn leave 1,500 to 1,800 of 2,000.
    """
    ref = ref.with_labels(labels)
    have, kinds = len(ref.predicted), len(labels.unique())
    if have < len(labels) * (1 - MAX_SHORTFALL if kinds == 10 else 1):
        raise ValueError(f"The reference holds only {have} real clips of these digits in these "
                         "proportions; score at most so many.")
    return ref


def chi_square(m: Measurements, ref: Reference) -> float:
    """The chi-square statistic of the digit counts against the reference; about 9 if they agree."""
    shares = torch.bincount(ref.labels.flatten(), minlength=10) / ref.labels.numel()
    expected = shares * len(m.clip_index)
    found = torch.bincount(m.digit[m.digit >= 0], minlength=10)
    return float(((found - expected) ** 2 / expected.clamp(min=0.5)).sum())


def frame_frechet_distance(m: Measurements, ref: Reference) -> float:
    """The Fréchet distance of single frames' features, in fvd_local's units; it ignores time."""
    mean, cov = ref.frame_mean_cov[0].double(), ref.frame_mean_cov[1:].double()
    distance = frechet_distance((mean, cov), mean_and_cov(m.features.flatten(0, 1)))
    return distance * GROUP_WEIGHTS[0] ** 2 / float(cov.trace())


def score_with_intervals(m: Measurements, hits: dict[str, Tensor], ref: Reference, real: dict,
                         size: int) -> dict:
    """SCORE and its parts of all clips, with 95 % intervals from random halves of the clips.

    Each half is compared with as many real clips. Halves drawn without replacement vary as the
    whole set does about the truth (Shao & Wu 1989); the repeats of a bootstrap would bias the
    distance.
    """
    n, tracks = int(m.clip_index[-1]) + 1, len(m.clip_index)
    stats, half_stats = (real_statistics(ref.embeddings[0], ref.labels[0], k)
                         for k in (tracks, tracks // 2))
    projected, real_half = stats.project(m.embeddings(), m.digit), ref.real_metrics(tracks // 2)
    row, halves = score_parts(m, projected, stats, real, hits, size), []
    for i in range(NUM_HALVES):
        clips = torch.randperm(n, generator=generator("halves", n, i))[:n // 2]
        r = (clips[:, None] == m.clip_index).nonzero()[:, 1]                     # their tracks
        half_hits = {k: v[clips] for k, v in hits.items()}
        halves.append(score_parts(m.select(r), projected.select(r, len(half_stats.embeddings)),
                                  half_stats, real_half, half_hits, size))
    interval = {k: confidence_interval(row[k], [h[k] for h in halves])
                for k in HEADLINE_METRICS if k in row}
    return row | {"interval": interval}


def score_parts(m: Measurements, projected: Projected, real_stats: RealStatistics, real: dict,
                hits: dict[str, Tensor], size: int) -> dict[str, float]:
    """SCORE, its parts relative to real clips, and the metrics from which they are computed."""
    row = physics_metrics(m.motion, size) | distribution_metrics(projected, real_stats)
    row["motion"] = min(1., row["motion"] / real["motion"])
    identity = float(m.confident.mean()) / real["ID"]
    physics = row["smooth"] * row["bounce"] * row["motion"] / (real["smooth"] * real["bounce"])
    fidelity = (log(real["noise"] / max(row["fvd_local"], 1e-9))
                / log(real["noise"] / real["fvd_local"]))
    coverage = row["coverage"] / real["coverage"]
    parts = {"ID": identity, "PHY": physics, "FIT": fidelity, "COVER": coverage}
    if hits:
        kind, most = "digit", real["PROMPT"]
        if "joint" in hits:               # a single digit's direction is read in all real clips
            kind, most = "joint", real.get("prompt_joint_seen", most)
        parts["PROMPT"] = float(hits[kind].float().mean()) / most
    parts = {k: min(1., max(0., v)) for k, v in parts.items()}
    return {"SCORE": prod(parts.values()) ** (1 / len(parts))} | parts | row


def confidence_interval(value: float, halves: list[float]) -> list[float]:
    """95 % limits around a value, from its values on random halves."""
    return limits(value, 1.96 * float(torch.tensor(halves).std()))


def limits(value: float, reach: float) -> list[float]:
    """[value - reach, value + reach], inside [0, 1]."""
    return [max(0., value - reach), min(1., value + reach)]


def combine_rows(rows: list[dict]) -> dict:
    """The rows of several sampling seeds as one: means of all numbers, seeds and n together.

    Half an interval is the larger of two values: from the rows' own intervals, and from the spread
    of the rows. If one row has no SCORE (copies), the result has none. Raises ValueError for no
    rows, or rows of different digit classifiers, references or parts.
    """
    if not rows or len({(r["evaluator"], r["reference"], tuple(sorted(r))) for r in rows}) != 1:
        raise ValueError("Rows to combine must be one or more, "
                         "with one digit classifier, one reference and the same parts.")
    out = dict(rows[0])
    numbers = [key for key, v in out.items() if isinstance(v, float) or key == "SCORE"]
    out |= {key: mean_or_none([r[key] for r in rows]) for key in numbers}
    interval = {key: None if out[key] is None else combined_interval(rows, key)
                for key in rows[0]["interval"]}
    return out | {"n": sum(r["n"] for r in rows), "seeds": [s for r in rows for s in r["seeds"]],
                  "interval": interval}


def combined_interval(rows: list[dict], key: str) -> list[float]:
    """95 % limits around the mean of the rows' values of a headline metric."""
    values, k = torch.tensor([r[key] for r in rows]), len(rows)
    halves = [(r["interval"][key][1] - r["interval"][key][0]) / 2 for r in rows]
    own = sum(half**2 for half in halves) ** 0.5 / k
    spread = 1.96 * float(values.std()) / k**0.5 if k > 1 else 0.
    return limits(sum(r[key] for r in rows) / k, max(own, spread))


def mean_or_none(values: list[float | None]) -> float | None:
    """The mean, or None if any value is None."""
    return None if None in values else sum(values) / len(values)
