"""The sampler duel: several samplers from the same noise with the same denoiser and call budget.

Each result is compared with a fine solution of the probability-flow ODE from the same noise; the
error is the root mean squared difference. If it falls like n^-p over n steps, p is the sampler's
order of convergence, fitted as a straight line through the logarithms. DDPM draws noise of its own
and solves another equation: it has an error here, but no order.
"""
from collections.abc import Callable, Sequence
from math import inf, isnan, log, nan

import torch
from torch import Tensor

from minidiff.data import media
from minidiff.denoiser import DenoiseFn
from minidiff.runtime.seeds import generator
from minidiff.runtime.settings import none_means_default
from minidiff.samplers import SAMPLERS, heun, last
from minidiff.schedules import Schedule, timesteps
from minidiff.visual import sampler_duel_figures
from minidiff.visual.figures import check_sample
from minidiff.visual.sampler_duel_figures import DuelRun, call_budgets, group_by_sampler
from minidiff.visual.viewer import Viewer

ROUNDING_FLOOR = 30              # the order is fitted to errors above so many roundings


class SamplerDuel(Viewer):
    """The result of `sampler_duel`: a viewer with `runs`, `reference` (B, ...) and `orders`.

    orders: the order of convergence by sampler, NaN if there is none.
    """

    def __init__(self, runs: list[DuelRun], reference: Tensor, orders: dict[str, float],
                 decode: Callable[[Tensor], Tensor], sample: int, caption: str):
        self.runs, self.reference, self.orders = runs, reference, orders
        shown = sampler_duel_figures.decoded_runs(runs, reference, decode, sample)
        text = "\n".join(filter(None, (caption, error_table(runs, orders))))
        plot, cursor = sampler_duel_figures.error_plot_svg(runs)
        super().__init__(caption,
                         sampler_duel_figures.sliders(runs, shown["reference"].shape[1]),
                         sampler_duel_figures.panels(runs, shown),
                         sampler_duel_figures.fallback_figure(runs, shown), text,
                         columns=len(shown), footer_html=error_table_html(runs, orders),
                         plot_html=plot, cursor_positions=cursor)


@none_means_default
def sampler_duel(denoise: DenoiseFn, schedule: Schedule, x: Tensor,
                 calls: Sequence[int] = (4, 8, 16, 32), *,
                 samplers: Sequence[str] = ("ddpm", "ddim", "heun", "dpmpp_2m"),
                 grid: Callable[[int], Tensor] = timesteps, reference_steps: int | None = None,
                 decode: Callable[[Tensor], Tensor] = media.to_unit, sample: int = 0, seed: int = 0,
                 caption: str = "") -> SamplerDuel:
    """Several samplers from the same noise x (B, C, H, W) or (B, T, C, H, W), side by side.

    calls: the numbers of network calls to compare; each sampler takes as many steps as they allow
    (Heun makes two calls per step, but one in the last). grid: n -> the (n + 1,) times of n steps.
    reference_steps: Heun steps of the reference, 2 max(calls) unless given. decode: samples ->
    clips in [0, 1], such as `Pipeline.decode`. sample: which of the B is shown; errors are over all
    of them. seed: of DDPM's noise.
    Raises ValueError for unknown samplers, a sample that does not exist, fewer calls than one step
    needs, and a denoiser that returns NaN or infinity.
    """
    calls = sorted(set(calls))
    if not samplers or (unknown := [s for s in samplers if s not in SAMPLERS]):
        raise ValueError(f"Unknown samplers {', '.join(map(repr, unknown)) if samplers else '()'}; "
                         f"choose among {', '.join(SAMPLERS)}.")
    check_sample(sample, len(x))
    if not calls or calls[0] < 1:
        raise ValueError(f"calls must be whole numbers from 1 up, got {calls}.")
    reference = last(heun(denoise, schedule, x, grid(reference_steps or 2 * calls[-1])))
    if not reference.isfinite().all():
        raise ValueError("The reference solution holds NaN or infinity, so no error can be "
                         "computed: check that the denoiser's weights and x are finite.")
    runs = [run_sampler(name, denoise, schedule, x, grid, budget, reference, seed)
            for name in samplers for budget in calls]
    orders = {name: convergence_order(row) for name, row in group_by_sampler(runs).items()}
    return SamplerDuel(runs, reference, orders, decode, sample, caption)


def run_sampler(name: str, denoise: DenoiseFn, schedule: Schedule, x: Tensor,
                grid: Callable[[int], Tensor], budget: int, reference: Tensor,
                seed: int) -> DuelRun:
    """One sampler from x with at most `budget` network calls, which are counted."""
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
    """The grid with most steps that a sampler can take with at most `budget` network calls.

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
    """The root of the mean of squares."""
    return float(x.double().square().mean().sqrt())


def convergence_order(runs: Sequence[DuelRun]) -> float:
    """p of error ~ steps^-p, from the three finest runs of one sampler that are above rounding.

    NaN if they are fewer than two, and for a sampler that draws noise.
    """
    least = ROUNDING_FLOOR * torch.finfo(runs[0].x.dtype).eps * max(rms(r.x) for r in runs)
    good = [(log(r.steps), log(r.error)) for r in runs if least < r.error < inf][-3:]
    n, error = torch.tensor(good, dtype=torch.float64).view(-1, 2).T
    if SAMPLERS[runs[0].sampler].stochastic or len(n.unique()) < 2:
        return nan
    n = n - n.mean()
    return -float((n * error).sum() / (n * n).sum())


def error_table(runs: Sequence[DuelRun], orders: dict[str, float]) -> str:
    """The errors as text: a line per sampler, a column per number of calls, the order last."""
    rows = group_by_sampler(runs)
    lines = ["error (RMS) against a fine reference, after so many network calls; order fitted",
             f"{'sampler':16}" + "".join(f"{b:>10}" for b in call_budgets(runs)) + f"{'order':>8}"]
    for name, row in rows.items():
        lines.append(f"{name:16}" + "".join(f"{r.error:#10.2g}" for r in row)
                     + f"{format_order(orders[name]):>8}")
    return "\n".join(lines + unused_calls(rows))


def format_order(p: float) -> str:
    """An order of convergence as text; a dash for none."""
    return "–" if isnan(p) else f"{p:.2f}"


def unused_calls(rows: dict[str, list[DuelRun]]) -> list[str]:
    """A sentence for each sampler that could not use all of its network calls."""
    return [f"{name} used {', '.join(str(r.calls) for r in row)} calls, for "
            f"{', '.join(str(r.steps) for r in row)} steps."
            for name, row in rows.items() if any(r.calls < r.budget for r in row)]


def error_table_html(runs: Sequence[DuelRun], orders: dict[str, float]) -> str:
    """`error_table` as HTML, with the least error of each column in bold."""
    rows, budgets = group_by_sampler(runs), call_budgets(runs)
    least = [min(r.error for r in runs if r.budget == b) for b in budgets]
    head = "".join(f'<th scope="col" data-column="{k}">{b}</th>' for k, b in enumerate(budgets))
    body = ""
    for name, row in rows.items():
        cells = "".join(f'<td data-column="{k}"{" class=best" * (r.error == least[k])}>'
                        f"{r.error:#.2g}</td>" for k, r in enumerate(row))
        order = f"<td>{format_order(orders[name])}</td>"
        body += f'<tr><th scope="row">{name}</th>{cells}{order}</tr>\n'
    notes = "".join(f'<div class="keys">{s}</div>' for s in unused_calls(rows))
    return (f'<table><thead><tr><th scope="col">error after … calls</th>{head}'
            f'<th scope="col">order</th></tr></thead>\n<tbody>{body}</tbody></table>{notes}')
