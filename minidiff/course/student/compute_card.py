"""The compute card: the cost of a training on this machine, before it starts.

The time and memory of a few steps of a copy are measured; seconds = steps * seconds per step. The
largest size that fits the budget is chosen.
"""
import copy
import html
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import torch

from minidiff.train import Objective, TrainState, train
from minidiff.training.cost import measure_step_cost
from minidiff.training.profiles import get_profile

GIB = 2 ** 30


class Budget(NamedTuple):
    """The limits of a training: minutes, and GiB of the device's memory."""
    minutes: float
    gib: float


BUDGETS = {"smoke": Budget(0.25, 4), "cpu": Budget(10, 4), "gpu": Budget(10, 12)}


class SizeCost(NamedTuple):
    """A possible training: its cost here, and why it exceeds the budget ("" if it fits).

    bytes: None if memory was not measured.
    """
    name: str
    steps: int
    seconds: float
    bytes: int | None
    excess: str


class ComputeCard(NamedTuple):
    """The cost of each size here, and the chosen size: its name `choice`, and `steps`.

    seconds: of one step. explanation: why this size was chosen. Shows as HTML and plain text.
    """
    choice: str
    steps: int
    seconds: float
    bytes: int | None
    sizes: tuple[SizeCost, ...]
    explanation: str

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, as text."""
        return [(s.name, f"{s.steps:,}", format_duration(s.seconds), format_bytes(s.bytes),
                 ("too much" if s.excess else "fits") + ", chosen" * (s.name == self.choice))
                for s in self.sizes]

    def __repr__(self) -> str:
        table = [HEADINGS, *self.rows()]
        wide = [max(map(len, column)) for column in zip(*table)]
        lines = ["  " + "  ".join(c.ljust(w) for c, w in zip(row, wide)).rstrip() for row in table]
        return "\n".join([self.caption(), *lines, self.explanation])

    def caption(self) -> str:
        """The card's caption, with the measured milliseconds per step."""
        return f"Compute card: {1e3 * self.seconds:.3g} ms a step on this machine"

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...]) -> str:
            name, *rest = map(html.escape, cells)
            bold = ' style="font-weight: bold"' if "chosen" in rest[-1] else ""
            return (f'<tr{bold}><th scope="row">{name}</th>'
                    + "".join(f"<td>{c}</td>" for c in rest) + "</tr>")
        head = "".join(f'<th scope="col">{h}</th>' for h in HEADINGS)
        return (f'<div role="status"><table><caption>{self.caption()}</caption>'
                f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(row, self.rows()))}</tbody>"
                f"</table><p>{html.escape(self.explanation)}</p></div>")


HEADINGS = "size", "steps", "time", "memory", "budget"
Sizes = Mapping[str, int | tuple[int, float]]


def compute_card(run: TrainState, batches: Iterable[tuple], sizes: Sizes,
                 objective: Objective | None = None,
                 budget: Budget | tuple[float, float] | float | None = None) -> ComputeCard:
    """The costs of a training's sizes here, measured on three steps of a copy after a warm-up step.

    run, batches, objective: as for `train.train`; the run stays as it is, and so do random numbers.
    Four batches are taken.
    sizes: name -> steps, or (steps, s) if a step costs s times the measured one, in time and, if
    s > 1, at most s times in memory.
    budget: (minutes, GiB), or minutes; the profile's unless given. Raises ValueError for bad sizes
    or budgets, or fewer than two batches.
    """
    choose_size((1, 1), sizes, budget)                          # refuses bad sizes before measuring
    with torch.random.fork_rng():
        found = measure_step_cost(copy.deepcopy(run), batches, partial(train, objective=objective))
    return choose_size((found.seconds, found.bytes), sizes, budget)


def choose_size(step_cost: tuple[float, int | None], sizes: Sizes, budget=None) -> ComputeCard:
    """The arithmetic of the card, from a step that was measured before.

    step_cost: seconds and bytes, or None for the bytes. The longest size that fits is chosen; the
    shortest, with a warning, if none does. Raises ValueError for bad sizes or budgets.
    """
    budget, (seconds, size) = parse_budget(budget), step_cost
    plans = {name: parse_size(name, value) for name, value in dict(sizes).items()}
    if not plans:
        raise ValueError("A compute card needs at least one size, as in {'small': 300}.")
    rated = []
    for name, (steps, scale) in plans.items():
        needs = None if size is None else round(size * max(1.0, scale))
        took = seconds * steps * scale
        rated.append(SizeCost(name, steps, took, needs, over_budget_reason(took, needs, budget)))
    order = sorted(rated, key=lambda s: plans[s.name][0] * plans[s.name][1])
    chosen = next((s for s in reversed(order) if not s.excess), order[0])
    return ComputeCard(chosen.name, chosen.steps, seconds, size, tuple(rated),
                choice_reason(chosen, order[-1]))


def parse_size(name: str, value: object) -> tuple[int, float]:
    """A size's (steps, cost of a step in measured steps). Raises ValueError that names the size."""
    steps, scale = value if isinstance(value, tuple) and len(value) == 2 else (value, 1.0)
    numbers = not isinstance(steps, bool) and isinstance(steps, int) and isinstance(
        scale, (int, float))
    if not (numbers and steps >= 1 and 0 < scale < float("inf")):
        raise ValueError(f"The size {name!r} is a number of steps, or (steps, cost of a step), "
                         f"not {value!r}.")
    return steps, float(scale)


def parse_budget(budget) -> Budget:
    """A budget from (minutes, GiB), minutes, or None. Raises ValueError unless it is positive."""
    usual = BUDGETS[get_profile().name]
    if budget is None:
        return usual
    try:
        pair = Budget(*budget) if isinstance(budget, tuple) else Budget(budget, usual.gib)
        if pair.minutes > 0 and pair.gib > 0:
            return pair
    except TypeError:
        pass
    raise ValueError(f"A budget is positive minutes, or (minutes, GiB), not {budget!r}.")


def over_budget_reason(seconds: float, size: int | None, budget: Budget) -> str:
    """How a size exceeds the budget, in words; empty if it fits."""
    reasons = []
    if seconds > 60 * budget.minutes:
        allowed = format_duration(60 * budget.minutes)
        reasons.append(f"take about {format_duration(seconds)} (budget: {allowed})")
    if size is not None and size > GIB * budget.gib:
        reasons.append(f"need about {format_bytes(size)} (budget: {budget.gib:g} GiB)")
    return " and ".join(reasons)


def choice_reason(chosen: SizeCost, largest: SizeCost) -> str:
    """Why this size, in a sentence or two."""
    if chosen.excess:
        smaller = " A smaller batch needs less memory." if "need" in chosen.excess else ""
        return (f"Warning: here even “{chosen.name}”, the smallest size, would {chosen.excess}. "
                f"It is chosen all the same.{smaller}")
    fits = f"“{chosen.name}” fits: {chosen.steps:,} steps, about {format_duration(chosen.seconds)}."
    return f"Here “{largest.name}” would {largest.excess}; {fits}" if largest.excess else fits


def format_duration(seconds: float) -> str:
    """A duration in a readable unit: 0.4 s, 45 s, 12 min, 2.5 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 99.5:
        return f"{minutes:.1f} min" if minutes < 9.95 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"


def format_bytes(size: int | None) -> str:
    """Bytes in a readable unit."""
    if size is None:
        return "not measured"
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{max(1, round(size / 2**20))} MiB"
