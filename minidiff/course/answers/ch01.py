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


def frame_to_frame(eps: Tensor, shared: Tensor, rho: float) -> Tensor:
    """A wrong noise of clips: each frame takes over a part of the frame before."""
    frames = [shared]
    for own in eps.unbind(1):
        frames.append(rho**0.5 * frames[-1] + (1 - rho)**0.5 * own)
    return torch.stack(frames[1:], 1)


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
              "all states are the last one. Make a new tensor in each step.", 3),
        Mistake("one-minus-root", {"(1 - beta).sqrt() * x": "(1 - beta.sqrt()) * x"},
                "The root is in the wrong place: x's factor is sqrt(1 - beta), not 1 - sqrt(beta), "
                "which shrinks x far too much.", 3),
        Mistake("betas-backwards", {"zip(betas, noises)": "zip(betas.flip(0), noises)"},
                "You go through the betas from the last to the first. Step i uses betas[i], "
                "beginning with betas[0].", 1),
        Mistake("betas-summed", {"zip(betas, noises)": "zip(betas.cumsum(0), noises)"},
                "You use the sum of all betas so far. Each step adds only its own beta; what came "
                "before is in x already.", 1),
        Mistake("minus", {"* x + beta": "* x - beta"},
                "You subtract the noise. Its distribution is the same, but a network that is "
                "trained on x must know which sign was used: here noise is added.", 3),
        Mistake("last-only", {"return torch.stack(seen)": "return x"},
                "You return the last state only. All of them are asked for, x0 first.", 1),
        Mistake("steps-second", {"torch.stack(seen)": "torch.stack(seen, 1)"},
                "You stack the states along axis 1, inside the data. The steps are the first axis: "
                "(N + 1, ...).", 3),
        Mistake("joined", {"torch.stack(seen)": "torch.cat(seen)"},
                "torch.cat joins the states along the data's own first axis. torch.stack makes a "
                "new axis for the steps.", 3)),
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
                "The noise has full strength at every t; multiply it by sigma.", 1),
        Mistake("signal-unscaled", {"alpha * x0": "x0"},
                "The data keeps its full strength at every t, so at t = 1 it is still there. "
                "Multiply it by alpha.", 1),
        Mistake("sigma-from-alpha", {"sigma * noise": "(1 - alpha**2).sqrt() * noise"},
                "sqrt(1 - alpha^2) is sigma on variance-preserving schedules only, and Flow is "
                "none of them. The schedule returns sigma, too.", 1),
        Mistake("minus", {"+ sigma": "- sigma"},
                "You subtract the noise. A network that learns it would learn it with the wrong "
                "sign for the sampler.", 3),
        Mistake("clipped", {BOTH: "(alpha * x0 + sigma * noise).clamp(-1, 1)"},
                "You cut x_t off at -1 and 1. Only clean data lies in that range; clipped noise is "
                "not normal any more.", 3),
        Mistake("brackets", {BOTH: "alpha * (x0 + sigma * noise)"},
                "Your alpha multiplies the noise as well, so at t = 1 nothing is left, not even "
                "noise. It belongs to x0 alone.", 3)),
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
                "this one stays on the circle.", 1),
        Mistake("straight-variance", {QUARTER: "(1 - t).sqrt(), t.sqrt()"},
                "You are on the circle, but the variance grows steadily, not the angle. The cosine "
                "schedule has constant speed: its angle is pi / 2 * t.", 1),
        Mistake("angle-doubled", {QUARTER: "torch.sin(pi * (1 - t)), torch.sin(pi * t)"},
                "Your angle is pi t, twice too large: at t = 1 sigma is back at 0. A quarter "
                "circle is pi / 2.", 2),
        Mistake("no-pi", {QUARTER: "torch.sin(1 - t), torch.sin(t)"},
                "Your angle ends at 1, which is 57 degrees; torch.sin expects radians, and a "
                "quarter circle is pi / 2 of them.", 2),
        Mistake("sigma-as-variance", {", torch.sin(pi / 2 * t)": ", torch.sin(pi / 2 * t)**2"},
                "Your alpha is right, but your sigma is 1 - alpha^2, the noise's variance. sigma "
                "is its root.", 1),
        Mistake("with-offset", {QUARTER: "torch.cos(pi / 2 * (t + 0.008) / 1.008), "
                                         "torch.sin(pi / 2 * (t + 0.008) / 1.008)"},
                "You use the offset s = 0.008 of Nichol 2021 (eq. 17), which keeps the first steps "
                "of a table from being too small. Here it is not wanted: at t = 0 there would be "
                "noise already.", 1),
        Mistake("start-not-exact", {", torch.sin(pi / 2 * t)": ", torch.cos(pi / 2 * (1 - t))"},
                "Right up to rounding, but sigma(0) is -4e-8 and not 0: clean data would not be "
                "quite clean. sin(0) is exact, cos(pi / 2) is not.", 3),
        Mistake("kept-off-zero", {"torch.sin(pi / 2 * (1 - t))":
                                  "torch.sin(pi / 2 * (1 - t)).clamp(min=1e-3)"},
                "You keep alpha above 0. Then a little of the data is left at t = 1, but sampling "
                "begins with pure noise: the two must agree.", 1),
        Mistake("alpha-only", {QUARTER: "torch.sin(pi / 2 * (1 - t))"},
                "You return alpha alone. A schedule returns a pair, (alpha, sigma).", 2)),
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
                "as a float's last digit.", 2),
        Mistake("few-halvings", {"range(40)": "range(5)"},
                "Five halvings leave an interval of 1/32: near the answer, but not on it. A "
                "float32 needs about 24.", 2),
        Mistake("one-for-all", {"a / s > alpha / sigma": "(a / s > alpha / sigma).all()"},
                "One decision serves the whole batch. Each time has an interval of its own, and "
                "torch.where decides for each.", 3),
        Mistake("unchanged", {"return middle": "return t"},
                "You return the time that you were given. The other schedule is just as noisy at "
                "another time.", 1),
        Mistake("end-stays", {"torch.where(cleaner, high, middle)": "high"},
                "Your upper end never moves, so once the middle is too noisy, nothing changes any "
                "more. In that case the middle is the new upper end.", 2),
        Mistake("other-at-t", {"= other(middle)": "= other(t)"},
                "You ask `other` at t, again and again. Ask it at the middle of the interval: the "
                "time is what you look for.", 2),
        Mistake("product", {"a / s > alpha / sigma": "a * s > alpha * sigma"},
                "You compare the product of signal and noise, which is small at both ends of the "
                "schedule. It is their ratio that only falls.", 1),
        Mistake("from-t-on", {"torch.zeros_like(t)": "t"},
                "Your interval begins at t, so an earlier time is never found. The answer can lie "
                "anywhere in [0, 1].", 2),
        Mistake("noise-variance", {"a / s > alpha / sigma": "a / s**2 > alpha / sigma**2"},
                "You divide alpha by sigma squared. If the noise is squared, the signal must be, "
                "too: SNR = alpha^2 / sigma^2.", 1)),
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
                "The sum of two noises has variance 2. Weigh them so that it stays 1.", 1),
        Mistake("root-missing-own", {"(1 - rho)**0.5": "(1 - rho)"},
                "The frames' own noise is multiplied by 1 - rho, its variance. The factor is the "
                "root of that.", 1),
        Mistake("root-missing-shared", {"rho**0.5 *": "rho *"},
                "The shared noise is multiplied by rho, its variance: frames correlate less than "
                "asked, and the total variance is below 1. Take the root.", 2),
        Mistake("weights-sum-to-one", {"(1 - rho)**0.5": "(1 - rho**0.5)"},
                "You take 1 - sqrt(rho), so that the two weights sum to 1. It is their squares "
                "that must: the second is sqrt(1 - rho).", 1),
        Mistake("minus", {"+ (1 - rho)": "- (1 - rho)"},
                "You subtract the frames' own noise. As a distribution that is the same, but at "
                "rho = 0 the result should be eps, and yours is -eps.", 3),
        Mistake("axis-behind-channels", {"shared[:, None]": "shared[:, :, None]"},
                "Your new axis stands behind the channels: (B, C, 1, H, W). Frames come before "
                "channels, so it belongs at position 1. With one channel the two look alike.", 3),
        Mistake("average-of-frames", {"shared[:, None]": "eps.mean(1, keepdim=True)"},
                "You take the mean of the frames' noise as the shared part. Its variance is only "
                "1 / T, and it depends on every frame; `shared` is there for this.", 1),
        Mistake("as-a-ratio", {"rho**0.5 *": "(rho**2 / (1 + rho**2))**0.5 *",
                               "(1 - rho)**0.5": "(1 / (1 + rho**2))**0.5"},
                "Those are the weights of Ge 2023 (mixed noise), whose number is a ratio of "
                "shared to own noise. Here rho is the correlation itself: at rho = 1 nothing is "
                "a frame's own.", 2),
        WrongAnswer("frame-to-frame", frame_to_frame,
              "You pass noise on from frame to frame (progressive noise, Ge 2023), so distant "
              "frames correlate less. Here any two frames correlate by rho.", 2)),
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
                "mean.", 2),
        Mistake("mean-added", {"x - alpha * mean": "x + alpha * mean"},
                "You add alpha mean instead of taking it away: what is new in x is its distance "
                "from its own mean.", 2),
        Mistake("gain-without-alpha", {"alpha * std**2 /": "std**2 /"},
                "The alpha in your gain's numerator is missing: x_t holds alpha x0, so Cov(x0, "
                "x_t) is alpha std^2.", 3),
        Mistake("alpha-not-squared", {"alpha**2 * std**2": "alpha * std**2"},
                "In Var(x_t) the data is multiplied by alpha, so its variance is multiplied by "
                "alpha squared; yours has one alpha.", 3),
        Mistake("variance-one", {"alpha * std**2 / (alpha**2 * std**2 + sigma**2)":
                                 "alpha / (alpha**2 + sigma**2)"},
                "Your gain is that of data with variance 1. Narrow data needs a smaller gain, wide "
                "data a larger one: std belongs into it.", 3),
        Mistake("slope-upside-down", {"alpha * std**2 / (alpha**2 * std**2 + sigma**2)":
                                      "(alpha**2 * std**2 + sigma**2) / (alpha * std**2)"},
                "Your gain is variance / covariance. The slope of a regression is covariance / "
                "variance, and the variance is that of the thing you see, x_t.", 2),
        Mistake("sum-squared", {"(alpha**2 * std**2 + sigma**2)": "(alpha * std + sigma)**2"},
                "You add standard deviations and square the sum. Signal and noise are independent, "
                "so it is their variances that add up.", 3),
        Mistake("guesses-the-noise", {"return mean + gain * (x - alpha * mean)":
                                      "return (x - alpha * (mean + gain * (x - alpha * mean))) "
                                      "/ sigma"},
                "You return the guess of the noise, eps-hat. The clean data is asked for.", 1),
        Mistake("signal-part", {"return mean + gain * (x - alpha * mean)":
                                "return alpha * (mean + gain * (x - alpha * mean))"},
                "You return the clean part of x_t, which is alpha x0. Leave out the last alpha to "
                "guess x0 itself.", 2)),
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
        "Each step's spread is taken over all samples. If they share the noise, only the data "
        "spreads them: the curve would fall, 1.0, .72, .28, .006 at steps 1, 250, 500, 1,000.",
        "Then the curve would rise, to the root of 2 and beyond.")),
}
