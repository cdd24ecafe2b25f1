"""Prompts: a closed vocabulary, a small grammar, and the way to token ids and back.

    prompt := thing [and thing]
    thing  := digit [verb [pace] [heading] [pace]]      "a 3 moving slowly up left"

A digit is "a 3", "the digit three", ... or "something"; what is left out is left open. A prompt is
`PROMPT_LENGTH` token ids, filled up with 0, the id of no word; the null prompt is all zeros. What the ids
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

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIRECTIONS = ("right", "down right", "down", "down left",   # sectors of 45 degrees, y down
              "left", "up left", "up", "up right")
VERBS = ("moving", "drifting", "flying", "going", "moves", "goes")
PACES = ("slowly", "quickly")
VOCABULARY = ("", *"0123456789", *NUMBER_WORDS, "a", "the", "digit", "something", *VERBS,
              "left", "right", "up", "down", *PACES, "and")
TOKEN_IDS = {word: i for i, word in enumerate(VOCABULARY)}
PROMPT_LENGTH, MAX_DIGITS = 16, 2                                        # words and digits in a prompt


class ObjectSpec(NamedTuple):
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
    ids = [] if prompt is None else [TOKEN_IDS[word] for word in checked_words(prompt)]
    return torch.tensor(ids + [0] * (PROMPT_LENGTH - len(ids)))


def decode(ids: Tensor) -> str:
    """The words of token ids (L,); "" for the null prompt. Raises ValueError for unknown ids."""
    ids = ids.tolist()
    if any(not 0 <= i < len(VOCABULARY) for i in ids):
        raise ValueError(f"Token ids must be from 0 to {len(VOCABULARY) - 1}, got {ids}.")
    return " ".join(VOCABULARY[i] for i in ids if i)


def split_words(prompt: str) -> list[str]:
    return re.sub(r"[-,.;:!?]", " ", prompt.lower()).split()


def checked_words(prompt: str) -> list[str]:
    """The words of a prompt, or the errors and warnings of `encode`."""
    words = split_words(prompt)
    if not words:
        raise ValueError("The prompt is empty. Say what should move, for example 'a 3 moving left';"
                         " None leaves everything open.")
    if unknown := [w for w in dict.fromkeys(words) if w not in TOKEN_IDS]:
        raise ValueError("Not in the vocabulary: " + "; ".join(map(suggest_words, unknown)) + ". "
                         f"It has {len(VOCABULARY) - 1} words; see minidiff.data.prompts.VOCABULARY.")
    if len(words) > PROMPT_LENGTH:
        raise ValueError(f"The prompt has {len(words)} words; {PROMPT_LENGTH} are the most.")
    if (digits := sum((w in TOKEN_IDS and 1 <= TOKEN_IDS[w] <= 20) or w == "something" for w in words)) > MAX_DIGITS:
        raise ValueError(f"The prompt asks for {digits} digits; {MAX_DIGITS} are the most.")
    for phrase in split_phrases(words):
        for pair in (("left", "right"), ("up", "down"), PACES):
            if set(pair) <= set(phrase):
                warnings.warn(f"'{' '.join(phrase)}' contradicts itself ({' and '.join(pair)}): "
                              "the model will do one of them, or neither.", stacklevel=4)
    return words


def suggest_words(word: str) -> str:
    """A word and the known ones like it."""
    close = difflib.get_close_matches(word, VOCABULARY[1:], n=2, cutoff=0.5)
    return f"{word!r}" + (f" (do you mean {' or '.join(map(repr, close))}?)" if close else "")


# Meaning to words and back

def split_phrases(words: list[str]) -> list[list[str]]:
    """The words of a prompt, thing by thing."""
    starts = [i for i, word in enumerate(words) if word == "and"]
    ends = zip([0, *(i + 1 for i in starts)], [*starts, len(words)])
    return [words[a:b] for a, b in ends if b > a]


def parse(prompt: str) -> list[ObjectSpec]:
    """What a prompt says, thing by thing. Raises as `encode`. Of contradictions the last counts."""
    return [parse_phrase(phrase) for phrase in split_phrases(checked_words(prompt))]


def parse_phrase(phrase: list[str]) -> ObjectSpec:
    digit = [(TOKEN_IDS[w] - 1) % 10 for w in phrase if 1 <= TOKEN_IDS[w] <= 20]
    down = [w for w in phrase if w in ("up", "down")][-1:]
    across = [w for w in phrase if w in ("left", "right")][-1:]
    heading, pace = " ".join(down + across), [w for w in phrase if w in PACES]
    return ObjectSpec(digit[-1] if digit else None,
                 DIRECTIONS.index(heading) if heading else None, pace[-1] if pace else None)


def describe(objects: Sequence[ObjectSpec]) -> str:
    """The plain prompt: "a 3 moving left and a 7 moving slowly up"."""
    return " and ".join(object_phrase(thing) for thing in objects)


def object_phrase(spec: ObjectSpec, subject: str = "a {digit}", verb: str = "moving",
           pace_first: bool = True) -> str:
    """One thing in words. subject: a pattern that may hold {digit}, 3, and {number}, three."""
    if spec.digit is None:
        subject = "something"
    number = NUMBER_WORDS[spec.digit] if spec.digit in range(10) else spec.digit   # other sprites
    words = [subject.format(digit=spec.digit, number=number)]
    if spec.direction is not None or spec.pace:
        heading = DIRECTIONS[spec.direction] if spec.direction is not None else None
        rest = (spec.pace, heading) if pace_first else (heading, spec.pace)
        words += [verb, *(w for w in rest if w)]
    return " ".join(words)


SUBJECTS = ("a {digit}", "a {digit}", "the {digit}", "digit {digit}", "the digit {digit}",
            "{digit}", "a {number}", "digit {number}", "{number}")


def paraphrase(objects: Sequence[ObjectSpec], uniforms: Iterator[float]) -> str:
    """The same in other words, or a little less: how a training caption is made.

    Each thing loses its digit or its heading in one case out of eight each. chance: numbers in
    [0, 1), four a thing.
    """
    def pick(options):
        return options[int(next(uniforms) * len(options))]

    said = []
    for thing in objects:
        subject, verb, first = pick(SUBJECTS), pick(VERBS), pick((True, False))
        lost = pick((None,) * 6 + ("digit", "direction"))
        said.append(object_phrase(thing._replace(**({lost: None} if lost else {})), subject, verb, first))
    return " and ".join(said)
