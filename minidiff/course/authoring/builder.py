"""One source: solutions/NN_slug.ipynb is written by hand, notebooks/NN_slug.ipynb made from it.

A student gets the same cells without what stands between `### BEGIN SOLUTION` and
`### END SOLUTION`, without hidden tests, instructors' cells and outputs. Both files are written in
one canonical form, ids from content, so that every build gives the same bytes and drift is seen.
"""
import copy
import hashlib
import html
from pathlib import Path

from minidiff.course.authoring.notebook_files import (
    DROPPED,
    dump,
    exercise_of,
    id_of,
    is_setup,
    notebooks_in,
    outline,
    read,
    solutions_in,
    without_regions,
    write,
)
from minidiff.course.authoring.validation import faults, leaks, secrets
from minidiff.course.checking.exercise import Exercise

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}
AGAIN = "run python -m minidiff.course build"


def build(root: Path) -> list[Path]:
    """Write the student edition and put the solutions into their canonical form.

    Returns the files that changed. Raises ValueError, a sentence a fault, and writes nothing where
    a solution breaks the rules or its text would leak.
    """
    changed = [(path, content) for path, content in editions(root).items()
               if not path.is_file() or path.read_bytes() != content]
    for path, content in changed:
        write(path, content)
    return [path for path, _ in changed]


def check(root: Path) -> list[str]:
    """Where the files differ from what `build` would write, in sentences; none if nowhere."""
    root = Path(root)
    try:
        wanted = editions(root)
    except ValueError as e:
        return str(e).split("\n")
    drift = []
    for path, content in wanted.items():
        name = path.relative_to(root).as_posix()
        if not path.is_file():
            drift.append(f"{name} is missing: {AGAIN}.")
        elif path.read_bytes() != content and path.parent.name == "solutions":
            drift.append(f"{name} is not in its canonical form: {AGAIN}.")
        elif path.read_bytes() != content:
            drift.append(f"{name} is not what its solution makes: change the solution, never it, "
                         f"and {AGAIN}.")
    orphans = [p for p in notebooks_in(root / "notebooks") if p not in wanted]
    return drift + [f"notebooks/{p.name} has no source solutions/{p.name}: delete it, or write one."
                    for p in orphans]


def editions(root: Path) -> dict[Path, bytes]:
    """What every notebook's file should hold. Raises ValueError, a sentence a fault."""
    root, course = Path(root), outline(root)
    solutions, wrong = {p.name: read(p) for p in solutions_in(root)}, []
    listed = [f"{c.name}.ipynb" for c in course.chapters]
    for name, notebook in solutions.items():
        if name not in listed:
            wrong.append(f"solutions/{name} is no chapter of solutions/course.yml, "
                         f"which lists {', '.join(listed)}.")
        wrong += faults(notebook, f"solutions/{name}")
    if wrong:
        raise ValueError("\n".join(wrong))
    solutions = {name: normalised(notebook) for name, notebook in solutions.items()}
    students = {name: student(notebook, course.install) for name, notebook in solutions.items()}
    hidden = [s for name, notebook in solutions.items() for s in secrets(notebook, name)]
    for name in students:
        wrong += leaks(hidden, students[name], solutions[name], f"notebooks/{name}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return ({root / "solutions" / name: dump(nb) for name, nb in solutions.items()}
            | {root / "notebooks" / name: dump(nb) for name, nb in students.items()})


# The two editions


def normalised(solution: dict) -> dict:
    """A solution in its canonical form, however it was edited; outputs stay.

    Hints come from the catalogue, ids from content; of the metadata only tags are left. Empty
    cells go.
    """
    cells = [canonical(c) for c in solution["cells"] if c["source"].strip()]
    return whole(cells)


def student(solution: dict, install: str = "") -> dict:
    """The student edition: stubs for solutions, no hidden tests, outputs or instructors' cells.

    install: what pip installs in the set-up cell where minidiff is missing. Raises ValueError, a
    sentence a fault.
    """
    return edition(solution, install, shown=False)


def source_edition(solution: dict, install: str = "") -> dict:
    """What nbgrader makes its own student edition from: solutions and hidden tests still there."""
    return edition(solution, install, shown=True)


def edition(solution: dict, install: str, shown: bool) -> dict:
    if wrong := faults(solution, "the notebook"):
        raise ValueError("\n".join(wrong))
    cells = []
    for cell in normalised(solution)["cells"]:
        tags = cell["metadata"].get("tags", [])
        if DROPPED & {*tags}:
            continue
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            if not (shown and {"exercise", "check"} & {*tags}):
                cell["source"] = without_regions(cell["source"], "exercise" in tags)
            if install and is_setup(cell):
                cell["source"] = with_install(cell["source"], install)
        if graded := nbgrader(tags):
            cell["metadata"]["nbgrader"] = graded
        cells.append(cell)
    return whole(cells)


def canonical(cell: dict) -> dict:
    """A cell with what it needs and nothing else; a hint cell with the exercise's own hints."""
    tags = list(dict.fromkeys(cell["metadata"].get("tags", [])))
    kept = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    kept |= {k: cell[k] for k in ("cell_type", "attachments", *kept) if k in cell}
    text = hints(exercise_of(tags)) if "hint" in tags else cell["source"].rstrip()
    return kept | {"source": text, "metadata": {"tags": tags} if tags else {}}


def whole(cells: list[dict]) -> dict:
    """A notebook of cells, each with an id made from its content."""
    seen = {}
    for cell in cells:
        key = hashlib.sha1((cell["cell_type"] + cell["source"]).encode()).hexdigest()[:8]
        seen[key] = seen.get(key, 0) + 1
        cell["id"] = key if seen[key] == 1 else f"{key}-{seen[key]}"
    return {"cells": cells, "metadata": copy.deepcopy(KERNEL), "nbformat": 4, "nbformat_minor": 5}


def hints(exercise: Exercise) -> str:
    """An exercise's three hints, each folded away."""
    folded = [f"<details><summary>Hint {i}</summary>\n\n{hint}\n\n</details>"
              for i, hint in enumerate(exercise.hints, 1)]
    dots = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
    points = f"{exercise.points} point{'s' * (exercise.points != 1)}"
    head = (f"**Hints for `{exercise.entry}`** · {html.escape(exercise.title, quote=False)} · "
            f"difficulty {dots} · {points} · about {exercise.minutes} min")
    return "\n\n".join([head, *folded])


def with_install(source: str, install: str) -> str:
    """A set-up cell that first installs the package where it is missing, on Colab for example."""
    return ("try:                  # on Colab: Runtime > Change runtime type gives a GPU\n"
            "    import minidiff  # noqa: F401\n"
            "except ImportError:\n"
            f'    %pip install --quiet "{install}"\n\n{source}')


def nbgrader(tags: list[str]) -> dict | None:
    """The metadata by which nbgrader knows a cell (schema 3): what is written, what is graded."""
    about = dict(schema_version=3, cell_type="code", task=False)
    if "exercise" in tags:
        return about | dict(grade_id=id_of(tags), solution=True, grade=False, locked=False)
    if "check" in tags:
        return about | dict(grade_id=f"check-{id_of(tags)}", solution=False, grade=True,
                            locked=True, points=exercise_of(tags).points)
    return None
