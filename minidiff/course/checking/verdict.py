"""From observations to a verdict: passed, not attempted, or a diagnosis in a sentence."""
import functools
import html
import os
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.course.answers import Answer
from minidiff.course.checking.exercise import Exercise
from minidiff.course.checking.observation import Observation, observe

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
# a verdict's word and its colour; colour-blind readers can distinguish the colours
GRADIENTS, OWN_RANDOMNESS = "gradients", "own-randomness"         # mistakes of any function
WHERE_GRADIENTS_STOP = ("They stop at no_grad, detach, .data, .item(), numpy, and where a tensor "
                        "is made anew from numbers.")
STATUS_STYLES = {"passed": ("PASS", "#0072B2"), "not attempted": ("NOT ATTEMPTED", "#999999"),
         "diagnosed": ("DIAGNOSIS", "#E69F00"), "failed": ("NOT YET", "#D55E00")}


class CheckFailed(AssertionError):
    """Raised for a check that did not pass, if checks are strict."""


class Verdict(NamedTuple):
    """The result of a check.

    status: "passed", "not attempted", "diagnosed" (a known mistake) or "failed" (an unknown one).
    mistake: the known mistake's name. hint: the hint (1 to 3) that helps, if one does.
    """
    id: str
    status: str
    message: str
    points: int = 0
    mistake: str | None = None
    hint: int | None = None

    def __repr__(self) -> str:
        helps = f" Hint {self.hint} helps." if self.hint else ""
        return f"{STATUS_STYLES[self.status][0]} {self.id}: {self.message}{helps}"

    def _repr_html_(self) -> str:
        word, colour = STATUS_STYLES[self.status]
        helps = f"<br><em>Hint {self.hint} helps.</em>" if self.hint else ""
        return (f'<div role="status" style="border-left: 6px solid {colour}; padding: 4px 12px; '
                f'margin: 4px 0"><b>{word}</b> <code>{self.id}</code><br>'
                f"{html.escape(self.message)}{helps}</div>")


def strict_checks() -> bool:
    """Whether a check that fails must raise: MINIDIFF_STRICT=1, or nbgrader is running."""
    return os.environ.get("MINIDIFF_STRICT") == "1" or "NBGRADER_EXECUTION" in os.environ


def check_function(f: Callable, exercise: Exercise, answer: Answer) -> Verdict:
    """The verdict on a function, here and now."""
    if not callable(f):
        return Verdict(exercise.id, "failed", f"{exercise.entry} is no function but "
                       f"{'None' if f is None else 'a ' + type(f).__name__}.")
    return judge(observe(f, exercise), exercise, answer)


def observe_right(answer: Answer, exercise: Exercise) -> list[Observation]:
    """The observations of the right answer. Raises RuntimeError if the check is broken."""
    right = observed(answer.reference, exercise)
    require_sound(right, exercise)
    return right


@functools.lru_cache(maxsize=2000)
def observed(f: Callable, exercise: Exercise, values_only: bool = False) -> list[Observation]:
    """The observations of one of the answers, which does the same every time."""
    return observe(f, exercise, values_only=values_only)


def judge(observations: list[Observation], exercise: Exercise, answer: Answer,
          right: list[Observation] | None = None) -> Verdict:
    """The verdict on the observations of a function on all cases of its exercise.

    right: the observations of the right answer, if they are known already.
    """
    def verdict(status: str, message: str, wrong=None, hint=None) -> Verdict:
        return Verdict(exercise.id, status, message, exercise.points * (status == "passed"),
                       wrong, hint)

    if observations[-1].kind == "unwritten":
        return verdict("not attempted", f"{exercise.title}: write {exercise.entry}. "
                       f"Hint 1: {exercise.hints[0]}")
    if copied := sorted({n for o in observations for n in o.package_calls}):
        return verdict("failed", f"It calls, or is, the package's own {' and '.join(copied)}: that "
                       "is the answer, not yours. Write the formula out.")
    right = right or observe_right(answer, exercise)
    wrongs = [i for i, (came, want) in enumerate(zip(observations, right))
              if observation_difference(came, want)]
    if not wrongs and len(observations) == len(right):
        if changed := sorted({n for o in observations for n in o.mutated_arguments}):
            return verdict("failed", "The values are right, but your function changes its argument "
                           f"{' and '.join(changed)}, which belongs to the caller; work on a new "
                           "tensor (x = x + 1, not x += 1).")
        problem = gradient_problem(observations, right)
        if not problem:
            return verdict("passed", f"{exercise.title}: right on all {len(right)} inputs.")
    for wrong in answer.wrong_answers:
        seen = observed(wrong.function, exercise, bool(wrongs))
        if same_behaviour(observations, seen) and (wrongs or same_gradients(observations, seen)):
            return verdict("diagnosed", wrong.diagnosis, wrong.name, wrong.hint)
    if not wrongs and len(observations) == len(right):
        return verdict("diagnosed", problem, GRADIENTS)
    if any(o.varies for o in observations) and not any(o.varies for o in right):
        return verdict("diagnosed", "Two calls with the same arguments differ: it draws random "
                       "numbers of its own, or keeps something between calls. Use what the "
                       "arguments give, and nothing else.", OWN_RANDOMNESS)
    case = exercise.cases()[wrongs[0]]
    difference = observation_difference(observations[wrongs[0]], right[wrongs[0]])
    return verdict("failed", f"{difference} (Input: {case.description}.)")


def gradient_problem(seen: list[Observation], right: list[Observation]) -> str:
    """What is wrong with the gradients of a function whose values are right; empty if nothing."""
    for came, want in zip(seen, right, strict=True):
        if isinstance(came.gradients, str):
            return ("The values are right, but where its arguments require gradients it raises "
                    f"{came.gradients}. {WHERE_GRADIENTS_STOP}")
        if len(came.gradients) != len(want.gradients):
            return f"The values are right, but their gradients are missing. {WHERE_GRADIENTS_STOP}"
        off = [not same_gradient(c, w) for c, w in zip(came.gradients, want.gradients)]
        if any(off):
            stopped = all(c is None or not c.any() for c, o in zip(came.gradients, off) if o)
            which = ("do not pass through it" if stopped and all(
                o for o, w in zip(off, want.gradients) if w is not None and w.any())
                else "do not pass through a part of it" if stopped else "through it are wrong")
            return (f"The values are right, but gradients {which}: a network that is trained "
                    f"through this function would not learn as it should. {WHERE_GRADIENTS_STOP}")
    return ""


def same_gradients(a: list[Observation], b: list[Observation]) -> bool:
    """Whether the gradients of two functions agree in all cases."""
    return not gradient_problem(a, b) and not gradient_problem(b, a)


def same_gradient(c: Tensor | None, w: Tensor | None) -> bool:
    """Whether a gradient is the right one; None is zero. Where w is not finite, nothing counts."""
    if c is None or w is None:
        return not any(g is not None and bool(g.nan_to_num(0, 0, 0).any()) for g in (c, w))
    if c.shape != w.shape:
        return False
    finite = w.isfinite()
    error = (c.double() - w.double()).nan_to_num(1e30)[finite].abs()
    largest = w[finite].double().abs()
    limit = 10 * TOLERANCE.get(w.dtype, 1e-4)
    return not error.numel() or bool(error.max() <= limit * max(largest.max().item(), 1e-6))


def require_sound(right: list[Observation], exercise: Exercise) -> None:
    """Raises RuntimeError if the right answer fails on an input that should give a value.

    Otherwise every function would agree with a check that is broken itself.
    """
    for case, observation in zip(exercise.cases(), right):
        if observation.kind != ("raised" if case.raises else "value"):
            raise RuntimeError(f"The check of {exercise.id} is broken: for the input "
                               f"{case.description} its own answer gives: {observation.kind}, "
                               f"{observation.error}.")
        if isinstance(observation.gradients, str):
            raise RuntimeError(f"The check of {exercise.id} is broken: its own answer has no "
                               f"gradients for the input {case.description}: "
                               f"{observation.gradients}.")


def same_behaviour(a: list[Observation], b: list[Observation]) -> bool:
    """Whether two functions gave the same values and errors on all cases; lines may differ."""
    return len(a) == len(b) and all(
        x.kind == y.kind and (x.kind != "value" or not value_difference(x.value, y.value))
        and x.error.split(" (line ")[0] == y.error.split(" (line ")[0] for x, y in zip(a, b))


def observation_difference(actual: Observation, expected: Observation) -> str:
    """How an observation differs from the right one, in a sentence; empty if it does not."""
    if actual.kind == "too long":
        return ("It does not come to an end: " + actual.error
                + ". Does every loop have a condition that changes?")
    if actual.kind == "raised":
        if expected.kind == "raised" and error_class(actual.error) == error_class(expected.error):
            return ""
        return f"It raises {actual.error}."
    if expected.kind == "raised":
        return f"It should raise {error_class(expected.error)} here, but returns."
    return value_difference(actual.value, expected.value)


def error_class(error: str) -> str:
    """The class of an error as `observation` writes it: "ValueError: text (line 4 of ...)"."""
    return error.partition(":")[0].partition(" ")[0]


def value_difference(actual: object, expected: object, subject: str = "It") -> str:
    """How a returned value differs from the right one, in a sentence; empty if it does not."""
    verb = "return" if subject == "It" else "hold"
    if actual is None and expected is not None:
        return (f"{subject} returns None. Is a `return` missing?" if subject == "It"
                else f"{subject} is None.")
    if isinstance(expected, (list, tuple)):
        if not isinstance(actual, (list, tuple)):
            return f"{subject} should {verb} {len(expected)} things, not {describe_type(actual)}."
        if len(actual) != len(expected):
            return f"{subject} should {verb} {len(expected)} things, not {len(actual)}."
        parts = (value_difference(c, w, f"Number {i + 1} of {part_of(subject)}")
                 for i, (c, w) in enumerate(zip(actual, expected)))
        return next(filter(None, parts), "")
    if isinstance(expected, (Tensor, int, float)) and not isinstance(expected, bool):
        return tensor_difference(actual, expected, subject)
    return "" if type(actual) is type(expected) and actual == expected else \
        f"{subject} should {'return' if subject == 'It' else 'be'} {expected!r}, not {actual!r}."


def part_of(subject: str) -> str:
    """What a part is a part of: the result, or a numbered part of it."""
    return "what it returns" if subject == "It" else subject[0].lower() + subject[1:]


def tensor_difference(actual: object, expected: Tensor | float, subject: str) -> str:
    """The same for tensors and numbers; a number will do for a tensor without axes."""
    if isinstance(actual, complex):
        actual = torch.tensor(actual)
    if not isinstance(actual, (Tensor, int, float)) or isinstance(actual, bool):
        return (f"{subject} should {'return' if subject == 'It' else 'be'} "
                f"{describe_type(expected)}, not {describe_type(actual)}.")
    exact = isinstance(expected, Tensor) and isinstance(actual, Tensor)
    c, w = (v.detach() if isinstance(v, Tensor) else torch.tensor(as_float(v), dtype=torch.float64)
            for v in (actual, expected))
    if c.shape != w.shape:
        return f"{says(subject, 'has')} shape {tuple(c.shape)}, expected {tuple(w.shape)}."
    if exact and c.device != w.device:
        return f"{subject} is on {c.device}, expected {w.device}: stay with the input."
    if c.is_complex() and not w.is_complex():
        return f"{says(subject)} complex numbers. Is it the root of a negative number?"
    tolerance = TOLERANCE.get(w.dtype if exact else torch.float32, 0)
    error = (c.double().nan_to_num(1e30) - w.double().nan_to_num(1e30)).abs()
    if error.numel() and error.max() > tolerance * max(max_finite(w), 1e-12):
        return difference_message(c, w, error, subject)
    if exact and c.dtype != w.dtype:
        return (f"{says(subject)} {c.dtype}, expected {w.dtype}: the values are right, but the "
                "dtype should be that of the input, or of the task where no tensor comes in.")
    return ""


def as_float(value: float) -> float:
    """A number; infinite if it is too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def max_finite(x: Tensor) -> float:
    """The largest finite size in x."""
    return x.double().nan_to_num(0, 0, 0).abs().max().item()


def difference_message(c: Tensor, w: Tensor, error: Tensor, subject: str) -> str:
    """The expected and the actual value at the place with the largest difference."""
    k = error.flatten().argmax().item()
    place = [i.item() for i in torch.unravel_index(torch.tensor(k), w.shape)] if w.ndim else []
    at = f" at {place}" if place else ""
    came, want = (float(v.flatten()[k]) for v in (c, w))
    digits = next((d for d in (4, 6, 9, 17) if f"{came:.{d}g}" != f"{want:.{d}g}"), 17)
    share = (error > error.max() / 100).double().mean()
    return (f"{says(subject)} {came:.{digits}g}{at}, expected {want:.{digits}g}; "
            f"{share:.0%} of the values are off.")


def says(subject: str, verb: str = "is") -> str:
    """The beginning of a sentence on a value: "It returns", or "Number 2 of what it returns is"."""
    return f"{subject} {'returns' if subject == 'It' else verb}"


def describe_type(value: object) -> str:
    """A value's kind, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
