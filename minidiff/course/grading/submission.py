"""A notebook that was handed in: whose chapter it is, what it defines, what was chosen.

Nothing of it runs here: its text is parsed, and what stands at the top level is collected: imports,
functions, classes, constants. Functions count by name, so it does not matter what became of the
cells: split, doubled, moved, their tags lost, or beside others that are no Python.
"""
import ast
import json
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from minidiff.course import exercises
from minidiff.course.checking.exercise import Exercise

MAX_NOTEBOOK_BYTES = 100_000_000                    # bytes of a notebook
MAX_PIECES = 12                               # pieces of text that may belong to one broken statement
STUB_MARKER = "YOUR CODE HERE"                # in what an untouched function raises
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")             # cell magics around ordinary Python
IPYTHON_LINE = re.compile(r"(\s*)([\w., ]+=)?\s*(?:[%!?].*|[^#]*\?\s*)")
DEFINITION_START = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)", re.M)
START_CALL = re.compile(r"\bstart\(\s*[\"'](\d\d)[\"']")
LITERAL_NODES = (ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.BinOp,
         ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)
NEEDS_EXECUTION = "your notebook makes it by running code, which grading does not do; make it inside the " \
       "function or give it as an argument"
NOT_A_LITERAL = "not a plain number"


class Definition(NamedTuple):
    """A statement that defines something. kind: "import", "function" (or class) or "value".

    uses: the global names that it reads, now or when called. stub: nothing was written in it yet.
    """
    kind: str
    name: str
    source: str
    uses: frozenset[str] = frozenset()
    stub: bool = False


class Submission(NamedTuple):
    """What was found in a notebook.

    picked: the exercise behind a name, `name = course.pick(id)`. choices: by question, the last one
    that is not None. lost: why a name has no value here. broken: functions with syntax errors.
    """
    chapters: list[str]
    definitions: list[Definition]
    picked_exercises: dict[str, str]
    choices: dict[str, object]
    unavailable: dict[str, str]
    syntax_errors: dict[str, str]


def read_submission(path: Path) -> Submission:
    """Collect a notebook. Raises ValueError that says why a file is none of the course."""
    sources = code_cells(Path(path))
    trees, broken = parse_cells(sources)
    items, lost, picked = collect_definitions(trees)
    chapters = find_chapters(sources, trees, {i.name for i in items} | broken.keys())
    if not chapters:
        raise ValueError(f"{path} belongs to no chapter: it calls no course.start(\"NN\") and has "
                         "none of the exercises' functions.")
    entries = {e.id: e.entry for c in exercises.chapters() for e in exercises.exercises_of(c)}
    items += [Definition("function", name, f"{name} = {entries[id]}", frozenset({entries[id]}))
              for name, id in picked.items() if id in entries and name != entries[id]]
    return Submission(chapters, drop_stubs(items, set(entries.values())), picked, choices(trees), lost,
                      broken)


def code_cells(path: Path) -> list[str]:
    """The code cells' texts. Raises ValueError for what is no notebook."""
    try:
        if path.stat().st_size > MAX_NOTEBOOK_BYTES:
            raise ValueError(f"it has more than {MAX_NOTEBOOK_BYTES // 10**6} MB")
        notebook = json.loads(path.read_bytes())
        sheets = notebook.get("worksheets") or [notebook]                # as in format 3
        found = [c for s in sheets for c in s["cells"]]
        code = [c.get("source", c.get("input", "")) for c in found
                if c.get("cell_type", "code") == "code"]
        texts = [s if isinstance(s, str) else "".join(s) for s in code]
    except (OSError, ValueError, RecursionError) as e:
        raise ValueError(f"{path} cannot be read as a notebook: {e}.") from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no notebook: it has no list of cells.") from None
    return [t.replace("\r\n", "\n").replace("\r", "\n") for t in texts]


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
    return isinstance(parse_python(text), ast.Module)


def split_cell(source: str) -> list[CellPiece]:
    """A cell in one piece if it is Python, else one for each line that begins at the margin."""
    if is_valid_python(text := strip_ipython(source)):
        return [CellPiece(text, True)]
    lines = text.split("\n")
    begins = [0] + [i for i, s in enumerate(lines) if i and s and s[0] not in " \t#)]}"]
    parts = ("\n".join(lines[a:b]) for a, b in zip(begins, [*begins[1:], len(lines)]))
    return [CellPiece(strip_ipython(p), i == 0) for i, p in enumerate(parts)]


def strip_ipython(text: str) -> str:
    """Python without IPython's own lines: %magic, !command, help?; empty for other languages."""
    lines = text.split("\n")
    top = next((i for i, s in enumerate(lines) if s.strip()), 0)
    if lines[top].startswith("%%"):
        if not re.match(rf"%%({'|'.join(PYTHON_MAGICS)})\b", lines[top]):
            return ""
        lines[top] = ""
    for _ in lines:                            # only what does not parse: a % may be a remainder
        found = re.search(r"\(line (\d+)\)$", str(parse_python("\n".join(lines))))
        at = int(found[1]) - 1 if found else len(lines)
        ours = IPYTHON_LINE.fullmatch(lines[at]) if at < len(lines) else None
        if not ours:
            break
        lines[at] = ours[1] + (f"{ours[2]} None" if ours[2] else "pass")
    return "\n".join(lines)


def join_pieces(pieces: list[CellPiece], at: int) -> tuple[str, int]:
    """The piece at `at` and those after it that go on with it; and where the next begins.

    A split cell's second half does not parse alone but does with the first, on a new line or, if it
    was split within a line, on the same.
    """
    best, end = pieces[at].text, at + 1
    trials = [best]
    for k in range(at + 1, min(at + 1 + MAX_PIECES, len(pieces))):
        cut = pieces[k].starts_cell and re.search(r"^\s+return $", best.rpartition("\n")[2])
        if len(trials) == 1 and is_valid_python(best) and is_valid_python(pieces[k].text) and not cut:
            break
        glues = ("",) if cut else ("\n", "") if pieces[k].starts_cell else ("\n",)
        trials = [t + glue + pieces[k].text for t in trials for glue in glues][:8]
        if done := next(filter(is_valid_python, trials), None):
            best, end, trials = done, k + 1, [done]
    return best, end


# Statements to items


def collect_definitions(trees: Iterable) -> tuple[list[Definition], dict[str, str], dict[str, str]]:
    """What statements define, what they would have to run for, and what they pick."""
    items, lost, picked = [], {}, {}
    for text, tree in trees:
        for node, top in walk_statements(tree.body):
            made = list(definitions_in(node, text, top))
            items += made
            if isinstance(node, ast.Assign) and (id := picked_id(node.value)):
                picked |= {t.id: id for t in node.targets if isinstance(t, ast.Name)}
            elif not made:
                lost |= dict.fromkeys(assigned_names(node), NEEDS_EXECUTION)
    return items, lost, picked


def walk_statements(body: list[ast.stmt], top: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    """All statements outside functions, and whether each stands at the very top."""
    for node in body:
        yield node, top
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            inner = [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            inner += [s for h in getattr(node, "handlers", []) for s in h.body]
            yield from walk_statements(inner, False)


def definitions_in(node: ast.stmt, text: str, top: bool) -> Iterator[Definition]:
    """What one statement defines: nothing if it would have to run."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            one = (ast.Import([alias]) if isinstance(node, ast.Import)
                   else ast.ImportFrom(node.module, [alias], node.level))
            if getattr(node, "module", None) != "__future__":
                yield Definition("import", alias.asname or alias.name.split(".")[0], ast.unparse(one))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield Definition("function", node.name, definition_source(node, text), names_read(node), is_stub(node))
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and top and node.value and is_static_expression(node.value):
        function = isinstance(node.value, (ast.Lambda, ast.Name, ast.Attribute))
        for name in assigned_names(node):
            yield Definition("function" if function else "value", name, ast.unparse(node),
                       names_read(node))


def definition_source(node: ast.stmt, text: str) -> str:
    """A definition as it was written, so that its lines keep their numbers."""
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    own = textwrap.dedent("\n".join(text.split("\n")[start - 1:node.end_lineno]))
    return own if is_valid_python(own) else ast.unparse(node)


def is_static_expression(value: ast.expr) -> bool:
    """Whether an expression is a constant, an alias or a lambda: no call, and no huge power."""
    if isinstance(value, ast.Lambda):
        return all(is_static_expression(d) for d in [*value.args.defaults, *filter(None, value.args.kw_defaults)])
    for n in ast.walk(value):
        if isinstance(n, ast.BinOp) and isinstance(n.op, (ast.Pow, ast.LShift)):
            power = n.right.value if isinstance(n.right, ast.Constant) else None
            if not isinstance(power, (int, float)) or power > 64:
                return False
        if not isinstance(n, LITERAL_NODES):
            return False
    return True


def assigned_names(node: ast.AST) -> list[str]:
    """The names that a statement gives values to."""
    return list(dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name)
                              and isinstance(n.ctx, ast.Store)))


def names_read(node: ast.AST) -> frozenset[str]:
    """The names that are read and neither arguments nor set inside."""
    inner = {*assigned_names(node), *(a.arg for a in ast.walk(node) if isinstance(a, ast.arg))}
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name)) - inner


def is_stub(node: ast.stmt) -> bool:
    """Whether a function, or a method of a class, still comes to the stub's error first."""
    for part in node.body:
        if any(isinstance(n, ast.Raise) and STUB_MARKER in ast.unparse(n) for n in ast.walk(part)):
            return True
        if isinstance(part, (ast.Return, ast.Raise)):
            return False
    return False


def drop_stubs(items: list[Definition], entries: set[str]) -> list[Definition]:
    """Without stubs of what is written elsewhere, and nothing but functions under entries' names.

    Of several definitions the last one wins by itself.
    """
    done = {i.name for i in items if i.kind == "function" and not i.stub}
    return [i for i in items if not (i.stub and i.name in done)
            and (i.kind == "function" or i.name not in entries & done)]


def dependencies(items: list[Definition], name: str) -> set[str]:
    """All names that a name's definition reads, and those that these read, and so on."""
    found, open_ = set(), [name]
    while open_:
        here = open_.pop()
        new = {u for i in items if i.name == here for u in i.uses} - found
        found |= new
        open_ += new
    return found - {name}


# Calls of the course


def course_call(node: ast.AST, *names: str) -> ast.Call | None:
    """The node, if it calls one of these functions with an id."""
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name = getattr(node.func, "attr", getattr(node.func, "id", None))
    first = node.args[0]
    text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return node if name in names and text else None


def picked_id(node: ast.AST) -> str | None:
    return call.args[0].value if (call := course_call(node, "pick")) else None


def choices(trees: Iterable) -> dict[str, object]:
    """What was chosen, by question: a constant, or UNREAD for anything else."""
    values, found = {}, {}
    for statement in (s for _, tree in trees for s in tree.body):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
            values |= dict.fromkeys(assigned_names(statement), literal_value(statement.value))
        for node in ast.walk(statement):
            if not (call := course_call(node, "predict", "bughunt")):
                continue
            where = 2 if course_call(node, "predict") else 1
            given = [*call.args[where:where + 1],
                     *(k.value for k in call.keywords if k.arg == "choice")]
            value = None
            if given:
                value = (values.get(given[0].id, NOT_A_LITERAL) if isinstance(given[0], ast.Name)
                         else literal_value(given[0]))
            if value is not None or call.args[0].value not in found:
                found[call.args[0].value] = value
    return found


def literal_value(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return NOT_A_LITERAL


def find_chapters(sources: list[str], trees: Iterable, names: set[str]) -> list[str]:
    """The chapters it starts, else the one that most of its checks and functions belong to."""
    known = exercises.chapters()
    started = {n for s in sources for n in START_CALL.findall(s)}
    if found := [c for c in known if c in started]:
        return found
    ids = {call.args[0].value for _, tree in trees for n in ast.walk(tree)
           if (call := course_call(n, "check", "predict", "bughunt"))}
    votes = Counter({c: sum(e.id in ids or (isinstance(e, Exercise) and e.entry in names)
                            for e in exercises.exercises_of(c) + exercises.questions_of(c))
                     for c in known})
    best, count = votes.most_common(1)[0]
    return [best] if count else []
