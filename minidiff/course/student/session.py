"""The functions that a chapter calls: start, check, pick, progress."""
import functools
import html
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FunctionType, ModuleType, SimpleNamespace

import torch

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise
from minidiff.course.checking.verdict import CheckFailed, Verdict, check_function, strict_checks
from minidiff.course.student import saved_work
from minidiff.course.student.chapter_sizes import sizes
from minidiff.course.student.function_source import loaded_names
from minidiff.training import profiles
from minidiff.visual import figures

CHECKED_NOW: list[str] = []                       # the exercises whose check is running


class Chapter(SimpleNamespace):
    """The settings of a chapter: number, profile, device, seed, and `size`, its sizes by name."""

    def __repr__(self) -> str:
        threads = torch.get_num_threads()
        where = torch.cuda.get_device_name() if self.device == "cuda" else \
            f"{self.device}, {threads} thread{'s' * (threads > 1)}"
        return (f"Chapter {self.number}: profile {self.profile} on {where}, torch "
                f"{torch.__version__}, seed {self.seed}.")


def start(number: str) -> Chapter:
    """Begin a chapter: device, plot style, seed and sizes, the same for everyone in a profile.

    Raises ValueError that names the chapters.
    """
    name = profiles.get_profile().name
    figures.matplotlib.rcParams.update(figures.STYLE)
    torch.manual_seed(0)
    return Chapter(number=number, profile=name, seed=0, size=SimpleNamespace(**sizes(number, name)),
                   device="cuda" if torch.cuda.is_available() else "cpu")


def check(id: str, f: Callable) -> Verdict:
    """Try a function on an exercise's inputs and keep it if it passes. The verdict shows itself.

    If checks are strict, any other verdict than "passed" raises CheckFailed. Raises ValueError for
    an unknown id.
    """
    verdict = check_and_keep(id, f)
    if verdict.status != "passed" and strict_checks():
        raise CheckFailed(repr(verdict))
    return verdict


def pick(id: str, f: Callable | None = None) -> Callable:
    """Your function if it passes, else the reference with a banner.

    f: your function; the one that was kept when it passed, in any chapter, if None. If checks are
    strict, a function that does not pass raises CheckFailed. Raises ValueError for an unknown id.
    """
    if id in CHECKED_NOW:
        raise RuntimeError(f"course.pick({id!r}) inside the function that is checked; write the "
                           "answer out.")
    reason = ""
    if f is None:
        f, reason = kept_function(id)
    if f is not None:
        verdict = check_and_keep(id, f)
        if verdict.status == "passed":
            return f
        if strict_checks() and not is_reference(id, f):
            raise CheckFailed(repr(verdict))
        reason = "yours is not attempted yet" if verdict.status == "not attempted" else \
            f"yours does not pass: {verdict.message}"
    display_or_print(ReferenceBanner(id, reason))
    return answers.find(id).reference


def kept_function(id: str) -> tuple[Callable | None, str]:
    """The function that is kept for an exercise, or None and the reason why there is none."""
    exercise_of(id)
    try:
        f = saved_work.load_function(id)
    except (ValueError, OSError) as e:                      # a damaged file must not stop a chapter
        return None, str(e)
    return f, "yours is not attempted yet" if f is None else ""


def check_and_keep(id: str, f: Callable) -> Verdict:
    """The verdict on a function, which is kept if it passed. The reference is not judged."""
    exercise = exercise_of(id)
    if is_reference(id, f):
        return Verdict(id, "not attempted", "This is the reference, which course.pick returned. It "
                       f"is not judged: write your own {exercise.entry} and check that.")
    CHECKED_NOW.append(id)
    try:
        verdict = check_function(f, exercise, answers.find(id))
    finally:
        CHECKED_NOW.remove(id)
    if verdict.status == "passed":
        try:
            saved_work.save_function(id, f, exercise.entry)
        except (ValueError, OSError, TypeError) as e:
            return verdict._replace(message=f"{verdict.message} But it could not be stored: {e}")
    return verdict


def exercise_of(id: str) -> Exercise:
    """The exercise of that id. Raises ValueError for an unknown id and for a question."""
    exercise = exercises.find(id)
    if not isinstance(exercise, Exercise):
        raise ValueError(f"{id} is a question, not something to write; see course.{exercise.kind}.")
    return exercise


def is_reference(id: str, f: object) -> bool:
    """Whether f is the course's own answer to some exercise, or only calls the one to this.

    The name does not matter, nor do functools.partial and wrappers such as torch.no_grad() around
    it.
    """
    function = innermost(f)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    known = getattr(module, "ANSWERS", None) if module in answer_modules() else None
    if known and any(function is answer.reference for answer in known.values()):
        return True
    reference = answers.find(id).reference
    return isinstance(function, FunctionType) and any(
        innermost(value) is reference for value in values_used(function))


def innermost(f: object) -> object:
    """The function inside of wrappers and functools.partial."""
    while isinstance(f, functools.partial) or hasattr(f, "__wrapped__"):
        f = f.func if isinstance(f, functools.partial) else f.__wrapped__
    return f


def answer_modules() -> list[ModuleType]:
    """The chapters' answers that are loaded."""
    return [m for name, m in sys.modules.items() if name.startswith(f"{answers.__name__}.")]


def values_used(f: FunctionType) -> Iterator[object]:
    """The values of the global names, closures and defaults that a function's own code uses."""
    yield from (f.__globals__[n] for n in loaded_names(f.__code__) if n in f.__globals__)
    yield from [*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()]
    for cell in f.__closure__ or ():
        with suppress(ValueError):                            # a cell that is still empty
            yield cell.cell_contents


class ReferenceBanner:
    """A message: from here on the reference runs, not the student's function, and why."""

    def __init__(self, id: str, reason: str):
        self.text = f"From here on the reference is used for {id}; {reason.rstrip('.')}."

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return ('<div role="note" style="border: 2px dashed #E69F00; padding: 4px 12px">'
                f"{html.escape(self.text)}</div>")


def display_or_print(value: object) -> None:
    """Display in a notebook, print elsewhere; a letter that the terminal lacks becomes "?"."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display
        display(value)
        return
    text, encoding = repr(value), getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


class Progress:
    """All exercises of the course and whose function each is: yours, or the reference."""

    def __init__(self):
        kept = saved_work.load_saved_work()
        mine = {id for id, v in kept["functions"].items() if saved_work.is_function_entry(v)}
        self.rows = [(c, e, e.id in mine)
                     for c in exercises.chapters() for e in exercises.exercises_of(c)]
        self.questions = [(c, q, saved_work.facts_of(kept, q.id))
                          for c in exercises.chapters() for q in exercises.questions_of(c)]

    @property
    def points(self) -> int:
        """The points of the exercises that pass and the bugs that were found."""
        return (sum(e.points for _, e, mine in self.rows if mine)
                + sum(q.points for _, q, facts in self.questions if facts.get("right")))

    @property
    def max_points(self) -> int:
        """The points that there are."""
        return (sum(e.points for _, e, _ in self.rows)
                + sum(q.points for _, q, _ in self.questions))

    def __repr__(self) -> str:
        lines = [f"{c}  {e.id:<24} {'yours' if mine else 'reference':<10} {e.points:>3}"
                 for c, e, mine in self.rows]
        yours = sum(mine for *_, mine in self.rows)
        return "\n".join([*lines, f"{yours} of {len(lines)} parts are yours, "
                          f"{self.points} of {self.max_points} points."])

    def _repr_html_(self) -> str:
        chapters = dict.fromkeys(c for c, *_ in self.rows)
        last = repr(self).splitlines()[-1]
        return "".join(map(self.chapter_html, chapters)) + f"<p>{last}</p>"

    def chapter_html(self, chapter: str) -> str:
        """A chapter's rows, folded below a line that counts them."""
        rows = [(e, mine) for c, e, mine in self.rows if c == chapter]
        cells = (f"<tr><td>{html.escape(e.title)}</td><td><code>{e.id}</code></td>"
                 f"<td>{'<b>yours</b>' if mine else 'reference'}</td><td>{e.points}</td></tr>"
                 for e, mine in rows)
        yours = sum(mine for _, mine in rows)
        return (f"<details><summary>Chapter {chapter}: {yours} of {len(rows)} parts are yours"
                "</summary><table><tr><th>part</th><th>exercise</th><th>whose</th><th>points</th>"
                f"</tr>{''.join(cells)}</table></details>")


def progress() -> Progress:
    """Which parts of the course's models are yours."""
    return Progress()
