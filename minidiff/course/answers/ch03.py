"""Chapter 03, a U-Net: the right answers and the common mistakes."""
from collections.abc import Callable, Sequence
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def split_scales(x: Tensor) -> tuple[Tensor, Tensor]:
    """The image at half size, and the detail that this loses."""
    coarse = F.avg_pool2d(x, 2)
    grown = F.interpolate(coarse, scale_factor=2)
    return coarse, x - grown


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal features (B, dim) of the times (B,)."""
    freqs = torch.exp(-log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = 1000 * t[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], -1)


def scale_and_shift(h: Tensor, emb: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features (B, C, H, W), scaled and shifted by a linear layer of the embedding."""
    scale, shift = F.linear(emb, weight, bias)[:, :, None, None].chunk(2, 1)
    return h * (1 + scale) + shift


def residual_block(x: Tensor, emb: Tensor, norm: Callable, conv1: Callable, modulate: Callable,
                   conv2: Callable, skip: Callable) -> Tensor:
    """A residual block with the time's modulation between its convolutions."""
    h = conv1(F.silu(norm(x)))
    h = modulate(norm(h), emb)
    return skip(x) + conv2(F.silu(h))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention over (..., N, D)."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


def unet_pass(x: Tensor, downs: Sequence[Callable], middle: Callable, ups: Sequence[Callable],
              shrink: Callable, grow: Callable) -> Tensor:
    """A U-Net: down, middle and up, with a skip connection at each level."""
    skips = []
    for down in downs:
        x = down(x)
        skips.append(x)
        x = shrink(x)
    x = middle(x)
    for up in ups:
        x = up(torch.cat([grow(x), skips.pop()], 1))
    return x


def unguarded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A wrong attention: its exponentials overflow for large scores."""
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).exp()
    return weights / weights.sum(-1, keepdim=True) @ v


def over_channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A wrong attention: it compares channels, not tokens."""
    weights = (q.transpose(-1, -2) @ k / q.shape[-1] ** 0.5).softmax(-1)
    return v @ weights.transpose(-1, -2)


ANSWERS = {
    "c03-scales": answer(
        split_scales,
        Mistake("subsampled", {"F.avg_pool2d(x, 2)": "x[..., ::2, ::2]"},
                "You keep one pixel of four and drop the rest: fine patterns then pass for coarse "
                "ones (aliasing). Take the mean of the square.", 2),
        Mistake("max", {"F.avg_pool2d": "F.max_pool2d"},
                "Your coarse pixels are the largest of each square; a mean keeps the amount of "
                "ink.", 2),
        Mistake("sum", {"F.avg_pool2d(x, 2)": "4 * F.avg_pool2d(x, 2)"},
                "You add the four pixels up; divide by 4 to stay in the range of x.", 2),
        Mistake("sign", {"x - grown": "grown - x"},
                "Your detail has the wrong sign: grown + detail must give x back.", 1),
        Mistake("swapped", {"coarse, x - grown": "x - grown, coarse"},
                "You return the detail first; coarse comes first.", 1),
        Mistake("blur-for-detail", {"coarse, x - grown": "coarse, grown"},
                "Your detail is the blurred picture itself; detail is the part that the blur "
                "lacks, x minus the blur.", 1),
        Mistake("tiled", {"F.interpolate(coarse, scale_factor=2)": "coarse.repeat(1, 1, 2, 2)"},
                "repeat() lays whole copies side by side, like tiles. Each coarse pixel must fill "
                "its own square: repeat_interleave, or F.interpolate.", 3),
        Mistake("smooth", {"scale_factor=2)": 'scale_factor=2, mode="bilinear")'},
                "You grow by smooth interpolation, which blurs over the squares' borders; here "
                "each coarse pixel fills its square (nearest).", 3)),
    "c03-time": answer(
        time_embedding,
        Mistake("not-stretched", {"1000 * t": "t"},
                "t is in [0, 1], but these frequencies are made for 0 to 1000: nearly all your "
                "angles stay near 0, and all times look alike. Stretch t.", 2),
        Mistake("sine-first", {"angles.cos(), angles.sin()": "angles.sin(), angles.cos()"},
                "Here the cosines come first. (Any order would do; but weights that were trained "
                "with one do not fit another.)", 3),
        Mistake("interleaved", {"torch.cat(": "torch.stack(", "angles.sin()], -1)":
                                "angles.sin()], -1).flatten(1)"},
                "You alternate cosines and sines; here all cosines come first, then all sines.", 3),
        Mistake("one-of-them", {"angles.cos(), angles.sin()": "angles.sin(), angles.sin()"},
                "Both your halves are sines. One of them alone cannot tell an angle from its "
                "mirror image.", 1),
        Mistake("whole-width", {"/ (dim // 2))": "/ dim)"},
                "Your frequencies fall only to 1 / 100: i is divided by dim, not by dim / 2.", 2),
        Mistake("one-short", {"/ (dim // 2))": "/ max(dim // 2 - 1, 1))"},
                "You divide i by dim / 2 - 1, as DDPM's code does; here, as in Vaswani 2017, it is "
                "dim / 2.", 2),
        Mistake("rising", {"-log(10_000)": "log(10_000)"},
                "Your frequencies rise from 1 to 10,000; they must fall, else neighbouring times "
                "look like noise.", 2),
        Mistake("evenly-spaced", {"torch.exp(-log(10_000) * torch.arange(dim // 2, device=t.device)"
                                  " / (dim // 2))": "1 / (1 + torch.arange(dim // 2))"},
                "Your frequencies are 1, 1/2, 1/3, ...; they must fall by the same factor each "
                "time, to cover 1 to 1 / 10,000.", 2)),
    "c03-modulate": answer(
        scale_and_shift,
        Mistake("no-one", {"(1 + scale)": "scale"},
                "You multiply by scale, not by 1 + scale. A fresh network's scale is near 0: it "
                "would set everything to nearly 0.", 3),
        Mistake("swapped", {"scale, shift =": "shift, scale ="},
                "Scale and shift are exchanged: the first C numbers scale.", 1),
        Mistake("shift-first", {"h * (1 + scale) + shift": "(h + shift) * (1 + scale)"},
                "You shift first and then scale the shift, too; scale first.", 3),
        Mistake("no-shift", {" + shift": ""},
                "Your shift is never added: time could make features stronger, but not move "
                "them.", 3),
        Mistake("no-bias", {"F.linear(emb, weight, bias)": "F.linear(emb, weight)"},
                "The linear layer's bias is missing.", 2),
        Mistake("interleaved", {"[:, :, None, None].chunk(2, 1)":
                                "[:, :, None, None].unflatten(1, (-1, 2)).unbind(2)"},
                "You take scale and shift in turn; here all scales come first, then all shifts.",
                1),
        Mistake("wrong-axes", {"[:, :, None, None].chunk(2, 1)": ".chunk(2, 1)"},
                "Your scale is (B, C) and meets the last two axes of h, its height and width. It "
                "belongs to the channels: add two axes.", 2)),
    "c03-residual": answer(
        residual_block,
        Mistake("no-residual", {"skip(x) + ": ""},
                "Only the branch comes out: the input is not added. Deep stacks of such blocks "
                "hardly train.", 1),
        Mistake("no-projection", {"skip(x) +": "x +"},
                "You add x itself; if the block has another width, x must go through skip.", 1),
        Mistake("no-time", {"modulate(norm(h), emb)": "norm(h)"},
                "emb is never used: the block does not know what time it is.", 2),
        Mistake("norm-after", {"modulate(norm(h), emb)": "norm(modulate(h, emb))"},
                "You normalise after the modulation: that removes much of the effect of time.", 2),
        Mistake("no-second-norm", {"modulate(norm(h), emb)": "modulate(h, emb)"},
                "The second norm is missing: scale and shift then act on features of any size.", 2),
        Mistake("no-first-norm", {"F.silu(norm(x))": "F.silu(x)"},
                "The first norm is missing: x grows from block to block, and the branch sees it.",
                2),
        Mistake("linear", {"conv2(F.silu(h))": "conv2(h)"},
                "There is no SiLU before conv2: two convolutions with no nonlinearity between them "
                "are one.", 2),
        Mistake("normed-skip", {"skip(x) +": "skip(F.silu(norm(x))) +"},
                "The residual path must stay free: skip(x), with neither norm nor SiLU.", 1),
        Mistake("silu-on-top", {"skip(x) + conv2(F.silu(h))": "F.silu(skip(x) + conv2(F.silu(h)))"},
                "A SiLU after the sum changes the residual path, too; after many blocks little is "
                "left of x.", 3)),
    "c03-attention": answer(
        attention,
        Mistake("no-root", {" / q.shape[-1] ** 0.5": ""},
                "The division by sqrt(d) is missing: scores of wide vectors are large, the softmax "
                "saturates, and its gradient vanishes.", 2),
        Mistake("d-not-root", {"** 0.5": "** 1"},
                "You divide by d; a scalar product of d random numbers is about sqrt(d) large.", 2),
        Mistake("root-of-tokens", {"q.shape[-1]": "k.shape[-2]"},
                "You divide by the root of the number of tokens; it is the root of their width.",
                2),
        Mistake("over-queries", {"softmax(-1)": "softmax(-2)"},
                "Your weights sum to 1 over the queries. Each query spreads its attention over the "
                "keys: the last axis.", 3),
        Mistake("no-softmax", {".softmax(-1)": ""},
                "The softmax is missing: your weights are scores, of any sign, that sum to "
                "anything.", 3),
        Mistake("softmax-last", {"scores.softmax(-1) @ v": "(scores @ v).softmax(-1)"},
                "You take the softmax of the result; it belongs to the scores, before v.", 3),
        Mistake("keys-as-values", {"@ v": "@ k"},
                "You average the keys. Keys decide which places are read; the values are the "
                "content.", 1),
        WrongAnswer("over-channels", over_channels,
              "You compare channels with channels. Attention compares places with places: scores "
              "are (..., N, N).", 2),
        WrongAnswer("overflow", unguarded,
              "Right for small scores, but exp() of large ones is infinite. torch.softmax takes "
              "the largest out first.", 3)),
    "c03-unet": answer(
        unet_pass,
        Mistake("first-first", {"skips.pop()": "skips.pop(0)"},
                "You hand the skips back in the order they came: the coarsest level gets the "
                "finest skip. Last in, first out.", 2),
        Mistake("skip-after-shrinking", {"        skips.append(x)\n        x = shrink(x)":
                                         "        x = shrink(x)\n        skips.append(x)"},
                "You keep the skip after shrinking: its fine detail is gone already.", 3),
        Mistake("skip-before-level", {"        x = down(x)\n        skips.append(x)":
                                      "        skips.append(x)\n        x = down(x)"},
                "You keep the input of a level; the skip is the output of the level.", 3),
        Mistake("only-the-last", {"skips.pop()": "skips[-1]"},
                "Every level on the way up gets the same, coarsest skip: take it off the stack.",
                2),
        Mistake("no-skips", {"[grow(x), skips.pop()]": "[grow(x), grow(x)]"},
                "The skips are never used: all that reaches the end went through the bottom.", 1),
        Mistake("added", {"torch.cat([grow(x), skips.pop()], 1)": "grow(x) + skips.pop()"},
                "You add the skip; here it is concatenated, so that the level can tell the two "
                "apart.", 3),
        Mistake("skip-in-front", {"[grow(x), skips.pop()]": "[skips.pop(), grow(x)]"},
                "The skip comes first in your concatenation; here it is last.", 3),
        Mistake("no-middle", {"    x = middle(x)\n": ""},
                "The middle is missing: nothing happens at the bottom.", 1),
        Mistake("not-grown", {"grow(x), skips": "x, skips"},
                "You forget to grow on the way up: the sizes cannot fit.", 3),
        Mistake("not-shrunk", {"        x = shrink(x)\n": ""},
                "You never shrink, so all levels work at one scale.", 1)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c03-time",
     "line 3: torch.exp(-log(10000) * torch.arange(dim // 2, device=t.device) / (dim // 2)) "
     "-> torch.exp(-log(10000) * torch.arange(dim // 2, device=t.device) / (dim // "
     "2)).detach()"):
        "Frequencies are constants: they have no gradients.",
    ("c03-time",
     "line 5: -1 -> 1"):
        "Times have one axis, so the last axis is axis 1.",
    ("c03-time",
     "line 3: torch.arange(dim // 2, device=t.device) -> torch.arange(dim // 2)"):
        "A check on one device cannot see where a tensor is made; on a GPU it is an error.",
    ("c03-time",
     "line 3: torch.arange(dim // 2, device=t.device) -> torch.arange(dim // 2, "
     "device=t.device).detach()"):
        "Frequencies are constants: they have no gradients.",
    ("c03-time",
     "line 3: dim // 2 -> dim / 2"):
        "dim is even, so half of it is the same number.",
    ("c03-attention",
     "line 3: k.transpose(-1, -2) -> k.transpose(-2, -1)"):
        "Exchanging two axes is the same in either order.",
}

RIGHT = {
    "c03-bands": (2, (
        "Thin strokes have fine details, but there are few strokes, and their edges are soft.",
        "The coarse rest has its share and not more: a digit is as much stroke as place.",
        "Each scale holds about a quarter. But the coarse one packs it into 16 numbers, the finest "
        "spreads it over 1,024.")),
    "c03-frames": (2, (
        "Perfect frames make no clip: the scoreboard looks at how the ink moves.",
        "FIT and COVER look at whole clips, too: paths, speeds, and one digit from start to end.",
        "A mixture of digits copies none of the training. All other parts look along time. Only a "
        "distance between single frames does not notice it, which is why it is printed beside "
        "them and not one of them.")),
    "c03-bug": (2, (
        "Cut skips would hurt most at little noise, where detail is visible, and hardly at much.",
        "Then it would be right at little noise, and ever more wrong towards t = 1.",
        "At t = 0.5, and only there, 1 - t is t: both models agree, and the error grows towards "
        "both ends.",
        "That would hurt at every noise level, at t = 0.5 too.")),
}
