"""What a chapter calls: start, check, pick, progress."""
import html
from collections.abc import Callable
from types import SimpleNamespace

import torch

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise
from minidiff.course.checking.verdict import CheckFailed, Verdict, check_function, strict_checks
from minidiff.course.student import saved_work
from minidiff.course.student.chapter_sizes import sizes
from minidiff.training import profiles
from minidiff.visual import figures


class Chapter(SimpleNamespace):
    """What a chapter works with: number, profile, device, seed, and `size`, its sizes by name."""

    def __repr__(self) -> str:
        threads = torch.get_num_threads()
        where = torch.cuda.get_device_name() if self.device == "cuda" else \
            f"{self.device}, {threads} thread{'s' * (threads > 1)}"
        return (f"Chapter {self.number}: profile {self.profile} on {where}, torch "
                f"{torch.__version__}, seed {self.seed}.")


def start(number: str) -> Chapter:
    """Begin a chapter: device, plot style, seed and sizes, for everyone the same in a profile.

    Raises ValueError that names the chapters.
    """
    name = profiles.get_profile().name
    figures.matplotlib.rcParams.update(figures.STYLE)
    torch.manual_seed(0)
    return Chapter(number=number, profile=name, seed=0, size=SimpleNamespace(**sizes(number, name)),
                   device="cuda" if torch.cuda.is_available() else "cpu")


def check(id: str, f: Callable) -> Verdict:
    """Try a function on an exercise's inputs: a verdict that shows itself. Keeps it if it passes.

    Raises CheckFailed instead of any other verdict where checks are strict, and ValueError for an
    unknown id.
    """
    verdict = check_and_keep(id, f)
    if verdict.status != "passed" and strict_checks():
        raise CheckFailed(repr(verdict))
    return verdict


def pick(id: str, f: Callable | None = None) -> Callable:
    """Your function if it passes, else the reference, and a banner that says so.

    f: unless given, the one that was kept when it passed, in whichever chapter. Where checks are
    strict only a function that passes will do: raises CheckFailed. ValueError for an unknown id.
    """
    f = saved_work.load_function(id) if f is None else f
    if f is None:
        verdict = Verdict(id, "not attempted", "Nothing of yours is kept for it.")
    else:
        verdict = check_and_keep(id, f)
    if verdict.status == "passed":
        return f
    if strict_checks() and f is not None:
        raise CheckFailed(repr(verdict))
    display_or_print(ReferenceBanner(id, verdict))
    return answers.find(id).reference


def check_and_keep(id: str, f: Callable) -> Verdict:
    """The verdict on a function, which is kept if it passed."""
    exercise = exercises.find(id)
    if not isinstance(exercise, Exercise):
        raise ValueError(f"{id} is a question, not something to write; see course.{exercise.kind}.")
    verdict = check_function(f, exercise, answers.find(id))
    if verdict.status == "passed":
        try:
            saved_work.save_function(id, f)
        except (ValueError, OSError, TypeError) as e:
            return verdict._replace(message=f"{verdict.message} Not kept, though: {e}")
    return verdict


class ReferenceBanner:
    """Says that what follows runs on the reference, not on the student's function."""

    def __init__(self, id: str, verdict: Verdict):
        why = {"not attempted": "yours is not attempted yet"}.get(
            verdict.status, f"yours does not pass: {verdict.message}")
        self.text = f"What follows uses the reference for {id}; {why.rstrip('.')}."

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return ('<div role="note" style="border: 2px dashed #E69F00; padding: 4px 12px">'
                f"{html.escape(self.text)}</div>")


def display_or_print(value: object) -> None:
    """Display in a notebook, print elsewhere."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
        display(value)
    else:
        print(value)


class Progress:
    """All exercises of the course and whose function each is: yours, or the reference."""

    def __init__(self):
        kept = saved_work.load_saved_work()
        self.rows = [(c, e, e.id in kept["functions"])
                     for c in exercises.chapters() for e in exercises.exercises_of(c)]
        self.questions = [(c, q, kept["facts"].get(q.id, {}))
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
