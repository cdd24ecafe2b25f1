"""One source: its two editions, the rules it keeps, how it is run and handed out."""
import io
import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from PIL import Image

from minidiff.course import exercises
from minidiff.course.__main__ import find_root, main
from minidiff.course.authoring import builder, lint, notebook_files, validation
from minidiff.course.authoring.executor import (
    MAX_OUTPUT_BYTES,
    WIDGET,
    clean_outputs,
    execute,
    select_solutions,
)
from minidiff.course.authoring.nbgrader_release import write_release
from minidiff.course.checking.exercise import Exercise, Question
from minidiff.course.student import saved_work

CATALOGUE = {f"c90-{name}": Exercise(f"c90-{name}", name, f"Write {name}", 3, 5, 2,
                                     ("look <b>up</b>", "look down", "it is $2 x_t$"), list)
             for name in ("double", "triple", "halve", "negate")}
CATALOGUE["c90-guess"] = Question("c90-guess", "predict", "What comes?", ("a", "b"))
DOUBLE = '''import math


def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    twice_the_value = x + x
    return twice_the_value
    ### END SOLUTION'''
CHECK = '''# c90-double
assert double(2) == 4
### BEGIN HIDDEN TESTS
assert double(-3.5) == -7.0, "secret"
### END HIDDEN TESTS'''
GUESS = '''choice = None
### BEGIN SOLUTION
choice = 1  # because it is so
### END SOLUTION
print(choice)'''


@pytest.fixture(autouse=True)
def catalogue(monkeypatch):
    def find(id):
        if id not in CATALOGUE:
            raise ValueError(f"There is no exercise {id!r}; did you mean c90-double?")
        return CATALOGUE[id]
    monkeypatch.setattr(exercises, "find", find)


def code(source: str, *tags: str) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {"tags": [*tags]}, "outputs": [],
            "execution_count": None}


def prose(source: str, *tags: str) -> dict:
    return {"cell_type": "markdown", "source": source, "metadata": {"tags": [*tags]}}


def notebook(*cells: dict) -> dict:
    return {"cells": [*cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def exercise(name: str, solution: str = "return 'a solution of its own'") -> list[dict]:
    """An exercise's three cells."""
    body = f"    ### BEGIN SOLUTION\n    {solution}\n    ### END SOLUTION"
    tag = f"ex:c90-{name}"
    return [code(f"def {name}(x):\n{body}", "exercise", tag), prose("hints", "hint", tag),
            code(f"course.check('c90-{name}', {name})", "check", tag)]


def tiny() -> dict:
    """A small solution with everything in it that a student must not get."""
    return notebook(
        prose("# Doubling"), code('from minidiff import course\n\nch = course.start("90")'),
        code(DOUBLE, "exercise", "ex:c90-double"), prose("hints", "hint", "ex:c90-double"),
        code(CHECK, "check", "ex:c90-double"), code(GUESS, "predict", "ex:c90-guess"),
        prose("The usual mistake is x squared.", "instructor"),
        code("print('for instructors only')", "solution-note"))


def make_course(folder, *solutions: dict, points: int = 3):
    (folder / "solutions").mkdir(exist_ok=True)
    (folder / "notebooks").mkdir(exist_ok=True)
    chapters = ""
    for number, solution in enumerate(solutions, 90):
        chapters += (f'  "{number}": {{slug: tiny, points: {points}, minutes: 5, '
                     "solutions: never}\n")
        path = folder / "solutions" / f"{number}_tiny.ipynb"
        path.write_text(json.dumps(solution), encoding="utf-8")
    text = f"title: A course\ninstall: somewhere.example/minidiff\nchapters:\n{chapters}"
    (folder / "solutions" / "course.yml").write_text(text)
    return folder


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with a course of one tiny chapter; the current folder is in it."""
    monkeypatch.chdir(make_course(tmp_path, tiny()))
    return tmp_path


def tampered(change) -> dict:
    """The tiny solution after a change."""
    changed = tiny()
    change(changed["cells"])
    return changed


# The student edition


def test_a_student_gets_stubs_and_no_secrets():
    made = builder.student_edition(tiny())
    by_tag = {t: c for c in made["cells"] for t in c["metadata"].get("tags", [])}
    assert by_tag["exercise"]["source"] == (
        'import math\n\n\ndef double(x):\n    """Twice x."""\n    # YOUR CODE HERE\n'
        '    raise NotImplementedError("YOUR CODE HERE")')
    assert by_tag["check"]["source"] == "# c90-double\nassert double(2) == 4"
    assert by_tag["predict"]["source"] == "choice = None\nprint(choice)"
    assert not {"instructor", "solution-note"} & by_tag.keys()
    for secret in ("twice_the_value", "secret", "because", "squared", "instructors only", "BEGIN"):
        assert secret not in json.dumps(made)


def test_outputs_counts_and_widgets_do_not_travel():
    solution = tiny()
    solution["metadata"]["widgets"] = {"state": "megabytes"}
    for cell in solution["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 7, "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["seen"]}]}
    made = builder.student_edition(solution)
    assert "widgets" not in made["metadata"] and "seen" not in json.dumps(made)
    cells = [c for c in made["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] is None and c["outputs"] == [] for c in cells)


def test_hints_are_the_catalogues_and_folded():
    text = builder.student_edition(tiny())["cells"][3]["source"]
    assert text.count("<details><summary>Hint") == text.count("</details>") == 3
    assert "look down" in text and "●●○" in text and "3 points" in text


def test_nbgrader_finds_its_cells():
    made = builder.student_edition(tiny())["cells"]
    found = [c["metadata"]["nbgrader"] for c in made if "nbgrader" in c["metadata"]]
    base = dict(schema_version=3, cell_type="code", task=False)
    assert found == [
        base | dict(grade_id="c90-double", solution=True, grade=False, locked=False),
        base | dict(grade_id="check-c90-double", solution=False, grade=True, locked=True, points=3)]


def test_the_set_up_cell_installs_what_is_missing():
    made = builder.student_edition(tiny(), "somewhere.example/minidiff")
    setups = [c["source"] for c in made["cells"] if "%pip" in c["source"]]
    assert len(setups) == 1 and setups[0].endswith('ch = course.start("90")')
    assert '    %pip install --quiet "somewhere.example/minidiff"' in setups[0].split("\n")
    assert setups[0].index("except ImportError") < setups[0].index("%pip")


def test_nbgraders_source_keeps_solutions_but_not_choices():
    made = json.dumps(builder.nbgrader_edition(tiny()))
    assert "twice_the_value" in made and "-3.5" in made
    assert "because" not in made and "squared" not in made


def test_an_edited_solution_becomes_canonical():
    solution, edited = tiny(), tiny()
    edited["metadata"] = {"kernelspec": {"name": "my-env"}, "widgets": {}}
    for number, cell in enumerate(edited["cells"]):
        cell["id"] = f"random{number}"
        cell["metadata"] |= {"collapsed": True, "execution": {"iopub.execute_input": "now"}}
    edited["cells"][3]["source"] = "other hints"
    edited["cells"].append(code("  \n"))
    assert notebook_files.dump_notebook(
        builder.normalise_solution(edited)
    ) == notebook_files.dump_notebook(builder.normalise_solution(solution))
    again = builder.normalise_solution(builder.normalise_solution(edited))
    assert notebook_files.dump_notebook(again) == notebook_files.dump_notebook(
        builder.normalise_solution(edited)
    )


def test_ids_come_from_content_and_differ():
    made = builder.normalise_solution(
        notebook(prose("same"), prose("same"), code("same"), prose("other"))
    )
    ids = [c["id"] for c in made["cells"]]
    assert len(set(ids)) == 4
    moved = builder.normalise_solution(notebook(prose("new"), prose("other"), prose("same")))
    assert [c["id"] for c in moved["cells"]][1:] == [ids[3], ids[0]]


def test_outputs_of_a_solution_stay():
    solution = tiny()
    output = {"output_type": "stream", "name": "stdout", "text": ["None\n"]}
    solution["cells"][5] |= {"outputs": [output], "execution_count": 4}
    cell = builder.normalise_solution(solution)["cells"][5]
    assert cell["outputs"] == [output] and cell["execution_count"] == 4


def test_notebooks_are_what_jupyter_reads():
    nbformat = pytest.importorskip("nbformat")
    for made in (builder.student_edition(tiny(), "x"), builder.normalise_solution(tiny())):
        text = notebook_files.dump_notebook(made).decode()
        nbformat.validate(nbformat.reads(text, 4))
        assert nbformat.writes(nbformat.reads(text, 4)) + "\n" == text       # Jupyter's own bytes


# Build and check


def test_build_then_check(course):
    changed = builder.build(course)
    assert [p.relative_to(course).as_posix() for p in changed] == [
        "solutions/90_tiny.ipynb", "notebooks/90_tiny.ipynb"]
    assert builder.find_drift(course) == []
    before = {p: p.read_bytes() for p in changed}
    assert builder.build(course) == []
    assert before == {p: p.read_bytes() for p in changed}


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda s, n: n.write_bytes(n.read_bytes() + b"\n"), "notebooks/90_tiny.ipynb is not what"),
    (lambda s, n: n.unlink(), "notebooks/90_tiny.ipynb is missing"),
    (lambda s, n: s.write_bytes(s.read_bytes().replace(b'"tags"', b'"x": 1, "tags"', 1)),
     "solutions/90_tiny.ipynb is not in its canonical form"),
    (lambda s, n: n.with_name("91_new.ipynb").write_bytes(n.read_bytes()),
     "notebooks/91_new.ipynb has no source"),
    (lambda s, n: s.write_bytes(s.read_bytes().replace(b"# Doubling", b"# Twice")), "is not what"),
    (lambda s, n: s.write_bytes(b"<<<<<<< HEAD"), "is not a notebook that can be read")])
def test_drift_is_said(course, spoil, words):
    builder.build(course)
    spoil(course / "solutions" / "90_tiny.ipynb", course / "notebooks" / "90_tiny.ipynb")
    drift = builder.find_drift(course)
    assert any(words in sentence for sentence in drift), drift
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in drift)


def test_a_fault_writes_nothing(course):
    path = course / "solutions" / "90_tiny.ipynb"
    path.write_text(json.dumps(tampered(lambda c: c.__delitem__(2))))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no cell above is that exercise"):
        builder.build(course)
    assert path.read_bytes() == before and not list((course / "notebooks").iterdir())


def test_a_notebook_must_be_a_chapter(course):
    (course / "solutions" / "17_extra.ipynb").write_text(json.dumps(tiny()))
    with pytest.raises(ValueError, match=r"17_extra\.ipynb is no chapter of solutions/course\.yml"):
        builder.build(course)


@pytest.mark.parametrize("text", [
    "title: x", "title: x\ninstall: y\nchapters: 3", "a: [", "title: x\ninstall: y\nchapters:\n"
    "  90: {slug: a, points: 1, minutes: 1, solutions: never}", "title: x\ninstall: y\nchapters:\n"
    '  "90": {slug: a, points: 1}'])
def test_a_bad_outline_is_named(course, text):
    (course / "solutions" / "course.yml").write_text(text)
    with pytest.raises(ValueError, match=r"course\.yml (needs|should)"):
        notebook_files.load_outline(course)


def swap(number: int, old: str, new: str):
    def change(cells):
        assert old in cells[number]["source"]
        cells[number]["source"] = cells[number]["source"].replace(old, new)
    return change


def tag(number: int, *tags: str):
    return lambda cells: cells[number]["metadata"].update(tags=[*tags])


@pytest.mark.parametrize(("change", "cell", "words"), [
    (swap(2, "    ### END SOLUTION", "    pass"), 3, "has no ### END SOLUTION"),
    (swap(2, "    ### BEGIN SOLUTION\n", ""), 3, "has no ### BEGIN SOLUTION"),
    (swap(2, "    return", "    ### BEGIN SOLUTION\n    return"), 3, "nested"),
    (swap(4, "### END HIDDEN TESTS", "### END SOLUTION"), 5, "has no ### BEGIN SOLUTION"),
    (swap(2, "### BEGIN SOLUTION", "## BEGIN SOLUTION"), 3, "nearly a marker"),
    (swap(2, "### BEGIN SOLUTION", "### begin solution"), 3, "nearly a marker"),
    (swap(2, "### BEGIN SOLUTION", "### BEGIN SOLUTION here"), 3, "nearly a marker"),
    (swap(0, "# Doubling", "### BEGIN SOLUTION\n### END SOLUTION"), 1, "no code cell"),
    (swap(1, "ch =", "### BEGIN SOLUTION\n### END SOLUTION\nch ="), 2, "needs a cell tagged"),
    (swap(2, "SOLUTION", "HIDDEN TESTS"), 3, "needs a cell tagged check"),
    (lambda c: c[2].update(source="def double(x):\n    pass"), 3, "has no SOLUTION region"),
    (swap(2, "def double", "def twice"), 3, "must define double"),
    (swap(2, "    ### BEGIN", "### BEGIN"), 3, "inside the function's body"),
    (swap(2, "def double(x):", "def double(x:"), 3, "is not Python"),
    (swap(2, 'def double(x):\n    """Twice x."""\n    ### BEGIN SOLUTION',
          '    ### BEGIN SOLUTION\ndef double(x):'), 3, "is not Python"),
    (swap(4, "# c90-double\n", ""), 5, "does not name it"),
    (lambda c: c.insert(5, c[4]), 6, "points count once"),
    (lambda c: c.insert(3, c[2]), 4, "has an exercise cell above already"),
    (lambda c: c.insert(2, c.pop(4)), 3, "no cell above is that exercise"),
    (tag(2, "exercise", "ex:c90-duble"), 3, "no exercise 'c90-duble'"),
    (tag(0, "ex:c91-gone"), 1, "no exercise 'c91-gone'"),
    (tag(2, "exercise"), 3, "needs a tag ex:ID"),
    (tag(2, "exercise", "ex:c90-guess"), 3, "is a question"),
    (tag(2, "exercise", "ex:c90-double", "ex:c90-halve"), 3, "more than one exercise"),
    (tag(2, "exercise", "instructor", "ex:c90-double"), 3, "cannot be both"),
    (tag(6, "instuctor"), 7, "unknown tag 'instuctor'"),
    (lambda c: c[3].update(code("pass", "hint", "ex:c90-double")), 4, "must be a Markdown cell"),
    (lambda c: c[4].update(prose("c90-double", "check", "ex:c90-double")), 5,
     "must be a code cell")])
def test_every_fault_is_named_with_its_cell(change, cell, words):
    found = validation.validate_solution(tampered(change), "solutions/90_tiny.ipynb")
    hits = [s for s in found if words in s]
    assert hits and hits[0].startswith(f"solutions/90_tiny.ipynb, cell {cell}: "), found
    assert hits[0].endswith(".") and not hits[0].endswith("..")
    with pytest.raises(ValueError, match=r"cell \d+: "):
        builder.student_edition(tampered(change))


def test_a_right_solution_has_no_faults():
    assert validation.validate_solution(tiny(), "x") == []


# Leaks


def leaks_of(solution: dict, edition: dict) -> list[str]:
    return validation.find_leaks(
        validation.hidden_lines(solution, "90_tiny.ipynb"), edition, solution, "it"
    )


@pytest.mark.parametrize("secret", [
    "    twice_the_value  =  x + x", "assert double(-3.5) == -7.0, \"secret\"",
    "The usual mistake is x squared.", "print('for instructors only')",
    "choice = 1  # because it is so"])
def test_no_secret_may_stand_anywhere(secret):
    solution, edition = tiny(), builder.student_edition(tiny())
    assert leaks_of(solution, edition) == []
    for spoilt in (notebook(prose(f"see:\n  {secret}!")),
                   notebook(code("x") | {"outputs": [{"data": {"text/plain": ["a\n", secret]}}]}),
                   notebook(code("x") | {"metadata": {secret: 1}})):
        leaks = leaks_of(solution, spoilt)
        assert len(leaks) == 1 and leaks[0].startswith("it would tell ")
        assert "solutions/90_tiny.ipynb, cell " in leaks[0]


def test_what_stands_openly_is_no_leak():
    solution = tiny()
    solution["cells"].append(code("if True:\n  twice_the_value = x + x"))
    assert leaks_of(solution, builder.student_edition(solution)) == []


def test_short_lines_are_no_leak():
    solution = notebook(*exercise("double", "return x + x"))
    assert leaks_of(solution, notebook(code("return x + x"))) == []


def test_build_refuses_to_leak(course, monkeypatch):
    monkeypatch.setattr(builder, "strip_regions", lambda source, stub: source)
    with pytest.raises(ValueError, match="would tell 'twice_the_value = x \\+ x'"):
        builder.build(course)
    assert not list((course / "notebooks").iterdir())


# Lint


def chapter() -> dict:
    """A solution that keeps to the template: 45 cells, four exercises."""
    cells = [prose("# A chapter"), code('from minidiff import course\nch = course.start("90")')]
    for name in ("double", "triple", "halve", "negate"):
        cells += exercise(name)
    cells += [prose(f"Part {i}: $x_t = \\alpha_t x_0$ costs \\$5, `$HOME`.") for i in range(31)]
    return notebook(*cells)


def linted(folder, solution: dict, points: int = 12) -> list[str]:
    return lint.lint(make_course(folder, solution, points=points))


def test_a_good_chapter_passes(tmp_path):
    solution = chapter()
    solution["cells"].append(prose("word " * 9000, "instructor"))            # is not counted
    assert linted(tmp_path, solution) == []


def say(text: str):
    return lambda cells: cells[20].update(prose(text))


def write(source: str):
    return lambda cells: cells[20].update(code(source))


def show(**output):
    shown = {"output_type": "display_data"} | output
    return lambda cells: cells[20].update(code("x") | {"outputs": [shown]})


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c.pop(), "has 44 cells"), (lambda c: c.extend([prose("x")] * 16), "has 61 cells"),
    (lambda c: [c[i].update(prose("word " * 149)) for i in range(14, 34)], "words of prose"),
    (say("word " * 151), "cell 21: 151 words are too many"),
    (write("x = 1\n" * 330), "lines of code"),
    (lambda c: c.__setitem__(slice(2, 5), [prose("x")] * 3), "has 3 exercises"),
    (lambda c: c[3]["metadata"].update(tags=[]), "c90-double in cell 3 without its hint"),
    (lambda c: c.insert(4, prose("between")), "c90-double in cell 3 without its check"),
    (lambda c: c.__setitem__(1, code("pass")), "has 0 cells with course.start"),
    (lambda c: c.__setitem__(20, c[1]), "has 2 cells with course.start"),
    (lambda c: c.__setitem__(1, code('course.start("91")')), 'begin with course.start("90")'),
    (say("see ![](x.png)"), "no alt text"), (say("<img src='x.png' alt=''>"), "no alt text"),
    (show(data={"text/html": ["<p><img ", "src='data:x'></p>"]}), "no alt text"),
    (say(r"$x_t + y$"), "y in $x_t + y$ is not in the notation ledger"),
    (say("$$\n\\xi\n$$"), r"\xi in $\xi$ is not in the notation ledger"),
    (say(r"$x_t"), "no partner"), (say(r"$$x_t$"), "no partner"), (say(r"$\frac{x_t$"), "pair"),
    (say(r"$\left( x_t )$"), r"\left and \right"), (say(r"$\begin{a} x_t$"), r"\begin and \end"),
    (write("%pip install x"), "nothing is installed"), (write("!pip install x"), "nothing is"),
    (write("open('/home/me/x.txt')"), "/home/me/x.txt is a path of one machine"),
    (write(r"open('C:\\Users\\me')"), "path of one machine"), (say("in /tmp/x"), "path of one"),
    (show(data={"text/plain": "saved /root/x.gif"}), "stored output tells a path of a machine"),
    (show(output_type="stream", name="stdout", text=["/tmp/ab\n"]), "path of a machine, /tmp/ab"),
    (show(output_type="error", ename="KeyError", evalue="", traceback=[]), "error, KeyError"),
    (show(data={"image/png": "A" * 700_000}), "KB with its outputs")])
def test_every_rule_of_the_template(tmp_path, change, words):
    solution = chapter()
    change(solution["cells"])
    found = linted(tmp_path, solution)
    assert any(words in s for s in found), found
    assert all(s.startswith("solutions/90_tiny.ipynb") and s.endswith(".") for s in found)


@pytest.mark.parametrize("change", [
    say('<img src="x" alt="a three">'), say("![a three](x.png)"),
    say("`$` and\n```\n$y\n```\nmore"),
    say(r"$\left\{ x_t \right\}, \{ t \}, \leftarrow$"), write("x = a / home / b"),
    write("y = 'https://example.org/home/x'"), say("one\\\ntwo"), write("s = f'{a}:\\n{b}'"),
    show(data={"text/html": '<img alt="x" src="data:image/png;base64,ab+/tmp/abc/x=">'}),
    say("## " + "heading " * 200), say("[" + "x](" + "long/" * 200 + ")"),
    write("# only a comment\n" * 400)])
def test_what_is_no_fault(tmp_path, change):
    solution = chapter()
    change(solution["cells"])
    assert linted(tmp_path, solution) == []


def test_chapter_00_is_short_and_has_two_exercises():
    cells = notebook(code('course.start("00")'), *exercise("double"), *exercise("triple"))
    assert list(lint.lint_notebook(cells, "00")) == []
    fewer = notebook(code('course.start("00")'), *exercise("double"))
    assert any("has 1 exercises; 2 are" in f for f in lint.lint_notebook(fewer, "00"))


def test_points_shown_are_those_given(tmp_path):
    assert any("gives 12 points" in s and "shows 7" in s for s in linted(tmp_path, chapter(), 7))


def test_a_chapter_that_is_not_there(tmp_path):
    make_course(tmp_path, chapter(), tiny(), points=12)
    (tmp_path / "solutions" / "91_tiny.ipynb").unlink()
    found = lint.lint(tmp_path)
    assert found == ["solutions/course.yml lists solutions/91_tiny.ipynb, which is not there."]


def test_what_cannot_be_built_is_said_first(tmp_path):
    found = linted(tmp_path, tampered(swap(2, "### END SOLUTION", "### END")))
    assert found == ["solutions/90_tiny.ipynb, cell 3: ### BEGIN SOLUTION on line 6 has no "
                     "### END SOLUTION."]


# Execute


def test_solutions_are_chosen_by_number_or_name(course):
    for name in ("90", "90_tiny", "90_tiny.ipynb", "solutions/90_tiny.ipynb"):
        assert [p.name for p in select_solutions(course, [name])] == ["90_tiny.ipynb"]
    with pytest.raises(ValueError, match="there are 90_tiny"):
        select_solutions(course, ["9"])


def png(colours: int) -> str:
    """A picture of so many colours, as a notebook stores it."""
    picture, out = Image.new("RGB", (256, 64)), io.BytesIO()
    picture.putdata([(k % colours, 0, 0) for k in range(256 * 64)])
    picture.save(out, "PNG", compress_level=0)
    return b64encode(out.getvalue()).decode()


def test_what_is_kept_of_outputs():
    big, still = "x" * (MAX_OUTPUT_BYTES + 1), png(4)
    cell = code("x") | {"outputs": [
        {"output_type": "stream", "name": "stderr", "text": ["warning"]},
        {"output_type": "stream", "name": "stdout", "text": ["kept"]},
        {"output_type": "display_data", "metadata": {}, "data": {WIDGET: {"model_id": "1"}}},
        {"output_type": "display_data", "metadata": {}, "data": {
            "text/html": [big], "image/png": still, "image/jpeg": "/9j/",
            "text/plain": ["<Clip>"]}},
        {"output_type": "stream", "name": "stdout", "text": [big]}]}
    large = clean_outputs(cell)
    assert [kind for kind, _ in large] == ["text/html", "text"]
    kept, shown = (o.get("text") or o["data"] for o in cell["outputs"])
    assert kept == ["kept"] and set(shown) == {"image/png", "text/plain"}
    before, after = (Image.open(io.BytesIO(b64decode(p))) for p in (still, shown["image/png"]))
    assert after.mode == "P" and len(shown["image/png"]) < len(still) / 4
    assert after.convert("RGB").tobytes() == before.tobytes()            # few colours: all kept


def test_a_solution_is_run_strict_in_a_home_of_its_own(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.setenv("MINIDIFF_HOME", "mine")
    show = ("import os, sys\nprint(os.environ['MINIDIFF_STRICT'], os.environ['MINIDIFF_PROFILE'],\n"
            "      os.path.basename(os.getcwd()), os.environ['MINIDIFF_HOME'] != 'mine',\n"
            "      os.path.isdir(os.environ['MINIDIFF_HOME']))\nprint('noise', file=sys.stderr)")
    make_course(tmp_path, notebook(prose("# One"), code(show), code("1 + 1")))
    ran = list(execute(tmp_path, [], "smoke"))
    path = tmp_path / "solutions" / "90_tiny.ipynb"
    made = notebook_files.read_notebook(path)
    outputs = [c["outputs"] for c in made["cells"][1:]]
    assert outputs[0] == [{"name": "stdout", "output_type": "stream",
                           "text": ["1 smoke solutions True True\n"]}]
    assert outputs[1][0]["data"]["text/plain"] == ["2"]
    assert [c["execution_count"] for c in made["cells"][1:]] == [1, 2]
    assert ran[0].size == path.stat().st_size and ran[0].dropped == []
    assert path.read_bytes() == notebook_files.dump_notebook(builder.normalise_solution(made))
    list(execute(tmp_path, [], "smoke", tmp_path / "kept"))              # and one that is to stay
    assert "True False" in str(notebook_files.read_notebook(path)["cells"][1]["outputs"])


def test_a_solution_is_run_as_if_its_questions_were_new(tmp_path):
    pytest.importorskip("nbclient")
    home = tmp_path / "kept"
    facts = {"c90-choice": {"choice": 2}, "c89-choice": {"choice": 1}}
    saved_work.write_saved_work({"functions": {"c90-f": {}, "c89-f": {}}, "facts": facts}, home)
    make_course(tmp_path, notebook(prose("# One"), code("1 + 1")))
    list(execute(tmp_path, [], "smoke", home))
    assert saved_work.load_saved_work(home) == {"functions": {"c90-f": {}, "c89-f": {}},
                                "facts": {"c89-choice": {"choice": 1}}}


def test_a_failing_solution_is_left_as_it_was(tmp_path):
    pytest.importorskip("nbclient")
    make_course(tmp_path, notebook(prose("# One"), code("1 + 1"), code("{}['lost']")))
    before = (tmp_path / "solutions" / "90_tiny.ipynb").read_bytes()
    with pytest.raises(RuntimeError, match=r"solutions/90_tiny.ipynb, cell 3: KeyError: 'lost'"):
        list(execute(tmp_path, ["90"]))
    assert (tmp_path / "solutions" / "90_tiny.ipynb").read_bytes() == before


# Release


def test_a_release_is_nbgraders_source_tree(course, tmp_path):
    folder = tmp_path / "handed-out"
    write_release(course, folder)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "README.md", "nbgrader_config.py", "source/header.ipynb", "source/90_tiny/90_tiny.ipynb"}
    made = (folder / "source" / "90_tiny" / "90_tiny.ipynb").read_text()
    assert "### BEGIN SOLUTION" in made and "### BEGIN HIDDEN TESTS" in made
    assert "| 90_tiny | 3 | 5 | never |" in (folder / "README.md").read_text()
    compile((folder / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")
    with pytest.raises(FileExistsError, match="not empty"):
        write_release(course, folder)


def test_a_faulty_course_is_not_released(course, tmp_path):
    path = course / "solutions" / "90_tiny.ipynb"
    path.write_text(json.dumps(tampered(swap(2, "def double", "def twice"))))
    with pytest.raises(ValueError, match="must define double"):
        write_release(course, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_round_trip_with_nbgrader(tmp_path):
    """Generate, hand in right and wrong, autograde, feedback, export: the grades are right."""
    pytest.importorskip("nbgrader")
    folder = tmp_path / "out"
    solution = tampered(lambda c: c.pop(1))                               # no torch in each kernel
    write_release(make_course(tmp_path, solution), folder)
    source = folder / "release" / "90_tiny" / "90_tiny.ipynb"
    config = (folder / "nbgrader_config.py").read_text()
    (folder / "nbgrader_config.py").write_text(config.replace("900", "60"))

    def nbgrader(*args):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "HOME": str(tmp_path),
                            "PATH": path}                                  # has nbgrader's alembic
        done = subprocess.run([sys.executable, "-m", "nbgrader", *args], cwd=folder, env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    nbgrader("generate_assignment", "90_tiny")
    released = source.read_text()
    assert "twice_the_value" not in released and "-3.5" not in released
    assert "hand this in" in released                                     # the header
    answers = dict(right="return 2 * x", wrong="return x * x",            # fails hidden tests only
                   nothing='raise NotImplementedError("YOUR CODE HERE")')
    for student, answer in answers.items():
        handed = json.loads(released)
        cell = next(c for c in handed["cells"] if "exercise" in c["metadata"].get("tags", []))
        text = "".join(cell["source"])
        stub = 'raise NotImplementedError("YOUR CODE HERE")'
        assert text.count(stub) == 1
        cell["source"] = text.replace(stub, answer)
        path = folder / "submitted" / student / "90_tiny" / "90_tiny.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(handed))
    nbgrader("autograde", "90_tiny")
    nbgrader("generate_feedback", "90_tiny")
    nbgrader("export")
    head, *rows = [line.split(",") for line in (folder / "grades.csv").read_text().splitlines()]
    scores = {row[head.index("student_id")]: float(row[head.index("score")]) for row in rows}
    assert scores == {"right": 3, "wrong": 0, "nothing": 0}
    assert {float(row[head.index("max_score")]) for row in rows} == {3}
    assert len(list((folder / "feedback").rglob("*.html"))) == 3


# The command line


def test_build_check_and_lint_as_commands(course, monkeypatch, capsys):
    monkeypatch.chdir(course / "notebooks")                                # the root is found above
    assert main(["check"]) == 1
    assert "is missing: run python -m minidiff.course build." in capsys.readouterr().err
    assert main(["build"]) == 0 and "2 of 2 notebooks changed" in capsys.readouterr().out
    assert main(["check"]) == 0
    assert main(["lint"]) == 1
    assert "solutions/90_tiny.ipynb has 6 cells" in capsys.readouterr().err
    assert main(["release", "--nbgrader", str(course / "out")]) == 0
    assert main(["release", "--nbgrader", str(course / "out")]) == 1
    err = capsys.readouterr().err
    assert "not empty" in err and "Traceback" not in err


def test_outside_the_course(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["build"]) == 1 and "go to the folder of the course" in capsys.readouterr().err


def test_the_root_is_the_nearest_course(course):
    deep = course / "notebooks" / "a" / "b"
    deep.mkdir(parents=True)
    assert find_root(deep) == course.resolve()


@pytest.mark.parametrize("args", [[], ["paint"], ["release"], ["grade"],
                                  ["execute", "--profile", "huge"]])
def test_wrong_usage_is_exit_code_2(args):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2


def test_grading_a_notebook_that_is_not_there(course, capsys):
    pytest.importorskip("minidiff.course.grading.grader")
    assert main(["grade", "lost.ipynb"]) == 1
    assert "no notebook lost.ipynb" in capsys.readouterr().err


def test_progress_is_found_beside_the_notebooks(course, monkeypatch, capsys):
    from minidiff.course.student import saved_work, session
    monkeypatch.delenv("MINIDIFF_HOME", raising=False)
    monkeypatch.setattr(session, "progress", lambda: saved_work.saved_work_folder())
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert main(["progress"]) == 0
    assert capsys.readouterr().out.strip() == str(course.resolve() / "notebooks" / ".minidiff")
