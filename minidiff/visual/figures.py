"""Pictures: figures of schedules, denoising, motion, training and scores.

Nothing here shows anything by itself: every function returns a `NotebookFigure`, which a notebook displays
when it is a cell's last line and which saves itself with `.savefig(path)`. No display, window
system or global figure is involved. x_t = alpha x0 + sigma eps as everywhere; x0-hat is a
denoiser's guess, eps-hat = (x_t - alpha x0-hat) / sigma what it leaves as noise.
"""
import functools
import io
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle

import matplotlib
import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from minidiff.data import media
from minidiff.evaluation.scoreboard import HEADLINE_METRICS
from minidiff.samplers import State
from minidiff.schedules import Schedule

# Okabe and Ito's, which colour-blind readers tell apart, too
COLOURS = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
BLUE, ORANGE = COLOURS[:2]
TEXT_COLOUR, LIGHT_GREY = "#333333", "#F1F1F1"
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.labelsize": 10,
    "legend.fontsize": 9, "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "lines.linewidth": 1.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#888888", "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#E6E6E6", "grid.linewidth": 0.8, "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR, "ytick.color": TEXT_COLOUR, "legend.frameon": False, "figure.facecolor": "white",
}


class NotebookFigure(Figure):
    """A matplotlib figure that a notebook displays without pyplot: sharp, as wide as it says."""

    def _repr_png_(self) -> tuple[bytes, dict]:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=160)
        size = {"width": int(96 * self.get_figwidth()), "height": int(96 * self.get_figheight())}
        return out.getvalue(), size


def styled(draw: Callable[..., NotebookFigure]) -> Callable[..., NotebookFigure]:
    """A drawing function with the package's look, which it takes off again."""
    @functools.wraps(draw)
    def dressed(*args, **kwargs) -> NotebookFigure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)
    return dressed


def new_figure(width: float, height: float) -> NotebookFigure:
    return NotebookFigure(figsize=(width, height), layout="constrained")


def eps_hat(state: State, schedule: Schedule) -> Tensor:
    """The noise that a state's guess leaves: (x - alpha x0) / sigma, like x; NaN at sigma = 0."""
    alpha, sigma = (float(c) for c in schedule(torch.as_tensor(state.t, dtype=torch.float64)))
    if sigma > 0:
        return (state.x - alpha * state.x0) / sigma
    return torch.full_like(state.x, torch.nan)


def trajectory_arrays(states: Sequence[State], schedule: Schedule, sample: int, steps: Sequence[int],
              frames: Sequence[int]) -> dict[str, Tensor]:
    """What `trajectory` draws: x, x0, eps and change, each (S, F, C, H, W), S steps by F frames.

    change: this step's x0-hat minus the one of the step drawn before it, the mean over C; NaN for
    the first.
    """
    def pick(x: Tensor) -> Tensor:
        clip = x[sample].detach().cpu().float()
        return clip[list(frames)] if clip.ndim == 4 else clip[None]

    chosen = [states[i] for i in steps]
    x, x0, eps = (torch.stack([pick(f(s)) for s in chosen])
                  for f in (lambda s: s.x, lambda s: s.x0, lambda s: eps_hat(s, schedule)))
    change = torch.cat([torch.full_like(x0[:1], torch.nan), x0[1:] - x0[:-1]]).mean(2, keepdim=True)
    return {"x": x, "x0": x0, "eps": eps, "change": change}


@styled
def trajectory(states: Iterable[State], schedule: Schedule, sample: int = 0,
               frame: int | None = None, steps: int | Sequence[int] | None = None) -> NotebookFigure:
    """How noise becomes a clip: x_t, x0-hat, eps-hat and the change of x0-hat, one column per step.

    states: all of a sampler's, for images (B, C, H, W) or videos (B, T, C, H, W), in [-1, 1]; what
    lies outside is clipped for the eye, as the labels say.
    frame: one frame of a video; unless given, each cell is the first, the middle and the last one.
    steps: how many to draw, or which. Raises ValueError if there are no states.
    """
    states = list(states)
    if not states:
        raise ValueError("A trajectory needs at least one state; "
                         "keep them with list(sampler(...)).")
    length = states[0].x.shape[1] if states[0].x.ndim == 5 else 1
    frames = sorted({0, length // 2, length - 1}) if frame is None else [frame]
    steps = (5 if len(frames) > 1 else 8) if steps is None else steps
    if isinstance(steps, int):
        steps = torch.linspace(0, len(states) - 1, min(steps, len(states))).round().int().tolist()
    drawn = trajectory_arrays(states, schedule, sample, steps, frames)
    rows = [("x", r"$x_t$", "what the sampler has\nclipped to −1 … 1", "gray", 1),
            ("x0", r"$\hat{x}_0$", "the guess", "gray", 1),
            ("eps", r"$\hat{\epsilon}$",
             r"$(x_t - \alpha \hat{x}_0) / \sigma$" + "\nclipped to −3 … 3", "gray", 3),
            ("change", r"$\Delta \hat{x}_0$",
             "since the column before\nblue: more ink, red: less", "RdBu", 1)]
    return trajectory_grid(drawn, rows, [f"{float(states[i].t):.2f}" for i in steps], frames, length)


def trajectory_grid(drawn: dict[str, Tensor], rows: list, times: list[str], frames: list[int],
           length: int) -> NotebookFigure:
    """The figure of `trajectory`: per row one axes that holds a single picture of all cells."""
    f, (h, w) = len(frames), drawn["x"].shape[-2:]
    gap = w // 5
    pitch = f * (w + 1) + gap                                # from one cell's left edge to the next
    middle = [(k + 0.5) * pitch - gap / 2 for k in range(len(times))]
    wide = min(8.4, 1.4 * f * len(times))                    # inches, without the labels
    fig = new_figure(wide + 1.6, len(rows) * (wide / (pitch * len(times)) * h + 0.12) + 0.55)
    places = fig.subplots(len(rows), 1)
    for axes, (key, name, about, shade, reach) in zip(places, rows, strict=True):
        tiles = apply_colormap(drawn[key], shade, reach)
        tiles = np.pad(tiles, 3 * [(0, 0)] + [(0, 1), (0, 0)], constant_values=1)
        cells = rearrange(tiles, "s f h w c -> s h (f w) c")
        cells = np.pad(cells, 2 * [(0, 0)] + [(0, gap), (0, 0)], constant_values=1)
        axes.imshow(rearrange(cells, "s h w c -> h (s w) c")[:, :-gap - 1], interpolation="nearest")
        axes.set_ylabel(name, rotation=0, fontsize=15, ha="right", va="bottom")
        axes.annotate(about, (0, 0.5), (-8, -3), "axes fraction", "offset points",
                      fontsize=7.5, ha="right", va="top")
        for k in drawn[key].isnan().flatten(1).all(1).nonzero().flatten().tolist():
            why = r"$\sigma = 0$" if key == "eps" else "first"
            axes.text(middle[k], h / 2, why, ha="center", va="center")
        axes.set(xticks=middle if key == "x" else [], yticks=[])
        hide_axes(axes)
        if key == "x":
            axes.set_xticks(middle, [f"$t$ = {t}" if k == 0 else t for k, t in enumerate(times)])
            axes.tick_params(labeltop=True, labelbottom=False)
    if length > 1:
        shown = ", ".join(map(str, frames))
        fig.supxlabel(f"frame{'s' * (f > 1)} {shown} of 0 to {length - 1}", fontsize=9)
    return fig


def hide_axes(axes) -> None:
    """Neither frame nor grid nor ticks, for what is a picture already."""
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.tick_params(length=0)


def apply_colormap(images: Tensor, cmap: str, vmax: float) -> np.ndarray:
    """(..., C, H, W) clipped to [-reach, reach] -> (..., H, W, 3); one channel by a colour map.

    NaN becomes pale grey.
    """
    value = np.moveaxis(((images.clamp(-vmax, vmax) / vmax + 1) / 2).numpy(), -3, -1)
    rgb = value if value.shape[-1] == 3 else matplotlib.colormaps[cmap](value[..., 0])[..., :3]
    return np.where(np.isnan(value).any(-1, keepdims=True), 0.93, rgb)


def xt_slices(clips: Tensor, row: int | str | None = None) -> tuple[Tensor, list[int] | None]:
    """x-t slices (N, T, W) of clips (N, T, C, H, W), channels averaged, and the row of each.

    row: a row's number, "auto" = the row through the clip's mean ink, None = no row: the maximum
    over all of them.
    """
    grey = media.check_clips(clips).mean(2)                                      # (N, T, H, W)
    if row is None:
        return grey.amax(-2), None
    if row == "auto":
        ink = grey.sum((1, 3))                                                   # (N, H)
        centre = (ink * torch.arange(ink.shape[1])).sum(1) / ink.sum(1).clamp(min=1e-9)
        rows = centre.round().int().tolist()
    else:
        rows = [int(row)] * len(grey)
    return torch.stack([clip[:, r] for clip, r in zip(grey, rows, strict=True)]), rows


@styled
def xt_slice(clips: Tensor, row: int | str | None = None) -> NotebookFigure:
    """x-t slices beside their clips, time downwards.

    Steady motion is a straight line, a bounce a kink, jitter zigzags. clips: (N, T, C, H, W) in
    [0, 1]. row: as for `xt_slices`; it is marked in the frames.
    """
    cut, rows = xt_slices(clips, row)
    clips = media.check_clips(clips)
    n, frames, _, h, w = clips.shape
    fig = new_figure(10, max(0.8, 7.8 * h / (frames * (w + 1))) * n + 0.7)
    axes = fig.subplots(n, 2, squeeze=False, width_ratios=[5, 1])
    for k, (strip, slice_) in enumerate(axes):
        strip.imshow(media.contact_sheet(clips[k:k + 1], 1), cmap="gray", vmin=0, vmax=255,
                     interpolation="nearest")
        if rows:
            strip.axhline(rows[k], color=ORANGE, linewidth=1, alpha=0.8)
        slice_.imshow(cut[k].numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto",
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


def loss_per_bin(t: Tensor, loss: Tensor, bins: int) -> tuple[Tensor, ...]:
    """Per bin of t, of equal width over [0, 1]: centre, mean loss, half its 95 % interval, count.

    Each (bins,). The interval is 1.96 standard errors, NaN below two losses; the mean is NaN where
    there is none. Raises ValueError for t outside [0, 1], another number of losses, or no bins.
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
def loss_by_noise_level(t: Tensor, loss: Tensor, bins: int = 10) -> NotebookFigure:
    """Mean loss per bin of t with its 95 % interval: where a denoiser has it hard.

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
    """log-SNR = log(alpha^2 / sigma^2), and alpha and sigma, against t, for each named schedule."""
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
    """The mean of each value and its neighbours, up to window // 2 on each side. Same length."""
    n, half = len(values), window // 2
    box = np.ones(2 * half + 1)
    total, count = (np.convolve(v, box)[half:half + n] for v in (values, np.ones(n)))
    return total / count


@styled
def loss_curve(records: Iterable, window: int | None = None) -> NotebookFigure:
    """The training's loss against its step, raw and smoothed, and the learning rate below.

    records: what `train` yields, or anything with step, loss and lr. window: how many steps to
    smooth over. Raises ValueError for no records.
    """
    records = list(records)
    if not records:
        raise ValueError("A loss curve needs at least one record.")
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
def line_plot(x: Sequence[float], lines: dict[str, Sequence], **axes) -> NotebookFigure:
    """Lines over x, one per name, markers at every x. axes: what `Axes.set` takes.

    lines: name -> values like x, or (values, half intervals), drawn as error bars; values may be
    NaN where there are none. Raises ValueError for no lines.
    """
    if not lines:
        raise ValueError("curves needs at least one line.")
    fig = new_figure(6.4, 3)
    ax = fig.subplots()
    for (name, line), colour in zip(lines.items(), cycle(COLOURS)):
        values, half = line if isinstance(line, tuple) else (line, None)
        ax.errorbar(x, values, half, fmt="o-", markersize=3, color=colour, label=name)
    ax.set(**axes)
    plain_log_ticks(ax, *({"x", "y"} - {name[0] for name in axes if name[1:] == "ticks"}))
    ax.legend()
    return fig


def plain_log_ticks(axes, *sides: str) -> None:
    """Logarithmic sides ("x", "y") with 1, 2 and 5 of every decade in plain numbers, not powers.

    Below one decade all nine. No tick between them has a label, on the other side neither.
    """
    for side, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if axis.get_scale() != "log":
            continue
        axis.set_minor_formatter(NullFormatter())
        if side in sides:
            low, high = sorted(axis.get_view_interval())
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else range(1, 10)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))


@styled
def score_bars(rows: dict[str, dict]) -> NotebookFigure:
    """The scoreboard as bars: a line per name, a panel for SCORE and each part, all from 0 to 1.

    What a row lacks is a dash; an interval of SCORE is a black line. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("score_bars needs at least one row.")
    fig = new_figure(10, 0.34 * len(rows) + 0.7)
    y = np.arange(len(rows))
    panels = fig.subplots(1, len(HEADLINE_METRICS), sharey=True)
    for axes, part in zip(panels, HEADLINE_METRICS, strict=True):
        for k, row in enumerate(rows.values()):
            value = row.get(part)
            axes.barh(k, 1, 0.62, color=LIGHT_GREY)
            colour = BLUE if part == "SCORE" else "#7FB3D5"
            axes.barh(k, 0 if is_missing(value) else value, 0.62, color=colour)
            axes.text(1.04, k, "–" if is_missing(value) else f"{value:.2f}", va="center", fontsize=9)
            if part == "SCORE" and (ends := score_interval(row)):
                axes.plot(ends, (k, k), color="white", linewidth=4)
                axes.plot(ends, (k, k), color="black", linewidth=1.5)
        axes.set(xlim=(0, 1.4), xticks=[], yticks=y, yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        axes.set_title(part, fontweight="bold" if part == "SCORE" else "normal")
        hide_axes(axes)
    return fig


def is_missing(value: object) -> bool:
    """Whether a row has nothing there: None, or NaN."""
    return value is None or value != value


def score_interval(row: dict, part: str = "SCORE") -> tuple[float, float] | None:
    """A part's interval in a row of the scoreboard, row["interval"][part], or None."""
    low, high = (row.get("interval") or {}).get(part) or (None, None)
    return None if is_missing(low) or is_missing(high) else (low, high)
