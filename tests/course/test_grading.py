"""Grading: functions are found whatever became of the cells, and nothing they do stops the rest."""
import csv
import importlib
import inspect
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from minidiff.course import answers, exercises
from minidiff.course.__main__ import main
from minidiff.course.answers import ch02
from minidiff.course.checking import verdict
from minidiff.course.checking.observation import Observation, observe
from minidiff.course.grading import (
    bubblewrap,
    equivalents,
    folders,
    grader,
    observing,
    results,
    sandbox,
    submission,
    tables,
)
from minidiff.course.grading.limits import Limits
from minidiff.course.grading.sandbox import Task

TASKS = {e.entry: e for e in exercises.exercises_of("02")}
RIGHT = {name: inspect.getsource(getattr(ch02, name)) for name in TASKS}
SETUP = """%matplotlib inline
!pip install -q minidiff
from itertools import pairwise
import torch
from torch import Tensor
from minidiff import course
ch = course.start("02")"""
HUNT = 'choice = None\nchoice = 1\ncourse.bughunt("c02-bug", choice)'
LIMITS = Limits(case=2, exercise=6, memory=300)


def stub(name: str) -> str:
    head = RIGHT[name].split("\n")[0]
    return (f'{head}\n    """What to write."""\n    # YOUR CODE HERE\n'
            '    raise NotImplementedError("YOUR CODE HERE")')


def notebook(path: Path, *cells: str) -> Path:
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "code", "source": c.splitlines(True)} for c in cells]}))
    return path


def collected(path: Path, *cells: str) -> submission.Submission:
    return submission.read_submission(notebook(path / "02.ipynb", *cells), sandbox.catalogue())


def statuses(found: submission.Submission) -> dict[str, str]:
    """What becomes of a notebook's functions, without a process of their own."""
    space, _ = define([i.source for i in found.definitions])
    return {n: verdict.check_function(space[n], e, answers.find(e.id)).status
            for n, e in TASKS.items() if n in space}


def define(sources: list[str]) -> tuple[dict, dict]:
    return observing.define_module(sources, "<test>", "of_a_test")


class InThisProcess:
    """A sandbox's methods without a process of its own, which is quicker."""
    warning, limits = "", Limits()

    def read_submission(self, path: Path) -> submission.Submission:
        return submission.read_submission(path, sandbox.catalogue())

    def observe(self, task: Task, seconds: float) -> list[Observation]:
        space, _ = define(task.sources)
        for name, (there, sources) in task.substitutes.items():
            space[name] = observing.define_module(sources, "<right>", "right")[0][there]
        return observe(space[task.entry], exercises.find(task.id), self.limits.case)


@pytest.fixture
def here(monkeypatch):
    """Functions are observed in this process."""
    @contextmanager
    def open_sandbox(*_):
        yield InThisProcess()
    monkeypatch.setattr(grader, "open_sandbox", open_sandbox)


@pytest.fixture(scope="module", params=["none", "bwrap"])
def process(request):
    """A sandbox that several tests use, which saves the starts."""
    with sandbox.open_sandbox(LIMITS, "none" if request.param == "none" else None) as box:
        if request.param == "bwrap" and box.warning:
            pytest.skip(f"bubblewrap does not work here: {box.warning}")
        yield box


def graded(box: sandbox.Sandbox, path: Path, *cells: str) -> dict[str, tables.Grade]:
    """The grades of a notebook of chapter 02, by id."""
    return by_id(grader.grade_notebook(notebook(path / "a.ipynb", SETUP, *cells), box))


def by_id(grades: list[tables.Grade]) -> dict[str, tables.Grade]:
    return {g.id: g for g in grades}


# What became of the cells

LOSS, X0 = RIGHT["noise_loss"], RIGHT["x0_from_eps"]


def split(before: str, text: str = LOSS) -> tuple[str, str]:
    """A text in two, the second beginning with `before`."""
    at = text.index(before)
    return text[:at], text[at:]


MANGLED = {
    "one cell with all of it": [SETUP + "\n" + LOSS],
    "the set-up cell is last": [LOSS, SETUP],
    "split between two lines": [SETUP, *split("    return")],
    "split after the head": [SETUP, *split("    alpha, sigma")],
    "split within a line": [SETUP, *split(" * noise")],
    "split within brackets": [SETUP, *split("net(x, t)")],
    "split in its docstring": [SETUP, *split("it does", LOSS.replace(
        ":\n", ':\n    """What\n\nit does."""\n', 1))],
    "split at the margin": [SETUP, *split("return")],
    "split after return": [SETUP, *split("(net")],
    "split at every line": [SETUP, *LOSS.splitlines()],
    "the stub stands below": [SETUP, LOSS, stub("noise_loss")],
    "the stub stands above": [stub("noise_loss"), SETUP, LOSS],
    "an older attempt above": [SETUP, LOSS.replace("- noise)", "- x0)"), LOSS],
    "the stub's error left below": [SETUP, LOSS.replace("noise)", "x0)"), LOSS
                                    + '    raise NotImplementedError("YOUR CODE HERE")'],
    "syntax errors elsewhere": ["for x in", SETUP, "print 'a'\n" + LOSS + "\nx = = 2",
                                "def f(:\n  a"],
    "prose in a code cell": [SETUP, "I think it's the noise.\n\nTherefore:", LOSS],
    "cells that must not run": [SETUP, "raise SystemExit", "while True: pass", LOSS, "1 / 0"],
    "magics": [SETUP, "%%time\n" + LOSS, "x = !ls\ny = %pwd\ntorch.randn?\n?x", "%%bash\nls | wc"],
    "a magic in a function's cell": [SETUP, "def g():\n    !ls\n\n" + LOSS + "%timeit g()"],
    "in an if and a try": ["try:\n    import torch, nothing_such\nexcept ImportError:\n    pass",
                           SETUP, "if ch:\n  " + LOSS.replace("\n   ", "\n     ")],
    "a helper below, a constant above": [
        "EXTRA = -1", SETUP, LOSS.replace("- 1", "+ EXTRA").replace("alpha * ", "same(alpha) * "),
        "def same(x):\n    return x"],
    "an import doubles its name": [SETUP, LOSS,
                                   "from minidiff.schedules import add_noise as noise_loss"],
    "a number doubles its name": [LOSS, SETUP, "noise_loss = 0.25"],
    "another name": [SETUP, LOSS.replace("noise_loss", "mine"), stub("noise_loss"),
                     "noise_loss = mine"],
}


@pytest.mark.parametrize("what", MANGLED)
def test_a_function_counts_whatever_became_of_the_cells(what, tmp_path):
    assert statuses(collected(tmp_path, *MANGLED[what]))["noise_loss"] == "passed"


def test_a_later_attempt_wins(tmp_path):
    found = collected(tmp_path, SETUP, LOSS, LOSS.replace("- noise)", "- x0)"), stub("noise_loss"))
    assert statuses(found)["noise_loss"] == "diagnosed"


def test_functions_split_at_any_space_are_found(tmp_path):
    names = "noise_loss", "handful_guess", "target"
    text = "\n\n".join(RIGHT[n] for n in names)
    for at in (k for k, c in enumerate(text) if c == " "):
        found = collected(tmp_path, SETUP, text[:at], text[at:])
        space, _ = define([i.source for i in found.definitions])
        for n in names:
            want = getattr(ch02, n).__code__
            assert space[n].__code__.co_names == want.co_names, text[:at] + "|" + text[at:]


def test_cells_without_metadata_types_or_lists_are_read(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [{"source": SETUP}, {"source": LOSS.replace("\n", "\r\n")},
                                          {"cell_type": "markdown", "source": ["# " + X0]}]}))
    assert statuses(submission.read_submission(path, sandbox.catalogue())) == {
        "noise_loss": "passed"}


def test_nothing_of_a_notebook_runs_while_it_is_collected(tmp_path):
    found = collected(tmp_path, SETUP, "open('ran', 'w')\nmade = open('ran', 'w')\nN = 10**3\n"
                      "HUGE = 9**9**9\nlist_of = [f() for f in (open,)]", LOSS)
    assert [i.name for i in found.definitions if i.kind == "value"] == ["N"]
    assert {"made", "HUGE", "list_of", "ch"} <= found.unavailable.keys()


@pytest.mark.parametrize("cells, chapters", [
    ([SETUP], ["02"]), ([LOSS], ["02"]), (['course.check("c02-loss", f)'], ["02"]),
    (["course . start( '02' )\nx = = 1"], ["02"]), (["course.start('77')", X0], ["02"])])
def test_the_chapter_is_found(cells, chapters, tmp_path):
    assert collected(tmp_path, *cells).chapters == chapters


@pytest.mark.parametrize("bytes_, says", [
    (b"", "cannot be read"), (b"\xff\xfe\x00", "cannot be read"), (b"[1]", "no list of cells"),
    (b'{"cells": 3}', "no list of cells"), (b"[" * 10**5, "cannot be read"),
    (b'{"cells": [{"source": "print(1)"}]}', "no chapter"), (b'{"cells": [1]}', "no list of cells"),
    (b'{"cells": [{"source": [1]}]}', "no list of cells")])
def test_a_file_that_is_no_notebook_gets_a_row(bytes_, says, tmp_path, here, capsys):
    (tmp_path / "a.ipynb").write_bytes(bytes_)
    grades = grader.grade([tmp_path / "a.ipynb", tmp_path / "none.ipynb",
                            notebook(tmp_path / "b.ipynb", SETUP, LOSS)])
    assert [g.status for g in grades[:2]] == ["unreadable"] * 2 and says in grades[0].diagnosis
    assert grades[2].status == "passed"
    assert "not graded" in capsys.readouterr().out


# Choices

@pytest.mark.parametrize("cells, status", [
    ([HUNT], "passed"), ([HUNT.replace("= 1", "= 2")], "failed"), ([], "not attempted"),
    (["choice = None", 'course.bughunt("c02-bug", choice)'], "not attempted"),
    (["choice = 1", 'course.bughunt("c02-bug", choice=choice)'], "passed"),
    (['course.bughunt("c02-bug", 1)', "choice = 3"], "passed"),
    ([HUNT, 'choice = None\ncourse.bughunt("c02-bug", choice)'], "passed"),
    (['course.bughunt("c02-bug", max(1, 0))'], "failed"),
    (['course.bughunt("c02-bug", 9)'], "failed"), (['course.bughunt("c02-bug", "1")'], "failed")])
def test_a_bug_hunts_choice_is_read_and_judged(cells, status, tmp_path, here):
    path = notebook(tmp_path / "a.ipynb", SETUP, *cells)
    g = by_id(grader.grade([path]))["c02-bug"]
    assert (g.status, g.points) == (status, status == "passed") and g.diagnosis


def test_a_prediction_is_told_and_costs_nothing(tmp_path, here):
    grades = by_id(grader.grade([notebook(
        tmp_path / "a.ipynb", SETUP, 'choice = 1\ncourse.predict("c02-early", lambda: 3, choice)',
        'course.predict("c02-copies", f, choice=2)')]))
    assert grades["c02-early"].status == grades["c02-copies"].status == "answered"
    assert grades["c02-early"].max_points == 0 and "A blur" in grades["c02-early"].diagnosis
    assert "as it happens" in grades["c02-copies"].diagnosis


# Grades, tables and files

def test_who_did_nothing_gets_nothing(tmp_path, here):
    grades = grader.grade([notebook(tmp_path / "a.ipynb", SETUP, *map(stub, list(TASKS)[:4]))])
    assert {g.status for g in grades} == {"not attempted"} and sum(g.points for g in grades) == 0
    assert sum(g.max_points for g in grades) == 14


def test_a_function_with_a_syntax_error_is_told_so(tmp_path, here):
    path = notebook(tmp_path / "a.ipynb", SETUP, "def noise_loss(:\n    pass",
                    "def target(a):\n  return (a", stub("target"), X0, stub("ddpm_step"))
    grades = by_id(grader.grade([path]))
    assert grades["c02-x0"].status == "passed" and grades["c02-step"].status == "not attempted"
    for id in ("c02-loss", "c02-target"):
        assert grades[id].status == "failed" and "is not valid Python" in grades[id].diagnosis


def test_files_and_the_histogram_of_a_class(tmp_path, here, capsys):
    wrong = LOSS.replace("- noise)", "- x0)")
    paths = [notebook(tmp_path / "=a.ipynb", SETUP, wrong, X0.replace("x - ", "x + ")),
             notebook(tmp_path / "b.ipynb", SETUP, LOSS), tmp_path / "c.ipynb",
             notebook(tmp_path / "d.ipynb", SETUP, wrong)]
    paths[2].write_text("no")
    grades = grader.grade([*paths, paths[1]], tmp_path / "deep" / "out")      # one of them twice
    assert len(grades) == 3 * 9 + 1
    out = tmp_path / "deep" / "out"
    assert sorted(p.name for p in out.iterdir()) == ["grades.csv", "grades.json", "mistakes.csv"]
    rows = list(csv.DictReader((out / "grades.csv").open(encoding="utf-8")))
    about = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    assert len(rows) == len(about["grades"]) == len(grades)
    assert [int(r["points"]) for r in rows] == [g.points for g in grades]
    assert [t["points"] for t in about["totals"]] == [0, 2, 0, 0]
    histogram = list(csv.DictReader((out / "mistakes.csv").open(encoding="utf-8")))
    assert [(r["mistake"], r["notebooks"]) for r in histogram] == [("predicts-x0", "2"),
                                                                   ("plus", "1")]
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.index("predicts-x0") < printed.index("c02-x0: plus")
    assert "Hint 1 helps." in printed


def test_text_that_a_spreadsheet_would_run_is_quoted():
    text = tables.csv_text(("a", "b"), [{"a": "=1+1", "b": -1}])
    assert text == "a,b\n'=1+1,-1\n"


def test_the_command_grades(tmp_path, here, capsys):
    path = notebook(tmp_path / "a.ipynb", SETUP, LOSS)
    assert main(["grade", str(path), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "grades.csv").exists()
    assert "2 of 14 points" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path, monkeypatch):
    monkeypatch.setattr(grader, "open_sandbox", None)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FileExistsError):
        grader.grade([notebook(tmp_path / "a.ipynb", SETUP, LOSS)], tmp_path / "out")


def test_one_that_cannot_be_compared_does_not_stop_the_others(tmp_path, here, monkeypatch):
    def fails(seen, exercise, answer):
        if exercise.id == "c02-loss":
            raise RuntimeError
        return verdict.judge(seen, exercise, answer)
    monkeypatch.setattr(grader, "judge", fails)
    grades = by_id(grader.grade([notebook(tmp_path / "a.ipynb", SETUP, LOSS, X0)]))
    assert grades["c02-loss"].status == "failed" and grades["c02-x0"].status == "passed"


def test_fewer_observations_than_inputs_do_not_pass():
    e = TASKS["x0_from_eps"]
    assert grader.exercise_verdict(e, observe(ch02.x0_from_eps, e)[:1]).status == "failed"


# One function that needs another

def test_a_right_loop_passes_although_the_step_in_it_does_not(tmp_path, here):
    grades = by_id(grader.grade([notebook(
        tmp_path / "a.ipynb", SETUP, RIGHT["ddpm_step"].replace("a_s * x0", "a_t * x0"),
        RIGHT["reverse"])]))
    assert grades["c02-step"].mistake == "times-mixed"
    assert grades["c02-reverse"].points == 2
    assert "the right ddpm_step" in grades["c02-reverse"].diagnosis


@pytest.mark.parametrize("cells", [[stub("ddpm_step")], [], [stub("ddpm_step") + "\n",
                                   'ddpm_step = course.pick("c02-step", ddpm_step)']])
def test_a_wrong_loop_gets_its_own_diagnosis_without_a_step(cells, tmp_path, here):
    wrong = RIGHT["reverse"].replace("noises[k]", "noises[0]")
    grades = by_id(grader.grade([notebook(tmp_path / "a.ipynb", SETUP, *cells, wrong)]))
    assert grades["c02-step"].status == "not attempted"
    assert grades["c02-reverse"].mistake == "same-noise"


def test_a_picked_name_is_the_notebooks_own_function(tmp_path, here):
    grades = by_id(grader.grade([notebook(
        tmp_path / "a.ipynb", SETUP, RIGHT["ddpm_step"],
        'step = course.pick("c02-step", ddpm_step)',
        RIGHT["reverse"].replace("ddpm_step", "step"))]))
    assert grades["c02-reverse"].status == "passed"
    assert "Tried with" not in grades["c02-reverse"].diagnosis


def test_a_right_function_comes_with_all_it_needs_from_other_chapters(tmp_path, monkeypatch):
    (tmp_path / "house_a.py").write_text(
        "import math\nHALF = 1 / 2\ndef half(x):\n    return math.floor(HALF * x)\n"
        "RIGHT = dict(a=half)\n")
    (tmp_path / "house_b.py").write_text(
        "from house_a import half\ndef quarter(x):\n    return half(half(x))\n"
        "def other():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(grader, "ANSWERS_PACKAGE", "house_")
    sources = grader.answer_sources(importlib.import_module("house_b"), "quarter")
    assert not [s for s in sources if "house" in s or "other" in s or "RIGHT" in s]
    assert define(sources)[0]["quarter"](9) == 2
    assert grader.answer_sources(math, "floor") == ["from math import floor"]


def test_a_function_never_stands_in_for_itself(tmp_path):
    found = collected(tmp_path, SETUP, "def ddpm_step(*a):\n    return right(*a)\n"
                      'right = course.pick("c02-step")')
    assert "c02-step" not in grader.substitutes_for(found, TASKS["ddpm_step"], set()).values()


def test_a_right_answer_does_not_come_along_with_another_one(tmp_path):
    """`reverse` needs `ddpm_step`, so it never stands in where `ddpm_step` itself is tried."""
    found = collected(tmp_path, SETUP, "import sys\ndef ddpm_step(*a):\n    reverse\n"
                      "    return sys.modules['right_0'].ddpm_step(*a)", stub("reverse"))
    assert grader.substitutes_for(found, TASKS["ddpm_step"], set()) == {}


# Cells that do not run, and text that takes long to parse

@pytest.mark.parametrize("kind, word", [("markdown", "text"), ("raw", "raw")])
def test_a_cell_that_is_not_code_any_more_is_named(kind, word, tmp_path, here):
    path = notebook(tmp_path / "a.ipynb", SETUP, X0)
    content = json.loads(path.read_text())
    content["cells"].append({"cell_type": kind, "source": LOSS})
    path.write_text(json.dumps(content))
    g = by_id(grader.grade([path]))["c02-loss"]
    assert g.status == "failed"
    assert g.diagnosis == f"The cell with noise_loss is a {word} cell now: change it to code."


def test_a_cell_that_writes_a_file_is_named(tmp_path, here):
    g = by_id(grader.grade([notebook(
        tmp_path / "a.ipynb", SETUP, "%%writefile mine.py\n" + LOSS,
        "from mine import noise_loss")]))["c02-loss"]
    assert g.status == "failed" and "begins with %%writefile" in g.diagnosis
    assert "remove that line" in g.diagnosis


@pytest.mark.parametrize("text", [
    " " * 2000 + "$", "x = " + " " * 20_000 + "?#", "!x\n" * 2000, "x = !ls\n" * 2000,
    "def f():\n" + "    !x\n" * 2000, "$\n" * 2000, "%x\n" * 2000, "(" * 3000,
    "[" * 50 + "\n" * 2000])
def test_no_text_takes_long_to_parse(text, tmp_path):
    begin = time.process_time()
    assert statuses(collected(tmp_path, SETUP, text, LOSS))["noise_loss"] == "passed"
    assert time.process_time() - begin < 10


@pytest.mark.parametrize("terms", [600, 20_000])
def test_a_long_expression_does_not_matter(terms, tmp_path):
    sum_of = "+".join(["1"] * terms)
    found = collected(tmp_path, SETUP, f"N = {sum_of}", f"M = 1; K = {sum_of}",
                      f"class A:\n    def f(self):\n        raise E({sum_of})", LOSS)
    assert statuses(found)["noise_loss"] == "passed"


def test_what_cells_showed_is_not_in_the_way(tmp_path):
    path = notebook(tmp_path / "a.ipynb", SETUP, LOSS)
    content = json.loads(path.read_text())
    content["cells"][0]["outputs"] = [{"text": "x" * 120_000_000}]
    path.write_text(json.dumps(content))
    assert statuses(submission.read_submission(path, sandbox.catalogue())) == {
        "noise_loss": "passed"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are valid Unicode")
def test_names_and_texts_that_are_not_valid_unicode(tmp_path, here):
    bad = notebook(tmp_path / "a\udcff.ipynb", SETUP, LOSS, '"\ud800"',
                   'course.bughunt("c02-bug", 1)')
    other = notebook(tmp_path / "a\udcfe.ipynb", SETUP, X0)
    grades = grader.grade([bad, other], tmp_path / "out")
    assert len({g.notebook for g in grades}) == 2
    assert sum(g.points for g in grades) >= 3
    assert (tmp_path / "out" / "grades.csv").exists()


def test_a_submission_survives_the_way_between_processes(tmp_path):
    path = notebook(tmp_path / "a.ipynb", SETUP, LOSS, HUNT, X0, "N = 3",
                    'course.predict("c02-early", f, 1 + 2j)', 'mine = course.pick("c02-x0")')
    want = submission.read_submission(path, sandbox.catalogue())
    about, _ = results.read_message(submission.read_as_message(path, sandbox.catalogue()))
    came = submission.from_message(about)
    assert type(came.choices.pop("c02-early")).__name__ == "complex"
    want.choices.pop("c02-early")
    assert came == want


# Messages

def there_and_back(seen: list[Observation]) -> list[Observation] | str:
    return results.unpack_observations(*results.read_message(results.pack_observations(seen)))


def test_values_come_back_as_they_went():
    value = [torch.arange(6).view(2, 3).T, (1, 2.5, float("nan"), None, True, "text"),
             {"a": torch.tensor(2., dtype=torch.bfloat16), 3: []}, torch.zeros(1).expand(4)]
    gradients = torch.arange(3.0), None
    first, second = there_and_back([
        Observation("value", value, "", ("x",), ("f",), gradients, True),
        Observation("raised", None, "E: \x1b[1m", gradients="E: \x1b[1m")])
    (a, b, c, d), want = first.value, value
    torch.testing.assert_close((a, c["a"], d), (want[0], want[2]["a"], want[3]), rtol=0, atol=0)
    assert b[:2] == (1, 2.5) and b[2] != b[2] and b[3:] == (None, True, "text") and c[3] == []
    assert first[2:5] == ("", ("x",), ("f",)) and second.error == second.gradients == "E:  [1m"
    assert torch.equal(first.gradients[0], gradients[0]) and first.gradients[1] is None
    assert first.varies is True and second.varies is False


def test_what_is_no_value_comes_back_by_the_name_of_its_type():
    loop = []
    loop.append(loop)
    for value, name in ((print, "builtin_function_or_method"), ({1}, "set"), (10**30, "int"),
                        (torch.zeros(1).expand(10**10), "tensor of 40000 MB"), (1j, "complex"),
                        (torch.zeros(2, dtype=torch.complex64), "tensor of torch.complex64"),
                        ([0] * 10**6, "list of 1000000 things"),
                        (torch.zeros(2).to_sparse(), "tensor on cpu, torch.sparse_coo")):
        assert type(there_and_back([Observation("value", value)])[0].value).__name__ \
            .startswith(name)
    results.pack_observations([Observation("value", loop)])


@pytest.mark.parametrize("about", [
    {}, {"seen": []}, {"seen": 3}, {"seen": [["value"]]}, {"seen": [["pass", 1, "", [], []]]},
    {"seen": [["value", ["tensor", "9"], "", [], []]]}, {"lost": 3}, {"unavailable": 3},
    {"seen": [["value", ["set", 9], "", [], []]]}, {"seen": [["value", 1, 2, [], []]]}])
def test_a_forged_message_gets_a_sentence(about):
    assert "could not be read back" in results.unpack_observations(about, {})


@pytest.mark.parametrize("content", [b"", b"junk", b"[1]\n", b"{}\njunk", b"[" * 10**6, b"{}\n"])
def test_what_is_not_a_message_is_refused(content):
    with pytest.raises(ValueError, match="could not be read back"):
        results.read_message(content)


def test_definitions_may_come_in_any_order():
    space, why = define(["x = y", "import nothing_such", "y = 2", "z = w",
                         "def f(a: No):\n    return a", "def g(a=None.b):\n    pass"])
    assert space["x"] == 2 and space["f"](3) == 3 and why.keys() == {"nothing_such", "z", "g"}
    assert "NameError" in why["z"] and "AttributeError" in why["g"]


# The package's own answers

def test_the_copy_holds_no_answers(tmp_path):
    sandbox.copy_package(tmp_path / "minidiff")
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    assert "minidiff/course/exercises/ch02.py" in names
    assert not [n for n in names if "answers" in n or n.endswith(".pyc")]
    assert (tmp_path / "minidiff/course/__init__.py").read_text() == ""


def test_the_files_of_the_copy_hold_no_equivalents(tmp_path):
    sandbox.copy_package(tmp_path / "minidiff")
    equivalents.switch_off_in_files(tmp_path / "minidiff", equivalents.all_equivalents())
    text = "".join(p.read_text() for p in tmp_path.rglob("*.py"))
    for name in equivalents.all_equivalents():
        assert equivalents.MESSAGE.format(name) in text, name


# Folders

def nested(place: Path, depth: int) -> None:
    """A folder in a folder in a folder, deeper than any path may be long."""
    handle = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=handle)
        inner = os.open("deep", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)


@pytest.mark.skipif(os.name == "nt", reason="no such folders on Windows")
def test_a_folder_is_removed_however_deep_it_is(tmp_path):
    (tmp_path / "a").mkdir()
    nested(tmp_path / "a", 3000)
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    folders.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_a_killed_process_left_are_removed_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{folders.PREFIX}left" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with folders.temporary_folder() as first, folders.temporary_folder() as second:
        assert {p.name for p in tmp_path.iterdir()} == {"other", first.name, second.name}
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


# The process

def test_a_process_that_cannot_start_is_no_students_fault(monkeypatch):
    monkeypatch.setattr(sandbox, "environment", lambda here: {"PYTHONPATH": "/nowhere"})
    with sandbox.open_sandbox(LIMITS, "none") as box, \
            pytest.raises(RuntimeError, match=r"does not start here.*minidiff"):
        box.observe(Task("c02-loss", "noise_loss", [], {}), 3)


def test_bubblewrap_that_does_not_work_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bubblewrap, "problem", lambda command: "it is not installed")
    with sandbox.open_sandbox(LIMITS) as box:
        assert box.isolation == "none" and box.warning == "it is not installed"
    path = notebook(tmp_path / "a.ipynb")
    path.write_text("no")
    monkeypatch.setattr(sandbox.Sandbox, "read_submission", InThisProcess.read_submission)
    assert main(["grade", str(path)]) == 0
    assert "Graded without bubblewrap (it is not installed)" in capsys.readouterr().out
    assert main(["grade", str(path), "--isolation", "none"]) == 0
    assert "Graded without" not in capsys.readouterr().out
    assert main(["grade", str(path), "--isolation", "bwrap"]) == 1
    assert "choose --isolation none" in capsys.readouterr().err


def test_how_a_process_ended_is_told():
    def says(**about):
        return sandbox.end_message(about, 3, LIMITS)
    assert "exit code 3" in says(ended=3) and "stopped after 3 s" in says(ended=None)
    assert "200 MB of memory" in says(ended=None, held=200.0)
    if os.name != "nt":
        assert "SIGSEGV" in says(ended=-11)
        assert "memory" in says(ended=-9) and "memory" in says(ended=137)


def test_a_notebook_that_is_not_a_file_is_not_waited_for(process, tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none", "."):
        g, = grader.grade_notebook(tmp_path / name, process)
        assert g.status == "unreadable" and "cannot be read" in g.diagnosis


def test_when_a_notebooks_time_is_up_the_rest_is_told_so(process, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "limits", LIMITS._replace(notebook=0))
    assert "Time is up: all of the notebook together had 0 s." in \
        graded(process, tmp_path, LOSS)["c02-loss"].diagnosis


def test_right_and_wrong_solutions_in_a_process_of_their_own(process, tmp_path):
    """All exercises at once, as the command does it, with known mistakes in three of them."""
    changed = {"noise_loss": (".square()", ".abs()", "absolute"),
               "target": ("(-1, 1)", "(1, -1)", "flow-sign"),
               "x0_from_eps": (" / alpha", "", "not-divided")}
    sources = {n: s.replace(*changed[n][:2]) if n in changed else s for n, s in RIGHT.items()}
    sources["handful_guess"] = "@torch.compile\n" + sources["handful_guess"]
    sources["reverse"] = "@torch.compile(fullgraph=True)\n" + sources["reverse"]
    grades = graded(process, tmp_path, *sources.values(), HUNT)
    for name, e in TASKS.items():
        want = ("diagnosed", changed[name][2]) if name in changed else ("passed", None)
        assert (grades[e.id].status, grades[e.id].mistake) == want
        assert grades[e.id].points == e.points * (name not in changed)


def function(name: str, *lines: str) -> str:
    return f"def {name}(*args):\n    " + "\n    ".join(lines)


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the limits")


@linux_only
def test_whatever_a_function_does_gets_a_sentence_and_the_next_is_graded(process, tmp_path, capfd):
    """Endless, hungry, ending everything, and huge; in order, so each comes after another."""
    hostile = [
        function("noise_loss", "while True:", "    pass"),
        function("target", "import os", "os._exit(0)"),
        X0,
        function("handful_guess", "return bytearray(500 * 2**20)"),
        function("ddpm_step", "while True:", "    try:", "        while True:", "            pass",
                 "    except BaseException:", "        pass"),
        function("reverse", "print('seen')", "return torch.zeros(20_000_000)")]
    grades = graded(process, tmp_path, *hostile)
    says = {id: g.diagnosis for id, g in grades.items()}
    assert "does not come to an end" in says["c02-loss"]
    assert "exit code 0" in says["c02-target"]
    assert grades["c02-x0"].points == 1
    assert "more than the 300 MB" in says["c02-handful"]
    assert "stopped after 6 s" in says["c02-step"]
    assert "tensor of 80 MB" in says["c02-reverse"]
    assert "seen" not in capfd.readouterr().out


@linux_only
def test_the_sentence_names_memory(process, tmp_path):
    grades = graded(
        process, tmp_path,
        function("noise_loss", "held = []", "while True:", "    held.append([0] * 1000)"),
        function("target", "import time", "held = [0] * 2**24", "time.sleep(60)"),
        function("x0_from_eps", "import mmap", "return len(mmap.mmap(-1, 3 * 2**30))"),
        function("handful_guess", "return torch.zeros(3 * 2**28).share_memory_()"),
        function("ddpm_step", "import mmap", "held = mmap.mmap(-1, 2**28)",
                 "for k in range(0, 2**28, 4096):", "    held[k] = 1", "while True:", "    pass"))
    for id in ("c02-loss", "c02-target", "c02-x0", "c02-handful", "c02-step"):
        assert grades[id].status == "failed"
        assert "memory" in grades[id].diagnosis.lower() or "300 MB" in grades[id].diagnosis, id


def test_a_broken_definition_costs_only_its_own_points(process, tmp_path):
    broken = ["import os\ndef noise_loss(*args, end=os._exit(3)):\n    return 0",
              "class Endless:\n    while True:\n        pass",
              function("target", "torch.cdist = torch.softmax = None", "return Endless"),
              X0, RIGHT["handful_guess"],
              function("ddpm_step", "import os, pathlib, shutil",
                       "for place in ('.', '../out', '../inbox', '../package'):",
                       "    shutil.rmtree(place, ignore_errors=True)",
                       "pathlib.Path('../out').mkdir()", "return 0")]
    grades = graded(process, tmp_path, *broken)
    assert "Its imports and definitions: It ended the whole" in grades["c02-loss"].diagnosis
    assert "Its imports and definitions: It was stopped" in grades["c02-target"].diagnosis
    assert [grades[i].points for i in ("c02-x0", "c02-handful", "c02-step")] == [1, 3, 0]
    assert graded(process, tmp_path, X0)["c02-x0"].points == 1


@linux_only
def test_no_process_is_left(process, tmp_path):
    """Not even those that are started past Python's own functions, or that leave their session."""
    mark = f"{time.time_ns() % 10**7 + 10**7}"
    grades = graded(
        process, tmp_path,
        function("noise_loss", "import _posixsubprocess, os", "r, w = os.pipe()",
                 "none = [-1] * 6",
                 f"_posixsubprocess.fork_exec([b'sleep', b'{mark}'], [b'/bin/sleep'], True, (w,), "
                 "None, None, *none, r, w, True, True, 0, None, None, None, -1, None, False)",
                 "return 0"),
        function("target", "import ctypes, time", "libc = ctypes.CDLL(None)",
                 "if libc.fork() == 0:", "    libc.setsid()",
                 f"    libc.execlp(b'sleep', b'sleep', b'{mark}', None)", "time.sleep(0.2)",
                 "return 0"), X0)
    assert grades["c02-x0"].points == 1
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if mark in read_if_there(p)]
    assert not left


def read_if_there(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@linux_only
def test_nested_folders_and_complex_values_stop_nothing(process, tmp_path):
    grades = graded(
        process, tmp_path,
        function("noise_loss", "import os", "place = os.open('.', 0)", "for k in range(3000):",
                 "    os.mkdir('deep', dir_fd=place)", "    place, old = os.open('deep', 0, "
                 "dir_fd=place), place", "    os.close(old)", "return 0"),
        function("target", "return args[1] + 1j"), function("handful_guess", "return 1j"), X0)
    assert "tensor of torch.complex64" in grades["c02-target"].diagnosis
    assert "complex" in grades["c02-handful"].diagnosis and grades["c02-x0"].points == 1


def test_writing_elsewhere_and_processes_are_refused(process, tmp_path):
    grades = graded(
        process, tmp_path,
        function("noise_loss", f"open({str(tmp_path / 'a.ipynb')!r}, 'w')"),
        function("target", "import os", f"os.replace('/tmp', {str(tmp_path / 'x')!r})"),
        function("x0_from_eps", "import subprocess", "subprocess.run(['echo'])"),
        function("handful_guess", "import os", "os.chdir('/')"),
        function("ddpm_step", "import os", "os.kill(os.getppid(), 9)"),
        RIGHT["reverse"])
    assert json.loads((tmp_path / "a.ipynb").read_text())["cells"]
    for id in ("c02-loss", "c02-target", "c02-x0", "c02-handful", "c02-step"):
        assert "PermissionError" in grades[id].diagnosis, id
    assert grades["c02-reverse"].points == 2                        # tried with the right step


def test_what_grading_does_not_run_is_named(process, tmp_path):
    used = [
        function("noise_loss", "return data"),
        function("target", "return nothing_such.f()"),
        "def x0_from_eps(x, eps, alpha=torch.nothing(), sigma=1):\n    pass",
        "from minidiff.gaussians import dataset_denoiser as handful_guess",
        RIGHT["ddpm_step"]]
    path = notebook(tmp_path / "a.ipynb", SETUP.replace("import torch\n", ""),
                    "data = torch.randn(3)", "import nothing_such", *used)
    says = {g.id: g.diagnosis for g in grader.grade_notebook(path, process)}
    assert "makes it by running code" in says["c02-loss"]
    assert "ModuleNotFoundError" in says["c02-target"]
    assert "has no attribute 'nothing'" in says["c02-x0"]
    assert "the package's own minidiff.gaussians.dataset_denoiser" in says["c02-handful"]
    assert "right on all" in says["c02-step"]                        # though `import torch` is gone


# Answers cannot be had

OWN = "from minidiff.denoiser import Denoiser\n"
CALL = "Denoiser(net, schedule, 'eps').loss(x0, noise=noise, t=t)"
ARGUMENTS = "(net, schedule, x0, t, noise)"


def nosy_functions() -> dict[str, str]:
    """Functions for c02-handful, whose answer is `gaussians.dataset_denoiser`."""
    package = Path(sandbox.__file__).parents[2]
    head = "def handful_guess(x, data, alpha, sigma):\n    "
    own = "from minidiff import gaussians\n"
    use = "gaussians.dataset_denoiser(lambda t: (alpha, sigma), data)(x, alpha)"
    copied = ("import types\n    f = gaussians.dataset_denoiser\n    g = types.FunctionType("
              "f.__code__, f.__globals__, 'g', f.__defaults__, f.__closure__)\n    ")
    lines = {
        "a call": own + head + f"return {use}",
        "a wrapper": own + "import functools\ndef other(data, alpha, sigma, x):\n    return "
                     f"{use}\n"
                     + head + "return functools.partial(other, data, alpha, sigma)(x)",
        "another file": own + head + f"return eval(compile({use!r}, 'else.py', 'eval'), "
                        "dict(globals(), **locals()))",
        "no hook": own + "import sys\n" + head + f"sys.setprofile(None)\n    return {use}",
        "a trace": own + "import sys\n" + head + "sys.settrace(lambda *a: None)\n    return " + use,
        "a thread": own + "import concurrent.futures as c\n" + head
                    + f"return c.ThreadPoolExecutor().submit(lambda: {use}).result()",
        "copied code": own + head + copied + use.replace("gaussians.dataset_denoiser", "return g"),
        "a fresh import": "import importlib, sys\n" + head + "sys.modules.pop('minidiff.gaussians')"
                          f"\n    gaussians = importlib.import_module('minidiff.gaussians')\n"
                          f"    return {use}",
        "patching": own + "from minidiff.course.checking import observation\n"
                    "def handful_guess(*a, patch=setattr(observation, 'record_package_calls', "
                    "lambda *a: __import__('contextlib').nullcontext())):\n    x, data, alpha,"
                    f" sigma = a\n    return {use}",
        "the source": "import minidiff\n" + head + "text = open(minidiff.__path__[0] + "
                      "'/gaussians.py').read()\n    space = {}\n    exec(text, space)\n    return "
                      + use.replace("gaussians.dataset_denoiser", "space['dataset_denoiser']"),
    }
    answer = "course/answers/ch02.py"
    for what, place in (("a file", f"open({str(package / answer)!r})"),
                        ("a handle", f"os.fdopen(os.open({str(package / answer)!r}, 0))"),
                        ("a long way", f"open('../..' * 9 + {str(package / answer)!r})")):
        lines[what] = ("import os\n" + head + f"space = {{}}\n    exec({place}.read(), space)\n"
                       "    return space['handful_guess'](x, data, alpha, sigma)")
    lines["after a chdir"] = ("import os\n" + head + f"os.chdir({str(package / 'course')!r})\n"
                              "    space = {}\n    exec(open('answers/ch02.py').read(), space)\n"
                              "    return space['handful_guess'](x, data, alpha, sigma)")
    lines["an import"] = ("import sys\n" + head + f"sys.path.insert(0, {str(package.parent)!r})\n"
                          "    [sys.modules.pop(n) for n in list(sys.modules) if 'minidiff' in n]\n"
                          "    from minidiff.course.answers.ch02 import handful_guess as right\n"
                          "    return right(x, data, alpha, sigma)")
    return lines


def test_the_nosy_call_would_be_right():
    """Where nothing is switched off, the call below gives the right values."""
    space, _ = define(["import torch", nosy_functions()["a wrapper"]])
    e = TASKS["handful_guess"]
    seen = [o._replace(package_calls=()) for o in observe(space["handful_guess"], e)]
    assert verdict.judge(seen, e, answers.find(e.id)).status == "passed"


@linux_only
@pytest.mark.parametrize("what", nosy_functions())
def test_answers_cannot_be_had(what, process, tmp_path):
    grade = graded(process, tmp_path, nosy_functions()[what])["c02-handful"]
    assert grade.status == "failed" and grade.points == 0
    if "gaussians.dataset_denoiser(" in nosy_functions()[what]:
        assert "the package's own minidiff.gaussians.dataset_denoiser" in grade.diagnosis


def test_right_functions_pass_although_the_packages_are_switched_off(process):
    """Each reference, with its exercise's equivalents out of order."""
    for chapter in ("01", "08"):
        for e in exercises.exercises_of(chapter):
            name, sources = grader.reference_source(e.id)
            task = Task(e.id, name, [*grader.DEFAULT_IMPORTS, *sources], {})
            v = grader.exercise_verdict(e, process.observe(task, 60))
            assert v.status == "passed", v


# What bubblewrap adds

@pytest.mark.skipif(os.name == "nt", reason="Windows has no such links")
def test_an_installed_package_is_hidden_at_every_path_to_it(tmp_path, monkeypatch):
    libraries = tmp_path / "lib" / "site-packages"
    (libraries / "minidiff").mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("lib")
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    package = libraries / "minidiff"
    command = bubblewrap.prefix(tmp_path, Path("/grading"), [str(libraries)], package)
    for name in ("lib", "lib64"):
        bound = command.index(str(tmp_path / name))
        hidden = command.index(str(tmp_path / name / "site-packages" / "minidiff"))
        assert command[bound - 1] == "--ro-bind" and command[hidden - 1] == "--tmpfs"
        assert bound < hidden


@linux_only
def test_an_installed_package_cannot_be_read_without_bubblewrap_either(tmp_path):
    for name in ("minidiff", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    program = ("import sys\nfrom pathlib import Path\nfrom minidiff.course.grading import limits\n"
               "here = Path(sys.argv[1])\n"
               "limits.forbid(here / 'room', [str(here / 'minidiff')], [str(here)])\n"
               "(here / 'torch' / 'a.py').read_text()\n(here / 'minidiff' / 'a.py').read_text()")
    tried = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True,
                           text=True, check=False)
    assert "may not read the course's files" in tried.stderr.splitlines()[-1]
    assert "'torch'" not in tried.stderr.splitlines()[-2]


@pytest.fixture
def bwrap(process):
    if process.isolation != "bwrap":
        pytest.skip("this is about bubblewrap alone")
    return process


def test_under_bubblewrap_nothing_else_is_seen_or_written(bwrap, tmp_path):
    """No home, no project, nothing to write but one folder; asked past the audit hook."""
    project = sandbox.PACKAGE.parent
    foreign = [str(p) for p in (project / "solutions", sandbox.PACKAGE / "course" / "answers",
                                Path.home() / ".bashrc", tmp_path, "/etc/passwd", "/sys/class")]
    places = ["/new", "/dev/new", "/etc/new", "/usr/new", "/grading/new", "/grading/inbox/new",
              "/grading/package/new"]
    look = ["import ctypes, os", "libc = ctypes.CDLL(None)",
            f"seen = [p for p in {foreign} if libc.access(p.encode(), 0) == 0]",
            f"made = [p for p in {places} if libc.mkdir(p.encode(), 511) == 0]",
            "few = sum(p.isdigit() for p in os.listdir('/proc')) < 6",
            "raise ValueError(f'{seen} {made} {few}')"]
    grade = graded(bwrap, tmp_path, function("noise_loss", *look))["c02-loss"]
    assert "ValueError: [] [] True" in grade.diagnosis


def test_under_bubblewrap_the_folder_and_shared_memory_are_limited(bwrap, tmp_path, monkeypatch):
    monkeypatch.setattr(bwrap, "limits", LIMITS._replace(case=20))   # a busy machine writes slowly
    fill = ["import ctypes, os", "libc = ctypes.CDLL(None)", "done = 0",
            "for k in range(30):", "    f = libc.open(PLACE + b'%d' % k, 0o101, 0o600)",
            "    part = b'x' * 2**24", "    done += max(0, libc.write(f, part, len(part)))",
            "raise ValueError(f'wrote {done < 300 * 10**6}')"]
    for place in ("b'/grading/room/a'", "b'/dev/shm/a'"):
        lines = [line.replace("PLACE", place) for line in fill]
        grade = graded(bwrap, tmp_path, function("noise_loss", *lines))["c02-loss"]
        assert "ValueError: wrote True" in grade.diagnosis


def test_killing_every_process_costs_only_its_own_points(process, tmp_path):
    if process.isolation != "bwrap":
        pytest.skip("without bubblewrap this would end more than the grading")
    kill = function("noise_loss", "import ctypes", "ctypes.CDLL(None).kill(-1, 9)", "return 0")
    grades = graded(process, tmp_path, kill, X0)
    assert grades["c02-loss"].status == "failed" and grades["c02-x0"].points == 1


@linux_only
@pytest.mark.parametrize("isolation", ["none", "auto"])
def test_nothing_is_left_when_the_grader_is_killed(isolation, tmp_path):
    """No process; and the folder goes at the next start."""
    mark = "handful_guess_" + tmp_path.name
    path = notebook(tmp_path / "a.ipynb", SETUP, function("noise_loss", "while True:", "    try:",
                    "        while True: pass", "    except BaseException: pass"))
    program = (f"from minidiff.course.grading import grader\ngrader.grade([{str(path)!r}], "
               f"isolation={None if isolation == 'auto' else isolation!r})  # {mark}")
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    try:
        assert wait_until(lambda: processes_of(tmp_path / "temporary"), 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert wait_until(lambda: not processes_of(tmp_path / "temporary"), 20)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    subprocess.run([sys.executable, "-c", "from minidiff.course.grading import folders\n"
                    "folders.remove_abandoned()"], env=environment, check=True)
    assert list((tmp_path / "temporary").iterdir()) == []


def wait_until(holds, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(holds())


def processes_of(temporary: Path) -> list[str]:
    """The processes that grade with a folder in `temporary`."""
    names = [p.name for p in temporary.iterdir()]
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        text = read_if_there(place / "cmdline") + read_if_there(place / "environ")
        if "isolated_process" in text and any(n in text for n in names):
            found.append(place.name)
    return found
