"""The trajectory microscope: every step and frame of a sampler's way from noise to a clip.

At each step it shows x_t, the guess x0-hat, the noise eps-hat = (x_t - alpha x0-hat) / sigma that
the guess leaves, how the guess changed since the step before, and an x-t slice of the guess: one
row of pixels over the frames, time downwards, where steady motion is a straight line.
"""
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from minidiff.data import media
from minidiff.samplers import State
from minidiff.schedules import Schedule
from minidiff.visual import figures
from minidiff.visual.viewer import Slider, Viewer, ViewerPanel, quantised_tiles

GREYS = 31                     # of a guess; 11 and 7 where it is noise, which packs badly
MAX_SHEET_PIXELS = 3 << 18                 # pixels on the sheet: steps are left out beyond it


class FieldStyle(NamedTuple):
    """How one of `figures.trajectory_arrays`'s arrays is shown: names, colour map, what is clipped, levels."""
    key: str
    name: str                                                      # for those who do not see it
    title: str                                                                         # as HTML
    tex: str
    caption: str
    cmap: str
    vmax: int
    levels: int


FIELDS = (
    FieldStyle("x", "x_t, what the sampler has", "<i>x<sub>t</sub></i>", "$x_t$",
          "what the sampler has", "gray", 1, 11),
    FieldStyle("x0", "x0-hat, the guess", "<i>x̂</i><sub>0</sub>", r"$\hat{x}_0$",
          "the guess", "gray", 1, GREYS),
    FieldStyle("eps", "eps-hat, the noise that the guess leaves", "<i>ε̂</i>", r"$\hat{\epsilon}$",
          "the noise it leaves", "gray", 3, 7),
    FieldStyle("change", "change of x0-hat since the step before, blue more ink, red less",
          "Δ<i>x̂</i><sub>0</sub>", r"$\Delta \hat{x}_0$", "since the step before", "RdBu", 1,
          GREYS),
)


def microscope(states: Iterable[State], schedule: Schedule, sample: int = 0, caption: str = "", *,
               steps: Sequence[int] | None = None,
               decode: Callable[[Tensor], Tensor] | None = None) -> Viewer:
    """Step by frame by x_t, x0-hat, eps-hat and the change of x0-hat, to leaf through.

    states: all of a sampler's, for images (B, C, H, W) or videos (B, T, C, H, W) in [-1, 1]; what
    lies outside is clipped for the eye, as the labels say. Of more than 3 channels the first is
    shown. sample: which of the B.
    steps: which states to show; unless given all, or as many as keep the page small. The change is
    since the one shown before.
    decode: for latents, `decode(x) -> clips in [0, 1]`, such as `Pipeline.decode`: x_t and x0-hat
    are then shown through it, eps-hat as the latents' first channel.
    Raises ValueError for no states, or a sample or steps that are not there.
    """
    states = list(states)
    if not states:
        raise ValueError("A microscope needs at least one state; "
                         "keep them with list(sampler(...)).")
    if not 0 <= sample < len(states[0].x):
        raise ValueError(f"There is no sample {sample}; these states hold samples 0 to "
                         f"{len(states[0].x) - 1}.")
    if states[0].x.ndim not in (4, 5):
        raise ValueError("A microscope shows images (B, C, H, W) or videos (B, T, C, H, W), "
                         f"not states of shape {tuple(states[0].x.shape)}.")
    states = [State(s.t, *(v[sample:sample + 1].detach().cpu().float() for v in (s.x, s.x0)))
              for s in states]
    steps = select_steps(states, decode) if steps is None else list(steps)
    if not steps or not all(0 <= i < len(states) for i in steps):
        raise ValueError(f"steps must name states from 0 to {len(states) - 1}, got {steps}.")
    t = [float(states[i].t) for i in steps]
    coefficients = [[float(c) for c in schedule(torch.tensor(u, dtype=torch.float64))] for u in t]
    says = [f"{i} of {len(states) - 1}   t = {u:.3f}   α = {alpha:.3f}   σ = {sigma:.3f}"
            for i, u, (alpha, sigma) in zip(steps, t, coefficients, strict=True)]
    which = f"{len(steps)} of {len(states)} states" * (len(steps) < len(states))
    return build_viewer(trajectory_fields(states, schedule, steps, decode), t, says,
                  which or f"{len(states)} states", caption)


def select_steps(states: list[State], decode: Callable | None) -> list[int]:
    """As many steps as fit on the sheet, evenly, at least 8 of them; the first and last are in."""
    x = states[-1].x0 if decode is None else decode(states[-1].x0)
    n = min(len(states), max(8, MAX_SHEET_PIXELS * x.shape[-3] // (len(FIELDS) * x.numel())))
    return torch.linspace(0, len(states) - 1, n).round().int().tolist()


def trajectory_fields(states: list[State], schedule: Schedule, steps: list[int],
           decode: Callable | None = None) -> dict[str, Tensor]:
    """x, x0, eps and change, each (S, T, C, H, W), of states that hold one sample."""
    def drawn(states: list[State], steps: list[int]) -> dict[str, Tensor]:
        length = states[0].x.shape[1] if states[0].x.ndim == 5 else 1
        return figures.trajectory_arrays(states, schedule, 0, steps, range(length))

    shown = drawn(states, steps)
    if decode is None:
        return shown
    pixels = [State(states[i].t, *(2 * decode(v).cpu() - 1 for v in states[i][1:])) for i in steps]
    seen = drawn(pixels, list(range(len(steps))))
    size = seen["x"].shape[1], *seen["x"].shape[-2:]
    eps = interpolate(rearrange(shown["eps"], "s t c h w -> s c t h w")[:, :1], size)
    return seen | {"eps": rearrange(eps, "s c t h w -> s t c h w")}


def build_viewer(shown: dict[str, Tensor], t: list[float], says: list[str], which: str,
           caption: str) -> Viewer:
    """The `Viewer` of what `trajectory_fields` gives, at the times t, which the slider says as `says`."""
    _, length, channels, h, w = shown["x"].shape
    pixels = channels in (1, 3)
    row = brightest_row(shown["x0"][-1])
    looks = [f._replace(vmax=f.vmax if pixels or f.key == "change" else 3) for f in FIELDS]
    panels = [field_panel(f, shown[f.key], row if length > 1 and f.key == "x0" else None) for f in looks]
    sliders = [Slider("step", says, start=len(says) // 2, ms=350)]
    if length > 1:
        cut = rearrange(shown["x0"][..., row, :], "s t c w -> s 1 c t w")
        panels.append(ViewerPanel(
            "x-t slice of x0-hat", "<i>x–t</i> <small>slice of <i>x̂</i><sub>0</sub></small>",
            quantised_tiles(cut, "gray", looks[1].vmax, GREYS), row="second",
            caption=f"row {row}, marked ▸ ◂\ntime runs down"))
        sliders.append(Slider("frame", [f"{k} of {length - 1}" for k in range(length)],
                              start=length // 2, ms=125))
    what = f"a clip of {length} frames" if length > 1 else "an image"
    text = (f"{caption}: " if caption else "") + (
        f"trajectory microscope, {which} of {what}, {h}x{w}: x_t, x0-hat, eps-hat and the change "
        f"of x0-hat at every step{'' if pixels else f'; the first of {channels} channels'}")
    return Viewer(caption, sliders, panels, fallback_figure(shown, t, looks), text, columns=len(panels))


def field_panel(field: FieldStyle, values: Tensor, row: int | None) -> ViewerPanel:
    """One field's panel: names, range, and words where there is nothing to see."""
    why = "none:\nσ = 0" if field.key == "eps" else "none before\nthe first"
    nothing = values.isnan().flatten(1).all(1).nonzero().flatten().tolist()
    change = field.key == "change"
    return ViewerPanel(field.name, field.title, quantised_tiles(values, field.cmap, field.vmax, field.levels),
                 field.caption + ("" if change else f"\nclipped to ±{field.vmax}"), row=row,
                 blank_texts=dict.fromkeys(nothing, why), colourbar=("less ink", "more") if change else ())


def brightest_row(clip: Tensor) -> int:
    """The row of pixels that holds most ink, over all frames of a clip (T, C, H, W) in [-1, 1]."""
    return int(media.to_unit(clip).sum((0, 1, 3)).argmax())


def fallback_figure(shown: dict[str, Tensor], t: list[float], looks: list[FieldStyle]) -> figures.NotebookFigure:
    """A contact sheet for readers that run no script: a few steps, three frames of each."""
    length = shown["x"].shape[1]
    frames = sorted({0, length // 2, length - 1})
    steps = torch.linspace(0, len(t) - 1, min(5 if length > 1 else 8, len(t))).round().int()
    drawn = {key: v[steps.tolist()][:, frames] for key, v in shown.items()}
    rows = [(f.key, f.tex, f.caption, f.cmap, f.vmax) for f in looks]
    return figures.styled(figures.trajectory_grid)(drawn, rows, [f"{t[i]:.2f}" for i in steps], frames, length)
