"""What a sampler duel shows: clips and differences to leaf through, the errors as lines, a still.

runs: `sampler_duel.DuelRun`s, a budget after the other for a sampler after the other. shown: by sampler, and
"reference" last, one sample (A, T, C, H, W) in [-1, 1], A budgets (1 for the reference).
"""
from collections.abc import Callable, Sequence
from math import ceil, floor, log, log10

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from minidiff.visual import figures
from minidiff.visual.viewer import Slider, ViewerPanel, quantised_tiles

MAX_DIFFERENCE = 0.5                                      # of a difference, in ink: full colour from here on
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 230, 52, 360, 26, 190         # the plot, in SVG's units


def decoded_runs(runs: Sequence, reference: Tensor, decode: Callable[[Tensor], Tensor],
          sample: int) -> dict[str, Tensor]:
    """`shown`: what `decode` makes of one sample of each run."""
    def seen(x: Tensor) -> Tensor:
        pixels = 2 * decode(x[sample:sample + 1]).detach().cpu().float()[0] - 1
        return pixels if pixels.ndim == 4 else pixels[None]

    names = dict.fromkeys(r.sampler for r in runs)
    shown = {name: torch.stack([seen(r.x) for r in runs if r.sampler == name]) for name in names}
    return shown | {"reference": seen(reference)[None]}


def panels(runs: Sequence, shown: dict[str, Tensor]) -> list[ViewerPanel]:
    """Two rows: what each sampler made, and its difference from the reference."""
    exact, above, below = shown["reference"], [], []
    for name, made in shown.items():
        notes = tuple(f"{r.calls} calls, {r.steps} steps\nerror {r.error:#.2g}"
                      for r in runs if r.sampler == name)
        above.append(ViewerPanel(name, name, quantised_tiles(made, "gray", 1, 31), captions=notes,
                           caption="the same noise,\nsolved finely"))
        away = ((made - exact) / 2).mean(2, keepdim=True)                        # in ink: [0, 1]
        below.append(ViewerPanel(f"{name} minus the reference, blue more ink, red less",
                           "<small>minus the reference</small>",
                           quantised_tiles(away, "RdBu", MAX_DIFFERENCE, 31), colourbar=("less ink", "more")))
    return above + below[:-1]


def sliders(runs: Sequence, frames: int) -> list[Slider]:
    budgets = list(dict.fromkeys(r.budget for r in runs))
    calls = Slider("calls", [f"at most {b} network calls" for b in budgets], ms=900)
    says = [f"{k} of {frames - 1}" for k in range(frames)]
    return [calls, Slider("frame", says, frames // 2, 125)][:1 + (frames > 1)]


def error_plot_svg(runs: Sequence) -> tuple[str, tuple[float, ...]]:
    """Error against calls, both logarithmic, as SVG; and where its cursor stands, by budget."""
    budgets = list(dict.fromkeys(r.budget for r in runs))
    calls = [r.calls for r in runs] + budgets
    errors = [log10(r.error) for r in runs if r.error > 0] or [0.0]
    low, high = floor(min(errors)), ceil(max(errors) + 1e-9)
    wide = max(log(max(calls) / min(calls)), 1e-9)

    def x(n: int) -> float:
        return round(LEFT + (RIGHT - LEFT) * log(n / min(calls)) / wide, 1)

    def y(exponent: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (exponent - low) / max(1, high - low), 1)

    parts = [f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y(e)}" y2="{y(e)}" class="grid"/>'
             f'<text x="{LEFT - 8}" y="{y(e) + 4}" text-anchor="end">10<tspan dy="-5" '
             f'font-size="9">{signed_text(e)}</tspan></text>' for e in range(low, high + 1)]
    parts += [f'<text x="{x(b)}" y="{BOTTOM + 18}" text-anchor="middle">{b}</text>'
              for b in budgets]
    parts += [f'<line class="cursor" x1="{x(budgets[0])}" x2="{x(budgets[0])}" y1="{TOP}" '
              f'y2="{BOTTOM}"/>']
    names, ends = list(dict.fromkeys(r.sampler for r in runs)), {}
    for name, colour in zip(names, figures.COLOURS * len(names)):
        points = [(x(r.calls), y(log10(r.error))) for r in runs if r.sampler == name and r.error]
        ends[name] = points[-1][1] if points else BOTTOM
        path = " ".join(f"{a},{b}" for a, b in points)
        dots = "".join(f'<circle cx="{a}" cy="{b}" r="3.5"/>' for a, b in points)
        parts.append(f'<g stroke="{colour}" fill="{colour}"><polyline points="{path}" '
                     f'fill="none" stroke-width="2"/>{dots}</g>')
    for name, at in spread_labels(ends).items():
        colour = figures.COLOURS[names.index(name) % len(figures.COLOURS)]
        parts.append(f'<circle cx="{RIGHT + 14}" cy="{at}" r="4" fill="{colour}"/>'
                     f'<text x="{RIGHT + 24}" y="{at + 4}">{name}</text>')
    label = f"error against network calls, for {', '.join(names)}; the table says the same"
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
            f'<text x="4" y="12">error</text>{"".join(parts)}'
            f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">network calls'
            '</text></svg>', tuple(x(b) for b in budgets))


def signed_text(e: int) -> str:
    return f"−{-e}" if e < 0 else str(e)


def spread_labels(ends: dict[str, float], gap: float = 15) -> dict[str, float]:
    """Heights of labels, moved so that none covers another: upwards from the lowest."""
    placed, floor_ = {}, BOTTOM + gap
    for name in sorted(ends, key=ends.get, reverse=True):
        floor_ = placed[name] = min(ends[name], floor_ - gap)
    return placed


@figures.styled
def fallback_figure(runs: Sequence, shown: dict[str, Tensor]) -> figures.NotebookFigure:
    """For readers that run no script: the middle frame by sampler and calls, and the errors."""
    budgets = list(dict.fromkeys(r.budget for r in runs))
    names = list(shown)
    fig = figures.new_figure(10, 0.85 * len(names) + 0.9)
    left, right = fig.subplots(1, 2, width_ratios=[1.1, 1])
    middle = shown["reference"].shape[1] // 2
    rows = [made[:, middle].expand(len(budgets), *made.shape[2:]) for made in shown.values()]
    rgb = figures.apply_colormap(torch.stack(rows), "gray", 1)                              # (R, A, H, W, 3)
    h, w = rgb.shape[2:4]
    rgb = np.pad(rgb, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)], constant_values=1)
    left.imshow(rearrange(rgb, "r a h w c -> (r h) (a w) c"), interpolation="nearest")
    left.set_xticks((w + 1) * (np.arange(len(budgets)) + 0.5), budgets)
    left.set_yticks((h + 1) * (np.arange(len(names)) + 0.5), names)
    left.set_title("after at most so many network calls")
    figures.hide_axes(left)
    for name in names[:-1]:
        row = [r for r in runs if r.sampler == name]
        right.loglog([r.calls for r in row], [r.error for r in row], "o-", label=name)
    right.minorticks_off()
    right.set_xticks(budgets, budgets)
    right.set(xlabel="network calls", title="error (RMS) against a fine reference")
    right.legend()
    return fig
