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
                "All samples get the noise of the first one. Each has its own in eps.", 3),
        Mistake("exchanged", {"mean + (log_var / 2).exp() * eps":
                              "(log_var / 2).exp() + mean * eps"},
                "Mean and standard deviation have changed places: the noise is multiplied by the "
                "standard deviation, and the mean is added.", 1),
        Mistake("std-added", {"(log_var / 2).exp() * eps": "(log_var / 2).exp() + eps"},
                "You add the standard deviation. Multiply the noise by it: a sure encoder then "
                "gets little noise, an unsure one much.", 1),
        Mistake("log-doubled", {"log_var / 2": "log_var * 2"},
                "You double the logarithm, which squares the variance. A root halves it.", 2),
        Mistake("root-of-log", {"(log_var / 2).exp()": "log_var.abs().sqrt()"},
                "You take the root of the logarithm. First comes exp, which gives the variance, "
                "then the root.", 2),
        Mistake("softplus", {"(log_var / 2).exp()": "torch.nn.functional.softplus(log_var)"},
                "Softplus makes a positive number, and some networks output what belongs into it. "
                "This one outputs the logarithm of the variance.", 2),
        Mistake("power-of-two", {"(log_var / 2).exp()": "2**(log_var / 2)"},
                "You raise 2 to a power; log_var is a natural logarithm, so exp undoes it.", 2),
        Mistake("minus-noise", {"mean + (log_var": "mean - (log_var"},
                "You subtract the noise. That would be as good a sample, since eps is symmetric, "
                "but it is not the one of this eps: the formula has a plus.", 1),
        Mistake("one-std", {"(log_var / 2).exp()": "(log_var / 2).exp().mean()"},
                "One standard deviation serves all numbers. The encoder is sure of some latents "
                "and unsure of others, and gives each its own.", 3),
        Mistake("mean-detached", {"mean + (log_var": "mean.detach() + (log_var"},
                "The values are right, but the mean is detached. The encoder would never learn "
                "from the decoder's error where its latents should lie.", 1),
        Mistake("std-detached", {"(log_var / 2)": "(log_var.detach() / 2)"},
                "The values are right, but log_var is detached, so only the divergence would "
                "train it: it would push every variance to 1.", 3)),
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
                "You average over the batch, too; return one number for each sample.", 3),
        Mistake("negative", {"(mean.square() + log_var.exp() - log_var - 1)":
                             "(1 + log_var - mean.square() - log_var.exp())"},
                "The sign is wrong. Many papers write 1 + log_var - ..., but with a minus in front "
                "of the half, or for the negative divergence.", 1),
        Mistake("no-variance", {" + log_var.exp()": ""},
                "The variance is missing: the larger it is, the smaller your divergence, without "
                "an end.", 1),
        Mistake("no-logarithm", {" - log_var - 1": " - 1"},
                "The logarithm is missing. It is what makes certainty expensive: without it a "
                "variance of 0 would be the cheapest.", 1),
        Mistake("log-var-as-variance", {"log_var.exp() - log_var": "log_var - log_var.log()"},
                "You treat log_var as the variance and take its logarithm. It is a logarithm "
                "already, often negative, which gives NaN.", 2),
        Mistake("in-bits", {") / 2": ") / 2 / 0.6931471805599453"},
                "You return bits. The loss counts in nats; divide by log 2 only to report.", 1),
        Mistake("per-frame", {".flatten(1).mean(1)": ".flatten(2).mean(2)"},
                "You return a number for each frame of the latent. Average over frames, too: one "
                "number for each sample.", 3),
        Mistake("over-samples", {".flatten(1).mean(1)": ".flatten(1).mean(0)"},
                "You average over the samples and keep the latent's numbers. Axis 0 is the batch; "
                "that one stays.", 3),
        Mistake("mean-of-means", {"mean.square()": "mean.flatten(1).mean(1).square().view(-1, "
                                                   "*[1] * (mean.ndim - 1))"},
                "You average the means before you square them, so large means of both signs "
                "cancel. Square each number first.", 3),
        Mistake("mean-detached", {"mean.square()": "mean.detach().square()"},
                "The values are right, but the mean is detached: nothing would hold the latents "
                "near 0.", 1)),
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
                "Your error is the mean over the batch; each sample has its own.", 3),
        Mistake("no-kl", {" + beta * kl(mean, log_var)": ""},
                "The divergence is missing. Without its cost the variances shrink to 0 and an "
                "ordinary autoencoder is left.", 3),
        Mistake("beta-on-the-error",
                {"return sum(": "return beta * sum(", "+ beta * kl": "+ kl"},
                "The weight stands at the error instead of the divergence: a small beta would "
                "then make pictures, not bits, unimportant.", 3),
        Mistake("kl-of-the-batch", {"kl(mean, log_var)": "kl(mean, log_var).mean()"},
                "Your divergence is averaged over the batch. The sum of all losses is the same, "
                "but this returns each clip's own.", 3),
        Mistake("sum-of-pixels", {"e.abs().flatten(1).mean(1)": "e.abs().flatten(1).sum(1)"},
                "You sum over the pixels. Then beta means another thing for each size of clip, "
                "and the divergence hardly counts beside thousands of pixels.", 3),
        Mistake("divided-by-three", {"for e in terms)": "for e in terms) / 3"},
                "You average the three errors; they are added, each with weight 1.", 2),
        Mistake("width-only", {"error.diff(dim=-1), error.diff(dim=-2)": "error.diff(dim=-1)"},
                "Only the differences along the width count. Edges that lie across, such as the "
                "top of a 7, need those along the height.", 2),
        Mistake("both-at-once", {"error.diff(dim=-1), error.diff(dim=-2)":
                                 "error.diff(dim=-1).diff(dim=-2)"},
                "You take differences of differences, which see corners alone. Take them along "
                "each axis separately.", 2),
        Mistake("edges-of-the-result",
                {"error = decode(draw(mean, log_var, eps)) - x":
                 "made = decode(draw(mean, log_var, eps))\n    error = made - x",
                 "error.diff(dim=-1), error.diff(dim=-2)": "made.diff(dim=-1), made.diff(dim=-2)"},
                "You take the differences of the decoded clip itself, so every edge costs, right "
                "or wrong, and the smoothest clip wins. Take those of the error.", 2),
        Mistake("root-mean-square", {"e.abs().flatten(1).mean(1)":
                                     "e.square().flatten(1).mean(1).sqrt()"},
                "Yours is the root of the mean square. A few large errors dominate it; the mean of "
                "absolute values treats every pixel alike.", 3),
        Mistake("signed", {"e.abs().flatten(1)": "e.flatten(1)"},
                "You average errors with their signs, so that too bright and too dark cancel. "
                "Take absolute values first.", 3),
        Mistake("draw-exchanged", {"draw(mean, log_var, eps)": "draw(log_var, mean, eps)"},
                "The arguments of draw are exchanged: the mean comes first, then log_var.", 1),
        Mistake("latent-detached", {"decode(draw(mean, log_var, eps))":
                                    "decode(draw(mean, log_var, eps).detach())"},
                "The values are right, but the latent is detached: the decoder's error would not "
                "reach the encoder, which then learns from the divergence alone.", 1)),
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
                "Three frames cause an error of torch about sizes. Raise ValueError yourself.", 3),
        Mistake("halves-exchanged", {"[x[:, ::2], x[:, 1::2]]": "x.chunk(2, 1)[::-1]"},
                "You pair halves of the clip, the second one first: frame T / 2 with frame 0. "
                "Pairs are neighbours, 0 with 1, in the order of time.", 1),
        Mistake("clips-paired", {"[x[:, ::2], x[:, 1::2]]": "[x[::2], x[1::2]]"},
                "You pair clips of the batch, which have nothing to do with each other. Frames "
                "are axis 1.", 1),
        Mistake("in-time", {"x[:, 1::2]], 2)": "x[:, 1::2]], 1)"},
                "You join along time again: the same frames in another order, none fewer. Axis 2 "
                "holds the channels.", 2),
        Mistake("new-axis", {"torch.cat([x[:, ::2], x[:, 1::2]], 2)":
                             "torch.stack([x[:, ::2], x[:, 1::2]], 2)"},
                "stack makes a sixth axis for the two frames. A convolution wants them among the "
                "channels, which cat does.", 2),
        Mistake("channels-before-time", {"x[:, 1::2]], 2)": "x[:, 1::2]], 2).transpose(1, 2)"},
                "You return (B, 2 C, T / 2, H, W), the order of torch's Conv3d. In this course "
                "time comes before channels.", 2),
        Mistake("difference", {"x[:, ::2], x[:, 1::2]": "x[:, ::2], x[:, 1::2] - x[:, ::2]"},
                "Your second half holds the change between the frames. That loses nothing, but "
                "leave it to the layer behind: the frames come as they are.", 2),
        Mistake("next-frame", {"torch.cat([x[:, ::2], x[:, 1::2]], 2)":
                               "torch.cat([x[:, 1::2], x.roll(-1, 1)[:, 1::2]], 2)"},
                "Your pairs begin with frame 1, so the last one joins the clip's end to its "
                "beginning. Begin with frame 0.", 1),
        Mistake("odd-filled-up",
                {'raise ValueError(f"{x.shape[1]} frames cannot be paired.")':
                 "x = torch.cat([x, x[:, -1:]], 1)"},
                "You repeat the last frame if their number is odd, silently, and decoding then "
                "returns a clip that is longer. Raise ValueError.", 3),
        Mistake("odd-cut",
                {'raise ValueError(f"{x.shape[1]} frames cannot be paired.")': "x = x[:, :-1]"},
                "You drop the last frame if their number is odd, and nobody is told. Raise "
                "ValueError.", 3),
        Mistake("assertion",
                {'if x.shape[1] % 2:\n        raise ValueError(f"{x.shape[1]} frames cannot be '
                 'paired.")': "assert x.shape[1] % 2 == 0"},
                "An assert raises AssertionError, and python -O leaves it out. For a wrong input "
                "raise ValueError.", 3),
        Mistake("channels-checked", {"if x.shape[1] % 2": "if x.shape[2] % 2"},
                "You test whether the number of channels is even. Frames are axis 1.", 3)),
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
                "NaN. Keep it from 0.", 3),
        Mistake("one-std", {"z.std((0, 1, 3, 4))[:, None, None]":
                            "z.std().expand(z.shape[2], 1, 1)"},
                "The means are right, but one standard deviation serves all channels, as Stable "
                "Diffusion's one number does. Here each channel is measured.", 1),
        Mistake("one-mean", {"z.mean((0, 1, 3, 4))[:, None, None]":
                             "z.mean().expand(z.shape[2], 1, 1)"},
                "The scales are right, but one mean serves all channels: a channel that lies "
                "around 3 would stay far from 0.", 1),
        Mistake("no-mean", {"return mean, std": "return 0 * mean, std"},
                "Your mean is 0, unmeasured. Latents of a channel may lie around any number; that "
                "number is to be taken off.", 1),
        Mistake("copied-scale", {"z.std((0, 1, 3, 4))[:, None, None]":
                                 "torch.full((z.shape[2], 1, 1), 1 / 0.18215)"},
                "You return the scale of Stable Diffusion's VAE. It says nothing about these "
                "latents: measure theirs.", 1),
        Mistake("flat", {"mean((0, 1, 3, 4))[:, None, None]": "mean((0, 1, 3, 4))",
                         "std((0, 1, 3, 4))[:, None, None]": "std((0, 1, 3, 4))"},
                "The numbers are right, but of shape (C,), which lines up with the width of "
                "latents. Give them two more axes behind: (C, 1, 1).", 2),
        Mistake("axes-kept", {"mean((0, 1, 3, 4))[:, None, None]":
                              "mean((0, 1, 3, 4), keepdim=True)",
                              "std((0, 1, 3, 4))[:, None, None]":
                              "std((0, 1, 3, 4), keepdim=True)"},
                "The numbers are right, but keepdim gives (1, 1, C, 1, 1). Asked for is (C, 1, 1), "
                "which also fits the latents of a single clip.", 2),
        Mistake("swapped", {"return mean, std.clamp(min=1e-6)": "return std.clamp(min=1e-6), mean"},
                "You return the standard deviation first; the mean comes first.", 3),
        Mistake("mean-distance", {"z.std((0, 1, 3, 4))":
                                  "(z - mean).abs().mean((0, 1, 3, 4))"},
                "You measure the mean distance from the mean. For normal numbers it is a fifth "
                "smaller than the standard deviation, which is what noise is measured by.", 1),
        Mistake("largest", {"z.std((0, 1, 3, 4))": "z.abs().amax((0, 1, 3, 4))"},
                "You scale by the largest latent, which brings all into [-1, 1]. One outlier then "
                "decides how small the rest becomes; use the standard deviation.", 1),
        Mistake("mean-of-stds", {"z.std((0, 1, 3, 4))": "z.std((3, 4)).mean((0, 1))"},
                "You average the spreads of single frames. That misses how much frames and clips "
                "differ from each other; reduce over all axes at once.", 2),
        Mistake("std-of-means", {"z.std((0, 1, 3, 4))": "z.mean((1, 3, 4)).std(0)"},
                "You measure how much the clips' means differ, not the latents themselves.", 2),
        Mistake("first-clip", {"z.mean((0, 1, 3, 4))": "z[:1].mean((0, 1, 3, 4))",
                               "z.std((0, 1, 3, 4))": "z[:1].std((0, 1, 3, 4))"},
                "You measure the first clip alone. Use the whole batch.", 2)),
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
                3),
        Mistake("path-summed", {"path.flatten(0, 1)": "path.cumsum(1).flatten(0, 1)"},
                "You add the path up. It is a sum already: the movement since frame 0, not since "
                "the frame before.", 2),
        Mistake("clips-and-frames-mixed",
                {"path.flatten(0, 1)": "path.transpose(0, 1).flatten(0, 1)"},
                "Your path runs through the clips first, your frames through time first, so "
                "frames get the movement of others.", 2),
        Mistake("width-only", {"(-y, -x), (-2, -1)": "-x, -1"},
                "You shift along the width alone; the digit moves up and down, too.", 2),
        Mistake("channels-shifted", {"(-2, -1)": "(0, 1)"},
                "A frame is (C, H, W): your axes 0 and 1 are its channels and its height. Count "
                "from behind, -2 and -1.", 2),
        Mistake("no-band", {"seen = band(back)": "seen = back"},
                "You never use band: the split would be the same for every scale.", 2),
        Mistake("in-space", {"seen.var(1, correction=0)": "seen.var(-1, correction=0)"},
                "Your variance is over the width, so it measures the picture's own contrast. "
                "Shimmer is change in time, axis 1.", 3),
        Mistake("whole-shimmer", {"seen.var(1, correction=0)": "seen.square().mean(1)"},
                "Your shimmer is the whole squared error; take off the mean over frames before "
                "you square.", 3),
        Mistake("against-the-first", {"seen.var(1, correction=0)":
                                      "(seen - seen[:, :1]).square().mean(1)"},
                "You compare each frame with the first one, whose own deviation is counted in all "
                "of them. Compare with the mean over frames.", 3),
        Mistake("blur-not-squared", {"seen.mean(1).square()": "seen.mean(1).abs()"},
                "Your blur is an absolute value. Blur and shimmer add up to the squared error only "
                "if both are squares.", 3),
        Mistake("squared-first", {"seen = band(back)": "seen = band(back.square())",
                                  "seen.mean(1).square()": "seen.mean(1)"},
                "You square the error before you take the band. A band is a part of the picture, "
                "so it comes first.", 3),
        Mistake("sum", {"blur.flatten(1).mean(1), change.flatten(1).mean(1)":
                        "blur.flatten(1).sum(1), change.flatten(1).sum(1)"},
                "You sum over pixels; the means do not depend on a frame's size.", 3)),
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
        "At most levels little is left to learn: noise hides these latents until t is near 0. "
        "Everything is decided there, where a sampler takes one or two steps.",
        "Told so always, a network learns as well: 1 - t names the level, too. Told so only after "
        "training, its loss would be high at both ends, where t and 1 - t differ most.",
        "The same decoder rebuilds real clips well: the latents that it gets are wrong.")),
}
