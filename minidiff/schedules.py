"""Schedules define how data turns into noise: x_t = alpha_t x0 + sigma_t eps, with t in [0, 1].

t = 0 is data and t = 1 is noise, always. A schedule is any callable `t -> (alpha, sigma)`; it
returns both in t's shape, dtype and device. Every schedule here starts exactly at (1, 0), so a
sampler needs no special last step.

Papers: DDPM (Ho 2020), improved DDPM (Nichol 2021), score SDEs (Song 2021), EDM (Karras 2022),
rectified flow (Liu 2023), Diffusion Forcing (Chen 2024).
"""
from collections.abc import Callable, Sequence
from math import inf, pi

import torch
from torch import Tensor

from minidiff.runtime.tracing import values_can_be_checked

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]


class Cosine:
    """Variance preserving: alpha = cos(pi t / 2), sigma = sin(pi t / 2).

    Nichol 2021 eq. 17 without its offset. alpha is written as a sine, because float32 `cos(pi / 2)`
    is -4e-8 and not 0.
    """

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sin(pi / 2 * (1 - t)), torch.sin(pi / 2 * t)


class Flow:
    """A straight line, data to noise: alpha = 1 - t, sigma = t (rectified flow, Liu 2023 eq. 1)."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t.clone()


class VE:
    """Variance exploding: alpha = 1, sigma = sigma_max t^rho (Karras 2022 eq. 5, sigma_min = 0).

    A uniform grid in t is EDM's grid in sigma. Sampling starts from `sigma_max * noise`. It is for
    the exact denoisers of `gaussians`: a network would need its input scaled by
    1 / sqrt(1 + sigma^2), so `Denoiser` refuses large values of sigma_max.
    Raises ValueError unless both settings are positive and finite.
    """

    def __init__(self, sigma_max: float = 80.0, rho: float = 7.0):
        if not (0 < sigma_max < inf and 0 < rho < inf):
            raise ValueError("VE needs sigma_max > 0 and rho > 0, both finite, "
                             f"got {sigma_max} and {rho}.")
        self.sigma_max, self.rho = sigma_max, rho

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_max * t**self.rho


class Discrete:
    """DDPM's table of betas in continuous time: t = i / N is the table's row i (Ho 2020 eq. 4).

    Between two rows the log-SNR is interpolated, so any t in [0, 1] works. Below the first row
    sigma / alpha falls linearly to 0.
    betas: (N,) in (0, 1), N >= 2. Raises ValueError for anything else.
    """

    def __init__(self, betas: Tensor):
        betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
        if betas.ndim != 1 or len(betas) < 2 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError("Discrete needs a 1-D table of at least two betas, "
                             "each between 0 and 1 (both excluded).")
        alpha_bar = torch.cumprod(1 - betas, 0)                               # (N,)
        self.half_log_snr = torch.logit(alpha_bar) / 2                        # (N,), row i = 1 .. N

    @classmethod
    def linear(cls, n: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "Discrete":
        """DDPM's betas, from `beta_start` to `beta_end` in n equal steps (Ho 2020 section 4)."""
        return cls(torch.linspace(beta_start, beta_end, n, dtype=torch.float64))

    @classmethod
    def cosine(cls, n: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> "Discrete":
        """The squared-cosine table (Nichol 2021 eq. 17), each beta at most `max_beta`."""
        u = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        alpha_bar = torch.cos((u + offset) / (1 + offset) * pi / 2) ** 2      # (n + 1,)
        return cls((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        table = self.half_log_snr.to(t)
        row = t * len(table)                                          # 0 = data, 1 .. N = the table
        low = row.floor().long().clamp(1, len(table) - 1)
        between = torch.lerp(table[low - 1], table[low], row - low)
        lam = torch.where(row < 1, table[0] - row.log(), between)     # +inf at t = 0
        return torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()


def timesteps(n: int, shift: float = 1.0, t_max: float = 1.0) -> Tensor:
    """(n + 1,) times for n steps, float64 on the CPU, from t_max down to exactly 0.

    `shift` > 1 spends more of the steps on noisy times (t -> shift t / (1 + (shift - 1) t), Esser
    2024 eq. 23); t_max, in (0, 1], is applied after it. Raises ValueError for n < 1 or values out
    of range.
    """
    if n < 1 or not 0 < shift < inf or not 0 < t_max <= 1:
        raise ValueError("timesteps needs n >= 1, a finite shift > 0 and 0 < t_max <= 1, "
                         f"got n={n}, shift={shift}, t_max={t_max}.")
    return t_max * shift_times(torch.linspace(1, 0, n + 1, dtype=torch.float64), shift)


def shift_times(t: Tensor, shift: float) -> Tensor:
    """shift t / (shift t + 1 - t): times in [0, 1], moved towards noise by shift > 1.

    Stable Diffusion 3's shift (Esser 2024 eq. 23). Exact at both ends; it changes no order.
    """
    return shift * t / (shift * t + (1 - t))


def next_times(ts: Tensor, t: Tensor) -> Tensor:
    """The first time of a falling grid that is below t, for each t: like t; 0 or less stays 0.

    A t of the grid may be rounded to float32: times nearer than 1e-6 count as equal.
    """
    rising = ts.flip(0).to(t.device, torch.float64).contiguous()
    below = torch.searchsorted(rising, t.double().contiguous() - 1e-6) - 1
    return rising[below.clamp(min=0)].to(t.dtype)


def log_snr_timesteps(schedule: Schedule, n: int, t_min: float = 1e-3,
                      t_max: float = 1 - 1e-3) -> Tensor:
    """(n + 1,) times, float64 on the CPU: n uniform in log-SNR from t_max to t_min, then exactly 0.

    The grid of DPM-Solver (Lu 2022 section 3.4). The log-SNR is inverted by bisection, which works
    for every schedule whose log-SNR falls with t. Raises ValueError for n < 2 or unless
    0 < t_min < t_max <= 1 with a finite log-SNR at t_max.
    """
    if n < 2 or not 0 < t_min < t_max <= 1:
        raise ValueError("log_snr_timesteps needs n >= 2 and 0 < t_min < t_max <= 1, "
                         f"got n={n}, t_min={t_min}, t_max={t_max}.")
    ends = torch.tensor([t_max, t_min], dtype=torch.float64)
    first, final = half_log_snr(schedule, ends)
    if not first.isfinite():
        raise ValueError(f"The log-SNR at t_max={t_max} is infinite; "
                         "choose t_max a little below 1, for example 0.999.")
    goal = torch.lerp(first, final, torch.linspace(0, 1, n, dtype=torch.float64))    # (n,)
    low, high = torch.full_like(goal, t_min), torch.full_like(goal, t_max)
    for _ in range(60):
        mid = (low + high) / 2
        noisier = half_log_snr(schedule, mid) < goal
        low, high = torch.where(noisier, low, mid), torch.where(noisier, mid, high)
    inner = ((low + high) / 2)[1:-1]
    return torch.cat([ends[:1], inner, ends[1:], torch.zeros(1, dtype=torch.float64)])


def half_log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    """lambda = log(alpha / sigma), half the log signal-to-noise ratio (Lu 2022); +inf at t = 0."""
    alpha, sigma = schedule(t)
    return (alpha / sigma).log()


def as_times(t: Tensor | Sequence | float) -> Tensor:
    """t as a tensor of floats; numbers become float64, so that coefficients are exact."""
    if not isinstance(t, Tensor):
        t = torch.as_tensor(t, dtype=torch.float64)
    return t if t.is_floating_point() else t.double()


def coefficients(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The schedule at t, ready to multiply x: in x's dtype and device, shaped by `append_dims`.

    t, in [0, 1]: one time (), one per sample (B,) or, for clips (B, T, C, H, W), one per frame
    (B, T), as in Diffusion Forcing (Chen 2024). The schedule is evaluated in t's own precision
    first. Raises ValueError for a t of another shape or, if it is on the CPU, outside [0, 1]. On
    other devices, and while a graph is traced, the values are not checked.
    """
    t = as_times(t)
    check_times_fit(t, x)
    if values_can_be_checked(t) and not ((t >= 0) & (t <= 1)).all():
        raise ValueError("t must be between 0 (data) and 1 (noise), got values from "
                         f"{t.min().item():g} to {t.max().item():g}; divide step numbers by N.")
    return tuple(append_dims(c.to(x), x) for c in schedule(t))


def append_dims(values: Tensor, x: Tensor) -> Tensor:
    """values, ready to multiply x: (B,) -> (B, 1, ..., 1), (B, T) -> (B, T, 1, 1, 1); () stays ().

    Raises ValueError for values of another shape.
    """
    check_times_fit(values, x)
    return values.view(*values.shape, *[1] * (x.ndim - values.ndim)) if values.ndim else values


def check_times_fit(t: Tensor, x: Tensor) -> None:
    """Raises ValueError unless t is (), (B,) or, for a clip x (B, T, C, H, W), (B, T)."""
    if t.ndim == 0 or t.shape == x.shape[:1] or (x.ndim == 5 and t.shape == x.shape[:2]):
        return
    frames = tuple(x.shape[:2]) if x.ndim == 5 else "(B, T) if x is a clip (B, T, C, H, W)"
    raise ValueError(f"t must be one time (), one per sample {tuple(x.shape[:1])} or one per frame "
                     f"{frames}, got shape {tuple(t.shape)} for x of shape {tuple(x.shape)}.")


def add_noise(schedule: Schedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha_t x0 + sigma_t noise, like x0 (Ho 2020 eq. 4).

    t: (), (B,) or (B, T), in [0, 1], as in `coefficients`. noise: of x0's shape. Raises ValueError
    for anything else.
    """
    if noise.shape != x0.shape:
        raise ValueError(f"noise must have x0's shape {tuple(x0.shape)}, got {tuple(noise.shape)}.")
    alpha, sigma = coefficients(schedule, t, x0)
    return alpha * x0 + sigma * noise
