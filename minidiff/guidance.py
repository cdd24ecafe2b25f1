"""Guidance: functions that take a denoiser and return another one, denoise -> denoise.

Classifier-free guidance, autoguidance, clipping and inpainting. Samplers know nothing of them.

Papers: classifier-free guidance (Ho 2022), guidance in an interval (Kynkäänniemi 2024), rescaled
guidance (Lin 2023), autoguidance (Karras 2024).
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn
from minidiff.schedules import append_dims, as_times


def guided(denoiser: Callable, cond: Tensor, null: Tensor, scale: float,
           interval: tuple[float, float] | None = None, rescale: float = 0.0) -> DenoiseFn:
    """Classifier-free guidance: x0 = x0_null + scale (x0_cond - x0_null) (Ho 2022 eq. 6, for x0).

    scale: 0 = unconditional, 1 = conditional, more = further along the line through both.
    cond: (B, ...); null: like cond, or one value for all.
    interval: guide only where low <= t <= high (Kynkäänniemi 2024), elsewhere scale 1.
    rescale: in [0, 1], how far each sample's standard deviation is brought back to the conditional
    one's (Lin 2023 eq. 16).
    Both branches are one network call. Raises ValueError for a rescale out of range, an empty
    interval or a cond that is no tensor.
    """
    if not isinstance(cond, Tensor):
        raise ValueError("cond must be a tensor with one condition per sample, "
                         f"got {type(cond).__name__}; without a condition use the denoiser itself.")
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale must be between 0 and 1, got {rescale}.")
    low, high = check_interval(interval)
    null = torch.as_tensor(null, dtype=cond.dtype, device=cond.device).expand_as(cond)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        t = as_times(t)
        inside = (t >= low) & (t <= high)
        if scale == 1 or not inside.any():
            return denoiser(x, t, cond)
        twice = torch.cat([t, t]) if t.ndim else t
        x0, x0_null = denoiser(torch.cat([x, x]), twice, torch.cat([cond, null])).chunk(2)
        here, one = (torch.as_tensor(v, dtype=x.dtype, device=t.device) for v in (scale, 1))
        here = append_dims(torch.where(inside, here, one).to(x), x)
        guess = x0_null + here * (x0 - x0_null)
        if rescale:
            guess = torch.lerp(guess, match_std(x0, guess), rescale)
        return guess
    return denoise


def autoguided(denoise: DenoiseFn, weak: DenoiseFn, weight: float,
               interval: tuple[float, float] | None = None) -> DenoiseFn:
    """Guidance away from a worse denoiser: x0 + weight (x0 - x0_worse).

    Both err in the same places, the worse one more, so their difference points away from errors
    (Karras 2024 eq. 3, with the factor w = 1 + weight). worse: `layers.without_temporal_attention`, for clips
    that move steadily. interval: only where low <= t <= high. A denoise that is `guided` by scale s
    is then guided as by 1 + (1 + weight) (s - 1), even where worse is no worse.
    Raises ValueError for a weight that is not 0 or more, or an empty interval.
    """
    if not 0 <= weight < float("inf"):
        raise ValueError(f"autoguidance must be a number, 0 or more, got {weight}.")
    low, high = check_interval(interval)

    def denoise_guided(x: Tensor, t: Tensor) -> Tensor:
        x0, t = denoise(x, t), as_times(t)
        inside = (t >= low) & (t <= high)
        if not (weight and inside.any()):
            return x0
        return x0 + append_dims(weight * inside.to(x), x) * (x0 - weak(x, t))
    return denoise_guided


def check_interval(interval: tuple[float, float] | None) -> tuple[float, float]:
    """The first and last time of an interval, which None leaves open.

    Raises ValueError for an empty one, or one that leaves [0, 1].
    """
    low, high = (0.0, 1.0) if interval is None else interval
    if not 0 <= low <= high <= 1:
        raise ValueError("interval must be (low, high) with 0 <= low <= high <= 1, "
                         f"got {interval}.")
    return low, high


def match_std(x0: Tensor, guess: Tensor) -> Tensor:
    """guess, scaled to x0's standard deviation in each sample; a constant one stays as it is."""
    axes = tuple(range(1, guess.ndim))
    std = guess.std(axes, keepdim=True)
    rounding = 4 * torch.finfo(guess.dtype).eps * guess.abs().amax(axes, keepdim=True)
    return torch.where(std > rounding, guess * x0.std(axes, keepdim=True) / std, guess)


def clipped(denoise: DenoiseFn, low: float = -1.0, high: float = 1.0) -> DenoiseFn:
    """x0 held inside [low, high]. For pixels, whose range is known; never for latents.

    Raises ValueError unless low <= high.
    """
    if not low <= high:
        raise ValueError(f"clipped needs low <= high, got {low} and {high}.")
    return lambda x, t: denoise(x, t).clamp(low, high)


def inpainted(denoise: DenoiseFn, known: Tensor, mask: Tensor) -> DenoiseFn:
    """x0 is `known` where mask is true and free elsewhere. Both broadcast against x.

    The sampler then carries the known part from its noise to itself. With the first frames known it
    predicts the rest. Raises ValueError, when called, where known or mask does not fit x.
    """
    mask = torch.as_tensor(mask, dtype=torch.bool)

    def inpaint(x: Tensor, t: Tensor) -> Tensor:
        here, there = expand_to(mask, "mask", x), expand_to(known, "known", x)
        return torch.where(here.to(x.device), there.to(x), denoise(x, t))
    return inpaint


def expand_to(value: Tensor, name: str, x: Tensor) -> Tensor:
    """value in x's shape, or a ValueError with its name where it does not broadcast to that."""
    try:
        return value.expand(x.shape)
    except RuntimeError:
        raise ValueError(f"{name} must broadcast to x's shape {tuple(x.shape)}, "
                         f"got {tuple(value.shape)}.") from None
