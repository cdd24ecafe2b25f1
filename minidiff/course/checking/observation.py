"""Runs a student's function on an exercise's cases and records the results, without a verdict.

The function may loop for ever, raise, return nothing, change its input, or call the function that
it should replace: an `Observation` records all of that. No answer is needed here, so this also runs
in a process without the answers.
"""
import ctypes
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from math import inf
from types import CodeType
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.course.checking.exercise import Case, Exercise

MAX_NUMBERS, MAX_DEPTH = 1_000_000, 20       # of a result whose gradients are looked at
MAX_ITEMS = 10_000          # of a generator's states; an endless generator is no sampler
TIME_LIMIT = 5.0


class TimeLimitExceeded(BaseException):
    """Raised in a function that does not return in time. `except Exception` does not catch it."""


class Observation(NamedTuple):
    """The result of one case.

    kind: "value", "raised", "unwritten" (the stub) or "too long".
    value: the returned value; a generator's items as a list.
    error: the exception's name and message, with the line of the function, if one is known.
    mutated_arguments: the names of arguments that the call changed.
    package_calls: those of `Exercise.package_equivalents` that the function itself called.
    gradients: of the weighted sum of all returned numbers with respect to each argument of
    floating point, in their order; None where no gradient arrives; the error if there was one.
    varies: whether a second call with the same arguments gave something else.
    """
    kind: str
    value: object = None
    error: str = ""
    mutated_arguments: tuple[str, ...] = ()
    package_calls: tuple[str, ...] = ()
    gradients: tuple[Tensor | None, ...] | str = ()
    varies: bool = False


def observe(f: Callable, exercise: Exercise, seconds: float = TIME_LIMIT,
            values_only: bool = False) -> list[Observation]:
    """One observation for each case; after a stub or an endless loop no other case is run.

    values_only: without gradients and second calls. Raises RuntimeError if the exercise names a
    function that the package does not have.
    """
    observations, codes = [], package_codes(exercise)
    for case, again in zip(exercise.cases(), exercise.cases(), strict=True):
        seen = observe_case(f, case, codes, seconds)
        if seen.kind == "value" and not values_only and count_numbers(seen.value) <= MAX_NUMBERS:
            if not observations:
                second = observe_case(f, exercise.cases()[0], {}, seconds)
                seen = seen._replace(varies=not is_unchanged(second.value,
                                                             clone_argument(seen.value)))
            if exercise.gradients:
                seen = seen._replace(gradients=gradients_of_case(f, again, seconds))
        observations.append(seen)
        if seen.kind in ("unwritten", "too long"):
            break
    return observations


def package_codes(exercise: Exercise) -> dict[CodeType, str]:
    """The code of each function in `package_equivalents`, with its dotted name."""
    try:
        return {inspect.unwrap(import_dotted(n)).__code__: n for n in exercise.package_equivalents}
    except (ImportError, AttributeError) as e:
        raise RuntimeError(f"The check of {exercise.id} is broken: it names a function that the "
                           f"package does not have ({e}).") from None


def observe_case(f: Callable, case: Case, codes: dict[CodeType, str],
                 seconds: float) -> Observation:
    """Runs f on one case. codes: the package's functions whose calls are recorded."""
    before = [clone_argument(a) for a in case.args]
    called: set[str] = set()
    kind, value, error = "value", None, ""
    try:
        with time_limit(seconds), record_package_calls(f, codes, called):
            value = case.call(f) if case.call else f(*case.args, **case.kwargs)
            if isinstance(value, Iterator):
                value = list(islice(value, MAX_ITEMS))
    except NotImplementedError as e:
        by_torch = "not implemented for" in str(e)            # an operation, for a dtype
        kind, error = ("raised", describe_error(e, f)) if by_torch else ("unwritten", str(e))
    except TimeLimitExceeded:
        kind, error = "too long", f"it was stopped after {seconds:g} s"
    except Exception as e:                                    # whatever a student's code raises
        kind, error = "raised", describe_error(e, f)
    arguments = zip(argument_names(f, len(before)), case.args, before)
    changed = tuple(n for n, now, then in arguments if not is_unchanged(now, then))
    return Observation(kind, value, error, changed, tuple(sorted(called)))


def gradients_of_case(f: Callable, case: Case,
                      seconds: float) -> tuple[Tensor | None, ...] | str:
    """`Observation.gradients` of one case, whose arguments are not used again."""
    leaves: list[Tensor] = []
    try:
        with time_limit(seconds), torch.enable_grad():
            wrapped = with_leaves(f, leaves)
            value = case.call(wrapped) if case.call else wrapped(*case.args, **case.kwargs)
            total = sum_of_numbers(value)
            if total is None or not total.requires_grad:
                return (None,) * len(leaves)
            return torch.autograd.grad(total, leaves, allow_unused=True)
    except TimeLimitExceeded:
        return "it does not come to an end"
    except Exception as e:                                    # whatever a student's code raises
        return describe_error(e, f)


def with_leaves(f: Callable, leaves: list[Tensor]) -> Callable:
    """f, whose arguments become `leaves`; if it returns a function, that one's arguments, too."""
    def call(*args, **kwargs):
        value = f(*(as_leaves(a, leaves) for a in args),
                  **{k: as_leaves(v, leaves) for k, v in kwargs.items()})
        return with_leaves(value, leaves) if callable(value) else value
    return call


def as_leaves(value: object, leaves: list[Tensor]) -> object:
    """An argument whose tensors of floating point require gradients; these are added to `leaves`.

    A stand-in for a network is a partial function: the tensors in it are its weights.
    """
    if isinstance(value, Tensor) and value.is_floating_point():
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]
    if type(value) in (list, tuple):
        return type(value)(as_leaves(v, leaves) for v in value)
    if isinstance(value, functools.partial):
        return functools.partial(value.func, *(as_leaves(v, leaves) for v in value.args),
                                 **{k: as_leaves(v, leaves) for k, v in value.keywords.items()})
    return value


def sum_of_numbers(value: object) -> Tensor | None:
    """The sum of all numbers in a result, each with a weight of its own; None without any."""
    if isinstance(value, Iterator):
        value = list(islice(value, MAX_ITEMS))
    if isinstance(value, (list, tuple)):
        parts = [v for v in map(sum_of_numbers, value) if v is not None]
        return sum((k + 1) * v for k, v in enumerate(parts)) if parts else None
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return None
    weights = (1 + torch.arange(value.numel(), device=value.device)).double().sin()
    numbers = value.flatten().double()
    return (weights * numbers)[numbers.isfinite()].sum()


def count_numbers(value: object, depth: int = 0) -> float:
    """How many numbers the tensors in a result hold; infinite for lists in lists in lists ..."""
    if isinstance(value, (list, tuple)):
        return sum(count_numbers(v, depth + 1) for v in value) if depth < MAX_DEPTH else inf
    return value.numel() if isinstance(value, Tensor) else 0


@contextmanager
def time_limit(seconds: float):
    """Raises TimeLimitExceeded inside the block after this many seconds.

    A second thread asks the interpreter to raise it here, again and again until it is raised.
    That needs no signals, so it works on Windows, too. (It cannot stop one endless call into C.)
    """
    here, done, lock = ctypes.c_ulong(threading.get_ident()), threading.Event(), threading.Lock()
    ask = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def stop() -> None:
        wait = seconds
        while not done.wait(wait):
            with lock:
                if not done.is_set():
                    ask(here, ctypes.py_object(TimeLimitExceeded))
            wait = 0.05
    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        while not done.is_set():
            with suppress(TimeLimitExceeded), lock:
                done.set()
        with suppress(TimeLimitExceeded):              # one that is requested but not raised yet
            for _ in range(100):
                pass


@contextmanager
def record_package_calls(f: Callable, codes: dict[CodeType, str], called: set[str]):
    """Adds the name of the package function that f is, and of those that f's own file calls."""
    own = own_code(f)
    file = getattr(own, "co_filename", None)
    if own in codes:
        called.add(codes[own])

    def note(frame, event: str, _) -> None:
        if event == "call" and frame.f_code in codes and frame.f_back is not None \
                and frame.f_back.f_code.co_filename == file:
            called.add(codes[frame.f_code])
    before = sys.getprofile()
    if codes and file:
        sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def own_code(f: Callable) -> CodeType | None:
    """The code of a function, also inside functools.partial, a method or an object that is called.
    """
    while isinstance(f, functools.partial):
        f = f.func
    f = inspect.unwrap(f)
    if not hasattr(f, "__code__") and not isinstance(f, type):
        f = inspect.unwrap(getattr(f, "__func__", type(f).__call__))
    return getattr(f, "__code__", None)


def import_dotted(dotted: str) -> Callable:
    """The function or method of that name: "minidiff.denoiser.Denoiser.loss"."""
    parts = dotted.split(".")
    for k in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            value = getattr(value, part)
        return value
    raise ImportError(f"There is no {dotted}.")


def describe_error(e: Exception, f: Callable) -> str:
    """The error in one line, and the line of the function that raised it, if it was there."""
    code, line = own_code(f), None
    trace = e.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            line = trace.tb_lineno - code.co_firstlineno + 1
        trace = trace.tb_next
    text = f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"
    text = text.removesuffix(": ")
    return f"{text} (line {line} of the function)" if line else text


def argument_names(f: Callable, n: int) -> list[str]:
    """The names of the first n arguments of f."""
    try:
        own = [p.name for p in inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        own = []
    return own[:n] + [f"argument {k + 1}" for k in range(len(own), n)]


def clone_argument(value: object) -> object:
    """A copy of tensors and containers; other values are returned as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, (list, tuple)):
        return [clone_argument(v) for v in value]
    return {k: clone_argument(v) for k, v in value.items()} if isinstance(value, dict) else value


def is_unchanged(now: object, before: object) -> bool:
    """Whether a value still equals its copy."""
    if isinstance(before, Tensor):
        return (isinstance(now, Tensor) and now.shape == before.shape
                and torch.equal(torch.nan_to_num(now.detach()), torch.nan_to_num(before)))
    if isinstance(before, list):
        return len(now) == len(before) and all(map(is_unchanged, now, before))
    if isinstance(before, dict):
        return now.keys() == before.keys() and all(is_unchanged(now[k], before[k]) for k in before)
    return True
