"""Chapter 07, time: the right answers and the common mistakes."""
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer
from minidiff.course.answers.ch01 import gaussian_guess


def steady(path: Tensor) -> Tensor:
    """Each path's steadiness in (0, 1], (B,), from its accelerations."""
    accelerations = path.diff(dim=1).diff(dim=1).norm(dim=-1)
    return (-2 * accelerations).exp().mean(1)


def clip_guess(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The posterior mean of clips with a known covariance (T, T) of their frames."""
    variances, axes = torch.linalg.eigh(covariance)
    y = torch.einsum("bt...,tk->bk...", x, axes)
    std = variances.clamp(min=0).sqrt().view(-1, *[1] * (x.ndim - 2))
    y = gaussian_guess(y, 0, std, alpha, sigma)
    return torch.einsum("bk...,tk->bt...", y, axes)


def temporal_attention(x: Tensor, T: int, pos: Tensor, norm, qkv, out, heads: int,
                       attend) -> Tensor:
    """Attention through time at each pixel, of folded frames (B T, C, H, W)."""
    h = rearrange(x, "(b t) c h w -> b h w t c", t=T)
    q, k, v = rearrange(qkv(norm(h) + pos), "... t (three n d) -> three ... n t d", three=3,
                        n=heads)
    h = rearrange(attend(q, k, v), "... n t d -> ... t (n d)")
    return x + rearrange(out(h), "b h w t c -> (b t) c h w")


def temporal_conv(x: Tensor, T: int, norm, weight: Tensor, bias: Tensor, causal: bool) -> Tensor:
    """A convolution through time at each pixel, causal or centred."""
    h = rearrange(F.silu(norm(x)), "(b t) c h w -> (b h w) c t", t=T)
    h = F.conv1d(F.pad(h, (2, 0) if causal else (1, 1)), weight, bias)
    return x + rearrange(h, "(b h w) c t -> (b t) c h w", h=x.shape[-2], w=x.shape[-1])


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in which no frame sees a later one."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ v


def rollout(extend, clip: Tensor, length: int, known: int) -> Tensor:
    """A clip made longer, window by window, up to the given length."""
    while clip.shape[1] < length:
        window = extend(clip[:, -known:])
        clip = torch.cat([clip, window[:, known:]], 1)
    return clip[:, :length]


# Wrong in more than one place

def each_frame_alone(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: it ignores the correlation of frames."""
    std = covariance.diagonal().sqrt().view(-1, *[1] * (x.ndim - 2))
    return gaussian_guess(x, 0, std, alpha, sigma)


def noise_in_all(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: it gives all frames the same noise."""
    seen = alpha**2 * covariance + sigma**2
    return torch.einsum("ts,bs...->bt...", alpha * covariance @ torch.linalg.pinv(seen), x)


def directly(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor, front: Tensor) -> Tensor:
    """front (alpha^2 covariance + sigma^2)^-1 x, over the frames; right for alpha covariance."""
    seen = alpha**2 * covariance + sigma**2 * torch.eye(len(covariance)).to(covariance)
    return torch.einsum("ts,bs...->bt...", front @ torch.linalg.inv(seen), x)


def without_alpha(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: alpha is missing in front."""
    return directly(x, covariance, alpha, sigma, covariance)


def whitened(x: Tensor, covariance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: the covariance is missing in front."""
    return directly(x, covariance, alpha, sigma, alpha * torch.eye(len(covariance)).to(covariance))


def over_space(x: Tensor, T: int, pos: Tensor, norm, qkv, out, heads: int, attend) -> Tensor:
    """A wrong attention: it mixes the places of each frame, not the frames."""
    h = rearrange(x, "(b t) c h w -> b t (h w) c", t=T)
    q, k, v = rearrange(qkv(norm(h) + pos[:, None]), "... t (three n d) -> three ... n t d",
                        three=3, n=heads)
    h = rearrange(attend(q, k, v), "... n t d -> ... t (n d)")
    return x + rearrange(out(h), "b t (h w) c -> (b t) c h w", h=x.shape[-2])


def all_with_all(x: Tensor, T: int, pos: Tensor, norm, qkv, out, heads: int, attend) -> Tensor:
    """A wrong attention: it mixes all places of all frames."""
    H, W = x.shape[-2:]
    h = rearrange(x, "(b t) c h w -> b (t h w) c", t=T)
    h = norm(h) + pos.repeat_interleave(H * W, 0)
    q, k, v = rearrange(qkv(h), "... t (three n d) -> three ... n t d", three=3, n=heads)
    h = rearrange(attend(q, k, v), "... n t d -> ... t (n d)")
    return x + rearrange(out(h), "b (t h w) c -> (b t) c h w", t=T, h=H)


def through_batch(x: Tensor, T: int, pos: Tensor, norm, qkv, out, heads: int, attend) -> Tensor:
    """A wrong attention: it mixes the clips of a batch."""
    h = rearrange(x, "(b t) c h w -> t h w b c", t=T)
    h = norm(h) + pos[:, None, None, None]
    q, k, v = rearrange(qkv(h), "... t (three n d) -> three ... n t d", three=3, n=heads)
    h = rearrange(attend(q, k, v), "... n t d -> ... t (n d)")
    return x + rearrange(out(h), "t h w b c -> (b t) c h w")


def mask_on_weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A wrong causal attention: it masks after the softmax."""
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


def along_rows(x: Tensor, T: int, norm, weight: Tensor, bias: Tensor, causal: bool) -> Tensor:
    """A wrong convolution: it mixes the pixels of a row, not the frames."""
    h = rearrange(F.silu(norm(x)), "n c h w -> (n h) c w")
    h = F.conv1d(F.pad(h, (2, 0) if causal else (1, 1)), weight, bias)
    return x + rearrange(h, "(n h) c w -> n c h w", n=len(x))


def by_one_window(extend, clip: Tensor, length: int, known: int) -> Tensor:
    """A wrong rollout: it adds one window only."""
    if clip.shape[1] < length:
        window = extend(clip[:, -known:])
        clip = torch.cat([clip, window[:, known:]], 1)
    return clip[:, :length]


ROWS = '"(b t) c h w -> b h w t c", t=T'
BACK = '"b h w t c -> (b t) c h w"'

ANSWERS = {
    "c07-steady": answer(
        steady,
        Mistake("steps", {".diff(dim=1).diff(dim=1)": ".diff(dim=1)"},
                "You measure the steps themselves: a fast straight flight would count as unsteady. "
                "Accelerations are changes of the steps, second differences.", 1),
        Mistake("last-axis", {".diff(dim=1).diff(dim=1)": ".diff().diff()"},
                "diff() without dim works along the last axis, from y to x. Frames are axis 1.", 2),
        Mistake("mean-first", {"(-2 * accelerations).exp().mean(1)":
                               "(-2 * accelerations.mean(1)).exp()"},
                "You take the mean of the accelerations and then the exponential: one big jump "
                "would outweigh all else. Each frame gets its own exponential first.", 3),
        Mistake("squared", {".norm(dim=-1)": ".square().sum(-1)"},
                "You use the square of the acceleration's length; take its root.", 2),
        Mistake("summed-axes", {".norm(dim=-1)": ".abs().sum(-1)"},
                "You add the accelerations along y and x; the length of an acceleration is the "
                "root of the sum of their squares.", 2),
        Mistake("each-axis", {".norm(dim=-1)": ".abs()", ".mean(1)": ".mean((1, 2))"},
                "You treat y and x as two paths; an acceleration is one vector, and its length "
                "counts.", 2),
        Mistake("growing", {"(-2 * accelerations)": "(2 * accelerations)"},
                "Your number grows with the accelerations; steady should be 1 and wild near 0.", 3),
        Mistake("no-two", {"(-2 * accelerations)": "(-accelerations)"},
                "The factor 2 is missing: half a pixel should give exp(-1).", 3),
        Mistake("over-clips", {".mean(1)": ".mean(0)"},
                "You average over the clips; each clip has a number of its own, so the mean is "
                "over its frames.", 3),
        Mistake("one-number", {".mean(1)": ".mean()"},
                "One number comes out for all clips together. Keep the batch: the mean goes over "
                "axis 1, the frames.", 3),
        Mistake("sum", {".mean(1)": ".sum(1)"},
                "You add up the frames: a long clip would look steadier than a short one. Take the "
                "mean.", 3),
        Mistake("no-exp", {"(-2 * accelerations).exp()": "(-2 * accelerations)"},
                "The exponential is missing: your numbers run from 0 down, without a limit, and "
                "steady should lie between 0 and 1.", 3),
        Mistake("speed-only", {".diff(dim=1).diff(dim=1).norm(dim=-1)":
                               ".diff(dim=1).norm(dim=-1).diff(dim=1).abs()"},
                "You take the length of the steps first and then its change: a path that turns "
                "round at equal speed would count as steady. Difference twice, then the length.",
                2),
        Mistake("middle-once", {"path.diff(dim=1).diff(dim=1)":
                                "(path[:, 2:] - path[:, 1:-1] + path[:, :-2])"},
                "The middle frame counts twice: f(k+1) - 2 f(k) + f(k-1). Without the 2 your "
                "number depends on where in the picture the ball is.", 1),
        Mistake("norm-over-frames", {".norm(dim=-1)": ".norm(dim=1)"},
                "Your norm runs over the frames; the two numbers of one acceleration, y and x, "
                "are on the last axis.", 2),
        Mistake("rms", {".norm(dim=-1)": ".square().mean(-1).sqrt()"},
                "You take the mean of the two squares; the length is the root of their sum, "
                "larger by sqrt(2).", 2)),
    "c07-clip-guess": answer(
        clip_guess,
        WrongAnswer("each-frame-alone", each_frame_alone,
              "You use each frame's own variance only: that is the best guess of someone who sees "
              "one frame. The other entries show how frames depend on each other.", 1),
        WrongAnswer("noise-in-all", noise_in_all,
              "You add sigma^2 to every entry of the covariance, as if all frames had the same "
              "noise. Each has its own: sigma^2 times the identity.", 2),
        Mistake("variance-for-std", {".clamp(min=0).sqrt()": ".clamp(min=0)"},
                "eigh gives variances; gaussian_guess wants standard deviations, their roots.", 2),
        Mistake("rows-as-axes", {'"bt...,tk->bk..."': '"bt...,kt->bk..."',
                                 '"bk...,tk->bt..."': '"bk...,kt->bt..."'},
                "You take the rows of `axes` for the axes; they are its columns.", 2),
        Mistake("not-turned-back", {'torch.einsum("bk...,tk->bt...", y, axes)': "y"},
                "Your answer is still along the principal axes; turn it back to frames.", 1),
        Mistake("turned-twice", {'"bk...,tk->bt..."': '"bt...,tk->bk..."'},
                "You turn the same way twice; the way back sums over the axes, not over the "
                "frames.", 3),
        Mistake("as-it-came", {"y = gaussian_guess(y, 0, std, alpha, sigma)":
                               "y = gaussian_guess(x, 0, std, alpha, sigma)"},
                "You apply the axes' variances to the frames as they came: turn them first.", 1),
        Mistake("swapped", {"alpha, sigma)\n    return": "sigma, alpha)\n    return"},
                "alpha and sigma are exchanged: your guess trusts x most when it is noise.", 3),
        WrongAnswer("alpha-missing-in-front", without_alpha,
              "Your matrix lacks a factor alpha. The guess is cov(x0, x) cov(x)^-1 x, and cov(x0, "
              "x) is alpha times the covariance.", 1),
        WrongAnswer("covariance-missing-in-front", whitened,
              "You divide by the covariance of x but never multiply by that of the data: this "
              "makes the frames independent instead of using how they depend on each other.", 1),
        Mistake("alpha-left-out", {"std, alpha, sigma)\n": "std, 1.0, sigma)\n"},
                "Your guess takes x for x0 + sigma noise. The data in it are shrunk by alpha, also "
                "along a principal axis.", 2),
        Mistake("sigma-squared", {"std, alpha, sigma)\n": "std, alpha, sigma**2)\n"},
                "You hand on sigma^2. gaussian_guess squares sigma itself, so the noise counts for "
                "less than it is.", 3),
        Mistake("mean-of-the-clip", {"(y, 0, std": "(y, y.mean(1, keepdim=True), std"},
                "The mean you give is measured from the clip itself. The data's mean is known: it "
                "is 0, for every frame and so along every axis.", 3),
        Mistake("the-noise", {"return torch.einsum": "y = (torch.einsum('bt...,tk->bk...', x, axes)"
                              " - alpha * y) / sigma\n    return torch.einsum"},
                "That is the noise your guess implies, (x - alpha x0) / sigma; asked for is the "
                "guess of the clip, x0.", 1),
        Mistake("std-on-the-last-axis", {".view(-1, *[1] * (x.ndim - 2))": ""},
                "The T standard deviations meet the last axis of x, its columns. They belong to "
                "axis 1: give them an axis of size 1 for each axis of x behind it.", 3)),
    "c07-temporal-attention": answer(
        temporal_attention,
        WrongAnswer("over-space", over_space,
              "You attend over the places of each frame: that is attention in space, and frames "
              "still never meet. The row that attends must be the frames.", 1),
        WrongAnswer("all-with-all", all_with_all,
              "Every place of every frame sees every other: that is full attention, T H W tokens "
              "in a row. Here each place keeps to itself and looks along time.", 1),
        WrongAnswer("through-the-batch", through_batch,
              "Your rows run through the batch: frame k of one clip meets frame k of the others. "
              "Clips must never meet.", 1),
        Mistake("wrong-fold", {ROWS: ROWS.replace("(b t)", "(t b)"),
                               BACK: BACK.replace("(b t)", "(t b)")},
                "You unfold the frames as (t b): frames of different clips end up in one row. They "
                "were folded clip by clip, (b t).", 2),
        Mistake("no-residual", {"return x + rearrange": "return rearrange"},
                "x is not added: a fresh layer, whose `out` is 0, would erase the clip instead of "
                "leaving it as it is.", 3),
        Mistake("no-positions", {"norm(h) + pos": "norm(h)"},
                "pos is never used: without it attention cannot tell the first frame from the "
                "last.", 2),
        Mistake("positions-normed", {"norm(h) + pos": "norm(h + pos)"},
                "You add the positions before the norm, which then scales them with the content; "
                "add them after it.", 2),
        Mistake("no-norm", {"norm(h) + pos": "h + pos"},
                "The norm is missing: features of any size reach the scores.", 2),
        Mistake("no-out", {"out(h)": "h"},
                "`out` is never used: it mixes the heads, and its zeros at the start make the "
                "layer the identity.", 3),
        Mistake("one-head", {"n=heads": "n=1"},
                "You attend with one head as wide as all; split the width into `heads` of them.",
                3),
        Mistake("heads-inside-out", {"(three n d)": "(three d n)"},
                "You give the width to the heads in turn; a head is a slice of neighbours, (n "
                "d).", 3),
        Mistake("q-k-exchanged", {"q, k, v = rearrange": "k, q, v = rearrange"},
                "Queries and keys are exchanged: of qkv's output q comes first, then k, then v.",
                2),
        Mistake("three-inside", {"(three n d)": "(n three d)"},
                "You split qkv's output by heads first, and each head into q, k and v: with more "
                "than one head they take numbers from each other. It is q for all heads, then k, "
                "then v: (three n d).", 2),
        Mistake("three-last", {"(three n d)": "(n d three)"},
                "You deal out qkv's output in turn: one number to q, one to k, one to v. The first "
                "third of it is q, the second k, the last v.", 2),
        Mistake("k-v-exchanged", {"q, k, v = rearrange": "q, v, k = rearrange"},
                "You look for the values and read out the keys: the last third of qkv's output is "
                "v.", 2),
        Mistake("joined-in-turn", {"... t (n d)": "... t (d n)"},
                "You join the heads in turn, one number of each; `out` expects them one after the "
                "other, (n d), as they were split.", 3),
        Mistake("transposed", {'"b h w t c ->': '"b w h t c ->'},
                "On the way back height and width are exchanged: what is added to x is the "
                "transposed picture, and fits only if H = W.", 3),
        Mistake("normed-residual", {"t=T)\n": "t=T)\n    start = norm(h)\n",
                                    "return x + rearrange(out(h),":
                                    "return rearrange(start + out(h),"},
                "You add to norm(x), not to x: a fresh layer would then change the clip. The norm "
                "is for what attention reads; the path beside it stays clear.", 3),
        Mistake("positions-detached", {"+ pos)": "+ pos.detach())"},
                "The values are right, but the positions get no gradient: where a network learns "
                "them, they would stay as they began.", 2),
        Mistake("residual-detached", {"return x + rearrange": "return x.detach() + rearrange"},
                "The values are right, but x is detached in the sum: what lies before this layer "
                "then learns through attention alone, and through a fresh layer nothing.", 3)),
    "c07-temporal-conv": answer(
        temporal_conv,
        Mistake("clips-run-together", {'c t", t=T': 'c t", t=len(x)'},
                "Your taps run along the folded axis, out of one clip and into the next; each clip "
                "is a row of its own.", 1),
        WrongAnswer("along-rows", along_rows,
              "Your taps run along the rows of each picture, in space. Time is the axis.", 1),
        Mistake("wrong-fold", {'"(b t) c h w -> (b h w) c t"': '"(t b) c h w -> (b h w) c t"',
                               '"(b h w) c t -> (b t) c h w"': '"(b h w) c t -> (t b) c h w"'},
                "You unfold the frames as (t b): frames of different clips become neighbours.", 2),
        Mistake("no-residual", {"return x + rearrange": "return rearrange"},
                "x is not added: with weights of 0 the layer should leave the clip as it is.", 1),
        Mistake("sees-the-future", {"(2, 0)": "(0, 2)"},
                "For causal you put the zeros behind: each frame then sees itself and the two "
                "after it.", 2),
        Mistake("never-causal", {"(2, 0) if causal else (1, 1)": "(1, 1)"},
                "`causal` is ignored: the taps reach one frame into the future.", 2),
        Mistake("always-causal", {"(2, 0) if causal else (1, 1)": "(2, 0)"},
                "Your taps always look back only; unless `causal`, they are the frame and both "
                "neighbours.", 2),
        Mistake("round", {"(1, 1))": '(1, 1), mode="circular")'},
                "Your clip is a ring: the first frame sees the last one. Beyond the ends lie "
                "zeros.", 2),
        Mistake("held", {"(1, 1))": '(1, 1), mode="replicate")'},
                "You repeat the first and the last frame beyond the ends; zeros belong there.", 2),
        Mistake("flipped", {"weight, bias": "weight.flip(-1), bias"},
                "Your taps are in the reverse order: weight[..., 0] belongs to the earliest frame.",
                2),
        Mistake("no-silu", {"F.silu(norm(x))": "norm(x)"},
                "The SiLU behind the norm is missing.", 3),
        Mistake("no-bias", {"weight, bias": "weight"}, "The bias is missing.", 3),
        Mistake("no-norm", {"F.silu(norm(x))": "F.silu(x)"},
                "`norm` is never used. Without it the size of the features decides how much of "
                "them the SiLU lets through.", 3),
        Mistake("silu-first", {"F.silu(norm(x))": "norm(F.silu(x))"},
                "The order is the other way round: norm first, so that the SiLU gets numbers of a "
                "known size.", 3),
        Mistake("relu", {"F.silu": "F.relu"},
                "You use ReLU, which cuts all negative numbers to 0; asked for is SiLU, y times "
                "sigmoid(y).", 3),
        Mistake("channels-exchanged", {"weight, bias": "weight.transpose(0, 1), bias"},
                "The two channel axes of the weights are exchanged. F.conv1d takes (out, in, "
                "taps), which is how they come.", 3),
        Mistake("residual-detached", {"return x + rearrange": "return x.detach() + rearrange"},
                "The values are right, but x is detached where the convolution is added to it: "
                "this layer's weights start at 0, so no gradient would get past it.", 1),
        Mistake("frozen-taps", {"weight, bias": "weight.detach(), bias"},
                "The values are right, but the weights are detached: the taps start at 0 and "
                "would never learn anything else.", 1)),
    "c07-causal": answer(
        causal_attention,
        Mistake("past-hidden", {".triu(1)": ".tril(-1)"},
                "You hide the past and show the future: row i is the frame of the query, column j "
                "the frame of the key, and j > i must go.", 3),
        Mistake("itself-hidden", {".triu(1)": ".triu()"},
                "You hide the frame itself as well, so the first frame has nothing to look at, and "
                "its softmax is NaN.", 3),
        Mistake("one-ahead", {".triu(1)": ".triu(2)"},
                "Each frame still sees one frame ahead: the mask begins one diagonal too late.", 3),
        Mistake("zero-scores", {"-torch.inf": "0"},
                "A score of 0 is not \"no weight\": its exponential is 1. Only minus infinity "
                "becomes 0.", 2),
        WrongAnswer("mask-on-weights", mask_on_weights,
              "You take the future out after the softmax: the weights that are left no longer sum "
              "to 1, and the past is darkened.", 2),
        Mistake("no-mask", {".masked_fill(future, -torch.inf)": ""},
                "Nothing is masked: every frame sees all.", 1),
        Mistake("over-queries", {"softmax(-1)": "softmax(-2)"},
                "Your weights sum to 1 over the queries; each query spreads its attention over the "
                "frames it sees, the last axis.", 2),
        Mistake("no-root", {" / q.shape[-1] ** 0.5": ""},
                "The division by the root of d is missing.", 1),
        Mistake("root-of-frames", {"q.shape[-1] ** 0.5": "q.shape[-2] ** 0.5"},
                "You divide by the root of T, the number of frames. A score is a sum over d "
                "numbers, so it is d that makes it large.", 1),
        Mistake("not-rooted", {"q.shape[-1] ** 0.5": "q.shape[-1]"},
                "You divide by d, not by its root: the scores become so small that all frames get "
                "nearly the same weight.", 1),
        Mistake("scaled-late", {" / q.shape[-1] ** 0.5": "", "softmax(-1)":
                                "softmax(-1) / q.shape[-1] ** 0.5"},
                "You divide by the root of d behind the softmax: the weights of a row then sum to "
                "less than 1. The scores are what gets divided.", 1),
        Mistake("q-k-exchanged", {"q @ k.transpose(-1, -2)": "k @ q.transpose(-1, -2)"},
                "Your rows are keys and your columns queries, so the mask and the softmax fall on "
                "the wrong axis. Rows are queries: q @ k^T.", 1),
        Mistake("infinity-times-zero", {"scores.masked_fill(future, -torch.inf)":
                                        "(scores + future * -torch.inf)"},
                "You add the mask times minus infinity, and for the frames that should stay this "
                "is 0 times infinity: NaN. Fill the masked scores instead.", 3),
        Mistake("weights-turned", {"softmax(-1) @ v": "softmax(-1).transpose(-1, -2) @ v"},
                "The weights are transposed before they meet v: now each frame collects from the "
                "frames after it. Row i of the weights times v is already the output of frame i.",
                1),
        Mistake("weights-returned", {"softmax(-1) @ v": "softmax(-1)"},
                "You return the weights. They are how much each frame looks at which; the output "
                "is their mean of v.", 1),
        Mistake("scores-detached", {"scores.masked_fill": "scores.detach().masked_fill"},
                "The values are right, but no gradient reaches q and k: the network could learn "
                "what to read, and never where to look.", 2)),
    "c07-rollout": answer(
        rollout,
        Mistake("stutter", {"window[:, known:]": "window"},
                "You append the whole window, and with it the frames that it was given: the clip "
                "stutters.", 2),
        Mistake("from-the-start", {"clip[:, -known:]": "clip[:, :known]"},
                "You hand on the first frames: every window continues the beginning.", 1),
        Mistake("hands-on-all", {"extend(clip[:, -known:])": "extend(clip)"},
                "You hand on the whole clip; the window has room for its last `known` frames and "
                "the new ones.", 1),
        WrongAnswer("one-window", by_one_window,
              "You go on only once: repeat until the clip is long enough.", 1),
        Mistake("not-cut", {"clip[:, :length]": "clip"},
                "The last window may bring more than is wanted: cut the clip to `length`.", 3),
        Mistake("the-end-only", {"clip[:, :length]": "clip[:, -length:]"},
                "You cut off the beginning; the frames too many are at the end.", 3),
        Mistake("one-lost", {"window[:, known:]": "window[:, known + 1:]"},
                "One new frame is lost in every window: the first new one is window[:, known].", 2),
        Mistake("one-early", {"clip[:, -known:]": "clip[:, -known - 1:-1]"},
                "The frames you hand on end one before the last: the clip would step back.", 3),
        Mistake("one-window-too-many", {"clip.shape[1] < length": "clip.shape[1] <= length"},
                "When the clip has exactly `length` frames you make one more window, which is then "
                "cut away: right frames, wasted time. Go on only while it is shorter.", 1),
        Mistake("same-start", {"    while clip": "    start = clip[:, -known:]\n    while clip",
                               "extend(clip[:, -known:])": "extend(start)"},
                "You take the last frames once, before the loop: every window continues the same "
                "moment. Take them anew from the clip that has grown.", 1),
        Mistake("in-front", {"[clip, window[:, known:]]": "[window[:, known:], clip]"},
                "The new frames come before the old ones. Time goes on to the right: append "
                "them behind.", 1),
        Mistake("along-the-batch", {"known:]], 1)": "known:]])"},
                "torch.cat joins along axis 0, the batch, unless you name another. Frames are axis "
                "1.", 3),
        Mistake("only-the-window", {"clip = torch.cat([clip, window[:, known:]], 1)":
                                    "clip = window"},
                "You keep the latest window and forget the clip, so it never gets longer than one "
                "window, and the loop has no end.", 2),
        Mistake("as-many-as-known", {"window[:, known:]": "window[:, -known:]"},
                "You append the last `known` frames of the window. It has T - known new ones; the "
                "two numbers are equal only if half of the window was known.", 2),
        Mistake("given-again", {"window[:, known:]": "window[:, :known]"},
                "You append the frames that you gave, a second time; the new ones are those behind "
                "them.", 2),
        Mistake("length-on-top", {"    while clip": "    length = length + clip.shape[1]\n    "
                                                    "while clip"},
                "You make `length` frames in addition to those that are there. `length` counts "
                "the whole clip, with its beginning.", 3)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c07-clip-guess",
     "line 5: variances.clamp(min=0) -> variances"):
        "A covariance has no negative variances, but for rounding.",
    ("c07-clip-guess",
     "line 5: 0 -> -1"):
        "A covariance has no negative variances, but for rounding.",
    ("c07-temporal-conv",
     "line 5: -2 -> 2"):
        "Of four axes the last but one is axis 2.",
    ("c07-causal",
     "line 4: torch.ones_like(scores, dtype=torch.bool).triu(1) -> torch.ones_like(scores, "
     "dtype=torch.bool).triu(1).detach()"):
        "A mask of booleans has no gradients.",
    ("c07-causal",
     "line 3: k.transpose(-1, -2) -> k.transpose(-2, -1)"):
        "Exchanging two axes is the same in either order.",
    ("c07-causal",
     "line 4: torch.ones_like(scores, dtype=torch.bool) -> torch.ones_like(scores, "
     "dtype=torch.bool).detach()"):
        "A mask of booleans has no gradients.",
}

RIGHT = {
    "c07-shared": (1, (
        "Frames never meet, but equal inputs give equal outputs.",
        "The same noise, the same network, the same answer, eight times. It has no flicker at all, "
        "so \"no flicker\" alone is no quality: a still picture has it.",
        "The frames agree completely, and nothing in the noise says that they should not.")),
    "c07-order": (0, (
        "Attention is a mean over a set: without positions it knows which frames there are, not "
        "when. Reverse them, and the outputs are reversed, too.",
        "It cannot notice: nothing in a set has an order.",
        "Each frame has its own query, so its output moves with the frame.")),
    "c07-gap": (1, (
        "A clear frame needs no help: there both errors are small.",
        "One frame alone is useless there, eight weak hints together are not. At both ends the gap "
        "closes: clear frames need no help, pure noise has none to give.",
        "Pure noise holds no hint, however often one looks.")),
    "c07-bug": (2, (
        "Then no frame would change any other: only the diagonal would be lit.",
        "Then the lit cells would lie above the diagonal, inside each clip's own square.",
        "Every second frame, across both clips: unfolded as (t b), the batch is split in turn, and "
        "frames 0, 2 of one clip meet 0, 2 of the other.",
        "Then the diagonal would be weaker, but frames would still keep to their own clip.")),
}
