"""Prompts: a closed vocabulary, a small grammar, and the way to token ids and back.

    prompt := object [and object]
    object := digit [verb [pace] [heading] [pace]]      "a 3 moving slowly up left"

A digit is "a 3", "the digit three", ... or "something"; what is left out is left open. A prompt is
`PROMPT_LENGTH` token ids, padded with 0, the id of no word; the null prompt is all zeros. The
meaning of the ids is learnt with the model. A heading is the direction at the first frame, in
sectors of 45 degrees.
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
ARTICLES, HEADINGS = ("a", "the"), ("left", "right", "up", "down")
VOCABULARY = ("", *"0123456789", *NUMBER_WORDS, *ARTICLES, "digit", "something", *VERBS, *HEADINGS,
              *PACES, "and")
TOKEN_IDS = {word: i for i, word in enumerate(VOCABULARY)}
DIGIT_WORDS = frozenset(VOCABULARY[1:21])                                   # 0 to 9, zero to nine
SYNONYMS = {"an": "a", "then": "and", "with": "and", "plus": "and", "fast": "quickly",
            "quick": "quickly", "rapidly": "quickly", "slow": "slowly", "upward": "up",
            "upwards": "up", "downward": "down", "downwards": "down", "leftward": "left",
            "leftwards": "left", "rightward": "right", "rightwards": "right", "move": "moving",
            "drifts": "drifting", "fly": "flying", "flies": "flying", "go": "going"}
NEVER_MISSPELT = {"them", "there", "they", "these", "for", "from", "done"}   # like known words
PROMPT_LENGTH, MAX_DIGITS = 16, 2                             # words and digits in a prompt
EXAMPLE = "'a 3 moving left'"


class ObjectSpec(NamedTuple):
    """One object of a prompt; what is None is left open. direction: an index of `DIRECTIONS`."""
    digit: int | None = None
    direction: int | None = None
    pace: str | None = None


# Words to ids and back

def encode(prompt: str | Sequence[str | None] | None) -> Tensor:
    """Token ids (L,), int64, of a prompt, or (N, L) of several; L = PROMPT_LENGTH.

    None is the null prompt. Capitals, commas, stops and hyphens do not matter. Raises ValueError
    for an empty prompt, unknown words (with similar known ones), more than 16 words or 2 digits,
    and for a phrase that names nothing, names two digits, or repeats itself. Warns if directions
    contradict each other.
    """
    if hasattr(prompt, "__iter__") and not isinstance(prompt, str):
        prompts = list(prompt)
        if not prompts:
            raise ValueError("The list of prompts is empty.")
        return torch.stack([encode_prompt(p) for p in prompts])
    return encode_prompt(prompt)


def encode_prompt(prompt: str | None) -> Tensor:
    """Token ids (L,) of one prompt. Raises and warns as `encode`."""
    ids = [] if prompt is None else [TOKEN_IDS[word] for word in checked_words(prompt)]
    return torch.tensor(ids + [0] * (PROMPT_LENGTH - len(ids)), device="cpu")


def decode(ids: Tensor) -> str:
    """The words of token ids (L,), "" for the null prompt. Raises ValueError for unknown ids."""
    ids = ids.tolist()
    if any(not 0 <= i < len(VOCABULARY) for i in ids):
        raise ValueError(f"Token ids must be from 0 to {len(VOCABULARY) - 1}, got {ids}.")
    return " ".join(VOCABULARY[i] for i in ids if i)


def split_words(prompt: str) -> list[str]:
    """The words of a text, in small letters, without punctuation."""
    return re.sub(r"[-,.;:!?]", " ", prompt.lower()).split()


def checked_words(prompt: str) -> list[str]:
    """The words of a prompt, or the errors and warnings of `encode`."""
    if not isinstance(prompt, str):
        raise ValueError(f"A prompt is text, such as {EXAMPLE}, or None; got {prompt!r}.")
    words = split_words(prompt)
    if not words:
        raise ValueError(f"The prompt is empty. Say what should move, for example {EXAMPLE};"
                         " None leaves everything open.")
    if unknown := [w for w in dict.fromkeys(words) if w not in TOKEN_IDS]:
        raise ValueError("Not in the vocabulary: " + "; ".join(map(suggest_words, unknown)) + ". "
                         f"It has {len(VOCABULARY) - 1} words; see "
                         "minidiff.data.prompts.VOCABULARY.")
    if len(words) > PROMPT_LENGTH:
        raise ValueError(f"The prompt has {len(words)} words; {PROMPT_LENGTH} are the most.")
    if (digits := sum(names_digit(w) for w in words)) > MAX_DIGITS:
        raise ValueError(f"The prompt asks for {digits} digits; {MAX_DIGITS} are the most.")
    phrases = split_phrases(words)
    if len(phrases) != words.count("and") + 1:
        raise ValueError(f"{prompt!r} has nothing before or after an 'and'; "
                         "write 'a 3 and a 7', or leave it out.")
    for phrase in phrases:
        check_phrase(phrase, alone=len(phrases) == 1)
    return words


def names_digit(word: str) -> bool:
    """Whether a word stands for a digit: 3, three or something."""
    return word in DIGIT_WORDS or word == "something"


def check_phrase(phrase: list[str], alone: bool) -> None:
    """Raises ValueError for a phrase that no clip can show; warns of one that contradicts itself.

    alone: the prompt has no other phrase, so the digit may be left open.
    """
    said, digits = " ".join(phrase), [w for w in phrase if names_digit(w)]
    if len(digits) > 1:
        raise ValueError(f"'{said}' names {len(digits)} digits without 'and' between them; write "
                         f"'{' and '.join(digits)}', or leave one out.")
    for group in (ARTICLES, ("digit",), VERBS, *((w,) for w in HEADINGS + PACES)):
        found = [w for w in phrase if w in group]
        if len(found) > 1:
            raise ValueError(f"'{said}' has {' and '.join(map(repr, found))}; one of them is "
                             f"enough, as in {EXAMPLE}.")
    if not digits and not (alone and {*HEADINGS, *PACES} & {*phrase}):
        raise ValueError(f"'{said}' names no digit; say which one, as in {EXAMPLE}, or "
                         "'something'. 'and' stands between two digits, not between two headings.")
    for pair in (("left", "right"), ("up", "down"), PACES):
        if {*pair} <= {*phrase}:
            warnings.warn(f"'{said}' contradicts itself ({' and '.join(pair)}): "
                          "the model will do one of them, or neither.", stacklevel=5)


def suggest_words(word: str) -> str:
    """A word and, if there is one, the known word that is meant: similar and of one first letter.

    Numbers and short words are too easily like another word, so they get no similar one.
    """
    if word.isdigit():
        return f"{word!r} (digits are 0 to 9, each a word of its own)"
    close = [SYNONYMS[word]] if word in SYNONYMS else []
    if not close and len(word) > 2 and word not in NEVER_MISSPELT:
        known = [w for w in VOCABULARY[1:] if w[0] == word[0]]
        close = difflib.get_close_matches(word, known, n=2, cutoff=0.78)
    return f"{word!r}" + (f" (do you mean {' or '.join(map(repr, close))}?)" if close else "")


# Meaning to words and back

def split_phrases(words: list[str]) -> list[list[str]]:
    """The words of a prompt, object by object."""
    starts = [i for i, word in enumerate(words) if word == "and"]
    ends = zip([0, *(i + 1 for i in starts)], [*starts, len(words)])
    return [words[a:b] for a, b in ends if b > a]


def parse(prompt: str) -> list[ObjectSpec]:
    """The objects of a prompt. Raises as `encode`. Of contradictions the last word counts."""
    return [parse_phrase(phrase) for phrase in split_phrases(checked_words(prompt))]


def parse_phrase(phrase: list[str]) -> ObjectSpec:
    """The object that the words between two "and"s name."""
    digit = [(TOKEN_IDS[w] - 1) % 10 for w in phrase if w in DIGIT_WORDS]
    down = [w for w in phrase if w in ("up", "down")][-1:]
    across = [w for w in phrase if w in ("left", "right")][-1:]
    heading, pace = " ".join(down + across), [w for w in phrase if w in PACES]
    return ObjectSpec(digit[-1] if digit else None,
                      DIRECTIONS.index(heading) if heading else None, pace[-1] if pace else None)


def describe(objects: Sequence[ObjectSpec]) -> str:
    """The plain prompt: "a 3 moving left and a 7 moving slowly up"."""
    return " and ".join(object_phrase(spec) for spec in objects)


def object_phrase(spec: ObjectSpec, subject: str = "a {digit}", verb: str = "moving",
                  pace_first: bool = True) -> str:
    """One object in words. subject: a pattern that may hold {digit}, 3, and {number}, three."""
    if spec.digit is None:
        subject = "something"
    number = NUMBER_WORDS[spec.digit] if spec.digit in range(10) else spec.digit  # other sprites
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

    Each object loses its digit in one case of eight, and its heading in another one. uniforms:
    numbers in [0, 1), four for each object.
    """
    def pick(options):
        return options[int(next(uniforms) * len(options))]

    phrases = []
    for spec in objects:
        subject, verb, first = pick(SUBJECTS), pick(VERBS), pick((True, False))
        lost = pick((None,) * 6 + ("digit", "direction"))
        said = spec._replace(**({lost: None} if lost else {}))
        phrases.append(object_phrase(said, subject, verb, first))
    return " and ".join(phrases)
