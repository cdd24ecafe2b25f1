"""Chapter 06, guidance and prompts: the right answers and the common mistakes."""
import torch
from einops import rearrange
from torch import Tensor

from minidiff.course.answers import Mistake, WrongAnswer, answer


def drop(cond: Tensor, null: int, p: float, chance: Tensor) -> Tensor:
    """The conditions, some of them replaced by the null."""
    gone = (chance < p).view(-1, *[1] * (cond.ndim - 1))
    return torch.where(gone, null, cond)


def guided(denoise, cond: Tensor, null: Tensor, scale: float):
    """Classifier-free guidance, both guesses in one call of the network."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        twice = torch.cat([t, t]) if t.ndim else t
        x0, x0_null = denoise(torch.cat([x, x]), twice, torch.cat([cond, null])).chunk(2)
        return x0_null + scale * (x0 - x0_null)
    return guess


def only_between(inside, outside, low: float, high: float):
    """The first denoiser at times in the interval, the second outside it."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        return inside(x, t) if low <= t <= high else outside(x, t)
    return guess


def rescaled(guess: Tensor, x0: Tensor, amount: float) -> Tensor:
    """A guess whose std is brought back, in part or in full, to that of the conditional guess."""
    axes = tuple(range(1, x0.ndim))
    whole = guess * x0.std(axes, keepdim=True) / guess.std(axes, keepdim=True)
    return (1 - amount) * guess + amount * whole


def encode(prompt: str, vocabulary: tuple[str, ...], length: int) -> Tensor:
    """A prompt's token ids, padded with 0. Raises ValueError for unknown or too many words."""
    words = prompt.lower().split()
    if unknown := [w for w in words if w not in vocabulary]:
        raise ValueError(f"Not in the vocabulary: {', '.join(unknown)}.")
    if len(words) > length:
        raise ValueError(f"{len(words)} words; {length} are the most.")
    ids = [vocabulary.index(w) for w in words]
    return torch.tensor(ids + [0] * (length - len(ids)))


def cross_attention(h: Tensor, words: Tensor, query, key, value,
                    heads: int) -> tuple[Tensor, Tensor]:
    """Multi-head attention of places to words, and its maps (B, heads, N, L)."""
    q, k, v = (rearrange(y, "b n (h d) -> b h n d", h=heads)
               for y in (query(h), key(words), value(words)))
    maps = (q @ k.transpose(-1, -2) / q.shape[-1]**0.5).softmax(-1)
    return rearrange(maps @ v, "b h n d -> b n (h d)"), maps


# Wrong in more than one place

def two_calls(denoise, cond: Tensor, null: Tensor, scale: float):
    """Wasteful guidance: it calls the network twice."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        x0, x0_null = denoise(x, t, cond), denoise(x, t, null)
        return x0_null + scale * (x0 - x0_null)
    return guess


def blend(cond: Tensor, null: int, p: float, chance: Tensor) -> Tensor:
    """A wrong drop: it mixes each condition with the null."""
    cond = cond.float()
    return (1 - p) * cond + p * null


def first_channel(denoise, cond: Tensor, null: Tensor, scale: float):
    """Wrong guidance: it guides the first channel only."""
    def guess(x: Tensor, t: Tensor) -> Tensor:
        twice = torch.cat([t, t]) if t.ndim else t
        x0, x0_null = denoise(torch.cat([x, x]), twice, torch.cat([cond, null])).chunk(2)
        line = x0_null + scale * (x0 - x0_null)
        return torch.cat([line[:, :1], x0[:, 1:]], 1)
    return guess


def by_dictionary(prompt: str, vocabulary: tuple[str, ...], length: int) -> Tensor:
    """A wrong encoding: an unknown word raises KeyError."""
    places = {word: i for i, word in enumerate(vocabulary)}
    ids = [places[w] for w in prompt.lower().split()]
    if len(ids) > length:
        raise ValueError(f"{len(ids)} words; {length} are the most.")
    return torch.tensor(ids + [0] * (length - len(ids)))


LINE = "x0_null + scale * (x0 - x0_null)"
BOTH = "torch.cat([cond, null])"
CHOICE = "inside(x, t) if low <= t <= high else outside(x, t)"
RATIO = "x0.std(axes, keepdim=True) / guess.std(axes, keepdim=True)"
MIX = "(1 - amount) * guess + amount * whole"
IDS = "torch.tensor(ids + [0] * (length - len(ids)))"
STRANGERS = ("if unknown := [w for w in words if w not in vocabulary]:\n"
             "        raise ValueError(f\"Not in the vocabulary: {', '.join(unknown)}.\")\n    ")
LONGER = ("if len(words) > length:\n"
          "        raise ValueError(f\"{len(words)} words; {length} are the most.\")\n    ")
SOFT = "(q @ k.transpose(-1, -2) / q.shape[-1]**0.5).softmax(-1)"

ANSWERS = {
    "c06-drop": answer(
        drop,
        Mistake("kept-with-p", {"chance < p": "chance >= p"},
                "You drop the conditions that should stay: with p = 0.1 nine conditions of ten are "
                "gone.", 1),
        Mistake("per-batch", {"chance < p": "chance[:1].expand(len(cond)) < p"},
                "One chance decides for the whole batch. Then a batch holds either only conditions "
                "or none, and the gradient alternates between two tasks; each sample has a chance "
                "of its own.", 1),
        Mistake("no-axes", {".view(-1, *[1] * (cond.ndim - 1))": ""},
                "(B,) lines up with the last axis, the words: if sizes differ, that is an error, "
                "and if a prompt has as many words as the batch has samples, it silently drops the "
                "same words of every prompt.", 2),
        Mistake("one-word", {"torch.where(gone, null, cond)":
                             "torch.where(gone & (torch.arange(cond.shape[-1]) == 0), null, cond) "
                             "if cond.ndim > 1 else torch.where(gone, null, cond)"},
                "Only the first word of a prompt is dropped. The null prompt has no words at all.",
                2),
        Mistake("zero-is-null", {"null, cond)": "0, cond)"},
                "You write 0 for a dropped condition. 0 is no word, but among classes it is the "
                "digit 0; take the null that is given.", 2),
        Mistake("and-equal", {"chance < p": "chance <= p"},
                "A chance may be exactly 0, and p = 0 must drop nothing: compare with <.", 1),
        Mistake("the-first-ones",
                {"chance < p": "torch.arange(len(cond)) < round(p * len(cond))"},
                "You always drop the first samples of the batch, whatever the chances say.", 1),
        WrongAnswer("blend", blend,
              "You mix the ids with the null one. An id is a name: halfway between digit 3 and "
              "“none” lies another digit. Each sample keeps its condition or loses it.", 2),
        Mistake("rest-dropped", {"chance < p": "chance < 1 - p"},
                "You compare with 1 - p, which is the share that stays. The chance of being "
                "dropped is p.", 1),
        Mistake("removed", {"torch.where(gone, null, cond)": "cond[~gone.flatten()]"},
                "You remove the samples themselves, so the batch becomes shorter than its clips. "
                "They stay; only their condition becomes null.", 2),
        Mistake("mask", {"return torch.where(gone, null, cond)": "return gone"},
                "You return which samples lose their condition. Return the conditions, with null "
                "in the place of those.", 2),
        Mistake("one-axis-more", {".view(-1, *[1] * (cond.ndim - 1))": "[:, None]"},
                "You always add one axis. That fits prompts (B, L), but makes (B, B) of classes "
                "(B,): add as many axes as cond has behind its first.", 2),
        Mistake("float-ids", {"null, cond)": "null, cond).float()"},
                "Your ids are floating point numbers. They are rows of a table, so they must stay "
                "integers.", 2),
        Mistake("null-added", {"torch.where(gone, null, cond)": "cond + null * gone"},
                "You add null to the condition instead of replacing it. With null = 0, as in "
                "prompts, nothing would ever be dropped.", 2),
        Mistake("minus-one", {"null, cond)": "-1, cond)"},
                "You mark dropped conditions with -1. The table has no row -1 (and Python would "
                "take its last one); write the null that is given.", 2),
        Mistake("neighbours-condition", {"null, cond)": "cond.roll(1, 0), cond)"},
                "A dropped sample gets the condition of another one, which teaches the network a "
                "lie. It should get null: no condition at all.", 2)),
    "c06-guided": answer(
        guided,
        Mistake("reversed", {LINE: "x0 + scale * (x0_null - x0)"},
                "The two guesses are exchanged: you walk from the conditional one towards the one "
                "without a condition, so a larger scale pushes samples away from the "
                "condition.", 1),
        Mistake("one-more", {LINE: "x0 + scale * (x0 - x0_null)"},
                "You start from the conditional guess: your scale is the paper's w, so every scale "
                "acts like ours plus one. Here 0 is without condition and 1 with it.", 1),
        WrongAnswer("two-calls", two_calls,
              "The values are right, but the network was called twice. One call with a batch "
              "twice as long is faster on most machines.", 2),
        WrongAnswer("some-channels", first_channel,
              "Only the first channel (or frame) is guided, the others are the conditional guess. "
              "Published code has had this slip; guide everything.", 3),
        Mistake("null-for-cond", {BOTH: "torch.cat([null, null])"},
                "The network never gets cond: both halves are computed without a condition, so the "
                "scale does nothing.", 2),
        Mistake("cond-for-null", {BOTH: "torch.cat([cond, cond])"},
                "The network never gets null: both halves are computed with the condition, so the "
                "scale does nothing.", 2),
        Mistake("scaled-only", {LINE: "scale * (x0 - x0_null)"},
                "The starting point is missing: scale times the difference is added to the guess "
                "without a condition.", 1),
        Mistake("from-zero", {LINE: "scale * x0"},
                "You multiply the conditional guess. That changes brightness; the direction that "
                "matters is from the guess without a condition to the one with it.", 1),
        Mistake("interleaved", {"torch.cat([x, x])": "x.repeat_interleave(2, 0)"},
                "repeat_interleave makes A A B B, while the conditions are in the order A B A B: "
                "clips get each other's conditions.", 2),
        Mistake("time-not-doubled", {"torch.cat([t, t]) if t.ndim else t": "t"},
                "x is twice as long in your call, but a t of shape (B,) is not. Double it, too.",
                2),
        Mistake("x-not-doubled", {"torch.cat([x, x])": "x"},
                "The network gets twice as many conditions as samples. Repeat x along its first "
                "axis; channels that are doubled do not count.", 2),
        Mistake("time-always-doubled", {"torch.cat([t, t]) if t.ndim else t": "torch.cat([t, t])"},
                "A t without axes, one time for all, cannot be joined by cat; hand it on as it "
                "is. Double only a t of shape (B,).", 2),
        Mistake("halves-of-channels", {".chunk(2)": ".chunk(2, 1)"},
                "You split the output along its channels. The two guesses lie behind each other "
                "in the batch, axis 0.", 2),
        Mistake("not-subtracted", {LINE: "x0_null + scale * x0"},
                "You add scale times the conditional guess. Subtract the other one first: only "
                "the difference is scaled.", 1),
        Mistake("one-less", {LINE: "x0_null + (scale - 1) * (x0 - x0_null)"},
                "You subtract 1 from the scale. Here scale 1 is the conditional guess already, "
                "and 0 the one without a condition.", 1),
        Mistake("average", {LINE: "(x0_null + scale * x0) / (1 + scale)"},
                "Yours is a weighted mean of the two guesses, so it stays between them whatever "
                "the scale. Guidance goes beyond the conditional one.", 1),
        Mistake("off-below-one",
                {"return x0_null + scale": "return x0 if scale <= 1 else x0_null + scale"},
                "You leave guidance out for scales up to 1, as some libraries do. Here scale 0 "
                "must give the guess without a condition.", 3),
        Mistake("clamped", {LINE: "(x0_null + scale * (x0 - x0_null)).clamp(-1, 1)"},
                "You clip the guess to [-1, 1]. Latents go beyond that range; clipping is a step "
                "of its own, for pixels alone.", 3),
        Mistake("null-detached", {"(x0 - x0_null)": "(x0 - x0_null.detach())"},
                "The values are right, but the guess without a condition is detached in the "
                "difference, so gradients through the guided guess are wrong.", 3)),
    "c06-interval": answer(
        only_between,
        Mistake("low-excluded", {"low <= t": "low < t"},
                "t = low lies inside: low <= t.", 2),
        Mistake("high-excluded", {"t <= high": "t < high"},
                "t = high lies inside: t <= high. With high = 1 yours leaves out the first step "
                "of all.", 2),
        Mistake("exclusive", {"low <= t <= high": "low < t < high"},
                "Both ends lie inside; yours leaves them out.", 2),
        Mistake("reversed", {CHOICE: "outside(x, t) if low <= t <= high else inside(x, t)"},
                "Inside and outside are exchanged.", 1),
        Mistake("time-reversed", {"low <= t <= high": "low <= 1 - t <= high"},
                "Your time runs backwards: t = 0 is data and t = 1 is noise, as everywhere.", 2),
        Mistake("low-only", {"low <= t <= high": "low <= t"},
                "You never look at high.", 2),
        Mistake("high-only", {"low <= t <= high": "t <= high"},
                "You never look at low.", 2),
        Mistake("asks-both",
                {CHOICE: "torch.where((low <= t) & (t <= high), inside(x, t), outside(x, t))"},
                "The values are right, but you call both denoisers at every t and discard one "
                "output. Outside the interval guidance should cost nothing.", 2),
        Mistake("or", {"low <= t <= high": "low <= t or t <= high"},
                "Every t is above low or below high, so yours is always inside. Both conditions "
                "must hold: and.", 2),
        Mistake("ends-exchanged", {"low <= t <= high": "high <= t <= low"},
                "No t lies above high and below low: yours is never inside.", 2),
        Mistake("returns-x", {"else outside(x, t)": "else x"},
                "Outside the interval you return the noisy x itself as the guess. Ask the second "
                "denoiser there.", 1),
        Mistake("inside-always-called",
                {"return inside(x, t) if": "guess = inside(x, t)\n        return guess if"},
                "The values are right, but `inside` is called at every t, needed or not. It is "
                "the expensive one: call it only in the interval.", 2),
        Mistake("arguments-exchanged", {"inside(x, t)": "inside(t, x)"},
                "You hand on (t, x). A denoiser takes x first, then t.", 1),
        Mistake("time-stretched", {"inside(x, t)": "inside(x, (t - low) / (high - low))"},
                "You stretch the interval to [0, 1] before you call `inside`. The denoiser needs "
                "the true t: it is the noise level of x.", 1),
        Mistake("time-clamped", {CHOICE: "inside(x, t.clamp(low, high))"},
                "You move t into the interval and always call `inside`. Times do not change; "
                "choose between the two denoisers.", 1),
        Mistake("x-detached", {"return inside(x, t)": "return inside(x.detach(), t)"},
                "The values are right, but x is detached on its way to `inside`. Hand it on as it "
                "is.", 1)),
    "c06-rescale": answer(
        rescaled,
        Mistake("over-the-batch", {"range(1, x0.ndim)": "range(x0.ndim)"},
                "Your standard deviation is over the batch as well, so that a clip's brightness "
                "depends on its neighbours. Measure each sample on its own.", 2),
        Mistake("upside-down", {RATIO: "guess.std(axes, keepdim=True) / "
                                       "x0.std(axes, keepdim=True)"},
                "The ratio is upside down: a guess that is too wide becomes wider.", 3),
        Mistake("variance", {RATIO: "x0.var(axes, keepdim=True) / guess.var(axes, keepdim=True)"},
                "That is the ratio of variances. Pixels are multiplied by the ratio of standard "
                "deviations.", 1),
        Mistake("all-the-way", {MIX: "whole"},
                "You bring the spread back the whole way, whatever `amount` says.", 3),
        Mistake("mix-reversed", {MIX: "amount * guess + (1 - amount) * whole"},
                "amount = 0 must leave the guess as it is, amount = 1 bring it back whole; yours "
                "are exchanged.", 3),
        Mistake("mix-with-x0", {MIX: "(1 - amount) * x0 + amount * whole"},
                "Mix with the guess, not with x0: amount = 0 leaves the guidance as it is.", 3),
        Mistake("one-frame-at-a-time", {"range(1, x0.ndim)": "range(2, x0.ndim)"},
                "You measure each channel (or frame) by itself: frames of a clip would get "
                "different factors, and it flickers. All axes but the batch.", 2),
        Mistake("standardised", {"guess * x0": "(guess - guess.mean(axes, keepdim=True)) * x0"},
                "You also take the mean away. In a picture that is mostly black the mean is its "
                "background.", 3),
        Mistake("no-keepdim", {RATIO: "x0.std(axes) / guess.std(axes)"},
                "Your ratio has shape (B,), which lines up with the width. keepdim=True leaves "
                "(B, 1, ...), which lines up with the batch.", 2),
        Mistake("about-zero", {RATIO: "(x0.square().mean(axes, keepdim=True) / "
                                      "guess.square().mean(axes, keepdim=True)).sqrt()"},
                "You measure the root mean square, so brightness counts as spread. A standard "
                "deviation is about the mean.", 1),
        Mistake("scales-x0", {"guess * x0.std": "x0 * x0.std"},
                "You scale x0. What is to be tamed is the guess; x0 only gives the measure.", 3),
        Mistake("to-one", {RATIO: "1 / guess.std(axes, keepdim=True)"},
                "You bring the spread to 1. It should be that of x0, which for frames is far from "
                "1.", 1),
        Mistake("power", {MIX: "guess * (x0.std(axes, keepdim=True) / "
                               "guess.std(axes, keepdim=True))**amount"},
                "You raise the ratio to the power of amount. Both ends are right, but in between "
                "the paper mixes the two guesses linearly.", 3),
        Mistake("added", {MIX: "guess + amount * whole"},
                "You add the rescaled guess on top. Take amount of it and 1 - amount of the "
                "guess, or the picture grows brighter.", 3),
        Mistake("only-narrower", {RATIO: f"({RATIO}).clamp(max=1)"},
                "You only ever make the spread smaller. A guess that is too narrow is to be "
                "brought to x0's spread as well.", 3),
        Mistake("mean-kept", {"guess * x0": "guess.mean(axes, keepdim=True) + "
                                            "(guess - guess.mean(axes, keepdim=True)) * x0"},
                "You keep the mean and scale what is around it. That would spare the background, "
                "but Lin's eq. 15 multiplies the whole guess, mean and all.", 3),
        Mistake("mean-of-x0", {"guess * x0": "x0.mean(axes, keepdim=True) + "
                                             "(guess - guess.mean(axes, keepdim=True)) * x0"},
                "You bring the mean to that of x0 as well. Only the spread is asked for: "
                "multiply, and add nothing.", 3),
        Mistake("largest", {RATIO: "x0.abs().amax(axes, keepdim=True) / "
                                   "guess.abs().amax(axes, keepdim=True)"},
                "You compare the largest values. One pixel then decides about the whole sample; "
                "compare the standard deviations.", 1),
        Mistake("factor-detached", {RATIO: f"({RATIO}).detach()"},
                "The values are right, but the factor is detached: gradients take it for a "
                "constant, although it depends on both guesses.", 3)),
    "c06-tokens": answer(
        encode,
        Mistake("padded-in-front", {IDS: "torch.tensor([0] * (length - len(ids)) + ids)"},
                "You fill up in front of the words; the words come first.", 2),
        Mistake("unknown-is-nothing",
                {STRANGERS: "", "[vocabulary.index(w) for w in words]":
                 "[vocabulary.index(w) if w in vocabulary else 0 for w in words]"},
                "An unknown word becomes 0, no word, without any message. “a cat left” is a "
                "mistake that the user wants to know about: raise ValueError.", 3),
        Mistake("unknown-left-out",
                {STRANGERS: "", "for w in words]": "for w in words if w in vocabulary]"},
                "Unknown words are left out silently; raise ValueError.", 3),
        Mistake("cut", {LONGER: "", IDS: "torch.tensor((ids + [0] * length)[:length])"},
                "A prompt that is too long is cut off silently, and its end is ignored; raise "
                "ValueError.", 3),
        Mistake("not-filled-up", {IDS: "torch.tensor(ids)"},
                "The ids are right, but not filled up with 0 to `length`: prompts of different "
                "lengths make no batch.", 2),
        Mistake("capitals", {"prompt.lower()": "prompt"},
                "Your function is sensitive to capitals; “A Three” must mean what “a three” "
                "means.", 1),
        Mistake("off-by-one", {"[vocabulary.index(w) for w in words]":
                               "[vocabulary.index(w) - 1 for w in words]"},
                "Your ids are one too small, so the first word has id 0, which is no word.", 2),
        Mistake("sorted", {"prompt.lower().split()": "sorted(prompt.lower().split())"},
                "Your words are sorted: their order says which digit goes where.", 1),
        Mistake("letters", {"prompt.lower().split()": "list(prompt.lower().replace(' ', ''))"},
                "You look up letters, not words: split at the spaces.", 1),
        WrongAnswer("key-error", by_dictionary,
              "For an unknown word yours raises a KeyError, which does not help someone who typed "
              "a prompt. Raise a ValueError that names the word.", 3),
        Mistake("full-prompt-refused", {"len(words) > length": "len(words) >= length"},
                "You refuse a prompt of exactly `length` words, which just fits. Raise only for "
                "more.", 3),
        Mistake("letters-counted", {"len(words) > length": "len(prompt) > length"},
                "You compare the number of letters with `length`; it limits the words.", 3),
        Mistake("unknown-is-one-more",
                {STRANGERS: "", "[vocabulary.index(w) for w in words]":
                 "[vocabulary.index(w) if w in vocabulary else len(vocabulary) for w in words]"},
                "Unknown words share an id of their own, as in many language models. The table "
                "here has no such row, and users want to know: raise ValueError.", 3),
        Mistake("unknown-is-minus-one",
                {STRANGERS: "", "[vocabulary.index(w) for w in words]":
                 "[vocabulary.index(w) if w in vocabulary else -1 for w in words]"},
                "An unknown word becomes -1, the last row of the table for Python and an error for "
                "an embedding. Raise ValueError instead.", 3),
        Mistake("assertion", {"raise ValueError(f\"{len(words)} words; {length} are the most.\")":
                              "raise AssertionError"},
                "A prompt that is too long raises AssertionError, which is for mistakes of the "
                "program. A wrong input is a ValueError.", 3),
        Mistake("filled-with-minus-one", {"[0] * (length": "[-1] * (length"},
                "You fill up with -1. The id of no word is 0, the first row of the table.", 2),
        Mistake("filled-with-the-last",
                {"ids + [0] * (length": "ids + (ids or [0])[-1:] * (length"},
                "You fill up by repeating the last word, so that “a three” says three again and "
                "again. Fill up with 0, no word.", 2),
        Mistake("float-ids", {"(length - len(ids)))": "(length - len(ids)), dtype=torch.float32)"},
                "The ids are right, but floating point numbers (torch.zeros makes them, too). They "
                "are rows of a table: int64.", 2),
        Mistake("a-batch-of-one", {IDS: f"{IDS}[None]"},
                "You return (1, length). One prompt is (length,); who calls it stacks prompts into "
                "a batch.", 2),
        Mistake("list", {IDS: "ids + [0] * (length - len(ids))"},
                "The ids are right, but in a list. Return a tensor.", 2),
        Mistake("one-hot", {IDS: f"torch.eye(len(vocabulary))[{IDS}]"},
                "You return one-hot rows, a 1 at each word's place. Return the places themselves; "
                "the table is indexed by them.", 2),
        Mistake("each-space-splits", {".split()": '.split(" ")'},
                "split(\" \") finds empty words between two spaces, and these get the id of no "
                "word. split() treats any run of spaces as one.", 1),
        Mistake("each-word-once", {"prompt.lower().split()":
                                   "list(dict.fromkeys(prompt.lower().split()))"},
                "A word that occurs twice appears once in yours. “a three and a seven” needs both "
                "its articles: each word keeps its place.", 1)),
    "c06-cross": answer(
        cross_attention,
        Mistake("over-places", {".softmax(-1)": ".softmax(-2)"},
                "Your softmax is over the places: the weights of each word sum to 1. The weights "
                "of each place must sum to 1 over the words, the last axis.", 3),
        Mistake("not-scaled", {" / q.shape[-1]**0.5": ""},
                "The 1 / sqrt(d) is missing: scores grow with the width, and the softmax becomes a "
                "choice.", 3),
        Mistake("scaled-by-d", {"q.shape[-1]**0.5": "q.shape[-1]"},
                "You divide by d, not by its square root: the maps are too even.", 3),
        Mistake("scaled-by-the-whole-width", {"q.shape[-1]**0.5": "h.shape[-1]**0.5"},
                "You divide by the root of the whole width D. A score is the product within one "
                "head, d = D / heads.", 3),
        Mistake("heads-interleaved", {'"b n (h d) -> b h n d"': '"b n (d h) -> b h n d"',
                                      '"b h n d -> b n (h d)"': '"b h n d -> b n (d h)"'},
                "Your heads take every so-many-th number of the width. A head is a slice of it: "
                "(h d), heads first.", 2),
        Mistake("one-head", {"h=heads": "h=1"},
                "Your maps have one head, whatever `heads` says.", 2),
        Mistake("keys-for-values", {"key(words), value(words)": "key(words), key(words)"},
                "You average the keys. A key is compared with the queries; a value is what the "
                "place reads.", 1),
        Mistake("put-together-wrong",
                {'rearrange(maps @ v, "b h n d -> b n (h d)")': "(maps @ v).reshape(h.shape)"},
                "The heads are put together in the wrong order: bring the places to the front "
                "before you merge heads and widths.", 3),
        Mistake("maps-before-softmax",
                {SOFT: "q @ k.transpose(-1, -2) / q.shape[-1]**0.5",
                 "maps @ v": "maps.softmax(-1) @ v"},
                "The first result is right, but the maps you return are the scores before the "
                "softmax.", 3),
        Mistake("maps-only", {'rearrange(maps @ v, "b h n d -> b n (h d)"), maps': "maps"},
                "You return the maps alone. Return two things: the values that each place reads, "
                "and the maps.", 3),
        Mistake("heads-by-view",
                {'rearrange(y, "b n (h d) -> b h n d", h=heads)':
                 "y.reshape(len(y), heads, y.shape[1], -1)"},
                "You reshape (B, N, D) to (B, heads, N, d) directly, which cuts the places into "
                "groups, not the width. First (B, N, heads, d), then exchange two axes.", 2),
        Mistake("self-attention", {"key(words), value(words)": "key(h), value(h)"},
                "Your places read one another, which is chapter 03's self-attention. Keys and "
                "values are made from the words.", 1),
        Mistake("values-for-keys", {"key(words), value(words)": "value(words), value(words)"},
                "You compare the queries with the values. key is what a word is found by, value "
                "what it gives.", 1),
        Mistake("returns-exchanged", {'rearrange(maps @ v, "b h n d -> b n (h d)"), maps':
                                      'maps, rearrange(maps @ v, "b h n d -> b n (h d)")'},
                "You return the maps first. What is read comes first, then the maps.", 3),
        Mistake("maps-averaged", {'(h d)"), maps': '(h d)"), maps.mean(1)'},
                "What is read is right, but your maps are averaged over the heads. Return each "
                "head's own: heads may read different words.", 3),
        Mistake("maps-turned", {'(h d)"), maps': '(h d)"), maps.mT'},
                "What is read is right, but your maps are (B, heads, L, N). A row belongs to a "
                "place: (B, heads, N, L).", 3),
        Mistake("over-heads", {".softmax(-1)": ".softmax(1)"},
                "Your softmax is over the heads, so heads compete for each word. In every head "
                "the weights over the words, the last axis, sum to 1.", 3),
        Mistake("scaled-by-words", {"q.shape[-1]**0.5": "k.shape[-2]**0.5"},
                "You divide by the root of the number of words. Scores grow with the width of a "
                "head, d, however long the prompt is.", 3),
        Mistake("scale-multiplied", {" / q.shape[-1]**0.5": " * q.shape[-1]**0.5"},
                "You multiply by sqrt(d), which makes large scores larger: nearly all weight goes "
                "to one word. Divide.", 3),
        Mistake("scaled-too-late", {" / q.shape[-1]**0.5).softmax(-1)":
                                    ").softmax(-1) / q.shape[-1]**0.5"},
                "You divide after the softmax, so the weights no longer sum to 1. The scores are "
                "what is scaled.", 3),
        Mistake("residual", {'return rearrange(': 'return h + rearrange('},
                "You add h. The layer around this function does so; return what is read alone.", 3),
        Mistake("maps-detached", {SOFT: f"{SOFT}.detach()"},
                "The values are right, but the maps are detached: queries and keys would get no "
                "gradient, so no place would ever learn which word to read.", 3)),
}

# mutants that no legal input tells from the right answer: `authoring.mutations`
EQUIVALENT = {
    ("c06-guided",
     "@torch.no_grad()"):
        "It returns a function, which runs later, outside of no_grad.",
    ("c06-guided",
     "line 5: torch.cat([cond, null]) -> torch.cat([cond, null]).detach()"):
        "Conditions are whole numbers, which have no gradients.",
    ("c06-guided",
     "line 5: cond -> cond.detach()"):
        "Conditions are whole numbers, which have no gradients.",
    ("c06-guided",
     "line 5: null -> null.detach()"):
        "Conditions are whole numbers, which have no gradients.",
    ("c06-interval",
     "@torch.no_grad()"):
        "It returns a function, which runs later, outside of no_grad.",
    ("c06-cross",
     "line 6: k.transpose(-1, -2) -> k.transpose(-2, -1)"):
        "Exchanging two axes is the same in either order.",
    ("c06-cross",
     "line 6: -2 -> 2"):
        "Of four axes the last but one is axis 2.",
}

RIGHT = {
    "c06-beyond": (2, (
        "At scale 1, yes. Above it the guess is exaggerated, and what is exaggerated is the "
        "difference to the other clouds.",
        "Guidance does not look for typical points: it looks for the difference between this cloud "
        "and the others, and that is strongest at its far side.",
        "The line goes away from what all clouds have in common. So guided samples are no fair "
        "sample of the condition: they are clearer, of fewer kinds, and finally outside the "
        "data.")),
    "c06-bag": (2, (
        "Attention does not get the position of a word: it averages a set.",
        "The words are even all the same ones, only in another order.",
        "Keys and values are summed over the words, in whatever order. So order and neighbours "
        "must be encoded in the words before the picture reads them.")),
    "c06-bug": (1, (
        "Then its samples would move the other way as the scale grows; they move the right way, "
        "too far.",
        "At scale 0 it is where yours is at 1: the colleague uses the paper's w, which is our "
        "scale less one. Two conventions, one letter; always ask what 1 means.",
        "Then the scale would do nothing, and its line would be flat.",
        "No training here: the denoisers are exact. And it would not shift the curve by "
        "exactly 1.")),
}
