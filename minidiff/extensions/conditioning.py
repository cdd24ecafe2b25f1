"""Conditioning on pixels: a network that is told some of a clip and makes the rest.

`guidance.inpainted` works with every model: it fixes the guess where the clip is known. But the
network never learnt that those pixels are certain. A network that gets them as additional input
channels does (Palette, Saharia 2022; for a first frame Stable Video Diffusion, Blattmann 2023):

    D(x_t, t, where * given, where),     where = 1 at a known pixel, 0 elsewhere

The weights of the new channels begin at 0, so the network grows from a trained one without a jump.
In training the given pixels are a little noisy, as a picture from elsewhere is never quite like the
training's (Blattmann 2023 section 4), and a tenth of the clips gives nothing, so that guidance and
plain sampling still work.
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import Denoiser
from minidiff.recipes import Recipe, Training, training_by
from minidiff.runtime.distributed import sharded_draw
from minidiff.schedules import add_noise
from minidiff.train import Objective, draw_noise, draw_times, drop_conditions
from minidiff.unet import UNet

MAX_NOISE = 0.1                         # the latest time to which given pixels are noised
KINDS = 6                               # of masks in training; the last gives nothing in some clips


def conditioning(recipe: Recipe, network: Denoiser, device="cpu") -> Training:
    """The training of a recipe whose network is told some frames or regions."""
    plan = recipe.training
    objective = given_objective(recipe.null, plan["p_drop"], plan["times"])
    return training_by(objective, recipe, network)


class GivenUNet(UNet):
    """A U-Net that may be told some pixels: `net(x, t, cond, given=clip, where=mask) -> like x`.

    given: like x, scaled to [-1, 1]; where: (B, T, 1, H, W), true or 1 at known pixels. Both may be
    left out: then nothing is given. settings: those of `UNet`.
    """

    inputs = "given", "where"           # what a pipeline may pass on, besides the condition

    def __init__(self, channels: tuple[int, ...] = (64, 96), in_channels: int = 1, **settings):
        super().__init__(channels, in_channels=2 * in_channels + 1, out_channels=in_channels,
                         **settings)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True, given: Tensor | None = None,
                where: Tensor | None = None) -> Tensor:
        if (given is None) != (where is None):
            raise ValueError("Give both, given and where, or none of them.")
        if given is None:
            given, where = torch.zeros_like(x), torch.zeros_like(x[..., :1, :, :])
        known = torch.where(where.bool(), given.to(x), 0)
        return super().forward(torch.cat([x, known, where.to(x)], -3), t, cond,
                               with_temporal_attention)


def given_objective(null=None, p_drop: float = 0.1, times: str = "logit-normal") -> Objective:
    """The usual loss of a network that is told pixels, by masks of all kinds (`draw_masks`)."""
    def objective(denoiser: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        cond = drop_conditions(cond, null, p_drop, g)
        t, noise = draw_times(len(x0), g, times), draw_noise(x0, g)
        level = MAX_NOISE * draw_times(len(x0), g, "uniform")
        given = add_noise(denoiser.schedule, x0, draw_noise(x0, g), level)
        where = draw_masks(x0, g, p_drop)
        return denoiser.loss(x0, cond, t, noise, given=given, where=where)
    return objective


def draw_masks(x: Tensor, g: torch.Generator, p_nothing: float = 0.1) -> Tensor:
    """Where the clips x (B, T, C, H, W) are known: (B, T, 1, H, W), 0 or 1, a kind for each clip.

    In equal shares: the first frame, the last one, both, some frames, inside a rectangle in all
    frames, outside of one. With probability p_nothing a clip gives nothing.
    """
    B, T, _, H, W = x.shape

    def uniform(*shape: int) -> Tensor:
        return sharded_draw(B, lambda n: torch.rand(n, *shape, generator=g, device=x.device))
    frame = torch.arange(T, device=x.device)
    first, last = (frame == 0).expand(B, T), (frame == T - 1).expand(B, T)
    frames = torch.stack([first, last, first | last, uniform(T) < uniform(1)])       # (4, B, T)
    inside = uniform_span(H, uniform)[:, :, None] & uniform_span(W, uniform)[:, None]  # (B, H, W)
    regions = torch.stack([inside, ~inside])[:, :, None].expand(2, B, T, H, W)
    kinds = torch.cat([frames[..., None, None].expand(4, B, T, H, W), regions])
    kind = (KINDS * uniform()).long().clamp(max=KINDS - 1)
    chosen = kinds[kind, torch.arange(B, device=x.device)]                        # (B, T, H, W)
    return (chosen & (uniform(1, 1, 1) >= p_nothing))[:, :, None].to(x)


def uniform_span(size: int, uniform: Callable[..., Tensor]) -> Tensor:
    """(B, size): true on a span of a quarter to three quarters of the places, anywhere."""
    length = (size * (0.25 + 0.5 * uniform(1))).round()
    start = (uniform(1) * (size - length + 1)).floor()
    place = torch.arange(size, device=start.device)
    return (place >= start) & (place < start + length)


# Masks by name

FRAMES = {"first": lambda T: [0], "last": lambda T: [T - 1], "ends": lambda T: [0, T - 1],
          "even": lambda T: range(0, T, 2)}
BOXES = {  # name -> the known box, in shares of height and width: top, bottom, left, right
    "left": (0, 1, 0, 0.5), "right": (0, 1, 0.5, 1), "top": (0, 0.5, 0, 1),
    "bottom": (0.5, 1, 0, 1), "centre": (0.125, 0.875, 0.125, 0.875)}
KEPT = (*FRAMES, *BOXES, "margin")


def kept(name: str, shape: tuple[int, int, int, int]) -> Tensor:
    """The mask (T, 1, H, W) of what is kept of a clip of the shape (T, C, H, W).

    name: frames ("first", "last", "ends", "even") or a region in all frames ("left", "right",
    "top", "bottom", "centre", and "margin", all but the centre). Keeping the centre is outpainting,
    keeping both ends is interpolation, or a loop if both are the same picture. Raises ValueError
    for another name.
    """
    T, _, H, W = shape
    mask = torch.zeros(T, 1, H, W, dtype=torch.bool)
    if name in FRAMES:
        mask[[*FRAMES[name](T)]] = True
    elif name in BOXES or name == "margin":
        top, bottom, left, right = BOXES["centre" if name == "margin" else name]
        mask[..., round(top * H):round(bottom * H), round(left * W):round(right * W)] = True
    else:
        raise ValueError(f"Unknown region {name!r}; choose one of {', '.join(KEPT)}.")
    return ~mask if name == "margin" else mask
