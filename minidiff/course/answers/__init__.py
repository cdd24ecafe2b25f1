"""The right answers and the common mistakes: a chapter a file, `ANSWERS` and `RIGHT` in each.

A wrong answer is a function, too. A check runs the wrong answers of an exercise on the student's
cases: if one of them gives the same results, its diagnosis explains the student's mistake.
"""
import importlib
import inspect
import textwrap
from collections.abc import Callable
from typing import NamedTuple


class WrongAnswer(NamedTuple):
    """A named wrong answer: what it does, the sentence for it, and the hint (1 to 3) that helps."""
    name: str
    function: Callable
    diagnosis: str
    hint: int


class Answer(NamedTuple):
    """A right answer, and the wrong ones that are known."""
    reference: Callable
    wrong_answers: tuple[WrongAnswer, ...]


class Mistake(NamedTuple):
    """A wrong answer, given by its changes: old -> new pieces of the right answer's source."""
    name: str
    changes: dict[str, str]
    diagnosis: str
    hint: int


def answer(reference: Callable, *wrong: WrongAnswer | Mistake) -> Answer:
    """A right answer and its wrong ones, the mistakes among them made into functions."""
    return Answer(
        reference,
        tuple(
            w
            if isinstance(w, WrongAnswer)
            else WrongAnswer(w.name, apply_mistake(reference, w), w.diagnosis, w.hint)
            for w in wrong
        ),
    )


def apply_mistake(reference: Callable, mistake: Mistake) -> Callable:
    """The reference with a mistake in it.

    Raises ValueError for a piece that its source does not hold, or holds twice.
    """
    source = textwrap.dedent(inspect.getsource(reference))
    for old, new in mistake.changes.items():
        if source.count(old) != 1:
            raise ValueError(f"{mistake.name}: {old!r} stands {source.count(old)} times in "
                             f"{reference.__name__}, not once.")
        source = source.replace(old, new)
    space = dict(reference.__globals__)
    exec(compile(source, f"<{mistake.name}>", "exec"), space)
    return space[reference.__name__]


def find(id: str) -> Answer:
    """The answer to an exercise."""
    return answer_module(id).ANSWERS[id]


def right_choice(id: str) -> tuple[int, tuple[str, ...]]:
    """A question's right choice, and a sentence for each choice that says why or why not."""
    return answer_module(id).RIGHT[id]


def answer_module(id: str):
    """The module that answers an id like "c02-loss"."""
    return importlib.import_module(f"{__name__}.ch{id[1:3]}")
