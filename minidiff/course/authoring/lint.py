"""The chapters' template as rules: how long, in which order, in whose notation, and fit to publish.

`validation.validate_solution` finds faults that break a build; these rules find faults that make a
chapter worse.
"""
import re
from collections.abc import Iterator
from pathlib import Path

from minidiff.course import exercises
from minidiff.course.authoring.notebook_files import (
    INSTRUCTOR_TAGS,
    is_setup,
    load_outline,
    parse_regions,
    read_notebook,
    solutions_in,
    tagged_id,
)
from minidiff.course.authoring.validation import validate_solution
from minidiff.course.student.notation import undeclared

CELL_RANGE = 45, 60                                          # that a student gets
EXERCISE_RANGE = 4, 6
MAX_WORDS, MAX_CELL_WORDS, MAX_CODE_LINES, MAX_BYTES = 2500, 150, 320, 600_000
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
INSTALL_COMMAND = re.compile(r"^\s*[%!]\s*(?:pip|conda|apt(?:-get)?)\b", re.M)
LATEX_PAIRS = (r"\left", r"\right"), (r"\begin", r"\end"), ("{", "}")


def lint(root: Path) -> list[str]:
    """What is against the template in the solutions under root, a sentence each."""
    root = Path(root)
    course, found = load_outline(root), []
    chapters = {f"{c.name}.ipynb": c for c in course.chapters}
    present = solutions_in(root)
    found += [f"solutions/course.yml lists solutions/{name}, which is not there."
              for name in chapters if name not in {p.name for p in present}]
    for path in present:
        name, notebook = f"solutions/{path.name}", read_notebook(path)
        if wrong := validate_solution(notebook, name):
            found += wrong                                   # build will not have it: first things
            continue
        found += [f"{name}{fault}" for fault in lint_notebook(notebook, path.name[:2])]
        if path.stat().st_size > MAX_BYTES:
            found.append(f"{name} has {path.stat().st_size / 1000:.0f} KB with its outputs; "
                         f"at most {MAX_BYTES / 1000:.0f} may be committed.")
        if path.name in chapters:
            found += lint_points(notebook, name, chapters[path.name].points)
    return found


def lint_notebook(notebook: dict, chapter: str) -> Iterator[str]:
    """What is against the template, each to follow the notebook's name."""
    cells = [(i, c) for i, c in enumerate(notebook["cells"], 1) if not INSTRUCTOR_TAGS & tags_of(c)]
    for rule in (lint_size, lint_exercises, lint_setup):
        yield from (f" {fault}." for fault in rule(cells, chapter))
    for number, cell in enumerate(notebook["cells"], 1):
        rules = lint_prose if cell["cell_type"] == "markdown" else lint_code
        yield from (f", cell {number}: {fault}." for fault in rules(cell))


def tags_of(cell: dict) -> set[str]:
    """The tags of a cell."""
    return {*cell["metadata"].get("tags", [])}


def lint_size(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    """Cells, words and lines of code. Hints are folded away and count as cells only."""
    least = 1 if chapter == "00" else CELL_RANGE[0]
    if not least <= len(cells) <= CELL_RANGE[1]:
        yield f"has {len(cells)} cells; {least} to {CELL_RANGE[1]} are a chapter"
    count = sum(count_words(c["source"]) for _, c in cells if is_prose(c))
    if count > MAX_WORDS:
        yield f"has {count} words of prose; {MAX_WORDS} are the most"
    code = sum(count_code_lines(c["source"]) for _, c in cells if c["cell_type"] == "code")
    if code > MAX_CODE_LINES:
        yield f"has {code} lines of code; {MAX_CODE_LINES} are the most"


def is_prose(cell: dict) -> bool:
    """Whether a cell is Markdown that students read, hints left out."""
    return cell["cell_type"] == "markdown" and not ({"hint"} | INSTRUCTOR_TAGS) & tags_of(cell)


def count_words(markdown: str) -> int:
    """Words of prose: no headings, no tags; a formula is one."""
    text = FORMULA.sub(" formula ", HEADING.sub("", FENCED.sub("", markdown)))
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def count_code_lines(source: str) -> int:
    """Lines that are neither blank nor only a comment nor a hidden test."""
    return sum(line.region != "HIDDEN TESTS" and not line.text.lstrip().startswith("#")
               and bool(line.text.strip()) for line in parse_regions(source))


def lint_exercises(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    """How many exercises, each with its hints and then its check right behind it."""
    ours = [i for i, (_, c) in enumerate(cells) if "exercise" in tags_of(c)]
    least, most = (2, 2) if chapter == "00" else EXERCISE_RANGE
    if not least <= len(ours) <= most:
        wanted = least if least == most else f"{least} to {most}"
        yield f"has {len(ours)} exercises; {wanted} are a chapter"
    for i in ours:
        number, id = cells[i][0], tagged_id([*cells[i][1]["metadata"]["tags"]])
        for step, tag in enumerate(("hint", "check"), 1):
            after = cells[i + step][1] if i + step < len(cells) else None
            if after is None or not {tag, f"ex:{id}"} <= tags_of(after):
                yield (f"has the exercise {id} in cell {number} without its {tag} "
                       f"{'right behind it' if step == 1 else 'right behind its hints'}")


def lint_setup(cells: list[tuple[int, dict]], chapter: str) -> Iterator[str]:
    """Yields a sentence unless exactly one cell starts the chapter, under its own number."""
    starts = [c for _, c in cells if is_setup(c)]
    if len(starts) != 1:
        yield f"has {len(starts)} cells with course.start; one is the set-up cell"
    elif f'course.start("{chapter}")' not in starts[0]["source"]:
        yield f'should begin with course.start("{chapter}")'


def lint_points(notebook: dict, name: str, shown: int) -> Iterator[str]:
    """Whether course.yml shows as many points as the exercises and questions give."""
    ids = dict.fromkeys(filter(None, (tagged_id(c["metadata"].get("tags", []))
                                      for c in notebook["cells"])))
    found = sum(exercises.find(id).points for id in ids)
    if found != shown:
        yield f"{name} gives {found} points, but solutions/course.yml shows {shown}."


def lint_prose(cell: dict) -> Iterator[str]:
    """Yields a sentence for each fault of a Markdown cell: length, pictures, formulas, paths."""
    source = cell["source"]
    if is_prose(cell) and count_words(source) > MAX_CELL_WORDS:
        yield (f"{count_words(source)} words are too many for one cell; "
               f"{MAX_CELL_WORDS} are the most")
    open_text = CODE_SPAN.sub(" ", FENCED.sub(" ", source))
    yield from lint_images(open_text)
    if re.search(r"!\[\s*\]\(", open_text):
        yield "a picture has no alt text"
    yield from lint_formulas(open_text.replace(r"\$", " "))
    yield from lint_paths(source)


def lint_formulas(text: str) -> Iterator[str]:
    """Delimiters that do not pair, and symbols that the ledger does not declare."""
    if "$" in FORMULA.sub(" ", text):
        yield "a formula's dollar has no partner"
        return
    for display, inline in FORMULA.findall(text):
        latex = display or inline
        for opening, closing in LATEX_PAIRS:
            if latex_count(latex, opening) != latex_count(latex, closing):
                yield f"{opening} and {closing} do not pair in ${latex.strip()}$"
        for symbol in undeclared(latex):
            yield f"{symbol} in ${latex.strip()}$ is not in the notation ledger"


def latex_count(latex: str, token: str) -> int:
    """How often a token occurs in LaTeX, escaped braces and bars left out."""
    plain = re.sub(r"\\[\\{}|]", " ", latex)
    return len(re.findall(re.escape(token) + r"(?![A-Za-z])" if token[0] == "\\"
                          else re.escape(token), plain))


def lint_code(cell: dict) -> Iterator[str]:
    """Yields a sentence for each fault of a code cell: installs, paths, errors, pictures."""
    if INSTALL_COMMAND.search(cell["source"]):
        yield "nothing is installed from a notebook; build puts that into the set-up cell"
    yield from lint_paths(cell["source"])
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            yield f"it has stored an error, {output.get('ename')}"
        for kind, text in output_texts(output):
            if kind in ("text/html", "text/markdown"):
                yield from lint_images(text)
            if path := machine_path(text):
                yield f"its stored output tells a path of a machine, {path}"


def output_texts(output: dict) -> Iterator[tuple[str, str]]:
    """An output's texts by kind; pictures are none."""
    parts = output.get("data", {}) | {"stream": output.get("text", ""),
                                      "traceback": output.get("traceback", [])}
    for kind, value in parts.items():
        if not kind.startswith("image/") or kind.endswith("svg+xml"):
            yield kind, "".join(value) if isinstance(value, list) else str(value)


def lint_images(html: str) -> Iterator[str]:
    """Yields a sentence if an HTML picture has no alt text."""
    if any(not ALT.search(tag) for tag in IMAGE_TAG.findall(html)):
        yield "a picture has no alt text"


def lint_paths(source: str) -> Iterator[str]:
    """Yields a sentence if the text holds a path of one machine."""
    if path := machine_path(source):
        yield f"{path} is a path of one machine"


def machine_path(text: str) -> str | None:
    """The first absolute path in a text, not counting bytes written as base64."""
    found = MACHINE_PATH.search(DATA_URI.sub("", text))
    return found and found[0]
