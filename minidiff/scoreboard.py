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
PROMPT  share of clips that show the digit asked for, where labels are given.

No part is safe alone; no trivial answer passes them all. The distance is printed as fvd_local: it
is not comparable with published FVD.
Papers: FID (Heusel 2017), FVD (Unterthiner 2018), coverage (Naeem 2020), half samples
(Shao & Wu 1989).
"""
from math import log, pi, prod
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.digits import Digits, load
from minidiff.measures import (
    WEIGHTS,
    Measured,
    Put,
    Yard,
    checked,
    distances,
    frechet,
    gaussian,
    measure,
    yard,
)
from minidiff.moving_mnist import bounce, choose, moving_mnist, place, shrink, usual_sprite
from minidiff.references import (
    CHECKPOINTS,
    Reference,
    build_reference,
    file_name,
    memo,
    reference_for,
    save_reference,
)
from minidiff.seeds import generator
from minidiff.tracker import physics

HALVES, COPIER, SHORT = 16, 0.25, 0.3
HEADLINES = ("SCORE", "ID", "PHY", "FIT", "COVER", "PROMPT")


def score(clips: Tensor, labels: Tensor | None = None, *,
          reference: Reference | str | Path = "builtin", sprite: int | None = None,
          seeds: tuple[int, ...] = ()) -> dict:
    """One row of the scoreboard for clips (N, T, C, S, S) in [0, 1]: plain numbers, fit for JSON.

    labels: (N,), the digits asked for; the row then has PROMPT, and the real clips are taken with
    digits in the same proportions. Those must be at least as many as the clips: up to about 190 for
    one digit asked. Where all ten are asked, 30 % fewer will do, since digits in turn leave 1,500
    to 1,800 of a reference's 2,000.
    reference: "builtin", "mnist", a folder with MNIST's files, or a `Reference`: the digits that
    the generator was trained on. It is shipped for 8 frames of 32 px, and computed once for any
    other setting.
    seeds: the sampling seeds, to be noted in the row.
    row["interval"] has 95 % limits of the headlines, from the spread over random halves of the
    clips, each compared with as many real ones. Halves drawn without replacement spread as the
    whole does about the truth; a bootstrap's repeats would bias the distance. A copier,
    row["memo"] > .25, has SCORE None. Raises ValueError for clips of another shape, type, range or
    number, for labels that do not fit them or leave too few real clips, and for an unknown
    reference.
    """
    n, T, _, size = checked(clips).shape
    ref = reference
    if not isinstance(ref, Reference):
        ref = reference_for(reference, size, T, sprite)
    about = ref.about
    if (about["frames"], about["size"]) != (T, size) or n > about["n"]:
        raise ValueError(
            f"This reference judges at most {about['n']} clips of {about['frames']} frames of "
            f"{about['size']} px, got {n} of {T} frames of {size} px.")
    if labels is not None:
        labels = torch.as_tensor(labels).cpu().flatten()
        if len(labels) != n or labels.is_floating_point() or labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"Labels to score must be {n} digits from 0 to 9, one a clip.")
        ref = cut(ref, labels)
    m = measure(clips, about["sprite"])
    real = ref.real_at(n)
    row = whole_and_halves(m, labels, ref, real, size)
    usual = torch.bincount(ref.labels.flatten(), minlength=10) / ref.labels.numel() * n
    seen = torch.bincount(m.digit, minlength=10)
    row |= {"real_real": real["fvd_local"], "fvd_frames": frame_distance(m, ref),
            "chi_square": float(((seen - usual) ** 2 / usual.clamp(min=0.5)).sum()),
            "flicker": float(m.flicker.mean()), "memo": memo(m, ref), "n": n, "seeds": list(seeds),
            "evaluator": about["evaluator"], "reference": ref.name()}
    if row["memo"] > COPIER:
        row["SCORE"] = row["interval"]["SCORE"] = None
    return row


def cut(ref: Reference, labels: Tensor) -> Reference:
    """The reference's clips that show digits as the labels do.

    Raises ValueError where they are fewer than the labels; where all ten digits are asked, 30 %
    fewer.
    """
    ref = ref.with_labels(labels)
    have, asked = len(ref.read), len(labels.unique())
    if have < len(labels) * (1 - SHORT if asked == 10 else 1):
        raise ValueError(f"The reference holds only {have} real clips of these digits in these "
                         "proportions; score at most so many.")
    return ref


def frame_distance(m: Measured, ref: Reference) -> float:
    """Fréchet's distance of single frames' looks, in fvd_local's units; it cannot see time."""
    mean, cov = ref.looks[0].double(), ref.looks[1:].double()
    distance = frechet((mean, cov), gaussian(m.looks.flatten(0, 1)))
    return distance * WEIGHTS[0] ** 2 / float(cov.trace())


def whole_and_halves(m: Measured, labels: Tensor | None, ref: Reference, real: dict,
                     size: int) -> dict:
    """The parts of all clips, with intervals from random halves."""
    n = len(m.digit)
    y, y_half = (yard(ref.points[0], ref.labels[0], k) for k in (n, n // 2))
    put, real_half = y.put(m.points(), m.digit), ref.real_at(n // 2)
    row = judged(m, put, y, real, labels, size)
    halves = [torch.randperm(n, generator=generator(n, 2, i))[:n // 2] for i in range(HALVES)]
    asked = [None if labels is None else labels[r] for r in halves]
    found = [judged(m.rows(r), put.rows(r), y_half, real_half, a, size)
             for r, a in zip(halves, asked, strict=True)]
    interval = {k: limits(row[k], [f[k] for f in found]) for k in HEADLINES if k in row}
    return row | {"interval": interval}


def judged(m: Measured, put: Put, y: Yard, real: dict, labels: Tensor | None,
           size: int) -> dict[str, float]:
    """SCORE, its parts, each divided by what real clips reach, and what they are made of."""
    row = physics(m.flight, size) | distances(put, y)
    row["motion"] = min(1., row["motion"] / real["motion"])
    parts = {"ID": float(m.sure.mean()) / real["ID"],
             "PHY": (row["smooth"] * row["bounce"] * row["motion"]
                     / (real["smooth"] * real["bounce"])),
             "FIT": (log(real["noise"] / max(row["fvd_local"], 1e-9))
                     / log(real["noise"] / real["fvd_local"])),
             "COVER": row["coverage"] / real["coverage"]}
    if labels is not None:
        parts["PROMPT"] = float((m.digit == labels).float().mean()) / real["PROMPT"]
    parts = {k: min(1., max(0., v)) for k, v in parts.items()}
    return {"SCORE": prod(parts.values()) ** (1 / len(parts))} | parts | row


def limits(value: float, halves: list[float]) -> list[float]:
    """95 % limits about a value, from its values on random halves."""
    reach = 1.96 * float(torch.tensor(halves).std())
    return [max(0., value - reach), min(1., value + reach)]


def combine(rows: list[dict]) -> dict:
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
    out |= {key: mean(r[key] for r in rows) for key in numbers}
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


def mean(values) -> float | None:
    values = list(values)
    return None if None in values else sum(values) / len(values)


# Answers that need no model

def trivial_answers(digits: Digits, n: int, seed: int = 0, size: int = 32,
                    frames: int = 8) -> dict[str, Tensor]:
    """Clips (n, T, 1, size, size) in [0, 1] by name.

    They are "real", seven that know nothing, and four that lack one thing.
    """
    g = generator(seed, 5)

    def film(**settings):
        usual = {"size": size, "frames": frames, "seed": seed, "step": 7}
        return (moving_mnist(digits, n, **usual | settings).x + 1) / 2

    one = torch.randint(10, (n,), generator=g)
    two = (one + torch.randint(1, 10, (n,), generator=g)) % 10
    x = film()
    a, b = film(pairs="all", labels=one), film(pairs="all", labels=two)  # both on the same paths
    order = torch.rand(n, frames, generator=g).argsort(1)
    rows = torch.arange(n)[:, None]
    reach = 3 * size // 64                                   # 3 x 3 pixels at size 32, 7 x 7 at 64
    return {
        "real": x,
        "static": x[rows, torch.randint(frames, (n, 1), generator=g)].expand_as(x).contiguous(),
        "first frame": x[:, :1].expand_as(x).contiguous(),
        "shuffled": x[rows, order],
        "random walk": random_walk(digits, n, size, frames, g),
        "mean video": x.mean(0).expand_as(x).contiguous(),
        "noise": torch.rand(x.shape, generator=g),
        "black": torch.zeros_like(x),
        "blurred": F.avg_pool2d(x.flatten(0, 1), 2 * reach + 1, 1, reach).view_as(x),
        "swapped": torch.cat([a[:, :frames // 2], b[:, frames // 2:]], 1),
        "half missing": film(labels=torch.randint(5, (n,), generator=g), step=8),
        "one digit": film(labels=torch.full((n,), 3), step=9)}


def random_walk(digits: Digits, n: int, size: int, frames: int, g: torch.Generator) -> Tensor:
    """Digits that step in a new direction at every frame, as far as real ones, inside the frame."""
    sprite = usual_sprite(size)
    sprites = shrink(digits.images[choose(digits.labels, None, (n,), g)], sprite)
    angle = 2 * pi * torch.rand(n, frames, generator=g)
    pace = (1 + 2 * torch.rand(n, frames, generator=g)) * size / 32
    path = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]
    path = path.cumsum(1) + torch.rand(n, 1, 2, generator=g) * (size - sprite)
    corners, _ = bounce(path, torch.zeros_like(path), 1, size - sprite)  # (n, 1, T, 2), folded back
    return place(sprites[:, None], corners[:, 0, :, None], size)[:, :, 0]


def table(source: str | Path = "builtin", n: int = 512, seed: int = 0,
          reference: Reference | None = None) -> dict[str, dict]:
    """The rows of all `trivial_answers`, and of "copies": clips of ten training digits."""
    ref = reference or reference_for(source, 32, 8)
    size, frames = ref.about["size"], ref.about["frames"]
    answers = trivial_answers(load(source, "test"), n, seed, size, frames)
    ten = load(source, "train")
    ten = Digits(ten.images[:10], ten.labels[:10])
    copies = moving_mnist(ten, n, size=size, frames=frames, seed=seed, step=10)
    answers["copies"] = (copies.x + 1) / 2
    return {k: score(x, reference=ref, seeds=(seed,)) for k, x in answers.items()}


def ship(source: str | Path = "builtin", size: int = 32, frames: int = 8,
         folder: Path = CHECKPOINTS) -> Path:
    """Build a reference, give it the rows of `table` (about["rows"]), and write it to the folder.

    The rows are those at n = 128 and 512.
    """
    build_reference.cache_clear()                                  # the recogniser may be a new one
    ref = build_reference(source, size, frames)
    ref.about["rows"] = {str(n): table(source, n, reference=ref) for n in (128, 512)}
    return save_reference(ref, Path(folder) / file_name(source, size, frames))
