"""Samplers: how guesses of the clean data become a sample, one `State` per step.

All of them follow the probability-flow ODE dx = x0 d(alpha) + eps d(sigma), with
eps = (x - alpha x0) / sigma, so none needs a schedule's derivative. A sampler is a generator over
any `denoise(x, t) -> x0`; n steps give n + 1 states. Nothing runs before the first `next`, and the
caller decides what to do with each state: take the last, keep all, draw, stop.

Papers: DDPM (Ho 2020), DDIM (Song 2021), EDM (Karras 2022), DPM-Solver++ (Lu 2022), k-diffusion
(Crowson 2022).
"""
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn
from minidiff.schedules import Schedule, as_times, half_log_snr


class State(NamedTuple):
    """Where a sampler is: the time t, x_t, and the guess x0 made from it (in the last state, x)."""
    t: Tensor
    x: Tensor
    x0: Tensor


def ddim_step(schedule: Schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, eta: float = 0.0,
         randn_like: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
    """From x_t to x_s, for s < t, believing x0 (DDIM, Song 2021 eq. 12).

    eta = 1 is DDPM's posterior (Ho 2020 eq. 7). Raises ValueError for an eta outside [0, 1] or,
    where both times are on the CPU, for s > t.
    """
    check_eta(eta)
    t, s = as_times(t), as_times(s)
    if t.device.type == s.device.type == "cpu" and not (s <= t).all():
        raise ValueError(f"A jump leads from noise towards data, so s must not exceed t, "
                         f"got t={t.tolist()} and s={s.tolist()}.")
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    eps = (x - a_t * x0) / s_t
    std = eta * s_s / s_t * (s_t**2 - (a_t / a_s * s_s)**2).clamp(min=0).sqrt()
    x = a_s * x0 + (s_s**2 - std**2).clamp(min=0).sqrt() * eps
    return x + std * randn_like(x) if eta and s > 0 else x


@torch.no_grad()
def ddim(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor, eta: float = 0.0,
         randn_like: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """DDIM (Song 2021): one call a step, first order.

    On `Flow` it is Euler's method on the velocity, on `VE` EDM's. Raises ValueError, at the first
    `next`, for an eta outside [0, 1].
    """
    check_eta(eta)
    for t, s in pairwise(check_times(ts)):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        x = ddim_step(schedule, x, x0, t, s, eta, randn_like)
    yield State(s, x, x)


def ddpm(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor,
         randn_like: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """DDPM's ancestral sampler (Ho 2020 algorithm 2), on any grid: DDIM with eta = 1."""
    return ddim(denoise, schedule, x, ts, 1.0, randn_like)


@torch.no_grad()
def heun(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor) -> Iterator[State]:
    """The trapezoid rule: two calls a step (one in the last), second order.

    Karras 2022 algorithm 1, on any schedule.
    """
    for t, s in pairwise(check_times(ts)):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        y = ddim_step(schedule, x, x0, t, s)
        if s > 0:
            (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
            y0 = denoise(y, s)
            eps = ((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2
            y = x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps
        x = y
    yield State(s, x, x)


@torch.no_grad()
def dpmpp_2m(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor) -> Iterator[State]:
    """DPM-Solver++(2M): one call a step, second order on grids uniform in log-SNR.

    Lu 2022 algorithm 2. It is DDIM fed an x0 that is extrapolated, in half-log-SNR, from this guess
    and the one before.
    """
    before = None
    for t, s in pairwise(check_times(ts)):
        x0 = guess = denoise(x, t)
        yield State(t, x, x0)
        if before is not None and s > 0:
            r, t_lam, s_lam = (half_log_snr(schedule, u) for u in (before.t, t, s))
            guess = x0 + (s_lam - t_lam) / (2 * (t_lam - r)) * (x0 - before.x0)
        before = State(t, x, x0)
        x = ddim_step(schedule, x, guess, t, s)
    yield State(s, x, x)


euler, euler_ancestral = ddim, ddpm
SAMPLERS = {f.__name__: f for f in (ddpm, ddim, heun, dpmpp_2m)}
SAMPLERS |= {"euler": euler, "euler_ancestral": euler_ancestral}


def last(steps: Iterable[State]) -> Tensor:
    """Run a sampler to its end and return the sample."""
    return deque(steps, maxlen=1).pop().x                                      # keeps one at a time


def check_eta(eta: float) -> None:
    """Raises ValueError unless eta is in [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 (no new noise) and 1 (DDPM), got {eta}.")


def check_times(ts: Tensor) -> Tensor:
    """ts, or a ValueError unless it is a falling grid inside [0, 1] with at least one step."""
    if ts.ndim != 1 or len(ts) < 2 or not (ts[1:] < ts[:-1]).all() or ts[0] > 1 or ts[-1] < 0:
        raise ValueError("A sampler needs a 1-D grid of at least two falling times inside [0, 1]; "
                         "see schedules.timesteps(n).")
    return ts
