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


def nearest(x: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """A wrong posterior mean: the most likely clip."""
    distance = torch.cdist(x.flatten(1), alpha * data.flatten(1))
    return data[distance.argmin(1)].view_as(x)


def last_guess(denoise, schedule, x: Tensor, ts: Tensor, noises: Tensor) -> Tensor:
    """A wrong loop: it returns the guess that its last step used."""
    for k, (t, s) in enumerate(pairwise(ts)):
        x0 = denoise(x, t)
        x = ddpm_step(schedule, x, x0, t, s, noises[k])
    return x0


def all_states(denoise, schedule, x: Tensor, ts: Tensor, noises: Tensor) -> Tensor:
    """A wrong loop: it returns what every step led to."""
    seen = []
    for k, (t, s) in enumerate(pairwise(ts)):
        x = ddpm_step(schedule, x, denoise(x, t), t, s, noises[k])
        seen.append(x)
    return torch.stack(seen)


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
                "0 there is nothing but noise.", 3),
        Mistake("sigma-from-alpha", {"sigma * noise": "(1 - alpha**2).sqrt() * noise"},
                "sqrt(1 - alpha^2) is sigma on variance-preserving schedules such as Cosine. On "
                "Flow it is not: use the sigma that the schedule returns.", 1),
        Mistake("axes-of-images", {"c.view(-1, *[1] * (x0.ndim - 1))": "c.view(-1, 1, 1, 1)"},
                "Your coefficients have four axes, enough for images. Clips have five: there your "
                "B meets T.", 2),
        Mistake("no-axes", {"(c.view(-1, *[1] * (x0.ndim - 1)) for c in schedule(t))":
                            "schedule(t)"},
                "alpha and sigma have shape (B,) and PyTorch lines axes up from the right, so they "
                "meet the width. Give them one axis of size 1 for each other axis of x0.", 2),
        Mistake("time-reversed", {"net(x, t)": "net(x, 1 - t)"},
                "The network is told 1 - t. x holds the noise of time t; a network that is told "
                "something else in training is lost in sampling.", 1),
        Mistake("thousand-times", {"net(x, t)": "net(x, 1000 * t)"},
                "You tell the network 1000 t, a row of DDPM's table. Our networks take t in [0, 1] "
                "and scale it themselves.", 1),
        Mistake("scaled-noise", {"net(x, t) - noise": "net(x, t) - sigma * noise"},
                "You compare with sigma times the noise, the part that was mixed in. The target is "
                "the noise itself, with variance 1 at every t.", 1),
        Mistake("subtracted", {"alpha * x0 + sigma": "alpha * x0 - sigma"},
                "You subtract the noise when you mix. The network would learn minus the noise of "
                "what the sampler shows it.", 3),
        Mistake("root", {".mean(1)": ".mean(1).sqrt()"},
                "You take the root of the mean. It weighs samples by one over their error, and its "
                "minimum is not the posterior mean any more.", 3),
        Mistake("signed", {".square()": ""},
                "The square is missing: positive and negative errors cancel, and the loss has no "
                "minimum.", 3),
        Mistake("flow-target", {"- noise)": "- (noise - x0))"},
                "Your target is noise - x0, the one of flow matching. Block 2 comes to it; a noise "
                "predictor outputs the noise alone.", 1),
        Mistake("output-detached", {"net(x, t)": "net(x, t).detach()"},
                "The values are right, but you cut the network's output off from its weights "
                "(detach): a training would go through its steps and learn nothing.", 3)),
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
                "Your eps and x0 are mixed up: to predict eps is to predict the noise.", 2),
        Mistake("v-both-plus", {"(-sigma, alpha)": "(sigma, alpha)"},
                "The minus in your v is missing: v = alpha eps - sigma x0. As t grows, data is "
                "lost, so x0's share in the velocity is negative.", 3),
        Mistake("v-is-the-input", {"(-sigma, alpha)": "(alpha, sigma)"},
                "Your v is x_t itself, which the network is given anyway. v is at a right angle to "
                "it: alpha eps - sigma x0.", 3),
        Mistake("v-is-flow", {"(-sigma, alpha)": "(-1, 1)"},
                "Your v is the flow, eps - x0. That is the velocity on a straight line; v is that "
                "on the quarter circle, with sigma and alpha as factors.", 3),
        Mistake("v-variances", {"(-sigma, alpha)": "(-sigma**2, alpha**2)"},
                "You square alpha and sigma in v. Like x_t it is a mixture with the plain "
                "factors.", 3),
        Mistake("flow-is-v", {"(-1, 1)": "(-sigma, alpha)"},
                "Your flow is v. The flow target has no factors, because the straight line has the "
                "same velocity at every t: eps - x0.", 2),
        Mistake("flow-sum", {"(-1, 1)": "(1, 1)"},
                "You add x0 and eps. The way from data to noise is the difference, eps - x0.", 2),
        Mistake("noise-part", {'"eps": (0, 1)': '"eps": (0, sigma)'},
                "Your eps is multiplied by sigma: that is the noisy part of x_t. The target is the "
                "noise before it was scaled.", 2),
        Mistake("signal-part", {'"x0": (1, 0)': '"x0": (alpha, 0)'},
                "Your x0 is multiplied by alpha: that is the clean part of x_t. The target is the "
                "data itself.", 2),
        Mistake("score", {'"eps": (0, 1)': '"eps": (0, -1 / sigma)'},
                "-eps / sigma is what a score network learns (Song 2021). For eps the target is "
                "the noise itself; the two differ by the factor -sigma.", 1)),
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
                "1 - sigma is alpha on the straight schedule Flow only; divide by alpha.", 3),
        Mistake("divided-first", {"(x - sigma * eps) / alpha": "x / alpha - sigma * eps"},
                "You divide x by alpha, but not the noise that is in it. Subtract first, or divide "
                "both.", 2),
        Mistake("noise-left", {"(x - sigma * eps) / alpha": "x / alpha"},
                "eps does not occur in your answer, so all the noise is still there, divided by "
                "alpha.", 1),
        Mistake("alpha-bar", {"(x - sigma * eps) / alpha":
                              "(x - (1 - alpha).sqrt() * eps) / alpha.sqrt()"},
                "That is DDPM's formula with alpha for its alpha-bar. Our alpha is the root of "
                "alpha-bar, and sigma is given.", 3),
        Mistake("sigma-from-alpha", {"sigma * eps": "(1 - alpha**2).sqrt() * eps"},
                "You compute sigma from alpha as if their squares summed to 1. On Flow they do "
                "not.", 1),
        Mistake("solved-for-noise", {"(x - sigma * eps) / alpha": "(x - alpha * eps) / sigma"},
                "alpha and sigma are exchanged: this line gives the noise when the data is known, "
                "not the data when the noise is.", 1),
        Mistake("multiplied", {" / alpha": " * alpha"},
                "You multiply by alpha. The data in x_t has been multiplied by it already: to undo "
                "that, divide.", 2),
        Mistake("from-v", {"(x - sigma * eps) / alpha": "alpha * x - sigma * eps"},
                "alpha x - sigma F is the conversion from v on a variance-preserving schedule. "
                "From eps it is another one.", 1),
        Mistake("sign", {"(x - sigma * eps)": "(sigma * eps - x)"},
                "Your result is minus the data: x comes first, then the noise is subtracted.", 3),
        Mistake("clipped", {"(x - sigma * eps) / alpha":
                            "((x - sigma * eps) / alpha).clamp(-1, 1)"},
                "You hold the result inside [-1, 1]. A sampler may do that to a guess; the "
                "conversion has to be exact, or eps and x0 no longer belong together.", 3),
        Mistake("variances", {"(x - sigma * eps) / alpha": "(x - sigma**2 * eps) / alpha**2"},
                "You square alpha and sigma. x_t = alpha x0 + sigma eps has the plain "
                "factors.", 1)),
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
              "torch.softmax subtracts the largest exponent first.", 3),
        Mistake("plain-mean", {"torch.softmax(-distance / (2 * sigma**2), 1)":
                               "torch.full_like(distance, 1 / len(data))"},
                "All clips have the same weight, whatever x is. That is right at t = 1 only; "
                "elsewhere x tells which of them are likely.", 1),
        WrongAnswer("nearest", nearest,
              "You take the nearest clip alone, the most likely one. The guess with the least "
              "squared error is the mean of all, weighted by how likely they are.", 1),
        Mistake("guess-scaled", {"(weights @ data": "(alpha * weights @ data"},
                "You average alpha times the clips. alpha belongs into the distances; the guess is "
                "of the clean clip.", 3),
        Mistake("x-divided", {"torch.cdist(x.flatten(1), alpha * data.flatten(1))":
                              "torch.cdist(x.flatten(1) / alpha, data.flatten(1))"},
                "You divide x by alpha, which makes its noise larger, too: it is sigma / alpha "
                "then, not sigma.", 2),
        Mistake("no-sigma", {"-distance / (2 * sigma**2)": "-distance"},
                "sigma is missing: how much a distance counts depends on how much noise there "
                "is.", 2),
        Mistake("sigma-inside-half", {"(2 * sigma**2)": "(2 * sigma)**2"},
                "You square the 2 as well: the exponent is -d^2 / (2 sigma^2), yours is -d^2 / (4 "
                "sigma^2), and the weights are too even.", 2),
        Mistake("sum-of-absolutes", {"alpha * data.flatten(1)).square()":
                                     "alpha * data.flatten(1), p=1)"},
                "You sum absolute differences (p = 1). Gaussian noise is measured by squared "
                "ones.", 2),
        Mistake("product-only", {"torch.cdist(x.flatten(1), alpha * data.flatten(1)).square()":
                                 "-2 * alpha * x.flatten(1) @ data.flatten(1).T"},
                "Your weights come from the product of x and each clip, as in attention. That "
                "leaves out |alpha clip|^2, so bright clips win too often.", 2)),
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
                "is finished.", 3),
        Mistake("larger-variance", {"+ std * noise":
                                    "+ (s > 0) * (s_t**2 - (a_t / a_s * s_s)**2).sqrt() * noise"},
                "Your fresh noise has the variance that the forward step added, DDPM's beta (Ho "
                "2020 tried it, section 3.2). Given x0 the variance is smaller, by (sigma_s / "
                "sigma_t)^2.", 2),
        Mistake("larger-variance-to-the-end",
                {"+ std * noise": "+ (s_t**2 - (a_t / a_s * s_s)**2).sqrt() * noise"},
                "Your fresh noise has the variance of the forward step (DDPM's beta), in the last "
                "step as well, so the clip ends noisy. The factor sigma_s / sigma_t is missing; it "
                "is 0 at s = 0.", 2),
        Mistake("variance-preserving-only", {"(s_t**2 - (a_t / a_s * s_s)**2)":
                                             "(1 - (a_t / a_s)**2)"},
                "1 - (alpha_t / alpha_s)^2 is DDPM's beta, true where alpha^2 + sigma^2 = 1. On "
                "Flow write it as sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2.", 2),
        Mistake("implied-noise-unscaled", {"(x - a_t * x0) / s_t": "x - a_t * x0"},
                "x - alpha_t x0 is sigma_t eps. Divide by sigma_t to have noise of variance "
                "1.", 2),
        Mistake("signal-too-strong", {"(x - a_t * x0) / s_t": "(x - x0) / s_t"},
                "You subtract all of x0, but x_t holds only alpha_t x0: your eps contains some of "
                "the data.", 2),
        Mistake("signal-not-rescaled", {"(a_t / a_s * s_s)": "s_s"},
                "The factor alpha_t / alpha_s is missing. On the way from s to t the old noise "
                "shrinks together with the data.", 2),
        Mistake("deviations-subtracted", {"(s_s**2 - std**2).sqrt() * eps": "(s_s - std) * eps"},
                "You subtract standard deviations. Old and fresh noise are independent, so their "
                "variances sum to sigma_s^2: the old one's factor is sqrt(sigma_s^2 - std^2).", 3),
        Mistake("old-noise-dropped", {"(s_s**2 - std**2).sqrt() * eps + std * noise":
                                      "std * noise"},
                "The old noise eps does not occur in your x_s, so its variance is too small, and "
                "all that x_t knew beyond x0 is lost.", 3),
        Mistake("old-noise-subtracted", {"x0 + (s_s": "x0 - (s_s"},
                "You subtract the old noise. x_s lies between x_t and x0, on x_t's side of "
                "alpha_s x0.", 3),
        Mistake("root-missing", {"(s_t**2 - (a_t / a_s * s_s)**2).sqrt()":
                                 "(s_t**2 - (a_t / a_s * s_s)**2)"},
                "The square root in your std is missing: the bracket is a variance.", 2),
        Mistake("jump", {"return a_s * x0 + (s_s**2 - std**2).sqrt() * eps + std * noise":
                         "return x0"},
                "You return the guess itself. A step goes to time s, where noise of variance "
                "sigma_s^2 is left.", 1)),
    "c02-reverse": answer(
        reverse,
        Mistake("one-step-short", {"pairwise(ts))": "pairwise(ts[:-1]))"},
                "Your loop stops before the last step: x still holds noise. n + 1 times are n "
                "steps.", 1),
        Mistake("forwards", {"pairwise(ts))": "pairwise(ts.flip(0)))"},
                "You walk from data to noise, or hand ddpm_step its two times in the wrong order. "
                "x begins at ts[0], the noisiest, and each step goes to the smaller time s.", 1),
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
                "from where it is.", 1),
        WrongAnswer("returns-the-guess", last_guess,
              "You return the last guess, not the last x. They agree only where the grid ends at "
              "0; the chapter also stops at other times and goes on from there.", 3),
        Mistake("quiet-last-step", {"noises[k]": "noises[k] * (k < len(ts) - 2)"},
                "You leave out the noise of the last step by its number. Where a grid ends above 0 "
                "it is needed, and at 0 ddpm_step leaves it out by itself.", 2),
        Mistake("noises-shifted", {"noises[k]": "noises[k - 1]"},
                "Your step k takes noises[k - 1], so the first takes the last one. Both count from "
                "0.", 2),
        Mistake("noises-backwards", {"noises[k]": "noises[-1 - k]"},
                "You use the noises from the last to the first. Step k, counted from the start of "
                "ts, takes noises[k].", 2),
        Mistake("no-noise", {"noises[k]": "0 * noises[k]"},
                "No step of yours adds fresh noise, but ddpm_step has made room for it: x loses "
                "variance at every step.", 3),
        Mistake("first-step-missing", {"pairwise(ts))": "pairwise(ts[1:]))"},
                "Your loop leaves out the first step: x is at ts[0], and you treat it as if it "
                "were at ts[1].", 1),
        Mistake("straight-to-the-end", {"t, s, noises[k]": "t, ts[-1], noises[k]"},
                "Every step of yours goes to the end of the grid. Go to the next time, s: from "
                "there the guess is better.", 1),
        Mistake("time-stands-still", {"denoise(x, t), t": "denoise(x, ts[0]), ts[0]"},
                "The time stays ts[0] in your loop, for the denoiser and for the step, while x has "
                "moved on.", 3),
        WrongAnswer("all-states", all_states,
              "You return the state after every step. Only the last one is asked for, with the "
              "shape of x.", 3)),
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
