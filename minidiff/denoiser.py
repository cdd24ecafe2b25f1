"""Denoisers: `denoise(x, t) -> x0`, the best guess of the clean data, from a network or otherwise.

A network's output is F = p x0 + q eps; with x_t = alpha x0 + sigma eps these are two lines in two
unknowns, so x0 = (q x_t - sigma F) / (q alpha - sigma p). What changes sampling maps
denoise -> denoise: guidance, clipping, inpainting.

Papers: DDPM (Ho 2020), v-prediction (Salimans 2022), rectified flow (Liu 2023), classifier-free
guidance (Ho 2022), autoguidance (Karras 2024).
"""
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minidiff.schedules import Schedule, add_noise, coefficients, per_sample, times

Denoise = Callable[[Tensor, Tensor], Tensor]

PREDICTIONS = {  # name -> (p, q) of the network's output F = p x0 + q eps, given (alpha, sigma)
    "eps": lambda a, s: (0 * a, 1 + 0 * s),
    "x0": lambda a, s: (1 + 0 * a, 0 * s),
    "v": lambda a, s: (-s, a),
    "flow": lambda a, s: (-1 + 0 * a, 1 + 0 * s),
}
SMALLEST = 1e-6  # of alpha and sigma where x0 is solved for: x0 at t = 0, eps at t = 1 stay finite


class Denoiser(nn.Module):
    """A network, its schedule and what it predicts: together, the posterior mean E[x0 | x_t].

    net: `net(x, t, cond) -> like x` with x (B, C, H, W) or (B, T, C, H, W), t (B,) in [0, 1], cond
    (B, ...) or None.
    prediction: "eps" (Ho 2020), "x0", "v" (Salimans 2022 eq. 9) or "flow" (eps - x0, Liu 2023).
    Raises ValueError for another.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str = "v"):
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"Unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}.")
        self.net, self.schedule, self.prediction = net, schedule, prediction

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t -> x0, like x. t: one time or (B,), in [0, 1].

        Where x0 is not determined (eps-prediction at alpha = 0) the answer is finite, but as wrong
        as the network makes it.
        """
        t = times(t)
        a, s = (c.clamp(min=SMALLEST) for c in coefficients(self.schedule, t, x))
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(x, t.to(x).expand(len(x)), cond)
        return (q * x - s * out) / (q * a - s * p)

    def loss(self, x0: Tensor, cond: Tensor | None = None, t: Tensor | None = None,
             noise: Tensor | None = None) -> Tensor:
        """The network's mean squared error, one per sample: (B,). t: (B,), uniform unless given.

        For eps this is DDPM's simple loss (Ho 2020 eq. 14); for flow it is conditional flow
        matching (Lipman 2023 eq. 23).
        """
        t = torch.rand(len(x0), device=x0.device) if t is None else times(t)
        noise = torch.randn_like(x0) if noise is None else noise
        a, s = coefficients(self.schedule, t, x0)
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(add_noise(self.schedule, x0, noise, t), t.to(x0).expand(len(x0)), cond)
        return (out - (p * x0 + q * noise)).square().flatten(1).mean(1)


def guided(denoiser: Callable, cond: Tensor, null: Tensor, scale: float,
           interval: tuple[float, float] | None = None, rescale: float = 0.0) -> Denoise:
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
    low, high = ends(interval)
    null = torch.as_tensor(null, dtype=cond.dtype, device=cond.device).expand_as(cond)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        t = times(t)
        inside = (t >= low) & (t <= high)
        if scale == 1 or not inside.any():
            return denoiser(x, t, cond)
        twice = torch.cat([t, t]) if t.ndim else t
        x0, x0_null = denoiser(torch.cat([x, x]), twice, torch.cat([cond, null])).chunk(2)
        here, one = (torch.as_tensor(v, dtype=x.dtype, device=t.device) for v in (scale, 1))
        here = per_sample(torch.where(inside, here, one).to(x), x)
        guess = x0_null + here * (x0 - x0_null)
        if rescale:
            guess = torch.lerp(guess, with_std_of(x0, guess), rescale)
        return guess
    return denoise


def autoguided(denoise: Denoise, worse: Denoise, weight: float,
               interval: tuple[float, float] | None = None) -> Denoise:
    """Guidance away from a worse denoiser: x0 + weight (x0 - x0_worse).

    Both err in the same places, the worse one more, so their difference points away from errors
    (Karras 2024 eq. 3, with the factor w = 1 + weight). worse: `layers.frames_alone`, for clips
    that move steadily. interval: only where low <= t <= high. A denoise that is `guided` by scale s
    is then guided as by 1 + (1 + weight) (s - 1), even where worse is no worse.
    Raises ValueError for a weight that is not 0 or more, or an empty interval.
    """
    if not 0 <= weight < float("inf"):
        raise ValueError(f"autoguidance must be a number, 0 or more, got {weight}.")
    low, high = ends(interval)

    def led(x: Tensor, t: Tensor) -> Tensor:
        x0, t = denoise(x, t), times(t)
        inside = (t >= low) & (t <= high)
        if not (weight and inside.any()):
            return x0
        return x0 + per_sample(weight * inside.to(x), x) * (x0 - worse(x, t))
    return led


def ends(interval: tuple[float, float] | None) -> tuple[float, float]:
    """The first and last time of an interval, which None leaves open.

    Raises ValueError for an empty one, or one that leaves [0, 1].
    """
    low, high = (0.0, 1.0) if interval is None else interval
    if not 0 <= low <= high <= 1:
        raise ValueError("interval must be (low, high) with 0 <= low <= high <= 1, "
                         f"got {interval}.")
    return low, high


def with_std_of(x0: Tensor, guess: Tensor) -> Tensor:
    """guess, scaled to x0's standard deviation in each sample; a constant one stays as it is."""
    axes = tuple(range(1, guess.ndim))
    std = guess.std(axes, keepdim=True)
    rounding = 4 * torch.finfo(guess.dtype).eps * guess.abs().amax(axes, keepdim=True)
    return torch.where(std > rounding, guess * x0.std(axes, keepdim=True) / std, guess)


def clipped(denoise: Denoise, low: float = -1.0, high: float = 1.0) -> Denoise:
    """x0 held inside [low, high]. For pixels, whose range is known; never for latents.

    Raises ValueError unless low <= high.
    """
    if not low <= high:
        raise ValueError(f"clipped needs low <= high, got {low} and {high}.")
    return lambda x, t: denoise(x, t).clamp(low, high)


def inpainted(denoise: Denoise, known: Tensor, mask: Tensor) -> Denoise:
    """x0 is `known` where mask is true and free elsewhere. Both broadcast against x.

    The sampler then carries the known part from its noise to itself. With the first frames known it
    predicts the rest. Raises ValueError, when called, where known or mask does not fit x.
    """
    mask = torch.as_tensor(mask, dtype=torch.bool)

    def inpaint(x: Tensor, t: Tensor) -> Tensor:
        here, there = fit(mask, "mask", x), fit(known, "known", x)
        return torch.where(here.to(x.device), there.to(x), denoise(x, t))
    return inpaint


def fit(value: Tensor, name: str, x: Tensor) -> Tensor:
    """value in x's shape, or a ValueError with its name where it does not broadcast to that."""
    try:
        return value.expand(x.shape)
    except RuntimeError:
        raise ValueError(f"{name} must broadcast to x's shape {tuple(x.shape)}, "
                         f"got {tuple(value.shape)}.") from None
