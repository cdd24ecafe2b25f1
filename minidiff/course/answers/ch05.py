"""Chapter 05, latent diffusion: the right answers and the common mistakes."""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def draw(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """A sample of the posterior, by the reparameterisation trick."""
    return mean + (log_var / 2).exp() * eps


def kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Each sample's KL divergence from a standard normal, a mean over the latent."""
    each = (mean.square() + log_var.exp() - log_var - 1) / 2
    return each.flatten(1).mean(1)


def vae_loss(x: Tensor, encode: Callable, decode: Callable, eps: Tensor, beta: float) -> Tensor:
    """Each sample's error of pixels and gradients, and the weighted KL divergence."""
    mean, log_var = encode(x)
    error = decode(draw(mean, log_var, eps)) - x
    terms = error, error.diff(dim=-1), error.diff(dim=-2)
    return sum(e.abs().flatten(1).mean(1) for e in terms) + beta * kl(mean, log_var)


def pair_frames(x: Tensor) -> Tensor:
    """Two frames as channels of one. Raises ValueError for an odd number above 1."""
    if x.shape[1] == 1:
        x = torch.cat([x, x], 1)
    if x.shape[1] % 2:
        raise ValueError(f"{x.shape[1]} frames cannot be paired.")
    return torch.cat([x[:, ::2], x[:, 1::2]], 2)


def calibration(z: Tensor) -> tuple[Tensor, Tensor]:
    """Each channel's mean and std (C, 1, 1) over all latents."""
    mean = z.mean((0, 1, 3, 4))[:, None, None]
    std = z.std((0, 1, 3, 4))[:, None, None]
    return mean, std.clamp(min=1e-6)


def blur_and_shimmer(error: Tensor, path: Tensor, band: Callable) -> tuple[Tensor, Tensor]:
    """Each clip's error along the path, split into a constant and a changing part."""
    ways = path.flatten(0, 1).tolist()
    back = torch.stack([torch.roll(frame, (-y, -x), (-2, -1))
                        for frame, (y, x) in zip(error.flatten(0, 1), ways)])
    seen = band(back).unflatten(0, error.shape[:2])
    blur, change = seen.mean(1).square(), seen.var(1, correction=0)
    return blur.flatten(1).mean(1), change.flatten(1).mean(1)


def reversed_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """A wrong divergence: its two distributions are exchanged."""
    each = ((1 + mean.square()) / log_var.exp() + log_var - 1) / 2
    return each.flatten(1).mean(1)


def one_scale(z: Tensor) -> tuple[Tensor, Tensor]:
    """A wrong calibration: one mean and std for all channels."""
    return z.mean(), z.std()


def band_first(error: Tensor, path: Tensor, band: Callable) -> tuple[Tensor, Tensor]:
    """A wrong split: it filters before it follows the path."""
    ways = path.flatten(0, 1).tolist()
    back = torch.stack([torch.roll(frame, (-y, -x), (-2, -1))
                        for frame, (y, x) in zip(band(error.flatten(0, 1)), ways)])
    seen = back.unflatten(0, error.shape[:2])
    return (seen.mean(1).square().flatten(1).mean(1),
            seen.var(1, correction=0).flatten(1).mean(1))


ANSWERS = {
    "c05-draw": answer(
        draw,
        Mistake("variance", {"(log_var / 2).exp()": "log_var.exp()"},
                "You multiply the noise by the variance; it takes the standard deviation, its "
                "root.", 2),
        Mistake("log-as-std", {"(log_var / 2).exp()": "log_var"},
                "You multiply by the logarithm itself: nothing makes a standard deviation of it, "
                "and it may be negative.", 2),
        Mistake("half-of-variance", {"(log_var / 2).exp()": "(log_var.exp() / 2)"},
                "You halve the variance. To take its root, halve its logarithm, before exp.", 2),
        Mistake("no-noise", {" + (log_var / 2).exp() * eps": " + 0 * eps"},
                "Only the mean comes out: that is an autoencoder without the V. Its latents may "
                "lie anywhere, and what is between them means nothing.", 1),
        Mistake("mean-scaled", {"mean + (log_var / 2).exp() * eps":
                                "(log_var / 2).exp() * (mean + eps)"},
                "You scale the mean, too. Only the noise is scaled.", 1),
        Mistake("minus", {"log_var / 2": "-log_var / 2"},
                "Your noise is large where the encoder is sure: the sign of log_var is wrong.", 2),
        Mistake("one-noise", {"* eps": "* eps[:1]"},
                "All samples get the noise of the first one. Each has its own in eps.", 3)),
    "c05-kl": answer(
        kl,
        Mistake("no-half", {") / 2": ")"},
                "The half is missing: your divergence is twice too large.", 1),
        Mistake("std-for-variance", {"log_var.exp()": "(log_var / 2).exp()"},
                "exp(log_var / 2) is the standard deviation; the formula has the variance.", 2),
        Mistake("no-one", {" - log_var - 1": " - log_var"},
                "The 1 is missing, so a latent without information, mean 0 and variance 1, would "
                "not cost 0.", 1),
        Mistake("log-sign", {"- log_var - 1": "+ log_var - 1"},
                "The logarithm has the wrong sign: a variance near 0 would be cheap, and the "
                "encoder could store everything at no cost.", 1),
        Mistake("mean-not-squared", {"mean.square()": "mean.abs()"},
                "The mean enters as its absolute value; squared is right.", 1),
        Mistake("no-mean", {"mean.square() + ": ""},
                "The mean is missing: latents may then drift as far as they like.", 1),
        WrongAnswer("reversed", reversed_kl,
              "You computed the divergence of the normal distribution from the posterior; it is "
              "not symmetric; compute the other one.", 1),
        Mistake("sum", {".mean(1)": ".sum(1)"},
                "You sum over the latent's numbers instead of taking their mean: the weight would "
                "mean another thing for each size of latent.", 3),
        Mistake("batch-mean", {".flatten(1).mean(1)": ".mean()"},
                "You average over the batch, too; return one number for each sample.", 3)),
    "c05-loss": answer(
        vae_loss,
        Mistake("no-draw", {"decode(draw(mean, log_var, eps))": "decode(mean)"},
                "You decode the mean itself. Without a draw the encoder's variance costs nothing "
                "in the error, and the decoder never learns what lies between latents.", 1),
        Mistake("no-edges", {"error, error.diff(dim=-1), error.diff(dim=-2)": "error,"},
                "The edges are missing: the differences of neighbours, along the width and along "
                "the height, count like the pixels.", 2),
        Mistake("edges-in-time", {"error.diff(dim=-2)": "error.diff(dim=1)"},
                "One of your differences runs along time. Both edges are in the frame: axes -1 "
                "and -2.", 2),
        Mistake("edges-of-sizes", {"error.diff(dim=-1), error.diff(dim=-2)":
                                   "error.abs().diff(dim=-1), error.abs().diff(dim=-2)"},
                "You take differences of the error's size; then a sharp edge that came out as its "
                "negative would cost nothing. First diff, then abs.", 2),
        Mistake("squared", {"e.abs()": "e.square()"},
                "You square the error. Squares prefer the mean of all that is possible, which is "
                "blur; use absolute values.", 3),
        Mistake("kl-unweighted", {"beta * kl": "kl"},
                "The divergence has no weight: at full weight the latents would hold hardly any "
                "information.", 3),
        Mistake("kl-subtracted", {"+ beta * kl": "- beta * kl"},
                "You subtract the divergence: the latents are rewarded for moving apart.", 3),
        Mistake("batch-mean", {"e.abs().flatten(1).mean(1)": "e.abs().mean()"},
                "Your error is the mean over the batch; each sample has its own.", 3)),
    "c05-pairs": answer(
        pair_frames,
        Mistake("halves", {"[x[:, ::2], x[:, 1::2]]": "x.chunk(2, 1)"},
                "You pair the first half of the clip with the second: frame 0 with frame T / 2. "
                "Neighbours are alike; pair those.", 1),
        Mistake("second-first", {"x[:, ::2], x[:, 1::2]": "x[:, 1::2], x[:, ::2]"},
                "The second frame of each pair comes first in your channels.", 2),
        Mistake("every-other", {"x[:, ::2], x[:, 1::2]": "x[:, ::2], x[:, ::2]"},
                "Every other frame is lost, and its neighbour stands there twice.", 2),
        Mistake("averaged", {"torch.cat([x[:, ::2], x[:, 1::2]], 2)":
                             "(x[:, ::2] + x[:, 1::2]) / 2"},
                "You average the two frames. Then nobody can know which of them a stroke was in; "
                "let a layer decide what to keep.", 1),
        Mistake("interleaved", {"torch.cat([x[:, ::2], x[:, 1::2]], 2)":
                                "torch.stack([x[:, ::2], x[:, 1::2]], 3).flatten(2, 3)"},
                "Your channels alternate between the two frames; here all of the first frame's "
                "come first.", 2),
        Mistake("side-by-side", {"x[:, 1::2]], 2)": "x[:, 1::2]], -1)"},
                "You put the frames side by side in space; they belong on top of each other, in "
                "the channels.", 2),
        Mistake("dark-image", {"torch.cat([x, x], 1)": "torch.cat([x, 0 * x], 1)"},
                "You pair an image with a frame of zeros, so it seems to change in time. A still "
                "picture is a pair of equal frames.", 3),
        Mistake("no-image", {"    if x.shape[1] == 1:\n        x = torch.cat([x, x], 1)\n": ""},
                "A single image is refused; it counts as a pair of equal frames.", 3),
        Mistake("unchecked", {'    if x.shape[1] % 2:\n        raise ValueError(f"{x.shape[1]} '
                              'frames cannot be paired.")\n': ""},
                "Three frames cause an error of torch about sizes. Raise ValueError yourself.", 3)),
    "c05-calibrate": answer(
        calibration,
        WrongAnswer("one-scale", one_scale,
              "You have one mean and one scale for all channels. A quiet channel then drowns in "
              "noise long before a loud one: each needs its own.", 1),
        Mistake("each-place", {"z.mean((0, 1, 3, 4))[:, None, None]": "z.mean((0, 1))",
                               "z.std((0, 1, 3, 4))[:, None, None]": "z.std((0, 1))"},
                "You give each place a scale of its own: frames of another size could not be "
                "encoded, and shifted digits would look different.", 2),
        Mistake("each-clip", {"z.mean((0, 1, 3, 4))[:, None, None]":
                              "z.mean((1, 3, 4))[..., None, None]",
                              "z.std((0, 1, 3, 4))[:, None, None]":
                              "z.std((1, 3, 4))[..., None, None]"},
                "You give each clip a scale of its own. It would have to be known to decode, and a "
                "sampler starts without any clip.", 2),
        Mistake("frames-for-channels", {"z.mean((0, 1, 3, 4))": "z.mean((0, 2, 3, 4))",
                                        "z.std((0, 1, 3, 4))": "z.std((0, 2, 3, 4))"},
                "You kept the axis of time; channels are axis 2.", 2),
        Mistake("variance", {"z.std(": "z.var("},
                "That is the variance; divide by the standard deviation to bring it to 1.", 1),
        Mistake("about-zero", {"z.std((0, 1, 3, 4))": "z.square().mean((0, 1, 3, 4)).sqrt()"},
                "You measure the spread about 0; the mean is taken off first.", 1),
        Mistake("inverse", {"std.clamp(min=1e-6)": "1 / std.clamp(min=1e-6)"},
                "You return one over the scale; return the scale itself.", 1),
        Mistake("no-floor", {".clamp(min=1e-6)": ""},
                "A channel that never changes has standard deviation 0, and dividing by it gives "
                "NaN. Keep it from 0.", 3)),
    "c05-shimmer": answer(
        blur_and_shimmer,
        Mistake("wrong-way", {"(-y, -x)": "(y, x)"},
                "You shift the frames on instead of back: the digit then moves twice as fast.", 2),
        Mistake("axes-exchanged", {"(-y, -x)": "(-x, -y)"},
                "y and x are exchanged: y is the height, axis -2.", 2),
        Mistake("not-followed", {"torch.roll(frame, (-y, -x), (-2, -1))": "frame"},
                "You never shift back, so all movement counts as shimmer.", 1),
        Mistake("first-path", {"path.flatten(0, 1)": "path[:1].expand_as(path).flatten(0, 1)"},
                "All clips are shifted along the first one's path.", 2),
        WrongAnswer("band-first", band_first,
              "You take the band before you shift back. A coarse band is smaller, so the path's "
              "pixels no longer fit it: shift first.", 2),
        Mistake("swapped", {"blur, change =": "change, blur ="},
                "Blur and shimmer are exchanged: what stays is blur.", 1),
        Mistake("whole-error", {"seen.mean(1).square()": "seen.square().mean(1)"},
                "Your blur is the whole squared error; take the mean over frames first, then "
                "square it.", 3),
        Mistake("unbiased", {"var(1, correction=0)": "var(1)"},
                "You divide by T - 1, so blur and shimmer add up to more than the squared error; "
                "divide by T.", 3),
        Mistake("std", {"var(1, correction=0)": "std(1, correction=0)"},
                "Your shimmer is a standard deviation. Only squares add up to the squared error.",
                3),
        Mistake("neighbours", {"seen.var(1, correction=0)": "seen.diff(dim=1).square().mean(1)"},
                "You compare neighbouring frames; compare each with the mean over frames.", 3),
        Mistake("batch-mean", {"change.flatten(1).mean(1)": "change.mean()"},
                "Your shimmer is the mean over the clips, too; return one number for each.",
                3)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c05-loss",
     "line 4: decode(draw(mean, log_var, eps)) - x -> x - decode(draw(mean, log_var, eps))"):
        "The absolute value is the same.",
    ("c05-loss",
     "line 5: error.diff(dim=-1) -> error.diff()"):
        "The last axis is what diff takes without being told.",
    ("c05-calibrate",
     "line 5: 1e-06 -> 5e-07"):
        "The floor has to be small; how small is not asked.",
}

RIGHT = {
    "c05-axis": (2, (
        "Bits cost: zeta times the divergence. A number that varies little is not worth them.",
        "It does round it more, down to a variance of zeta / 2 = .025; below that it stores "
        "nothing.",
        "Its variance is below zeta / 2 = .025, so storing it costs more than it saves. Fine "
        "detail, which varies little, goes first.")),
    "c05-paste": (1, (
        "Each latent stands for its own place and its neighbours, so they can be cut up.",
        "A latent grid is a small picture: convolutions keep everything near its place. So a "
        "denoiser can treat it as one.",
        "Halfway between two latents a decoder may show anything; but here every place has the "
        "latents of one clip or the other.")),
    "c05-bug": (1, (
        "Then the loss would be largest near t = 1, where large latents still show through.",
        "Hardly any loss until the very end, t near 0: everything is decided there, where a "
        "sampler takes one or two steps.",
        "Then the loss would be high at both ends, where t and 1 - t differ most.",
        "The same decoder rebuilds real clips well: the latents that it gets are wrong.")),
}
