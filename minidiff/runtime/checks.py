"""What a setting may be, in words and as a test: a wrong one is refused in one sentence.

    check("batch", "x", whole(1, 65_536))
    ValueError: batch must be a whole number from 1 to 65536, got 'x'.
"""
from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from typing import NamedTuple


class Allowed(NamedTuple):
    """A kind of value: how it is described in a sentence, and the test for it."""
    text: str
    accepts: Callable[[object], bool]


def whole(low: int, high: int) -> Allowed:
    """Whole numbers from low to high."""
    return Allowed(f"a whole number from {low} to {high}", lambda v: isinstance(v, Integral)
                   and not isinstance(v, bool) and low <= v <= high)


def number(low: float, high: float, without_low: bool = False,
           without_high: bool = False) -> Allowed:
    """Finite numbers from low to high, perhaps without one of the two ends."""
    start = f"above {low:g}" if without_low else f"from {low:g}"
    end = f"below {high:g}" if without_high else f"{high:g}"

    def accepts(v: object) -> bool:
        if not isinstance(v, Real) or isinstance(v, bool) or not isfinite(v):
            return False
        return (low < v if without_low else low <= v) and (v < high if without_high else v <= high)
    return Allowed(f"a number {start} to {end}", accepts)


def one_of(*values: str) -> Allowed:
    """One of a few words."""
    return Allowed(f"one of {', '.join(values)}", lambda v: isinstance(v, str) and v in values)


def list_of(item: Allowed, least: int = 1, most: int = 16) -> Allowed:
    """A list (or tuple) of such values."""
    return Allowed(f"a list of {least} to {most} values, each {item.text}",
                   lambda v: isinstance(v, (list, tuple)) and least <= len(v) <= most
                   and all(map(item.accepts, v)))


def either(*kinds: Allowed) -> Allowed:
    """A value of any of these kinds."""
    return Allowed(", or ".join(k.text for k in kinds), lambda v: any(k.accepts(v) for k in kinds))


NOTHING = Allowed("null", lambda v: v is None)
YES_OR_NO = Allowed("true or false", lambda v: isinstance(v, bool))
TEXT = Allowed("a text that is not empty", lambda v: isinstance(v, str) and v != "")


def check(name: str, value: object, allowed: Allowed) -> None:
    """Raise ValueError, in a sentence that says what is allowed, unless the value is."""
    if not allowed.accepts(value):
        raise ValueError(f"{name} must be {allowed.text}, got {value!r}.")


def check_all(values: object, kinds: dict[str, Allowed], what: str) -> None:
    """Check every named value that there is a kind for. Raises ValueError as `check`.

    what: how the values together are called in the sentence if they are no dictionary.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a dictionary of settings, got {values!r}.")
    for name in values.keys() & kinds.keys():
        check(name, values[name], kinds[name])
