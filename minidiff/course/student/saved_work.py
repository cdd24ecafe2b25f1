"""What a student has done, kept in a file beside the notebooks: functions that passed, and facts.

    .minidiff/mine.json   {"functions": {id: {"source", "entry"}}, "facts": {id: {...}}}

A function is kept as its source with all it needs from outside: imports, constants, other functions
of the notebook. So it lives on in other kernels and later chapters. MINIDIFF_HOME is another place.
"""
import ast
import dis
import inspect
import json
import linecache
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from minidiff.runtime import files

YOURS = "__main__", "minidiff.course.yours"              # where a notebook's functions are at home


def home() -> Path:
    """The folder that is kept."""
    return Path(os.environ.get("MINIDIFF_HOME") or ".minidiff")


def read(folder: Path | None = None) -> dict:
    """All that is kept; nothing yet is no error. Raises ValueError that names a damaged file."""
    path = (folder or home()) / "mine.json"
    if not path.exists():
        return {"functions": {}, "facts": {}}
    try:
        return {"functions": {}, "facts": {}} | json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, TypeError) as e:
        raise ValueError(f"{path} cannot be read ({e}); delete it to begin anew.") from None


def write(kept: dict, folder: Path | None = None) -> None:
    folder = folder or home()
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "mine.json", json.dumps(kept, indent=1, ensure_ascii=False))


def keep(id: str, f: Callable) -> None:
    """Keep a function. Raises ValueError that names what it uses and what cannot be kept."""
    kept = read()
    kept["functions"][id] = {"entry": f.__name__, "source": whole_source(f)}
    write(kept)


def function(id: str) -> Callable | None:
    """The kept function, made anew from its source, or None."""
    entry = read()["functions"].get(id)
    if entry is None:
        return None
    file, space = f"<yours: {id}>", {"__name__": "minidiff.course.yours"}
    text = entry["source"]
    linecache.cache[file] = len(text), None, text.splitlines(True), file    # for errors and inspect
    exec(compile(text, file, "exec"), space)
    return space[entry["entry"]]


def forget(id: str) -> None:
    """Keep a function no longer."""
    kept = read()
    if kept["functions"].pop(id, None):
        write(kept)


def remember(id: str, **facts) -> None:
    """Keep facts under an id, beside those that are there."""
    kept = read()
    kept["facts"].setdefault(id, {}).update(facts)
    write(kept)


def recall(id: str) -> dict:
    """The facts kept under an id."""
    return read()["facts"].get(id, {})


def forget_choices(chapter: str, folder: Path) -> None:
    """Forget what a folder keeps of one chapter's questions, such as those of "05"."""
    kept = read(folder)
    rest = {id: v for id, v in kept["facts"].items() if not id.startswith(f"c{chapter}-")}
    if rest != kept["facts"]:
        write(kept | {"facts": rest}, folder)


def whole_source(f: Callable) -> str:
    """f's source, and before it whatever it needs, found through its globals."""
    parts: dict[str, str] = {}
    gather(f, parts)
    return "\n\n".join(parts.values()) + "\n"


def gather(f: Callable, parts: dict[str, str]) -> None:
    """Adds to parts, by name, the sources of what f needs and then its own."""
    inner = inspect.unwrap(f)
    if getattr(inner, "__closure__", None):
        raise ValueError(f"{f.__name__} is defined inside another function, so it cannot be kept "
                         "by itself; define it at the top of a cell.")
    source = textwrap.dedent(inspect.getsource(inner)).rstrip()
    space, own = sys_globals(inner), inner.__name__
    parts[own] = ""                                     # begun: functions may call each other
    for name in used(source):
        if name in parts or name not in space:
            continue
        value = space[name]
        if getattr(value, "__module__", None) not in YOURS or (not inspect.isroutine(value) \
                and not isinstance(value, type)):
            parts[name] = line(name, value, f)
        elif value.__name__ not in parts:
            gather(value, parts)
            if value.__name__ != name:
                parts[name] = f"{name} = {value.__name__}"
    del parts[own]
    parts[own] = source                                 # after all it needs


def line(name: str, value: object, f: Callable) -> str:
    """The line that brings a module, a library's function or a constant into being elsewhere."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}"
    called = getattr(value, "__qualname__", "")
    if called.isidentifier() and getattr(value, "__module__", None):
        return f"from {value.__module__} import {called} as {name}"
    try:
        if ast.literal_eval(repr(value)) == value:
            return f"{name} = {value!r}"
    except (ValueError, SyntaxError):
        pass
    raise ValueError(f"{f.__name__} uses `{name}` from your notebook, a {type(value).__name__}, "
                     "which cannot be kept for later chapters; make it inside the function or give "
                     "it as an argument.")


def used(source: str) -> Iterator[str]:
    """The global names that a source reads, in their order: no locals, no attributes."""
    return loaded(compile(source, "<yours>", "exec"))


def loaded(code: CodeType) -> Iterator[str]:
    """The names that code, and the functions and classes within it, take from outside."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
        elif isinstance(step.argval, CodeType):
            yield from loaded(step.argval)


def sys_globals(f: Callable) -> dict:
    """What a function, or a class by its methods, sees as globals."""
    if hasattr(f, "__globals__"):
        return f.__globals__
    methods = (m for m in vars(f).values() if isinstance(m, FunctionType))
    return next((m.__globals__ for m in methods), {})
