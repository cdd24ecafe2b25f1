"""Chapter 05, latent diffusion: the student's exercises and the inputs of their checks."""
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.layers import ResBlock, TemporalConv
from minidiff.visual import figures
from minidiff.visual.sheets import labelled_sheet  # noqa: F401 (the notebook's)

DTYPES = torch.float32, torch.float64
SHAPES = (3, 2, 4, 2, 3), (2, 1, 1, 4, 4), (1, 4, 2, 3, 2)


# The bug hunt's

def colleagues(z: Tensor, back: bool = False) -> Tensor:
    """The latents as the colleague's model has them, or back to what the decoder takes."""
    return z / 0.18215 if back else 0.18215 * z


# Cases

def posteriors() -> list[tuple[str, Tensor, Tensor]]:
    """Means and log variances (B, T, C, h, w), each with a description."""
    found = []
    for seed, (shape, dtype) in enumerate((s, d) for s in SHAPES for d in DTYPES):
        mean, log_var = (
            seeded_randn(seed, *shape, dtype=dtype),
            seeded_randn(seed + 20, *shape, dtype=dtype) - 1,
        )
        found.append((f"mean and log_var {shape}, {dtype_name(dtype)}", mean, log_var))
    return found


def draw_cases() -> list[Case]:
    """Means and log-variances with the noise to draw from them."""
    return [Case(label, (mean, log_var, seeded_randn(50 + i, *mean.shape, dtype=mean.dtype)))
            for i, (label, mean, log_var) in enumerate(posteriors())]


def kl_cases() -> list[Case]:
    """Means and log-variances, the standard normal's own among them."""
    nothing = torch.zeros(2, 1, 3, 2, 2)
    return [Case(label, parts) for label, *parts in posteriors()] + [
        Case("mean 0 and variance 1 everywhere", (nothing, nothing.clone())),
        Case("mean 1 and variance 1 everywhere", (nothing + 1, nothing.clone()))]


def encode(x: Tensor) -> tuple[Tensor, Tensor]:
    """A stand-in for an encoder: one pixel of four gives the mean, another the log-variance."""
    return 0.7 * x[..., ::2, ::2] + 0.1, 0.3 * x[..., 1::2, 1::2] - 1


def decode(z: Tensor) -> Tensor:
    """A stand-in for a decoder: each latent fills a square."""
    return torch.tanh(1.2 * z).repeat_interleave(2, -1).repeat_interleave(2, -2)


def loss_cases() -> list[Case]:
    """Videos with an encoder, a decoder, noise and a weight beta."""
    cases = []
    for seed, (shape, beta, dtype) in enumerate((
            ((3, 4, 1, 8, 8), 0.1, DTYPES[0]), ((2, 2, 3, 4, 8), 1.0, DTYPES[1]),
            ((2, 6, 1, 8, 4), 0.0, DTYPES[0]), ((1, 2, 2, 4, 4), 0.01, DTYPES[1]))):
        x = seeded_randn(seed, *shape, dtype=dtype)
        eps = seeded_randn(seed + 20, *encode(x)[0].shape, dtype=dtype)
        cases.append(Case(f"x {shape}, beta {beta:g}, {dtype_name(dtype)}",
                          (x, encode, decode, eps, beta)))
    return cases


def pairs_cases() -> list[Case]:
    """Videos of 1 to 8 frames; one of 3 frames must raise an error."""
    shapes = (2, 4, 1, 2, 3), (1, 6, 3, 2, 2), (3, 2, 2, 3, 3), (2, 8, 2, 2, 2), (2, 1, 2, 3, 2)
    videos = [
        (
            f"{shape[1]} frame{'s' * (shape[1] > 1)}, {shape[2]} channel"
            f"{'s' * (shape[2] > 1)}, {dtype_name(dtype)}",
            seeded_randn(i, *shape, dtype=dtype),
        )
        for i, (shape, dtype) in enumerate(zip(shapes, DTYPES * 3))
    ] + [("3 frames", seeded_randn(9, 2, 3, 2, 2, 2))]
    return [Case(label, (x,), call=partial(without_its_text, x), raises=x.shape[1] == 3)
            for label, x in videos]


def without_its_text(x: Tensor, f: Callable) -> Tensor:
    """f(x). A ValueError loses its text, which is everybody's own and is not compared."""
    try:
        return f(x)
    except ValueError:
        raise ValueError("The frames cannot be paired.") from None


def calibration_cases() -> list[Case]:
    """So many numbers a channel that dividing by N or by N - 1 makes no difference."""
    cases, shapes = [], ((24, 8, 3, 8, 8), (16, 4, 4, 12, 16), (40, 4, 1, 9, 8))
    for seed, (B, T, C, h, w) in enumerate(shapes):
        channel = torch.arange(C)[:, None, None]
        z = seeded_randn(seed, B, T, C, h, w) * (0.5 + 2.0 * channel) + 3 * channel - 1.5
        z = z + torch.linspace(-1, 1, T)[:, None, None, None] + torch.linspace(0, 1, h)[:, None]
        cases.append(Case(f"z {tuple(z.shape)}", (z,)))
    silent = cases[1].args[0].clone()
    silent[:, :, 2] = 0.25
    return [*cases, Case("one of four channels is always .25", (silent,)),
            Case("that channel, brought to scale", (silent,), call=lambda f: scaled(f, silent))]


def scaled(f: Callable, z: Tensor) -> Tensor:
    """Latents normalised by the mean and std that f returns."""
    mean, std = f(z)
    return (z - mean) / std


def whole(x: Tensor) -> Tensor:
    """The error itself, for all bands at once."""
    return x


def halved(x: Tensor) -> Tensor:
    """The coarse half of frames: means of 2x2."""
    return F.avg_pool2d(x, 2)


def shimmer_cases() -> list[Case]:
    """Errors with the path of a digit, among them an error that moves with it."""
    cases = []
    for seed, (shape, band, dtype) in enumerate((
            ((2, 4, 1, 8, 8), whole, DTYPES[0]), ((3, 3, 2, 6, 8), whole, DTYPES[1]),
            ((2, 4, 1, 8, 12), halved, DTYPES[1]), ((1, 5, 1, 8, 8), halved, DTYPES[0]))):
        B, T = shape[:2]
        steps = torch.tensor([[1, -2], [0, 3], [2, 1]])[:B, None]
        path = steps * torch.arange(T)[:, None]                                # (B, T, 2)
        cases.append(Case(f"error {shape}, {dtype_name(dtype)}, band: {band.__name__}",
                          (seeded_randn(seed, *shape, dtype=dtype) + 0.5, path, band)))
    frame, path = seeded_randn(30, 1, 1, 1, 8, 8), torch.tensor([[[0, 0], [1, 2], [2, 4]]])
    carried = torch.cat([torch.roll(frame, (k, 2 * k), (-2, -1)) for k in range(3)], 1)
    return [*cases, Case("an error that moves with the digit, and a little that does not",
                         (carried + 0.1 * seeded_randn(31, *carried.shape), path, whole))]


# Figures

BLUE, ORANGE, GREEN, RED = figures.COLOURS[:4]
LOOKS = {"colleague": RED, "shipped": ORANGE, "yours": BLUE, "latents": BLUE, "pixels": GREEN,
         "ceiling": figures.TEXT_COLOUR}
DASHED = "exact", "shimmer", "ceiling", "folded"


def curves(x: Sequence[float], lines: dict[str, Sequence], **axes) -> figures.NotebookFigure:
    """`figures.line_plot` with a colour and a line style for each thing that the names hold."""
    looks = {name: (next(colour for word, colour in LOOKS.items() if word in name),
                    "--" if any(word in name for word in DASHED) else "-") for name in lines}
    return figures.line_plot(x, lines, looks, **axes)


# The chapter's other helpers

def each(layer: Callable, h: Tensor) -> Tensor:
    """A layer of images on every frame of clips (B, T, C, H, W)."""
    folded = h.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return layer(folded).unflatten(0, h.shape[:2])


class Step(nn.Module):
    """A residual block on every frame, then a convolution through time: like h (B, T, C, H, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.block, self.time = ResBlock(width, width), TemporalConv(width)

    def forward(self, h: Tensor) -> Tensor:
        return each(lambda frames: self.time(self.block(frames), h.shape[1]), h)


def drifting(digits: Digits, n: int, size: int, frames: int, sprite: int) -> tuple[Tensor, Tensor]:
    """Clips of a digit that moves by whole pixels and meets no wall, and its path (n, T, 2).

    It begins 2 pixels from the upper left corner, and moves 1 or 2 down and right each frame.
    """
    found = moving_mnist(digits, n, size=size, sprite=sprite, frames=1, seed=6)
    corner = (found.positions[:, 0, 0] - sprite / 2).floor().long() - 2
    pace = torch.tensor([(1, 1), (1, 2), (2, 1), (2, 2)])[torch.arange(n) % 4]
    path = pace[:, None] * torch.arange(frames)[:, None]
    x = [torch.roll(frame, (move - start).tolist(), (-2, -1))
         for frame, start, way in zip(found.x[:, 0], corner, path) for move in way]
    return torch.stack(x).unflatten(0, (n, frames)), path


EXERCISES = (
    Exercise(
        "c05-draw", "draw", "A draw that gradients pass through", 1, 5, 1,
        ("A normal variable of mean m and standard deviation s is m plus s times a standard normal "
         "one.",
         "log_var is the logarithm of the variance; the standard deviation is the root of the "
         "variance. The root halves the logarithm.",
         "mean + (log_var / 2).exp() * eps."),
        draw_cases),
    Exercise(
        "c05-kl", "kl", "How much information a latent holds", 2, 8, 1,
        ("The formula stands above, number by number: square the mean, and make the variance from "
         "its logarithm.",
         "log_var is the log of the variance already: exp(log_var) is the variance, and no other "
         "logarithm is needed.",
         "each = (mean.square() + log_var.exp() - log_var - 1) / 2; a mean for each sample: "
         "each.flatten(1).mean(1)."),
        kl_cases),
    Exercise(
        "c05-loss", "vae_loss", "The VAE's loss", 2, 12, 2,
        ("Encode, draw, decode, compare; your `draw` and your `kl` do half of the work.",
         "error = decode(draw(mean, log_var, eps)) - x. Its edges are error.diff(dim=-1) and "
         "error.diff(dim=-2).",
         "The mean of e.abs() of each of the three in each sample (.flatten(1).mean(1)), added up, "
         "plus beta * kl(mean, log_var)."),
        loss_cases, ("minidiff.vae.VAE.loss",)),
    Exercise(
        "c05-pairs", "pair_frames", "Time, halved", 2, 8, 2,
        ("Frames 0 and 1 become one place in time with twice the channels, then frames 2 and 3, "
         "and so on.",
         "x[:, ::2] are the first frames of all pairs, x[:, 1::2] the second ones. Axis 2 holds "
         "the channels.",
         "If T is 1: x = torch.cat([x, x], 1). If T is odd: raise ValueError. Then torch.cat([x[:, "
         "::2], x[:, 1::2]], 2)."),
        pairs_cases),
    Exercise(
        "c05-calibrate", "calibration", "The latents' own scale", 2, 8, 2,
        ("Each channel has a scale of its own; clips, frames and places of a channel share it.",
         "Reduce over all axes but the channels' one: (0, 1, 3, 4). The result is (C,); give it "
         "two more axes.",
         "mean = z.mean((0, 1, 3, 4))[:, None, None]; the same with std, and .clamp(min=1e-6) for "
         "a channel that never changes."),
        calibration_cases, ("minidiff.vae.VAE.fit_latent_stats",), gradients=False),
    Exercise(
        "c05-shimmer", "blur_and_shimmer", "Blur and shimmer", 3, 15, 3,
        ("Follow the digit: shift every frame of the error back by the digit's movement. The part "
         "that then stays from frame to frame is blur, the part that changes is shimmer.",
         "torch.roll(frame, (-y, -x), (-2, -1)) shifts back. Do it for every frame, stack, take "
         "the band of all, .unflatten(0, error.shape[:2]), then look along time.",
         "seen.mean(1).square() is the blur of each pixel, seen.var(1, correction=0) its shimmer; "
         ".flatten(1).mean(1) of each gives one number a clip."),
        shimmer_cases, gradients=False),
)

QUESTIONS = (
    Question("c05-axis", "predict",
             "The best linear VAE for one number of variance .1, with zeta = .05, keeps it. What "
             "does it do with a number of variance .02?",
             ("It keeps it, with as many bits", "It keeps it, but rounds it more",
              "It drops it: the latent is pure noise, whatever the number was")),
    Question("c05-paste", "predict",
             "Two clips are encoded. The left half of the second's latents is put into the "
             "first's, and the result decoded. What do you see?",
             ("Grey noise: latents cannot be cut up",
              "The second clip in the left half, the first in the right one",
              "One digit halfway between the two")),
    Question("c05-bug", "bughunt",
             "A colleague's latent model, its loss at eight noise levels, and clips that it made. "
             "What is the bug?",
             ("Its latents are far too large, and noise hardly covers them",
              "Its latents are far too small, and even a little noise hides them",
              "Time runs backwards: it gets 1 - t instead of t",
              "The decoder is broken: no latents could give clips"), 1, 4),
)
