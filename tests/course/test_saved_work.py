"""Whatever passes a check is kept for later chapters, or one sentence says why not; a damaged file
stops no chapter; the reference is never taken for the student's own function."""
import json
import linecache
import os
import subprocess
import sys

import pytest
import torch

from minidiff import course
from minidiff.course import answers, exercises
from minidiff.course.student import saved_work

ID = "c02-x0"
REFERENCE = answers.find(ID).reference


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path))
    monkeypatch.delenv("MINIDIFF_STRICT", raising=False)
    return tmp_path


def run_cells(*cells: str, space: dict | None = None) -> dict:
    """The namespace after cells were run as a notebook runs them."""
    space = {"__name__": "__main__"} if space is None else space
    for source in cells:
        file = f"<cell {len(linecache.cache)} {hash(source)}>"
        linecache.cache[file] = len(source), None, source.splitlines(True), file
        exec(compile(source, file, "exec"), space)
    return space


def loaded_works() -> bool:
    """Whether what is kept passes its check again, in a namespace that holds nothing else."""
    f = saved_work.load_function(ID)
    return f is not None and course.check(ID, f).status == "passed"


FORMULA = "return (x - b.sigma * eps) / b.alpha"
PARAMETERS = "x, t, schedule, eps"                            # replaced below by the real ones


def x0_source(name: str = "x0_from_eps", **changes: str) -> str:
    import inspect
    import textwrap
    return textwrap.dedent(inspect.getsource(REFERENCE)).replace("def x0_from_eps", f"def {name}")


def signature() -> str:
    import inspect
    return ", ".join(inspect.signature(REFERENCE).parameters)


@pytest.fixture
def parts() -> tuple[str, str, str]:
    """A notebook's imports, the signature of the exercise and an expression that is right."""
    imports = "import torch\nfrom minidiff.schedules import append_dims\n"
    helper = x0_source("right")
    return imports, helper, signature()
