"""Chapter 03, a U-Net: the student's exercises and the inputs of their checks."""
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.visual import figures
from minidiff.visual.sheets import labelled_sheet  # noqa: F401 (the notebook's)

DTYPES = torch.float32, torch.float64


def scales_cases() -> list[Case]:
    """Images of three shapes, not all of them square."""
    return [Case(f"x {shape}, {dtype_name(dtype)}", (seeded_randn(seed, *shape, dtype=dtype),))
            for seed, (shape, dtype) in enumerate(
                (s, d) for s in ((2, 1, 8, 8), (1, 3, 4, 12), (3, 2, 2, 2)) for d in DTYPES)]


def time_cases() -> list[Case]:
    """Times up to 0.1: float32 has no digits to spare for the angles of later ones."""
    times = torch.tensor([0.0, 0.001, 0.0125, 0.05, 0.1])
    return [Case(f"{n} times from 0 to {times[n - 1]:g}, width {dim}", (times[:n], dim))
            for n, dim in ((5, 8), (5, 32), (3, 64), (1, 2))]


def modulate_cases() -> list[Case]:
    """Feature maps with an embedding and the layer that makes scale and shift of it."""
    cases = []
    for seed, (shape, dtype) in enumerate(
            (s, d) for s in ((2, 3, 4, 5), (4, 4, 4, 4), (1, 6, 3, 3)) for d in DTYPES):
        h, C = seeded_randn(seed, *shape, dtype=dtype), shape[1]
        emb = seeded_randn(seed + 20, shape[0], 5, dtype=dtype)
        weight, bias = (seeded_randn(seed + k, *s, dtype=dtype) for k, s in ((40, (2 * C, 5)),
                                                                      (60, (2 * C,))))
        cases.append(Case(f"h {shape}, emb {tuple(emb.shape)}, {dtype_name(dtype)}",
                          (h, emb, weight, bias)))
    return cases


def standardise(x: Tensor) -> Tensor:
    """A stand-in for group norm: mean 0 and variance 1 in each sample."""
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True) + 1e-5).sqrt()


def widen(x: Tensor) -> Tensor:
    """A stand-in for a convolution that doubles the channels and looks to the left."""
    return torch.cat([x + 0.3, 0.5 * x - x.roll(1, -1)], 1)


def lean(x: Tensor) -> Tensor:
    """A stand-in for a convolution that keeps the channels."""
    return 0.7 * x + 0.2 * x.flip(-2) - 0.1


def tint(h: Tensor, emb: Tensor) -> Tensor:
    """A stand-in for a scale and shift by emb."""
    return h * (1 + emb[:, :1, None, None]) + emb[:, 1:2, None, None]


def twice(x: Tensor) -> Tensor:
    """A stand-in for a 1x1 convolution on the way round the block."""
    return torch.cat([x, -2 * x], 1)


def residual_cases() -> list[Case]:
    """Feature maps for a block that keeps the channels and one that doubles them."""
    cases = []
    for seed, (shape, dtype) in enumerate(zip(((2, 3, 4, 4), (1, 2, 6, 5)), DTYPES)):
        x = seeded_randn(seed, *shape, dtype=dtype)
        emb = seeded_randn(seed + 20, shape[0], 4, dtype=dtype)
        for says, first, skip in (("as many channels", lean, torch.nn.Identity()),
                                  ("twice as many channels", widen, twice)):
            cases.append(Case(f"x {shape}, {says}, {dtype_name(dtype)}",
                              (x, emb, standardise, first, tint, lean, skip)))
    return cases


def attention_cases() -> list[Case]:
    """Queries, keys and values, values of another width and large scores among them."""
    cases = []
    for seed, (rows, N, d, dtype) in enumerate(
            (r, n, d, t) for r, n, d in (((2,), 5, 8), ((1, 2), 4, 4), ((), 3, 16))
            for t in DTYPES):
        q, k, v = (seeded_randn(seed + s, *rows, N, d, dtype=dtype) for s in (0, 30, 60))
        cases.append(Case(f"q, k, v {tuple(q.shape)}, {dtype_name(dtype)}", (q, k, v)))
    q, k, v = seeded_randn(90, 2, 3, 4), seeded_randn(91, 2, 6, 4), seeded_randn(92, 2, 6, 5)
    cases.append(Case("3 queries, 6 keys, values of another width", (q, k, v)))
    cases.append(Case("long queries and keys", (60 * q, 60 * k, v)))
    return cases


def halve(x: Tensor) -> Tensor:
    """Half the height and width: the mean of each 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """Twice the height and width: each pixel repeated."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def dim(x: Tensor) -> Tensor:
    """A way down that keeps the size, so that a wrong order shows as numbers."""
    return x / 2


def bright(x: Tensor) -> Tensor:
    """A way up that keeps the size, so that a wrong order shows as numbers."""
    return 1.5 * x + 0.1


class Down:
    """A level on the way down: its own factor, and a look to the left."""

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(self.factor * x + 0.5 * x.roll(1, -1))


class Up(Down):
    """A level on the way up: it tells its channels apart and returns half of them."""

    def __call__(self, x: Tensor) -> Tensor:
        h, skip = x.chunk(2, 1)
        return torch.sin(self.factor * h - 0.8 * skip + 0.3 * skip.roll(1, -2))


def unet_cases() -> list[Case]:
    """U-Nets of one to three levels, with and without a change of size."""
    cases = []
    for seed, (levels, kind, dtype) in enumerate((
            (1, "same size", DTYPES[0]), (2, "same size", DTYPES[1]), (3, "same size", DTYPES[0]),
            (1, "halved", DTYPES[0]), (2, "halved", DTYPES[1]))):
        shrink, grow = (halve, double) if kind == "halved" else (dim, bright)
        downs = [Down(0.6 + 0.3 * k) for k in range(levels)]
        ups = [Up(1.1 - 0.2 * k) for k in range(levels)]
        x = seeded_randn(seed, 2, 2, 8, 16, dtype=dtype)
        cases.append(Case(f"{levels} level{'s' * (levels > 1)}, {kind}, {dtype_name(dtype)}",
                          (x, downs, lean, ups, shrink, grow)))
    return cases


# The curves of chapters 03 and 04: each thing has one colour and one line style in all figures

BLUE, ORANGE, GREEN, RED, PINK, SKY = figures.COLOURS
DARK = figures.TEXT_COLOUR
LOOKS = {"yours": (BLUE, "-"), "without skips": (ORANGE, "--"), "without time": (GREEN, ":"),
         "best linear": (DARK, "-."), "your block": (BLUE, "-"), "its branch alone": (ORANGE, "-."),
         "attention": (PINK, "-"), "a third block": (SKY, "-."), "frame by frame": (BLUE, "-"),
         "the clip": (DARK, "--"), "as it should be": (DARK, "-"), "the colleague's": (RED, "--"),
         "detail, 1 px": ("#BBBBBB", "-"), "detail, 2 px": ("#888888", "--"),
         "detail, 4 px": ("#555555", "-."), "coarse, 8 px": ("#000000", ":"),
         "transformer": (BLUE, "-"), "U-Net": (RED, "--"), "gates not 0": (ORANGE, "--"),
         "attention only": (PINK, "-."), "convolution only": (SKY, ":")}
curves = partial(figures.line_plot, looks=LOOKS)


def colleague(net: Callable) -> Callable:
    """The bug hunt's broken run: a network as a colleague's script calls it."""
    return lambda x, t, cond=None: net(x, 1 - t, cond)


EXERCISES = (
    Exercise(
        "c03-scales", "split_scales", "Coarse and fine", 2, 6, 1,
        ("Two lines: a smaller picture, and the detail that it lacks.",
         "Each coarse pixel is the mean of a 2x2 square. To compare it with x, let it fill its "
         "square again.",
         "coarse = F.avg_pool2d(x, 2); grown = F.interpolate(coarse, scale_factor=2); the detail "
         "is x - grown."),
        scales_cases),
    Exercise(
        "c03-time", "time_embedding", "When is it? An embedding of time", 2, 8, 2,
        ("Cosines and sines of one angle at many speeds, as the hands of a clock with many hands.",
         "The speeds are 10000^(-i / (dim / 2)) for i = 0 ... dim / 2 - 1, made for times up to "
         "1000: stretch t first.",
         "freqs = torch.exp(-log(10_000) * torch.arange(dim // 2) / (dim // 2)); angles = 1000 * "
         "t[:, None] * freqs; concatenate angles.cos() and angles.sin() along the last axis."),
        time_cases, ("minidiff.layers.sinusoidal_embedding",)),
    Exercise(
        "c03-modulate", "scale_and_shift", "Time scales and shifts features", 1, 6, 1,
        ("A linear layer makes 2 C numbers of emb: the first C scale, the last C shift.",
         "scale, shift = F.linear(emb, weight, bias).chunk(2, 1). They are (B, C), h is (B, C, H, "
         "W): they need two axes more, [:, :, None, None].",
         "h * (1 + scale) + shift: numbers near 0 leave h as it is."),
        modulate_cases),
    Exercise(
        "c03-residual", "residual_block", "The residual block", 2, 8, 2,
        ("The input goes two ways: straight on through `skip`, and through the branch. At the end "
         "the two are added.",
         "The branch: norm, SiLU, conv1, norm, modulate, SiLU, conv2.",
         "h = conv1(F.silu(norm(x))); h = modulate(norm(h), emb); return skip(x) + "
         "conv2(F.silu(h))."),
        residual_cases, ("minidiff.layers.ResBlock.forward",)),
    Exercise(
        "c03-attention", "attention", "Attention", 2, 8, 2,
        ("Each query is compared with every key; the result is a mean of the values, weighted by "
         "how well they match.",
         "q @ k.transpose(-1, -2) compares all with all: (..., N, N), a row per query. Divide by "
         "the square root of the width of q.",
         "weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1), so that each "
         "query's row sums to 1; return weights @ v."),
        attention_cases, ("minidiff.layers.attention",)),
    Exercise(
        "c03-unet", "unet_pass", "Down, across and up", 2, 12, 3,
        ("On the way down keep the output of each level, before it shrinks. On the way up each "
         "level gets the output that was kept at its own size.",
         "A list is a stack: skips.append(x) and skips.pop() give the last one first. The coarsest "
         "level on the way up is the first of `ups`.",
         "Down: x = down(x); skips.append(x); x = shrink(x). Then x = middle(x). Up: x = "
         "up(torch.cat([grow(x), skips.pop()], 1))."),
        unet_cases),
)

QUESTIONS = (
    Question("c03-bands", "predict",
             "A frame of 32x32 with one digit is split into details of 1, 2 and 4 pixels and a "
             "coarse rest of 4x4 numbers. Where is its variance?",
             ("Mostly in the finest details: strokes are thin",
              "Mostly in the coarse rest: where the ink is", "In all four, about evenly")),
    Question("c03-frames", "predict",
             "Eight real frames, each taken from another clip, are shown as one clip. Every frame "
             "is perfect. Which parts of the scoreboard will be near 1?",
             ("All of them", "FIT and COVER, but not PHY", "Only NEW, which looks for copies")),
    Question("c03-bug", "bughunt",
             "The loss of a good model with one bug, beside the same model without it, at nine "
             "noise levels. What is the bug?",
             ("The skips are cut: fine detail cannot get through",
              "Time is not stretched: the network always gets nearly 0",
              "The network gets 1 - t instead of t: it takes much noise for little",
              "The square root of d is missing in its attention"), 1, 3),
)
