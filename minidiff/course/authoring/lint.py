"""The chapters' template as rules: how long, in which order, in whose notation, and fit to publish.

What would break a build is `rules.faults`; here is what would make a chapter a worse one.
"""
import re
from collections.abc import Iterator
from pathlib import Path

from minidiff.course import exercises
from minidiff.course.authoring.notebook_files import (
    DROPPED,
    id_of,
    is_setup,
    lines,
    outline,
    read,
    solutions_in,
)
from minidiff.course.authoring.validation import faults
from minidiff.course.student.notation import undeclared

CELLS = 45, 60                                          # that a student gets
EXERCISES = 4, 6
WORDS, CELL_WORDS, CODE_LINES, BYTES = 2500, 150, 300, 600_000
FENCED = re.compile(r"```.*?```|~~~.*?~~~", re.S)
CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
FORMULA = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$")
HEADING = re.compile(r"^#{1,6} .*$", re.M)
IMAGE_TAG = re.compile(r"<img\b[^>]*>", re.I | re.S)
ALT = re.compile(r"""\balt\s*=\s*(?:"\s*[^\s"]|'\s*[^\s'])""", re.I)
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*")
MACHINE_PATH = re.compile(
    r"(?<![\w.:/<~])/(?:home|Users|root|tmp|usr|opt|var|mnt|work|content|private)(?:/[\w.-]+)+"
    r"|\b[A-Za-z]:\\{1,2}(?!n\b)\w[\w.-]*\\")
INSTALLS = re.compile(r"^\s*[%!]\s*(?:pip|conda|apt(?:-get)?)\b", re.M)
PAIRS = (r"\left", r"\right"), (r"\begin", r"\end"), ("{", "}")


def lint(root: Path) -> list[str]:
    """What is against the template in the solutions under root, a sentence each."""
    root = Path(root)
    course, found = outline(root), []
    chapters = {f"{c.name}.ipynb": c for c in course.chapters}
    present = solutions_in(root)
    found += [f"solutions/course.yml lists solutions/{name}, which is not there."
              for name in chapters if name not in {p.name for p in present}]
    for path in present:
        name, notebook = f"solutions/{path.name}", read(path)
        if wrong := faults(notebook, name):
            found += wrong                                   # build will not have it: first things
            continue
        found += [f"{name}{fault}" for fault in notebook_faults(notebook, path.name[:2])]
        if path.stat().st_size > BYTES:
            found.append(f"{name} has {path.stat().st_size / 1000:.0f} KB with its outputs; "
                         f"at most {BYTES / 1000:.0f} may be committed.")
        if path.name in chapters:
            found += points_faults(notebook, name, chapters[path.name].points)
    return found


def notebook_faults(notebook: dict, chapter: str) -> Iterator[str]:
    """What is against the template, each to follow the notebook's name."""
    cells = [(i, c) for i, c in enumerate(notebook["cells"], 1) if not DROPPED & tags_of(c)]
    for rule in (size_faults, exercise_faults, setup_faults):
        yield from (f" {fault}." for fault in rule(cells, chapter))
    for number, cell in enumerate(notebook["cells"], 1):
        rules = prose_faults if cell["cell_type"] == "markdown" else code_faults
        yield from (f", cell {number}: {fault}." for fault in rules(cell))


def tags_of(cell: dict) -> set[str]:
    return {*cell["metadata"].get("tags", [])}


def size_faults(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    """Cells, words and lines of code. Hints are folded away and count as cells only."""
    least = 1 if chapter == "00" else CELLS[0]
    if not least <= len(cells) <= CELLS[1]:
        yield f"has {len(cells)} cells; {least} to {CELLS[1]} are a chapter"
    count = sum(words(c["source"]) for _, c in cells if is_prose(c))
    if count > WORDS:
        yield f"has {count} words of prose; {WORDS} are the most"
    code = sum(code_lines(c["source"]) for _, c in cells if c["cell_type"] == "code")
    if code > CODE_LINES:
        yield f"has {code} lines of code; {CODE_LINES} are the most"


def is_prose(cell: dict) -> bool:
    return cell["cell_type"] == "markdown" and not ({"hint"} | DROPPED) & tags_of(cell)


def words(markdown: str) -> int:
    """Words of prose: no headings, no tags; a formula is one."""
    text = FORMULA.sub(" formula ", HEADING.sub("", FENCED.sub("", markdown)))
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def code_lines(source: str) -> int:
    """Lines that are neither blank nor only a comment nor a hidden test."""
    return sum(line.region != "HIDDEN TESTS" and not line.text.lstrip().startswith("#")
               and bool(line.text.strip()) for line in lines(source))


def exercise_faults(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    """How many exercises, each with its hints and then its check right behind it."""
    ours = [i for i, (_, c) in enumerate(cells) if "exercise" in tags_of(c)]
    least, most = (2, 2) if chapter == "00" else EXERCISES
    if not least <= len(ours) <= most:
        wanted = least if least == most else f"{least} to {most}"
        yield f"has {len(ours)} exercises; {wanted} are a chapter"
    for i in ours:
        number, id = cells[i][0], id_of([*cells[i][1]["metadata"]["tags"]])
        for step, tag in enumerate(("hint", "check"), 1):
            after = cells[i + step][1] if i + step < len(cells) else None
            if after is None or not {tag, f"ex:{id}"} <= tags_of(after):
                yield (f"has the exercise {id} in cell {number} without its {tag} "
                       f"{'right behind it' if step == 1 else 'right behind its hints'}")


def setup_faults(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    starts = [c for _, c in cells if is_setup(c)]
    if len(starts) != 1:
        yield f"has {len(starts)} cells with course.start; one is the set-up cell"
    elif f'course.start("{chapter}")' not in starts[0]["source"]:
        yield f'should begin with course.start("{chapter}")'


def points_faults(notebook: dict, name: str, shown: int) -> Iterator[str]:
    """Whether course.yml shows as many points as the exercises and questions give."""
    ids = dict.fromkeys(filter(None, (id_of(c["metadata"].get("tags", []))
                                      for c in notebook["cells"])))
    found = sum(exercises.find(id).points for id in ids)
    if found != shown:
        yield f"{name} gives {found} points, but solutions/course.yml shows {shown}."


def prose_faults(cell: dict) -> Iterator[str]:
    source = cell["source"]
    if is_prose(cell) and words(source) > CELL_WORDS:
        yield f"{words(source)} words are too many for one cell; {CELL_WORDS} are the most"
    open_text = CODE_SPAN.sub(" ", FENCED.sub(" ", source))
    yield from picture_faults(open_text)
    if re.search(r"!\[\s*\]\(", open_text):
        yield "a picture has no alt text"
    yield from formula_faults(open_text.replace(r"\$", " "))
    yield from path_faults(source)


def formula_faults(text: str) -> Iterator[str]:
    """Delimiters that do not pair, and symbols that the ledger does not declare."""
    if "$" in FORMULA.sub(" ", text):
        yield "a formula's dollar has no partner"
        return
    for display, inline in FORMULA.findall(text):
        latex = display or inline
        for opening, closing in PAIRS:
            if latex_count(latex, opening) != latex_count(latex, closing):
                yield f"{opening} and {closing} do not pair in ${latex.strip()}$"
        for symbol in undeclared(latex):
            yield f"{symbol} in ${latex.strip()}$ is not in the notation ledger"


def latex_count(latex: str, token: str) -> int:
    plain = re.sub(r"\\[\\{}|]", " ", latex)
    return len(re.findall(re.escape(token) + r"(?![A-Za-z])" if token[0] == "\\"
                          else re.escape(token), plain))


def code_faults(cell: dict) -> Iterator[str]:
    if INSTALLS.search(cell["source"]):
        yield "nothing is installed from a notebook; build puts that into the set-up cell"
    yield from path_faults(cell["source"])
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            yield f"it has stored an error, {output.get('ename')}"
        for kind, text in texts(output):
            if kind in ("text/html", "text/markdown"):
                yield from picture_faults(text)
            if path := machine_path(text):
                yield f"its stored output tells a path of a machine, {path}"


def texts(output: dict) -> Iterator[tuple[str, str]]:
    """An output's texts by kind; pictures are none."""
    parts = output.get("data", {}) | {"stream": output.get("text", ""),
                                      "traceback": output.get("traceback", [])}
    for kind, value in parts.items():
        if not kind.startswith("image/") or kind.endswith("svg+xml"):
            yield kind, "".join(value) if isinstance(value, list) else str(value)


def picture_faults(html: str) -> Iterator[str]:
    if any(not ALT.search(tag) for tag in IMAGE_TAG.findall(html)):
        yield "a picture has no alt text"


def path_faults(source: str) -> Iterator[str]:
    if path := machine_path(source):
        yield f"{path} is a path of one machine"


def machine_path(text: str) -> str | None:
    """The first absolute path in a text, not counting bytes written as base64."""
    found = MACHINE_PATH.search(DATA_URI.sub("", text))
    return found and found[0]
