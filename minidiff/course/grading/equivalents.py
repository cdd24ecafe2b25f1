"""Functions of the package that would be an exercise's answer, made useless where one is graded.

In the process itself their code is exchanged before a student's code runs, and in the files of the
package's copy their bodies are exchanged. So a call through a wrapper, a copied code object or a
copied source gives no values, only an error that names the function.
"""
import ast
import inspect
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from minidiff.course import exercises
from minidiff.course.checking.observation import import_dotted

MESSAGE = "the package's own {} is switched off here"
MENTIONED = re.compile(r"the package's own ([\w.]+) is switched off here")


def all_equivalents() -> list[str]:
    """The dotted names of every exercise's equivalents."""
    tasks = (e for c in exercises.chapters() for e in exercises.exercises_of(c))
    return sorted({name for e in tasks for name in e.package_equivalents})


def switch_off(names: Iterable[str]) -> None:
    """Exchange the code of these functions in this process."""
    for name in names:
        f = inspect.unwrap(import_dotted(name))
        f.__code__ = raising_code(name, f.__code__.co_freevars)


def raising_code(name: str, free: tuple[str, ...]) -> object:
    """The code of a function that only raises, with the same free variables."""
    uses = "".join(f"        {v}\n" for v in free)
    source = (f"def outer({', '.join(free)}):\n    def inner(*args, **kwargs):\n{uses}"
              f"        raise RuntimeError({MESSAGE.format(name)!r})\n    return inner\n")
    space: dict = {}
    exec(source, space)
    return space["outer"](*[None] * len(free)).__code__


def switch_off_in_files(package: Path, names: Iterable[str]) -> None:
    """Exchange the bodies of these functions in the files of a copy of the package."""
    by_file: dict[Path, dict[str, str]] = {}
    for name in names:
        with suppress(ImportError):
            f = inspect.unwrap(import_dotted(name))
            parts = f.__module__.split(".")[1:]
            file = package.joinpath(*parts).with_suffix(".py")
            if file.is_file():
                by_file.setdefault(file, {})[f.__qualname__] = name
    for file, functions in by_file.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        exchange_bodies(tree, "", functions)
        file.write_text(ast.unparse(tree), encoding="utf-8")


def exchange_bodies(tree: ast.AST, prefix: str, functions: dict[str, str]) -> None:
    """Exchange the bodies of functions, given by qualified name, by an error."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            exchange_bodies(node, f"{prefix}{node.name}.", functions)
        elif isinstance(node, ast.FunctionDef) and (name := functions.get(prefix + node.name)):
            node.body = ast.parse(f"raise RuntimeError({MESSAGE.format(name)!r})").body


def mentioned(error: str) -> tuple[str, ...]:
    """The function that was called, if an error is one of these."""
    return tuple(MENTIONED.findall(error))


