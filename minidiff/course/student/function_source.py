"""The source of a notebook's function, with everything that it needs from the notebook.

Python keeps a cell's text for error messages (`linecache`), but not under `%%time` and not for
classes, so IPython's list of the cells that were run is searched as well. A definition is found in
such a text by its syntax tree. So a lambda is found inside a longer statement, too.
"""
import ast
import dis
import functools
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType

import torch

NOTEBOOK_MODULES = "__main__", "minidiff.course.yours"    # modules of functions made in a notebook
GENERATED = "<string>"                # the file of methods that dataclass and NamedTuple make
CELLS = "_ih"                                   # the list of run cells in IPython's namespace
HOW_TO = "write it with def at the top of a cell"


def source_with_dependencies(f: Callable, entry: str | None = None) -> tuple[str, str]:
    """Source that defines f, after everything that it needs, and the name that f has there.

    entry: the name that f should have; f's own name if None. Raises ValueError that names what
    cannot be stored and how to write it.
    """
    definitions = Definitions(entry or getattr(f, "__name__", "f"))
    own = definitions.add_value(definitions.subject, f, {})
    return "\n\n".join(definitions.texts.values()) + "\n", own


class Definitions:
    """The definitions that one function needs, in an order in which Python can run them.

    subject: the name of that function. known: every definition, also the unfinished ones of
    functions that call each other. texts: the finished ones, in their order.
    """

    def __init__(self, subject: str):
        self.subject = subject
        self.known: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def add_value(self, name: str, value: object, space: dict) -> str:
        """Add what defines a value that is called `name` in a namespace.

        Returns the name under which it is defined. Raises ValueError for what cannot be kept.
        """
        if inspect.ismethod(value):
            raise ValueError(f"{self.subject} needs the method {value.__qualname__} of an object, "
                             f"which cannot be kept for later chapters; {HOW_TO}.")
        if is_from_notebook(value):
            return self.add_from_notebook(name, value, space)
        if isinstance(value, functools.partial):
            text = f"{name} = {self.partial_expression(value, space)}"
        else:
            text = self.definition_line(name, value)
        if self.is_new(name, text):
            self.texts[name] = text
        return name

    def add_from_notebook(self, name: str, value: Callable, space: dict) -> str:
        """Add a function or class of the notebook, after what it needs. A lambda is called `name`.
        """
        inner = inspect.unwrap(value)
        own = name if inner.__name__ == "<lambda>" else inner.__name__
        space = function_globals(inner, space)
        text = self.definition(inner, own, space)
        if self.is_new(own, text):
            for needed in global_names(text):
                if needed in space:
                    self.add_value(needed, space[needed], space)
            self.texts[own] = text
        alias = f"{name} = {own}"
        taken = self.known.get(name, alias) != alias and name == self.subject
        if name == own or taken:
            return own                                        # something else is called `name`
        if self.is_new(name, alias):
            self.texts[name] = alias
        return name

    def is_new(self, name: str, text: str) -> bool:
        """Whether a definition is not known yet. Raises ValueError if another one has its name."""
        if name not in self.known:
            self.known[name] = text
            return True
        if self.known[name] != text:
            raise ValueError(f"{self.subject} needs two different things that are called {name}, "
                             "which cannot be kept for later chapters; rename one of them.")
        return False

    def definition(self, f: Callable, own: str, space: dict) -> str:
        """The text that defines a function, lambda or class of the notebook as `own`."""
        label = f"The lambda {own}" if f.__name__ == "<lambda>" else f.__name__
        if getattr(f, "__closure__", None):
            raise ValueError(f"{label} is defined inside another function, so it cannot be kept by "
                             "itself; define it at the top of a cell.")
        source = find_definition(f, space)
        if source is None:
            raise ValueError(f"The source of {label} cannot be found, so it cannot be kept for "
                             f"later chapters; {HOW_TO}.")
        return f"{own} = ({source})" if f.__name__ == "<lambda>" else source

    def partial_expression(self, value: functools.partial, space: dict) -> str:
        """The expression that makes a functools.partial again."""
        name = getattr(value.func, "__name__", "")
        if not name.isidentifier() or name == self.subject:
            name = f"{self.subject}_function"
        name = self.add_value(name, value.func, space)
        partial = self.add_value("functools", functools, space)
        arguments = [self.argument(v) for v in value.args]
        arguments += [f"{k}={self.argument(v)}" for k, v in value.keywords.items()]
        return f"{partial}.partial({', '.join([name, *arguments])})"

    def argument(self, value: object) -> str:
        """The text of a constant in a functools.partial."""
        text = literal_or_none(value)
        if text is None:
            raise ValueError(f"{self.subject} holds a {type(value).__name__} in functools.partial, "
                             f"which cannot be kept for later chapters; {HOW_TO}.")
        return text

    def definition_line(self, name: str, value: object) -> str:
        """The line that makes a module, a library's function or a constant available elsewhere."""
        if isinstance(value, ModuleType):
            return f"import {value.__name__} as {name}"
        text, kind = import_line(name, value), type(value).__name__
        if text is not None:
            return text
        if (text := literal_or_none(value)) is not None:
            return f"{name} = {text}"
        if name == self.subject:
            raise ValueError(f"{name} is an object of the class {kind}, which cannot be kept for "
                             f"later chapters; {HOW_TO}.")
        raise ValueError(f"{self.subject} uses `{name}` from your notebook, a {kind}, which cannot "
                         "be kept for later chapters; make it inside the function or give it as an "
                         "argument.")


def import_line(name: str, value: object) -> str | None:
    """The line that imports a library's function, class or dtype as `name`, or None."""
    called = getattr(value, "__name__", None) or str(type(value) is torch.dtype and value)
    called = called.removeprefix("torch.")
    for module in (getattr(value, "__module__", None), "torch", "torch.nn.functional"):
        if module in sys.modules and called.isidentifier() \
                and getattr(sys.modules[module], called, None) is value:
            return f"from {module} import {called} as {name}"
    return None


def is_from_notebook(value: object) -> bool:
    """Whether a value is a function or class that a notebook's cell defined."""
    return (getattr(value, "__module__", None) in NOTEBOOK_MODULES
            and (inspect.isroutine(value) or isinstance(value, type)))


def literal_or_none(value: object) -> str | None:
    """Text that evaluates to a constant, or None for other values."""
    if isinstance(value, float) and value - value != 0:       # infinite or not a number
        return f"float('{value}')"
    try:
        return repr(value) if ast.literal_eval(repr(value)) == value else None
    except Exception:                                         # whatever the repr of an object does
        return None


# Finding a definition in the texts of cells


def find_definition(value: Callable, space: dict) -> str | None:
    """The source of a function, lambda or class, dedented, or None if no text holds it."""
    find = find_class if isinstance(value, type) else find_function
    for text in candidate_texts(value, space):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        node = find(value, tree, text)
        if node is not None:
            return node_source(node, text)
    if isinstance(value, type) or value.__name__ == "<lambda>":
        return None
    try:
        return textwrap.dedent(inspect.getsource(value)).rstrip()
    except (OSError, TypeError):
        return None


def candidate_texts(value: Callable, space: dict) -> Iterator[str]:
    """The texts that may define a value: its own file first, then the newest cells first."""
    methods = vars(value).values() if isinstance(value, type) else [value]
    codes = [m.__code__ for m in map(inspect.unwrap, filter(is_function, methods))]
    for file in dict.fromkeys(code.co_filename for code in codes):
        if lines := linecache.getlines(file):
            yield "".join(lines)
    for cell in reversed([c for c in space.get(CELLS, ()) if isinstance(c, str)]):
        yield cell
        yield from magic_bodies(cell)


def is_function(value: object) -> bool:
    """Whether a value is a function that Python code defines."""
    return isinstance(value, FunctionType)


def magic_bodies(cell: str) -> Iterator[str]:
    """What magics such as %%time run: the texts in IPython's calls of them."""
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                and node.func.attr in ("run_cell_magic", "run_line_magic") \
                and node.args and isinstance(node.args[-1], ast.Constant):
            body = str(node.args[-1].value).lstrip("\n")      # as IPython runs it
            yield body
            yield from magic_bodies(body)


def find_function(f: Callable, tree: ast.Module, text: str) -> ast.AST | None:
    """The node that defines f: of its name, at its line, with the same code."""
    code = f.__code__
    if code.co_name == "<lambda>":
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Lambda)]
    else:
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
                 and n.name == code.co_name]
    nodes = [n for n in nodes if first_line(n) == code.co_firstlineno]
    return next((n for n in nodes if same_code(compiled(n), code)), None)


def compiled(node: ast.AST) -> CodeType | None:
    """The code of a function's or lambda's node, compiled by itself."""
    is_lambda = isinstance(node, ast.Lambda)
    tree, mode = (ast.Expression(node), "eval") if is_lambda else (ast.Module([node], []), "exec")
    try:
        module = compile(tree, "<cell>", mode)
    except SyntaxError:
        return None
    name = "<lambda>" if is_lambda else node.name
    return next((c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == name
                 and c.co_firstlineno == first_line(node)), None)


def same_code(a: CodeType | None, b: CodeType) -> bool:
    """Whether two code objects do the same, from whichever file."""
    def constants(code: CodeType) -> list:
        return [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]

    return a is not None and (a.co_code, a.co_names, a.co_varnames, constants(a)) == (
        b.co_code, b.co_names, b.co_varnames, constants(b))


def find_class(value: type, tree: ast.Module, text: str) -> ast.AST | None:
    """The last class of that name in a text that has all methods which the value's text defines."""
    methods = {n for n, m in vars(value).items() if is_function(m)}
    for node in reversed([n for n in tree.body if isinstance(n, ast.ClassDef)]):
        written = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
        if node.name == value.__name__ and written - {*vars(value)} == set() \
                and methods - written <= GENERATED_METHODS:
            return node
    return None


GENERATED_METHODS = {"__init__", "__repr__", "__eq__", "__hash__", "__lt__", "__le__", "__gt__",
                     "__ge__", "__new__", "__setattr__", "__delattr__", "__replace__",
                     "__getstate__", "__setstate__", "_replace", "_asdict", "_make",
                     "__getnewargs__"}                        # by dataclass and NamedTuple


def first_line(node: ast.AST) -> int:
    """The line on which a definition begins, with its decorators."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def node_source(node: ast.AST, text: str) -> str:
    """The text of a node, dedented; a lambda's without the statement around it."""
    if isinstance(node, ast.Lambda):
        return ast.get_source_segment(text, node)
    lines = text.splitlines()[first_line(node) - 1:node.end_lineno]
    return textwrap.dedent("\n".join(lines)).rstrip()


# The names that a source needs


def global_names(source: str) -> Iterator[str]:
    """The global names that a source reads, in their order: no locals, no attributes."""
    return loaded_names(compile(source, "<yours>", "exec"))


def loaded_names(code: CodeType) -> Iterator[str]:
    """The names that code, and the functions and classes within it, take from outside."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
        elif isinstance(step.argval, CodeType):
            yield from loaded_names(step.argval)


def function_globals(f: Callable, default: dict) -> dict:
    """The globals of a function, or those of a class's methods, or the default."""
    if hasattr(f, "__globals__"):
        return f.__globals__
    methods = [inspect.unwrap(m) for m in vars(f).values() if is_function(m)]
    return next((m.__globals__ for m in methods if m.__code__.co_filename != GENERATED), default)
