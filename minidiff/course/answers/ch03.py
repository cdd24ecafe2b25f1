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
                "each coarse pixel fills its square (nearest).", 3),
        Mistake("stays-large", {"return coarse,": "return grown,"},
                "You return the coarse part at full size, with as many numbers as x. Return it "
                "before it grows: the next level works on fewer pixels.", 1),
        Mistake("small-detail", {"x - grown": "x[..., ::2, ::2] - coarse"},
                "Your detail has half the size, so three of four pixels have no detail. Compare at "
                "the size of x.", 2),
        Mistake("not-grown", {"F.interpolate(coarse, scale_factor=2)": "coarse"},
                "x and coarse have different sizes, so no difference can be taken. Upsample coarse "
                "first: each of its pixels fills a 2x2 square.", 2),
        Mistake("overlapping", {"F.avg_pool2d(x, 2)": "F.avg_pool2d(x, 3, 2, 1)"},
                "Your squares are 3x3, overlap, and count zeros beyond the border. Use 2x2 squares "
                "that touch and cover each pixel once.", 2),
        Mistake("two-downsamplings", {"F.interpolate(coarse, scale_factor=2)":
                                      "F.interpolate(x[..., ::2, ::2], scale_factor=2)"},
                "You return the means as coarse, but subtract every other pixel of x. Coarse and "
                "detail must belong together: grow the coarse that you return.", 2),
        Mistake("grey", {"F.avg_pool2d(x, 2)":
                         "F.avg_pool2d(x, 2).mean(1, keepdim=True)"},
                "You take the mean over the channels, too: colour would be lost. Only height and "
                "width are halved.", 2),
        Mistake("coarse-detached", {"x - grown": "x - grown.detach()"},
                "The values are right, but you detach the upsampled part. Each detail depends on "
                "all four pixels of its square, and so must its gradient.", 1)),
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
                "time, to cover 1 to 1 / 10,000.", 2),
        Mistake("base-1000", {"log(10_000)": "log(1000)"},
                "You took 1000 for the base. 1000 stretches t; the frequencies fall to "
                "1 / 10,000.", 2),
        Mistake("full-turns", {"1000 * t": "1000 * 2 * torch.pi * t"},
                "You count whole turns, with a factor 2 pi, as random Fourier features do "
                "(Tancik 2020). Here the angle is 1000 t times the frequency.", 2),
        Mistake("axes-swapped", {"t[:, None] * freqs": "t * freqs[:, None]"},
                "Your table has a row for each frequency and a column for each time. Each time "
                "needs its own row: t[:, None] * freqs.", 3),
        Mistake("no-axis", {"t[:, None]": "t"},
                "B times and dim / 2 frequencies cannot be multiplied one by one. Give t a second "
                "axis, so that each time meets each frequency.", 3),
        Mistake("below", {"angles.sin()], -1)": "angles.sin()], 0)"},
                "You put the sines below the cosines and get 2 B rows. They belong side by side, "
                "on the last axis.", 3),
        Mistake("from-one", {"torch.arange(dim // 2, device=t.device)":
                             "torch.arange(1, dim // 2 + 1)"},
                "Your i begins at 1, so the fastest frequency, 1, is missing. Begin at 0.", 2),
        Mistake("whole-steps", {"1000 * t[:, None]": "(1000 * t[:, None]).long()"},
                "You round 1000 t down to whole steps. DDPM's steps were whole numbers; our t is "
                "continuous, and 12.5 differs from 12.", 2),
        Mistake("two-i", {"torch.arange(dim // 2, device=t.device)": "torch.arange(0, dim, 2)"},
                "The 2 is there twice. Vaswani writes 2 i / dim, which is i / (dim / 2) already; "
                "yours is 2 i / (dim / 2).", 2)),
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
                "belongs to the channels: add two axes.", 2),
        Mistake("embedding-detached", {"F.linear(emb,": "F.linear(emb.detach(),"},
                "The values are right, but you detach emb: the layers that make the embedding of "
                "time would never learn.", 2),
        Mistake("added", {"h * (1 + scale) + shift": "h + scale + shift"},
                "You add both numbers. DDPM only adds its embedding of time (Ho 2020); here the "
                "first C numbers multiply.", 3),
        Mistake("exponential", {"(1 + scale)": "scale.exp()"},
                "exp(scale) is near 1 + scale for small numbers only; larger ones explode. Use "
                "1 + scale.", 3),
        Mistake("sigmoid", {"(1 + scale)": "scale.sigmoid()"},
                "A sigmoid is a gate: it can only weaken a feature, and a fresh layer would halve "
                "all of them.", 3),
        Mistake("first-of-batch", {"F.linear(emb,": "F.linear(emb[:1],"},
                "All samples get the scale and shift of the first one. Each sample has its own "
                "time.", 2),
        Mistake("extra-silu", {"F.linear(emb,": "F.linear(F.silu(emb),"},
                "You apply a SiLU to emb. Many U-Nets do it in this place; here the linear layer "
                "gets emb as it is.", 2),
        Mistake("not-transposed", {"F.linear(emb, weight, bias)": "(emb @ weight + bias)"},
                "weight is (2 C, E), a row for each output. So it is emb @ weight.T + bias, or "
                "F.linear, which transposes it.", 2),
        Mistake("split-last-axis", {".chunk(2, 1)": ".chunk(2, -1)"},
                "With two axes added, the last axis has length 1 and cannot be split. The 2 C "
                "numbers are on axis 1.", 2)),
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
                "left of x.", 3),
        Mistake("silu-before-norm", {"F.silu(norm(x))": "norm(F.silu(x))"},
                "Your SiLU comes before the first norm, so its input has any size. Norm first, "
                "then SiLU, then convolution.", 2),
        Mistake("after-the-convolutions", {"conv1(F.silu(norm(x)))": "F.silu(norm(conv1(x)))",
                                           "modulate(norm(h), emb)":
                                           "F.silu(modulate(norm(conv2(h)), emb))",
                                           "conv2(F.silu(h))": "h"},
                "Your norms and SiLUs follow the convolutions, as in the first ResNets. Here they "
                "precede them, and the branch ends with conv2.", 2),
        Mistake("relu", {"F.silu(norm(x))": "F.relu(norm(x))", "F.silu(h)": "F.relu(h)"},
                "You use ReLU. This block has SiLU, x times sigmoid(x), which is smooth.", 3),
        Mistake("first-silu-missing", {"F.silu(norm(x))": "norm(x)"},
                "conv1 gets the normed input without a SiLU; each of the two convolutions has one "
                "before it.", 2),
        Mistake("convolutions-swapped", {"conv1(F.silu(norm(x)))": "conv2(F.silu(norm(x)))",
                                         "conv2(F.silu(h))": "conv1(F.silu(h))"},
                "conv2 runs before conv1. conv1 may change the width, and modulate is made for the "
                "new one.", 3),
        Mistake("time-too-early", {"F.silu(norm(x))": "F.silu(modulate(norm(x), emb))",
                                   "modulate(norm(h), emb)": "norm(h)"},
                "You modulate before conv1. Time enters between the two convolutions, after the "
                "second norm.", 2),
        Mistake("time-too-late", {"modulate(norm(h), emb)": "norm(h)",
                                  "conv2(F.silu(h))": "modulate(conv2(F.silu(h)), emb)"},
                "You modulate the result of conv2. Its weights start at 0, so that a fresh block "
                "equals its skip; a shift behind them would spoil that.", 2),
        Mistake("modulated-after-silu", {"modulate(norm(h), emb)": "modulate(F.silu(norm(h)), emb)",
                                         "conv2(F.silu(h))": "conv2(h)"},
                "You modulate after the second SiLU. Before it, a shift decides where a feature "
                "passes the SiLU and where it does not.", 2),
        Mistake("root-two", {"skip(x) + conv2(F.silu(h))":
                             "(skip(x) + conv2(F.silu(h))) / 2 ** 0.5"},
                "You divide the sum by sqrt(2), as the score networks of Song 2021 do. Here the "
                "skip keeps its size, so a fresh block changes nothing.", 3),
        Mistake("skip-detached", {"skip(x)": "skip(x.detach())"},
                "The values are right, but the skip is detached. It is the way on which gradients "
                "pass by the block; without it deep networks hardly train.", 1),
        Mistake("time-detached", {"modulate(norm(h), emb)": "modulate(norm(h), emb.detach())"},
                "The values are right, but no gradient reaches emb: the network cannot learn what "
                "its embedding of time should be.", 2)),
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
              "the largest out first.", 3),
        Mistake("not-transposed", {"k.transpose(-1, -2)": "k"},
                "q @ k would sum over the width of q and the places of k. Transpose the last two "
                "axes of k, so that both widths meet.", 2),
        Mistake("axes-from-the-front", {"k.transpose(-1, -2)": "k.transpose(1, 2)"},
                "transpose(1, 2) fits (B, N, D) only. With another number of axes it takes the "
                "wrong ones: count from the end, -1 and -2.", 2),
        Mistake("keys-ask", {"q @ k.transpose(-1, -2)": "k @ q.transpose(-1, -2)"},
                "Your scores have a row for each key. A row belongs to a query: q @ k^T.", 2),
        Mistake("times-root", {" / q.shape[-1]": " * q.shape[-1]"},
                "You multiply by sqrt(d). The scores are too large already: divide.", 2),
        Mistake("divided-too-late", {" / q.shape[-1] ** 0.5": "",
                                     "scores.softmax(-1)": "scores.softmax(-1) / "
                                                           "q.shape[-1] ** 0.5"},
                "You divide the weights, which then no longer sum to 1. The root belongs to the "
                "scores, before the softmax.", 3),
        Mistake("width-of-values", {"q.shape[-1]": "v.shape[-1]"},
                "You divide by the root of the values' width. The sums in the scores run over the "
                "width of q and k.", 2),
        Mistake("axis-one", {"softmax(-1)": "softmax(1)"},
                "You take the softmax along axis 1, counted from the front: that axis is another "
                "one for each number of axes. The keys are always last.", 3),
        Mistake("divided-by-the-sum", {"scores.softmax(-1)": "(scores / scores.sum(-1, "
                                       "keepdim=True))"},
                "You divide the scores by their sum. Scores can be negative, and the sum can be "
                "near 0; exp() makes them positive first.", 3),
        Mistake("winner-takes-all", {"scores.softmax(-1)": "torch.eye(k.shape[-2]).to(v)"
                                     "[scores.argmax(-1)]"},
                "You read the best place only. Attention is a weighted mean; a choice by argmax "
                "has no gradient, so it cannot be learnt.", 1),
        Mistake("causal", {"    return scores":
                           "    future = torch.ones_like(scores).triu(1).bool()\n"
                           "    scores = scores.masked_fill(future, -torch.inf)\n"
                           "    return scores"},
                "You hide the places after the query, as language models do. The places of an "
                "image have no order: each sees all.", 1),
        Mistake("weights-detached", {"scores.softmax(-1)": "scores.softmax(-1).detach()"},
                "The values are right, but the weights are detached: the layers that make q and k "
                "would never learn where to look.", 3)),
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
                "You never shrink, so all levels work at one scale.", 1),
        Mistake("skips-detached", {"skips.append(x)": "skips.append(x.detach())"},
                "The values are right, but your skips are detached: the levels on the way down "
                "learn through the bottom alone.", 2),
        Mistake("grown-too-late", {"up(torch.cat([grow(x), skips.pop()], 1))":
                                   "grow(up(torch.cat([x, skips.pop()], 1)))"},
                "You grow after the level. Grow before it: the level needs x at the size of its "
                "skip.", 3),
        Mistake("skip-grown-too", {"torch.cat([grow(x), skips.pop()], 1)":
                                   "grow(torch.cat([x, skips.pop()], 1))"},
                "You grow the skip together with x. The skip was kept at this level's size and "
                "must stay as it is.", 3),
        Mistake("shrunk-too-early", {"        x = down(x)\n": "        x = down(shrink(x))\n",
                                     "        x = shrink(x)\n": ""},
                "You shrink before each level, so no level works at full size, and the finest "
                "skip is missing.", 3),
        Mistake("wrong-axis", {"skips.pop()], 1)": "skips.pop()], -1)"},
                "You lay x and its skip side by side in one wide picture. Concatenate the "
                "channels, axis 1.", 3),
        Mistake("ups-reversed", {"for up in ups": "for up in ups[::-1]"},
                "You go through `ups` backwards. They are listed in the order in which they are "
                "met: the coarsest first.", 2),
        Mistake("bottom-kept", {"    x = middle(x)\n": "    x = middle(x)\n"
                                "    skips.append(x)\n"},
                "You put the output of the middle on the stack, too. Then each level gets the skip "
                "of the level below.", 1),
        Mistake("middle-not-shrunk", {"x = middle(x)": "x = middle(skips[-1])"},
                "Your middle gets the last level's output at its full size. The bottom works on "
                "what was shrunk.", 1)),
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
        "Measured with cut skips, the loss is about 1.1 at all nine levels: to predict eps - x0 a "
        "network must output the noise of every pixel, and that comes through the skips.",
        "Measured with unstretched time, the loss is worst at t = .3 (.52 for .02) and falls again "
        "to .24 at t = .9; at t = .5 it is not right either.",
        "At t = 0.5, and only there, 1 - t is t: both models agree, and the error grows towards "
        "both ends.",
        "Measured without the root, this network hardly suffers: its loss grows by less than .01 "
        "at any level, and not at all at t = .9. It would show at t = .5, too.")),
}
