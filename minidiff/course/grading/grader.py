"""Grades: points and a diagnosis for each exercise of each notebook, and what a class gets wrong.

A notebook is read (`submission`), its functions are observed in another process (`child`), and what
came is judged here, beside the answers. Nothing in a notebook stops the others from being graded.
"""
import csv
import inspect
import io
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise, Question
from minidiff.course.checking.observation import Observation
from minidiff.course.checking.verdict import Verdict, judge
from minidiff.course.grading import submission
from minidiff.course.grading.isolated_process import Job, Limits, observe_in_subprocess, printable
from minidiff.course.grading.submission import Submission, dependencies
from minidiff.course.student import questions
from minidiff.runtime import files

DEFAULT_IMPORTS = ("import math", "import torch", "import torch.nn.functional as F", "from torch import nn",
         "from torch import Tensor")                          # should the cell with them be deleted
ANSWERS_PACKAGE = "minidiff.course.answers"


class Grade(NamedTuple):
    """One exercise or question of one notebook; one row for a notebook that cannot be read.

    status: a verdict's, or "answered" (a prediction, which gives no points) or "unreadable".
    wrong: the known mistake's name. hint: the hint (1 to 3) that helps.
    """
    notebook: str
    id: str
    points: int
    max_points: int
    status: str
    diagnosis: str
    hint: int | None = None
    mistake: str | None = None


def grade(paths: Iterable[Path], out: Path | None = None,
          limits: Limits | None = None) -> list[Grade]:
    """Grade notebooks: a table on the screen and, in the folder `out`, three files.

    grades.csv and grades.json have a row for each exercise, mistakes.csv the class histogram. They
    are whole after each notebook. Raises OSError if `out` cannot be written, RuntimeError if no
    process can be started to grade in.
    """
    out = None if out is None else Path(out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    grades: list[Grade] = []
    for path in dict.fromkeys(map(Path, paths)):
        own = grade_notebook(path, limits or Limits())
        print_text(grades_text(own))
        grades += own
        if out is not None:
            write_grades(grades, out)
    print_text(histogram(grades))
    return grades


def grade_notebook(path: Path, limits: Limits) -> list[Grade]:
    """A notebook's grades, in its chapters' order."""
    try:
        found = submission.read_submission(path)
    except ValueError as e:
        return [Grade(path.as_posix(), "", 0, 0, "unreadable", str(e))]
    verdicts = exercise_verdicts(found, limits)
    rows = []
    for task in (t for c in found.chapters
                 for t in exercises.exercises_of(c) + exercises.questions_of(c)):
        v = verdicts[task.id] if isinstance(task, Exercise) else question_verdict(task, found)
        rows.append(Grade(path.as_posix(), task.id, v.points, task.points, v.status, v.message,
                          v.hint, v.mistake))
    return rows


# Exercises


def exercise_verdicts(found: Submission, limits: Limits) -> dict[str, Verdict]:
    """The verdicts on a notebook's functions.

    One that fails and calls another exercise's that fails, too, or one of an earlier chapter, is
    tried again with the right one in that place, as `course.pick` does in the notebook. It is tried
    alone, and the other one has its verdict by then.
    """
    tasks = {e.id: e for c in found.chapters for e in exercises.exercises_of(c)}
    defined = {i.name for i in found.definitions if i.kind != "value"
               and not (i.stub and i.name in found.syntax_errors)}
    there = {id: e.entry for id, e in tasks.items() if e.entry in defined}
    job = Job(default_imports(found) + [i.source for i in found.definitions], there, found.unavailable)
    seen = observe_in_subprocess(job, limits) if there else {}
    verdicts = {id: exercise_verdict(e, seen[id]) if id in there else missing_verdict(e, found)
                for id, e in tasks.items()}
    passed = {id for id, v in verdicts.items() if v.status == "passed"}
    if all(isinstance(s, str) for s in seen.values()):        # nothing of it even starts
        return verdicts
    for id in there.keys() - passed - untouched_exercises(found, tasks):
        if not (stands := substitutes_for(found, tasks[id], passed)):
            continue
        again = job._replace(entries={id: there[id]},
                             substitutes={n: reference_source(other) for n, other in stands.items()})
        v = exercise_verdict(tasks[id], observe_in_subprocess(again, limits)[id])
        verdicts[id] = v._replace(message=f"{v.message} (Tried with the right "
                                  f"{' and '.join(stands)}.)")
    return verdicts


def exercise_verdict(exercise: Exercise, observations: list[Observation] | str) -> Verdict:
    """The verdict on what came of an exercise, whatever it is."""
    if isinstance(observations, str):
        return Verdict(exercise.id, "failed", observations)
    stopped = observations[-1].kind in ("unwritten", "too long")
    if not stopped and len(observations) != len(exercise.cases()):
        return Verdict(exercise.id, "failed", "Not all inputs were tried.")
    try:
        v = judge(observations, exercise, answers.find(exercise.id))
        return v._replace(message=printable(v.message, 1000))
    except Exception as e:             # a student's values: the others are graded all the same
        return Verdict(exercise.id, "failed", "What it returns cannot be compared with what is "
                       f"right ({type(e).__name__}).")


def missing_verdict(exercise: Exercise, found: Submission) -> Verdict:
    """The verdict on a function that is not in the notebook, or does not parse."""
    if exercise.entry in found.syntax_errors:
        return Verdict(exercise.id, "failed", f"{exercise.entry} is no Python: "
                       f"{found.syntax_errors[exercise.entry]}.")
    return Verdict(exercise.id, "not attempted", f"The notebook has no function {exercise.entry}.")


def untouched_exercises(found: Submission, tasks: dict[str, Exercise]) -> set[str]:
    """The exercises whose functions are untouched."""
    names = {i.name for i in found.definitions if i.stub}
    return {id for id, e in tasks.items() if e.entry in names}


def default_imports(found: Submission) -> list[str]:
    """The imports that a chapter's functions need; the notebook's own come after them."""
    items = [i for c in found.chapters for i in module_definitions(answers.answer_module(f"c{c}-"))]
    return [*DEFAULT_IMPORTS, *(i.source for i in items if i.kind == "import" and ANSWERS_PACKAGE not in i.source)]


# The right function in another one's place


def substitutes_for(found: Submission, exercise: Exercise, passed: set[str]) -> dict[str, str]:
    """The names that a function needs whose exercises do not pass here, and those exercises."""
    entries = {e.entry: e.id for c in [*exercises.chapters(), *found.chapters]
               for e in exercises.exercises_of(c)}                  # a name's own chapter goes first
    known = {id: name for name, id in entries.items()}
    behind = entries | {n: id for n, id in found.picked_exercises.items() if id in known}
    other = {i.name for i in found.definitions if i.kind != "function"}         # imported, or a constant
    return {n: behind[n] for n in sorted(dependencies(found.definitions, exercise.entry) - other)
            if n in behind and behind[n] not in passed | {exercise.id}}


def reference_source(id: str) -> tuple[str, list[str]]:
    """A reference's name and the sources that define it."""
    f = answers.find(id).reference
    return f.__name__, answer_sources(inspect.getmodule(f), f.__name__)


def answer_sources(module, name: str) -> list[str]:
    """A name's definition in a module of answers, and all that it needs."""
    if not module.__name__.startswith(ANSWERS_PACKAGE):
        return [f"from {module.__name__} import {name}"]
    items, found = module_definitions(module), []
    wanted = dependencies(items, name) | {name}
    for item in (i for i in items if i.name in wanted):
        if item.kind == "import" and ANSWERS_PACKAGE in item.source:
            there = inspect.getmodule(getattr(module, item.name))
            found += answer_sources(there, item.name)
        else:
            found.append(item.source)
    return found


def module_definitions(module) -> list[submission.Definition]:
    """What a module of answers defines, its imports and its constants."""
    trees, _ = submission.parse_cells([inspect.getsource(module)])
    return submission.collect_definitions(trees)[0]


# Questions


def question_verdict(question: Question, found: Submission) -> Verdict:
    """A bug hunt's verdict; a prediction is only said."""
    choice = found.choices.get(question.id)
    try:
        if choice is submission.NOT_A_LITERAL:
            raise ValueError(f"{question.id}: the choice is not written as a number; choice = 1, "
                             "for example.")
        if question.kind == "bughunt":
            return questions.bughunt_verdict(question, choice)
        choice = questions.validate_choice(question, choice)
    except ValueError as e:
        return Verdict(question.id, "failed", str(e))
    if choice is None:
        return Verdict(question.id, "not attempted", "No prediction.")
    right, _ = questions.choice_explanations(question)
    comes = "as it happens" if choice == right else \
        f"while {questions.quote_choice(question, right)} happens"
    return Verdict(question.id, "answered",
                   f"Predicted {questions.quote_choice(question, choice)}, {comes}.")


# What is shown and written


def grades_text(grades: list[Grade]) -> str:
    """One notebook's grades to read."""
    points, of = sum(g.points for g in grades), sum(g.max_points for g in grades)
    lines = [f"{grades[0].notebook}: {points} of {of} points"]
    for g in grades:
        if g.status == "unreadable":
            return f"{g.notebook}: not graded\n{wrap_indented(g.diagnosis, 4)}\n"
        lines.append(f"    {g.id:<20} {g.points:>2} of {g.max_points:<2}  {g.status}")
        if g.status in ("diagnosed", "failed"):
            lines.append(wrap_indented(g.diagnosis + (f" Hint {g.hint} helps." if g.hint else ""), 8))
    return "\n".join(lines) + "\n"


def wrap_indented(text: str, by: int) -> str:
    return textwrap.fill(text, 100, initial_indent=" " * by, subsequent_indent=" " * by)


def count_mistakes(grades: Iterable[Grade]) -> list[dict]:
    """The named mistakes and in how many notebooks each is, most common first."""
    count = Counter((g.id, g.mistake) for g in grades if g.mistake)
    says = {(g.id, g.mistake): g.diagnosis for g in reversed(list(grades))}
    return [{"id": id, "mistake": wrong, "notebooks": n, "diagnosis": says[id, wrong]}
            for (id, wrong), n in sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))]


def histogram(grades: list[Grade]) -> str:
    """What the class gets wrong, to read."""
    total, rows = len({g.notebook for g in grades}), count_mistakes(grades)
    head = f"{total} notebook{'s' * (total != 1)}. "
    if not rows:
        return head + "No named mistake in any."
    most = max(r["notebooks"] for r in rows)
    return "\n".join([head + "Named mistakes, most common first:", *(
        f"    {r['notebooks']:>4} {'#' * round(20 * r['notebooks'] / most):<20} {r['id']}: "
        f"{r['mistake']}" for r in rows)])


def print_text(text: str) -> None:
    """Print, on any terminal."""
    code = sys.stdout.encoding or "utf-8"
    print(text.encode(code, "replace").decode(code), flush=True)


def write_grades(grades: list[Grade], out: Path) -> None:
    """The three files, each whole or not there."""
    rows, wrong = [g._asdict() for g in grades], count_mistakes(grades)
    files.write_text(out / "grades.csv", csv_text(Grade._fields, rows))
    files.write_text(out / "mistakes.csv",
                     csv_text(("id", "mistake", "notebooks", "diagnosis"), wrong))
    files.write_text(out / "grades.json", json.dumps(
        {"grades": rows, "totals": totals(grades), "mistakes": wrong}, indent=1,
        ensure_ascii=False))


def totals(grades: Iterable[Grade]) -> list[dict]:
    """Each notebook's points."""
    points: dict[str, list[int]] = {}
    for g in grades:
        both = points.setdefault(g.notebook, [0, 0])
        both[0] += g.points
        both[1] += g.max_points
    return [{"notebook": n, "points": p, "of": of} for n, (p, of) in points.items()]


def csv_text(fields: Iterable[str], rows: Iterable[dict]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula gets a ' before it."""
    text = io.StringIO()
    table = csv.DictWriter(text, fields, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: "'" + v if isinstance(v, str) and v[:1] in tuple("=+-@") else v
                        for k, v in row.items()})
    return text.getvalue()
