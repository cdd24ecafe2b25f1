"""Chapter 01, forward noising: the right answers and the common mistakes."""
from math import pi

import torch
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def noising_chain(x0: Tensor, betas: Tensor, noises: Tensor) -> Tensor:
    """The data and every later state of the chain, (N + 1, *shape)."""
    x, seen = x0, [x0]
    for beta, noise in zip(betas, noises):
        x = (1 - beta).sqrt() * x + beta.sqrt() * noise
        seen.append(x)
    return torch.stack(seen)


def add_noise(schedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Noised data at times (), or (B,) with one for each sample."""
    alpha, sigma = (c.view(-1, *[1] * (x0.ndim - 1)) for c in schedule(t))
    return alpha * x0 + sigma * noise


def cosine(t: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine schedule: (alpha, sigma) at each time."""
    return torch.sin(pi / 2 * (1 - t)), torch.sin(pi / 2 * t)


def same_noise(schedule, other, t: Tensor) -> Tensor:
    """The times at which the other schedule has the same SNR, by bisection."""
    alpha, sigma = schedule(t)
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(40):
        middle = (low + high) / 2
        a, s = other(middle)
        cleaner = a / s > alpha / sigma
        low, high = torch.where(cleaner, middle, low), torch.where(cleaner, high, middle)
    return middle


def clip_noise(eps: Tensor, shared: Tensor, rho: float) -> Tensor:
    """Noise of clips with variance 1 and correlation rho between frames."""
    return rho**0.5 * shared[:, None] + (1 - rho)**0.5 * eps


def gaussian_guess(x: Tensor, mean, std, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The posterior mean of a Gaussian's sample, given its noised value."""
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    return mean + gain * (x - alpha * mean)


def in_place(x0: Tensor, betas: Tensor, noises: Tensor) -> Tensor:
    """A wrong chain: it changes the data in place."""
    x, seen = x0, [x0]
    for beta, noise in zip(betas, noises):
        x *= (1 - beta).sqrt()
        x += beta.sqrt() * noise
        seen.append(x)
    return torch.stack(seen)


BOTH = "alpha * x0 + sigma * noise"
STEP = "(1 - beta).sqrt() * x + beta.sqrt() * noise"
QUARTER = "torch.sin(pi / 2 * (1 - t)), torch.sin(pi / 2 * t)"
MIX = "rho**0.5 * shared[:, None] + (1 - rho)**0.5 * eps"

ANSWERS = {
    "c01-one-step": answer(
        noising_chain,
        Mistake("no-shrinking", {STEP: "x + beta.sqrt() * noise"},
                "You add noise but never shrink x: its variance grows with every step instead of "
                "staying 1.", 2),
        Mistake("shrinks-by-variance", {"(1 - beta).sqrt() * x": "(1 - beta) * x"},
                "1 - beta is the share of variance that stays; x itself is multiplied by its "
                "square root.", 2),
        Mistake("variance-for-deviation", {"beta.sqrt() * noise": "beta * noise"},
                "beta is the new noise's variance; the noise is multiplied by its standard "
                "deviation, the root of beta.", 2),
        Mistake("no-roots", {STEP: "(1 - beta) * x + beta * noise"},
                "Both square roots are missing: beta and 1 - beta are variances, but the factors "
                "must be standard deviations.", 3),
        Mistake("swapped", {STEP: "beta.sqrt() * x + (1 - beta).sqrt() * noise"},
                "beta and 1 - beta are exchanged: a small beta should be a small step, and yours "
                "leaves hardly anything of x.", 2),
        Mistake("from-the-start", {".sqrt() * x + beta": ".sqrt() * x0 + beta"},
                "Every step of yours starts from x0 again; a chain goes on from the x of the "
                "step before.", 1),
        Mistake("same-noise", {"in zip(betas, noises)": "in zip(betas, [noises[0]] * len(betas))"},
                "Every step adds the same noise, so the noises pile up in one direction. Step i "
                "takes noises[i].", 1),
        Mistake("start-missing", {"x0, [x0]": "x0, []"},
                "x0 is missing in what you return: N steps lead through N + 1 states.", 1),
        Mistake("first-step-missing", {"zip(betas, noises)": "zip(betas[1:], noises[1:])"},
                "You leave out the first step (indices begin at 0): N betas are N steps and N + 1 "
                "states.", 1),
        WrongAnswer("in-place", in_place,
              "`x *= ...` and `x += ...` change the tensor that x0 and your whole list share, so "
              "all states are the last one. Make a new tensor in each step.", 3)),
    "c01-add-noise": answer(
        add_noise,
        Mistake("squared", {BOTH: "alpha**2 * x0 + sigma**2 * noise"},
                "A square root is missing: your weights are alpha squared (the papers' alpha-bar) "
                "and sigma squared, which are variances.", 3),
        Mistake("rooted", {BOTH: "alpha.sqrt() * x0 + sigma.sqrt() * noise"},
                "One square root too many: alpha and sigma are the square roots of the papers' "
                "alpha-bar and 1 - alpha-bar already.", 3),
        Mistake("swapped", {BOTH: "sigma * x0 + alpha * noise"},
                "alpha belongs to the data and sigma to the noise; yours are exchanged, so at t = "
                "0 there is nothing but noise.", 1),
        Mistake("reversed", {"schedule(t)": "schedule(1 - t)"},
                "Your time runs backwards: t = 0 is data and t = 1 is noise, always.", 1),
        Mistake("no-axes", {"(c.view(-1, *[1] * (x0.ndim - 1)) for c in schedule(t))":
                            "schedule(t)"},
                "alpha (B,) times x0 lines up with the last axis, the width: if sizes differ, that "
                "is an error, and if B happens to equal W, it is silently wrong.", 2),
        Mistake("over-frames", {"c.view(-1, *[1] * (x0.ndim - 1))": "c.view(-1, 1, 1, 1)"},
                "Three axes fit images. For clips (B, T, C, H, W) your B lines up with T: usually "
                "an error, and silently wrong if a clip has as many frames as there are clips.", 2),
        Mistake("one-noise", {"* noise": "* noise[:1]"},
                "Every sample of the batch gets the first one's noise. Each has its own.", 1),
        Mistake("one-time", {"schedule(t)": "schedule(t.flatten()[0])"},
                "The first sample's t serves the whole batch. With t (B,) each sample has a time "
                "of its own.", 2),
        Mistake("one-minus", {"sigma * noise": "(1 - alpha) * noise"},
                "1 - alpha is sigma on the straight schedule Flow only. Take the sigma that the "
                "schedule gives.", 1),
        Mistake("noise-unscaled", {"sigma * noise": "noise"},
                "The noise has full strength at every t; multiply it by sigma.", 1)),
    "c01-cosine": answer(
        cosine,
        Mistake("end-not-exact", {"torch.sin(pi / 2 * (1 - t))": "torch.cos(pi / 2 * t)"},
                "Right up to rounding, but alpha(1) is -4e-8 and not 0, because no float is "
                "exactly pi / 2. Ends that are not exact cost a sampler a special last step.", 3),
        Mistake("half-turn", {"pi / 2 * (1 - t)": "pi * (0.5 - t)", "sin(pi / 2 * t)":
                              "sin(pi * t)"},
                "You walk a half circle: alpha is -1 at t = 1. A quarter is enough, pi / 2 * t.",
                2),
        Mistake("reversed", {QUARTER: "torch.sin(pi / 2 * t), torch.sin(pi / 2 * (1 - t))"},
                "Your alpha and sigma are exchanged, or your time runs backwards: at t = 0 all is "
                "data, (alpha, sigma) = (1, 0).", 1),
        Mistake("alpha-bar", {QUARTER: "torch.sin(pi / 2 * (1 - t))**2, torch.sin(pi / 2 * t)**2"},
                "You return alpha squared (the papers' alpha-bar) and sigma squared. The square "
                "roots are missing.", 2),
        Mistake("one-minus", {", torch.sin(pi / 2 * t)": ", 1 - torch.sin(pi / 2 * (1 - t))"},
                "Your sigma is 1 - alpha. It is the variances that sum to 1: sigma^2 = 1 - "
                "alpha^2.", 1),
        Mistake("straight", {QUARTER: "1 - t, t"},
                "That is the straight schedule Flow, whose variance dips to 1/2 in the middle; "
                "this one stays on the circle.", 1)),
    "c01-same-noise": answer(
        same_noise,
        Mistake("wrong-half", {"a / s >": "a / s <"},
                "You keep the wrong half, so you end at 0 or 1. If `other` is still cleaner than "
                "wanted, the answer lies later.", 2),
        Mistake("signal-only", {"a / s > alpha / sigma": "a > alpha"},
                "You compare alpha alone. Half the signal in half the noise is just as noisy: it "
                "is the ratio alpha / sigma that counts.", 1),
        Mistake("noise-only", {"a / s > alpha / sigma": "s < sigma"},
                "You compare sigma alone. Half the noise on half the signal is just as noisy: it "
                "is the ratio alpha / sigma that counts.", 1),
        Mistake("difference", {"a / s > alpha / sigma": "a - s > alpha - sigma"},
                "You compare alpha - sigma; signal to noise is a ratio.", 1),
        Mistake("one-side-squared", {"> alpha / sigma": "> alpha**2 / sigma**2"},
                "A ratio of standard deviations is compared with a ratio of variances: square "
                "both sides or neither.", 1),
        Mistake("roles", {"= schedule(t)": "= other(t)", "= other(middle)": "= schedule(middle)"},
                "The roles are exchanged: t is a time of `schedule`, and the time to find is one "
                "of `other`.", 1),
        Mistake("one-halving", {"range(40)": "range(1)"},
                "One halving leaves the first middle, 1/2. Repeat until the interval is as small "
                "as a float's last digit.", 2)),
    "c01-clip-noise": answer(
        clip_noise,
        Mistake("no-roots", {MIX: "rho * shared[:, None] + (1 - rho) * eps"},
                "The weights sum to 1, but the variances must sum to 1: at rho = 1/2 your noise "
                "has variance 1/2. The square roots are missing.", 1),
        Mistake("correlation-squared", {"rho**0.5 *": "rho *", "(1 - rho)**0.5":
                                        "(1 - rho**2)**0.5"},
                "Variance 1, but two frames correlate by rho squared: the weight of their shared "
                "noise must be the root of rho.", 2),
        Mistake("swapped", {MIX: "(1 - rho)**0.5 * shared[:, None] + rho**0.5 * eps"},
                "The weights are exchanged: rho = 1 is the same noise in all frames.", 2),
        Mistake("over-frames", {"shared[:, None]": "shared"},
                "shared (B, C, H, W) lines up with the frames of eps (B, T, C, H, W): usually an "
                "error, and if B equals T, each frame gets another clip's noise. It needs an axis "
                "for T.", 3),
        Mistake("one-for-all-clips", {"shared[:, None]": "shared[:1, None]"},
                "All clips of the batch share the first one's noise; only the frames of one clip "
                "should share it.", 3),
        Mistake("first-frame", {"shared[:, None]": "eps[:, :1]"},
                "You share the noise of frame 0, which is also in eps: added to itself it gives "
                "that frame too much variance. `shared` is an independent draw.", 1),
        Mistake("sum", {MIX: "shared[:, None] + eps"},
                "The sum of two noises has variance 2. Weigh them so that it stays 1.", 1)),
    "c01-linear": answer(
        gaussian_guess,
        Mistake("no-mean", {"mean + gain * (x - alpha * mean)": "gain * x"},
                "Your guess is right for mean 0 only: only x - alpha mean is new information, and "
                "the guess starts from the mean.", 2),
        Mistake("mean-not-scaled", {"x - alpha * mean": "x - mean"},
                "x_t's mean is alpha times the data's mean, not the data's mean.", 3),
        Mistake("std-not-squared", {"alpha * std**2 /": "alpha * std /",
                                    "alpha**2 * std**2": "alpha**2 * std"},
                "You use std instead of the variance std^2.", 3),
        Mistake("no-noise", {"gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)":
                             "gain = 1 / alpha"},
                "You divide by the signal alone, so noise is trusted as if it were signal: your "
                "guess is x / alpha whatever the noise.", 3),
        Mistake("covariance", {"alpha * std**2 /": "alpha**2 * std**2 /"},
                "Your gain is that of alpha x0. Cov(x0, x_t) = alpha std^2, with one alpha.", 3),
        Mistake("sigma-not-squared", {"+ sigma**2": "+ sigma"},
                "The noise's variance is sigma^2.", 3),
        Mistake("noised-mean", {"return mean + gain": "return alpha * mean + gain"},
                "You start from x_t's mean, alpha mean; the guess is of x0, whose mean is "
                "mean.", 2)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c01-same-noise",
     "line 5: range(40) -> list(range(40))[:-1]"):
        "Forty halvings of an interval are below the precision that a check can ask for, one "
        "more or less, too.",
    ("c01-same-noise",
     "line 5: range(40) -> list(range(40))[1:]"):
        "Forty halvings of an interval are below the precision that a check can ask for, one "
        "more or less, too.",
    ("c01-same-noise",
     "line 5: 40 -> 41"):
        "Forty halvings of an interval are below the precision that a check can ask for, one "
        "more or less, too.",
    ("c01-same-noise",
     "line 5: 40 -> 39"):
        "Forty halvings of an interval are below the precision that a check can ask for, one "
        "more or less, too.",
    ("c01-same-noise",
     "line 8: a / s > alpha / sigma -> a / s >= alpha / sigma"):
        "The two sides are never exactly equal.",
}

RIGHT = {
    "c01-thousand": (1, (
        "Each step shrinks x by as much variance as it adds, so nothing piles up.",
        "Independent normal noises add up to one normal noise: x_150 by a chain and by a jump have "
        "one distribution. The draws are others, that is all.",
        "Peaks fade with the variance added, however many steps it comes in.")),
    "c01-shared": (1, (
        "The noise is in every frame alike, so it is in their mean, too, and cancels.",
        "What the frames share cancels, and the noise is what they share. A network trained on "
        "such clips would learn to subtract, and nothing about digits.",
        "The digit moves, so the frames differ, by the digit.")),
    "c01-bug": (1, (
        "Then the clean end and the noisy one are exchanged, but the standard deviation is 1 all "
        "along.",
        "alpha-bar squared plus (1 - alpha-bar) squared is 1 at both ends and 1/2 in the middle: a "
        "standard deviation of .71, the dip that you see.",
        "Each sample by itself would still have standard deviation 1.",
        "Then the curve would rise, to the root of 2 and beyond.")),
}
