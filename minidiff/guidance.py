"""Guidance: functions that take a denoiser and return another one, denoise -> denoise.

Classifier-free guidance, autoguidance, clipping and inpainting. Samplers need no changes for them.
Each takes the times that `Denoiser` takes: (), (B,) or, one per frame, (B, T).

Papers: classifier-free guidance (Ho 2022), guidance in an interval (Kynkäänniemi 2024), rescaled
guidance (Lin 2023), autoguidance (Karras 2024).
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn, x0_is_clipped
from minidiff.runtime.tracing import values_can_be_checked
from minidiff.schedules import append_dims, as_times, check_times_fit

INTERVAL_GAP = 1e-9     # from the end of an interval to the times just above and just below it


def guided(denoiser: Callable, cond: Tensor, null: Tensor, scale: float,
           interval: tuple[float, float] | None = None, rescale: float = 0.0) -> DenoiseFn:
    """Classifier-free guidance: x0 = x0_null + scale (x0_cond - x0_null) (Ho 2022 eq. 6, for x0).

    scale: 0 = unconditional, 1 = conditional, more = further along the line through both.
    cond: (B, ...); null: like cond, or one value for all.
    interval: guide only at times low <= t <= high (Kynkäänniemi 2024), and use scale 1 at others.
    With one time per frame, each frame is guided by its own. An interval makes every sampler first
    order, as guidance switches inside a step: with exact Gaussians, scale 2.5 and (0.2, 0.7), twice
    as many steps divide heun's error by 2, not by 4 (at 80 steps .0092 on Cosine, .0065 on Flow).
    Sampled on `with_interval_ends(ts, interval)` it is divided by 4 again (.00042, .00031).
    rescale: in [0, 1], how far each sample's standard deviation is brought back to that of the
    conditional guess (Lin 2023 eq. 16); each frame's, with one time per frame.
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
        inside = times_inside(t, low, high, x)
        if scale == 1 or inside is None:
            return denoiser(x, t, cond)
        twice = torch.cat([t, t]) if t.ndim else t
        x0, x0_null = denoiser(torch.cat([x, x]), twice, torch.cat([cond, null])).chunk(2)
        here, one = (torch.as_tensor(v, dtype=x.dtype, device=t.device) for v in (scale, 1))
        here = append_dims(torch.where(inside, here, one).to(x), x)
        guess = x0_null + here * (x0 - x0_null)
        if rescale:
            guess = torch.lerp(guess, match_std(x0, guess, max(t.ndim, 1)), rescale)
        return guess
    return denoise


def autoguided(denoise: DenoiseFn, weak: DenoiseFn, weight: float,
               interval: tuple[float, float] | None = None) -> DenoiseFn:
    """Guidance away from a weaker denoiser: x0 + weight (x0 - x0_weak).

    Both make the same errors, the weak one larger ones, so their difference points away from
    errors (Karras 2024 eq. 3, with the factor w = 1 + weight). For clips that move steadily, a weak
    denoiser is `layers.without_temporal_attention(denoiser)`. interval: as in `guided`, and with
    the same cost in a sampler's order. If denoise is `guided` with scale s, the sum of both is
    guided as with scale 1 + (1 + weight) (s - 1), also at times when the weak denoiser is as good.
    Raises ValueError for a weight that is not a number from 0 up, or an empty interval.
    """
    if not 0 <= weight < float("inf"):
        raise ValueError(f"weight must be a number, 0 or more, got {weight}.")
    low, high = check_interval(interval)

    def denoise_guided(x: Tensor, t: Tensor) -> Tensor:
        x0, t = denoise(x, t), as_times(t)
        inside = times_inside(t, low, high, x)
        if not weight or inside is None:
            return x0
        return x0 + append_dims(weight * inside.to(x), x) * (x0 - weak(x, t))
    return denoise_guided


def check_interval(interval: tuple[float, float] | None) -> tuple[float, float]:
    """The first and last time of an interval; None is (0, 1).

    Raises ValueError for an empty interval, or one that leaves [0, 1].
    """
    try:
        low, high = (0.0, 1.0) if interval is None else interval
        valid = 0 <= low <= high <= 1
    except (TypeError, ValueError):                    # not two, or not numbers
        valid = False
    if not valid:
        raise ValueError("interval must be (low, high) with 0 <= low <= high <= 1, "
                         f"got {interval!r}.")
    return low, high


def times_inside(t: Tensor, low: float, high: float, x: Tensor) -> Tensor | None:
    """Which of the times are in [low, high], like t, or None if it is known that none is."""
    check_times_fit(t, x)
    inside = (t >= low) & (t <= high)
    return None if values_can_be_checked(inside) and not inside.any() else inside


def with_interval_ends(ts: Tensor, interval: tuple[float, float]) -> Tensor:
    """The grid ts with a time just above and a time just below each end of a guidance interval.

    Then only a step of 2e-9 crosses the end, and heun has order 2 again (see `guided`); dpmpp_2m
    starts anew behind it. Each end costs one or two more steps. An end outside the grid is left
    out. Raises ValueError unless 0 <= low <= high <= 1.
    """
    ts = as_times(ts).to("cpu", torch.float64)
    for end in set(check_interval(interval)):
        if ts[-1] < end - INTERVAL_GAP and end + INTERVAL_GAP < ts[0]:
            both = torch.tensor([end + INTERVAL_GAP, end - INTERVAL_GAP], dtype=torch.float64)
            away = ts[(ts - end).abs() > INTERVAL_GAP]
            ts = torch.cat([away, both]).sort(descending=True).values
    return ts


def match_std(x0: Tensor, guess: Tensor, first_axis: int = 1) -> Tensor:
    """guess, scaled to x0's standard deviation over the axes from first_axis on.

    A constant guess stays as it is.
    """
    axes = tuple(range(first_axis, guess.ndim))
    std = guess.std(axes, keepdim=True)
    rounding = 4 * torch.finfo(guess.dtype).eps * guess.abs().amax(axes, keepdim=True)
    return torch.where(std > rounding, guess * x0.std(axes, keepdim=True) / std, guess)


def clipped(denoise: DenoiseFn, low: float = -1.0, high: float = 1.0) -> DenoiseFn:
    """x0 clipped to [low, high]. For pixels, whose range is known; never for latents.

    Raises ValueError unless low <= high.
    """
    if not low <= high:
        raise ValueError(f"clipped needs low <= high, got {low} and {high}.")

    def denoise_clipped(x: Tensor, t: Tensor) -> Tensor:
        before = x0_is_clipped.set(True)               # no warning that x0 may be very large
        try:
            return denoise(x, t).clamp(low, high)
        finally:
            x0_is_clipped.reset(before)
    return denoise_clipped


def inpainted(denoise: DenoiseFn, known: Tensor, mask: Tensor) -> DenoiseFn:
    """x0 is `known` at elements with a true mask and free at the others. Both broadcast against x.

    The sampler then carries the known part from noise to its values. If the first frames are known,
    it predicts the rest. Raises ValueError, when called, if known or mask does not fit x.
    """
    mask = torch.as_tensor(mask, dtype=torch.bool)

    def inpaint(x: Tensor, t: Tensor) -> Tensor:
        here, there = expand_to(mask, "mask", x), expand_to(known, "known", x)
        return torch.where(here.to(x.device), there.to(x), denoise(x, t))
    return inpaint


def check_known(known: Tensor, mask: Tensor, shape: tuple[int, int, int, int],
                n: int) -> tuple[Tensor, Tensor]:
    """What is known of n clips of the shape (T, C, H, W), and where: one of both for each clip.

    known: clips in [-1, 1], one for all or one for each of the n. mask: (T, 1, H, W), or one for
    each, true or 1 at known pixels. Raises ValueError for other shapes or values, and for masks in
    which nothing is known, or everything.
    """
    known, mask = (torch.as_tensor(v).detach().cpu() for v in (known, mask))
    T, _, H, W = shape
    known = expand_to(known, "given", torch.empty(n, *shape))
    mask = expand_to(mask, "where", torch.empty(n, T, 1, H, W))
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("where must be true, or 1, at known pixels and false, or 0, elsewhere.")
    mask = mask.bool()
    if not mask.any() or mask.all():
        raise ValueError(f"{'Everything' if mask.any() else 'Nothing'} is given: where must be "
                         "true at some pixels and false at others.")
    if not known.is_floating_point() or not ((known.abs() <= 1) | ~mask).all():
        raise ValueError("given must be floats in [-1, 1], the range in which models work: "
                         "2 * clips - 1 of clips in [0, 1].")
    return known.float(), mask


def expand_to(value: Tensor, name: str, x: Tensor) -> Tensor:
    """value in x's shape. Raises ValueError, with its name, if it does not broadcast to that."""
    try:
        return value.expand(x.shape)
    except RuntimeError:
        raise ValueError(f"{name} must broadcast to x's shape {tuple(x.shape)}, "
                         f"got {tuple(value.shape)}.") from None
