"""Questions with choices: predict, then run; and the bug hunt.

A prediction is recorded before its answer is shown, and a wrong one costs nothing: it is explained.
A bug hunt has a right answer and points. In a notebook, choices count from 1.
"""
import html
import operator
import sys
from collections.abc import Callable
from typing import NamedTuple

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Question
from minidiff.course.checking.verdict import CheckFailed, Verdict, strict_checks
from minidiff.course.student import saved_work
from minidiff.course.student.session import display_or_print

BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#999999"     # as in `verdict`; alike on light and dark


class MessagePanel(NamedTuple):
    """A word, a few sentences and perhaps a numbered list; it shows as HTML and as plain text."""
    title: str
    id: str
    paragraphs: tuple[str, ...]
    choices: tuple[str, ...] = ()
    footer: str = ""
    colour: str = GREY

    def __repr__(self) -> str:
        listed = [f"  {i}. {c}" for i, c in enumerate(self.choices, 1)]
        lines = [f"{self.title} {self.id}: {' '.join(self.paragraphs)}", *listed, self.footer]
        return "\n".join(filter(None, lines))

    def _repr_html_(self) -> str:
        text = "".join(f'<p style="margin: 2px 0">{html.escape(s)}</p>' for s in self.paragraphs)
        listed = "".join(f"<li>{html.escape(c)}</li>" for c in self.choices)
        listed = f'<ol style="margin: 4px 0">{listed}</ol>' if listed else ""
        after = f"<p><em>{html.escape(self.footer)}</em></p>" if self.footer else ""
        return (f'<section aria-label="{html.escape(f"{self.title} {self.id}")}" '
                f'style="border-left: 6px solid {self.colour}; padding: 4px 12px; margin: 4px 0">'
                f"<b>{self.title}</b> <code>{html.escape(self.id)}</code>{text}{listed}{after}"
                "</section>")


def predict(id: str, run: Callable[[], object], choice: int | None = None) -> None:
    """Show a question; once a choice is made, record it, then show `run()` and the reason.

    run: makes the result that was predicted; its return value is displayed unless it is None.
    choice: from 1 up. None: the choice recorded before, if there is one; else a line explains how
    to choose, and in a live notebook there is a button for each. Raises ValueError for an unknown
    question, a run that is no function, or a choice that is not offered.
    """
    question = find_question(id, "predict")
    if not callable(run):
        raise ValueError(f"predict({id!r}, run): run is a function that shows the answer, "
                         f"`lambda: ...`, not a {type(run).__name__}.")
    chosen, before = validate_choice(question, choice), recorded_choice(question)
    if chosen is None and before is None:
        display_or_print(question_panel(question, choice_instructions(question)))
        show_buttons(question, run)
        return
    again = "" if before is None else f"You chose {quote_choice(question, before)} before."
    if chosen is None:
        chosen = before
    else:
        record_choice(question, chosen)
    display_or_print(question_panel(question, again))
    show_answer(question, run, chosen)


def bughunt(id: str, choice: int | None = None) -> Verdict:
    """Show the choices for a broken run's bug and judge the chosen one.

    choice: from 1 up; None is not attempted. The right bug passes with the question's points;
    for another, the verdict explains why it would look different. Raises ValueError for an
    unknown question or choice and, if checks are strict, CheckFailed unless it is right.
    """
    question = find_question(id, "bughunt")
    verdict = bughunt_verdict(question, choice)
    if choice is not None:
        record_choice(question, choice)
    display_or_print(question_panel(question))
    if strict_checks() and verdict.status != "passed":
        raise CheckFailed(repr(verdict))
    return verdict


def bughunt_verdict(question: Question, choice: int | None) -> Verdict:
    """The verdict on a bug hunt's choice; nothing is shown or kept. Raises ValueError as above."""
    chosen = validate_choice(question, choice)
    if chosen is None:
        return Verdict(
            question.id, "not attempted", "Which bug is it? " + choice_instructions(question)
        )
    right, why = choice_explanations(question)
    if chosen == right:
        return Verdict(question.id, "passed", why[chosen - 1], question.points)
    return Verdict(
        question.id,
        "failed",
        f"Not {quote_choice(question, chosen)}. {why[chosen - 1]}",
        mistake=question.choices[chosen - 1],
    )


def find_question(id: str, kind: str) -> Question:
    """The question of that id and kind. Raises ValueError that names the actual kind."""
    found = exercises.find(id)
    actual = found.kind if isinstance(found, Question) else "check"
    if actual != kind:
        raise ValueError(f"{id} is not for course.{kind} but for course.{actual}.")
    return found


def validate_choice(question: Question, choice: object) -> int | None:
    """The choice as an int, or None. Raises ValueError unless it is one of those offered."""
    try:
        number = None if choice is None else operator.index(choice)
    except TypeError:
        number = 0
    if number is None:
        return None
    if isinstance(choice, bool) or not 1 <= number <= len(question.choices):
        raise ValueError(f"{question.id}: choice is a whole number from 1 to "
                         f"{len(question.choices)}, not {choice!r}.")
    return number


def choice_explanations(question: Question) -> tuple[int, tuple[str, ...]]:
    """The right choice, from 1 up, and a sentence for each choice."""
    index, why = answers.right_choice(question.id)
    return index + 1, why


def record_choice(question: Question, choice: int) -> None:
    """Keep a choice; the first one, made before the answer was seen, stays beside later ones.

    If the folder cannot be written, the choice is not stored, and a message reports that.
    """
    try:
        first = saved_work.load_facts(question.id).get("first", choice)
        saved_work.save_facts(question.id, choice=choice, first=first,
                       right=choice == choice_explanations(question)[0])
    except (ValueError, OSError) as e:
        display_or_print(
            MessagePanel("NOT KEPT", question.id,
                         (f"Your choice counts now but cannot be stored: {e}",))
        )


def recorded_choice(question: Question) -> int | None:
    """The choice kept earlier, if it can be read and is still offered."""
    try:
        return validate_choice(question, saved_work.load_facts(question.id).get("choice"))
    except (ValueError, OSError):
        return None


def question_panel(question: Question, after: str = "") -> MessagePanel:
    """The question and its choices."""
    word = {"predict": "PREDICT", "bughunt": "BUG HUNT"}[question.kind]
    return MessagePanel(word, question.id, (question.text,), question.choices, after)


def choice_instructions(question: Question) -> str:
    """How to choose without buttons."""
    return f"Set choice to a number, 1 to {len(question.choices)}, and run this cell again."


def quote_choice(question: Question, choice: int) -> str:
    """A choice's number and its quoted text."""
    return f"{choice}, “{question.choices[choice - 1]}”"


def show_answer(question: Question, run: Callable[[], object], choice: int) -> None:
    """Shows the result of `run`, then the explanation of the prediction."""
    if (result := run()) is not None:
        display_or_print(result)
    right, why = choice_explanations(question)
    chosen = f"You chose {quote_choice(question, choice)}."
    if choice == right:
        display_or_print(
            MessagePanel("AS PREDICTED", question.id, (chosen, why[choice - 1]), colour=BLUE)
        )
    else:
        chosen += " Good: you can learn something from a surprise."
        display_or_print(
            MessagePanel(
                "A SURPRISE",
                question.id,
                (
                    chosen,
                    why[choice - 1],
                    f"What happens is {quote_choice(question, right)}. {why[right - 1]}",
                ),
                colour=ORANGE,
            )
        )


def show_buttons(question: Question, run: Callable[[], object]) -> None:
    """Show a button for each choice if the notebook is live."""
    if not is_interactive():
        return
    try:
        import ipywidgets
    except ImportError:                                  # a choice can still be written
        return
    buttons = [ipywidgets.Button(description=f"Choose {i}", tooltip=text)
               for i, text in enumerate(question.choices, 1)]
    out = ipywidgets.Output()

    def press(button) -> None:
        if button.disabled:                            # pressed twice before the first was handled
            return
        for b in buttons:
            b.disabled = True
        with out:
            choice = 1 + buttons.index(button)
            button.icon = "check"
            record_choice(question, choice)
            show_answer(question, run, choice)

    for button in buttons:
        button.on_click(press)
    row = ipywidgets.Box(buttons, layout=ipywidgets.Layout(flex_flow="row wrap"))
    display_or_print(ipywidgets.VBox([row, out]))


def is_interactive() -> bool:
    """Whether this runs in a notebook's kernel, and not to be graded."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None and not strict_checks()
