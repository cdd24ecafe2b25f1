"""What must hold of a solution, and that none of it leaks into the student edition.

What would break a build stands here, in a sentence each; what would only make a chapter a worse one
is `lint`.
"""
import ast
from collections.abc import Iterator
from typing import NamedTuple

from minidiff.course import exercises
from minidiff.course.authoring.notebook_files import (
    EXERCISE_TAGS,
    INSTRUCTOR_TAGS,
    indentation,
    parse_regions,
    strip_regions,
    tagged_exercise,
    tagged_id,
)
from minidiff.course.checking.exercise import Exercise

TAGS = (
    *EXERCISE_TAGS,
    *sorted(INSTRUCTOR_TAGS),
    "predict",
    "bughunt",
    "widget",
    "train",
    "nbval-check-output",
    "nbval-ignore-output",
)
REGION_TAGS = {"SOLUTION": {"exercise", "predict", "bughunt"}, "HIDDEN TESTS": {"check"}}
MIN_SECRET_LENGTH = 12                          # non-blank characters from which on a line can leak


def validate_solution(solution: dict, name: str) -> list[str]:
    """What is wrong with a solution, a sentence each, with the notebook and the cell."""
    found, seen = [], set()
    for number, cell in enumerate(solution["cells"], 1):
        tags = cell["metadata"].get("tags", [])
        where = f"{name}, cell {number}"
        try:
            found += [f"{where}: {fault}." for fault in validate_cell(cell, tags, seen)]
        except ValueError as e:
            found.append(f"{where}: {str(e).rstrip('.')}.")
        seen |= {(tag, tagged_id(tags)) for tag in EXERCISE_TAGS if tag in tags}
    return found


def validate_cell(cell: dict, tags: list[str], seen: set) -> Iterator[str]:
    """What is wrong with one cell. seen: (tag, id) of the cells above."""
    regions = {line.region for line in parse_regions(cell["source"])} - {None}
    unknown = [t for t in tags if t not in TAGS and not t.startswith("ex:")]
    if unknown:
        yield f"unknown tag {unknown[0]!r}; there are {', '.join(TAGS)} and ex:ID"
    if sum(t.startswith("ex:") for t in tags) > 1:
        yield "it belongs to more than one exercise"
    kinds = [
        t for t in (*EXERCISE_TAGS, *sorted(INSTRUCTOR_TAGS), "predict", "bughunt") if t in tags
    ]
    if len(kinds) > 1:
        yield f"it cannot be both {kinds[0]!r} and {kinds[1]!r}"
    if regions and cell["cell_type"] != "code":
        yield "it is no code cell, so no region can be in it"
    for region in sorted(regions):
        if not REGION_TAGS[region] & {*tags}:
            yield (f"a {region} region needs a cell tagged "
                   f"{' or '.join(sorted(REGION_TAGS[region]))}")
    if tagged_id(tags):
        exercises.find(tagged_id(tags))
    for tag in EXERCISE_TAGS:
        if tag in tags:
            yield from TAG_VALIDATORS[tag](cell, tagged_exercise(tags), seen)


def validate_exercise_cell(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    """Yields a sentence for each fault of an exercise's cell."""
    if ("exercise", exercise.id) in seen:
        yield f"{exercise.id} has an exercise cell above already"
    begins = [line.text for line in parse_regions(cell["source"])
              if line.marker == "BEGIN" and line.region == "SOLUTION"]
    if cell["cell_type"] != "code" or not begins:
        yield f"the exercise {exercise.id} has no SOLUTION region"
        return
    if any(not indentation(text) for text in begins):
        yield f"the SOLUTION region of {exercise.id} must stand inside the function's body"
    try:
        tree = ast.parse(strip_regions(cell["source"], stub=True))
    except SyntaxError as e:
        yield f"without its solution {exercise.id} is not Python ({e.msg}, line {e.lineno})"
        return
    kinds = ast.FunctionDef | ast.ClassDef
    if exercise.entry not in {n.name for n in tree.body if isinstance(n, kinds)}:
        yield (f"the exercise {exercise.id} must define {exercise.entry}, "
               "its first line outside the SOLUTION region")


def validate_check_cell(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    """Yields a sentence for each fault of a check's cell."""
    if cell["cell_type"] != "code":
        yield "a check must be a code cell"
    if ("exercise", exercise.id) not in seen:
        yield f"it checks {exercise.id}, but no cell above is that exercise"
    if ("check", exercise.id) in seen:
        yield f"{exercise.id} has a check above already, and its points count once"
    if exercise.id not in cell["source"]:
        yield f"it is tagged as the check of {exercise.id} but does not name it"


def validate_hint_cell(cell: dict, exercise: Exercise, seen: set) -> Iterator[str]:
    """Yields a sentence for each fault of a cell of hints."""
    if cell["cell_type"] != "markdown":
        yield "hints must be a Markdown cell"


TAG_VALIDATORS = {
    "exercise": validate_exercise_cell,
    "check": validate_check_cell,
    "hint": validate_hint_cell,
}


# What must not leak


class HiddenLine(NamedTuple):
    """A line that students must not get, and the cell that it is from."""
    text: str
    where: str


def hidden_lines(solution: dict, name: str) -> list[HiddenLine]:
    """The lines of regions and of instructors' cells, as far as they are long enough to tell."""
    found = []
    for number, cell in enumerate(solution["cells"], 1):
        dropped = bool(INSTRUCTOR_TAGS & {*cell["metadata"].get("tags", [])})
        found += [HiddenLine(collapse_whitespace(line.text), f"solutions/{name}, cell {number}")
                  for line in parse_regions(cell["source"])
                  if (dropped or line.region) and not line.marker]
    return [s for s in found if len(s.text.replace(" ", "")) >= MIN_SECRET_LENGTH]


def find_leaks(hidden: list[HiddenLine], edition: dict, solution: dict, name: str) -> list[str]:
    """The secrets that an edition tells, though they stand nowhere openly in its solution."""
    open_text = "\n".join(
        collapse_whitespace(line.text) for cell in solution["cells"]
        if not INSTRUCTOR_TAGS & {*cell["metadata"].get("tags", [])}
        for line in parse_regions(cell["source"]) if not line.region)
    told = "\n".join(
        collapse_whitespace(line) for text in all_strings(edition) for line in text.split("\n")
    )
    return [f"{name} would tell {s.text!r}, which only {s.where} may." for s in hidden
            if s.text in told and s.text not in open_text]


def all_strings(value: object) -> Iterator[str]:
    """Every text anywhere in a notebook, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield k
            yield from all_strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from all_strings(v)


def collapse_whitespace(text: str) -> str:
    """Blanks made alike, so that indentation hides nothing."""
    return " ".join(text.split())
