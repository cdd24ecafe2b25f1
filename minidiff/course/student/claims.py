"""The numbers of a chapter: means with intervals, claims with verdicts, stored tables.

An interval is 95 %, of the mean of independent values: by the normal approximation, or Wilson's
if all values are 0 or 1, so that it stays in that range (Wilson 1927).
"""
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from IPython.display import Markdown
from torch import Tensor

from minidiff.training.profiles import get_profile

TABLES = Path(__file__).parents[1] / "tables"                   # written by commands in benchmarks/
CLAIM_VERDICTS = "holds here", "does not hold here", "undecided at this size"
NOT_JUDGED = "not judged at this size"                     # of anything in the smoke profile


class Claim(NamedTuple):
    """A row of a chapter's table. number: of the course's list of claims."""
    number: int
    statement: str
    value: str
    interval: str
    verdict: str


def confidence_interval(values: Tensor) -> tuple[float, float]:
    """The mean of values (N,) and half its interval."""
    values = values.double()
    return values.mean().item(), 1.96 * values.std().item() / len(values)**0.5


def limits(values: Tensor) -> tuple[float, float]:
    """The ends of the interval of the mean of values (N,).

    Shares (values 0 and 1) and differences of shares (-1, 0, 1) stay in their range, and are not
    certain because a few values agree.
    """
    mean, half = confidence_interval(values)
    n, kinds = len(values), set(values.double().unique().tolist())
    if kinds <= {0.0, 1.0}:
        z = 1.96**2 / n
        middle, half = (mean + z / 2) / (1 + z), (z * mean * (1 - mean) + z**2 / 4)**0.5 / (1 + z)
        return max(0.0, middle - half), min(1.0, middle + half)
    if kinds <= {-1.0, 0.0, 1.0}:
        half = max(half, 3 / n) if len(kinds) == 1 else half             # the rule of three
        return max(-1.0, mean - half), min(1.0, mean + half)
    return mean - half, mean + half


def mean_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Mean and half interval of first minus second, both (mean, half) and independent."""
    return first[0] - second[0], (first[1]**2 + second[1]**2)**0.5


def claim(
    number: int,
    statement: str,
    measured: Tensor | Sequence[float],
    within: float | None = None,
    threshold: float = 0.0,
) -> Claim:
    """A claim put to the test: it holds if the whole interval is above `threshold`.

    If the whole interval is below, the claim fails. measured: values (N,), or a mean and half its
    interval. within: then the claim is that the mean differs from `threshold` by less than this.
    In the smoke profile nothing is judged.
    """
    if isinstance(measured, Tensor):
        mean, (first, last) = measured.double().mean().item(), limits(measured)
    else:
        mean, first, last = measured[0], measured[0] - measured[1], measured[0] + measured[1]
    low, high = first - threshold, last - threshold
    if within is None:
        holds, fails = low > 0, high < 0
    else:
        holds, fails = -within < low and high < within, low > within or high < -within
    verdict = (NOT_JUDGED if get_profile().name == "smoke" else
               CLAIM_VERDICTS[0 if holds else 1 if fails else 2])
    return Claim(number, statement, f"{mean:.3g}", f"{first:.3g} to {last:.3g}", verdict)


def exact_claim(number: int, statement: str, value: str | float, holds: bool) -> Claim:
    """A claim that needs no interval, because `holds` is exact."""
    shown = value if isinstance(value, str) else f"{value:.3g}"
    return Claim(number, statement, shown, "exact", CLAIM_VERDICTS[0 if holds else 1])


def claims_table(claims: Iterable[Claim]) -> Markdown:
    """The chapter's claims as a table, in the order of their numbers."""
    rows = sorted(claims, key=lambda c: c.number)
    return markdown_table(("claim", "measured", "number", "95 % interval", "verdict"),
                 [tuple(map(str, row)) for row in rows])


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence]) -> Markdown:
    """Rows of words, numbers and values (N,); values become a mean and half its interval.

    Shares, all of whose values are 0 or 1, become a mean and the ends of its interval.
    """
    def cell(value) -> str:
        if isinstance(value, Tensor) and value.ndim:
            mean, half = confidence_interval(value)
            share = bool(((value == 0) | (value == 1)).all())
            return (f"{mean:.3g} ({limits(value)[0]:.2g} to {limits(value)[1]:.2g})" if share
                    else f"{mean:.3g} ± {half:.2g}")
        return f"{float(value):.3g}" if isinstance(value, float | Tensor) else str(value)
    lines = [headings, ("---",) * len(headings), *([cell(v) for v in row] for row in rows)]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def load_table(name: str) -> list[dict]:
    """The rows of a table that `python -m benchmarks.studies.NAME` made; "" becomes None.

    Raises FileNotFoundError with the command that makes the table.
    """
    path = TABLES / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"There is no table {name!r}; make it, in a clone of the project: "
                                f"python -m benchmarks.studies.{name}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [{k: parse_cell(v) for k, v in row.items()}
            for row in csv.DictReader(line for line in lines if not line.startswith("#"))]


def table_provenance(name: str) -> str:
    """The first lines of a stored table: its command, machine and date."""
    lines = (TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


def parse_cell(word: str) -> float | str | None:
    """A table cell's value: a float, a string, or None if the cell is empty."""
    try:
        return float(word) if word else None
    except ValueError:
        return word
