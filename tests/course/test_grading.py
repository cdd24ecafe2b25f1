"""Grading: functions are found whatever became of the cells, and nothing they do stops the rest."""
import csv
import importlib
import inspect
import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

from minidiff.course import answers, exercises
from minidiff.course.__main__ import main
from minidiff.course.answers import ch02
from minidiff.course.checking import verdict
from minidiff.course.checking.observation import Observation, observe
from minidiff.course.grading import grader, isolated_process, submission
from minidiff.course.grading.isolated_process import Job, Limits
from minidiff.runtime import files

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
    return submission.read_submission(notebook(path / "02.ipynb", *cells))


def statuses(found: submission.Submission) -> dict[str, str]:
    """What becomes of a notebook's functions, without a process of their own."""
    space, _ = isolated_process.define_module([i.source for i in found.definitions], "<test>", "of_a_test")
    return {n: verdict.check_function(space[n], e, answers.find(e.id)).status
            for n, e in TASKS.items() if n in space}


@pytest.fixture
def here(monkeypatch):
    """Functions are observed in this process, which is quicker."""
    def watch(job: Job, limits: Limits) -> dict:
        space, _ = isolated_process.define_module(job.sources, "<test>", "of_a_test")
        for name, (there, sources) in job.substitutes.items():
            space[name] = isolated_process.define_module(sources, "<right>", "right")[0][there]
        return {id: observe(space[name], exercises.find(id), limits.case)
                for id, name in job.entries.items()}
    monkeypatch.setattr(grader, "observe_in_subprocess", watch)


def by_id(grades: list[grader.Grade]) -> dict[str, grader.Grade]:
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
        space, _ = isolated_process.define_module([i.source for i in found.definitions], "<test>", "of_a_test")
        for n in names:
            want = getattr(ch02, n).__code__
            assert space[n].__code__.co_names == want.co_names, text[:at] + "|" + text[at:]


def test_cells_without_metadata_types_or_lists_are_read(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [{"source": SETUP}, {"source": LOSS.replace("\n", "\r\n")},
                                          {"cell_type": "markdown", "source": ["# " + X0]}]}))
    assert statuses(submission.read_submission(path)) == {"noise_loss": "passed"}


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
        assert grades[id].status == "failed" and "is no Python" in grades[id].diagnosis


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
    text = grader.csv_text(("a", "b"), [{"a": "=1+1", "b": -1}])
    assert text == "a,b\n'=1+1,-1\n"


def test_the_command_grades(tmp_path, here, capsys):
    path = notebook(tmp_path / "a.ipynb", SETUP, LOSS)
    assert main(["grade", str(path), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "grades.csv").exists()
    assert "2 of 14 points" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path, monkeypatch):
    monkeypatch.setattr(grader, "observe_in_subprocess", None)
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
    assert isolated_process.define_module(sources, "<test>", "of_a_test")[0]["quarter"](9) == 2
    assert grader.answer_sources(math, "floor") == ["from math import floor"]


def test_a_function_never_stands_in_for_itself(tmp_path):
    found = collected(tmp_path, SETUP, "def ddpm_step(*a):\n    return right(*a)\n"
                      'right = course.pick("c02-step")')
    assert "c02-step" not in grader.substitutes_for(found, TASKS["ddpm_step"], set()).values()


# The process

def test_values_come_back_as_they_went(tmp_path):
    value = [torch.arange(6).view(2, 3).T, (1, 2.5, float("nan"), None, True, "text"),
             {"a": torch.tensor(2., dtype=torch.bfloat16), 3: []}, torch.zeros(1).expand(4)]
    seen = [Observation("value", value, "", ("x",), ("f",)),
            Observation("raised", None, "E: \x1b[1m")]
    files.save_tensors(tmp_path / "a", *isolated_process.pack_observations(seen))
    first, second = isolated_process.read_result(tmp_path / "a")
    (a, b, c, d), want = first.value, value
    torch.testing.assert_close((a, c["a"], d), (want[0], want[2]["a"], want[3]), rtol=0, atol=0)
    assert b[:2] == (1, 2.5) and b[2] != b[2] and b[3:] == (None, True, "text") and c[3] == []
    assert first[2:] == ("", ("x",), ("f",)) and second.error == "E:  [1m"


def test_what_is_no_value_comes_back_by_the_name_of_its_type():
    loop = []
    loop.append(loop)
    for value, name in ((print, "builtin_function_or_method"), ({1}, "set"), (10**30, "int"),
                        (torch.zeros(1).expand(10**10), "tensor of 40000 MB"),
                        ([0] * 10**6, "list of 1000000 things"),
                        (torch.zeros(2).to_sparse(), "tensor on cpu, torch.sparse_coo")):
        tensors, about = isolated_process.pack_observations([Observation("value", value)])
        back = isolated_process.unpack_observations(tensors, json.loads(json.dumps(about)))[0].value
        assert type(back).__name__.startswith(name)
    json.dumps(isolated_process.pack_observations([Observation("value", loop)])[1])


@pytest.mark.parametrize("about", [
    {}, {"seen": []}, {"seen": 3}, {"seen": [["value"]]}, {"seen": [["pass", 1, "", [], []]]},
    {"seen": [["value", ["tensor", "9"], "", [], []]]}, {"lost": 3}, [1],
    {"seen": [["value", ["set", 9], "", [], []]]}, {"seen": [["value", 1, 2, [], []]]}])
def test_a_forged_result_gets_a_sentence(about, tmp_path):
    files.save_tensors(tmp_path / "a", {}, about)
    assert "could not be read back" in isolated_process.read_result(tmp_path / "a")


def test_a_result_that_is_no_file_of_ours_gets_a_sentence(tmp_path):
    (tmp_path / "a").write_bytes(b"junk")
    (tmp_path / "b").mkdir()
    if os.name != "nt":
        (tmp_path / "c").symlink_to("/dev/zero")
    assert all("could not be read back" in isolated_process.read_result(tmp_path / n) for n in "abc")


def test_definitions_may_come_in_any_order():
    space, why = isolated_process.define_module(["x = y", "import nothing_such", "y = 2", "z = w",
                               "def f(a: No):\n    return a", "def g(a=None.b):\n    pass"],
                              "<test>", "of_a_test")
    assert space["x"] == 2 and space["f"](3) == 3 and why.keys() == {"nothing_such", "z", "g"}
    assert "NameError" in why["z"] and "AttributeError" in why["g"]


def test_the_copy_holds_no_answers(tmp_path):
    isolated_process.copy_package(tmp_path / "minidiff")
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    assert "minidiff/course/exercises/ch02.py" in names
    assert not [n for n in names if "answers" in n or n.endswith(".pyc")]
    assert (tmp_path / "minidiff/course/__init__.py").read_text() == ""


def test_a_process_that_cannot_start_is_no_students_fault(monkeypatch):
    monkeypatch.setattr(isolated_process, "environment", lambda here: {"PYTHONPATH": "/nowhere"})
    with pytest.raises(RuntimeError, match=r"does not start here.*minidiff"):
        isolated_process.observe_in_subprocess(Job([], {"c02-loss": "noise_loss"}, {}), LIMITS)


def test_when_a_notebooks_time_is_up_the_rest_is_told_so():
    endless = "def x0_from_eps(*args):\n    while True:\n        pass"
    job = Job([endless], {"c02-x0": "x0_from_eps", "c02-loss": "noise_loss"}, {})
    assert set(map(str, isolated_process.observe_in_subprocess(job, Limits(notebook=0.1)).values())) == {
        "Time is up: all of the notebook together had 0.1 s."}


def test_definitions_that_do_not_end_are_told_from_functions_that_do_not():
    job = Job(["class A:\n    while True:\n        pass", LOSS],
              {"c02-loss": "noise_loss", "c02-x0": "x0_from_eps"}, {})
    seen = isolated_process.observe_in_subprocess(job, Limits(exercise=1))
    assert len(seen) == 2
    assert all(s.startswith("Its imports and definitions") for s in seen.values())


def test_how_a_process_ended_is_told():
    assert "exit code 3" in isolated_process.exit_message(3)
    if os.name != "nt":
        assert "SIGSEGV" in isolated_process.exit_message(-11) and "memory" in isolated_process.exit_message(-9)


def test_right_and_wrong_solutions_in_a_process_of_their_own(tmp_path):
    """All exercises at once, as the command does it, with known mistakes in three of them."""
    changed = {"noise_loss": (".square()", ".abs()", "absolute"),
               "target": ("(-1, 1)", "(1, -1)", "flow-sign"),
               "x0_from_eps": (" / alpha", "", "not-divided")}
    sources = {n: s.replace(*changed[n][:2]) if n in changed else s for n, s in RIGHT.items()}
    grades = by_id(grader.grade([notebook(tmp_path / "a.ipynb", SETUP, *sources.values(), HUNT)]))
    for name, e in TASKS.items():
        want = ("diagnosed", changed[name][2]) if name in changed else ("passed", None)
        assert (grades[e.id].status, grades[e.id].mistake) == want
        assert grades[e.id].points == e.points * (name not in changed)


def function(name: str, *lines: str) -> str:
    return f"def {name}(*args):\n    " + "\n    ".join(lines)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is watched, not limited")
def test_whatever_a_function_does_gets_a_sentence_and_the_next_is_graded(tmp_path, capfd):
    """Endless, hungry, ending everything, and huge; in order, so each comes after another."""
    hostile = [
        function("noise_loss", "while True:", "    pass"),
        function("target", "import os", "os._exit(0)"),
        X0,
        function("handful_guess", "return bytearray(500 * 2**20)"),
        function("ddpm_step", "while True:", "    try:", "        while True:", "            pass",
                 "    except BaseException:", "        pass"),
        function("reverse", "print('seen')", "return torch.zeros(50_000_000)")]
    grades = by_id(grader.grade([notebook(tmp_path / "a.ipynb", SETUP, *hostile)], None, LIMITS))
    says = {id: g.diagnosis for id, g in grades.items()}
    assert "does not come to an end" in says["c02-loss"]
    assert "exit code 0" in says["c02-target"]
    assert grades["c02-x0"].points == 1
    assert "more than the 300 MB" in says["c02-handful"]
    assert "stopped after 6 s" in says["c02-step"]
    assert "tensor of 200 MB" in says["c02-reverse"]
    assert "seen" not in capfd.readouterr().out


def test_a_function_reaches_no_answers_and_forges_nothing(tmp_path):
    root = str(Path(isolated_process.__file__).parents[2])
    nosy = [
        function("target", "import minidiff.course.answers"),
        function("noise_loss", "import sys", f"sys.path.insert(0, {root!r})",
                 "kept = {n: sys.modules.pop(n) for n in list(sys.modules) if 'minidiff' in n}",
                 "try:", "    from minidiff.course.answers.ch02 import noise_loss as right",
                 "finally:", "    sys.modules.update(kept)", "return right(*args)"),
        function("x0_from_eps", "import subprocess", "subprocess.run(['echo'])"),
        function("handful_guess", "import sys", "sys.exit(0)"),
        function("ddpm_step", "from pathlib import Path",
                 "for name in ('c02-step', 'c02-reverse'):", "    Path('../out', name).mkdir()",
                 "return args[1]"),
        RIGHT["reverse"]]
    grades = by_id(grader.grade([notebook(tmp_path / "a.ipynb", SETUP, *nosy)], None, LIMITS))
    says = {id: g.diagnosis for id, g in grades.items()}
    assert sum(g.points for g in grades.values()) == 2              # for the loop, tried by itself
    assert "ModuleNotFoundError" in says["c02-target"]
    assert "may not read answers" in says["c02-loss"]
    assert "may not use subprocess.Popen" in says["c02-x0"]
    assert "SystemExit" in says["c02-handful"]
    assert "could not be read back" in says["c02-step"]
    assert grades["c02-reverse"].status == "passed"


def test_what_grading_does_not_run_is_named(tmp_path):
    used = [
        function("noise_loss", "return data"),
        function("target", "return nothing_such.f()"),
        "def x0_from_eps(x, eps, alpha=torch.nothing(), sigma=1):\n    pass",
        "from minidiff.gaussians import dataset_denoiser as handful_guess",
        RIGHT["ddpm_step"]]
    path = notebook(tmp_path / "a.ipynb", SETUP.replace("import torch\n", ""),
                    "data = torch.randn(3)", "import nothing_such", *used)
    says = {g.id: g.diagnosis for g in grader.grade([path], None, LIMITS)}
    assert "makes it by running code" in says["c02-loss"]
    assert "ModuleNotFoundError" in says["c02-target"]
    assert "has no attribute 'nothing'" in says["c02-x0"]
    assert "the package's own minidiff.gaussians.dataset_denoiser" in says["c02-handful"]
    assert "right on all" in says["c02-step"]                        # though `import torch` is gone
