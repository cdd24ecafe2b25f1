"""Figures of schedules, denoising, motion, training and scores.

Every function returns a `NotebookFigure`. A notebook displays it if it is the last line of a cell,
and `.savefig(path)` saves it. No display, window system or global figure is needed. x_t = alpha x0
+ sigma eps as everywhere; x0-hat is a denoiser's guess, and eps-hat = (x_t - alpha x0-hat) / sigma
is the noise that remains.
"""
import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from minidiff.data import media
from minidiff.evaluation.rows import HEADLINE_METRICS, is_missing, score_interval
from minidiff.runtime.settings import none_means_default
from minidiff.samplers import State
from minidiff.schedules import Schedule

# The colours of Okabe and Ito, which colour-blind readers can also tell apart
COLOURS = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BLUE, ORANGE = COLOURS[:2]
LINE_STYLES = "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1))
MOST_MARKERS = 30                            # of a line
TEXT_COLOUR, LIGHT_GREY = "#333333", "#F1F1F1"
DPI = 160                                    # of a figure, shown or saved
GREY_LEVELS = 31                             # of a clip in a viewer: few, so that pages stay small
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.labelsize": 10,
    "legend.fontsize": 9, "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "lines.linewidth": 1.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#888888", "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#E6E6E6", "grid.linewidth": 0.8, "text.color": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR, "xtick.color": TEXT_COLOUR, "ytick.color": TEXT_COLOUR,
    "legend.frameon": False, "figure.facecolor": "white",
}


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook displays without pyplot, at its own width."""

    def png(self, dpi: float = DPI) -> bytes:
        """The figure as a PNG file."""
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=dpi)
        return out.getvalue()

    def savefig(self, fname, **settings) -> None:
        """Save the figure as it is shown; fname may begin with ~. settings: as in matplotlib."""
        path = Path(fname).expanduser() if isinstance(fname, str | Path) else fname
        super().savefig(path, **{"dpi": DPI} | {k: v for k, v in settings.items() if v is not None})

    def _repr_png_(self) -> tuple[bytes, dict]:
        size = {"width": int(96 * self.get_figwidth()), "height": int(96 * self.get_figheight())}
        return self.png(), size


def styled(draw: Callable[..., NotebookFigure]) -> Callable[..., NotebookFigure]:
    """A drawing function in the package's style; matplotlib's settings are restored afterwards."""
    @functools.wraps(draw)
    def draw_styled(*args, **kwargs) -> NotebookFigure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)
    return draw_styled


def new_figure(width: float, height: float) -> NotebookFigure:
    """An empty figure; width and height in inches."""
    return NotebookFigure(figsize=(width, height), layout="constrained")


# From noise to a clip

class FieldStyle(NamedTuple):
    """The presentation of one of the arrays of `trajectory_arrays`."""
    key: str
    name: str            # for readers who do not see the picture
    title: str           # as HTML
    tex: str
    caption: str
    cmap: str
    vmax: int            # values are clipped to [-vmax, vmax]
    levels: int          # of grey or colour; fewer for noise, which compresses badly
    empty_text: str = ""  # over steps that have no value by definition

    def clip_note(self) -> str:
        """The range of the colours in words."""
        return f"clipped to ±{self.vmax}"


FIELDS = (
    FieldStyle("x", "x_t, the sampler's state", "<i>x<sub>t</sub></i>", "$x_t$",
               "the sampler's state", "gray", 1, 11),
    FieldStyle("x0", "x0-hat, the guess", "<i>x̂</i><sub>0</sub>", r"$\hat{x}_0$",
               "the guess", "gray", 1, GREY_LEVELS),
    FieldStyle("eps", "eps-hat, the noise that remains", "<i>ε̂</i>", r"$\hat{\epsilon}$",
               "the noise that remains", "gray", 3, 7, "none:\nσ = 0"),
    FieldStyle("change", "change of x0-hat since the step before, blue more ink, red less",
               "Δ<i>x̂</i><sub>0</sub>", r"$\Delta \hat{x}_0$", "since the step before", "RdBu", 1,
               GREY_LEVELS, "none before\nthe first"),
)


def eps_hat(state: State, schedule: Schedule) -> Tensor:
    """The noise that remains: (x - alpha x0) / sigma, like x; NaN at sigma = 0."""
    alpha, sigma = (float(c) for c in schedule(torch.as_tensor(state.t, dtype=torch.float64)))
    if sigma > 0:
        return (state.x - alpha * state.x0) / sigma
    return torch.full_like(state.x, torch.nan)


def trajectory_arrays(states: Sequence[State], schedule: Schedule, sample: int,
                      steps: Sequence[int], frames: Sequence[int]) -> dict[str, Tensor]:
    """The arrays of a trajectory: x, x0, eps and change, each (S, F, C, H, W); S steps, F frames.

    change: x0-hat minus x0-hat of the step before it in `steps`, the mean over C; NaN for the
    first step.
    """
    def pick(x: Tensor) -> Tensor:
        clip = x[sample].detach().cpu().float()
        return clip[list(frames)] if clip.ndim == 4 else clip[None]

    chosen = [states[i] for i in steps]
    x, x0, eps = (torch.stack([pick(f(s)) for s in chosen])
                  for f in (lambda s: s.x, lambda s: s.x0, lambda s: eps_hat(s, schedule)))
    change = torch.cat([torch.full_like(x0[:1], torch.nan), x0[1:] - x0[:-1]]).mean(2, keepdim=True)
    return {"x": x, "x0": x0, "eps": eps, "change": change}


def checked_states(states: Iterable[State], sample: int) -> list[State]:
    """The states as a list. Raises ValueError if they are none, or none for this sample."""
    states = list(states)
    if not states:
        raise ValueError("A trajectory needs at least one state; "
                         "keep them with list(sampler(...)).")
    if states[0].x.ndim not in (4, 5):
        raise ValueError("A trajectory is of images (B, C, H, W) or videos (B, T, C, H, W), "
                         f"not of states of shape {tuple(states[0].x.shape)}.")
    check_sample(sample, len(states[0].x))
    return states


def check_sample(sample: int, n: int) -> None:
    """Raises ValueError unless there is such a sample among n."""
    if not 0 <= sample < n:
        raise ValueError(f"There is no sample {sample}; there are samples 0 to {n - 1}.")


def check_indices(name: str, indices: Sequence[int], n: int) -> None:
    """Raises ValueError unless there are indices, all of them from 0 to n - 1."""
    if not indices or not all(0 <= i < n for i in indices):
        raise ValueError(f"{name} must be from 0 to {n - 1}, got {list(indices)}.")


@styled
@none_means_default
def trajectory(states: Iterable[State], schedule: Schedule, sample: int = 0,
               frame: int | None = None,
               steps: int | Sequence[int] | None = None) -> NotebookFigure:
    """The way from noise to a clip: x_t, x0-hat, eps-hat and change of x0-hat, a column per step.

    states: all states of a sampler, of images (B, C, H, W) or videos (B, T, C, H, W) in [-1, 1];
    values outside are clipped for display, as the labels say. frame: one frame of a video; unless
    given, each cell has the first, the middle and the last one. steps: the number of steps to draw,
    or their indices. Raises ValueError for no states, and for a sample or steps that do not exist.
    """
    states = checked_states(states, sample)
    length = states[0].x.shape[1] if states[0].x.ndim == 5 else 1
    frames = sorted({0, length // 2, length - 1}) if frame is None else [frame]
    steps = (5 if len(frames) > 1 else 8) if steps is None else steps
    if isinstance(steps, int):
        steps = torch.linspace(0, len(states) - 1, min(steps, len(states))).round().int().tolist()
    check_indices("steps", steps, len(states))
    check_indices("frame", frames, length)
    times = [f"{float(states[i].t):.2f}" for i in steps]
    arrays = trajectory_arrays(states, schedule, sample, steps, frames)
    return trajectory_grid(arrays, FIELDS, times, frames, length)


def trajectory_grid(arrays: dict[str, Tensor], fields: Sequence[FieldStyle], times: list[str],
                    frames: list[int], length: int) -> NotebookFigure:
    """The figure of `trajectory`: a row per field, whose cells form one image."""
    f, (h, w) = len(frames), arrays["x"].shape[-2:]
    gap = w // 5
    pitch = f * (w + 1) + gap                                # from one cell's left edge to the next
    middle = [(k + 0.5) * pitch - gap / 2 - 1 for k in range(len(times))]      # in pixels
    wide = min(8.4, 1.4 * f * len(times))                    # inches, without the labels
    fig = new_figure(wide + 1.6, len(fields) * (wide / (pitch * len(times)) * h + 0.12) + 0.55)
    for axes, field in zip(fig.subplots(len(fields), 1), fields, strict=True):
        key = field.key
        tiles = apply_colormap(arrays[key], field.cmap, field.vmax)
        tiles = np.pad(tiles, 3 * [(0, 0)] + [(0, 1), (0, 0)], constant_values=1)
        cells = rearrange(tiles, "s f h w c -> s h (f w) c")
        cells = np.pad(cells, 2 * [(0, 0)] + [(0, gap), (0, 0)], constant_values=1)
        axes.imshow(rearrange(cells, "s h w c -> h (s w) c")[:, :-gap - 1], interpolation="nearest")
        axes.set_ylabel(field.tex, rotation=0, fontsize=15, ha="right", va="bottom")
        note = "blue: more ink, red: less" if key == "change" else field.clip_note()
        axes.annotate(f"{field.caption}\n{note}", (0, 0.5), (-8, -3), "axes fraction",
                      "offset points", fontsize=7.5, ha="right", va="top")
        for k, text in empty_texts(arrays, field).items():
            axes.text(middle[k], h / 2, text, ha="center", va="center", fontsize=9)
        axes.set(xticks=middle if key == "x" else [], yticks=[])
        hide_axes(axes)
        if key == "x":
            axes.set_xticks(middle, [f"$t$ = {t}" if k == 0 else t for k, t in enumerate(times)])
            axes.tick_params(labeltop=True, labelbottom=False)
    if length > 1:
        shown = ", ".join(map(str, frames))
        fig.supxlabel(f"frame{'s' * (f > 1)} {shown} of 0 to {length - 1}", fontsize=9)
    return fig


def empty_texts(arrays: dict[str, Tensor], field: FieldStyle) -> dict[int, str]:
    """The texts for steps at which a field has no values: NaN if the guess is NaN, too."""
    empty, broken = (v.isnan().flatten(1).all(1) for v in (arrays[field.key], arrays["x0"]))
    return {k: "NaN" if broken[k] else field.empty_text
            for k in empty.nonzero().flatten().tolist()}


def hide_axes(axes) -> None:
    """Remove frame, grid and ticks of axes that hold an image."""
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.tick_params(length=0)


def apply_colormap(images: Tensor, cmap: str, vmax: float) -> np.ndarray:
    """(..., C, H, W) clipped to [-vmax, vmax] -> (..., H, W, 3) in [0, 1].

    One channel is coloured by the colour map, three channels are red, green and blue. NaN becomes
    light grey.
    """
    value = np.moveaxis(((images.clamp(-vmax, vmax) / vmax + 1) / 2).numpy(), -3, -1)
    rgb = value if value.shape[-1] == 3 else matplotlib.colormaps[cmap](value[..., 0])[..., :3]
    return np.where(np.isnan(value).any(-1, keepdims=True), 0.93, rgb)


# Motion

def xt_slices(clips: Tensor, row: int | str | None = None) -> tuple[Tensor, list[int] | None]:
    """x-t slices (N, T, W) of clips (N, T, C, H, W), channels averaged, and the row of each slice.

    row: a row's number; "auto": the row through the centre of the clip's ink; None: no single row
    but the maximum over all rows. Raises ValueError for clips or a row that do not fit.
    """
    grey = media.check_clips(clips).mean(2)                                      # (N, T, H, W)
    if row is None:
        return grey.amax(-2), None
    if row == "auto":
        ink = grey.sum((1, 3))                                                   # (N, H)
        centre = (ink * torch.arange(ink.shape[1])).sum(1) / ink.sum(1).clamp(min=1e-9)
        rows = centre.round().int().tolist()
    else:
        check_indices("row", [int(row)], grey.shape[-2])
        rows = [int(row)] * len(grey)
    return torch.stack([clip[:, r] for clip, r in zip(grey, rows, strict=True)]), rows


@styled
def xt_slice(clips: Tensor, row: int | str | None = None) -> NotebookFigure:
    """x-t slices beside their clips; time runs down.

    Steady motion gives a straight line, a bounce a kink, jitter a zigzag. clips: (N, T, C, H, W) in
    [0, 1]. row: as for `xt_slices`; it is marked in the frames.
    """
    slices, rows = xt_slices(clips, row)
    clips = media.check_clips(clips)
    n, frames, _, h, w = clips.shape
    fig = new_figure(10, max(0.8, 7.8 * h / (frames * (w + 1))) * n + 0.7)
    axes = fig.subplots(n, 2, squeeze=False, width_ratios=[5, 1])
    for k, (strip, slice_) in enumerate(axes):
        strip.imshow(media.contact_sheet(clips[k:k + 1], 1), cmap="gray", vmin=0, vmax=255,
                     interpolation="nearest")
        if rows:
            strip.axhline(rows[k], color=ORANGE, linewidth=1, alpha=0.8)
        slice_.imshow(slices[k].numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto",
                      interpolation="nearest")
        strip.set(xticks=(w + 1) * np.arange(frames) + w / 2, xticklabels=range(frames), yticks=[])
        slice_.set(yticks=[0, frames - 1], xticks=[0, w - 1], ylabel="frame")
        strip.set_xlabel("frame" if k == n - 1 else "")
        slice_.set_xlabel("x in pixels" if k == n - 1 else "")
        for ax in (strip, slice_):
            hide_axes(ax)
            ax.set_anchor("W")
            ax.tick_params(labelbottom=k == n - 1)
    axes[0, 0].set_title("the clip")
    axes[0, 1].set_title("x-t: maximum over rows" if rows is None else "x-t: the marked row")
    return fig


# Training and schedules

def loss_per_bin(t: Tensor, loss: Tensor, bins: int) -> tuple[Tensor, ...]:
    """Per bin of t: its centre, mean loss, half of the 95 % interval, and count; (bins,) each.

    The bins divide [0, 1] equally. Half an interval is 1.96 standard errors, NaN for fewer than two
    losses; the mean is NaN for none. Raises ValueError for t outside [0, 1], another number of
    losses, or no bins.
    """
    t, loss = (v.detach().double().cpu().flatten() for v in (t, loss))
    if t.shape != loss.shape or bins < 1 or not ((t >= 0) & (t <= 1)).all():
        raise ValueError("t must be in [0, 1], with one loss for each, and bins at least 1.")
    which = (t * bins).long().clamp(max=bins - 1)
    count = torch.bincount(which, minlength=bins)
    mean = torch.bincount(which, loss, bins) / count
    var = torch.bincount(which, (loss - mean[which]) ** 2, bins) / (count - 1)
    centre = (torch.arange(bins) + 0.5) / bins
    half = 1.96 * torch.where(count > 1, var / count, torch.nan).sqrt()
    return centre, mean, half, count


@styled
@none_means_default
def loss_by_noise_level(t: Tensor, loss: Tensor, bins: int = 10) -> NotebookFigure:
    """Mean loss per bin of t with its 95 % interval: the noise levels that are hard to denoise.

    t, loss: (B,) each, see `loss_per_bin`.
    """
    centre, mean, half, count = loss_per_bin(t, loss, bins)
    fig = new_figure(6.4, 3.6)
    axes = fig.subplots()
    axes.hlines(mean, centre - 0.5 / bins, centre + 0.5 / bins, color=BLUE, linewidth=2)
    axes.errorbar(centre, mean, half, fmt="o", color=BLUE, markersize=4, capsize=3, elinewidth=1.2)
    axes.set(xlim=(0, 1), xlabel=r"$t$   (0 = data, 1 = noise)", ylabel="loss")
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_title("loss by noise level: mean and 95 % interval, "
                   f"{count.sum()} losses in {bins} bins")
    return fig


@styled
def snr_curves(schedules: dict[str, Schedule]) -> NotebookFigure:
    """log-SNR = log(alpha^2 / sigma^2), and alpha and sigma, over t, for each named schedule."""
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    fig = new_figure(10, 3.8)
    left, right = fig.subplots(1, 2)
    for (name, schedule), colour in zip(schedules.items(), cycle(COLOURS)):
        alpha, sigma = schedule(t)
        left.plot(t, 2 * (alpha / sigma).log(), color=colour, label=name)
        right.plot(t, alpha, color=colour)
        right.plot(t, sigma, color=colour, linestyle="--")
        if sigma.max() > 1.3:
            leaves = t[sigma > 1.3][0]
            right.annotate(f"to {sigma.max():.0f}", (leaves, 1.3), (6, -12),
                           textcoords="offset points", color=colour)
    left.set(xlim=(0, 1), ylim=(-12, 12), xlabel="$t$",
             title=r"log-SNR = log($\alpha^2 / \sigma^2$)")
    left.legend()
    right.set(xlim=(0, 1), ylim=(0, 1.3), xlabel="$t$",
              title=r"$\alpha$ (solid) and $\sigma$ (dashed)")
    return fig


def moving_average(values: Sequence[float], window: int) -> np.ndarray:
    """The mean of each value and up to window // 2 neighbours on each side, of the same length."""
    n, half = len(values), window // 2
    box = np.ones(2 * half + 1)
    total, count = (np.convolve(v, box)[half:half + n] for v in (values, np.ones(n)))
    return total / count


@styled
def loss_curve(records: Iterable, window: int | None = None) -> NotebookFigure:
    """The training loss over the steps, raw and smoothed, and the learning rate below.

    records: of `train`, or any objects with step, loss and lr. window: the number of steps to
    smooth over, a fortieth of them unless given. Raises ValueError for no records.
    """
    records = list(records)
    if not records:
        raise ValueError("A loss curve needs at least one record; "
                         "keep them with list(train(...)).")
    step, loss, lr = np.array([(r.step, r.loss, r.lr) for r in records], float).T
    window = window or max(1, len(step) // 40)
    fig = new_figure(8, 4)
    top, low = fig.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    top.plot(step, loss, color=BLUE, alpha=0.25, linewidth=0.8, label="each step")
    top.plot(step, moving_average(loss, window), color=BLUE,
             label=f"mean over {2 * (window // 2) + 1} steps")
    top.set(yscale="log", ylabel="loss")
    top.legend()
    low.fill_between(step, lr, color=ORANGE, alpha=0.35, linewidth=0)
    low.set(xlabel="step", ylabel="lr", xlim=(0, step[-1]), ylim=(0, None))
    return fig


@styled
def line_plot(x: Sequence[float], lines: dict[str, Sequence],
              looks: Mapping[str, tuple[str, str]] | None = None, **axes) -> NotebookFigure:
    """Lines over x, one per name, with a marker at every x. axes: the arguments of `Axes.set`.

    lines: name -> values like x, or (values, half intervals), which are drawn as error bars; a
    missing value is NaN. looks: name -> (colour, line style), so that a thing looks the same in all
    figures; other lines differ in both. More than 30 points have no markers, which would hide the
    style. Raises ValueError for no lines.
    """
    if not lines:
        raise ValueError("line_plot needs at least one line.")
    fig = new_figure(6.4, 3)
    ax = fig.subplots()
    marker = "o" if len(x) <= MOST_MARKERS else ""
    for (name, line), *default in zip(lines.items(), cycle(COLOURS), cycle(LINE_STYLES)):
        values, half = line if isinstance(line, tuple) else (line, None)
        colour, style = (looks or {}).get(name, default)
        ax.errorbar(x, values, half, linestyle=style, marker=marker, markersize=3, color=colour,
                    label=name)
    ax.set(**axes)
    plain_log_ticks(ax, *({"x", "y"} - {name[0] for name in axes if name[1:] == "ticks"}))
    ax.legend(handlelength=3)
    return fig


def plain_log_ticks(axes, *sides: str) -> None:
    """Plain numbers, not powers, at 1, 2 and 5 of every decade of logarithmic sides ("x", "y").

    If a side spans less than a decade, all nine ticks have numbers. Minor ticks have none.
    """
    for side, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if axis.get_scale() != "log":
            continue
        axis.set_minor_formatter(NullFormatter())
        if side in sides:
            low, high = sorted(axis.get_view_interval())
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else range(1, 10)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))


# Scores

@styled
def score_bars(rows: dict[str, dict]) -> NotebookFigure:
    """The scoreboard as bars: a line per name, a panel for SCORE and each part, all from 0 to 1.

    A missing value is a dash, and a part that no row has gets no panel; the interval of SCORE is a
    black line. Raises ValueError for no rows, and for rows of different editions of the scoreboard.
    """
    if not rows:
        raise ValueError("score_bars needs at least one row.")
    if len({row.get("edition") for row in rows.values()}) > 1:
        raise ValueError("These rows are of different editions of the scoreboard and cannot be "
                         "compared; score the clips of the older ones anew.")
    parts = [part for part in HEADLINE_METRICS if part == "SCORE"
             or any(not is_missing(row.get(part)) for row in rows.values())]
    fig = new_figure(10, 0.34 * len(rows) + 0.7)
    panels = fig.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, part in zip(panels, parts, strict=True):
        for k, row in enumerate(rows.values()):
            draw_score(axes, k, row, part)
        axes.set(xlim=(0, 1.4), xticks=[], yticks=np.arange(len(rows)), yticklabels=rows,
                 ylim=(len(rows) - 0.5, -0.5))
        axes.set_title(part, fontweight="bold" if part == "SCORE" else "normal")
        hide_axes(axes)
    return fig


def draw_score(axes, k: int, row: dict, part: str) -> None:
    """The bar number k: one headline metric of one row."""
    missing = is_missing(value := row.get(part))
    axes.barh(k, 1, 0.62, color=LIGHT_GREY)
    axes.barh(k, 0 if missing else value, 0.62, color=BLUE if part == "SCORE" else "#7FB3D5")
    axes.text(1.04, k, "–" if missing else f"{value:.2f}", va="center", fontsize=9)
    if part == "SCORE" and (ends := score_interval(row)):
        axes.plot(ends, (k, k), color="white", linewidth=4)
        axes.plot(ends, (k, k), color="black", linewidth=1.5)
