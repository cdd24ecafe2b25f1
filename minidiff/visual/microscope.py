"""The trajectory microscope: every step and frame of a sampler's trajectory from noise to a clip.

At each step it shows x_t, the guess x0-hat, the remaining noise eps-hat = (x_t - alpha x0-hat) /
sigma, the change of the guess since the step before, and an x-t slice of the guess: one row of
pixels over the frames, in which time runs down and steady motion is a straight line.
"""
from collections.abc import Callable, Iterable, Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from minidiff.data import media
from minidiff.runtime.settings import none_means_default
from minidiff.samplers import State
from minidiff.schedules import Schedule
from minidiff.visual import figures
from minidiff.visual.figures import FIELDS, GREY_LEVELS, FieldStyle
from minidiff.visual.viewer import (
    INK_BAR,
    Slider,
    Viewer,
    ViewerPanel,
    frame_slider,
    quantised_tiles,
)

MAX_SHEET_PIXELS = 3 << 18                # pixels on the sheet; longer trajectories lose steps
MIN_STEPS = 8                             # but no more than down to so many


@none_means_default
def microscope(states: Iterable[State], schedule: Schedule, sample: int = 0, caption: str = "", *,
               steps: Sequence[int] | None = None,
               decode: Callable[[Tensor], Tensor] | None = None) -> Viewer:
    """A viewer of x_t, x0-hat, eps-hat and the change of x0-hat, with sliders for step and frame.

    states: all states of a sampler, of images (B, C, H, W) or videos (B, T, C, H, W) in [-1, 1];
    values outside are clipped for display, as the labels say. Of more than 3 channels the first is
    shown. sample: which of the B. steps: which states to show; unless given all, or as many as keep
    the page small. The change is since the state shown before.
    decode: for latents, `decode(x) -> clips in [0, 1]`, such as `Pipeline.decode`: x_t and x0-hat
    are then shown decoded, eps-hat as the first channel of the latents.
    Raises ValueError for no states, and for a sample or steps that do not exist.
    """
    states = figures.checked_states(states, sample)
    states = [State(s.t, *(v[sample:sample + 1].detach().cpu().float() for v in (s.x, s.x0)))
              for s in states]
    steps = select_steps(states, decode) if steps is None else list(steps)
    figures.check_indices("steps", steps, len(states))
    t = [float(states[i].t) for i in steps]
    coefficients = [[float(c) for c in schedule(torch.tensor(u, dtype=torch.float64))] for u in t]
    labels = [f"{i} of {len(states) - 1}   t = {u:.3f}   α = {alpha:.3f}   σ = {sigma:.3f}"
              for i, u, (alpha, sigma) in zip(steps, t, coefficients, strict=True)]
    count = f"{len(states)} states"
    count = count if len(steps) == len(states) else f"{len(steps)} of {count}"
    return build_viewer(trajectory_fields(states, schedule, steps, decode), t, labels, count,
                        caption)


def select_steps(states: list[State], decode: Callable | None) -> list[int]:
    """As many evenly spaced steps as fit on the sheet, at least 8, with the first and the last."""
    x = states[-1].x0 if decode is None else decode(states[-1].x0)
    fitting = MAX_SHEET_PIXELS * x.shape[-3] // (len(FIELDS) * x.numel())
    n = min(len(states), max(MIN_STEPS, fitting))
    return torch.linspace(0, len(states) - 1, n).round().int().tolist()


def trajectory_fields(states: list[State], schedule: Schedule, steps: list[int],
                      decode: Callable | None = None) -> dict[str, Tensor]:
    """x, x0, eps and change, each (S, T, C, H, W), of states of one sample."""
    def arrays(states: list[State], steps: list[int]) -> dict[str, Tensor]:
        length = states[0].x.shape[1] if states[0].x.ndim == 5 else 1
        return figures.trajectory_arrays(states, schedule, 0, steps, range(length))

    shown = arrays(states, steps)
    if decode is None:
        return shown
    pixels = [State(states[i].t, *(2 * decode(v).cpu() - 1 for v in states[i][1:])) for i in steps]
    decoded = arrays(pixels, list(range(len(steps))))
    size = decoded["x"].shape[1], *decoded["x"].shape[-2:]
    eps = interpolate(rearrange(shown["eps"], "s t c h w -> s c t h w")[:, :1], size)
    return decoded | {"eps": rearrange(eps, "s c t h w -> s t c h w")}


def build_viewer(shown: dict[str, Tensor], t: list[float], labels: list[str], count: str,
                 caption: str) -> Viewer:
    """The `Viewer` of the arrays of `trajectory_fields`.

    t: the time of each step; labels: the slider's text for it; count: the number of states in
    words.
    """
    _, length, channels, h, w = shown["x"].shape
    pixels = channels in (1, 3)
    row = brightest_row(shown["x0"][-1])
    fields = [f._replace(vmax=f.vmax if pixels or f.key == "change" else 3) for f in FIELDS]
    panels = [field_panel(f, shown, row if length > 1 and f.key == "x0" else None)
              for f in fields]
    if length > 1:
        panels.append(slice_panel(shown["x0"][..., row, :], row, fields[1].vmax))
    sliders = [Slider("step", labels, start=len(labels) // 2, ms=350), *frame_slider(length)]
    what = f"a clip of {length} frames" if length > 1 else "an image"
    text = (f"{caption}: " if caption else "") + (
        f"trajectory microscope, {count} of {what}, {h}x{w}: x_t, x0-hat, eps-hat and the change "
        f"of x0-hat at every step{'' if pixels else f'; the first of {channels} channels'}")
    return Viewer(caption, sliders, panels, fallback_figure(shown, t, fields), text,
                  columns=len(panels))


def field_panel(field: FieldStyle, shown: dict[str, Tensor], row: int | None) -> ViewerPanel:
    """The panel of one of the fields (S, T, C, H, W), with a text over steps without values."""
    change = field.key == "change"
    caption = field.caption if change else f"{field.caption}\n{field.clip_note()}"
    tiles = quantised_tiles(shown[field.key], field.cmap, field.vmax, field.levels)
    return ViewerPanel(field.name, field.title, tiles, caption, row=row,
                       blank_texts=figures.empty_texts(shown, field),
                       colourbar=INK_BAR if change else ())


def slice_panel(rows: Tensor, row: int, vmax: float) -> ViewerPanel:
    """The panel of the x-t slice: one row of pixels (S, T, C, W) over the frames."""
    tiles = quantised_tiles(rearrange(rows, "s t c w -> s 1 c t w"), "gray", vmax, GREY_LEVELS)
    return ViewerPanel("x-t slice of x0-hat",
                       "<i>x–t</i> <small>slice of <i>x̂</i><sub>0</sub></small>", tiles,
                       caption=f"row {row}, marked ▸ ◂\ntime runs down", row="second")


def brightest_row(clip: Tensor) -> int:
    """The row of pixels with most ink over all frames of a clip (T, C, H, W) in [-1, 1]."""
    return int(media.to_unit(clip).sum((0, 1, 3)).argmax())


def fallback_figure(shown: dict[str, Tensor], t: list[float],
                    fields: list[FieldStyle]) -> figures.NotebookFigure:
    """A contact sheet for readers without scripts: a few steps, three frames of each."""
    length = shown["x"].shape[1]
    frames = sorted({0, length // 2, length - 1})
    steps = torch.linspace(0, len(t) - 1, min(5 if length > 1 else 8, len(t))).round().int()
    arrays = {key: v[steps.tolist()][:, frames] for key, v in shown.items()}
    draw = figures.styled(figures.trajectory_grid)
    return draw(arrays, fields, [f"{t[i]:.2f}" for i in steps], frames, length)
