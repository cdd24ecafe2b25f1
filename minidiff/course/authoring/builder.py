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
    INSTRUCTOR_TAGS,
    dump_notebook,
    is_placeholder,
    is_setup,
    load_outline,
    notebooks_in,
    read_notebook,
    solutions_in,
    strip_regions,
    tagged_exercise,
    tagged_id,
    write_notebook,
)
from minidiff.course.authoring.validation import find_leaks, hidden_lines, validate_solution
from minidiff.course.checking.exercise import Exercise

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}
REBUILD_HINT = "run python -m minidiff.course build"


def build(root: Path) -> list[Path]:
    """Write the student edition and put the solutions into their canonical form.

    Returns the files that changed. Raises ValueError, a sentence a fault, and writes nothing where
    a solution breaks the rules or its text would leak.
    """
    changed = [(path, content) for path, content in make_editions(root).items()
               if not path.is_file() or path.read_bytes() != content]
    for path, content in changed:
        write_notebook(path, content)
    return [path for path, _ in changed]


def find_drift(root: Path) -> list[str]:
    """Where the files differ from what `build` would write, in sentences; none if nowhere."""
    root = Path(root)
    try:
        wanted = make_editions(root)
    except ValueError as e:
        return str(e).split("\n")
    drift = []
    for path, content in wanted.items():
        name = path.relative_to(root).as_posix()
        if not path.is_file():
            drift.append(f"{name} is missing: {REBUILD_HINT}.")
        elif path.read_bytes() != content and path.parent.name == "solutions":
            drift.append(f"{name} is not in its canonical form: {REBUILD_HINT}.")
        elif path.read_bytes() != content:
            drift.append(f"{name} is not what its solution makes: change the solution, never it, "
                         f"and {REBUILD_HINT}.")
    orphans = [p for p in notebooks_in(root / "notebooks") if p not in wanted]
    return drift + [f"notebooks/{p.name} has no source solutions/{p.name}: delete it, or write one."
                    for p in orphans]


def make_editions(root: Path) -> dict[Path, bytes]:
    """What every notebook's file should hold. Raises ValueError, a sentence a fault."""
    root, course = Path(root), load_outline(root)
    solutions, wrong = {p.name: read_notebook(p) for p in solutions_in(root)}, []
    listed = [f"{c.name}.ipynb" for c in course.chapters]
    for name, notebook in solutions.items():
        if name not in listed:
            wrong.append(f"solutions/{name} is no chapter of solutions/course.yml, "
                         f"which lists {', '.join(listed)}.")
        wrong += validate_solution(notebook, f"solutions/{name}")
    if wrong:
        raise ValueError("\n".join(wrong))
    solutions = {name: normalise_solution(notebook) for name, notebook in solutions.items()}
    students = {
        name: student_edition(notebook, course.install) for name, notebook in solutions.items()
    }
    hidden = [s for name, notebook in solutions.items() for s in hidden_lines(notebook, name)]
    for name in students:
        wrong += find_leaks(hidden, students[name], solutions[name], f"notebooks/{name}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return ({root / "solutions" / name: dump_notebook(nb) for name, nb in solutions.items()}
            | {root / "notebooks" / name: dump_notebook(nb) for name, nb in students.items()})


# The two editions


def normalise_solution(solution: dict) -> dict:
    """A solution in its canonical form, however it was edited; outputs stay.

    Hints come from the catalogue, ids from content; of the metadata only tags are left. Empty
    cells go.
    """
    cells = [normalise_cell(c) for c in solution["cells"] if c["source"].strip()]
    return make_notebook(cells)


def student_edition(solution: dict, install: str = "") -> dict:
    """The student edition: stubs for solutions, no hidden tests, outputs or instructors' cells.

    install: what pip installs in the set-up cell where minidiff is missing. Raises ValueError, a
    sentence a fault.
    """
    return make_edition(solution, install, keep_solutions=False)


def nbgrader_edition(solution: dict, install: str = "") -> dict:
    """What nbgrader makes its own student edition from: solutions and hidden tests still there."""
    return make_edition(solution, install, keep_solutions=True)


def make_edition(solution: dict, install: str, keep_solutions: bool) -> dict:
    """A notebook for students, from a solution. Raises ValueError for an invalid solution."""
    if wrong := validate_solution(solution, "the notebook"):
        raise ValueError("\n".join(wrong))
    cells = []
    for cell in normalise_solution(solution)["cells"]:
        tags = cell["metadata"].get("tags", [])
        if INSTRUCTOR_TAGS & {*tags}:
            continue
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            if not (keep_solutions and {"exercise", "check"} & {*tags}):
                cell["source"] = strip_regions(cell["source"], "exercise" in tags)
            if install and is_setup(cell):
                cell["source"] = prepend_install(cell["source"], install)
        if graded := nbgrader_metadata(tags):
            cell["metadata"]["nbgrader"] = graded
        cells.append(cell)
    return make_notebook(cells)


def normalise_cell(cell: dict) -> dict:
    """A cell with what it needs and nothing else; a hint cell with the exercise's own hints."""
    tags = list(dict.fromkeys(cell["metadata"].get("tags", [])))
    kept = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    kept |= {k: cell[k] for k in ("cell_type", "attachments", *kept) if k in cell}
    text = hints(tagged_exercise(tags)) if "hint" in tags else cell["source"].rstrip()
    return kept | {"source": text, "metadata": {"tags": tags} if tags else {}}


def make_notebook(cells: list[dict]) -> dict:
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


def prepend_install(source: str, install: str) -> str:
    """A set-up cell that first installs the package if it is missing, on Colab for example.

    As long as the address in course.yml is a placeholder, the cell says what to do instead.
    """
    action = f'%pip install --quiet "{install}"'
    if is_placeholder(install):
        action = (
            "raise ImportError(\n"
            '        "minidiff is not installed here. Ask who gave you this notebook for the "\n'
            '        "address of the course, run  %pip install ADDRESS  in a cell above, and "\n'
            '        "run this cell again.") from None'
        )
    return ("try:                  # on Colab: Runtime > Change runtime type gives a GPU\n"
            "    import minidiff  # noqa: F401\n"
            "except ImportError:\n"
            f"    {action}\n\n{source}")


def nbgrader_metadata(tags: list[str]) -> dict | None:
    """The metadata by which nbgrader knows a cell (schema 3): what is written, what is graded."""
    about = dict(schema_version=3, cell_type="code", task=False)
    if "exercise" in tags:
        return about | dict(grade_id=tagged_id(tags), solution=True, grade=False, locked=False)
    if "check" in tags:
        return about | dict(grade_id=f"check-{tagged_id(tags)}", solution=False, grade=True,
                            locked=True, points=tagged_exercise(tags).points)
    return None
