"""Chapter 08, fast samplers: the right answers and the common mistakes."""
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer
from minidiff.samplers import State
from minidiff.schedules import half_log_snr


def ddim_step(schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One DDIM step from time t to time s."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    eps = (x - a_t * x0) / s_t
    return a_s * x0 + s_s * eps


def eta_step(schedule, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, eta: float,
             noise: Tensor) -> Tensor:
    """A step between DDIM, eta = 0, and DDPM, eta = 1."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    eps = (x - a_t * x0) / s_t
    std = eta * s_s / s_t * (s_t**2 - (a_t / a_s * s_s)**2).sqrt()
    return a_s * x0 + (s_s**2 - std**2).sqrt() * eps + std * noise


def order(steps: Tensor, errors: Tensor) -> Tensor:
    """The order of a solver: minus the slope of log errors over log steps."""
    n, error = steps.double().log(), errors.double().log()
    n = n - n.mean()
    return -(n * error).sum() / (n * n).sum()


def heun_step(denoise, schedule, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One step of Heun: two calls of the network, one if it ends at t = 0."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    x0 = denoise(x, t)
    y = ddim_step(schedule, x, x0, t, s)
    if s == 0:
        return y
    y0 = denoise(y, s)
    eps = ((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2
    return x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps


def two_m(denoise, schedule, x: Tensor, ts: Tensor):
    """DPM-Solver++(2M) as a generator of states, one call of the network a step."""
    u = before = None
    for t, s in pairwise(ts):
        x0 = guess = denoise(x, t)
        yield State(t, x, x0)
        if before is not None and s > 0:
            l_u, l_t, l_s = (half_log_snr(schedule, time) for time in (u, t, s))
            guess = x0 + (l_s - l_t) / (2 * (l_t - l_u)) * (x0 - before)
        u, before = t, x0
        x = ddim_step(schedule, x, guess, t, s)
    yield State(s, x, x)


def log_snr_grid(n: int, t_min: float, t_max: float) -> Tensor:
    """n times evenly spaced in log-SNR on the flow schedule, then an exact 0."""
    ends = torch.tensor([t_max, t_min], dtype=torch.float64)
    first, final = -torch.logit(ends)
    ts = torch.sigmoid(-torch.linspace(first, final, n, dtype=torch.float64))
    return torch.cat([ts, torch.zeros(1, dtype=torch.float64)])


def remembering():
    """2M with its history outside the loop, as in a class or a global: it survives the batch."""
    kept = []

    def two_m(denoise, schedule, x: Tensor, ts: Tensor):
        for t, s in pairwise(ts):
            x0 = guess = denoise(x, t)
            yield State(t, x, x0)
            if kept and s > 0:
                u, before = kept[-1]
                l_u, l_t, l_s = (half_log_snr(schedule, time) for time in (u, t, s))
                guess = x0 + (l_s - l_t) / (2 * (l_t - l_u)) * (x0 - before)
            kept.append((t, x0))
            x = ddim_step(schedule, x, guess, t, s)
        yield State(s, x, x)
    return two_m


def previous_batch(denoise, schedule, x: Tensor, ts: Tensor):
    """The same, for two batches of which each is the other's past."""
    sampler = remembering()
    if getattr(previous_batch, "x", None) is not None:
        list(sampler(denoise, schedule, previous_batch.x, ts))
        previous_batch.x = None
    else:
        previous_batch.x = x
    return sampler(denoise, schedule, x, ts)


ANSWERS = {
    "c08-ddim": answer(
        ddim_step,
        Mistake("alpha-of-t", {"a_s * x0 + s_s": "a_t * x0 + s_s"},
                "Your x_s has the signal of time t; at s it is alpha_s x0.", 2),
        Mistake("sigma-of-t", {"s_s * eps": "s_t * eps"},
                "Your x_s still carries the noise of time t, sigma_t eps: nothing gets cleaner. At "
                "s it is sigma_s eps.", 2),
        Mistake("eps-of-s", {"(x - a_t * x0) / s_t": "(x - a_s * x0) / s_s"},
                "x is at time t, so the noise in it is found with alpha_t and sigma_t; you take "
                "those of s.", 3),
        Mistake("not-divided", {"(x - a_t * x0) / s_t": "x - a_t * x0"},
                "x - alpha_t x0 is sigma_t eps, not eps: divide by sigma_t.", 2),
        Mistake("x-for-noise", {"s_s * eps": "s_s * x"},
                "You mix x0 with x itself; x holds data already. Mix it with the noise that x and "
                "x0 imply.", 1),
        Mistake("straight", {"return a_s * x0 + s_s * eps": "return x + (t - s) / t * (x0 - x)"},
                "A straight walk from x to x0 is right on the schedule Flow only, where alpha + "
                "sigma = 1.", 2),
        Mistake("guess-only", {"return a_s * x0 + s_s * eps": "return x0"},
                "You jump to the guess. x_s is only a step nearer, with the noise of time s "
                "still in it.", 1),
        Mistake("papers-alpha", {"(x - a_t * x0) / s_t": "(x - a_t.sqrt() * x0) / (1 - a_t).sqrt()",
                                 "a_s * x0 + s_s * eps":
                                 "a_s.sqrt() * x0 + (1 - a_s).sqrt() * eps"},
                "That is the paper's formula, whose alpha is the square of ours. Here the signal's "
                "factor is alpha itself and the noise's is sigma; no roots.", 3),
        Mistake("variance-preserving", {"(a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)":
                                        "a_t, a_s = schedule(t)[0], schedule(s)[0]\n"
                                        "    s_t, s_s = (1 - a_t**2).sqrt(), (1 - a_s**2).sqrt()"},
                "You compute sigma from alpha as sqrt(1 - alpha^2). That holds on Cosine; on Flow "
                "sigma is 1 - alpha. The schedule gives both: use its sigma.", 3),
        Mistake("sign", {"(x - a_t * x0) / s_t": "(x + a_t * x0) / s_t"},
                "The sign is reversed: the noise is what is left of x when the signal is taken "
                "away.", 2),
        Mistake("alpha-missing", {"(x - a_t * x0) / s_t": "(x - x0) / s_t"},
                "You subtract the whole guess from x, but x holds only alpha_t of it.", 2),
        Mistake("x0-not-scaled", {"return a_s * x0": "return x0"},
                "You put the whole guess into x_s; at time s the signal has the factor alpha_s.",
                3),
        Mistake("times-exchanged", {"schedule(t), schedule(s)": "schedule(s), schedule(t)"},
                "s and t are exchanged: you step from s up to t, into more noise.", 3),
        Mistake("guess-as-noise", {"eps = (x - a_t * x0) / s_t":
                                   "x0, eps = (x - s_t * x0) / a_t, x0"},
                "You take the guess for one of the noise. What comes in is x0; find the noise "
                "from it.", 1),
        Mistake("noise-detached", {"eps = (x - a_t * x0) / s_t":
                                   "eps = ((x - a_t * x0) / s_t).detach()"},
                "The values are right, but the noise is detached: gradients with respect to x "
                "vanish, and those with respect to x0 miss a part.", 2)),
    "c08-eta": answer(
        eta_step,
        Mistake("noise-on-top", {"(s_s**2 - std**2).sqrt() * eps": "s_s * eps"},
                "You add new noise on top of all the old: together they must have variance "
                "sigma_s^2.", 2),
        Mistake("noise-in-the-last-step",
                {"eta * s_s / s_t * (s": "eta * (s", "- std**2).sqrt()": "- std**2).clamp(min=0)"
                                                                         ".sqrt()"},
                "The factor sigma_s / sigma_t is missing from std, so the last step, to s = 0, "
                "adds noise to the finished clip.", 2),
        Mistake("variance", {" + std * noise": " + std**2 * noise"},
                "Noise is multiplied by its standard deviation, not by its variance.", 3),
        Mistake("eta-outside", {"eta * s_s": "s_s", "+ std * noise": "+ eta * std * noise"},
                "eta scales only the new noise; the old one was shrunk as for eta = 1, so x_s has "
                "too little variance. Let eta be part of std.", 3),
        Mistake("eta-ignored", {"eta * s_s": "s_s"},
                "eta does nothing here: it is DDPM's step whatever eta is.", 2),
        Mistake("not-squared-out", {"(s_s**2 - std**2).sqrt()": "(s_s - std)"},
                "Independent noises add their variances, not their standard deviations: "
                "sqrt(sigma_s^2 - std^2).", 2),
        Mistake("ratio-upside-down", {"a_t / a_s * s_s": "a_s / a_t * s_s"},
                "The ratio of the alphas is upside down: from s to t the signal shrinks by alpha_t "
                "/ alpha_s, which is below 1.", 2),
        Mistake("root-of-eta", {"eta * s_s": "eta**0.5 * s_s"},
                "You take the root of eta. eta multiplies the standard deviation of the new noise "
                "as it is (Song 2021, eq. 16), so 0.5 means a quarter of DDPM's variance.", 2),
        Mistake("eta-squared", {"eta * s_s": "eta**2 * s_s"},
                "You square eta. Its square is the factor of the variance; std itself gets eta "
                "once.", 2),
        Mistake("variance-preserving", {"(s_t**2 - (a_t / a_s * s_s)**2)": "(1 - (a_t / a_s)**2)"},
                "1 - (alpha_t / alpha_s)^2 is DDPM's beta, and right only if alpha^2 + sigma^2 is "
                "1. Flow is different: write it with both sigmas.", 2),
        Mistake("parts-of-one", {"(s_s**2 - std**2).sqrt() * eps + std * noise":
                                 "s_s * ((1 - eta) * eps + eta * noise)"},
                "You mix old and new noise by 1 - eta and eta. Their squares do not sum to 1, so "
                "half-way x_s has too little noise; and at eta = 1 nothing old would be left.", 3),
        Mistake("all-new", {"std = eta * s_s / s_t * (s_t**2 - (a_t / a_s * s_s)**2).sqrt()":
                            "std = eta * s_s"},
                "At eta = 1 your noise is entirely new. DDPM renews a part of it: the share of "
                "x_t's noise variance that came in between s and t.", 2),
        Mistake("noises-exchanged", {"sqrt() * eps + std * noise": "sqrt() * noise + std * eps"},
                "Old and new noise are exchanged: your eta = 0 is all new, and not DDIM.", 1),
        Mistake("ratio-not-squared", {"(a_t / a_s * s_s)**2": "a_t / a_s * s_s**2"},
                "The ratio of the alphas is not squared. What is subtracted is a variance, so the "
                "whole product, alpha_t / alpha_s times sigma_s, is squared.", 2),
        Mistake("root-missing", {"(s_t**2 - (a_t / a_s * s_s)**2).sqrt()":
                                 "(s_t**2 - (a_t / a_s * s_s)**2)"},
                "A root is missing in std: sigma_t^2 - (...)^2 is a variance.", 2),
        Mistake("variances-added", {"(s_s**2 - std**2)": "(s_s**2 + std**2)"},
                "The old noise grows by the new instead of giving way to it: the variance at s "
                "becomes sigma_s^2 + 2 std^2.", 3),
        Mistake("noise-detached", {"eps = (x - a_t * x0) / s_t":
                                   "eps = ((x - a_t * x0) / s_t).detach()"},
                "The values are right, but the old noise is detached, and with it all that x_s "
                "owes to x.", 1)),
    "c08-order": answer(
        order,
        Mistake("sign", {"return -(n": "return (n"},
                "That is the slope, which is negative: the error falls. The order is minus the "
                "slope.", 2),
        Mistake("steps-not-logged", {"steps.double().log()": "steps.double()"},
                "Your axis of steps is linear. A power law is a straight line only if both axes "
                "are logarithms.", 1),
        Mistake("errors-not-logged", {"errors.double().log()": "errors.double()"},
                "You fit the errors, not their logarithms: n^-p is a line only if both axes are "
                "logarithms.", 1),
        Mistake("axes-exchanged", {"n = n - n.mean()": "error = error - error.mean()",
                                   "(n * n).sum()": "(error * error).sum()"},
                "Your line gives log(n) as a function of log(error), so its slope is 1 / order. "
                "Divide by the variance of log(n).", 2),
        Mistake("through-the-origin", {"    n = n - n.mean()\n": ""},
                "Your line is forced through the origin, so the constant before n^-p goes into the "
                "slope. Subtract the mean of log(n) first.", 3),
        Mistake("end-points", {"return -(n * error).sum() / (n * n).sum()":
                               "return -(error[-1] - error[0]) / (n[-1] - n[0])"},
                "You use the first and the last point only; one error by chance then decides. Fit "
                "all of them.", 2),
        Mistake("mixed-bases", {"errors.double().log()": "errors.double().log2()"},
                "The two logarithms have different bases, so the slope is off by log(2). Any base "
                "will do, but one.", 3),
        Mistake("mean-of-slopes", {"return -(n * error).sum() / (n * n).sum()":
                                   "return -(error.diff() / n.diff()).mean()"},
                "You average the slopes between neighbours. Each of them gets the same weight, "
                "however short its piece; least squares lets points far from the middle count "
                "more.", 2),
        Mistake("steps-that-double", {"return -(n * error).sum() / (n * n).sum()":
                                      "return -error.diff().mean() / torch.tensor(2.0).log()"},
                "You divide by log(2), as if the steps doubled each time. They come with the "
                "errors: use their own logarithms.", 1),
        Mistake("last-two", {"return -(n * error).sum() / (n * n).sum()":
                             "return -(error[-1] - error[-2]) / (n[-1] - n[-2])"},
                "You take the slope of the last piece only. Each error holds a little chance; in a "
                "fit through all points it averages out.", 2),
        Mistake("correlation", {"(n * n).sum()": "((n * n).sum() * (error - error.mean()).square()"
                                                 ".sum()).sqrt()"},
                "That is the correlation, near 1 for every straight line. For the slope divide "
                "the covariance by the variance of log(n) alone.", 2),
        Mistake("std-for-variance", {"(n * n).sum()": "(n * n).sum().sqrt()"},
                "You divide the covariance by a standard deviation; the slope needs the variance.",
                2),
        Mistake("n-and-n-minus-one", {"(n * error).sum() / (n * n).sum()":
                                      "(n * error).mean() / n.var()"},
                "Your covariance is divided by K and your variance by K - 1, torch's default: the "
                "slope comes out too small by (K - 1) / K. Take sums, or the same for both.", 3),
        Mistake("denominator-not-centred", {"(n * n).sum()": "steps.double().log().square().sum()"},
                "The numerator is taken around the mean, the denominator is not: a variance is the "
                "mean square of the distance from the mean.", 3),
        Mistake("intercept", {"    n = n - n.mean()\n": "    m, n = n.mean(), n - n.mean()\n",
                              "return -(n * error).sum() / (n * n).sum()":
                              "return error.mean() - m * (n * error).sum() / (n * n).sum()"},
                "That is where the line crosses n = 1, the constant in front of n^-p. The order is "
                "in its slope.", 2)),
    "c08-heun": answer(
        heun_step,
        Mistake("euler", {"    y0 = denoise(y, s)\n": "    return y\n    y0 = denoise(y, s)\n"},
                "That is DDIM's step: one guess, at the beginning. Heun makes a second guess, at "
                "the end of that step, and adds the mean change to x. (If you mix both means anew "
                "at s, you get y back: x0 with its noise and y0 with its noise both make up y.)",
                1),
        Mistake("averages-x0-only",
                {"return x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps":
                 "return ddim_step(schedule, x, (x0 + y0) / 2, t, s)"},
                "You average the two x0 and take one step with the mean; the noise must be "
                "averaged, too, each computed from its own guess. Yours is no trapezoid.", 2),
        Mistake("eps-not-recomputed", {"((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2":
                                       "(x - a_t * x0) / s_t"},
                "The noise is not recomputed at s: you average x0, but eps stays that of the "
                "beginning.", 3),
        Mistake("guess-at-t", {"denoise(y, s)": "denoise(y, t)"},
                "y is at time s, but your second guess gets t: it will take signal for noise.",
                2),
        Mistake("guess-of-x", {"denoise(y, s)": "denoise(x, s)"},
                "Your second guess looks at x, which is still at time t. Make it at the end of the "
                "first step, y.", 2),
        Mistake("from-y", {"return x + (a_s": "return y + (a_s"},
                "You take the averaged step from y: that is two steps. It starts from x again, "
                "with a better slope.", 1),
        Mistake("not-halved", {"(x0 + y0) / 2 +": "(x0 + y0) +"},
                "The two x0 are added but not halved: the signal moves twice as far.", 3),
        Mistake("last-step", {"    if s == 0:\n        return y\n": ""},
                "At s = 0 sigma_s is 0, and the noise there is 0 / 0. The last step has nothing to "
                "correct: y, which is x0, is the answer.", 2),
        Mistake("guess-again-at-0", {"        return y\n": "        return denoise(y, s)\n"},
                "In the last step you call the network on its own guess. At t = 0 there is nothing "
                "to remove: return y, and save the call.", 2),
        Mistake("midpoint", {"    y0 = denoise(y, s)\n":
                             "    m = (t + s) / 2\n    a_m, s_m = schedule(m)\n"
                             "    y = ddim_step(schedule, x, x0, t, m)\n"
                             "    y0 = denoise(y, m)\n"
                             "    return x + (a_s - a_t) * y0 + (s_s - s_t) * (y - a_m * y0) / "
                             "s_m\n"},
                "That is the midpoint rule: one slope, from the middle of the step. It is of order "
                "2 as well, but Heun takes the mean of the slopes at both ends.", 1),
        Mistake("second-guess-only", {"return x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps":
                                      "return ddim_step(schedule, x, y0, t, s)"},
                "You repeat the step with the second guess and drop the first: the error has the "
                "other sign, and is about as large. The mean of both slopes cancels it.", 1),
        Mistake("noise-not-halved", {"((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2":
                                     "((x - a_t * x0) / s_t + (y - a_s * y0) / s_s)"},
                "The two noises are added but not halved: twice as much noise is removed.", 3),
        Mistake("second-noise-with-t", {"(y - a_s * y0) / s_s": "(y - a_t * y0) / s_t"},
                "y is at time s, so the noise in it is found with alpha_s and sigma_s; you take "
                "those of the step's beginning.", 2),
        Mistake("second-noise-from-x", {"(y - a_s * y0)": "(x - a_s * y0)"},
                "For the second noise you take y's guess away from x. The guess y0 was made from "
                "y: the noise that goes with it is in y.", 2),
        Mistake("edm-formula", {"    eps = ((x - a_t * x0) / s_t + (y - a_s * y0) / s_s) / 2\n"
                                "    return x + (a_s - a_t) * (x0 + y0) / 2 + (s_s - s_t) * eps":
                                "    return x + (s - t) * ((x - x0) / t + (y - y0) / s) / 2"},
                "That is EDM's slope, (x - x0) / t. It is right on Flow, where sigma = t and alpha "
                "= 1 - t, and wrong on Cosine: write the changes of alpha and sigma apart.", 3)),
    "c08-2m": answer(
        two_m,
        Mistake("sign", {"guess = x0 + (l_s": "guess = x0 - (l_s"},
                "Your extrapolation goes backwards, towards the guess before: the sign is "
                "reversed.", 3),
        Mistake("ratio", {"(l_s - l_t) / (2 * (l_t - l_u))": "(l_t - l_u) / (2 * (l_s - l_t))"},
                "The ratio is upside down: the coming step, l_s - l_t, is measured in units of the "
                "last one, l_t - l_u.", 3),
        Mistake("no-half", {"(2 * (l_t - l_u))": "(l_t - l_u)"},
                "You extrapolate to the end of the step. Its middle stands for the mean over "
                "it: half as far.", 2),
        Mistake("in-t", {"(half_log_snr(schedule, time) for time in (u, t, s))": "(u, t, s)"},
                "You extrapolate in t. The integral is one over lambda, so the ratio is of steps "
                "in half-log-SNR.", 2),
        Mistake("keeps-the-extrapolated", {"u, before = t, x0": "u, before = t, guess"},
                "You remember the extrapolated guess. The next step needs the network's output at "
                "t, or errors of one step are extrapolated by the next.", 3),
        Mistake("last-step", {"before is not None and s > 0": "before is not None"},
                "The last step is extrapolated, too, but lambda is infinite at s = 0: the result "
                "is no number. Take x0 as it is.", 2),
        Mistake("stale", {"u, before = t, x0": "u, before = (t, x0) if before is None else "
                                               "(u, before)"},
                "Your history is written once and never again: every step extrapolates from the "
                "very first guess.", 3),
        Mistake("plain-ddim", {"guess = x0 + (l_s - l_t) / (2 * (l_t - l_u)) * (x0 - before)":
                               "guess = x0"},
                "That is DDIM: the guess before is remembered but not used.", 1),
        Mistake("even-steps", {"(l_s - l_t) / (2 * (l_t - l_u))": "0.5"},
                "Half of the difference is right only if this step and the last one are equally "
                "long in lambda. In general the ratio of the two decides.", 3),
        Mistake("mean-of-two", {"guess = x0 + (l_s - l_t) / (2 * (l_t - l_u)) * (x0 - before)":
                                "guess = (x0 + before) / 2"},
                "You average the two guesses, which looks back to the middle of the last step. The "
                "line has to go on, to the middle of the coming one.", 1),
        Mistake("yields-the-extrapolated", {"        yield State(t, x, x0)\n": "",
                                            "        u, before = t, x0\n":
                                            "        yield State(t, x, guess)\n"
                                            "        u, before = t, x0\n"},
                "Your clip is right, but the states show the extrapolated guess; asked for is x0 "
                "as the network gave it.", 3),
        Mistake("network-at-s", {"denoise(x, t)": "denoise(x, s)"},
                "The network gets x, which is at time t, and is told that it is time s: it will "
                "take noise for signal.", 1),
        Mistake("last-state-missing", {"    yield State(s, x, x)\n": ""},
                "The result never comes out: after the loop yield State(s, x, x), or the caller "
                "gets the clip as it was before the last step.", 1),
        Mistake("old-time-kept", {"u, before = t, x0": "u, before = t if u is None else u, x0"},
                "The guess before is renewed but its time u is not: the last step seems longer and "
                "longer, and the extrapolation shrinks.", 3),
        WrongAnswer("previous-batch", previous_batch,
              "The first batch is right; the second begins with the guesses of the first. Start "
              "with an empty history in every call: a local variable.", 3)),
    "c08-grid": answer(
        log_snr_grid,
        Mistake("never-0", {"final, n, ": "final, n + 1, ",
                            "return torch.cat([ts, torch.zeros(1, dtype=torch.float64)])":
                            "return ts"},
                "Your grid ends at t_min: the result still has noise in it. The last time must be "
                "exactly 0.", 3),
        Mistake("one-too-many", {"final, n, ": "final, n + 1, "},
                "That is one step too many: n times from t_max to t_min and the 0 make n + 1.", 3),
        Mistake("uniform-t", {"torch.sigmoid(-torch.linspace(first, final, n, dtype=torch.float64"
                              "))": "torch.linspace(t_max, t_min, n, dtype=torch.float64)"},
                "Your times are even in t. Make lambda even and solve for t.", 1),
        Mistake("even-in-the-ratio", {"-torch.logit(ends)": "1 / ends - 1",
                                      "torch.sigmoid(-torch.linspace(first, final, n, "
                                      "dtype=torch.float64))": "1 / (1 + torch.linspace(first, "
                                      "final, n, dtype=torch.float64))"},
                "Your times are even in alpha / sigma, without its logarithm: nearly all of them "
                "lie near the data.", 1),
        Mistake("even-in-log-t", {"-torch.logit(ends)": "ends.log()",
                                  "torch.sigmoid(-torch.linspace": "torch.exp(torch.linspace"},
                "Your times are even in log(t). Near the data that is the same, since sigma = t "
                "there, but at the noise end alpha counts, too.", 1),
        Mistake("mirrored", {"-torch.linspace": "torch.linspace"},
                "The sign is lost on the way back: your t is 1 - t, so data and noise are "
                "exchanged.", 2),
        Mistake("half-and-whole", {"-torch.logit(ends)": "-2 * torch.logit(ends)"},
                "You take lambda for the whole log-SNR on the way there and for half of it on the "
                "way back, so the ends move. Either will do, both ways.", 2),
        Mistake("rising", {"cat([ts, torch.zeros(1, dtype=torch.float64)])":
                           "cat([torch.zeros(1, dtype=torch.float64), ts.flip(0)])"},
                "Your grid runs from data to noise. A sampler starts at the noise, so times fall.",
                1),
        Mistake("one-too-few", {"final, n, ": "final, n - 1, "},
                "That is one step too few: the n even times do not count the 0, which comes on "
                "top of them.", 3),
        Mistake("last-replaced", {"cat([ts, ": "cat([ts[:-1], "},
                "You put 0 in the place of t_min. Both belong to the grid: t_min is the last of "
                "the even times, 0 comes behind it.", 3),
        Mistake("one-in-front", {"cat([ts, ": "cat([torch.ones(1, dtype=torch.float64), ts, "},
                "You put t = 1 in front. There lambda is minus infinity, which is why the grid "
                "begins at t_max.", 3),
        Mistake("ends-exchanged", {"[t_max, t_min]": "[t_min, t_max]"},
                "The two ends are exchanged: the even times rise from t_min to t_max, and the last "
                "step falls from nearly pure noise to 0 at once.", 1),
        Mistake("single-precision", {"return torch.cat([ts, torch.zeros(1, dtype=torch.float64)])":
                                     "return torch.cat([ts, torch.zeros(1)]).float()"},
                "The times are right, but in float32; the docstring asks for float64. Solvers "
                "subtract neighbouring times, and few digits would be left of that.", 3),
        Mistake("cosine-inverse", {"torch.sigmoid(-torch.linspace(first, final, n, "
                                   "dtype=torch.float64))": "torch.atan(torch.exp(-torch.linspace("
                                   "first, final, n, dtype=torch.float64))) * 2 / torch.pi"},
                "You return from lambda to t as on the schedule Cosine, whose alpha / sigma is "
                "1 / tan(pi t / 2). Here it is Flow's, (1 - t) / t.", 2),
        Mistake("karras", {"-torch.logit(ends)": "ends ** (1 / 7)",
                           "torch.sigmoid(-torch.linspace(first, final, n, dtype=torch.float64))":
                           "torch.linspace(first, final, n, dtype=torch.float64) ** 7"},
                "That is EDM's grid, even in the seventh root of sigma. It crowds towards the "
                "data; asked for are equal steps in lambda.", 1)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c08-order",
     "line 3: errors.double() -> errors"):
        "Single precision differs by less than a check can ask for.",
    ("c08-grid",
     "line 5: torch.linspace(first, final, n, dtype=torch.float64) -> torch.linspace(first, "
     "final, n)"):
        "Single precision differs by less than a check can ask for.",
    ("c08-grid",
     "line 6: torch.zeros(1, dtype=torch.float64) -> torch.zeros(1)"):
        "Single precision differs by less than a check can ask for.",
}

RIGHT = {
    "c08-same": (1, (
        "DDPM draws new noise in every step; with another number of steps it draws others, and "
        "ends elsewhere.",
        "DDIM solves an equation that the noise determines; more steps solve the same one more "
        "exactly. DDPM draws new noise in every step.",
        "It is the other way round: DDPM's noise differs, DDIM draws none.",
        "DDIM draws no noise: its three clips approach the one solution that belongs to this "
        "noise.")),
    "c08-longest": (2, (
        "In t every step does. But lambda = log(alpha / sigma) is infinite at both ends, and "
        "there the steps are not small.",
        "Look at the two last times before 0, 2 / n and 1 / n: sigma halves between them.",
        "From t = 2 / n to 1 / n sigma halves, so lambda grows by about log 2 = 0.69, whatever n; "
        "at t = 1 alpha does the same. A solver that works in lambda never gets small steps "
        "there.")),
    "c08-bug": (1, (
        "First order means that the error halves when n doubles. Here it stays, and for the "
        "second-order sampler as well.",
        "x at t > 0 is alpha x0 + sigma eps: grain of standard deviation sigma, and no number of "
        "steps takes it away.",
        "float32 has seven digits; this error is in the second.",
        "Here the reference is a formula, exact to all digits.")),
}
