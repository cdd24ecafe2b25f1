"""Grades to read and as files: a row for each exercise, and what a class gets wrong."""
import csv
import io
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from minidiff.runtime import files


class Grade(NamedTuple):
    """One exercise or question of one notebook; one row for a notebook that cannot be read.

    status: a verdict's, or "answered" (a prediction, which gives no points) or "unreadable".
    hint: the hint (1 to 3) that helps. mistake: the known mistake's name.
    """
    notebook: str
    id: str
    points: int
    max_points: int
    status: str
    diagnosis: str
    hint: int | None = None
    mistake: str | None = None


def file_name(path: Path) -> str:
    """A path that can be printed and written, even if its name is not valid Unicode."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def grades_text(grades: list[Grade]) -> str:
    """One notebook's grades to read."""
    points, of = sum(g.points for g in grades), sum(g.max_points for g in grades)
    lines = [f"{grades[0].notebook}: {points} of {of} points"]
    for g in grades:
        if g.status == "unreadable":
            return f"{g.notebook}: not graded\n{wrap_indented(g.diagnosis, 4)}\n"
        lines.append(f"    {g.id:<20} {g.points:>2} of {g.max_points:<2}  {g.status}")
        if g.status in ("diagnosed", "failed"):
            helps = f" Hint {g.hint} helps." if g.hint else ""
            lines.append(wrap_indented(g.diagnosis + helps, 8))
    return "\n".join(lines) + "\n"


def wrap_indented(text: str, indent: int) -> str:
    """A text in lines of at most 100 characters, each indented."""
    return textwrap.fill(text, 100, initial_indent=" " * indent, subsequent_indent=" " * indent)


def count_mistakes(grades: Iterable[Grade]) -> list[dict]:
    """The named mistakes and in how many notebooks each is, most common first."""
    count = Counter((g.id, g.mistake) for g in grades if g.mistake)
    diagnoses = {(g.id, g.mistake): g.diagnosis for g in reversed(list(grades))}
    return [{"id": id, "mistake": mistake, "notebooks": n, "diagnosis": diagnoses[id, mistake]}
            for (id, mistake), n in sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))]


def histogram(grades: list[Grade]) -> str:
    """What the class gets wrong, to read."""
    total, rows = len({g.notebook for g in grades}), count_mistakes(grades)
    head = f"{total} notebook{'s' * (total != 1)}. "
    if not rows:
        return head + "No named mistake in any."
    most = max(r["notebooks"] for r in rows)
    return "\n".join([head + "Named mistakes, most common first:", *(
        f"    {r['notebooks']:>4} {'#' * round(20 * r['notebooks'] / most):<20} {r['id']}: "
        f"{r['mistake']}" for r in rows)])


def print_text(text: str) -> None:
    """Print, on any terminal."""
    code = sys.stdout.encoding or "utf-8"
    print(text.encode(code, "replace").decode(code), flush=True)


def write_grades(grades: list[Grade], out: Path) -> None:
    """Write the three files, each whole or not there."""
    rows, mistakes = [g._asdict() for g in grades], count_mistakes(grades)
    files.write_text(out / "grades.csv", csv_text(Grade._fields, rows))
    files.write_text(out / "mistakes.csv",
                     csv_text(("id", "mistake", "notebooks", "diagnosis"), mistakes))
    files.write_text(out / "grades.json", json.dumps(
        {"grades": rows, "totals": totals(grades), "mistakes": mistakes}, indent=1,
        ensure_ascii=False))


def totals(grades: Iterable[Grade]) -> list[dict]:
    """Each notebook's points."""
    points: dict[str, list[int]] = {}
    for g in grades:
        both = points.setdefault(g.notebook, [0, 0])
        both[0] += g.points
        both[1] += g.max_points
    return [{"notebook": n, "points": p, "of": of} for n, (p, of) in points.items()]


def csv_text(fields: Iterable[str], rows: Iterable[dict]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula gets a ' before it."""
    text = io.StringIO()
    table = csv.DictWriter(text, fields, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: "'" + v if isinstance(v, str) and v[:1] in tuple("=+-@") else v
                        for k, v in row.items()})
    return text.getvalue()
