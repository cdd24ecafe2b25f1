"""Chapter 08, fast samplers: the student's exercises and the inputs of their checks."""
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.schedules import Cosine, Flow, log_snr_timesteps, timesteps

DTYPES = torch.float32, torch.float64
JUMPS = (0.9, 0.6), (0.5, 0.4), (0.2, 0.0)


# The bug hunt's

def colleagues_grid(n: int) -> Tensor:
    """The colleague's grid of n steps, of the bug hunt."""
    return torch.linspace(1, 0.06, n + 1)


# Cases

def jumps() -> Iterator[tuple]:
    """Steps to try: (label, schedule, x, x0, t, s), both schedules, the last step among them."""
    for seed, (schedule, (t, s), dtype) in enumerate(
            (f, jump, d) for f in (Cosine(), Flow()) for jump in JUMPS for d in DTYPES):
        x, x0 = (
            seeded_randn(seed, 2, 1, 4, 4, dtype=dtype),
            seeded_randn(seed + 50, 2, 1, 4, 4, dtype=dtype),
        )
        here, there = (torch.tensor(v, dtype=torch.float64) for v in (t, s))
        yield (f"{type(schedule).__name__}, from t = {t} to s = {s}, {dtype_name(dtype)}",
               schedule, x, x0, here, there)


def ddim_cases() -> list[Case]:
    """The steps of `jumps`."""
    return [Case(label, rest) for label, *rest in jumps()]


def eta_cases() -> list[Case]:
    """The steps of `jumps` with three values of eta and the new noise."""
    return [Case(f"eta = {eta}, {label}",
                 (*rest, eta, seeded_randn(99, *rest[1].shape).to(rest[1])))
            for eta in (0.0, 0.5, 1.0) for label, *rest in jumps()
            if (rest[1].dtype == torch.float32) == (eta == 0.5)]


def order_cases() -> list[Case]:
    """Numbers of steps with errors that fall at a known order, up to a little noise."""
    cases = []
    doubled = 2 ** torch.arange(4)
    for seed, (steps, slope) in enumerate(((8 * doubled, 1), (4 * doubled, 2), (16 * doubled, 2.5),
                                           (torch.tensor([4, 6, 30, 40]), 1.5))):
        wobble = 0.1 * seeded_randn(seed, 4, dtype=torch.float64)
        errors = 0.7 * torch.exp(wobble) * steps.double()**-slope
        cases.append(Case(f"steps {steps.tolist()}, errors that fall like n^-{slope}, roughly",
                          (steps, errors)))
    return cases


def bent(x: Tensor, t: Tensor) -> Tensor:
    """A stand-in for a network: bent in x, and another function at every time."""
    return torch.tanh((2 - t).to(x) * x) + t.to(x) / 3


def heun_cases() -> list[Case]:
    """The steps of `jumps`, with a denoiser in place of a guess."""
    return [Case(label, (bent, schedule, x, t, s)) for label, schedule, x, _, t, s in jumps()]


def both(f, ts: Tensor, schedule, x: Tensor, y: Tensor) -> list:
    """All states of two batches, one after the other: one must not affect the other."""
    return [list(f(bent, schedule, v, ts)) for v in (x, y)]


def two_m_cases() -> list[Case]:
    """Whole loops of 1 and 4 steps on two schedules and two grids, two batches in turn."""
    cases = []
    for seed, (schedule, n) in enumerate((s, n) for s in (Cosine(), Flow()) for n in (1, 4)):
        x, y = (
            seeded_randn(seed, 2, 3, dtype=torch.float64),
            seeded_randn(seed + 50, 2, 3, dtype=torch.float64),
        )
        grids = {"uniform in t": timesteps(n)} | ({} if n == 1 else {
            "uniform in log-SNR": log_snr_timesteps(schedule, n, 0.02, 0.98)})
        cases += [Case(f"{type(schedule).__name__}, {n} step{'s' * (n > 1)} {kind}, two batches",
                       (), call=partial(both, ts=ts, schedule=schedule, x=x, y=y))
                  for kind, ts in grids.items()]
    return cases


def grid_cases() -> list[Case]:
    """Grids of several lengths and ends."""
    return [Case(f"n = {n}, from t = {t_max} to {t_min}", (n, t_min, t_max))
            for n, t_min, t_max in ((2, 0.01, 0.99), (5, 1e-3, 0.999), (20, 0.05, 0.9))]


EXERCISES = (
    Exercise(
        "c08-ddim", "ddim_step", "One step of DDIM", 1, 6, 1,
        ("x and the guess x0 imply a noise. Where would the same data with the same noise be at "
         "time s?",
         "The implied noise: solve x = alpha_t x0 + sigma_t eps for eps. Then mix anew, with the "
         "alpha and sigma of s.",
         "eps = (x - a_t * x0) / s_t, and x_s = a_s * x0 + s_s * eps."),
        ddim_cases, ("minidiff.samplers.ddim_step",)),
    Exercise(
        "c08-order", "order", "The order of a solver", 2, 8, 2,
        ("If error = constant * n^-p, what is log(error) as a function of log(n)?",
         "A straight line with slope -p. Fit it by least squares: slope = covariance / variance.",
         "a, b = steps.double().log(), errors.log(); a = a - a.mean(); the slope is "
         "(a * b).sum() / (a * a).sum(), and the order is minus that."),
        order_cases, ("minidiff.visual.sampler_duel.convergence_order",), gradients=False),
    Exercise(
        "c08-heun", "heun_step", "One step of Heun", 3, 12, 2,
        ("The trapezoid rule: the mean of the slopes at both ends of the step. To know the slope "
         "at s you must first go there.",
         "Go with ddim_step to y, compute the guess y0 there, at time s. Both guesses imply a "
         "noise, each with its own x, alpha and sigma. At s = 0 y is the answer.",
         "x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * (eps_t + eps_s) / 2, with eps_s = "
         "(y - a_s * y0) / s_s."),
        heun_cases, ("minidiff.samplers.heun", "minidiff.samplers.ddim_step"), gradients=False),
    Exercise(
        "c08-grid", "log_snr_grid", "A grid that is even in log-SNR", 2, 8, 2,
        ("Find lambda at both ends, put n values evenly between them, and turn each back into a "
         "time.",
         "On Flow lambda = log((1 - t) / t), which is -torch.logit(t). Solve that for t: "
         "torch.sigmoid undoes torch.logit.",
         "torch.sigmoid(-torch.linspace(first, final, n, dtype=torch.float64)), with first and "
         "final the lambda of t_max and t_min; then torch.cat with a single exact 0."),
        grid_cases, ("minidiff.schedules.log_snr_timesteps",), gradients=False),
    Exercise(
        "c08-2m", "two_m", "DPM-Solver++(2M)", 3, 15, 3,
        ("It is DDIM's loop. Only the guess given to ddim_step changes: it is for the middle of "
         "the step instead of its beginning.",
         "Two guesses, at u and at t, are a line in lambda. The middle of the step lies half of "
         "lambda_s - lambda_t further on. Without a guess before, or at s = 0 (lambda is "
         "infinite), take x0 as it is.",
         "guess = x0 + (l_s - l_t) / (2 * (l_t - l_u)) * (x0 - before). Remember the network's "
         "own x0 and t for the next round, not the extrapolated one; a local variable forgets the "
         "batch before."),
        two_m_cases, ("minidiff.samplers.dpmpp_2m", "minidiff.samplers.ddim_step"),
        gradients=False),
    Exercise(
        "c08-eta", "eta_step", "Any amount of new noise", 2, 8, 2,
        ("Start from ddim_step: alpha_s x0 plus noise of standard deviation sigma_s. Part of that "
         "noise should now be new.",
         "DDPM's new noise has std = s_s / s_t * sqrt(s_t^2 - (a_t / a_s * s_s)^2); take eta "
         "times that. Two independent noises add their variances.",
         "x_s = a_s * x0 + (s_s**2 - std**2).sqrt() * eps + std * noise."),
        eta_cases, ("minidiff.samplers.ddim_step",)),
)

QUESTIONS = (
    Question("c08-same", "predict",
             "One noise, the shipped model, three numbers of steps. With which sampler will the "
             "three clips show the same digit on the same path?",
             ("With both", "With DDIM only", "With DDPM only", "With neither")),
    Question("c08-longest", "predict",
             "A grid uniform in t, from 1 to 0. n grows from 16 to 64 to 256. What does the "
             "longest finite step, measured in lambda, do?",
             ("It shrinks like 1 / n", "It shrinks like 1 / sqrt(n)", "It hardly changes")),
    Question("c08-bug", "bughunt",
             "More steps do not help this run: beyond some number its error stays where it is, for "
             "both samplers, and its clips have a grain. Which of its four choices is wrong?",
             ("The sampler is of first order only",
              "The grid ends before t = 0",
              "Everything is computed in float32",
              "The reference takes too few steps to be one"), 1, 4),
)
