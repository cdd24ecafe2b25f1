"""The numbers of a chapter: means with intervals, claims with verdicts, stored tables.

An interval is 95 %, of the mean of independent values, by the normal approximation.
"""
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from IPython.display import Markdown
from torch import Tensor

TABLES = Path(__file__).parents[1] / "tables"                   # written by commands in benchmarks/
CLAIM_VERDICTS = "holds here", "does not hold here", "undecided at this size"


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
    """
    mean, half = confidence_interval(measured) if isinstance(measured, Tensor) else measured
    low, high = mean - half - threshold, mean + half - threshold
    if within is None:
        holds, fails = low > 0, high < 0
    else:
        holds, fails = -within < low and high < within, low > within or high < -within
    return Claim(number, statement, f"{mean:.3g}", f"{mean - half:.3g} to {mean + half:.3g}",
                 CLAIM_VERDICTS[0 if holds else 1 if fails else 2])


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
    """Rows of words, numbers and values (N,); values become a mean and half its interval."""
    def cell(value) -> str:
        if isinstance(value, Tensor) and value.ndim:
            return "{:.3g} ± {:.2g}".format(*confidence_interval(value))
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
