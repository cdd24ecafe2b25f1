"""Chapter 10, first frame and editing: the right answers and the common mistakes."""
import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from minidiff.course.answers import Mistake, answer
from minidiff.course.answers.ch08 import eta_step
from minidiff.samplers import State


def noise_again(schedule, x: Tensor, s: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """From x at time s back to time t, with new noise."""
    (a_s, s_s), (a_t, s_t) = schedule(s), schedule(t)
    ratio = a_t / a_s
    return ratio * x + (s_t**2 - (ratio * s_s)**2).sqrt() * noise


def repaint(denoise, schedule, x: Tensor, ts: Tensor, repeats: int, randn_like):
    """RePaint as a generator of states."""
    for t, s in pairwise(ts):
        for left in reversed(range(repeats if s > 0 else 1)):
            x0 = denoise(x, t)
            yield State(t, x, x0)
            x = eta_step(schedule, x, x0, t, s, 1.0, randn_like(x))
            if left:
                x = noise_again(schedule, x, s, t, randn_like(x))
    yield State(s, x, x)


def grow(conv: nn.Conv2d, more: int) -> nn.Conv2d:
    """A copy of a convolution with more input channels, whose weights are 0."""
    larger = copy.deepcopy(conv)
    extra = conv.weight.new_zeros(len(conv.weight), more, *conv.kernel_size)
    larger.weight = nn.Parameter(torch.cat([conv.weight, extra], 1))
    larger.in_channels += more
    return larger


def draw_masks(u: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Where clips are known, from uniform numbers."""
    T, H, W = shape
    drop, kind, share = (u[:, k].view(-1, 1, 1, 1, 1) for k in range(3))
    frame, column = torch.arange(T).view(-1, 1, 1, 1), torch.arange(W)
    first, any_frames = frame == 0, u[:, 3:, None, None, None] < share
    ends = torch.where(kind < 0.25, first, first | (frame == T - 1))
    parts = torch.where(kind < 0.75, any_frames, column < share * W)
    return (torch.where(kind < 0.5, ends, parts) & (drop >= 0.1)).expand(-1, T, 1, H, W)


def network_input(x: Tensor, given: Tensor, where: Tensor) -> Tensor:
    """What the network sees: x, the given pixels and the mask."""
    return torch.cat([x, torch.where(where, given, 0), where], -3)


def edit_start(schedule, clip: Tensor, noise: Tensor, ts: Tensor,
               t0: Tensor) -> tuple[Tensor, Tensor]:
    """Where SDEdit begins: x at t0, and the grid from there."""
    alpha, sigma = schedule(t0)
    return alpha * clip + sigma * noise, torch.cat([t0[None], ts[ts < t0]])


ANSWERS = {
    "c10-again": answer(
        noise_again,
        Mistake("difference-of-variances", {"(ratio * s_s)**2": "s_s**2"},
                "Your new noise has the variance sigma_t^2 - sigma_s^2. The old noise is scaled by "
                "r as well, so only (r sigma_s)^2 of it is left.", 2),
        Mistake("not-scaled", {"ratio * x +": "x +"},
                "x keeps its full size. Its data part must shrink from alpha_s to alpha_t: "
                "multiply by r = alpha_t / alpha_s.", 1),
        Mistake("full-noise", {"(s_t**2 - (ratio * s_s)**2).sqrt()": "s_t"},
                "You add noise of size sigma_t, but x_s holds noise already: together that is too "
                "much.", 1),
        Mistake("difference-of-sizes", {"(s_t**2 - (ratio * s_s)**2).sqrt()": "(s_t - s_s)"},
                "You subtract standard deviations. Independent noises add their variances.", 2),
        Mistake("scaled-difference-of-sizes",
                {"(s_t**2 - (ratio * s_s)**2).sqrt()": "(s_t - ratio * s_s)"},
                "You subtract standard deviations, sigma_t - r sigma_s. Independent noises add "
                "their variances.", 2),
        Mistake("ratio-inverted", {"a_t / a_s": "a_s / a_t"},
                "The ratio is upside down: from s back to t the data shrink, so r = alpha_t / "
                "alpha_s.", 1),
        Mistake("no-root", {".sqrt()": ""},
                "You multiply the noise by its variance. Take the root: the standard deviation.",
                2),
        Mistake("as-if-data", {"ratio * x +": "a_t * x +",
                               "(s_t**2 - (ratio * s_s)**2).sqrt()": "s_t"},
                "You noise x_s as if it were clean data. It is at time s: only what is missing "
                "between s and t comes on top.", 1),
        Mistake("scaled-by-alpha", {"ratio * x +": "a_t * x +"},
                "You multiply x by alpha_t. The data in it have alpha_s already: the factor is "
                "alpha_t / alpha_s.", 1),
        Mistake("ratio-not-squared", {"(ratio * s_s)**2": "ratio * s_s**2"},
                "The old noise has size r sigma_s, so its variance is r^2 sigma_s^2: square the "
                "ratio, too.", 2),
        Mistake("ratio-of-noises", {"a_t / a_s": "s_t / s_s.clamp(min=1e-3)"},
                "Your ratio is one of noises. What is scaled to its new size is the data: r = "
                "alpha_t / alpha_s.", 1),
        Mistake("variance-preserving", {"(s_t**2 - (ratio * s_s)**2)": "(1 - ratio**2)"},
                "sqrt(1 - r^2) is right where alpha^2 + sigma^2 = 1, as for Cosine. On other "
                "schedules it is not: write it with both sigmas.", 2),
        Mistake("flow-only", {"(a_s, s_s), (a_t, s_t) = schedule(s), schedule(t)":
                              "a_s, s_s, a_t, s_t = 1 - s, s, 1 - t, t"},
                "alpha = 1 - t and sigma = t hold for Flow only. Ask the schedule.", 3),
        Mistake("times-exchanged", {"schedule(s), schedule(t)": "schedule(t), schedule(s)",
                                    "- (ratio * s_s)**2).sqrt()":
                                    "- (ratio * s_s)**2).abs().sqrt()"},
                "s and t are exchanged: x is at s, the less noisy time, and must get to t.", 1),
        Mistake("sum", {"s_t**2 - (ratio * s_s)**2": "s_t**2 + (ratio * s_s)**2"},
                "You add the variance of the old noise. It is there already: subtract it from "
                "sigma_t^2.", 2),
        Mistake("no-noise", {" + (s_t**2 - (ratio * s_s)**2).sqrt() * noise": ""},
                "You scale x but add no noise: at time t the network expects noise of size "
                "sigma_t.", 2),
        Mistake("noise-scaled-too", {"ratio * x + (s_t**2 - (ratio * s_s)**2).sqrt() * noise":
                                     "ratio * (x + (s_t**2 - s_s**2).sqrt() * noise)"},
                "You add noise first and scale the sum. The new noise must not be scaled: it is "
                "added after x has shrunk.", 2)),
    "c10-repaint": answer(
        repaint,
        Mistake("stays-at-s", {"            if left:\n                x = noise_again(schedule, x, "
                               "s, t, randn_like(x))\n": ""},
                "Between two repeats x stays at time s, but the network is told t. Noise it back "
                "to t first.", 1),
        Mistake("back-every-time", {"if left:": "if s > 0:"},
                "You go back to t after the last repeat, too. Then the next step begins at s with "
                "an x that is at t.", 2),
        Mistake("last-step-repeated", {"repeats if s > 0 else 1": "repeats"},
                "The step to s = 0 is repeated, too. What it makes has no noise left to fit "
                "anything to: make it once.", 2),
        Mistake("one-repeat-less", {"repeats if s > 0 else 1": "max(1, repeats - 1) if s > 0 "
                                    "else 1"},
                "One repeat is missing: a step is made `repeats` times in all.", 2),
        Mistake("one-repeat-more", {"repeats if s > 0 else 1": "repeats + 1 if s > 0 else 1"},
                "One repeat too many: a step is made `repeats` times in all, the first one "
                "counted.", 2),
        Mistake("no-repeats", {"repeats if s > 0 else 1": "1"},
                "Every step is made once: that is DDPM, without going back.", 1),
        Mistake("loop-of-loops", {"    for t, s in pairwise(ts):\n        for left in "
                                  "reversed(range(repeats if s > 0 else 1)):\n":
                                  "    for left in reversed(range(repeats)):\n        for t, s in "
                                  "pairwise(ts):\n", "if left:": "if left and s > 0:"},
                "Your loops are exchanged: each step is repeated on the spot, before the next one "
                "begins. You run the whole grid again.", 1),
        Mistake("old-guess", {"            x0 = denoise(x, t)\n            yield State(t, x, x0)\n":
                              "            if left == (repeats if s > 0 else 1) - 1:\n"
                              "                x0 = denoise(x, t)\n"
                              "            yield State(t, x, x0)\n"},
                "The network is asked once a step and its guess is used for all repeats. What was "
                "made must be seen before it can be mended: ask again.", 1),
        Mistake("deterministic", {"s, 1.0, randn_like(x)": "s, 0.0, randn_like(x)"},
                "Your step is DDIM's, eta = 0. RePaint's is DDPM's: eta = 1.", 2),
        Mistake("back-as-data", {"x = noise_again(schedule, x, s, t, randn_like(x))":
                                 "x = schedule(t)[0] * x + schedule(t)[1] * randn_like(x)"},
                "You noise x as if it were clean. It is at time s: noise_again adds what is "
                "missing up to t.", 2),
        Mistake("guess-noised", {"x = noise_again(schedule, x, s, t, randn_like(x))":
                                 "x = schedule(t)[0] * x0 + schedule(t)[1] * randn_like(x)"},
                "You noise the guess to t and forget the step: noise_again begins at x_s.", 2),
        Mistake("network-at-s", {"denoise(x, t)": "denoise(x, s)"},
                "The network gets x at time t and is told that it is s.", 1),
        Mistake("state-late", {"            yield State(t, x, x0)\n": "",
                               "            if left:\n": "            yield State(t, x, x0)\n"
                               "            if left:\n"},
                "Your states show x after the step; asked for is x as the network saw it, with the "
                "guess made from it.", 3),
        Mistake("one-state-a-step", {"            yield State(t, x, x0)\n":
                                     "            if not left:\n"
                                     "                yield State(t, x, x0)\n"},
                "You yield one state a step. Every call of the network has a state of its own.",
                3),
        Mistake("last-state-missing", {"    yield State(s, x, x)\n": ""},
                "The result never comes out: behind both loops yield State(s, x, x).", 3),
        Mistake("old-time-last", {"yield State(s, x, x)": "yield State(t, x, x)"},
                "The last state is at the grid's last time, s.", 3),
        Mistake("old-guess-last", {"yield State(s, x, x)": "yield State(s, x, x0)"},
                "In the last state x0 is x; you show the guess before it, which is the same only "
                "if the grid ends at 0.", 3),
        Mistake("guess-not-shown", {"yield State(t, x, x0)": "yield State(t, x, x)"},
                "The states hold x twice; the third entry is the guess x0.", 3),
        Mistake("same-noise", {"x = eta_step(schedule, x, x0, t, s, 1.0, randn_like(x))":
                               "noise = randn_like(x)\n"
                               "            x = eta_step(schedule, x, x0, t, s, 1.0, noise)",
                               "s, t, randn_like(x))": "s, t, noise)"},
                "The noise of the step is used again on the way back. New noise is what makes "
                "another try possible.", 2)),
    "c10-grow": answer(
        grow,
        Mistake("in-front", {"[conv.weight, extra]": "[extra, conv.weight]"},
                "The new channels are in front of the old ones, so x meets weights that are 0. "
                "They come behind.", 2),
        Mistake("small", {"new_zeros(len(conv.weight), more, *conv.kernel_size)":
                          "new_full((len(conv.weight), more, *conv.kernel_size), 0.01)"},
                "The new weights are small, but not 0: from the first step on the output is "
                "another one.", 1),
        Mistake("ones", {"new_zeros": "new_ones"},
                "The new weights are 1: what is given is added to all features at once. They begin "
                "at 0.", 1),
        Mistake("the-old-one", {"copy.deepcopy(conv)": "conv"},
                "You change the convolution that was given. Others may still use it: copy it "
                "first.", 2),
        Mistake("old-weights-copied", {"extra = conv.weight.new_zeros(len(conv.weight), more, "
                                       "*conv.kernel_size)":
                                       "extra = conv.weight.mean(1, keepdim=True)"
                                       ".expand(-1, more, -1, -1)"},
                "The new channels get the mean of the old weights. That changes the output; they "
                "begin at 0.", 1),
        Mistake("all-zero", {"torch.cat([conv.weight, extra], 1)":
                             "torch.cat([0 * conv.weight, extra], 1)"},
                "All weights are 0, the trained ones, too: the network has forgotten what it "
                "learnt.", 2),
        Mistake("scaled", {"torch.cat([conv.weight, extra], 1)":
                           "torch.cat([conv.weight, extra], 1) * (conv.in_channels / "
                           "(conv.in_channels + more))"},
                "You scale the old weights because there are more channels. Nothing arrives "
                "through the new ones yet, so the old stay as they are.", 1),
        Mistake("bias-lost", {"    return larger": "    nn.init.zeros_(larger.bias)\n"
                              "    return larger"},
                "The bias is lost. It belongs to the old output: keep it.", 2),
        Mistake("frozen", {"nn.Parameter(torch.cat([conv.weight, extra], 1))":
                           "nn.Parameter(torch.cat([conv.weight, extra], 1), "
                           "requires_grad=False)"},
                "The new weight has no gradient, so it stays 0 for ever.", 2),
        Mistake("outputs", {"conv.weight.new_zeros(len(conv.weight), more, *conv.kernel_size)":
                            "conv.weight.new_zeros(more, conv.in_channels, *conv.kernel_size)",
                            "[conv.weight, extra], 1)": "[conv.weight, extra], 0)"},
                "You add output channels. The network is to see more, so the inputs grow: axis 1 "
                "of the weight.", 1),
        Mistake("one-short", {"conv.weight), more,": "conv.weight), more - 1,"},
                "One channel is missing: there are `more` new ones.", 2),
        Mistake("only-once", {"conv.weight), more,": "conv.weight), 1,"},
                "You add a single channel; asked for are `more`.", 2),
        Mistake("settings-lost", {"larger = copy.deepcopy(conv)":
                                  "larger = nn.Conv2d(conv.in_channels, conv.out_channels, "
                                  "conv.kernel_size, dtype=conv.weight.dtype)\n"
                                  "    larger.bias = nn.Parameter(conv.bias.detach().clone())"},
                "Stride and padding are lost, so the output has another size. copy.deepcopy keeps "
                "them.", 2),
        Mistake("half-each", {"torch.cat([conv.weight, extra], 1)":
                              "torch.cat([conv.weight / 2, extra], 1)"},
                "The old weights are halved. They stay as they are, or the output changes.", 1),
        Mistake("count-not-told", {"    larger.in_channels += more\n": ""},
                "The weight has grown, but in_channels still tells the old number.", 3)),
    "c10-masks": answer(
        draw_masks,
        Mistake("inverted", {"return (torch.where(kind < 0.5, ends, parts) & (drop >= 0.1))":
                             "return (~torch.where(kind < 0.5, ends, parts) & (drop >= 0.1))"},
                "Your masks are true where something is to be made. True is what is given.", 1),
        Mistake("never-dropped", {" & (drop >= 0.1)": ""},
                "No mask is dropped. In a tenth of the clips nothing is given, so that the network "
                "also works without.", 1),
        Mistake("all-dropped", {"drop >= 0.1": "drop < 0.1"},
                "Nine tenths of the masks are dropped. Only those with u[:, 0] below 0.1 are.", 1),
        Mistake("filled-when-dropped", {"& (drop >= 0.1)": "| (drop < 0.1)"},
                "A dropped mask is true everywhere: all is given. It is false everywhere.", 1),
        Mistake("last-not-first", {"frame == 0,": "frame == T - 1,"},
                "The first quarter gives the last frame; it is the first one, frame 0.", 2),
        Mistake("only-the-last", {"first | (frame == T - 1)": "frame == T - 1"},
                "The second quarter gives the last frame alone; asked for are both ends.", 1),
        Mistake("one-frame-short", {"frame == T - 1)": "frame == T - 2)"},
                "Frames count from 0: the last is T - 1.", 2),
        Mistake("neither", {"first | (frame": "first & (frame"},
                "No frame is the first and the last at once: use | for both ends.", 2),
        Mistake("frames-above", {"None] < share": "None] > share"},
                "A frame is given if its number is *below* u[:, 2]: your masks are the opposite.",
                2),
        Mistake("one-luck", {"u[:, 3:, None, None, None] < share":
                             "(u[:, 3].view(-1, 1, 1, 1, 1) < share).expand(-1, T, 1, 1, 1)"},
                "All frames share one number, so all are given or none. Each frame k has its own, "
                "u[:, 3 + k].", 2),
        Mistake("half-of-the-frames", {"u[:, 3:, None, None, None] < share":
                                       "u[:, 3:, None, None, None] < 0.5"},
                "Half of the frames are given on average, in every clip. The share itself is "
                "random, u[:, 2], so that one frame and nearly all occur, too.", 2),
        Mistake("right-part", {"column < share * W": "column >= share * W"},
                "You give the right part; asked for is the left one, columns below u[:, 2] W.", 2),
        Mistake("rows", {"torch.arange(W)": "torch.arange(H)[:, None]",
                         "column < share * W": "column < share * H"},
                "You give the upper rows; asked for are the left columns.", 2),
        Mistake("share-of-pixels", {"column < share * W": "column < share * T"},
                "A left part ends at column u[:, 2] W, a share of the width.", 2),
        Mistake("kinds-exchanged", {"kind < 0.75, any_frames, column < share * W":
                                    "kind >= 0.75, any_frames, column < share * W"},
                "The third and the fourth kind are exchanged: any frames come before left parts.",
                3),
        Mistake("first-kinds-exchanged", {"torch.where(kind < 0.25, first, first | (frame == T - "
                                          "1))": "torch.where(kind >= 0.25, first, first | "
                                          "(frame == T - 1))"},
                "The first two kinds are exchanged: the first frame alone comes before both ends.",
                3),
        Mistake("halves-exchanged", {"kind < 0.5, ends, parts": "kind < 0.5, parts, ends"},
                "The first two kinds and the last two are exchanged.", 3),
        Mistake("one-kind", {"torch.where(kind < 0.5, ends, parts)": "ends"},
                "Half of the masks are missing: any frames, and left parts.", 2),
        Mistake("numbers-exchanged", {"drop, kind, share = (": "kind, drop, share = ("},
                "u[:, 0] decides whether a mask is dropped, u[:, 1] which kind it is. You have "
                "them exchanged.", 3),
        Mistake("not-expanded", {".expand(-1, T, 1, H, W)": ""},
                "Your masks broadcast, but have not the shape (B, T, 1, H, W): expand them.", 3)),
    "c10-input": answer(
        network_input,
        Mistake("not-hidden", {"torch.where(where, given, 0)": "given"},
                "All of the clip is shown, the unknown pixels, too. In training the network would "
                "copy the answer.", 1),
        Mistake("inverted", {"torch.where(where, given, 0)": "torch.where(where, 0, given)"},
                "You show the pixels that are not given, and hide those that are.", 1),
        Mistake("mask-missing", {", where], -3)": "], -3)"},
                "The mask is missing. Without it a hidden pixel looks like a grey one that is "
                "given.", 1),
        Mistake("mask-inverted", {", where]": ", ~where]"},
                "The mask in your third part is 1 where nothing is given.", 1),
        Mistake("replaced", {"[x, torch": "[torch.where(where, given, x), torch"},
                "You put the given pixels into x. x is noisy everywhere, and stays so; they are "
                "told beside it.", 1),
        Mistake("order", {"[x, torch.where(where, given, 0), where]":
                          "[x, where, torch.where(where, given, 0)]"},
                "Mask and given pixels are exchanged: x, given, mask.", 3),
        Mistake("given-first", {"[x, torch.where(where, given, 0), where]":
                                "[torch.where(where, given, 0), x, where]"},
                "x must come first: the trained weights are those of the first channels.", 3),
        Mistake("frames", {"where], -3)": "where.expand_as(x)], 1)"},
                "You join along the frames, so that the clip is three times as long. The channels "
                "are axis 2.", 2),
        Mistake("minus-one", {"torch.where(where, given, 0)": "torch.where(where, given, -1)"},
                "You hide pixels by -1. That is black, a colour that may well be given; hidden "
                "pixels are 0.", 2),
        Mistake("multiplied", {"torch.where(where, given, 0)": "where * given"},
                "where * given is NaN where the hidden value is NaN, as NaN times 0 is NaN. "
                "torch.where hides whatever stands there.", 2),
        Mistake("noise-shown", {"torch.where(where, given, 0)": "torch.where(where, x, 0)"},
                "You show x again at the given pixels, noise and all. What is told is the given "
                "clip.", 1),
        Mistake("filled-with-x", {"torch.where(where, given, 0)": "torch.where(where, given, x)"},
                "Where nothing is given you show x a second time; there it is 0.", 2),
        Mistake("x-hidden", {"[x, torch": "[torch.where(where, 0, x), torch"},
                "You blank x at the given pixels. x stays as the sampler made it.", 2),
        Mistake("mask-of-all", {", where]": ", torch.ones_like(where)]"},
                "Your mask is 1 everywhere: the network is told that hidden pixels are given.",
                1),
        Mistake("difference", {"torch.where(where, given, 0)": "torch.where(where, given - x, 0)"},
                "You tell the difference from x. What is told is the given clip itself.", 1),
        Mistake("mask-signed", {", where]": ", 2 * where.to(x) - 1]"},
                "Your mask is -1 and 1. With 0 where nothing is given, a clip without anything "
                "given adds nothing to the first layer.", 2)),
    "c10-start": answer(
        edit_start,
        Mistake("clean-start", {"alpha * clip + sigma * noise": "clip"},
                "The clip is not noised, but the network is told t0: it takes the clip's edges for "
                "noise.", 1),
        Mistake("pure-noise", {"alpha * clip + sigma * noise": "noise"},
                "You begin with noise alone: nothing of the clip is left to edit.", 1),
        Mistake("alpha-missing", {"alpha * clip": "clip"},
                "The clip keeps its full size. At t0 it has the factor alpha.", 2),
        Mistake("sigma-missing", {"sigma * noise": "noise"},
                "The noise has its full size; at t0 it is sigma.", 2),
        Mistake("exchanged", {"alpha * clip + sigma * noise": "sigma * clip + alpha * noise"},
                "alpha and sigma are exchanged: a schedule returns (alpha, sigma).", 3),
        Mistake("whole-grid", {"torch.cat([t0[None], ts[ts < t0]])": "ts"},
                "The grid begins at its old start, but x is at t0.", 1),
        Mistake("t0-left-out", {"torch.cat([t0[None], ts[ts < t0]])": "ts[ts < t0]"},
                "The grid begins below t0, but x is at t0: put t0 in front.", 2),
        Mistake("above", {"ts[ts < t0]": "ts[ts > t0]"},
                "You keep the times above t0; those below are left to walk.", 2),
        Mistake("t0-twice", {"ts[ts < t0]": "ts[ts <= t0]"},
                "If t0 is on the grid, your grid has it twice: a step of no length.", 2),
        Mistake("scaled-grid", {"torch.cat([t0[None], ts[ts < t0]])": "t0 * ts"},
                "You squeeze the whole grid below t0. That costs as many calls as a new clip; "
                "asked for is the part of the grid below t0.", 2),
        Mistake("noised-to-the-first", {"schedule(t0)": "schedule(ts[0])"},
                "The clip is noised to the grid's first time, not to t0.", 2),
        Mistake("next-time", {"schedule(t0)": "schedule(ts[ts < t0][0])"},
                "The clip is noised to the grid's next time below t0, but the grid begins at t0.",
                2),
        Mistake("end-left-out", {"ts[ts < t0]": "ts[ts < t0][:-1]"},
                "The last time is missing: the walk must end at 0.", 2),
        Mistake("flow-only", {"alpha, sigma = schedule(t0)": "alpha, sigma = 1 - t0, t0"},
                "alpha = 1 - t0 and sigma = t0 hold for Flow only. Ask the schedule.", 2),
        Mistake("t0-behind", {"[t0[None], ts[ts < t0]]": "[ts[ts < t0], t0[None]]"},
                "t0 stands behind the times below it. A grid falls: t0 comes first.", 2),
        Mistake("variance", {"sigma * noise": "sigma**2 * noise"},
                "You multiply the noise by its variance. sigma is the factor itself.", 2)),
}

RIGHT = {
    "c10-jump": (1, (
        "No: for that the first guesses, at much noise, would have to know frame 0.",
        "Frame 0 is right, as it is put back. But at much noise the network cannot see which of "
        "eight noisy frames is certain. It plans a clip of its own, and the seam is a jump.",
        "No: it never learnt to copy, and its clips move.",
        "No: from frame 1 on it is a clip like any other of this model.")),
    "c10-steps": (1, (
        "No: the sampler's error falls with its steps, but this one is not the sampler's.",
        "The mean rises a little and stays far below 1.35. The guess itself is wrong: at much "
        "noise it is computed as if the first frame were unknown.",
        "No: to replace is no noise. What is replaced is right, what is beside it is not.")),
    "c10-turn": (1, (
        "No: a place is spread over many pixels, so that it can be seen in more noise than the "
        "strokes that make a digit.",
        "Strokes are fine, and drown first. A place is where much ink is, in eight frames: it can "
        "be seen through more noise.",
        "No: there is a range of t0 in which one is gone and the other is not.")),
    "c10-bug": (3, (
        "Guidance acts on the class. With 1 in place of 1.5 it does not move, either.",
        "Leave that out, and it does not move, either: what is fixed is fixed rightly.",
        "With `real` in its place it moves, but look why: the network is told frames 1 to 7 and "
        "copies them. With the right mask they are hidden, whatever they hold; Stable Video "
        "Diffusion repeats its picture, too.",
        "The network is told that frames 1 to 7 are given, and they hold the picture. So it copies "
        "them; with the mask the right way round the same clips move.")),
}
