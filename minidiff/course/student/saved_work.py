"""The work of a student, kept in a file beside the notebooks: functions that passed, and facts.

    .minidiff/mine.json   {"functions": {id: {"source", "entry"}}, "facts": {id: {...}}}

A function is kept as its source, together with everything that it needs from the notebook: imports,
constants, other functions. So later chapters can use it in other kernels. The environment variable
MINIDIFF_HOME names another folder.
"""
import json
import linecache
import os
from collections.abc import Callable
from pathlib import Path

from minidiff.course.student.function_source import CELLS, source_with_dependencies
from minidiff.runtime import files

KEPT_MODULE = "minidiff.course.yours"            # __module__ of a function that was loaded


def saved_work_folder() -> Path:
    """The folder of the student's work."""
    return Path(os.environ.get("MINIDIFF_HOME") or ".minidiff")


def load_saved_work(folder: Path | None = None) -> dict:
    """Everything that is kept; empty if there is no file.

    Raises ValueError with the file's name if the file as a whole is damaged. A single damaged entry
    is no error here: `load_function` and `load_facts` handle it.
    """
    path = (folder or saved_work_folder()) / "mine.json"
    if not path.exists():
        return {"functions": {}, "facts": {}}
    try:
        kept = {"functions": {}, "facts": {}} | json.loads(path.read_text(encoding="utf-8"))
        for part in ("functions", "facts"):
            if not isinstance(kept[part], dict):
                raise ValueError(f"its {part} are {json.dumps(kept[part])[:40]}, not a table")
    except (ValueError, TypeError, RecursionError) as e:      # bad JSON, bytes or types
        raise ValueError(f"{path} cannot be read ({e}); delete it to begin anew.") from None
    return kept


def write_saved_work(kept: dict, folder: Path | None = None) -> None:
    """Replace the file by this content."""
    folder = folder or saved_work_folder()
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "mine.json", json.dumps(kept, indent=1, ensure_ascii=False))


def save_function(id: str, f: Callable, entry: str | None = None) -> None:
    """Keep a function. entry: the exercise's name for it; the function's own if None.

    Raises ValueError that names what cannot be stored and how to write it.
    """
    source, entry = source_with_dependencies(f, entry)
    try:
        define(id, source, entry)
    except Exception as e:                                    # whatever running the source raises
        raise ValueError(f"its source does not run by itself ({type(e).__name__}: {e}); write "
                         f"{entry} with def at the top of a cell.") from None
    kept = load_saved_work()
    kept["functions"][id] = {"entry": entry, "source": source}
    write_saved_work(kept)


def load_function(id: str) -> Callable | None:
    """The kept function, made from its source, or None if there is none.

    Raises ValueError if the entry is damaged, or if an older version kept it and it does not run
    in this one.
    """
    entry = load_saved_work()["functions"].get(id)
    if entry is None:
        return None
    if not is_function_entry(entry):
        raise ValueError(f"What is kept for {id} is damaged; run its check again.")
    try:
        return define(id, entry["source"], entry["entry"])
    except Exception as e:                                    # whatever running the source raises
        raise ValueError(f"What is kept for {id} does not run in this version of the course "
                         f"({type(e).__name__}: {e}); run its check again.") from None


def is_function_entry(entry: object) -> bool:
    """Whether an entry of the file holds a function: its name and its source."""
    return isinstance(entry, dict) and all(isinstance(entry.get(k), str)
                                           for k in ("entry", "source"))


def define(id: str, source: str, entry: str) -> Callable:
    """The function `entry` that a source defines. Raises what running the source raises."""
    file, space = f"<yours: {id}>", {"__name__": KEPT_MODULE, CELLS: [source]}
    code = compile(source, file, "exec")
    linecache.cache[file] = len(source), None, source.splitlines(True), file   # for errors, inspect
    exec(code, space)
    if not callable(space.get(entry)):
        raise ValueError(f"it does not define a function {entry}")
    return space[entry]


def delete_function(id: str) -> None:
    """Remove a stored function."""
    kept = load_saved_work()
    if kept["functions"].pop(id, None):
        write_saved_work(kept)


def save_facts(id: str, **facts) -> None:
    """Keep facts under an id, beside those that are there."""
    kept = load_saved_work()
    kept["facts"][id] = facts_of(kept, id) | facts
    write_saved_work(kept)


def load_facts(id: str) -> dict:
    """The facts kept under an id; none if that entry is damaged."""
    return facts_of(load_saved_work(), id)


def facts_of(kept: dict, id: str) -> dict:
    """The facts of one id in what `load_saved_work` returned."""
    facts = kept["facts"].get(id)
    return facts if isinstance(facts, dict) else {}


def delete_choices(chapter: str, folder: Path) -> None:
    """Delete the choices that a folder keeps for one chapter's questions, such as those of "05"."""
    kept = load_saved_work(folder)
    rest = {id: v for id, v in kept["facts"].items() if not id.startswith(f"c{chapter}-")}
    if rest != kept["facts"]:
        write_saved_work(kept | {"facts": rest}, folder)
