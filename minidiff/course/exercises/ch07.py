"""Chapter 07, time: the student's exercises and the inputs of their checks."""
import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.data.digits import Digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import Clips, moving_mnist
from minidiff.evaluation.digit_classifier import CONFIDENCE_THRESHOLD, JUNK_CLASS
from minidiff.evaluation.metrics import background_flicker, frame_features
from minidiff.evaluation.tracking import ink_centres
from minidiff.layers import Attention, TemporalConv
from minidiff.runtime.precision import autocast
from minidiff.schedules import Flow
from minidiff.unet import SpatioTemporalMixer
from minidiff.visual.figures import NotebookFigure, hide_axes, new_figure
from minidiff.visual.sheets import labelled_sheet

DTYPES = torch.float32, torch.float64


# The clips that the chapter's own networks learn: a ball in a small box

def disc(size: int = 6) -> Tensor:
    """A white disc (size, size) with a soft edge, in [0, 1]."""
    at = torch.arange(size) - (size - 1) / 2
    return (size / 4 + 0.1 - 0.45 * (at[:, None] ** 2 + at**2).sqrt()).clamp(0, 1)


BALL = Digits(disc()[None, None], torch.zeros(1, dtype=torch.long), "a ball")


def balls(n: int, step: int = 0, seed: int = 0, frames: int = 8) -> Clips:
    """n clips of one bouncing ball of 6 px, x (n, T, 1, 16, 16), 1 to 2 px a frame."""
    return moving_mnist(BALL, n, size=16, sprite=6, speed=(1, 2), frames=frames, pairs="all",
                        seed=seed, step=step)


def ball_paths(clips: Tensor) -> Tensor:
    """Where the ball is, (n, T, 2) in pixels, from clips in [-1, 1]."""
    centres, _ = ink_centres(to_unit(clips).float().mean(2).flatten(0, 1).cpu(), 6)
    return centres.unflatten(0, clips.shape[:2])


# Models, and the student's functions in them

class Looks(Attention):
    """The package's attention through time, computed by the student's functions.

    Rows (..., L, D) count as clips of L frames; only models that see no future give a mask.
    """

    def forward(self, x: Tensor, pos: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        rows = x if x.ndim == 4 else x[:, None]                                  # (B, N, L, D)
        L, attend = rows.shape[2], self.attend if mask is None else self.causal
        y = self.temporal(rearrange(rows, "b n l d -> (b l) d n 1"), L, pos, self.norm, self.qkv,
                          self.out, self.heads, attend)
        return rearrange(y, "(b l) d n 1 -> b n l d", l=L).reshape(x.shape)


def looks_with(model: nn.Module, temporal: Callable, attend: Callable,
               causal: Callable | None = None) -> list[Looks]:
    """Lets a model's attention through time compute with `temporal`; returns its layers.

    attend: (q, k, v) -> like v; causal: the same, for the layers of a model that sees no future.
    """
    mixers = [m for m in model.modules() if isinstance(m, SpatioTemporalMixer)]
    layers = [m.temporal_attention for m in mixers if m.temporal_attention is not None]
    for layer in layers:
        layer.__class__ = Looks
        layer.temporal, layer.attend, layer.causal = temporal, attend, causal or attend
    return layers


class Taps(TemporalConv):
    """The package's temporal convolution, computed by the student's function."""

    def forward(self, x: Tensor, T: int) -> Tensor:
        return self.temporal(x, T, self.norm, self.conv.weight[..., 0], self.conv.bias,
                             self.pad[2] == 2)


def taps_with(model: nn.Module, temporal: Callable) -> list[Taps]:
    """Lets a model's temporal convolutions compute with `temporal`; returns its layers."""
    layers = [m for m in model.modules() if isinstance(m, TemporalConv)]
    for layer in layers:
        layer.__class__, layer.temporal = Taps, temporal
    return layers


def with_labels(denoiser: Callable, labels: Tensor) -> Callable:
    """The guess (x, t) -> x0 of a denoiser for these labels (B,), in float32."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        with autocast(x.device):
            return denoiser(x, t, labels.to(x.device)).float()
    return guess


MIXER_LAYERS = "temporal_conv", "temporal_attention", "spatial_attention"


def without(model: nn.Module, *parts: str) -> nn.Module:
    """The model without some layers of its mixers, which are named in MIXER_LAYERS.

    Raises ValueError for another name.
    """
    if unknown := [part for part in parts if part not in MIXER_LAYERS]:
        raise ValueError(f"There is no layer {unknown[0]!r}; there are {', '.join(MIXER_LAYERS)}.")
    for mixer in (m for m in model.modules() if isinstance(m, SpatioTemporalMixer)):
        for part in parts:
            setattr(mixer, part, None)
    return model


# The chapter's measurements

class Look(NamedTuple):
    """Measurements of clips that show one digit of 14 px."""
    path: Tensor      # (n, T, 2), where its ink is, in pixels
    sure: Tensor      # (n, T), 1 if the classifier is sure of the clip's digit
    flicker: Tensor   # (n,), mean change from frame to frame outside the digit's box


@torch.no_grad()
def look_at(clips: Tensor) -> Look:
    """Measures clips (n, T, 1, 32, 32) in [0, 1], by the scoreboard's digit classifier."""
    x = clips.float().cpu().mean(2)
    g = frame_features(x[:, :, None], 14)
    probabilities = g.probabilities[:, :, 0]
    digit = probabilities[..., :JUNK_CLASS].mean(1).argmax(-1)
    sure = probabilities[torch.arange(len(x)), :, digit] >= CONFIDENCE_THRESHOLD
    return Look(g.centres[:, :, 0], (sure & g.isolated[..., 0] & g.visible[..., 0]).float(),
                background_flicker(x, g.centres, 14))


@torch.no_grad()
def maps_of(model: nn.Module, temporal: Callable, attend: Callable, *inputs: Tensor) -> Tensor:
    """The maps of a model's attention through time, (B, T, N, T, N), the mean over its layers.

    temporal, attend: as for `looks_with`; attention with the identity for values is its own map.
    inputs: x (B, T, C, H, W) first, then the model's other inputs.
    """
    kept, model = [], copy.deepcopy(model)

    def noting(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        L = k.shape[-2]
        kept.append(attend(q, k, torch.eye(L).to(q).expand(*q.shape[:-2], L, L)).cpu())
        return attend(q, k, v)
    looks_with(model, temporal, noting)
    model(*inputs)
    return places(kept, inputs[0].shape[1])


def places(maps: list[Tensor], T: int) -> Tensor:
    """Attention maps of several layers, their mean as (B, T, N, T, N): from place to place.

    maps: (B, N, 1, heads, T, T), where each place looks along time, or (B, 1, 1, heads, T N, T N).
    """
    mean = torch.stack(maps).float().mean((0, -3)).flatten(1, 2)
    if mean.shape[1] == 1:
        return rearrange(mean[:, 0], "b (t n) (u m) -> b t n u m", t=T, u=T)
    return torch.einsum("bntu,nm->btnum", mean, torch.eye(mean.shape[1]).to(mean))


def hits(maps: Tensor, ink: Tensor) -> Tensor:
    """(T - 1, B): of the attention that the digit's places pay to frames 1, 2, ... away, how much
    falls on the digit. maps: as from `places`; ink (B, T, N): 1 where the digit is.
    """
    T, found = ink.shape[1], []
    away = (torch.arange(T)[:, None] - torch.arange(T)).abs().to(ink.device)
    paid = torch.einsum("btn,btnum,tu->btum", ink, maps, 1.0 * (away > 0))
    for gap in range(1, T):
        there = paid * (away == gap)[:, :, None]
        found.append((there * ink[:, None]).sum((1, 2, 3)) / there.sum((1, 2, 3)))
    return torch.stack(found)


@torch.no_grad()
def influence(net: Callable, x: Tensor) -> Tensor:
    """(T, T): how much each output frame (row) changes, at most, if one input frame (column) does.

    x: (1, T, C, H, W).
    """
    before, rows = net(x), []
    for k in range(x.shape[1]):
        other = x.clone()
        other[:, k] = other[:, k].flip(-1) + 0.1
        rows.append((net(other) - before).abs().amax((0, 2, 3, 4)))
    return torch.stack(rows, 1)


def mixed_up(x: Tensor, T: int, pos: Tensor, norm: Callable, qkv: Callable, out: Callable,
             heads: int, attend: Callable) -> Tensor:
    """The colleague's attention through time, of the bug hunt."""
    h = rearrange(x, "(t b) c h w -> b h w t c", t=T)
    q, k, v = rearrange(qkv(norm(h) + pos), "... t (three n d) -> three ... n t d", three=3,
                        n=heads)
    h = rearrange(attend(q, k, v), "... n t d -> ... t (n d)")
    return x + rearrange(out(h), "b h w t c -> (t b) c h w")


# The chapter's figures: names for rows and columns, styles for lines

def label_rows(fig: NotebookFigure, names: Sequence[str]) -> NotebookFigure:
    """The figure of `figures.xt_slice` with a name at each row."""
    fig.axes[1].set_title("x-t (maximum)")
    for axes, name in zip(fig.axes[::2], names, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    return fig


def named_sheet(clips: Tensor, names: Sequence[str]) -> NotebookFigure:
    """A sheet of clips (N, T, C, H, W) in [0, 1], in 16 greys, with a name at each row."""
    return labelled_sheet(clips, [*names], range(clips.shape[1]), levels=16)


def named_maps(maps: Tensor, names: Sequence[str]) -> NotebookFigure:
    """Maps (N, T, T) in [0, 1] side by side: an output frame a row, an input frame a column."""
    fig = new_figure(2 * len(maps) + 0.5, 2.8)
    rows = fig.subplots(1, len(maps), sharey=True)
    for axes, picture, name in zip(rows, maps, names, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(title=name, xlabel="input frame", xticks=range(len(picture)))
        hide_axes(axes)
    rows[0].set(ylabel="output frame", yticks=range(len(maps[0])))
    return fig


# Cases

def steady_cases() -> list[Case]:
    """Random paths (B, T, 2) of several lengths, a straight path and one with a turn."""
    cases = []
    for seed, ((B, T), dtype) in enumerate(product(((3, 8), (4, 3), (2, 16)), DTYPES)):
        path = (seeded_randn(seed, B, T, 2, dtype=dtype) * 0.6).cumsum(1)
        cases.append(Case(f"{B} paths of {T} frames, {dtype_name(dtype)}", (path,)))
    straight = torch.arange(6.0)[:, None] * torch.tensor([1.5, -0.5])
    cases.append(Case("a straight path, and one that turns round once",
                      (torch.stack([straight, torch.where(straight.abs() > 2, 4 - straight,
                                                          straight)]),)))
    return cases


def covariance(T: int, r: float, dtype: torch.dtype) -> Tensor:
    """The covariance (T, T) of an AR(1) process with variance 1 and coefficient r."""
    k = torch.arange(T)
    return torch.tensor(r, dtype=dtype) ** (k[:, None] - k).abs()


def guess_cases() -> list[Case]:
    """Noised sequences with the covariance of their frames."""
    cases = []
    for seed, ((T, r, scale), t, dtype) in enumerate(product(
            ((8, 0.9, 1.0), (3, -0.5, 4.0)), (0.3, 0.8), DTYPES)):
        alpha, sigma = Flow()(torch.tensor(t, dtype=dtype))
        x = seeded_randn(seed, 2, T, *((), (1, 2, 2))[seed % 2], dtype=dtype)
        cases.append(Case(f"x {tuple(x.shape)}, r = {r}, variance {scale:g}, t = {t}, "
                          f"{dtype_name(dtype)}",
                              (x, scale * covariance(T, r, dtype), alpha, sigma)))
    mixed = seeded_randn(40, 4, 4, dtype=torch.float64)
    cases.append(Case("frames of unequal variance, t = 0.5",
                      (seeded_randn(41, 3, 4, 5,
                          dtype=torch.float64), mixed @ mixed.T + torch.eye(4),
                       *Flow()(torch.tensor(0.5, dtype=torch.float64)))))
    return cases


def linear(seed: int, c_in: int, c_out: int, dtype: torch.dtype) -> Callable:
    """A linear layer without bias, with seeded weights."""
    return partial(F.linear, weight=seeded_randn(seed, c_out, c_in, dtype=dtype) / c_in**0.5)


def layer(h: Tensor) -> Tensor:
    """A stand-in for layer norm."""
    return F.layer_norm(h, h.shape[-1:])


def blur(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A stand-in for attention: any places, any heads, and the order of q, k and v counts."""
    scores = torch.tanh(q) @ (k + 0.3).transpose(-1, -2)
    return (scores / q.shape[-1] ** 0.5).softmax(-1) @ v


def attention_cases() -> list[Case]:
    """Folded frames (B T, C, H, W) with the layers of a temporal attention."""
    cases = []
    for seed, ((B, T, C, H, W, heads), dtype) in enumerate(product(
            ((2, 3, 4, 2, 2, 2), (3, 4, 6, 2, 3, 1), (2, 4, 8, 2, 2, 4)), DTYPES)):
        x, pos = seeded_randn(seed, B * T, C, H, W, dtype=dtype), seeded_randn(seed + 30, T, C,
            dtype=dtype)
        cases.append(Case(f"{B} clips of {T} frames of {H}x{W}, width {C}, heads {heads}, "
                          f"{dtype_name(dtype)}",
                          (2 * x, T, pos, layer, linear(seed + 50, C, 3 * C, dtype),
                           linear(seed + 60, C, C, dtype), heads, blur)))
    return cases


def causal_cases() -> list[Case]:
    """Queries, keys and values of three shapes."""
    cases = []
    for seed, (shape, dtype) in enumerate(product(((2, 5, 4), (2, 3, 4, 8), (1, 2)), DTYPES)):
        q, k, v = (seeded_randn(seed + s, *shape, dtype=dtype) for s in (0, 30, 60))
        cases.append(Case(f"q, k, v {shape}, {dtype_name(dtype)}", (2 * q, k, v)))
    return cases


def lean(x: Tensor) -> Tensor:
    """A stand-in for group norm."""
    return 0.7 * x + 0.1


def conv_cases() -> list[Case]:
    """Folded frames with a kernel of 3 through time, causal and centred."""
    cases = []
    for seed, ((B, T, C, H, W), causal, dtype) in enumerate(product(
            ((2, 4, 3, 2, 3), (3, 2, 2, 3, 3)), (False, True), DTYPES)):
        x, bias = seeded_randn(seed, B * T, C, H, W, dtype=dtype), seeded_randn(seed + 40, C,
            dtype=dtype)
        weight = seeded_randn(seed + 20, C, C, 3, dtype=dtype)
        cases.append(Case(f"{B} clips of {T} frames, {C} channels, "
                          f"{'the past only' if causal else 'both sides'}, {dtype_name(dtype)}",
                          (x, T, lean, weight, bias, causal)))
    return cases


def made_longer(start: Tensor, T: int, length: int, known: int) -> Callable:
    """How `rollout` is used: its result, and the frames that it gave to `extend`."""
    def use(f: Callable) -> list:
        starts = []

        def extend(first: Tensor) -> Tensor:
            if len(starts) > 20:
                raise RuntimeError("extend was called more than 20 times")
            starts.append(first.clone())
            new = first[:, -1:] * 0.9 + torch.arange(1, T - first.shape[1] + 1).view(1, -1, 1)
            return torch.cat([first, new.to(first)], 1)
        return [f(extend, start.clone(), length, known), starts]
    return use


def rollout_cases() -> list[Case]:
    """Clips to extend to a given length, with windows and known frames of several sizes."""
    return [Case(f"from {have} frames to {length}, windows of {T}, {known} known, "
                 f"{dtype_name(dtype)}",
                 call=made_longer(seeded_randn(seed, 2, have, 3, dtype=dtype), T, length, known))
            for seed, ((have, T, length, known), dtype) in enumerate(product(
                ((8, 8, 32, 4), (5, 5, 12, 1), (6, 4, 9, 3)), DTYPES))]


EXERCISES = (
    Exercise(
        "c07-steady", "steady", "How steady is a path?", 1, 6, 1,
        ("A path is steady if each step is like the one before: look at the change of the steps.",
         "path.diff(dim=1) are the steps (B, T - 1, 2), a second diff their changes; the length "
         "of each is its norm over the last axis.",
         "accelerations = path.diff(dim=1).diff(dim=1).norm(dim=-1); return (-2 * "
         "accelerations).exp().mean(1)."),
        steady_cases, gradients=False),
    Exercise(
        "c07-clip-guess", "clip_guess", "The exact denoiser of a clip", 2, 14, 3,
        ("Turn the frames onto the covariance's principal axes: along each of them the numbers "
         "are independent, and chapter 01's gaussian_guess is the answer. Then turn back.",
         "variances, axes = torch.linalg.eigh(covariance); the axes are columns. Along axis k lies "
         "the sum over t of x[:, t] * axes[t, k], its standard deviation is variances[k].sqrt().",
         "y = torch.einsum('bt...,tk->bk...', x, axes); std = variances.sqrt().view(-1, *[1] * "
         "(x.ndim - 2)); y = gaussian_guess(y, 0, std, alpha, sigma); return "
         "torch.einsum('bk...,tk->bt...', y, axes)."),
        guess_cases, ("minidiff.gaussians.ar1_denoiser",), gradients=False),
    Exercise(
        "c07-temporal-attention", "temporal_attention", "Attention through time", 3, 18, 3,
        ("Attend over the frames: each place of each clip is a row of T tokens of width C. Attend, "
         "change the shape back to frames, add to x.",
         "rearrange(x, '(b t) c h w -> b h w t c', t=T) makes the rows; qkv(norm(h) + pos) is "
         "(..., T, 3 C): first q, then k, then v, and each of them heads times d wide.",
         "q, k, v = rearrange(qkv(norm(h) + pos), '... t (three n d) -> three ... n t d', three=3, "
         "n=heads); h = rearrange(attend(q, k, v), '... n t d -> ... t (n d)'); return x + "
         "rearrange(out(h), 'b h w t c -> (b t) c h w')."),
        attention_cases, ("minidiff.layers.Attention.forward",
            "minidiff.unet.SpatioTemporalMixer.forward")),
    Exercise(
        "c07-temporal-conv", "temporal_conv", "Three taps through time", 2, 12, 2,
        ("At every place there is a row of T frames with C channels: the shape that F.conv1d "
         "wants. Zeros lie beyond both ends, and the result is added to x.",
         "rearrange(..., '(b t) c h w -> (b h w) c t', t=T), then F.pad(h, (1, 1)) in front of "
         "F.conv1d; for the past only, both zeros in front: (2, 0).",
         "h = rearrange(F.silu(norm(x)), '(b t) c h w -> (b h w) c t', t=T); h = F.conv1d(F.pad(h, "
         "(2, 0) if causal else (1, 1)), weight, bias); return x + rearrange(h, '(b h w) c t -> (b "
         "t) c h w', h=x.shape[-2], w=x.shape[-1])."),
        conv_cases, ("minidiff.layers.TemporalConv.forward",)),
    Exercise(
        "c07-causal", "causal_attention", "No look ahead", 2, 8, 2,
        ("It is chapter 03's attention, but frame i must give no weight to any frame after it.",
         "Take the future out before the softmax, so that the weights that are left still sum to "
         "1: a score of minus infinity becomes a weight of exactly 0.",
         "future = torch.ones_like(scores, dtype=torch.bool).triu(1); scores = "
         "scores.masked_fill(future, -torch.inf); return scores.softmax(-1) @ v."),
        causal_cases, ("minidiff.layers.attention",)),
    Exercise(
        "c07-rollout", "rollout", "A clip that goes on", 2, 8, 2,
        ("While the clip is too short: give its last frames to `extend`, and append the new ones.",
         "The window that comes back begins with the frames you gave: window[:, known:] is new.",
         "while clip.shape[1] < length: window = extend(clip[:, -known:]); clip = torch.cat([clip, "
         "window[:, known:]], 1). Then return clip[:, :length]."),
        rollout_cases, gradients=False),
)

QUESTIONS = (
    Question("c07-shared", "predict",
             "A model of frames draws eight frames of a 3, deterministically (DDIM). Instead of "
             "noise of its own, every frame gets the same noise. What comes out?",
             ("The same as before: frames never meet, so their noise does not matter",
              "A 3 that stands still: no flicker, no motion",
              "A 3 that moves smoothly, since neighbouring frames now agree")),
    Question("c07-order", "predict",
             "Your temporal attention without positions (pos = 0) is given a clip, and then the "
             "same clip backwards. What is the output for the second?",
             ("The output for the first, backwards", "Something else: the film runs the wrong way",
              "The output for the first, not reversed")),
    Question("c07-gap", "predict",
             "At which noise level do the other frames help most, if neighbours correlate by 0.95?",
             ("At little noise, t = 0.1, where frames are clear enough to be compared",
              "In the middle, at t = 0.6 or so", "At nearly pure noise, t = 0.99")),
    Question("c07-bug", "bughunt",
             "Two clips of four frames go through a colleague's attention through time, as one "
             "batch. The picture shows which input frame (column) changes which output frame "
             "(row), the first clip's four frames first. Which bug is it?",
             ("It attends over places instead of frames",
              "The mask is upside down: each frame sees its future",
              "The frames are unfolded in the wrong order, and different clips meet",
              "The residual is missing: a frame does not keep its input"), 1, 3),
)
