"""Chapter 09, few calls: the right answers and the common mistakes."""
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.course.answers import Mistake, answer
from minidiff.course.answers.ch08 import ddim_step
from minidiff.samplers import State
from minidiff.schedules import append_dims


def segment_target(schedule, x: Tensor, x_s: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The guess of x0 with which one step leads from x at t to x_s at s."""
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    ratio = s_s / s_t
    return (x_s - ratio * x) / (a_s - ratio * a_t)


def bend(ts: Tensor, path: Tensor) -> Tensor:
    """How bent each path is: the mean of |velocity - mean velocity|^2 / |mean velocity|^2."""
    dt = ts.diff()
    velocity = path.diff(dim=0).flatten(2) / dt.view(-1, 1, 1)                   # (n, B, D)
    mean = (path[-1] - path[0]).flatten(1) / (ts[-1] - ts[0])                    # (B, D)
    off = (velocity - mean).square().sum(-1)                                     # (n, B)
    return (dt.view(-1, 1) * off).sum(0) / dt.sum() / mean.square().sum(-1)


def consistency_loss(student, teacher, schedule, x: Tensor, t: Tensor, u: Tensor) -> Tensor:
    """The student's answers at t and, a small step of the teacher further on, at u."""
    with torch.no_grad():
        x_u = ddim_step(schedule, x, teacher(x, t), t, u)
        goal = student(x_u, u)
    error = (student(x, t) - goal) / schedule(t)[1].clamp(min=0.3)
    return error.square().flatten(1).mean(1)


def multistep(denoise, schedule, x: Tensor, ts: Tensor, randn_like):
    """Multistep consistency sampling as a generator of states."""
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        yield State(t, x, x0)
        alpha, sigma = schedule(s)
        x = alpha * x0 + sigma * randn_like(x)
    yield State(s, x, x)


def matching_loss(fake, teacher, schedule, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """A loss whose gradient moves clips towards the teacher's distribution."""
    with torch.no_grad():
        alpha, sigma = schedule(t)
        y = alpha * x + sigma * noise
        made, wanted = fake(y, t), teacher(y, t)
        size = (x - wanted).abs().flatten(1).mean(1)
        goal = x - (made - wanted) / append_dims(size, x)
    return (x - goal).square().flatten(1).mean(1) / 2


def two_halves(denoise, schedule, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The guess for one step from t to s that lands where two half steps do."""
    u = (t + s) / 2
    x_u = ddim_step(schedule, x, denoise(x, t, u), t, u)
    x_s = ddim_step(schedule, x_u, denoise(x_u, u, s), u, s)
    return segment_target(schedule, x, x_s, t, s)


ANSWERS = {
    "c09-target": answer(
        segment_target,
        Mistake("x-left-out", {"(x_s - ratio * x)": "x_s"},
                "Above the line x is missing: r x, what the step keeps of x, is part of x_s and no "
                "part of the guess.", 2),
        Mistake("ratio-of-times", {"s_s / s_t": "s / t"},
                "Your ratio is s / t. On Flow that is sigma_s / sigma_t, on other schedules not.",
                2),
        Mistake("flow-only", {"return (x_s - ratio * x) / (a_s - ratio * a_t)":
                              "return (t * x_s - s * x) / (t - s)"},
                "That is the formula of Flow, where sigma = t and alpha = 1 - t. On other "
                "schedules it leads elsewhere: write it with alpha and sigma.", 2),
        Mistake("where-it-lands", {"return (x_s - ratio * x) / (a_s - ratio * a_t)": "return x_s"},
                "You return the place where the path ends. There is still noise in it; asked for "
                "is the guess x0 with which one step leads there.", 1),
        Mistake("ratio-inverted", {"s_s / s_t": "s_t / s_s"},
                "The ratio is upside down: r = sigma_s / sigma_t, which is 0 for a step to the "
                "data.", 2),
        Mistake("ratio-of-alphas", {"s_s / s_t": "a_s / a_t"},
                "The ratio is one of noises, sigma_s / sigma_t, not of signals: the noise in x is "
                "what a step keeps a part of.", 2),
        Mistake("sign-below", {"(a_s - ratio * a_t)": "(a_s + ratio * a_t)"},
                "The sign below the line is reversed: r x holds r alpha_t x0, which counts against "
                "the alpha_s x0 that the step needs.", 2),
        Mistake("sign-above", {"(x_s - ratio * x)": "(x_s + ratio * x)"},
                "The sign above the line is reversed: what x contributes to x_s is taken away.",
                2),
        Mistake("not-divided", {" / (a_s - ratio * a_t)": ""},
                "You take the part of x away from x_s, but what is left is (alpha_s - r alpha_t) "
                "x0: divide.", 2),
        Mistake("by-alpha-only", {"(a_s - ratio * a_t)": "a_s"},
                "You divide by alpha_s alone. The step also takes away r alpha_t x0, the signal "
                "that is in r x.", 3),
        Mistake("times-below", {"(a_s - ratio * a_t)": "(a_t - ratio * a_s)"},
                "alpha_t and alpha_s are exchanged below the line: x_s has the signal alpha_s.",
                3),
        Mistake("ends-exchanged", {"(x_s - ratio * x)": "(x - ratio * x_s)"},
                "x and x_s are exchanged: the step begins at x and ends at x_s.", 2),
        Mistake("no-ratio", {"s_s / s_t": "s_s"},
                "r is sigma_s divided by sigma_t; you use sigma_s alone.", 2),
        Mistake("noise", {"return (x_s - ratio * x) / (a_s - ratio * a_t)":
                          "x0 = (x_s - ratio * x) / (a_s - ratio * a_t)\n"
                          "    return (x - a_t * x0) / s_t"},
                "You return the noise that goes with the guess; asked for is the guess.", 1),
        Mistake("variance-preserving", {"(a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)":
                                        "a_t, a_s = schedule(t)[0], schedule(s)[0]\n"
                                        "    s_t, s_s = (1 - a_t**2).sqrt(), (1 - a_s**2).sqrt()"},
                "You compute sigma from alpha as sqrt(1 - alpha^2). That holds on Cosine only; the "
                "schedule gives both.", 3),
        Mistake("velocity", {"return (x_s - ratio * x) / (a_s - ratio * a_t)":
                             "return (x - x_s) / (t - s)"},
                "That is the mean velocity from s to t. A student of flow matching could learn it, "
                "but asked for is the guess x0.", 1),
        Mistake("one-time", {"(a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)":
                             "(a_s, s_s), (a_t, s_t) = schedule(t), schedule(s)"},
                "The two times are exchanged: alpha_t and sigma_t belong to x, alpha_s and sigma_s "
                "to x_s.", 3),
        Mistake("squared-ratio", {"s_s / s_t": "(s_s / s_t)**2"},
                "Your ratio is one of variances. A step scales the noise itself, by sigma_s / "
                "sigma_t, without the square.", 2)),
    "c09-bend": answer(
        bend,
        Mistake("even-weights", {"(dt.view(-1, 1) * off).sum(0) / dt.sum()": "off.mean(0)"},
                "Every step counts the same in your mean. It is a mean over time: a step counts by "
                "its length.", 2),
        Mistake("not-relative", {" / mean.square().sum(-1)": ""},
                "Your number depends on how long the path is. Divide by the square of the mean "
                "velocity.", 3),
        Mistake("no-velocity", {" / dt.view(-1, 1, 1)": ""},
                "You take differences of places for velocities. On an uneven grid steps are long "
                "and short: divide each by its time.", 2),
        Mistake("mean-of-velocities", {"(path[-1] - path[0]).flatten(1) / (ts[-1] - ts[0])":
                                       "velocity.mean(0)"},
                "The plain mean of the steps' velocities is not the mean velocity: short steps "
                "count too much. Take the whole way over the whole time.", 2),
        Mistake("whole-way", {" / (ts[-1] - ts[0])": ""},
                "You compare velocities with the whole way, which is not divided by the whole "
                "time.", 2),
        Mistake("length-not-square", {"(velocity - mean).square().sum(-1)":
                                      "(velocity - mean).square().sum(-1).sqrt()"},
                "You average distances; the definition has their squares.", 3),
        Mistake("worst-step", {"(dt.view(-1, 1) * off).sum(0) / dt.sum()": "off.amax(0)"},
                "You take the most bent step; asked for is the mean over time.", 1),
        Mistake("one-number", {"return (dt.view(-1, 1) * off).sum(0) / dt.sum() / "
                               "mean.square().sum(-1)":
                               "return ((dt.view(-1, 1) * off).sum(0) / dt.sum() / "
                               "mean.square().sum(-1)).mean()"},
                "You average over the batch; return one number a path, (B,).", 3),
        Mistake("not-divided-by-time", {" / dt.sum()": ""},
                "The weights dt do not add up to 1 but to the whole time (which is negative, as "
                "times fall): divide by their sum.", 3),
        Mistake("from-the-first", {"(path[-1] - path[0]).flatten(1) / (ts[-1] - ts[0])":
                                   "velocity[0]"},
                "You compare with the velocity of the first step. A path that is straight but "
                "begins slowly would have a large value; compare with the mean velocity.", 2),
        Mistake("change-of-velocity", {"(velocity - mean).square().sum(-1)":
                                       "velocity.diff(dim=0).square().sum(-1)", "dt.view(-1, 1) * "
                                       "off": "dt[1:].view(-1, 1) * off"},
                "You measure how the velocity changes from step to step. With more steps these "
                "changes shrink, whatever the path: compare each velocity with the mean one.", 1),
        Mistake("distance-from-the-line", {"off = (velocity - mean).square().sum(-1)":
                                           "off = (path.flatten(2) - path[0].flatten(1) - (ts - "
                                           "ts[0]).view(-1, 1, 1) * mean).square().sum(-1)[1:]"},
                "You measure how far the places are from the straight line. Compare velocities.",
                1),
        Mistake("length-ratio", {"return (dt.view(-1, 1) * off).sum(0) / dt.sum() / "
                                 "mean.square().sum(-1)":
                                 "return path.diff(dim=0).flatten(2).norm(dim=-1).sum(0) / "
                                 "(path[-1] - path[0]).flatten(1).norm(dim=-1) - 1"},
                "You compare the length of the path with the distance of its ends. That misses a "
                "straight path walked unevenly, which costs a sampler steps, too.", 1),
        Mistake("mean-over-numbers", {"off = (velocity - mean).square().sum(-1)":
                                      "off = (velocity - mean).square().mean(-1)"},
                "Above you take the mean over a sample's numbers, below their sum: the result is "
                "too small by how many numbers a sample has.", 3),
        Mistake("root", {"return (dt.view(-1, 1) * off).sum(0) / dt.sum() / "
                         "mean.square().sum(-1)":
                         "return ((dt.view(-1, 1) * off).sum(0) / dt.sum() / "
                         "mean.square().sum(-1)).sqrt()"},
                "You take the root at the end; the definition is the ratio of squares itself.", 3),
        Mistake("of-each-step", {" / mean.square().sum(-1)": "",
                                 "off = (velocity - mean).square().sum(-1)":
                                 "off = (velocity - mean).square().sum(-1) / "
                                 "velocity.square().sum(-1)"},
                "You divide each step by its own velocity, which is 0 where a path rests. Divide "
                "by the mean velocity, the same for all steps.", 2)),
    "c09-consistency": answer(
        consistency_loss,
        Mistake("goal-learns", {"with torch.no_grad():": "if True:"},
                "Gradients go through the goal, too: answers at less noise, which are right first, "
                "are pulled towards those at more noise. Compute the goal inside "
                "torch.no_grad().", 1),
        Mistake("goal-outside", {"        goal = student(x_u, u)\n": "",
                                 "    error = ": "    goal = student(x_u, u)\n    error = "},
                "Only the small step is computed without gradients. The goal, student(x_u, u), "
                "still moves the student's weights: compute it inside torch.no_grad(), too.", 1),
        Mistake("the-other-learns", {"with torch.no_grad():": "if True:",
                                     "(student(x, t) - goal)": "(student(x, t).detach() - goal)"},
                "The wrong answer learns: the goal at u has gradients, the answer at t none. What "
                "is known at less noise should teach what is asked at more.", 1),
        Mistake("teachers-guess", {"goal = student(x_u, u)": "goal = teacher(x_u, u)"},
                "Your goal is the teacher's guess at u, which is a mean, not an end of the path. "
                "The student's own answer at u is the goal.", 2),
        Mistake("same-guess", {"goal = student(x_u, u)": "goal = teacher(x, t)"},
                "Your goal is the teacher's guess at t: the student becomes a copy of the teacher, "
                "with as many calls.", 1),
        Mistake("students-step", {"teacher(x, t), t, u)": "student(x, t), t, u)"},
                "The small step is taken with the student's guess. That one leads to the end in "
                "one long step; a small step needs the teacher's.", 2),
        Mistake("teacher-at-u", {"teacher(x, t), t, u)": "teacher(x, u), t, u)"},
                "The teacher looks at x, which is at time t, and is told that it is u.", 2),
        Mistake("time-for-sigma", {"schedule(t)[1].clamp": "t.clamp"},
                "You divide by t. On Flow it is sigma_t, on other schedules not: ask the schedule.",
                2),
        Mistake("added-weight", {".clamp(min=0.3)": " + 0.3"},
                "You divide by sigma_t + 0.3; the text has the larger of sigma_t and 0.3.", 2),
        Mistake("limit-above", {"clamp(min=0.3)": "clamp(max=0.3)"},
                "You divide by the smaller of sigma_t and 0.3; the text has the larger.", 2),
        Mistake("not-moved", {"goal = student(x_u, u)": "goal = student(x, u)"},
                "The student looks at x, which is still at time t, and is told that it is u. Move "
                "x by the teacher's step first.", 2),
        Mistake("old-time", {"goal = student(x_u, u)": "goal = student(x_u, t)"},
                "The point has moved to u, but the student is told that it is still at t.", 2),
        Mistake("weight-missing", {" / schedule(t)[1].clamp(min=0.3)": ""},
                "The weight is missing: divide the difference by max(sigma_t, 0.3).", 3),
        Mistake("no-clamp", {".clamp(min=0.3)": ""},
                "Your weight has no limit: near the data sigma is tiny, and a few samples there "
                "drown all others. max(sigma_t, 0.3) is what the text divides by.", 2),
        Mistake("multiplied", {"goal) / schedule": "goal) * schedule"},
                "You multiply by sigma; an error weighs more at less noise, so divide.", 3),
        Mistake("weight-of-u", {"schedule(t)[1]": "schedule(u)[1]"},
                "The weight is that of u; it belongs to the answer that learns, at t.", 3),
        Mistake("alpha", {"schedule(t)[1]": "schedule(t)[0]"},
                "You divide by alpha. A schedule returns (alpha, sigma): sigma is the second.", 3),
        Mistake("one-number", {".flatten(1).mean(1)": ".mean()"},
                "You average over the batch; return one number a sample, (B,).", 3),
        Mistake("sum", {".flatten(1).mean(1)": ".flatten(1).sum(1)"},
                "You add a sample's squares up; take their mean.", 3),
        Mistake("absolute", {"error.square()": "error.abs()"},
                "You average absolute differences; the loss has squares.", 3),
        Mistake("weight-squared-away", {"error.square().flatten(1).mean(1)":
                                        "(error.square() * schedule(t)[1].clamp(min=0.3))."
                                        "flatten(1).mean(1)"},
                "The square of the difference is divided by max(sigma_t, 0.3) once. Divide the "
                "difference, then square, so that it counts twice.", 3),
        Mistake("jump-to-the-guess", {"x_u = ddim_step(schedule, x, teacher(x, t), t, u)":
                                      "x_u = teacher(x, t)"},
                "You take the teacher's guess for the point at u. Only a step towards it is taken: "
                "ddim_step from t to u.", 2),
        Mistake("step-back", {"teacher(x, t), t, u)": "teacher(x, t), u, t)"},
                "The step's times are exchanged: it leads from t to u.", 3)),
    "c09-multistep": answer(
        multistep,
        Mistake("same-noise", {"    for t, s in pairwise(ts):\n":
                               "    noise = randn_like(x)\n    for t, s in pairwise(ts):\n",
                               "sigma * randn_like(x)": "sigma * noise"},
                "The noise is drawn once, in front of the loop. New noise in every step is what "
                "lets a later call repair an earlier one.", 2),
        Mistake("implied-noise", {"        yield State(t, x, x0)\n":
                                  "        yield State(t, x, x0)\n        a_t, s_t = schedule(t)\n",
                                  "sigma * randn_like(x)": "sigma * (x - a_t * x0) / s_t"},
                "That is DDIM: you keep the noise that x and the guess imply. Here the noise is "
                "new.", 1),
        Mistake("no-noise", {" + sigma * randn_like(x)": ""},
                "You scale the guess but add no noise: at time s the student expects noise of "
                "standard deviation sigma_s.", 2),
        Mistake("noise-of-t", {"schedule(s)": "schedule(t)"},
                "You noise the guess to time t again; the next call is at s.", 2),
        Mistake("noises-x", {"alpha * x0 + sigma": "alpha * x + sigma"},
                "You add noise to x, which is noisy already. It is the guess that is noised anew.",
                1),
        Mistake("alpha-missing", {"alpha * x0 + sigma": "x0 + sigma"},
                "The guess keeps its full size; at time s the signal has the factor alpha_s.", 2),
        Mistake("start-again", {"    for t, s in pairwise(ts):\n":
                                "    start = x\n    for t, s in pairwise(ts):\n",
                                "sigma * randn_like(x)": "sigma * start"},
                "You use the noise of the start again in every step. Draw new noise.", 2),
        Mistake("last-state-missing", {"    yield State(s, x, x)\n": ""},
                "The result never comes out: after the loop yield State(s, x, x).", 3),
        Mistake("old-guess-last", {"yield State(s, x, x)": "yield State(s, x, x0)"},
                "In the last state x0 is x; you show the guess before it, which is the same only "
                "if the grid ends at 0.", 3),
        Mistake("old-time-last", {"yield State(s, x, x)": "yield State(t, x, x)"},
                "The last state is at the grid's last time, s.", 3),
        Mistake("one-call-more", {"yield State(s, x, x)": "yield State(s, x, denoise(x, s))"},
                "You call the network once more at the end. In the last state x0 is x.", 3),
        Mistake("network-at-s", {"denoise(x, t)": "denoise(x, s)"},
                "The network gets x, which is at time t, and is told that it is time s.", 1),
        Mistake("state-late", {"        yield State(t, x, x0)\n": "",
                               "sigma * randn_like(x)\n":
                               "sigma * randn_like(x)\n        yield State(t, x, x0)\n"},
                "Your states show x after the step; asked for is x as the network saw it, with the "
                "guess made from it.", 3),
        Mistake("guess-not-shown", {"yield State(t, x, x0)": "yield State(t, x, x)"},
                "The states hold x twice; the third entry is the guess x0.", 3),
        Mistake("variance", {"sigma * randn_like(x)": "sigma**2 * randn_like(x)"},
                "You multiply the noise by sigma^2, its variance. sigma is the standard deviation, "
                "the factor itself.", 2),
        Mistake("variance-preserving", {"alpha, sigma = schedule(s)":
                                        "alpha = schedule(s)[0]\n"
                                        "        sigma = (1 - alpha**2).sqrt()"},
                "You compute sigma from alpha as sqrt(1 - alpha^2). That holds on Cosine only; the "
                "schedule gives both.", 2),
        Mistake("flow-only", {"alpha, sigma = schedule(s)": "alpha, sigma = 1 - s, s"},
                "alpha = 1 - s and sigma = s hold on Flow only; ask the schedule.", 2),
        Mistake("one-step-short", {"pairwise(ts)": "pairwise(ts[:-1])",
                                   "yield State(s, x, x)": "yield State(ts[-1], x, x)"},
                "One step is missing: the grid's last pair leads to its last time.", 3)),
    "c09-matching": answer(
        matching_loss,
        Mistake("sign", {"x - (made - wanted) /": "x + (made - wanted) /"},
                "The sign is reversed: clips move away from the teacher's, and faster and faster. "
                "They move against the push, (fake - teacher) / size.", 2),
        Mistake("gradient-through-all", {"with torch.no_grad():": "if True:"},
                "Gradients go through both denoisers: x is moved by how they change, not by what "
                "they say. Compute the push and the goal inside torch.no_grad().", 2),
        Mistake("denoisers-learn", {
            "        made, wanted = fake(y, t), teacher(y, t)\n": "",
            "    with torch.no_grad():\n        alpha, sigma": "    with torch.no_grad():\n"
            "        alpha, sigma",
            "        size = (x - wanted)": "    made, wanted = fake(y, t), teacher(y, t)\n"
            "    with torch.no_grad():\n        size = (x - wanted)",
            "        goal = x - (made - wanted) / append_dims(size, x)\n":
            "    goal = x.detach() - (made - wanted) / append_dims(size, x)\n"},
                "Gradients reach the weights of the fake and the teacher: they would be changed by "
                "the student's loss. Call both inside torch.no_grad().", 2),
        Mistake("factor-kept", {"(made - wanted) / append_dims(size, x)":
                                "(alpha / sigma)**2 * (made - wanted) / append_dims(size, x)"},
                "You keep the factor alpha^2 / sigma^2 of the scores. The size takes its place.",
                2),
        Mistake("size-of-the-noised", {"size = (x - wanted)": "size = (y - wanted)"},
                "You take the distance from the noised y to the teacher's guess; the text has that "
                "from x.", 3),
        Mistake("size-summed", {".abs().flatten(1).mean(1)": ".abs().flatten(1).sum(1)"},
                "The size is the mean over a sample's numbers, not their sum.", 3),
        Mistake("size-missing", {" / append_dims(size, x)": ""},
                "The size below the line is missing: without it samples at high noise, where both "
                "guesses differ most, drown all others.", 2),
        Mistake("size-of-the-batch", {"(x - wanted).abs().flatten(1).mean(1)":
                                      "(x - wanted).abs().mean().expand(len(x))"},
                "You divide by one size for the whole batch; each sample has its own.", 2),
        Mistake("size-squared", {"(x - wanted).abs()": "(x - wanted).square()"},
                "Below the line stands the mean of |x - teacher|, not of its square: the push then "
                "shrinks where it is needed.", 3),
        Mistake("rms", {"(x - wanted).abs().flatten(1).mean(1)":
                        "(x - wanted).square().flatten(1).mean(1).sqrt()"},
                "You divide by the root of the mean square; the text has the mean of the absolute "
                "values.", 3),
        Mistake("size-of-the-fake", {"size = (x - wanted)": "size = (x - made)"},
                "The size is the distance from x to the fake's guess; it should be to the "
                "teacher's. Or are the two denoisers exchanged? Then clips move away from the "
                "teacher.", 3),
        Mistake("size-of-the-push", {"size = (x - wanted)": "size = (made - wanted)"},
                "You divide the difference by its own size: every sample then gets a step of the "
                "same length, also if the two agree.", 2),
        Mistake("not-noised", {"y = alpha * x + sigma * noise": "y = x"},
                "Both denoisers look at x without noise. Only after noising do the two densities "
                "overlap: y = alpha x + sigma noise.", 2),
        Mistake("alpha-and-sigma", {"alpha, sigma = schedule(t)": "sigma, alpha = schedule(t)"},
                "alpha and sigma are exchanged: a schedule returns (alpha, sigma).", 2),
        Mistake("alpha-missing", {"alpha * x + sigma * noise": "x + sigma * noise"},
                "You noise x without its factor alpha; the denoisers expect alpha x + sigma noise.",
                2),
        Mistake("teacher-unnoised", {"teacher(y, t)": "teacher(x, t)"},
                "The fake sees y, the teacher x. Both must see the same noised sample.", 2),
        Mistake("teachers-mean", {"x - (made - wanted) / append_dims(size, x)": "wanted"},
                "Your goal is the teacher's guess. That is a mean, so clips become blurred; the "
                "fake's guess has to be taken away from it.", 1),
        Mistake("no-fake", {"(made - wanted) /": "(x - wanted) /"},
                "The fake denoiser is not used: you pull x towards the teacher's guess, its most "
                "likely clip, and variety is lost. The fake's guess is what holds against it.", 1),
        Mistake("not-halved", {".mean(1) / 2": ".mean(1)"},
                "The loss is not halved: its gradient is twice the push.", 1),
        Mistake("sum", {"goal).square().flatten(1).mean(1)": "goal).square().flatten(1).sum(1)"},
                "You add a sample's squares up; take their mean.", 3),
        Mistake("one-number", {"goal).square().flatten(1).mean(1)": "goal).square().mean()"},
                "You average over the batch; return one number a sample, (B,).", 3)),
    "c09-halves": answer(
        two_halves,
        Mistake("aims-too-far", {"denoise(x, t, u)": "denoise(x, t, s)"},
                "The first half aims at s, but it ends at u: the network's second time is where "
                "the step leads.", 2),
        Mistake("times-exchanged", {"denoise(x, t, u)": "denoise(x, u, t)",
                                    "denoise(x_u, u, s)": "denoise(x_u, s, u)"},
                "The network's times are exchanged: first the time of x, then where the step "
                "ends.", 2),
        Mistake("length-for-end", {"denoise(x, t, u)": "denoise(x, t, t - u)",
                                   "denoise(x_u, u, s)": "denoise(x_u, u, u - s)"},
                "You tell the network how long the step is; it wants to know where it ends.", 2),
        Mistake("second-step-from-t", {"denoise(x_u, u, s), u, s)": "denoise(x_u, u, s), t, s)"},
                "The second step begins at time t again; x_u is at time u.", 2),
        Mistake("second-from-the-start", {"denoise(x_u, u, s)": "denoise(x, u, s)"},
                "The second guess looks at x, where the first half began. It is made at x_u.", 2),
        Mistake("second-at-t", {"denoise(x_u, u, s)": "denoise(x_u, t, s)"},
                "The second guess is told that it is at t; x_u is at time u.", 2),
        Mistake("steps-from-the-start", {"ddim_step(schedule, x_u, denoise(x_u, u, s), u, s)":
                                         "ddim_step(schedule, x, denoise(x_u, u, s), u, s)"},
                "The second half begins at x again. It goes on from x_u.", 2),
        Mistake("returns-the-end", {"return segment_target(schedule, x, x_s, t, s)": "return x_s"},
                "You return the place where the two halves end. Turn it into a guess with "
                "segment_target.", 1),
        Mistake("one-half", {"return segment_target(schedule, x, x_s, t, s)":
                             "return segment_target(schedule, x, x_u, t, u)"},
                "Only the first half counts: your guess leads from t to u.", 1),
        Mistake("mean-of-guesses", {"return segment_target(schedule, x, x_s, t, s)":
                                    "return (denoise(x, t, u) + denoise(x_u, u, s)) / 2"},
                "You average the two guesses. The guess that lands at the same place weighs them "
                "by what each step does; segment_target knows how.", 1),
        Mistake("second-guess", {"return segment_target(schedule, x, x_s, t, s)":
                                 "return denoise(x_u, u, s)"},
                "You return the second guess alone. It leads from u to s, not from t.", 1),
        Mistake("own-long-step", {"return segment_target(schedule, x, x_s, t, s)":
                                  "return denoise(x, t, s)"},
                "You return the network's own guess for the long step: it would learn nothing. The "
                "goal comes from the two halves.", 1),
        Mistake("half-of-t", {"(t + s) / 2": "t / 2"},
                "The time between t and s is (t + s) / 2; yours is right for s = 0 only.", 2),
        Mistake("geometric", {"(t + s) / 2": "(t * s).sqrt()"},
                "You take the geometric mean of the times, which is 0 for a step to the data. Half "
                "way is (t + s) / 2.", 2),
        Mistake("from-the-middle", {"segment_target(schedule, x, x_s, t, s)":
                                    "segment_target(schedule, x_u, x_s, t, s)"},
                "The long step begins at x, not at x_u.", 3),
        Mistake("target-times", {"segment_target(schedule, x, x_s, t, s)":
                                 "segment_target(schedule, x, x_s, s, t)"},
                "The times of segment_target are exchanged: it leads from t to s.", 3),
        Mistake("plain-guesses", {"denoise(x, t, u)": "denoise(x, t, t)",
                                  "denoise(x_u, u, s)": "denoise(x_u, u, u)"},
                "Both halves use the guess for steps of length 0, the ordinary denoiser's: that is "
                "two steps of DDIM. Each half is a step of the network's own, with its length.",
                2),
        Mistake("full-first", {"denoise(x, t, u), t, u)": "denoise(x, t, u), t, s)"},
                "The first step goes all the way to s; it ends at u.", 2),
        Mistake("second-too-short", {"denoise(x_u, u, s), u, s)": "denoise(x_u, u, u), u, s)"},
                "The second guess is for a step of length 0; this step leads to s.", 2)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
SQUARED = "Squared afterwards, so the sign does not count."
NO_GRADIENT_HERE = "Inside no_grad there are no gradients to stop."
TIMES = "No training differentiates by the time, so the checks let no gradient through it."
EQUIVALENT = {
    ("c09-bend", "line 7: -1 -> 1"):
        "The tensor has two axes, so the last one is number 1.",
    ("c09-bend", "line 6: velocity - mean -> mean - velocity"): SQUARED,
    ("c09-consistency", "line 6: student(x, t) - goal -> goal - student(x, t)"): SQUARED,
    ("c09-consistency", "line 6: schedule(t)[1].clamp(min=0.3) -> "
     "schedule(t)[1].clamp(min=0.3).detach()"): TIMES,
    ("c09-consistency", "line 6: t -> t.detach()"): TIMES,
    **{("c09-consistency", f"line {line}: {v} -> {v}.detach()"): NO_GRADIENT_HERE
       for line, v in ((4, "x"), (4, "t"), (4, "u"), (5, "u"))},
    **{("c09-matching", f"line {line}: {v} -> {v}.detach()"): NO_GRADIENT_HERE
       for line, v in ((4, "t"), (5, "x"), (5, "noise"), (6, "t"), (7, "x"), (8, "x"),
                       (7, "(x - wanted).abs()"), (7, "(x - wanted).abs().flatten(1)"),
                       (7, "(x - wanted).abs().flatten(1).mean(1)"))},
    ("c09-matching", "line 7: x - wanted -> wanted - x"): "An absolute value is taken of it.",
    ("c09-matching", "line 9: x - goal -> goal - x"): SQUARED,
}

RIGHT = {
    "c09-cloud": (1, (
        "A guess of x0 is the mean over all clips that fit x_t. At t = 1 every clip of this digit "
        "fits, so it is no clip.",
        "At t = 1 there is no data in x_t, so the best guess is the mean of all clips of the "
        "digit. This network takes some of the noise for a place, which moves the cloud; it still "
        "shows a mean, and one call of a denoiser can show nothing else.",
        "DDIM's last step returns the guess, and there is no noise in a mean.")),
    "c09-peaks": (2, (
        "Left it does: under much noise both peaks are one hill, as wide as both. But a student "
        "that is compared under little noise only pays for what it makes between the peaks.",
        "Right it does. But under much noise both peaks are one hill, and a student on one side of "
        "it is too narrow.",
        "A student pays for making what the teacher does not make, not for leaving out. So with "
        "little noise it takes one peak. Under much noise the peaks are one hill, and all of its "
        "width counts. The levels of noise decide how much variety is kept.",
        "The other way round: noise joins the peaks to one hill, which has to be covered.")),
    "c09-alone": (1, (
        "There is no teacher, but there are gaps: the same noise at both times stands for the "
        "flow only if the gap is small.",
        "On average over all data and noise that pass a point, the step leads where DDIM's does, "
        "and for a Gaussian the average is all that counts. So the two errors are equal.",
        "One by one they are, but the student's answer is their mean, and that is DDIM's "
        "step.")),
    "c09-bug": (2, (
        "Right as it is. With gradients through the goal this student ends at nearly the same "
        "place: 0.97 from the middle.",
        "The weight changes how fast each time is learnt. Without it points end 0.95 from the "
        "middle, not near it.",
        "After a random step many ends are possible, and the best answer is their mean: the blur "
        "that the student was to be spared.",
        "With 64 times in place of 16 a right student's points are 1.00 from the middle, with 16 "
        "0.98: a few percent.")),
}
