"""The files that the course is made from: its outline, notebooks, their cells' tags and regions.

A cell's tags say what it is and, as ex:ID, to which exercise it belongs. A region is what stands
between `### BEGIN SOLUTION` and `### END SOLUTION` (or HIDDEN TESTS), each on its own line.
"""
import copy
import json
import re
from pathlib import Path
from typing import NamedTuple

import yaml

from minidiff.course import exercises
from minidiff.course.checking.exercise import Exercise
from minidiff.runtime.files import atomic_write

EXERCISE_TAGS = "exercise", "check", "hint"          # tags of cells that belong to an exercise
INSTRUCTOR_TAGS = {"instructor", "solution-note"}    # only instructors get these
MARKER = re.compile(r"[ \t]*### (BEGIN|END) (SOLUTION|HIDDEN TESTS)[ \t]*")
ALMOST_MARKER = re.compile(r"\b(?:BEGIN|END) (?:SOLUTION|HIDDEN TEST)"
                    r"|(?i:^\s*#+\s*(?:begin|end)\W*(?:solutions?|hidden)\b)")
STUB_LINES = "# YOUR CODE HERE", 'raise NotImplementedError("YOUR CODE HERE")'


class ChapterEntry(NamedTuple):
    """A chapter in solutions/course.yml. solutions: when students are shown them."""
    number: str
    slug: str
    points: int
    minutes: int
    solutions: str

    @property
    def name(self) -> str:
        """The chapter's file name without its ending, "02_noise_prediction" for example."""
        return f"{self.number}_{self.slug}"


class CourseOutline(NamedTuple):
    """solutions/course.yml: the title, what pip installs on a bare machine, the chapters."""
    title: str
    install: str
    chapters: list[ChapterEntry]


def load_outline(root: Path) -> CourseOutline:
    """The course as solutions/course.yml has it. Raises ValueError, in a sentence, for any other.
    """
    path = Path(root) / "solutions" / "course.yml"
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        chapters = [
            ChapterEntry(number=number, **about) for number, about in read["chapters"].items()
        ]
        found = CourseOutline(read["title"], read["install"], chapters)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path} needs title, install and chapters, each chapter with slug, "
                         f"points, minutes and solutions ({' '.join(str(e).split())}).") from None
    for c in chapters:
        if not isinstance(c.number, str) or not re.fullmatch(r"\d\d", c.number):
            raise ValueError(f'{path} should number a chapter "02", in quotes, not {c.number!r}.')
    return found


def is_placeholder(install: str) -> bool:
    """Whether an address to install from is only an example, which no pip can reach."""
    return re.search(r"\bexample\.(?:org|com|net)\b", install) is not None


def install_warnings(root: Path) -> list[str]:
    """A sentence if course.yml has no address yet from which notebooks can install the package."""
    install = load_outline(root).install
    return [f"Warning: solutions/course.yml installs from {install}, a placeholder: on a machine "
            "without the package, such as Colab, no notebook can be run. Put the project's address "
            "there and run python -m minidiff.course build."] if is_placeholder(install) else []


def solutions_in(root: Path) -> list[Path]:
    """The solutions, in the order of the chapters."""
    return notebooks_in(Path(root) / "solutions")


def notebooks_in(folder: Path) -> list[Path]:
    """The notebooks in a folder, sorted by name; hidden files are left out."""
    return sorted(p for p in folder.glob("*.ipynb") if not p.name.startswith("."))


def read_notebook(path: Path) -> dict:
    """A notebook, each cell's source as one text. Raises ValueError for a file that is none."""
    return parse_notebook(Path(path).read_bytes(), path)


def parse_notebook(content: bytes, path: Path) -> dict:
    """The notebook in a file's bytes. path: whose they are, for the sentence of a ValueError."""
    try:
        notebook = json.loads(content.decode())
        if notebook["nbformat"] != 4:
            raise ValueError("its format is not 4")
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
            cell["metadata"].setdefault("tags", [])
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"{path} is not a notebook that can be read: {e}.") from None
    return notebook


def dump_notebook(notebook: dict) -> bytes:
    """A notebook's bytes, as Jupyter writes them."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return (json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_notebook(path: Path, content: bytes) -> None:
    """Writes a notebook's bytes in one step: a reader never sees half a file."""
    with atomic_write(path) as draft:
        draft.write_bytes(content)


def is_setup(cell: dict) -> bool:
    """Whether a cell is the code that starts the chapter."""
    return cell["cell_type"] == "code" and "course.start(" in cell["source"]


def tagged_id(tags: list[str]) -> str | None:
    """The exercise or question that a cell belongs to, from its tag ex:ID."""
    return next((t.removeprefix("ex:") for t in tags if t.startswith("ex:")), None)


def tagged_exercise(tags: list[str]) -> Exercise:
    """The exercise that a cell belongs to. Raises ValueError in a sentence where it has none."""
    id = tagged_id(tags)
    if id is None:
        raise ValueError(f"a cell tagged {' '.join(tags)} also needs a tag ex:ID")
    found = exercises.find(id)
    if not hasattr(found, "entry"):
        raise ValueError(f"{id} is a question, not something to write")
    return found


class SourceLine(NamedTuple):
    """A line of a cell. region: the kind of region it is in, markers included; None: in none."""
    text: str
    region: str | None
    marker: str | None


def parse_regions(source: str) -> list[SourceLine]:
    """A cell's lines and their regions. Raises ValueError for markers that do not pair."""
    found, inside, begun = [], None, 0
    for number, text in enumerate(source.split("\n"), 1):
        marker = MARKER.fullmatch(text)
        if not marker and ALMOST_MARKER.search(text):
            raise ValueError(f"line {number} is nearly a marker; markers are exactly "
                             "### BEGIN or END, then SOLUTION or HIDDEN TESTS, on their own line")
        edge, kind = marker.groups() if marker else (None, inside)
        if edge == "BEGIN" and inside:
            raise ValueError(f"the region that begins on line {number} is nested in another")
        if edge == "END" and kind != inside:
            raise ValueError(f"### END {kind} on line {number} has no ### BEGIN {kind}")
        found.append(SourceLine(text, kind, edge))
        if edge:
            inside, begun = (kind if edge == "BEGIN" else None), number
    if inside:
        raise ValueError(f"### BEGIN {inside} on line {begun} has no ### END {inside}")
    return found


def strip_regions(source: str, stub: bool) -> str:
    """A cell's source without its regions; with a stub in the place of each if it is to be written.
    """
    kept = []
    for line in parse_regions(source):
        if line.region is None:
            kept.append(line.text)
        elif stub and line.marker == "BEGIN":
            kept += [indentation(line.text) + text for text in STUB_LINES]
    return "\n".join(kept).rstrip()


def indentation(text: str) -> str:
    """The white space at the beginning of a line."""
    return text[:len(text) - len(text.lstrip())]
