"""Answers that need no model, and their rows: what the scoreboard must not be fooled by.

Seven know nothing (static, shuffled, a random walk, noise, ...), some lack one thing (blurred, a
digit that changes, digits missing). They are shipped with each reference, to stand beside a row.
"""
from math import pi
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minidiff.data.digits import Digits, load
from minidiff.data.moving_mnist import (
    bounce,
    choose_sprites,
    default_sprite,
    moving_mnist,
    place_sprites,
    resize_sprites,
)
from minidiff.evaluation.references import (
    CHECKPOINTS,
    Reference,
    build_reference,
    reference_file_name,
    reference_for,
    save_reference,
)
from minidiff.evaluation.scoreboard import score
from minidiff.runtime.seeds import generator


def baseline_clips(digits: Digits, n: int, seed: int = 0, size: int = 32, frames: int = 8,
                    sprite: int | None = None, num_digits: int = 1) -> dict[str, Tensor]:
    """Clips (n, T, 1, size, size) in [0, 1] by name.

    They are "real", seven that know nothing, and four that lack one thing; of clips with several
    digits a fifth, in which one is lost.
    """
    g = generator("baselines", seed)

    def film(**settings):
        usual = {"size": size, "frames": frames, "seed": seed, "step": 7, "sprite": sprite,
                 "num_digits": num_digits}
        return (moving_mnist(digits, n, **usual | settings).x + 1) / 2

    one = torch.randint(10, (n, num_digits), generator=g)
    two = (one + torch.randint(1, 10, (n, num_digits), generator=g)) % 10
    x = film()
    a, b = film(pairs="all", labels=one), film(pairs="all", labels=two)  # both on the same paths
    order = torch.rand(n, frames, generator=g).argsort(1)
    rows = torch.arange(n)[:, None]
    reach = 3 * size // 64                                   # 3 x 3 pixels at size 32, 7 x 7 at 64
    answers = {
        "real": x,
        "static": x[rows, torch.randint(frames, (n, 1), generator=g)].expand_as(x).contiguous(),
        "first frame": x[:, :1].expand_as(x).contiguous(),
        "shuffled": x[rows, order],
        "random walk": random_walk(digits, n, size, frames, g, sprite, num_digits),
        "mean video": x.mean(0).expand_as(x).contiguous(),
        "noise": torch.rand(x.shape, generator=g),
        "black": torch.zeros_like(x),
        "blurred": F.avg_pool2d(x.flatten(0, 1), 2 * reach + 1, 1, reach).view_as(x),
        "swapped": torch.cat([a[:, :frames // 2], b[:, frames // 2:]], 1),
        "half missing": film(labels=torch.randint(5, (n, num_digits), generator=g), step=8),
        "one digit": film(labels=torch.full((n, num_digits), 3), step=9)}
    return answers | ({"one lost": film(num_digits=num_digits - 1, step=11)} if num_digits > 1 else {})


def random_walk(digits: Digits, n: int, size: int, frames: int, g: torch.Generator,
                sprite: int | None = None, num_digits: int = 1) -> Tensor:
    """Digits that step in a new direction at every frame, as far as real ones, inside the frame."""
    sprite, many = sprite or default_sprite(size), n * num_digits
    sprites = resize_sprites(digits.images[choose_sprites(digits.labels, None, (many,), g)], sprite)
    angle = 2 * pi * torch.rand(many, frames, generator=g)
    pace = (1 + 2 * torch.rand(many, frames, generator=g)) * size / 32
    path = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]
    path = path.cumsum(1) + torch.rand(many, 1, 2, generator=g) * (size - sprite)
    corners, _ = bounce(path, torch.zeros_like(path), 1, size - sprite)  # (many, 1, T, 2), folded
    x = place_sprites(sprites[:, None], corners[:, 0, :, None], size)[:, :, 0]
    return rearrange(x, "(n k) ... -> n k ...", k=num_digits).amax(1)


def baseline_rows(source: str | Path = "builtin", n: int = 512, seed: int = 0,
          reference: Reference | None = None) -> dict[str, dict]:
    """The rows of all `baseline_clips`, and of "copies": clips of ten training digits."""
    ref = reference or reference_for(source, 32, 8)
    setting = {k: ref.metadata[k] for k in ("size", "frames", "sprite")} | {"num_digits": ref.digits_per_clip()}
    answers = baseline_clips(load(source, "test"), n, seed, **setting)
    ten = load(source, "train")
    ten = Digits(ten.images[:10], ten.labels[:10])
    answers["copies"] = (moving_mnist(ten, n, seed=seed, step=10, **setting).x + 1) / 2
    return {k: score(x, reference=ref, seeds=(seed,)) for k, x in answers.items()}


def ship_reference(source: str | Path = "builtin", size: int = 32, frames: int = 8,
         folder: Path = CHECKPOINTS, sprite: int | None = None, num_digits: int = 1) -> Path:
    """Build a reference, give it the rows of `baseline_rows` (about["rows"]), and write it to the folder.

    The rows are those at n = 128 and 512.
    """
    build_reference.cache_clear()                                  # the recogniser may be a new one
    ref = build_reference(source, size, frames, sprite, num_digits)
    ref.metadata["rows"] = {str(n): baseline_rows(source, n, reference=ref) for n in (128, 512)}
    return save_reference(ref, Path(folder) / reference_file_name(source, size, frames, sprite, num_digits))
