"""Chapter 02, noise prediction: the right answers and the common mistakes."""
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def noise_loss(net, schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Each sample's mean squared error of the predicted noise, (B,)."""
    alpha, sigma = (c.view(-1, *[1] * (x0.ndim - 1)) for c in schedule(t))
    x = alpha * x0 + sigma * noise
    return (net(x, t) - noise).square().flatten(1).mean(1)


def target(kind: str, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The network's target for one of the four kinds of prediction."""
    p, q = {"eps": (0, 1), "x0": (1, 0), "v": (-sigma, alpha), "flow": (-1, 1)}[kind]
    return p * x0 + q * eps


def x0_from_eps(x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The data that a guess of the noise implies."""
    return (x - sigma * eps) / alpha


def handful_guess(x: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The posterior mean of finite data: a softmax over the N clips."""
    distance = torch.cdist(x.flatten(1), alpha * data.flatten(1)).square()       # (B, N)
    weights = torch.softmax(-distance / (2 * sigma**2), 1)
    return (weights @ data.flatten(1)).view_as(x)


def ddpm_step(schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """One DDPM step from time t to time s."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    eps = (x - a_t * x0) / s_t
    std = s_s / s_t * (s_t**2 - (a_t / a_s * s_s)**2).sqrt()
    return a_s * x0 + (s_s**2 - std**2).sqrt() * eps + std * noise


def reverse(denoise, schedule, x: Tensor, ts: Tensor, noises: Tensor) -> Tensor:
    """The whole reverse process over the grid ts."""
    for k, (t, s) in enumerate(pairwise(ts)):
        x = ddpm_step(schedule, x, denoise(x, t), t, s, noises[k])
    return x


def by_hand(x: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: its softmax underflows far from the data."""
    distance = torch.cdist(x.flatten(1), alpha * data.flatten(1)).square()
    weights = torch.exp(-distance / (2 * sigma**2))
    return (weights / weights.sum(1, keepdim=True) @ data.flatten(1)).view_as(x)


ANSWERS = {
    "c02-loss": answer(
        noise_loss,
        Mistake("predicts-x0", {"- noise)": "- x0)"},
                "You compare the network's output with the clean x0; a noise predictor must output "
                "the noise.", 1),
        Mistake("sees-x0", {"net(x, t)": "net(x0, t)"},
                "The network gets the clean x0, not the noised x_t: it has nothing to learn "
                "from.", 1),
        Mistake("batch-mean", {".flatten(1).mean(1)": ".mean()"},
                "You average over the batch, too. One loss per sample, (B,), tells later which "
                "noise levels are hard.", 3),
        Mistake("sum", {".mean(1)": ".sum(1)"},
                "You sum over pixels instead of taking their mean: the loss would grow with the "
                "picture's size.", 3),
        Mistake("squared-coefficients",
                {"alpha * x0 + sigma * noise": "alpha**2 * x0 + sigma**2 * noise"},
                "alpha and sigma are squared in your x_t. They are standard deviations already; "
                "the papers' alpha-bar is alpha squared.", 2),
        Mistake("absolute", {".square()": ".abs()"},
                "You take absolute differences. Their minimum is the median; only the square's "
                "minimum is the mean E[noise | x_t], which all later steps need.", 3),
        Mistake("swapped", {"alpha * x0 + sigma * noise": "sigma * x0 + alpha * noise"},
                "alpha belongs to the data and sigma to the noise; yours are exchanged, so at t = "
                "0 there is nothing but noise.", 3)),
    "c02-target": answer(
        target,
        Mistake("v-sign", {"(-sigma, alpha)": "(sigma, -alpha)"},
                "Your v points the other way: it is alpha eps - sigma x0 (Salimans 2022).", 3),
        Mistake("v-swapped", {"(-sigma, alpha)": "(-alpha, sigma)"},
                "In your v alpha and sigma are exchanged: v = alpha eps - sigma x0, the quarter "
                "turn of x_t = alpha x0 + sigma eps.", 3),
        Mistake("flow-sign", {"(-1, 1)": "(1, -1)"},
                "Your flow runs from noise to data. Here t grows towards noise, so the velocity "
                "is eps - x0.", 2),
        Mistake("eps-x0", {'"eps": (0, 1), "x0": (1, 0)': '"eps": (1, 0), "x0": (0, 1)'},
                "Your eps and x0 are mixed up: to predict eps is to predict the noise.", 2)),
    "c02-x0": answer(
        x0_from_eps,
        Mistake("not-divided", {"(x - sigma * eps) / alpha": "x - sigma * eps"},
                "The noise is gone, but the rest is alpha x0: divide by alpha.", 2),
        Mistake("divided-too-early", {"(x - sigma * eps) / alpha": "x - sigma * eps / alpha"},
                "Only the noise is divided by alpha; brackets around x - sigma * eps are "
                "missing.", 3),
        Mistake("plus", {"x - sigma": "x + sigma"},
                "You add the noise once more instead of taking it away.", 2),
        Mistake("no-sigma", {"sigma * eps": "eps"},
                "eps has variance 1; in x_t it is multiplied by sigma.", 1),
        Mistake("one-minus", {"/ alpha": "/ (1 - sigma)"},
                "1 - sigma is alpha on the straight schedule Flow only; divide by alpha.", 3)),
    "c02-handful": answer(
        handful_guess,
        Mistake("data-not-scaled", {"alpha * data.flatten(1)).square": "data.flatten(1)).square"},
                "x_t is near alpha times a clip, not near the clip: scale the data before you "
                "measure distances.", 2),
        Mistake("distance-not-squared", {".square()": ""},
                "A Gaussian falls with the square of the distance; yours falls with the "
                "distance.", 2),
        Mistake("no-half", {"(2 * sigma**2)": "sigma**2"},
                "The 2 in exp(-d^2 / (2 sigma^2)) is missing: your weights are too sharp.", 2),
        Mistake("sigma-not-squared", {"(2 * sigma**2)": "(2 * sigma)"},
                "Distances squared are measured in sigma squared.", 2),
        Mistake("over-the-batch", {"(2 * sigma**2), 1)": "(2 * sigma**2), 0)"},
                "Your weights sum to 1 over the batch; they must over the clips, axis 1.", 3),
        Mistake("farthest", {"-distance": "distance"},
                "The sign is missing: your weights prefer the clips that are farthest away.", 2),
        Mistake("mean-of-pixels", {".square()": ".square() / x[0].numel()"},
                "You average the squares over the pixels; a density of independent pixels is a "
                "product, so the squares are summed.", 2),
        WrongAnswer("underflow", by_hand,
              "Right near the data, but far from it every exp() underflows to 0 and 0 / 0 is NaN. "
              "torch.softmax subtracts the largest exponent first.", 3)),
    "c02-step": answer(
        ddpm_step,
        Mistake("no-noise", {" + std * noise": ""},
                "No fresh noise is added, and yet the old noise is shrunk as if it were: x_s has "
                "too little variance.", 3),
        Mistake("noise-on-top", {"(s_s**2 - std**2).sqrt() * eps": "s_s * eps"},
                "You add fresh noise on top of all the old noise; the two together must have "
                "variance sigma_s^2.", 3),
        Mistake("ddim", {"(s_s**2 - std**2).sqrt() * eps + std * noise": "s_s * eps"},
                "That is DDIM's step (chapter 08), which adds no fresh noise; DDPM's does.", 3),
        Mistake("forgets", {"(s_s**2 - std**2).sqrt() * eps + std * noise": "s_s * noise"},
                "All noise in your x_s is fresh: it forgets x_t, so every step starts a new clip "
                "around x0.", 2),
        Mistake("variance", {" + std * noise": " + std**2 * noise"},
                "The noise is multiplied by its standard deviation, not by its variance.", 2),
        Mistake("times-mixed", {"a_s * x0": "a_t * x0"},
                "x_s has the signal of time s: alpha_s x0.", 3),
        Mistake("noise-in-the-last-step", {"std * noise": "(std + (s == 0) * 0.1) * noise"},
                "You add noise in the last step, too. At s = 0 sigma is 0 and so is std: the clip "
                "is finished.", 3)),
    "c02-reverse": answer(
        reverse,
        Mistake("one-step-short", {"pairwise(ts))": "pairwise(ts[:-1]))"},
                "Your loop stops before the last step: x still holds noise. n + 1 times are n "
                "steps.", 1),
        Mistake("forwards", {"pairwise(ts))": "pairwise(ts.flip(0)))"},
                "You walk from data to noise; the reverse loop begins at t = 1, where ts begins.",
                1),
        Mistake("same-noise", {"noises[k]": "noises[0]"},
                "Every step adds the same noise, so it adds up instead of averaging out. Step k "
                "takes noises[k].", 2),
        Mistake("guess-only", {"x = ddpm_step(schedule, x, denoise(x, t), t, s, noises[k])":
                               "x = denoise(x, t)"},
                "Your loop takes each guess for the next x. A guess is the clean clip; "
                "ddpm_step goes only part of the way to it.", 1),
        Mistake("guess-at-s", {"denoise(x, t)": "denoise(x, s)"},
                "The denoiser gets time s, but x is still at time t: it will take noise for "
                "signal.", 3),
        Mistake("guess-of-the-start", {"for k": "first = denoise(x, ts[0])\n    for k",
                                       "x, denoise(x, t), t": "x, first, t"},
                "You guess once, at the start, and walk to that blur. Each step needs a new guess "
                "from where it is.", 1)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c02-loss",
     "line 5: net(x, t) - noise -> noise - net(x, t)"):
        "The square is the same.",
}

RIGHT = {
    "c02-early": (1, (
        "A sharp digit would be wrong nearly always: the noise hides which one it is, and squared "
        "errors punish a wrong guess twice.",
        "With nothing to go by, the guess with the least squared error is the mean.",
        "The output is no filtered input: the best guess hardly depends on the input there.")),
    "c02-copies": (1, (
        "Nothing in the training clips says what lies between them: the exact answer never leaves "
        "them.",
        "The exact denoiser of a data set leads back to it. A model that makes new clips must "
        "differ from it.",
        "Only the first guesses are the mean; as noise falls, one clip wins the softmax.")),
    "c02-bug": (0, (
        "A network that predicts x0 well has a falling loss. Read as eps, its -1 for black is "
        "taken for noise, and taking that away makes every pixel white.",
        "Then the loss would jump or grow. This one falls.",
        "A small batch makes the loss noisy, and its samples blurred or few, not white.",
        "Then x_t would be clean at large t; look at the strip of noised frames: it is not.")),
}
