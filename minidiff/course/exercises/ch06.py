"""Chapter 06, guidance and prompts: the student's exercises and the inputs of their checks."""
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.course.exercises.ch05 import curves, labelled_sheet  # noqa: F401 (the notebook's)
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.data.prompts import NUMBER_WORDS, SUBJECTS
from minidiff.gaussians import gaussian_denoiser, mixture_denoiser
from minidiff.layers import CrossAttention
from minidiff.runtime.seeds import generator
from minidiff.schedules import Flow

DTYPES = torch.float32, torch.float64
PLACES = "up left", "up right", "down left", "down right"


# The frames that the chapter's own model learns: a digit in a quarter, described in words

def quarter(centres: Tensor) -> Tensor:
    """Centres (N, 2) in frames of 32 px, as (y, x) -> which of PLACES, (N,)."""
    down, right = (centres > 16).T.long()
    return 2 * down + right


def quarters(sprites: Digits, n: int, step: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Up to n frames (m, 1, 32, 32) in [-1, 1], their digits and quarters (m,).

    Digit d in quarter d mod 4 is held out: such frames are left away.
    """
    new = moving_mnist(sprites, n, frames=1, seed=seed, step=step)
    digit, place = new.labels[:, 0], quarter(new.positions[:, 0, 0])
    shown = place != digit % 4
    return new.x[shown, 0], digit[shown], place[shown]


def captions(digit: Tensor, place: Tensor, *seeds: int) -> list[str]:
    """Captions of frames: plain ones, "a 3 up left", or, with seeds, varied ones as in training.

    All name the digit and the place, so none of them comes near the null prompt.
    """
    if not seeds:
        return [f"a {d} {PLACES[q]}" for d, q in zip(digit.tolist(), place.tolist())]
    chance = torch.rand(len(digit), generator=generator("captions", *seeds)).tolist()
    subjects = (SUBJECTS[int(a * len(SUBJECTS))].format(digit=d, number=NUMBER_WORDS[d])
                for d, a in zip(digit.tolist(), chance))
    return [f"{subject} {PLACES[q]}" for subject, q in zip(subjects, place.tolist())]


# Three round clouds, whose denoisers are known

CLOUDS, SPREAD = torch.tensor([[0.0, 1.0], [-0.9, -0.5], [0.9, -0.5]]), 0.5
EXACT = (*(gaussian_denoiser(Flow(), middle, SPREAD) for middle in CLOUDS),
         mixture_denoiser(Flow(), CLOUDS, SPREAD))


def toy(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """The exact x0-hat (B, 2) for points of one cloud, cond 0 to 2, or of all three, cond 3."""
    return torch.stack([denoise(x, t) for denoise in EXACT])[cond, torch.arange(len(x))]


# The student's cross-attention in a network

class Reads(CrossAttention):
    """The package's layer, computed by `read`; keeps its last maps (B, heads, N, L)."""

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        key, value = (lambda w, k=k: self.kv(w).chunk(2, -1)[k] for k in (0, 1))
        read, maps = self.read(self.norm(x.flatten(1, -2)), words, self.q, key, value, self.heads)
        self.maps = maps.detach().float()
        return x + self.out(read).view_as(x)


def reads_with(model: nn.Module, read: Callable) -> list[Reads]:
    """Lets a model's cross-attention compute with `read`; returns its layers."""
    layers = [m for m in model.modules() if isinstance(m, CrossAttention)]
    for layer in layers:
        layer.__class__, layer.read = Reads, read
    return layers


def frames(values: Tensor, T: int, size: int = 64) -> Tensor:
    """Values (..., T h h) of all places of clips with T frames, as clips (N, T, 1, size, size)."""
    side = round((values.shape[-1] / T)**0.5)
    pictures = values.reshape(-1, T, side, side).float().cpu()
    return F.interpolate(pictures, size)[:, :, None]


# The bug hunt's

def colleague(denoise: Callable, cond: Tensor, null: Tensor, scale: float) -> Callable:
    """The colleague's guidance, of the bug hunt."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        x0 = denoise(x, t, cond)
        return x0 + scale * (x0 - denoise(x, t, null))
    return guess


# Cases

def drop_cases() -> list[Case]:
    """Classes and prompts with their null and four probabilities of dropping."""
    cases, chance = [], torch.tensor([0.4, 0.0, 0.12, 0.95, 0.6, 0.08])
    classes, words = torch.tensor([3, 1, 4, 1, 5, 9]), seeded_randn(1, 6, 4).mul(9).abs().long() + 1
    square = seeded_randn(2, 6, 6).mul(9).abs().long() + 1
    pairs = seeded_randn(3, 6, 2, 3).mul(9).abs().long() + 1
    for (cond, null, what), p in product(
            ((classes, 10, "6 classes, null 10"), (words, 0, "6 prompts of 4 words, null 0"),
             (square, 0, "6 prompts of 6 words, null 0"),
             (pairs, 0, "6 times 2 prompts of 3 words, null 0")), (0.0, 0.1, 0.5, 1.0)):
        cases.append(Case(f"{what}, p = {p}", (cond.clone(), null, p, chance.clone())))
    return cases


class Toy:
    """A stand-in for a denoiser: every sample on its own, and it counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        self.calls += 1
        if len(cond) != len(x) or (t.ndim and len(t) != len(x)):
            raise ValueError(f"{len(x)} samples, {len(cond)} conditions, times {tuple(t.shape)}.")
        level = cond.flatten(1).sum(1) if cond.ndim > 1 else cond
        wide = [1] * (x.ndim - 1)
        level, t = level.to(x).view(-1, *wide), t.to(x).view(-1, *wide)
        return (1 - t) * x + 0.3 * torch.sin(level + x.roll(1, -1)) + 0.1 * level


def guidance(x: Tensor, t: Tensor, cond: Tensor, null: Tensor, scale: float) -> Callable:
    """How `guided` is used: its guess, and how many calls of the network that took."""
    def use(f: Callable) -> list:
        net = Toy()
        return [f(net, cond.clone(), null.clone(), scale)(x.clone(), t.clone()), net.calls]
    return use


def guided_cases() -> list[Case]:
    """Classes and prompts at two guidance scales, with one time for all or a time for each."""
    cases, classes = [], torch.tensor([3, 7, 1])
    words = torch.tensor([[5, 2, 0, 0], [1, 9, 4, 0], [8, 3, 6, 2]])
    conditions = ((classes, torch.full((3,), 10), "classes"),
                  (words, torch.zeros_like(words), "words"),
                  (words, words.flip(0), "words, pushed away from other words"))
    times = torch.tensor(0.7), torch.tensor([0.2, 0.5, 0.9])
    for seed, ((cond, null, what), t, scale) in enumerate(product(conditions, times, (0.0, 3.5))):
        shape, dtype = ((3, 2, 4, 5), (3, 2, 3, 4, 4))[seed % 2], DTYPES[seed // 2 % 2]
        x = seeded_randn(seed, *shape, dtype=dtype)
        cases.append(
            Case(
                f"{what}, x {shape}, t {tuple(t.shape)}, scale {scale}, {dtype_name(dtype)}",
                (),
                call=guidance(x, t.to(dtype), cond, null, scale),
            )
        )
    cases.append(Case(f"classes, scale 1, {dtype_name(dtype)}", (), call=guidance(
        x[:3], t.to(dtype), classes, torch.full((3,), 10), 1.0)))
    return cases


def either(x: Tensor, t: float, low: float, high: float) -> Callable:
    """How `only_between` is used: its guess, and which denoisers were called."""
    def use(f: Callable) -> list:
        called = []

        def record(who: str, x: Tensor, t: Tensor) -> Tensor:
            called.append(who)
            return x * (1 + t) + (2 if who == "inside" else -1)
        guess = f(partial(record, "inside"), partial(record, "outside"), low, high)
        return [guess(x.clone(), torch.tensor(t)), called]
    return use


def interval_cases() -> list[Case]:
    """Times inside, outside and at the ends of two intervals."""
    return [Case(f"t = {t}, low = {low}, high = {high}", (),
                 call=either(seeded_randn(seed, 2, 1, 3, 3), t, low, high))
            for seed, (t, (low, high)) in enumerate(
                product((0.0, 0.25, 0.375, 0.5, 0.75, 1.0), ((0.25, 0.75), (0.0, 0.5))))]


def rescale_cases() -> list[Case]:
    """Guesses with too large a spread and one with too small, and how much of it to correct."""
    cases = []
    for seed, (shape, amount, dtype) in enumerate(product(
            ((3, 2, 4, 5), (2, 4, 1, 3, 3)), (0.0, 0.3, 1.0), DTYPES)):
        x0, guess = (seeded_randn(seed + k, *shape, dtype=dtype) for k in (0, 50))
        wide = [1] * (len(shape) - 1)
        guess = guess * torch.arange(2, 2 + shape[0]).view(-1, *wide) + 0.5
        guess[-1] = guess[-1] / 8                                  # one that is too narrow
        cases.append(Case(f"{shape}, amount = {amount}, {dtype_name(dtype)}", (guess, x0, amount)))
    return cases


WORDS = "", "a", "the", "digit", "three", "seven", "up", "left", "right", "and"


def token_cases() -> list[Case]:
    """Prompts to encode; those with unknown words or too many words must raise an error."""
    accepted = (
        ("a three left", WORDS, 6), ("the digit seven", WORDS, 3),
        ("A Three and a SEVEN", WORDS, 8), ("  a   seven up left ", WORDS, 5),
        ("left", WORDS, 4), ("seven up left and three right", WORDS, 6), ("", WORDS, 3),
        ("down two", ("", "two", "one", "down"), 4))
    refused = (("a cat left", WORDS, 6), ("the digit seven up", WORDS, 3), ("eleven", WORDS, 4))
    return [Case(f"{arguments[0]!r}, {arguments[-1]} ids", arguments, raises=raises,
                 call=partial(without_its_text, *arguments))
            for prompts, raises in ((accepted, False), (refused, True)) for arguments in prompts]


def without_its_text(prompt: str, vocabulary: tuple[str, ...], length: int, f: Callable) -> Tensor:
    """f's ids. A ValueError loses its text, which is everybody's own and is not compared."""
    try:
        return f(prompt, vocabulary, length)
    except ValueError:
        raise ValueError("The prompt is refused.") from None


def linear(seed: int, c_in: int, c_out: int, dtype: torch.dtype) -> Callable:
    """A linear layer without bias, with seeded weights."""
    return partial(F.linear, weight=seeded_randn(seed, c_out, c_in, dtype=dtype) / c_in**0.5)


def cross_cases() -> list[Case]:
    """Tokens and words of several widths with the layers of a cross-attention."""
    cases = []
    for seed, ((B, N, D, L, W, heads), dtype) in enumerate(product(
            ((2, 6, 8, 5, 3, 2), (1, 4, 12, 4, 12, 3), (3, 5, 4, 7, 6, 1), (2, 3, 8, 3, 8, 4)),
            DTYPES)):
        h, words = (
            seeded_randn(seed, B, N, D, dtype=dtype),
            seeded_randn(seed + 30, B, L, W, dtype=dtype),
        )
        query, key, value = (linear(seed + k, c, D, dtype) for k, c in ((60, D), (70, W), (80, W)))
        cases.append(Case(f"{N} places of width {D}, {L} words of width {W}, heads {heads}, "
                          f"{dtype_name(dtype)}", (2 * h, words, query, key, value, heads)))
    return cases


EXERCISES = (
    Exercise(
        "c06-drop", "drop", "Dropping the condition", 2, 8, 1,
        ("Decide for each sample on its own: its chance is less than p, or it is not.",
         "torch.where(gone, null, cond) takes null where gone is true. gone is (B,); prompts are "
         "(B, L), and PyTorch lines axes up from the right.",
         "gone = (chance < p).view(-1, *[1] * (cond.ndim - 1)); return torch.where(gone, null, "
         "cond), which leaves the caller's cond as it is."),
        drop_cases, ("minidiff.train.drop_conditions", "minidiff.schedules.append_dims"),
        gradients=False),
    Exercise(
        "c06-guided", "guided", "The line through two predictions", 3, 15, 2,
        ("Return a function of x and t. It calls the network twice, with cond and with null, and "
         "goes from the second output towards the first, `scale` times the way.",
         "One call will do: torch.cat([x, x]) with torch.cat([cond, null]) is a batch twice as "
         "long, and .chunk(2) splits its output. A t of shape (B,) must be doubled, too.",
         "twice = torch.cat([t, t]) if t.ndim else t; x0, x0_null = denoise(torch.cat([x, x]), "
         "twice, torch.cat([cond, null])).chunk(2); return x0_null + scale * (x0 - x0_null)."),
        guided_cases, ("minidiff.guidance.guided",)),
    Exercise(
        "c06-interval", "only_between", "Guidance in an interval", 1, 6, 1,
        ("Return a function of x and t that hands both on to one of the two denoisers.",
         "Compare t with low and high, the ends included. Call only the one that is needed: the "
         "other would cost a call of the network.",
         "return inside(x, t) if low <= t <= high else outside(x, t)."),
        interval_cases, ("minidiff.guidance.guided",)),
    Exercise(
        "c06-rescale", "rescaled", "Bringing the spread back", 2, 10, 2,
        ("Measure each sample's standard deviation over all its pixels, in guess and in x0, and "
         "make the first equal to the second.",
         "All axes but the batch: axes = tuple(range(1, x0.ndim)), and keepdim=True, so that the "
         "result (B, 1, ...) multiplies.",
         "whole = guess * x0.std(axes, keepdim=True) / guess.std(axes, keepdim=True); then mix: "
         "(1 - amount) * guess + amount * whole."),
        rescale_cases, ("minidiff.guidance.match_std",)),
    Exercise(
        "c06-tokens", "encode", "Words to numbers", 1, 8, 1,
        ("Lower case, split at spaces, look each word up: its id is its place in the vocabulary.",
         "Place 0 belongs to no word. Fill up with 0 behind the words until there are `length` "
         "ids.",
         "ids = [vocabulary.index(w) for w in prompt.lower().split()] raises ValueError for an "
         "unknown word by itself; for too many words raise one, then torch.tensor(ids + [0] * "
         "(length - len(ids)))."),
        token_cases, ("minidiff.data.prompts.encode", "minidiff.data.prompts.checked_words"),
        gradients=False),
    Exercise(
        "c06-cross", "cross_attention", "Places that read words", 3, 18, 3,
        ("It is chapter 03's attention with two inputs: the places give the queries, q = query(h), "
         "and the words give k = key(words) and v = value(words).",
         "Heads are slices of the width: (B, N, D) becomes (B, heads, N, d) with d = D / heads, by "
         "einops' rearrange(q, 'b n (h d) -> b h n d', h=heads), or unflatten and transpose.",
         "maps = (q @ k.transpose(-1, -2) / d**0.5).softmax(-1) is (B, heads, N, L) and sums to 1 "
         "over the words; the output is maps @ v, put together as 'b h n d -> b n (h d)'."),
        cross_cases, ("minidiff.layers.attention", "minidiff.layers.CrossAttention.forward")),
)

QUESTIONS = (
    Question("c06-beyond", "predict",
             "Three clouds of points, exact denoisers, and one cloud as the condition. At scale 1 "
             "your samples fill that cloud. Where do they lie at scale 6?",
             ("They fill the same cloud: the condition names it, and no other points are better",
              "At the cloud's middle, all of them: the most typical point",
              "At the cloud's far side and beyond, away from the two others, and closer together")),
    Question("c06-bag", "predict",
             "“a 3 moving left and a 7 moving right” and “a 7 moving left and a 3 moving right” "
             "mean different clips. Each word is a row of a table, no more, and your "
             "cross-attention reads those rows. How much do its outputs for the two prompts "
             "differ?",
             ("A lot: the words stand in other places", "A little: most words are the same",
              "Not at all")),
    Question("c06-bug", "bughunt",
             "The plot below shows your guidance and a colleague's at several scales, both with "
             "exact denoisers: how far the samples lie in the direction of the condition's cloud. "
             "The dashed lines are at the scales 0 and 1. Which bug is it?",
             ("The two predictions are exchanged: it pushes samples away from the condition",
              "It adds scale times the difference to the conditional guess, not to the other",
              "The null condition replaces the condition as well",
              "In training the condition was dropped for whole batches, not for samples"), 1, 3),
)
