"""Whatever passes a check is kept for later chapters, or one sentence says why not. A damaged file
stops no chapter, and the reference is never taken for the student's own function."""
import json
import linecache
import os
import subprocess
import sys

import pytest
import torch

from minidiff import course
from minidiff.course import answers
from minidiff.course.student import saved_work

ID = "c02-x0"
REFERENCE = answers.find(ID).reference


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path))
    monkeypatch.delenv("MINIDIFF_STRICT", raising=False)
    return tmp_path


def run_cells(*cells: str) -> dict:
    """The namespace after cells were run as a notebook runs them."""
    space = {"__name__": "__main__", "course": course, "_ih": [""]}
    for source in cells:
        space["_ih"].append(source)
        file = f"<cell {len(linecache.cache)} {hash(source)}>"
        linecache.cache[file] = len(source), None, source.splitlines(True), file
        exec(compile(source, file, "exec"), space)
    return space


LAMBDA = "x0_from_eps = lambda x, eps, alpha, sigma: (x - sigma * eps) / alpha"
DEF = "def x0_from_eps(x, eps, alpha, sigma):\n    return (x - sigma * eps) / alpha\n"
CHECK = f"verdict = course.check({ID!r}, x0_from_eps)"
KEPT = {
    "a def": (DEF, CHECK),
    "a lambda": (LAMBDA, CHECK),
    "a lambda in the call": (
        f"verdict = course.check({ID!r}, lambda x, eps, a, s: (x - s * eps) / a)",
    ),
    "the second lambda of a line": (
        "wrong, mine = (lambda x, eps, a, s: x - s * eps), "
        "(lambda x, eps, a, s: (x - s * eps) / a)",
        f"verdict = course.check({ID!r}, mine)",
    ),
    "a lambda at the end of a list of several lines": (
        f"verdict = course.check({ID!r}, [\n    1,\n"
        "    lambda x, eps, a, s: (\n        x - s * eps) / a][-1])",
    ),
    "a helper that is a lambda": (
        "part = lambda a, b: a * b",
        DEF.replace("sigma * eps", "part(sigma, eps)"),
        CHECK,
    ),
    "functools.partial": (
        "from functools import partial\ndef general(power, x, eps, a, s):\n"
        "    return (x - s * eps) / a**power\n",
        f"verdict = course.check({ID!r}, partial(general, 1))",
    ),
    "functools.partial of a lambda with a keyword": (
        "import functools\nx0_from_eps = functools.partial(\n"
        "    lambda x, eps, a, s, power: (x - s * eps) / a**power, power=1)",
        CHECK,
    ),
    "a class of another cell": (
        "class Scale:\n    def __init__(self, by):\n        self.by = by\n\n"
        "    def __call__(self, x):\n        return self.by * x\n",
        DEF.replace("sigma * eps", "Scale(sigma)(eps)"),
        CHECK,
    ),
    "a dataclass and its parent": (
        "from dataclasses import dataclass\nclass Parent:\n    def of(self, x):\n"
        "        return self.by * x\n",
        "@dataclass\nclass Scale(Parent):\n    by: float\n",
        DEF.replace("sigma * eps", "Scale(sigma).of(eps)"),
        CHECK,
    ),
    "a function of torch": (
        "from torch import mul\n" + DEF.replace("sigma * eps", "mul(sigma, eps)"),
        CHECK,
    ),
    "a dtype and an infinite number": (
        "import torch\nKIND, END = torch.float64, float('inf')\n"
        + DEF.replace("return", "assert x.dtype != KIND or END > 1\n    return"),
        CHECK,
    ),
    "another name": (DEF.replace("x0_from_eps", "mine"), CHECK.replace("x0_from_eps", "mine")),
    "a decorator": ("import torch\n@torch.enable_grad()\n" + DEF, CHECK),
}


@pytest.mark.parametrize("how", KEPT)
def test_what_passes_is_kept_and_can_be_picked_and_kept_again(how, home):
    verdict = run_cells(*KEPT[how])["verdict"]
    assert verdict.status == "passed" and "Not kept" not in verdict.message, verdict
    for _ in range(2):
        f = course.pick(ID)
        assert f is not REFERENCE and "Not kept" not in course.check(ID, f).message
        entry = json.loads((home / "mine.json").read_text())["functions"][ID]
        assert entry["entry"] == "x0_from_eps"


NOT_KEPT = {
    "an object of the class Solver": (
        "class Solver:\n    def __call__(self, x, eps, a, s):\n        return (x - s * eps) / a\n"
        "x0_from_eps = Solver()", CHECK),
    "an object of the class Net": (
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x, eps, a, s):\n"
        "        return (x - s * eps) / a\nx0_from_eps = Net()", CHECK),
    "the method Solver.solve": (
        "class Solver:\n    def solve(self, x, eps, a, s):\n        return (x - s * eps) / a\n"
        "x0_from_eps = Solver().solve", CHECK),
    "inside another function": (
        "def make():\n    k = 1\n    return lambda x, eps, a, s: k * (x - s * eps) / a\n"
        "x0_from_eps = make()", CHECK),
    "holds a Tensor in functools.partial": (
        "import torch, functools\ndef general(k, x, eps, a, s):\n    return (x - s * eps) / a\n"
        "x0_from_eps = functools.partial(general, torch.ones(1))", CHECK),
    "two different things that are called part": (
        "def part(a, b):\n    return a * b\nold = part\ndef part(a, b):\n    return old(a, b)\n",
        DEF.replace("sigma * eps", "part(sigma, eps)"), CHECK),
    "source of x0_from_eps cannot be found": (f"exec({DEF!r})", CHECK)}


@pytest.mark.parametrize("sentence", NOT_KEPT)
def test_what_cannot_be_kept_passes_and_one_sentence_says_why(sentence):
    verdict = run_cells(*NOT_KEPT[sentence])["verdict"]
    assert verdict.status == "passed", verdict
    assert "But it could not be stored: " in verdict.message, verdict
    assert sentence in verdict.message, verdict
    assert saved_work.load_function(ID) is None


NOTEBOOK = '''
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in sys.argv[1:]:
    result = shell.run_cell(cell, store_history=True)
    result.raise_error()
'''


@pytest.mark.parametrize("cells", [
    ("%%time\n" + DEF,), ("%%time\n\n" + LAMBDA,), (f"%time {LAMBDA}",), ("%%capture\n" + DEF,),
    ("%%time\nimport torch\nclass Scale:\n    def of(self, s, e):\n        return s * e\n",
     DEF.replace("sigma * eps", "Scale().of(sigma, eps)")),
    (DEF.replace("/ alpha", "/ 2"), "%%time\n" + DEF.replace("/ alpha", "/ 1"), "%%time\n" + DEF)],
    ids=["def", "lambda", "line", "capture", "class", "the newest"])
def test_what_stands_below_a_magic_is_kept_too(cells, home):
    cells = ["from minidiff import course", *cells, CHECK, "assert 'Not kept' not in repr(verdict)"]
    subprocess.run(
        [sys.executable, "-c", NOTEBOOK, *cells],
        check=True,
        cwd=home,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "IPYTHONDIR": str(home)},
    )
    assert course.check(ID, course.pick(ID)).status == "passed"


# Damage

def write(home, content: str | bytes | dict) -> None:
    if isinstance(content, dict):
        content = json.dumps(content)
    (home / "mine.json").write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        3,
        "x",
        [],
        {},
        {"source": 1, "entry": "f"},
        {"source": "f = 1", "entry": "f"},
        {"source": DEF},
        {"source": DEF, "entry": "gone"},
        {"source": "def f(:", "entry": "f"},
        {"source": "f = 1 / 0", "entry": "f"},
        {"source": "\0", "entry": "f"},
        {"source": "f", "entry": ""},
        {"source": "import minidiff.gone as gone\n" + DEF, "entry": "x0_from_eps"},
        {"source": "from minidiff.text import encode as encode\n" + DEF, "entry": "x0_from_eps"},
        {"source": "from minidiff.layers import attend as attend\n" + DEF, "entry": "x0_from_eps"},
    ],
)
def test_a_damaged_or_old_entry_stops_no_chapter(entry, home, capsys):
    write(home, {"functions": {ID: entry}, "facts": {}})
    assert course.pick(ID) is REFERENCE
    shown = capsys.readouterr().out
    if entry is not None:
        assert "run its check again" in shown and ID in shown
        with pytest.raises(ValueError, match="run its check again"):
            saved_work.load_function(ID)
    repr(course.progress())
    assert run_cells(DEF, CHECK)["verdict"].status == "passed"
    assert course.pick(ID) is not REFERENCE


@pytest.mark.parametrize("facts", [None, 3, [], {"choice": "x", "first": []}, {"choice": 10**9}])
def test_a_damaged_fact_stops_no_question(facts, home, capsys):
    write(home, {"functions": {}, "facts": {"c02-bug": facts}})
    assert course.progress().points == 0
    assert course.bughunt("c02-bug", 1).status in ("passed", "failed")
    assert saved_work.load_facts("c02-bug")["choice"] == 1


@pytest.mark.parametrize("content", [
    b"\xff\xfe{", b"{", b"", b"[]", b"3", b"null", '{"functions": null}', '{"functions": []}',
    '{"facts": 3}', "[" * 100_000, '{"functions": {}, "facts": "x"}'])
def test_a_file_that_is_damaged_as_a_whole_is_named(content, home, capsys):
    write(home, content)
    for call in (course.progress, lambda: saved_work.load_function(ID)):
        with pytest.raises(
            ValueError, match=r"mine\.json cannot be read .*delete it to begin anew"
        ):
            call()
    assert course.pick(ID) is REFERENCE and "mine.json" in capsys.readouterr().out
    verdict = run_cells(DEF, CHECK)["verdict"]
    assert verdict.status == "passed" and "mine.json cannot be read" in verdict.message


# The reference

def test_what_pick_returned_is_never_judged_kept_or_counted(home, capsys):
    space = run_cells("def x0_from_eps(x, eps, alpha, sigma):\n    raise NotImplementedError\n",
                      *2 * [f"x0_from_eps = course.pick({ID!r}, x0_from_eps)"], CHECK)
    assert space["x0_from_eps"] is REFERENCE and space["verdict"].status == "not attempted"
    assert "reference" in space["verdict"].message and space["verdict"].points == 0
    assert not (home / "mine.json").exists() and course.progress().points == 0
    assert capsys.readouterr().out.count("From here on the reference is used") == 2


@pytest.mark.parametrize("cell", [
    "mine = picked", "from functools import partial\nmine = partial(picked)",
    "def mine(*args):\n    return picked(*args)", "mine = lambda *args, f=picked: f(*args)",
    "def make(f):\n    return lambda *args: f(*args)\nmine = make(picked)",
    "import torch\nmine = torch.enable_grad()(picked)",
    "mine = course.pick('c02-step')"])
def test_the_reference_is_known_under_any_name(cell, home):
    space = run_cells(
        f"picked = course.pick({ID!r})", cell, f"verdict = course.check({ID!r}, mine)"
    )
    assert space["verdict"].status == "not attempted"
    assert "reference" in space["verdict"].message and not (home / "mine.json").exists()


def test_a_function_cannot_pick_its_own_answer(home):
    verdict = run_cells("def mine(*args):\n    return course.pick('c02-x0')(*args)",
                        f"verdict = course.check({ID!r}, mine)")["verdict"]
    assert verdict.status == "failed" and "course.pick" in verdict.message
    assert not (home / "mine.json").exists()


def test_references_of_other_exercises_may_be_used():
    verdict = run_cells("step = course.pick('c02-step')",
                        DEF.replace("return", "assert step\n    return"), CHECK)["verdict"]
    assert verdict.status == "passed" and "Not kept" not in verdict.message


def test_strict_checks_refuse_the_reference_but_pick_hands_it_on(monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    with pytest.raises(course.CheckFailed, match="reference"):
        course.check(ID, REFERENCE)
    assert course.pick(ID, REFERENCE) is REFERENCE


# Terminals that have few letters

@pytest.mark.parametrize("code", [
    "course.predict('c06-bag', lambda: '“é”', 1)", "course.predict('c06-bag', lambda: None)",
    "course.bughunt('c06-bug', 2)", "course.pick('c02-x0')",
    "from minidiff.course.student.session import display_or_print as d; d(course.notation())",
    "from minidiff.course.__main__ import main; assert main(['progress']) == 0"])
def test_everything_can_be_shown_where_only_ascii_can(code, home):
    (home / "mine.json").write_text("{}")
    subprocess.run([sys.executable, "-c", f"from minidiff import course; {code}"], check=True,
                   capture_output=True, env=os.environ | {
                       "PYTHONIOENCODING": "ascii",
                       "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})


def test_torch_is_left_as_it_was():
    before = torch.get_rng_state()
    run_cells(DEF, CHECK)
    assert torch.equal(before, torch.get_rng_state())
