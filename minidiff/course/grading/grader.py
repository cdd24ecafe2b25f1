"""Grades: points and a diagnosis for each exercise of each notebook, and what a class gets wrong.

A notebook is read and its functions are observed in another process (`sandbox`); what came is
judged here, where the answers are. Nothing in a notebook stops the others from being graded.
"""
import inspect
import time
from collections.abc import Iterable
from pathlib import Path

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise, Question
from minidiff.course.checking.observation import Observation
from minidiff.course.checking.verdict import Verdict, judge
from minidiff.course.grading import cells, submission
from minidiff.course.grading.limits import Limits
from minidiff.course.grading.results import printable
from minidiff.course.grading.sandbox import Sandbox, Task, open_sandbox
from minidiff.course.grading.submission import Submission, dependencies
from minidiff.course.grading.tables import (
    Grade,
    file_name,
    grades_text,
    histogram,
    print_text,
    write_grades,
)
from minidiff.course.student import questions

DEFAULT_IMPORTS = ("import math", "import torch", "import torch.nn.functional as F",
                   "from torch import nn", "from torch import Tensor")   # if theirs were deleted
ANSWERS_PACKAGE = "minidiff.course.answers"


def grade(paths: Iterable[Path], out: Path | None = None, limits: Limits | None = None,
          isolation: str | None = None) -> list[Grade]:
    """Grade notebooks: a table on the screen and, in the folder `out`, three files.

    grades.csv and grades.json have a row for each exercise, mistakes.csv the class histogram. They
    are whole after each notebook. isolation: "bwrap", "none", or None for bubblewrap if it works
    here. Raises OSError if `out` cannot be written, RuntimeError if no process can be started to
    grade in or bubblewrap is asked for and does not work.
    """
    out = None if out is None else Path(out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    grades: list[Grade] = []
    with open_sandbox(limits or Limits(), isolation) as sandbox:
        if sandbox.warning:
            print_text(f"Graded without bubblewrap ({sandbox.warning}): the notebooks' code runs "
                       "with your rights. Grade untrusted notebooks in a container.\n")
        for path in dict.fromkeys(map(Path, paths)):
            own = grade_notebook(path, sandbox)
            print_text(grades_text(own))
            grades += own
            if out is not None:
                write_grades(grades, out)
    print_text(histogram(grades))
    return grades


def grade_notebook(path: Path, sandbox: Sandbox) -> list[Grade]:
    """A notebook's grades, in its chapters' order."""
    name = file_name(path)
    try:
        found = sandbox.read_submission(path)
    except ValueError as e:
        return [Grade(name, "", 0, 0, "unreadable", printable(f"{name}: {e}", 1000))]
    verdicts = exercise_verdicts(found, sandbox)
    rows = []
    for task in (t for c in found.chapters
                 for t in exercises.exercises_of(c) + exercises.questions_of(c)):
        v = verdicts[task.id] if isinstance(task, Exercise) else question_verdict(task, found)
        rows.append(Grade(name, task.id, v.points, task.points, v.status,
                          printable(v.message, 1000), v.hint, v.mistake))
    return rows


# Exercises


def exercise_verdicts(found: Submission, sandbox: Sandbox) -> dict[str, Verdict]:
    """The verdicts on a notebook's functions. Each is observed alone, with what it needs.

    One that fails and calls another exercise's that fails, too, or one of an earlier chapter, is
    tried again with the right one in that place, as `course.pick` does in the notebook.
    """
    end = time.monotonic() + sandbox.limits.notebook
    tasks = {e.id: e for c in found.chapters for e in exercises.exercises_of(c)}
    defined, stubs = defined_names(found), {i.name for i in found.definitions if i.stub}

    def tried(e: Exercise, substitutes: dict[str, str]) -> Verdict:
        return observed_verdict(e, found, sandbox, end, substitutes)
    verdicts = {id: tried(e, {}) if e.entry in defined else missing_verdict(e, found)
                for id, e in tasks.items()}
    passed = {id for id, v in verdicts.items() if v.status == "passed"}
    for id, e in tasks.items():
        if id in passed or e.entry not in defined - stubs:
            continue
        if stands := substitutes_for(found, e, passed):
            v = tried(e, stands)
            verdicts[id] = v._replace(message=f"{v.message} (Tried with the right "
                                      f"{' and '.join(stands)}.)")
    return verdicts


def observed_verdict(exercise: Exercise, found: Submission, sandbox: Sandbox, end: float,
                     substitutes: dict[str, str]) -> Verdict:
    """The verdict on a function that is tried with the right answers to other exercises.

    substitutes: names in the notebook and the exercises whose right answers stand there.
    """
    if (left := end - time.monotonic()) <= 0:
        return Verdict(exercise.id, "failed", "Time is up: all of the notebook together had "
                       f"{sandbox.limits.notebook:g} s.")
    stands = {name: reference_source(other) for name, other in substitutes.items()}
    task = Task(exercise.id, exercise.entry, needed_sources(found, exercise.entry),
                found.unavailable, stands)
    return exercise_verdict(exercise, sandbox.observe(task, left))


def defined_names(found: Submission) -> set[str]:
    """The names of a notebook's functions, whether or not they are its own."""
    return {i.name for i in found.definitions if i.kind != "value"
            and not (i.stub and i.name in found.syntax_errors)
            and not (i.kind == "import" and i.name in found.misplaced)}


def needed_sources(found: Submission, entry: str) -> list[str]:
    """The imports, and the definitions that a function needs."""
    needed = dependencies(found.definitions, entry) | {entry}
    return default_imports(found) + [i.source for i in found.definitions
                                     if i.kind == "import" or i.name in needed]


def exercise_verdict(exercise: Exercise, observations: list[Observation] | str) -> Verdict:
    """The verdict on what came of an exercise, whatever it is."""
    if isinstance(observations, str):
        return Verdict(exercise.id, "failed", observations)
    stopped = observations[-1].kind in ("unwritten", "too long")
    if not stopped and len(observations) != len(exercise.cases()):
        return Verdict(exercise.id, "failed", "Not all inputs were tried.")
    try:
        return judge(observations, exercise, answers.find(exercise.id))
    except Exception as e:             # a student's values: the others are graded all the same
        return Verdict(exercise.id, "failed", "What it returns cannot be compared with what is "
                       f"right ({type(e).__name__}).")


def missing_verdict(exercise: Exercise, found: Submission) -> Verdict:
    """The verdict on a function that is not in the notebook, or not where it runs, or no Python."""
    name = exercise.entry
    if name in found.syntax_errors:
        return Verdict(exercise.id, "failed",
                       f"{name} is not valid Python: {found.syntax_errors[name]}.")
    if name in found.misplaced:
        return Verdict(exercise.id, "failed", found.misplaced[name])
    return Verdict(exercise.id, "not attempted", f"The notebook has no function {name}.")


def default_imports(found: Submission) -> list[str]:
    """The imports that a chapter's functions need; the notebook's own come after them."""
    items = [i for c in found.chapters for i in module_definitions(answers.answer_module(f"c{c}-"))]
    return [*DEFAULT_IMPORTS, *(i.source for i in items if i.kind == "import"
                                and ANSWERS_PACKAGE not in i.source)]


# The right function in another one's place


def substitutes_for(found: Submission, exercise: Exercise, passed: set[str]) -> dict[str, str]:
    """The names that a function needs whose exercises do not pass here, and those exercises.

    None that needs the function's own right answer, which would come with it.
    """
    entries = {e.entry: e.id for c in [*exercises.chapters(), *found.chapters]
               for e in exercises.exercises_of(c)}              # a name's own chapter goes first
    known = {id: name for name, id in entries.items()}
    behind = entries | {n: id for n, id in found.picked_exercises.items() if id in known}
    other = {i.name for i in found.definitions if i.kind != "function"}  # imports and constants
    names = sorted(dependencies(found.definitions, exercise.entry) - other)
    _, own = reference_source(exercise.id)
    return {n: behind[n] for n in names if n in behind and behind[n] not in passed | {exercise.id}
            and own[-1] not in reference_source(behind[n])[1]}


def reference_source(id: str) -> tuple[str, list[str]]:
    """A reference's name and the sources that define it."""
    f = answers.find(id).reference
    return f.__name__, answer_sources(inspect.getmodule(f), f.__name__)


def answer_sources(module, name: str) -> list[str]:
    """A name's definition in a module of answers, after all that it needs."""
    if not module.__name__.startswith(ANSWERS_PACKAGE):
        return [f"from {module.__name__} import {name}"]
    items, found = module_definitions(module), []
    wanted = dependencies(items, name) | {name}
    for item in sorted((i for i in items if i.name in wanted), key=lambda i: i.name == name):
        if item.kind == "import" and ANSWERS_PACKAGE in item.source:
            there = inspect.getmodule(getattr(module, item.name))
            found += answer_sources(there, item.name)
        else:
            found.append(item.source)
    return found


def module_definitions(module) -> list[submission.Definition]:
    """What a module of answers defines, its imports and its constants."""
    trees, _ = cells.parse_cells([inspect.getsource(module)])
    return submission.collect_definitions(trees)[0]


# Questions


def question_verdict(question: Question, found: Submission) -> Verdict:
    """A bug hunt's verdict. A prediction is only answered."""
    choice = found.choices.get(question.id)
    try:
        if choice == submission.NOT_A_LITERAL:
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
