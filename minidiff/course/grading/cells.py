"""A notebook's cells as Python: whatever became of them, split, doubled, or beside other languages.

A cell that does not parse is cut at the lines that begin at the left margin, and neighbours are
joined again if they parse together. The time that this takes grows linearly with the text.
"""
import ast
import json
import re
import warnings
from pathlib import Path
from typing import NamedTuple

MAX_NOTEBOOK_BYTES = 1_000_000_000
MAX_PIECES = 12                          # pieces of text that may belong to one broken statement
MAX_MAGICS = 50                          # IPython's own lines that are looked for in one piece
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")       # cell magics around ordinary Python
DEFINITION_START = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)", re.M)


class Cell(NamedTuple):
    """A cell's text. kind: "code", "markdown" or "raw"."""
    kind: str
    text: str


def read_cells(path: Path) -> list[Cell]:
    """A notebook's cells without what they showed. Raises ValueError if it is not a notebook."""
    try:
        if path.stat().st_size > MAX_NOTEBOOK_BYTES:
            raise ValueError(f"it has more than {MAX_NOTEBOOK_BYTES // 10**6} MB")
        notebook = json.loads(path.read_bytes())
        sheets = notebook.get("worksheets") or [notebook]                # as in format 3
        found = [c for s in sheets for c in s["cells"]]
        texts = [(c.get("cell_type", "code"), c.get("source", c.get("input", ""))) for c in found]
        cells = [Cell(str(k), s if isinstance(s, str) else "".join(s)) for k, s in texts]
    except MemoryError:
        raise ValueError("it cannot be read as a notebook: it needs too much memory.") from None
    except (OSError, ValueError, RecursionError) as e:
        raise ValueError(f"it cannot be read as a notebook: {e}.") from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError("it is not a notebook: it has no list of cells.") from None
    return [Cell(c.kind, c.text.replace("\r\n", "\n").replace("\r", "\n")) for c in cells]


def misplaced_definitions(cells: list[Cell]) -> dict[str, str]:
    """The functions in cells that are not run as Python, by name, and what to do about each."""
    found = {}
    for cell in cells:
        names = DEFINITION_START.findall(cell.text)
        if cell.kind != "code":
            kind = "text" if cell.kind == "markdown" else cell.kind
            found |= {n: f"The cell with {n} is a {kind} cell now: change it to code."
                      for n in names}
        elif magic := foreign_magic(cell.text):
            found |= {n: f"The cell with {n} begins with {magic}, so its code is not run here: "
                      "remove that line." for n in names}
    return found


def foreign_magic(text: str) -> str:
    """The cell magic, %%writefile for one, that makes a cell anything else than Python."""
    first = text.lstrip().partition("\n")[0]
    found = re.match(r"%%(\w*)", first)
    return "" if not found or found[1] in PYTHON_MAGICS else found[0]


# Text to statements


class CellPiece(NamedTuple):
    """Text that begins at the left margin, or at the top of a cell."""
    text: str
    starts_cell: bool


def parse_cells(sources: list[str]) -> tuple[list[tuple[str, ast.Module]], dict[str, str]]:
    """All that parses, with its text; and by name the functions that do not, with the reason."""
    pieces = [p for s in sources for p in split_cell(s)]
    trees, broken, at = [], {}, 0
    while at < len(pieces):
        text, at = join_pieces(pieces, at)
        tree = parse_python(text)
        if isinstance(tree, ast.Module):
            trees.append((text, tree))
        else:
            broken |= dict.fromkeys(DEFINITION_START.findall(text), tree)
    return trees, broken


def parse_python(text: str) -> ast.Module | str:
    """The statements, or what is wrong in them; a `return` outside a function is wrong, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)
            return ast.parse(text)
        except SyntaxError as e:
            return f"{e.msg} (line {e.lineno})"
        except (ValueError, RecursionError, MemoryError) as e:
            return str(e) or type(e).__name__


def is_valid_python(text: str) -> bool:
    """Whether a text parses."""
    return isinstance(parse_python(text), ast.Module)


def split_cell(source: str) -> list[CellPiece]:
    """A cell in one piece if it is Python, else one for each line that begins at the margin."""
    if foreign_magic(source):
        return [CellPiece("", True)]
    if is_valid_python(text := strip_ipython(strip_cell_magic(source))):
        return [CellPiece(text, True)]
    lines = text.split("\n")
    begins = [0] + [i for i, s in enumerate(lines) if i and s and s[0] not in " \t#)]}"]
    parts = ("\n".join(lines[a:b]) for a, b in zip(begins, [*begins[1:], len(lines)]))
    return [CellPiece(strip_ipython(p), i == 0) for i, p in enumerate(parts)]


def strip_cell_magic(text: str) -> str:
    """A cell without its first line if that is a cell magic."""
    return re.sub(r"\A(\s*)%%.*", r"\1", text)


def strip_ipython(text: str) -> str:
    """Python without IPython's own lines: %magic, !command, help?."""
    lines = text.split("\n")
    for _ in range(MAX_MAGICS):                # only what does not parse: a % may be a remainder
        found = re.search(r"\(line (\d+)\)$", str(parse_python("\n".join(lines))))
        at = int(found[1]) - 1 if found else len(lines)
        if at >= len(lines) or (python := python_for_ipython(lines[at])) is None:
            break
        lines[at] = python
    return "\n".join(lines)


def python_for_ipython(line: str) -> str | None:
    """A line of Python in place of one of IPython's own; None if it is not one of those."""
    bare = line.strip()
    indent = line[:len(line) - len(line.lstrip())]
    target, equals, value = bare.partition("=")
    if equals and value.lstrip()[:1] in ("%", "!") and re.fullmatch(r"[\w., ]+", target):
        return f"{indent}{target}= None"
    if bare[:1] in ("%", "!", "?") or (bare[-1:] == "?" and "#" not in bare):
        return f"{indent}pass"
    return None


def join_pieces(pieces: list[CellPiece], at: int) -> tuple[str, int]:
    """The piece at `at` and those after it that go on with it; and where the next begins.

    A split cell's second half does not parse alone but does with the first, on a new line or, if it
    was split within a line, on the same.
    """
    best, end = pieces[at].text, at + 1
    trials = [best]
    for k in range(at + 1, min(at + 1 + MAX_PIECES, len(pieces))):
        last = best[best.rfind("\n") + 1:]
        cut = pieces[k].starts_cell and last[:1].isspace() and last.lstrip() == "return "
        alone = len(trials) == 1 and not cut
        if alone and is_valid_python(best) and is_valid_python(pieces[k].text):
            break
        glues = ("",) if cut else ("\n", "") if pieces[k].starts_cell else ("\n",)
        trials = [t + glue + pieces[k].text for t in trials for glue in glues][:8]
        if done := next(filter(is_valid_python, trials), None):
            best, end, trials = done, k + 1, [done]
    return best, end
