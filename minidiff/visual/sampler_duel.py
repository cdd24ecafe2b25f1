"""The sampler duel: same noise, same denoiser, several samplers, at equal numbers of network calls.

Each result is held against a fine solution of the probability-flow ODE from the same noise: the
error is their root mean squared difference. If it falls like n^-p over n steps, p is the sampler's
order of convergence; the fit is a straight line through logarithms. DDPM draws noise of its own and
solves another equation: it has an error here, but no order.
"""
from collections.abc import Callable, Sequence
from math import isnan, log, nan
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.data import media
from minidiff.denoiser import DenoiseFn
from minidiff.runtime.seeds import generator
from minidiff.samplers import SAMPLERS, heun, last
from minidiff.schedules import Schedule, timesteps
from minidiff.visual import sampler_duel_figures
from minidiff.visual.viewer import Viewer

ROUNDING_FLOOR = 30                 # errors below so many roundings of the dtype say nothing about the order


class DuelRun(NamedTuple):
    """One sampler's way with at most `budget` calls: those it made, its steps, error and sample."""
    sampler: str
    budget: int
    calls: int
    steps: int
    error: float
    x: Tensor


class SamplerDuel(Viewer):
    """What `sampler_duel` returns: `runs`, the `reference` (B, ...) and `orders` by sampler (NaN: none)."""

    def __init__(self, runs: list[DuelRun], reference: Tensor, orders: dict[str, float],
                 decode: Callable[[Tensor], Tensor], sample: int, caption: str):
        self.runs, self.reference, self.orders = runs, reference, orders
        shown = sampler_duel_figures.decoded_runs(runs, reference, decode, sample)
        text = "\n".join(filter(None, (caption, error_table(runs, orders))))
        plot, cursor = sampler_duel_figures.error_plot_svg(runs)
        super().__init__(caption, sampler_duel_figures.sliders(runs, shown["reference"].shape[1]),
                         sampler_duel_figures.panels(runs, shown), sampler_duel_figures.fallback_figure(runs, shown), text,
                         columns=len(shown), footer_html=error_table_html(runs, orders), plot_html=plot,
                         cursor_positions=cursor)


def sampler_duel(denoise: DenoiseFn, schedule: Schedule, x: Tensor, calls: Sequence[int] = (4, 8, 16, 32), *,
         samplers: Sequence[str] = ("ddpm", "ddim", "heun", "dpmpp_2m"),
         grid: Callable[[int], Tensor] = timesteps, reference_steps: int | None = None,
         decode: Callable[[Tensor], Tensor] = media.to_unit, sample: int = 0, seed: int = 0,
         caption: str = "") -> SamplerDuel:
    """Several samplers from the same noise x (B, C, H, W) or (B, T, C, H, W), side by side.

    calls: the numbers of network calls to compare at; each sampler takes as many steps as they
    allow (Heun calls twice a step, but once in the last). grid: n -> the (n + 1,) times of n steps.
    reference_steps: Heun steps of the reference, 2 max(calls) unless given. decode: samples as
    clips in [0, 1], such as `Pipeline.decode`. sample: which of the B is shown; errors are over all
    of them. seed: of DDPM's noise.
    Raises ValueError for unknown samplers, a sample that is not there, or fewer calls than one
    step needs.
    """
    calls = sorted(set(calls))
    if not samplers or (unknown := [s for s in samplers if s not in SAMPLERS]):
        raise ValueError(f"Unknown samplers {', '.join(map(repr, unknown)) if samplers else '()'}; "
                         f"choose among {', '.join(SAMPLERS)}.")
    if not 0 <= sample < len(x):
        raise ValueError(f"There is no sample {sample}; x holds samples 0 to {len(x) - 1}.")
    if not calls or calls[0] < 1:
        raise ValueError(f"calls must be whole numbers from 1 up, got {calls}.")
    reference = last(heun(denoise, schedule, x, grid(reference_steps or 2 * calls[-1])))
    runs = [run_sampler(name, denoise, schedule, x, grid, budget, reference, seed)
            for name in samplers for budget in calls]
    orders = {name: convergence_order([r for r in runs if r.sampler == name]) for name in samplers}
    return SamplerDuel(runs, reference, orders, decode, sample, caption)


def run_sampler(name: str, denoise: DenoiseFn, schedule: Schedule, x: Tensor, grid: Callable[[int], Tensor],
        budget: int, reference: Tensor, seed: int) -> DuelRun:
    """One sampler from x with at most `budget` calls, which are counted."""
    made = 0

    def counted(x: Tensor, t: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return denoise(x, t)

    ts, random = longest_grid(name, grid, budget), generator("sampler duel", seed, budget)

    def randn_like(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=random, dtype=x.dtype).to(x.device)

    noisy = {"randn_like": randn_like} if SAMPLERS[name].stochastic else {}
    sample = last(SAMPLERS[name](counted, schedule, x, ts, **noisy))
    return DuelRun(name, budget, made, len(ts) - 1, rms(sample - reference), sample)


def longest_grid(name: str, grid: Callable[[int], Tensor], budget: int) -> Tensor:
    """The longest grid that a sampler goes through in at most `budget` calls.

    Raises ValueError if not even one step fits.
    """
    per_step = SAMPLERS[name].calls_per_step
    for n in range((budget - 1) // per_step + 1, 0, -1):
        ts = grid(n)
        more = (per_step - 1) * int((ts[1:] > 0).sum())        # the step to 0 is one call
        if len(ts) - 1 + more <= budget:
            return ts
    raise ValueError(f"{name} cannot take one step with {budget} network calls.")


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def convergence_order(runs: Sequence[DuelRun]) -> float:
    """p of error ~ steps^-p, from the three finest runs of one sampler whose error is no rounding.

    NaN with fewer than two of them, and for a sampler that draws noise.
    """
    least = ROUNDING_FLOOR * torch.finfo(runs[0].x.dtype).eps * max(rms(r.x) for r in runs)
    good = [(log(r.steps), log(r.error)) for r in runs if r.error > least][-3:]
    n, error = torch.tensor(good, dtype=torch.float64).view(-1, 2).T
    if SAMPLERS[runs[0].sampler].stochastic or len(n.unique()) < 2:
        return nan
    n = n - n.mean()
    return -float((n * error).sum() / (n * n).sum())


def group_by_sampler(runs: Sequence[DuelRun]) -> dict[str, list[DuelRun]]:
    return {name: [r for r in runs if r.sampler == name]
            for name in dict.fromkeys(r.sampler for r in runs)}


def error_table(runs: Sequence[DuelRun], orders: dict[str, float]) -> str:
    """The errors as text: a line per sampler, a column per number of calls, the order last."""
    rows = group_by_sampler(runs)
    budgets = next(iter(rows.values()))
    lines = ["error (RMS) against a fine reference, after so many network calls; order fitted",
             f"{'sampler':16}" + "".join(f"{r.budget:>10}" for r in budgets) + f"{'order':>8}"]
    for name, row in rows.items():
        lines.append(f"{name:16}" + "".join(f"{r.error:#10.2g}" for r in row)
                     + f"{format_order(orders[name]):>8}")
    return "\n".join(lines + unused_calls(rows))


def format_order(p: float) -> str:
    return "–" if isnan(p) else f"{p:.2f}"


def unused_calls(rows: dict[str, list[DuelRun]]) -> list[str]:
    """A sentence for each sampler that could not use up its calls."""
    return [f"{name} used {', '.join(str(r.calls) for r in row)} calls, for "
            f"{', '.join(str(r.steps) for r in row)} steps."
            for name, row in rows.items() if any(r.calls < r.budget for r in row)]


def error_table_html(runs: Sequence[DuelRun], orders: dict[str, float]) -> str:
    """The same as HTML, with the least error of each column in bold."""
    rows = group_by_sampler(runs)
    budgets = [r.budget for r in next(iter(rows.values()))]
    least = [min(r.error for r in runs if r.budget == b) for b in budgets]
    head = "".join(f'<th scope="col" data-column="{k}">{b}</th>' for k, b in enumerate(budgets))
    body = ""
    for name, row in rows.items():
        cells = "".join(f'<td data-column="{k}"{" class=best" * (r.error == least[k])}>'
                        f"{r.error:#.2g}</td>" for k, r in enumerate(row))
        body += f'<tr><th scope="row">{name}</th>{cells}<td>{format_order(orders[name])}</td></tr>\n'
    notes = "".join(f'<div class="keys">{s}</div>' for s in unused_calls(rows))
    return (f'<table><thead><tr><th scope="col">error after … calls</th>{head}'
            f'<th scope="col">order</th></tr></thead>\n<tbody>{body}</tbody></table>{notes}')
