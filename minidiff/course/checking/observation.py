"""What a student's function does on an exercise's cases, seen from outside and without judgement.

It may loop for ever, raise, return nothing, change its input, or call the very function that it was
to replace: all of that is an `Observation`. No answer is needed here, so this also runs where
answers must not be.
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
from types import CodeType
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.course.checking.exercise import Case, Exercise

MAX_ITEMS = 10_000          # states of a generator that are looked at: an endless one is no sampler
TIME_LIMIT = 5.0


class TimeLimitExceeded(BaseException):
    """Raised in a function that does not return. No `except Exception` catches it."""


class Observation(NamedTuple):
    """What came of one case.

    kind: "value", "raised", "unwritten" (the stub) or "too long".
    value: what was returned; a generator's items as a list.
    error: the exception's name and message, with the line of the function, if one is known.
    changed: the names of arguments that the call changed.
    called: those of `Exercise.own` that the function itself called.
    """
    kind: str
    value: object = None
    error: str = ""
    mutated_arguments: tuple[str, ...] = ()
    package_calls: tuple[str, ...] = ()


def observe(f: Callable, exercise: Exercise, seconds: float = TIME_LIMIT) -> list[Observation]:
    """One observation a case; after a stub or an endless loop the rest is not tried.

    Raises RuntimeError if the exercise names a function that the package does not have.
    """
    observations, codes = [], package_codes(exercise)
    for case in exercise.cases():
        observations.append(observe_case(f, case, codes, seconds))
        if observations[-1].kind in ("unwritten", "too long"):
            break
    return observations


def package_codes(exercise: Exercise) -> dict[CodeType, str]:
    """The code of each of an exercise's `package_equivalents`, with its dotted name."""
    try:
        return {inspect.unwrap(import_dotted(n)).__code__: n for n in exercise.package_equivalents}
    except (ImportError, AttributeError) as e:
        raise RuntimeError(f"The check of {exercise.id} is broken: it names a function that the "
                           f"package does not have ({e}).") from None


def observe_case(f: Callable, case: Case, codes: dict[CodeType, str],
                 seconds: float) -> Observation:
    """What f does on one case. codes: of the package's functions whose calls are recorded."""
    before = [clone_argument(a) for a in case.args]
    called: set[str] = set()
    kind, value, error = "value", None, ""
    try:
        with time_limit(seconds), record_package_calls(f, codes, called):
            value = case.call(f) if case.call else f(*case.args, **case.kwargs)
            if isinstance(value, Iterator):
                value = list(islice(value, MAX_ITEMS))
    except NotImplementedError as e:
        kind, error = "unwritten", str(e)
    except TimeLimitExceeded:
        kind, error = "too long", f"it was stopped after {seconds:g} s"
    except Exception as e:                                    # whatever a student's code raises
        kind, error = "raised", describe_error(e, f)
    arguments = zip(argument_names(f, len(before)), case.args, before)
    changed = tuple(n for n, now, then in arguments if not is_unchanged(now, then))
    return Observation(kind, value, error, changed, tuple(sorted(called)))


@contextmanager
def time_limit(seconds: float):
    """Raises TooLong inside after so many seconds.

    A second thread asks the interpreter to raise it here, again and again until it got through:
    that needs no signals, so Windows has it, too. (It cannot stop one endless call into C.)
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
        with suppress(TimeLimitExceeded):              # one that was asked for but has not come yet
            for _ in range(100):
                pass


@contextmanager
def record_package_calls(f: Callable, codes: dict[CodeType, str], called: set[str]):
    """Adds the names of those package functions that f is, or that code of f's own file calls."""
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
    """What f calls its first n arguments."""
    try:
        own = [p.name for p in inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        own = []
    return own[:n] + [f"argument {k + 1}" for k in range(len(own), n)]


def clone_argument(value: object) -> object:
    """Tensors and containers copied, all else as it is."""
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
