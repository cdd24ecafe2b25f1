"""A notebook that was handed in: whose chapter it is, what it defines, what was chosen.

Nothing of it runs here: its text is parsed (`cells`), and what stands at the top level is
collected: imports, functions, classes, constants. Functions count by name, so it does not matter
what became of the cells.
"""
import ast
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from minidiff.course.grading import cells
from minidiff.course.grading.results import Packer, message, unpack

STUB_MARKER = "YOUR CODE HERE"                # in what an untouched function raises
START_CALL = re.compile(r"\bstart\(\s*[\"'](\d\d)[\"']")
LITERAL_NODES = (ast.Constant, ast.Name, ast.Attribute, ast.Tuple, ast.List, ast.Dict, ast.Set,
                 ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)
NEEDS_EXECUTION = ("your notebook makes it by running code, which grading does not do; make it "
                   "inside the function or give it as an argument")
TOO_DEEP = "the expression that makes it is too long to be read"
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

    picked_exercises: the exercise behind a name, `name = course.pick(id)`. choices: by question,
    the last one that is not None. unavailable: why a name has no value here. syntax_errors: the
    functions that do not parse. misplaced: the functions in cells that do not run, and the cure.
    """
    chapters: list[str]
    definitions: list[Definition]
    picked_exercises: dict[str, str]
    choices: dict[str, object]
    unavailable: dict[str, str]
    syntax_errors: dict[str, str]
    misplaced: dict[str, str]


def read_submission(path: Path, catalogue: dict[str, dict]) -> Submission:
    """Collect a notebook.

    catalogue: for each chapter its "entries", function names by exercise id, and its "questions",
    a list of ids. Raises ValueError that says why a file is not one of the course.
    """
    found = cells.read_cells(Path(path))
    sources = [c.text for c in found if c.kind == "code"]
    trees, broken = cells.parse_cells(sources)
    items, lost, picked = collect_definitions(trees)
    misplaced = cells.misplaced_definitions(found)
    chapters = find_chapters(sources, trees, {i.name for i in items} | broken.keys()
                             | misplaced.keys(), catalogue)
    if not chapters:
        raise ValueError("it belongs to no chapter: it calls no course.start(\"NN\") and has "
                         "none of the exercises' functions.")
    entries = {id: name for c in catalogue.values() for id, name in c["entries"].items()}
    items += [Definition("function", name, f"{name} = {entries[id]}", frozenset({entries[id]}))
              for name, id in picked.items() if id in entries and name != entries[id]]
    return Submission(chapters, drop_stubs(items, set(entries.values())), picked, choices(trees),
                      lost, broken, misplaced)


def read_as_message(path: Path, catalogue: dict[str, dict]) -> bytes:
    """A notebook's submission, or the reason why there is none, as a message."""
    try:
        found = read_submission(path, catalogue)
    except ValueError as e:
        return message({"unreadable": str(e)})
    except (RecursionError, MemoryError):
        return message({"unreadable": "it cannot be read: it needs too much memory."})
    rows = [[*i._replace(uses=sorted(i.uses))] for i in found.definitions]
    chosen = [[id, Packer().pack(value)] for id, value in found.choices.items()]
    return message({"submission": found._replace(definitions=rows, choices=chosen)._asdict()})


def from_message(about: dict) -> Submission:
    """The reverse. Raises ValueError with the reason if there is no submission."""
    if "unreadable" in about:
        raise ValueError(about["unreadable"])
    found = Submission(**about["submission"])
    rows = [Definition(kind, name, source, frozenset(uses), stub)
            for kind, name, source, uses, stub in found.definitions]
    return found._replace(definitions=rows, choices={k: unpack(v, {}) for k, v in found.choices})


# Statements to definitions


def collect_definitions(trees: Iterable) -> tuple[list[Definition], dict[str, str], dict[str, str]]:
    """What statements define, what they would have to run for, and what they pick."""
    items, lost, picked = [], {}, {}
    for text, tree in trees:
        lines = text.split("\n")
        for node, top in walk_statements(tree.body):
            try:
                made = list(definitions_in(node, lines, top))
            except RecursionError:
                lost |= dict.fromkeys(assigned_names(node), TOO_DEEP)
                continue
            items += made
            if isinstance(node, ast.Assign) and (id := picked_id(node.value)):
                picked |= {t.id: id for t in node.targets if isinstance(t, ast.Name)}
            elif not made:
                lost |= dict.fromkeys(assigned_names(node), NEEDS_EXECUTION)
    return items, lost, picked


def walk_statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """All statements outside functions, and whether each stands at the very top."""
    waiting = [(node, True) for node in reversed(body)]
    while waiting:
        node, top = waiting.pop()
        yield node, top
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            inner = [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            inner += [s for h in getattr(node, "handlers", []) for s in h.body]
            waiting += [(s, False) for s in reversed(inner)]


def definitions_in(node: ast.stmt, lines: list[str], top: bool) -> Iterator[Definition]:
    """What one statement defines: nothing if it would have to run."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            one = (ast.Import([alias]) if isinstance(node, ast.Import)
                   else ast.ImportFrom(node.module, [alias], node.level))
            if getattr(node, "module", None) != "__future__":
                name = alias.asname or alias.name.split(".")[0]
                yield Definition("import", name, ast.unparse(one))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield Definition("function", node.name, definition_source(node, lines), names_read(node),
                         is_stub(node))
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and top and node.value \
            and is_static_expression(node.value):
        function = isinstance(node.value, (ast.Lambda, ast.Name, ast.Attribute))
        source, uses = definition_source(node, lines), names_read(node)
        for name in assigned_names(node):
            yield Definition("function" if function else "value", name, source, uses)


def definition_source(node: ast.stmt, lines: list[str]) -> str:
    """A definition as it was written, so that its lines keep their numbers."""
    start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    own = textwrap.dedent("\n".join(lines[start - 1:node.end_lineno]))
    tree = cells.parse_python(own)
    alone = isinstance(tree, ast.Module) and len(tree.body) == 1
    return own if alone else ast.unparse(node)                 # several may stand on one line


def is_static_expression(value: ast.expr) -> bool:
    """Whether an expression is a constant, an alias or a lambda: no call, and no huge power."""
    if isinstance(value, ast.Lambda):
        return all(is_static_expression(d) for d in
                   [*value.args.defaults, *filter(None, value.args.kw_defaults)])
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
        if any(isinstance(n, ast.Raise) and has_stub_marker(n) for n in ast.walk(part)):
            return True
        if isinstance(part, (ast.Return, ast.Raise)):
            return False
    return False


def has_stub_marker(node: ast.AST) -> bool:
    """Whether a text in a statement is the untouched function's."""
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) and STUB_MARKER in n.value
               for n in ast.walk(node))


def drop_stubs(items: list[Definition], entries: set[str]) -> list[Definition]:
    """Without stubs of what is written elsewhere, and nothing but functions under entries' names.

    Of several definitions the last one wins by itself.
    """
    done = {i.name for i in items if i.kind == "function" and not i.stub}
    return [i for i in items if not (i.stub and i.name in done)
            and (i.kind == "function" or i.name not in entries & done)]


def dependencies(items: list[Definition], name: str) -> set[str]:
    """All names that a name's definition reads, and those that these read, and so on."""
    uses: dict[str, set[str]] = {}
    for i in items:
        uses.setdefault(i.name, set()).update(i.uses)
    found, waiting = set(), [name]
    while waiting:
        new = uses.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
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
    """The exercise's id in `course.pick(id)`."""
    return call.args[0].value if (call := course_call(node, "pick")) else None


def choices(trees: Iterable) -> dict[str, object]:
    """What was chosen, by question: a constant, or NOT_A_LITERAL for anything else."""
    values, found = {}, {}
    for statement in (s for _, tree in trees for s in tree.body):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
            values |= dict.fromkeys(assigned_names(statement), literal_value(statement.value))
        for node in ast.walk(statement):
            if not (call := course_call(node, "predict", "bughunt")):
                continue
            value = chosen_value(call, values)
            if value is not None or call.args[0].value not in found:
                found[call.args[0].value] = value
    return found


def chosen_value(call: ast.Call, values: dict[str, object]) -> object:
    """The choice in `predict(id, show, choice)` or `bughunt(id, choice)`; None if there is none."""
    place = 2 if course_call(call, "predict") else 1
    given = [*call.args[place:place + 1], *(k.value for k in call.keywords if k.arg == "choice")]
    if not given:
        return None
    if isinstance(given[0], ast.Name):
        return values.get(given[0].id, NOT_A_LITERAL)
    return literal_value(given[0])


def literal_value(node: ast.expr) -> object:
    """A constant's value, or NOT_A_LITERAL."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return NOT_A_LITERAL


def find_chapters(sources: list[str], trees: Iterable, names: set[str],
                  catalogue: dict[str, dict]) -> list[str]:
    """The chapters it starts, else the one that most of its checks and functions belong to."""
    started = {n for s in sources for n in START_CALL.findall(s)}
    if found := [c for c in catalogue if c in started]:
        return found
    ids = {call.args[0].value for _, tree in trees for n in ast.walk(tree)
           if (call := course_call(n, "check", "predict", "bughunt"))}
    votes = {c: sum(id in ids or name in names for id, name in about["entries"].items())
             + sum(id in ids for id in about["questions"]) for c, about in catalogue.items()}
    best, count = Counter(votes).most_common(1)[0]
    return [best] if count else []
