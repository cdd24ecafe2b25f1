"""Samplers: how guesses of the clean data become a sample, one `State` per step.

All of them follow the probability-flow ODE dx = x0 d(alpha) + eps d(sigma), with
eps = (x - alpha x0) / sigma, so none needs a schedule's derivative. A sampler is a generator over
any `denoise(x, t) -> x0`; n steps give n + 1 states. Nothing runs before the first `next`, and the
caller decides what to do with each state: take the last, keep all, draw, stop.

What all samplers share:
- `denoise(x, t)` gets t as a float64 tensor on the CPU, () if the grid has one time for all
  samples. A network that wants t (B,) must be wrapped: `Denoiser(net, schedule, prediction)`.
- `ts` is a falling grid in [0, 1], a tensor, list or array: (n + 1,), or (n + 1, B) with a grid of
  its own for each sample, or (n + 1, B, T) for each frame (Diffusion Forcing, Chen 2024). Samples
  and frames may then wait: a time that does not change leaves its x as it is.
- `differentiable=True` keeps the caller's grad mode, so that the last state has gradients with
  respect to the noise and to a network's parameters. Otherwise no gradients are recorded.
- attributes say what a sampler does: `calls_per_step`, calls of denoise in every step but the last,
  which has one; `stochastic`, whether it always draws noise and so takes `randn_like`.
- ValueError at the first `next` for an unsuitable grid or denoiser.

Papers: DDPM (Ho 2020), DDIM (Song 2021), EDM (Karras 2022), DPM-Solver++ (Lu 2022), k-diffusion
(Crowson 2022), Diffusion Forcing (Chen 2024), consistency models (Song 2023).
"""
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from inspect import signature
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff.denoiser import DenoiseFn, at_least_float32
from minidiff.runtime.tracing import values_can_be_checked
from minidiff.schedules import (
    Schedule,
    add_noise,
    append_dims,
    as_times,
    check_times_fit,
    half_log_snr,
)

__all__ = ["SAMPLERS", "State", "consistency", "ddim", "ddim_guess", "ddim_step", "ddpm",
           "dpmpp_2m", "euler", "euler_ancestral", "heun", "last", "sampler"]

MAX_EXTRAPOLATION = 100.0   # by dpmpp_2m, in lengths of the step before: more amplifies rounding


class State(NamedTuple):
    """Where a sampler is: the time t, x_t, and the guess x0 made from it (in the last state, x)."""
    t: Tensor
    x: Tensor
    x0: Tensor


def sampler(calls_per_step: int) -> Callable:
    """A decorator that makes a deterministic sampler of a generator function, your own for example.

    It sets the attributes and runs the steps without gradients unless `differentiable` is given.
    """
    def make(steps: Callable[..., Iterator[State]]) -> Callable[..., Iterator[State]]:
        without_gradients = torch.no_grad()(steps)

        @wraps(steps)
        def run(*args, differentiable: bool = False, **options) -> Iterator[State]:
            return (steps if differentiable else without_gradients)(*args, **options)
        run.calls_per_step, run.stochastic = calls_per_step, False
        return run
    return make


def ddim_step(schedule: Schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, eta: float = 0.0,
              randn_like: Callable[[Tensor], Tensor] = torch.randn_like) -> Tensor:
    """From x_t to x_s, for s <= t, given the guess x0 (DDIM, Song 2021 eq. 12).

    t, s: (), (B,) or, for clips (B, T, C, H, W), (B, T). Samples or frames with s = t keep their x.
    eta = 1 is DDPM's posterior (Ho 2020 eq. 7). Raises ValueError for an eta outside [0, 1], times
    of another shape or, if both times are on the CPU, for s > t.
    """
    check_eta(eta)
    t, s = (append_dims(as_times(u), x) for u in (t, s))
    if values_can_be_checked(t) and values_can_be_checked(s) and not (s <= t).all():
        raise ValueError(f"A step leads from noise towards data, so s must not exceed t, "
                         f"got t={t.flatten().tolist()} and s={s.flatten().tolist()}.")
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    std = eta * s_s / s_t * (s_t**2 - (a_t / a_s * s_s)**2).clamp(min=0).sqrt()
    by_x = (s_s**2 - std**2).clamp(min=0).sqrt() / s_t              # of eps = (x - a_t x0) / s_t
    by_x0, moves = a_s - by_x * a_t, s < t
    by_x, by_x0, std = (multiplier(c, x) for c in (
        torch.where(moves, by_x, 1), torch.where(moves, by_x0, 0), torch.where(moves, std, 0)))
    step = by_x * x + by_x0 * x0
    if eta and any_noise_left(s):
        step = step + std * randn_like(x)
    return step.to(x.dtype)


def ddim_guess(schedule: Schedule, x: Tensor, x_s: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The guess x0 with which `ddim_step`, eta = 0, leads from x at time t to x_s at time s < t.

    `x0 = (x_s - r x) / (alpha_s - r alpha_t)` with r = sigma_s / sigma_t: what one long step needs
    to land where many short ones did (Salimans 2022 appendix G). t, s: as in `ddim_step`. Raises
    ValueError for times of another shape or, if both are on the CPU, unless s < t everywhere.
    """
    t, s = (append_dims(as_times(u), x) for u in (t, s))
    if values_can_be_checked(t) and values_can_be_checked(s) and not (s < t).all():
        raise ValueError("Only a step towards data, s < t, has a guess, "
                         f"got t={t.flatten().tolist()} and s={s.flatten().tolist()}.")
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    ratio = s_s / s_t
    by_x, by_x_s = -ratio / (a_s - ratio * a_t), 1 / (a_s - ratio * a_t)
    return (multiplier(by_x, x) * x + multiplier(by_x_s, x) * x_s).to(x.dtype)


@sampler(calls_per_step=1)
def ddim(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor | Sequence,
         eta: float = 0.0, randn_like: Callable[[Tensor], Tensor] = torch.randn_like,
         ) -> Iterator[State]:
    """DDIM (Song 2021): one call a step, first order.

    On `Flow` it is Euler's method on the velocity, on `VE` EDM's. Raises ValueError, at the first
    `next`, for an eta outside [0, 1].
    """
    check_eta(eta)
    denoise, ts = check_inputs(denoise, x, ts)
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        x = ddim_step(schedule, x, x0, t, s, eta, randn_like)
    yield State(s, x, x)


def ddpm(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor | Sequence,
         randn_like: Callable[[Tensor], Tensor] = torch.randn_like, *,
         differentiable: bool = False) -> Iterator[State]:
    """DDPM's ancestral sampler (Ho 2020 algorithm 2), on any grid: DDIM with eta = 1."""
    return ddim(denoise, schedule, x, ts, 1.0, randn_like, differentiable=differentiable)


ddpm.calls_per_step, ddpm.stochastic = 1, True


@sampler(calls_per_step=1)
def consistency(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor | Sequence,
                randn_like: Callable[[Tensor], Tensor] = torch.randn_like) -> Iterator[State]:
    """Multistep consistency sampling: guess the end, then noise the guess anew to the next time.

    Song 2023 algorithm 1, for students whose guess is a sample (diffusers: LCM). An ordinary
    denoiser's guess is the mean of all clips that fit, so few calls of it leave a blur.
    """
    denoise, ts = check_inputs(denoise, x, ts)
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        new = add_noise(schedule, x0, randn_like(x), s) if any_noise_left(s) else x0
        x = torch.where(append_dims(s < t, x).to(x.device), new, x)
    yield State(s, x, x)


consistency.stochastic = True


@sampler(calls_per_step=2)
def heun(denoise: DenoiseFn, schedule: Schedule, x: Tensor,
         ts: Tensor | Sequence) -> Iterator[State]:
    """The trapezoid rule: two calls a step (one in the last), second order.

    Karras 2022 algorithm 1, on any schedule. Guidance in an interval makes it first order, unless
    the grid is `guidance.with_interval_ends(ts, interval)`.
    """
    denoise, ts = check_inputs(denoise, x, ts)
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        y = ddim_step(schedule, x, x0, t, s)
        if any_noise_left(s):
            (a_t, s_t), (a_s, s_s) = (levels(schedule, u, x) for u in (t, s))
            y0 = denoise(y, s)
            eps = ((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2
            both = x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps
            y = torch.where(append_dims((s > 0) & (s < t), x).to(x.device), both, y).to(x.dtype)
        x = y
    yield State(s, x, x)


@sampler(calls_per_step=1)
def dpmpp_2m(denoise: DenoiseFn, schedule: Schedule, x: Tensor,
             ts: Tensor | Sequence) -> Iterator[State]:
    """DPM-Solver++(2M): one call a step, second order on grids uniform in log-SNR.

    Lu 2022 algorithm 2. It is DDIM with an x0 that is extrapolated, in half-log-SNR, from this
    guess and the one before. After a much shorter step, as at the end of a guidance interval, it
    starts anew without extrapolation.
    """
    before = None
    denoise, ts = check_inputs(denoise, x, ts)
    for t, s in pairwise(ts):
        x0 = guess = denoise(x, t)
        yield State(t, x, x0)
        if before is not None:
            r, t_lam, s_lam = (half_log_snr(schedule, u) for u in (before.t, t, s))
            slope = (s_lam - t_lam) / (2 * (t_lam - r))
            usable = (s > 0) & (t < before.t) & (slope < MAX_EXTRAPOLATION)    # lambda(0) is inf
            slope = torch.where(usable, slope, 0)
            guess = x0 + multiplier(append_dims(slope, x), x) * (x0 - before.x0)
        before = State(t, x, x0)
        x = ddim_step(schedule, x, guess, t, s)
    yield State(s, x, x)


euler, euler_ancestral = ddim, ddpm
SAMPLERS = {f.__name__: f for f in (ddpm, ddim, heun, dpmpp_2m, consistency)}
SAMPLERS |= {"euler": euler, "euler_ancestral": euler_ancestral}


def last(steps: Iterable[State]) -> Tensor:
    """Run a sampler to its end and return the sample."""
    return deque(steps, maxlen=1).pop().x                                      # keeps one at a time


def levels(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at t, ready to multiply x or, with 1 in place of a sigma of 0, divide it."""
    alpha, sigma = schedule(append_dims(t, x))
    return multiplier(alpha, x), multiplier(torch.where(sigma > 0, sigma, 1), x)


def multiplier(c: Tensor, x: Tensor) -> Tensor:
    """c, ready to multiply x: one number stays as exact as it is, several are x's, or float32."""
    return c.to(x.device, at_least_float32(x)) if c.ndim else c


def any_noise_left(s: Tensor) -> bool:
    """Whether some time is above 0; True if the values cannot be checked."""
    return not values_can_be_checked(s) or bool((s > 0).any())


def check_eta(eta: float) -> None:
    """Raises ValueError unless eta is in [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 (no new noise) and 1 (DDPM), got {eta}.")


def check_inputs(denoise: DenoiseFn, x: Tensor, ts: Tensor | Sequence) -> tuple[DenoiseFn, Tensor]:
    """denoise, which then checks what it returns, and ts in float64 on the CPU.

    Raises ValueError for an unsuitable grid, or for a network that is not wrapped in a `Denoiser`.
    """
    is_network = isinstance(denoise, nn.Module) and not hasattr(denoise, "prediction")
    wrap = ("A network is not a denoiser: wrap it, Denoiser(net, schedule, prediction), and add "
            "its condition with guided(...) or lambda x, t: denoiser(x, t, cond).")
    if is_network and "cond" in signature(denoise.forward).parameters:
        raise ValueError(f"A sampler needs denoise(x, t) -> x0, got a {type(denoise).__name__}. "
                         + wrap)
    errors = (IndexError, TypeError, *[RuntimeError] * is_network)

    def checked(x: Tensor, t: Tensor) -> Tensor:
        try:
            x0 = denoise(x, t)
        except errors as e:
            raise ValueError(f"denoise(x, t) failed for x of shape {tuple(x.shape)} and t of shape "
                             f"{tuple(t.shape)}, a float64 tensor on the CPU: {e}. {wrap}") from e
        if getattr(x0, "shape", None) != x.shape:
            raise ValueError("denoise(x, t) must return a tensor like x, of shape "
                             f"{tuple(x.shape)}, got {tuple(getattr(x0, 'shape', ())) or x0!r}.")
        return x0
    return checked, check_times(ts, x)


def check_times(ts: Tensor | Sequence, x: Tensor) -> Tensor:
    """ts in float64 on the CPU.

    Raises ValueError unless it falls, inside [0, 1], in one step or more, and each of its times
    is (), (B,) or (B, T). With more than one time, some may stay while others fall.
    """
    ts = as_times(ts).to("cpu", torch.float64)
    rows = ts.reshape(len(ts), -1) if ts.ndim else ts
    if (ts.ndim == 0 or len(ts) < 2 or not (rows[1:] <= rows[:-1]).all()
            or not (rows[1:] < rows[:-1]).any(1).all() or rows[0].max() > 1 or rows[-1].min() < 0):
        raise ValueError("A sampler needs a grid of at least two falling times inside [0, 1], "
                         "(n + 1,), (n + 1, B) or (n + 1, B, T); see schedules.timesteps(n).")
    check_times_fit(ts[0], x)
    return ts
