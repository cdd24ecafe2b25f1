"""The ruler: a row of figures for a set of generated clips, each beside what real clips reach.

SCORE is the geometric mean of these parts, each from 0 to 1, where 1 is what real clips reach:
ID      share of frames in which the recogniser is sure of the clip's own digit, with little ink
        elsewhere;
PHY     smooth x bounce x motion of the ink's centre: straight flight, turns at the walls, the
        right speeds;
FIT     Fréchet distance on local features, on a log scale: 0 = uniform noise, 1 = as many other
        real clips;
COVER   share of real clips near which one shows the same digit (any digit at all would not tell
        that some are missing);
PROMPT  share of clips that show what was asked for, where labels are given: the digits, and with
        directions the digits and their first headings.

Clips of several digits give a track each (see `segmentation`); all parts but PROMPT are of tracks. Where
inks touch nobody can tell them apart: such frames count as not sure in ID and not at all in PHY,
in real clips just the same. "tracked" says how many frames are left, "real_tracked" how many real
clips leave.

No part is safe alone; no trivial answer passes them all. The distance is printed as fvd_local: it
is not comparable with published FVD.
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
from minidiff.evaluation.tracking import physics_metrics
from minidiff.runtime.seeds import generator

NUM_HALVES, MEMORISATION_LIMIT, MAX_SHORTFALL = 16, 0.25, 0.3
HEADLINE_METRICS = ("SCORE", "ID", "PHY", "FIT", "COVER", "PROMPT")


def score(clips: Tensor, labels: Tensor | None = None, directions: Tensor | None = None, *,
          held_out: tuple[Tensor, Tensor, Tensor] | None = None,
          reference: Reference | str | Path = "builtin", sprite: int | None = None,
          num_digits: int | tuple[int, int] | None = None, seeds: tuple[int, ...] = ()) -> dict:
    """One row of the scoreboard for clips (N, T, C, S, S) in [0, 1]: plain numbers, fit for JSON.

    labels: the digits asked for, (N,) or (N, K), -1 where a clip is to have fewer than others; the
    row then has PROMPT, and the real clips are taken with digits in the same proportions. Those
    must be at least as many as the clips: up to about 190 for one digit asked. Where all ten are
    asked, 30 % fewer will do, since digits in turn leave 1,500 to 1,800 of a reference's 2,000.
    directions: the first headings asked for, shaped as the labels, indices of `prompts.DIRECTIONS`, -1
    where one was left open. PROMPT is then that all digits and headings of a clip are right, in any
    order; prompt_joint_shuffled is the same by the captions of other clips.
    held_out: clips, labels and directions of pairs that training never showed, for
    prompt_joint_heldout alone.
    reference: "builtin", "mnist", a folder with MNIST's files, or a `Reference`: the digits that
    the generator was trained on. Shipped are one digit in 8 frames of 32 px, and two of MNIST's of
    20 px (sprite) in 16 frames of 64 px; any other setting is computed once.
    number: digits in a clip, or the least and the most; what the labels say, or 1, unless given. A
    digit that a clip lacks has ID 0.
    seeds: the sampling seeds, to be noted in the row.
    row["interval"] has 95 % limits of the headlines, from the spread over random halves of the
    clips, each compared with as many real ones. Halves drawn without replacement spread as the
    whole does about the truth; a bootstrap's repeats would bias the distance. A copier,
    row["memo"] > .25, has SCORE None. Raises ValueError for clips of another shape, type, range or
    number, for prompts that do not fit them or leave too few real clips, and for an unknown
    reference.
    """
    n, T, size, _ = checked_clips(clips).shape
    labels, directions = checked_labels(labels, directions, n)
    ref = reference
    if not isinstance(ref, Reference):
        ref = reference_for(reference, size, T, sprite, num_digits or labelled_digits(labels))
    about = ref.metadata
    if (about["frames"], about["size"]) != (T, size) or n > about["n"]:
        raise ValueError(
            f"This reference judges at most {about['n']} clips of {about['frames']} frames of "
            f"{about['size']} px, got {n} of {T} frames of {size} px.")
    m, hits = measure(clips, about["sprite"], digit_counts(labels, ref, n)), {}
    if labels is not None:
        ref, hits = match_label_mix(ref, labels[labels >= 0]), prompt_hits(m, labels, directions)
    real = ref.real_metrics(len(m.clip_index))
    row = score_with_intervals(m, hits, ref, real, size) | prompt_keys(hits, real)
    if held_out is not None:
        row["prompt_joint_heldout"] = joint_prompt_rate(*held_out, ref)
    if "tracked" in real:
        row |= tracking_rates(m) | {f"real_{k}": real[k] for k in tracking_rates(m)}
    row |= {"real_real": real["fvd_local"], "fvd_frames": frame_frechet_distance(m, ref),
            "chi_square": chi_square(m, ref), "flicker": float(m.flicker.mean()),
            "memo": memorisation_rate(m, ref), "n": n, "seeds": list(seeds), "evaluator": about["evaluator"],
            "reference": ref.name()}
    if row["memo"] > MEMORISATION_LIMIT:
        row["SCORE"] = row["interval"]["SCORE"] = None
    return row


def checked_labels(labels: Tensor | None, directions: Tensor | None,
          n: int) -> tuple[Tensor | None, Tensor | None]:
    """Labels and directions as (n, K) each, or a ValueError that says what is wrong with them."""
    if labels is None:
        if directions is not None:
            raise ValueError("Directions to score need labels: the digits that are to move there.")
        return None, None
    labels = torch.as_tensor(labels).cpu()
    labels = labels if labels.ndim == 2 else labels.reshape(-1, 1)
    if (len(labels) != n or labels.is_floating_point() or labels.min() < -1 or labels.max() > 9
            or (labels < 0).all(1).any()):
        raise ValueError(f"Labels to score must be {n} digits from 0 to 9, one a clip, or {n} rows "
                         "of them, filled up with -1.")
    if directions is not None:
        directions = torch.as_tensor(directions).cpu()
        directions = directions if directions.ndim == 2 else directions.reshape(-1, 1)
        if (directions.shape != labels.shape or directions.is_floating_point()
                or directions.min() < -1 or directions.max() > 7):
            raise ValueError("Directions to score must be sectors from 0 to 7, or -1, as many as "
                             f"the labels: {tuple(labels.shape)}.")
    return labels, directions


def labelled_digits(labels: Tensor | None) -> int | tuple[int, int]:
    """The number of digits that a reference should have for these labels (N, K)."""
    if labels is None:
        return 1
    least, most = (labels >= 0).sum(1).aminmax()
    return int(most) if least == most else (int(least), int(most))


def digit_counts(labels: Tensor | None, ref: Reference, n: int) -> Tensor:
    """How many digits each clip is to show, (n,). Raises ValueError unless the reference fits."""
    number = ref.digits_per_clip()
    least, most = (number, number) if isinstance(number, int) else number
    if labels is None:
        if least != most:
            raise ValueError(f"This reference has {least} to {most} digits in a clip; "
                             "labels must say how many each clip was to show.")
        return torch.full((n,), most)
    counts = (labels >= 0).sum(1)
    if counts.min() < least or counts.max() > most:
        raise ValueError(f"This reference has clips of {digits_text(number)} digits; the labels ask for "
                         f"{digits_text(labelled_digits(labels))}.")
    return counts


def prompt_keys(hits: dict[str, Tensor], real: dict) -> dict[str, float]:
    """The keys of prompts with directions, each beside what real clips reach if that is known."""
    if "joint" not in hits:
        return {}
    names = {"digit": "digit_seen", "direction": "direction_seen", "joint": "joint_seen",
             "shuffled": "joint_shuffled"}
    row = {f"prompt_{v}": float(hits[k].float().mean()) for k, v in names.items()}
    return row | {f"real_{k}": real[k] for k in (*row, "prompt_joint_heldout") if k in real}


def joint_prompt_rate(clips: Tensor, labels: Tensor, directions: Tensor, ref: Reference) -> float:
    """The share of clips that show all digits and headings asked for. Raises as `score`."""
    n = len(checked_clips(clips))
    labels, directions = checked_labels(labels, directions, n)
    if directions is None:
        raise ValueError("Held-out prompts must be clips with labels and directions.")
    m = measure(clips, ref.metadata["sprite"], digit_counts(labels, ref, n))
    return prompt_rates(m, labels, directions)["joint"]


def match_label_mix(ref: Reference, labels: Tensor) -> Reference:
    """The reference's tracks that show digits as the labels (N,) do.

    Raises ValueError where they are fewer than the labels; where all ten digits are asked, 30 %
    fewer.
    """
    ref = ref.with_labels(labels)
    have, kinds = len(ref.predicted), len(labels.unique())
    if have < len(labels) * (1 - MAX_SHORTFALL if kinds == 10 else 1):
        raise ValueError(f"The reference holds only {have} real clips of these digits in these "
                         "proportions; score at most so many.")
    return ref


def chi_square(m: Measurements, ref: Reference) -> float:
    """How far the digits shown are from the reference's in number; 9 or so where they agree."""
    usual = torch.bincount(ref.labels.flatten(), minlength=10) / ref.labels.numel() * len(m.clip_index)
    seen = torch.bincount(m.digit[m.digit >= 0], minlength=10)
    return float(((seen - usual) ** 2 / usual.clamp(min=0.5)).sum())


def frame_frechet_distance(m: Measurements, ref: Reference) -> float:
    """Fréchet's distance of single frames' looks, in fvd_local's units; it cannot see time."""
    mean, cov = ref.frame_mean_cov[0].double(), ref.frame_mean_cov[1:].double()
    distance = frechet_distance((mean, cov), mean_and_cov(m.features.flatten(0, 1)))
    return distance * GROUP_WEIGHTS[0] ** 2 / float(cov.trace())


def score_with_intervals(m: Measurements, hits: dict[str, Tensor], ref: Reference, real: dict,
                     size: int) -> dict:
    """The parts of all clips, with intervals from random halves of them."""
    n, tracks = int(m.clip_index[-1]) + 1, len(m.clip_index)
    y, y_half = (real_statistics(ref.embeddings[0], ref.labels[0], k) for k in (tracks, tracks // 2))
    put, real_half = y.project(m.embeddings(), m.digit), ref.real_metrics(tracks // 2)
    row, found = score_parts(m, put, y, real, hits, size), []
    for i in range(NUM_HALVES):
        clips = torch.randperm(n, generator=generator("halves", n, i))[:n // 2]
        r = (clips[:, None] == m.clip_index).nonzero()[:, 1]                           # their tracks
        found.append(score_parts(m.select(r), put.select(r, len(y_half.embeddings)), y_half, real_half,
                            {k: v[clips] for k, v in hits.items()}, size))
    interval = {k: confidence_interval(row[k], [f[k] for f in found]) for k in HEADLINE_METRICS if k in row}
    return row | {"interval": interval}


def score_parts(m: Measurements, projected: Projected, real_stats: RealStatistics, real: dict, hits: dict[str, Tensor],
           size: int) -> dict[str, float]:
    """SCORE, its parts, each divided by what real clips reach, and what they are made of."""
    row = physics_metrics(m.motion, size) | distribution_metrics(projected, real_stats)
    row["motion"] = min(1., row["motion"] / real["motion"])
    parts = {"ID": float(m.confident.mean()) / real["ID"],
             "PHY": (row["smooth"] * row["bounce"] * row["motion"]
                     / (real["smooth"] * real["bounce"])),
             "FIT": (log(real["noise"] / max(row["fvd_local"], 1e-9))
                     / log(real["noise"] / real["fvd_local"])),
             "COVER": row["coverage"] / real["coverage"]}
    if hits:
        kind, most = "digit", real["PROMPT"]
        if "joint" in hits:                      # one digit's heading is read in all real clips
            kind, most = "joint", real.get("prompt_joint_seen", most)
        parts["PROMPT"] = float(hits[kind].float().mean()) / most
    parts = {k: min(1., max(0., v)) for k, v in parts.items()}
    return {"SCORE": prod(parts.values()) ** (1 / len(parts))} | parts | row


def confidence_interval(value: float, halves: list[float]) -> list[float]:
    """95 % limits about a value, from its values on random halves."""
    reach = 1.96 * float(torch.tensor(halves).std())
    return [max(0., value - reach), min(1., value + reach)]


def combine_rows(rows: list[dict]) -> dict:
    """The rows of several sampling seeds as one: means of all numbers, seeds and n together.

    Half an interval is the larger of what the rows' own intervals give and what their spread gives.
    One copier among them leaves no SCORE. Raises ValueError for no rows, or rows that different
    recognisers or references judged.
    """
    if not rows or len({(r["evaluator"], r["reference"], tuple(sorted(r))) for r in rows}) != 1:
        raise ValueError("Rows to combine must be one or more, "
                         "with one recogniser, one reference and the same parts.")
    out, k = dict(rows[0]), len(rows)
    numbers = [key for key, v in out.items() if isinstance(v, float) or key == "SCORE"]
    out |= {key: mean_or_none(r[key] for r in rows) for key in numbers}
    out |= {"n": sum(r["n"] for r in rows), "seeds": [s for r in rows for s in r["seeds"]],
            "interval": {}}
    for key in rows[0]["interval"]:
        if out[key] is None:
            out["interval"][key] = None
            continue
        halves = [(r["interval"][key][1] - r["interval"][key][0]) / 2 for r in rows]
        own = sum(half**2 for half in halves) ** 0.5 / k
        spread = 1.96 * float(torch.tensor([r[key] for r in rows]).std()) / k**0.5 if k > 1 else 0.
        reach = max(own, spread)
        out["interval"][key] = [max(0., out[key] - reach), min(1., out[key] + reach)]
    return out


def mean_or_none(values) -> float | None:
    values = list(values)
    return None if None in values else sum(values) / len(values)
