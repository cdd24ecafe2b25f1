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

NOTEBOOK_MODULES = "__main__", "minidiff.course.yours"              # where a notebook's functions are at home


def saved_work_folder() -> Path:
    """The folder that is kept."""
    return Path(os.environ.get("MINIDIFF_HOME") or ".minidiff")


def load_saved_work(folder: Path | None = None) -> dict:
    """All that is kept; nothing yet is no error. Raises ValueError that names a damaged file."""
    path = (folder or saved_work_folder()) / "mine.json"
    if not path.exists():
        return {"functions": {}, "facts": {}}
    try:
        return {"functions": {}, "facts": {}} | json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, TypeError) as e:
        raise ValueError(f"{path} cannot be read ({e}); delete it to begin anew.") from None


def write_saved_work(kept: dict, folder: Path | None = None) -> None:
    folder = folder or saved_work_folder()
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "mine.json", json.dumps(kept, indent=1, ensure_ascii=False))


def save_function(id: str, f: Callable) -> None:
    """Keep a function. Raises ValueError that names what it uses and what cannot be kept."""
    kept = load_saved_work()
    kept["functions"][id] = {"entry": f.__name__, "source": source_with_dependencies(f)}
    write_saved_work(kept)


def load_function(id: str) -> Callable | None:
    """The kept function, made anew from its source, or None."""
    entry = load_saved_work()["functions"].get(id)
    if entry is None:
        return None
    file, space = f"<yours: {id}>", {"__name__": "minidiff.course.yours"}
    text = entry["source"]
    linecache.cache[file] = len(text), None, text.splitlines(True), file    # for errors and inspect
    exec(compile(text, file, "exec"), space)
    return space[entry["entry"]]


def delete_function(id: str) -> None:
    """Keep a function no longer."""
    kept = load_saved_work()
    if kept["functions"].pop(id, None):
        write_saved_work(kept)


def save_facts(id: str, **facts) -> None:
    """Keep facts under an id, beside those that are there."""
    kept = load_saved_work()
    kept["facts"].setdefault(id, {}).update(facts)
    write_saved_work(kept)


def load_facts(id: str) -> dict:
    """The facts kept under an id."""
    return load_saved_work()["facts"].get(id, {})


def delete_choices(chapter: str, folder: Path) -> None:
    """Forget what a folder keeps of one chapter's questions, such as those of "05"."""
    kept = load_saved_work(folder)
    rest = {id: v for id, v in kept["facts"].items() if not id.startswith(f"c{chapter}-")}
    if rest != kept["facts"]:
        write_saved_work(kept | {"facts": rest}, folder)


def source_with_dependencies(f: Callable) -> str:
    """f's source, and before it whatever it needs, found through its globals."""
    parts: dict[str, str] = {}
    collect_dependencies(f, parts)
    return "\n\n".join(parts.values()) + "\n"


def collect_dependencies(f: Callable, parts: dict[str, str]) -> None:
    """Adds to parts, by name, the sources of what f needs and then its own."""
    inner = inspect.unwrap(f)
    if getattr(inner, "__closure__", None):
        raise ValueError(f"{f.__name__} is defined inside another function, so it cannot be kept "
                         "by itself; define it at the top of a cell.")
    source = textwrap.dedent(inspect.getsource(inner)).rstrip()
    space, own = function_globals(inner), inner.__name__
    parts[own] = ""                                     # begun: functions may call each other
    for name in global_names(source):
        if name in parts or name not in space:
            continue
        value = space[name]
        if getattr(value, "__module__", None) not in NOTEBOOK_MODULES or (not inspect.isroutine(value) \
                and not isinstance(value, type)):
            parts[name] = definition_line(name, value, f)
        elif value.__name__ not in parts:
            collect_dependencies(value, parts)
            if value.__name__ != name:
                parts[name] = f"{name} = {value.__name__}"
    del parts[own]
    parts[own] = source                                 # after all it needs


def definition_line(name: str, value: object, f: Callable) -> str:
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


def function_globals(f: Callable) -> dict:
    """What a function, or a class by its methods, sees as globals."""
    if hasattr(f, "__globals__"):
        return f.__globals__
    methods = (m for m in vars(f).values() if isinstance(m, FunctionType))
    return next((m.__globals__ for m in methods), {})
