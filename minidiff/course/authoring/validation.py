"""What must hold of a solution, and that none of it leaks into the student edition.

What would break a build stands here, in a sentence each; what would only make a chapter a worse one
is `lint`.
"""
import ast
from collections.abc import Iterator
from typing import NamedTuple

from minidiff.course import exercises
from minidiff.course.authoring.notebook_files import (
    DROPPED,
    OWNED,
    exercise_of,
    id_of,
    indent,
    lines,
    without_regions,
)
from minidiff.course.checking.exercise import Exercise

TAGS = (*OWNED, *sorted(DROPPED), "predict", "bughunt", "widget", "train", "nbval-check-output",
        "nbval-ignore-output")
REGIONS = {"SOLUTION": {"exercise", "predict", "bughunt"}, "HIDDEN TESTS": {"check"}}
SECRET = 12                                  # non-blank characters from which on a line can leak


def faults(solution: dict, name: str) -> list[str]:
    """What is wrong with a solution, a sentence each, with the notebook and the cell."""
    found, seen = [], set()
    for number, cell in enumerate(solution["cells"], 1):
        tags = cell["metadata"].get("tags", [])
        where = f"{name}, cell {number}"
        try:
            found += [f"{where}: {fault}." for fault in cell_faults(cell, tags, seen)]
        except ValueError as e:
            found.append(f"{where}: {str(e).rstrip('.')}.")
        seen |= {(tag, id_of(tags)) for tag in OWNED if tag in tags}
    return found


def cell_faults(cell: dict, tags: list[str], seen: set) -> Iterator[str]:
    """What is wrong with one cell. seen: (tag, id) of the cells above."""
    regions = {line.region for line in lines(cell["source"])} - {None}
    unknown = [t for t in tags if t not in TAGS and not t.startswith("ex:")]
    if unknown:
        yield f"unknown tag {unknown[0]!r}; there are {', '.join(TAGS)} and ex:ID"
    if sum(t.startswith("ex:") for t in tags) > 1:
        yield "it belongs to more than one exercise"
    kinds = [t for t in (*OWNED, *sorted(DROPPED), "predict", "bughunt") if t in tags]
    if len(kinds) > 1:
        yield f"it cannot be both {kinds[0]!r} and {kinds[1]!r}"
    if regions and cell["cell_type"] != "code":
        yield "it is no code cell, so no region can be in it"
    for region in sorted(regions):
        if not REGIONS[region] & {*tags}:
            yield (f"a {region} region needs a cell tagged "
                   f"{' or '.join(sorted(REGIONS[region]))}")
    if id_of(tags):
        exercises.find(id_of(tags))
    for tag in OWNED:
        if tag in tags:
            yield from OWN_FAULTS[tag](cell, exercise_of(tags), seen)


def exercise_faults(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    if ("exercise", exercise.id) in seen:
        yield f"{exercise.id} has an exercise cell above already"
    begins = [line.text for line in lines(cell["source"])
              if line.marker == "BEGIN" and line.region == "SOLUTION"]
    if cell["cell_type"] != "code" or not begins:
        yield f"the exercise {exercise.id} has no SOLUTION region"
        return
    if any(not indent(text) for text in begins):
        yield f"the SOLUTION region of {exercise.id} must stand inside the function's body"
    try:
        tree = ast.parse(without_regions(cell["source"], stub=True))
    except SyntaxError as e:
        yield f"without its solution {exercise.id} is not Python ({e.msg}, line {e.lineno})"
        return
    kinds = ast.FunctionDef | ast.ClassDef
    if exercise.entry not in {n.name for n in tree.body if isinstance(n, kinds)}:
        yield (f"the exercise {exercise.id} must define {exercise.entry}, "
               "its first line outside the SOLUTION region")


def check_faults(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    if cell["cell_type"] != "code":
        yield "a check must be a code cell"
    if ("exercise", exercise.id) not in seen:
        yield f"it checks {exercise.id}, but no cell above is that exercise"
    if ("check", exercise.id) in seen:
        yield f"{exercise.id} has a check above already, and its points count once"
    if exercise.id not in cell["source"]:
        yield f"it is tagged as the check of {exercise.id} but does not name it"


def hint_faults(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    if cell["cell_type"] != "markdown":
        yield "hints must be a Markdown cell"


OWN_FAULTS = {"exercise": exercise_faults, "check": check_faults, "hint": hint_faults}


# What must not leak


class Secret(NamedTuple):
    """A line that students must not get, and the cell that it is from."""
    text: str
    where: str


def secrets(solution: dict, name: str) -> list[Secret]:
    """The lines of regions and of instructors' cells, as far as they are long enough to tell."""
    found = []
    for number, cell in enumerate(solution["cells"], 1):
        dropped = bool(DROPPED & {*cell["metadata"].get("tags", [])})
        found += [Secret(squeezed(line.text), f"solutions/{name}, cell {number}")
                  for line in lines(cell["source"])
                  if (dropped or line.region) and not line.marker]
    return [s for s in found if len(s.text.replace(" ", "")) >= SECRET]


def leaks(hidden: list[Secret], edition: dict, solution: dict, name: str) -> list[str]:
    """The secrets that an edition tells, though they stand nowhere openly in its solution."""
    open_text = "\n".join(
        squeezed(line.text) for cell in solution["cells"]
        if not DROPPED & {*cell["metadata"].get("tags", [])}
        for line in lines(cell["source"]) if not line.region)
    told = "\n".join(squeezed(line) for text in strings(edition) for line in text.split("\n"))
    return [f"{name} would tell {s.text!r}, which only {s.where} may." for s in hidden
            if s.text in told and s.text not in open_text]


def strings(value: object) -> Iterator[str]:
    """Every text anywhere in a notebook, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield k
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def squeezed(text: str) -> str:
    """Blanks made alike, so that indentation hides nothing."""
    return " ".join(text.split())
