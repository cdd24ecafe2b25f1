"""Baselines without a model, and their rows, which the scoreboard must rate low.

Seven know nothing of the data (static, shuffled, a random walk, noise, ...), some have one defect
(blurred, a digit that changes, digits missing). Their rows are shipped with each reference.
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
from minidiff.runtime.settings import none_means_default


@none_means_default
def baseline_clips(digits: Digits, n: int, seed: int = 0, size: int = 32, frames: int = 8,
                   sprite: int | None = None, num_digits: int = 1) -> dict[str, Tensor]:
    """Clips (n, T, 1, size, size) in [0, 1] by name.

    They are "real", seven that know nothing, and four with one defect; for clips of several digits
    there is a fifth defect: one digit is missing.
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
    clips = {
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
    if num_digits > 1:
        clips["one lost"] = film(num_digits=num_digits - 1, step=11)
    return clips


def random_walk(digits: Digits, n: int, size: int, frames: int, g: torch.Generator,
                sprite: int | None = None, num_digits: int = 1) -> Tensor:
    """Clips (n, T, 1, size, size) of digits that move in a new direction at every frame.

    Their steps are as long as those of real digits, and they stay inside the frame.
    """
    sprite, many = sprite or default_sprite(size), n * num_digits
    sprites = resize_sprites(digits.images[choose_sprites(digits.labels, None, (many,), g)], sprite)
    angle = 2 * pi * torch.rand(many, frames, generator=g)
    pace = (1 + 2 * torch.rand(many, frames, generator=g)) * size / 32
    path = torch.stack([angle.sin(), angle.cos()], -1) * pace[..., None]
    path = path.cumsum(1) + torch.rand(many, 1, 2, generator=g) * (size - sprite)
    corners, _ = bounce(path, torch.zeros_like(path), 1, size - sprite)  # (many, 1, T, 2), folded
    x = place_sprites(sprites[:, None], corners[:, 0, :, None], size)[:, :, 0]
    return rearrange(x, "(n k) ... -> n k ...", k=num_digits).amax(1)


@none_means_default
def baseline_rows(source: str | Path = "builtin", n: int = 512, seed: int = 0,
                  reference: Reference | None = None) -> dict[str, dict]:
    """The rows of all `baseline_clips`, and of "copies": clips of ten training digits."""
    ref = reference or reference_for(source, 32, 8)
    setting = {k: ref.metadata[k] for k in ("size", "frames", "sprite")}
    setting["num_digits"] = ref.digits_per_clip()
    clips = baseline_clips(load(source, "test"), n, seed, **setting)
    train = load(source, "train")
    ten = Digits(train.images[:10], train.labels[:10])
    clips["copies"] = (moving_mnist(ten, n, seed=seed, step=10, **setting).x + 1) / 2
    return {k: score(x, reference=ref, seeds=(seed,)) for k, x in clips.items()}


@none_means_default
def ship_reference(source: str | Path = "builtin", size: int = 32, frames: int = 8,
                   folder: str | Path = CHECKPOINTS, sprite: int | None = None,
                   num_digits: int = 1) -> Path:
    """Build a reference and write it to the folder; returns its path.

    metadata["rows"] has the rows of `baseline_rows` at n = 128 and 512.
    """
    build_reference.cache_clear()                          # the digit classifier may be a new one
    ref = build_reference(source, size, frames, sprite, num_digits)
    ref.metadata["rows"] = {str(n): baseline_rows(source, n, reference=ref) for n in (128, 512)}
    name = reference_file_name(source, size, frames, sprite, num_digits)
    return save_reference(ref, Path(folder).expanduser() / name)
