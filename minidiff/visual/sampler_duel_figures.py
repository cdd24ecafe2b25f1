"""The pictures of a sampler duel: clips and differences to leaf through, and the errors as lines.

Functions that take `shown` expect, by sampler and "reference" at the end, one sample
(A, T, C, H, W) in [-1, 1] for A call budgets (1 for the reference).
"""
from collections.abc import Callable, Sequence
from math import ceil, floor, inf, log, log10
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from minidiff.visual import figures
from minidiff.visual.figures import GREY_LEVELS
from minidiff.visual.viewer import INK_BAR, Slider, ViewerPanel, frame_slider, quantised_tiles

MAX_DIFFERENCE = 0.5                          # of ink: larger differences have the full colour, too
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 230, 52, 360, 26, 190     # of the plot, in SVG units


class DuelRun(NamedTuple):
    """One sampler with at most `budget` network calls: its calls, steps, error and sample."""
    sampler: str
    budget: int
    calls: int
    steps: int
    error: float
    x: Tensor


def group_by_sampler(runs: Sequence[DuelRun]) -> dict[str, list[DuelRun]]:
    """The runs of each sampler, in their order."""
    return {name: [r for r in runs if r.sampler == name]
            for name in dict.fromkeys(r.sampler for r in runs)}


def call_budgets(runs: Sequence[DuelRun]) -> list[int]:
    """The numbers of network calls that are compared."""
    return list(dict.fromkeys(r.budget for r in runs))


def decoded_runs(runs: Sequence[DuelRun], reference: Tensor, decode: Callable[[Tensor], Tensor],
                 sample: int) -> dict[str, Tensor]:
    """`shown`: one decoded sample of each run, and of the reference."""
    def decoded(x: Tensor) -> Tensor:
        pixels = 2 * decode(x[sample:sample + 1]).detach().cpu().float()[0] - 1
        return pixels if pixels.ndim == 4 else pixels[None]

    shown = {name: torch.stack([decoded(r.x) for r in row])
             for name, row in group_by_sampler(runs).items()}
    return shown | {"reference": decoded(reference)[None]}


def panels(runs: Sequence[DuelRun], shown: dict[str, Tensor]) -> list[ViewerPanel]:
    """Two rows of panels: each sampler's clips, and their differences from the reference."""
    exact, above, below = shown["reference"], [], []
    for name, clips in shown.items():
        captions = tuple(f"{r.calls} calls, {r.steps} steps\nerror {r.error:#.2g}"
                         for r in runs if r.sampler == name)
        above.append(ViewerPanel(name, name, quantised_tiles(clips, "gray", 1, GREY_LEVELS),
                                 captions=captions, caption="the same noise,\nsolved finely"))
        difference = ((clips - exact) / 2).mean(2, keepdim=True)                 # of ink in [0, 1]
        below.append(ViewerPanel(
            f"{name} minus the reference, blue more ink, red less",
            "<small>minus the reference</small>",
            quantised_tiles(difference, "RdBu", MAX_DIFFERENCE, GREY_LEVELS), colourbar=INK_BAR))
    return above + below[:-1]


def sliders(runs: Sequence[DuelRun], frames: int) -> list[Slider]:
    """A slider over the call budgets and, for clips, one over the frames."""
    labels = [f"at most {b} network calls" for b in call_budgets(runs)]
    return [Slider("calls", labels, ms=900), *frame_slider(frames)]


def error_plot_svg(runs: Sequence[DuelRun]) -> tuple[str, tuple[float, ...]]:
    """Error over calls, both logarithmic, as SVG; and the x of its cursor for each call budget."""
    budgets, rows = call_budgets(runs), group_by_sampler(runs)
    calls = [r.calls for r in runs] + budgets
    errors = [log10(r.error) for r in runs if 0 < r.error < inf] or [0.0]
    low, high = floor(min(errors)), ceil(max(errors) + 1e-9)
    wide = max(log(max(calls) / min(calls)), 1e-9)

    def x(n: int) -> float:
        return round(LEFT + (RIGHT - LEFT) * log(n / min(calls)) / wide, 1)

    def y(exponent: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (exponent - low) / max(1, high - low), 1)

    points = {name: [(x(r.calls), y(log10(r.error))) for r in row if 0 < r.error < inf]
              for name, row in rows.items()}
    parts = [f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y(e)}" y2="{y(e)}" class="grid"/>'
             f'<text x="{LEFT - 8}" y="{y(e) + 4}" text-anchor="end">10<tspan dy="-5" '
             f'font-size="9">{signed_text(e)}</tspan></text>' for e in range(low, high + 1)]
    parts += [f'<text x="{x(b)}" y="{BOTTOM + 18}" text-anchor="middle">{b}</text>'
              for b in budgets]
    parts += [f'<line class="cursor" x1="{x(budgets[0])}" x2="{x(budgets[0])}" y1="{TOP}" '
              f'y2="{BOTTOM}"/>']
    label = f"error against network calls, for {', '.join(rows)}; the table says the same"
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
            f'<text x="4" y="12">error</text>{"".join(parts)}{error_lines_svg(points)}'
            f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">network calls'
            '</text></svg>', tuple(x(b) for b in budgets))


def error_lines_svg(points: dict[str, list[tuple[float, float]]]) -> str:
    """A line with dots for each sampler, then the labels at the lines' ends."""
    colours = dict(zip(points, figures.COLOURS * len(points)))
    parts, ends = [], {}
    for name, line in points.items():
        ends[name] = line[-1][1] if line else BOTTOM
        path = " ".join(f"{a},{b}" for a, b in line)
        dots = "".join(f'<circle cx="{a}" cy="{b}" r="3.5"/>' for a, b in line)
        parts.append(f'<g stroke="{colours[name]}" fill="{colours[name]}"><polyline '
                     f'points="{path}" fill="none" stroke-width="2"/>{dots}</g>')
    for name, at in spread_labels(ends).items():
        parts.append(f'<circle cx="{RIGHT + 14}" cy="{at}" r="4" fill="{colours[name]}"/>'
                     f'<text x="{RIGHT + 24}" y="{at + 4}">{name}</text>')
    return "".join(parts)


def signed_text(e: int) -> str:
    """A whole number with a true minus sign."""
    return f"−{-e}" if e < 0 else str(e)


def spread_labels(ends: dict[str, float], gap: float = 15) -> dict[str, float]:
    """Heights of labels, moved upwards from the lowest until none covers another."""
    placed, least = {}, BOTTOM + gap
    for name in sorted(ends, key=ends.get, reverse=True):
        least = placed[name] = min(ends[name], least - gap)
    return placed


@figures.styled
def fallback_figure(runs: Sequence[DuelRun], shown: dict[str, Tensor]) -> figures.NotebookFigure:
    """For readers without scripts: the middle frame by sampler and calls, and the errors."""
    budgets, names = call_budgets(runs), list(shown)
    fig = figures.new_figure(10, 0.85 * len(names) + 0.9)
    left, right = fig.subplots(1, 2, width_ratios=[1.1, 1])
    middle = shown["reference"].shape[1] // 2
    rows = [clips[:, middle].expand(len(budgets), *clips.shape[2:]) for clips in shown.values()]
    rgb = figures.apply_colormap(torch.stack(rows), "gray", 1)                   # (R, A, H, W, 3)
    h, w = rgb.shape[2:4]
    rgb = np.pad(rgb, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)], constant_values=1)
    left.imshow(rearrange(rgb, "r a h w c -> (r h) (a w) c"), interpolation="nearest")
    left.set_xticks((w + 1) * (np.arange(len(budgets)) + 0.5), budgets)
    left.set_yticks((h + 1) * (np.arange(len(names)) + 0.5), names)
    left.set_title("after at most so many network calls")
    figures.hide_axes(left)
    for name, row in group_by_sampler(runs).items():
        right.loglog([r.calls for r in row], [r.error for r in row], "o-", label=name)
    right.minorticks_off()
    right.set_xticks(budgets, budgets)
    right.set(xlabel="network calls", title="error (RMS) against a fine reference")
    right.legend()
    return fig
