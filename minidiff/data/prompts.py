"""Prompts: a closed vocabulary, a small grammar, and the way to token ids and back.

    prompt := thing [and thing]
    thing  := digit [verb [pace] [heading] [pace]]      "a 3 moving slowly up left"

A digit is "a 3", "the digit three", ... or "something"; what is left out is left open. A prompt is
`LENGTH` token ids, filled up with 0, the id of no word; the null prompt is all zeros. What the ids
mean is learnt with the model. A heading is the direction at the first frame, in sectors of 45
degrees.
"""
import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIRECTIONS = ("right", "down right", "down", "down left",   # sectors of 45 degrees, y down
              "left", "up left", "up", "up right")
VERBS = ("moving", "drifting", "flying", "going", "moves", "goes")
PACES = ("slowly", "quickly")
VOCABULARY = ("", *"0123456789", *NUMBERS, "a", "the", "digit", "something", *VERBS,
              "left", "right", "up", "down", *PACES, "and")
IDS = {word: i for i, word in enumerate(VOCABULARY)}
LENGTH, MOST = 16, 2                                        # words and digits in a prompt


class Thing(NamedTuple):
    """What is said of one digit; None is left open. direction: an index of `DIRECTIONS`."""
    digit: int | None = None
    direction: int | None = None
    pace: str | None = None


# Words to ids and back

def encode(prompt: str | Sequence[str | None] | None) -> Tensor:
    """Token ids (LENGTH,), int64, of a prompt, or (N, LENGTH) of several. None: the null prompt.

    Capitals, commas, stops and hyphens do not matter. Raises ValueError for an empty prompt,
    unknown words (with the nearest known ones), more than 16 words or 2 digits. Warns where
    directions contradict each other.
    """
    if prompt is not None and not isinstance(prompt, str):
        return torch.stack([encode(p) for p in prompt])
    ids = [] if prompt is None else [IDS[word] for word in checked(prompt)]
    return torch.tensor(ids + [0] * (LENGTH - len(ids)))


def decode(ids: Tensor) -> str:
    """The words of token ids (L,); "" for the null prompt. Raises ValueError for unknown ids."""
    ids = ids.tolist()
    if any(not 0 <= i < len(VOCABULARY) for i in ids):
        raise ValueError(f"Token ids must be from 0 to {len(VOCABULARY) - 1}, got {ids}.")
    return " ".join(VOCABULARY[i] for i in ids if i)


def words_of(prompt: str) -> list[str]:
    return re.sub(r"[-,.;:!?]", " ", prompt.lower()).split()


def checked(prompt: str) -> list[str]:
    """The words of a prompt, or the errors and warnings of `encode`."""
    words = words_of(prompt)
    if not words:
        raise ValueError("The prompt is empty. Say what should move, for example 'a 3 moving left';"
                         " None leaves everything open.")
    if unknown := [w for w in dict.fromkeys(words) if w not in IDS]:
        raise ValueError("Not in the vocabulary: " + "; ".join(map(nearest, unknown)) + ". "
                         f"It has {len(VOCABULARY) - 1} words; see minidiff.data.prompts.VOCABULARY.")
    if len(words) > LENGTH:
        raise ValueError(f"The prompt has {len(words)} words; {LENGTH} are the most.")
    if (digits := sum((w in IDS and 1 <= IDS[w] <= 20) or w == "something" for w in words)) > MOST:
        raise ValueError(f"The prompt asks for {digits} digits; {MOST} are the most.")
    for phrase in phrases(words):
        for pair in (("left", "right"), ("up", "down"), PACES):
            if set(pair) <= set(phrase):
                warnings.warn(f"'{' '.join(phrase)}' contradicts itself ({' and '.join(pair)}): "
                              "the model will do one of them, or neither.", stacklevel=4)
    return words


def nearest(word: str) -> str:
    """A word and the known ones like it."""
    close = difflib.get_close_matches(word, VOCABULARY[1:], n=2, cutoff=0.5)
    return f"{word!r}" + (f" (do you mean {' or '.join(map(repr, close))}?)" if close else "")


# Meaning to words and back

def phrases(words: list[str]) -> list[list[str]]:
    """The words of a prompt, thing by thing."""
    starts = [i for i, word in enumerate(words) if word == "and"]
    ends = zip([0, *(i + 1 for i in starts)], [*starts, len(words)])
    return [words[a:b] for a, b in ends if b > a]


def parse(prompt: str) -> list[Thing]:
    """What a prompt says, thing by thing. Raises as `encode`. Of contradictions the last counts."""
    return [meaning(phrase) for phrase in phrases(checked(prompt))]


def meaning(phrase: list[str]) -> Thing:
    digit = [(IDS[w] - 1) % 10 for w in phrase if 1 <= IDS[w] <= 20]
    down = [w for w in phrase if w in ("up", "down")][-1:]
    across = [w for w in phrase if w in ("left", "right")][-1:]
    heading, pace = " ".join(down + across), [w for w in phrase if w in PACES]
    return Thing(digit[-1] if digit else None,
                 DIRECTIONS.index(heading) if heading else None, pace[-1] if pace else None)


def describe(things: Sequence[Thing]) -> str:
    """The plain prompt: "a 3 moving left and a 7 moving slowly up"."""
    return " and ".join(phrase(thing) for thing in things)


def phrase(thing: Thing, subject: str = "a {digit}", verb: str = "moving",
           pace_first: bool = True) -> str:
    """One thing in words. subject: a pattern that may hold {digit}, 3, and {number}, three."""
    if thing.digit is None:
        subject = "something"
    number = NUMBERS[thing.digit] if thing.digit in range(10) else thing.digit   # other sprites
    words = [subject.format(digit=thing.digit, number=number)]
    if thing.direction is not None or thing.pace:
        heading = DIRECTIONS[thing.direction] if thing.direction is not None else None
        rest = (thing.pace, heading) if pace_first else (heading, thing.pace)
        words += [verb, *(w for w in rest if w)]
    return " ".join(words)


SUBJECTS = ("a {digit}", "a {digit}", "the {digit}", "digit {digit}", "the digit {digit}",
            "{digit}", "a {number}", "digit {number}", "{number}")


def paraphrase(things: Sequence[Thing], chance: Iterator[float]) -> str:
    """The same in other words, or a little less: how a training caption is made.

    Each thing loses its digit or its heading in one case out of eight each. chance: numbers in
    [0, 1), four a thing.
    """
    def pick(options):
        return options[int(next(chance) * len(options))]

    said = []
    for thing in things:
        subject, verb, first = pick(SUBJECTS), pick(VERBS), pick((True, False))
        lost = pick((None,) * 6 + ("digit", "direction"))
        said.append(phrase(thing._replace(**({lost: None} if lost else {})), subject, verb, first))
    return " and ".join(said)
