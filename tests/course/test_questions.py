"""Predictions and bug hunts: what is recorded, shown and judged, and in which order."""
import re
import sys

import pytest

from minidiff.course import answers, exercises
from minidiff.course.checking.exercise import Exercise, Question
from minidiff.course.checking.verdict import CheckFailed
from minidiff.course.student import questions, saved_work
from minidiff.course.student.questions import bughunt, predict

ASKED = {
    "c99-guess": Question("c99-guess", "predict", "What is x < 1?", ("noise", "a <b>blur</b>")),
    "c99-bug": Question("c99-bug", "bughunt", "Which bug?", ("t off by one", "no root"), 2),
    "c99-write": Exercise("c99-write", "f", "F", 1, 1, 1, ("", "", ""), list),
}
RIGHT = {"c99-guess": (1, ("Noise has gone.", "The mean is a blur.")),
         "c99-bug": (0, ("One step is missing.", "Then the noise would be too weak."))}


@pytest.fixture(autouse=True)
def shown(monkeypatch, tmp_path) -> list:
    """What was shown, in order; questions, answers and a home of the test's own."""
    for name in ("MINIDIFF_STRICT", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(exercises, "find", ASKED.__getitem__)
    monkeypatch.setattr(answers, "right_choice", RIGHT.__getitem__)
    things = []
    monkeypatch.setattr(questions, "display_or_print", things.append)
    return things


def texts(shown: list) -> str:
    return "\n".join(map(str, shown))


def test_a_choice_is_recorded_before_anything_is_shown(monkeypatch):
    order = []
    keep = saved_work.save_facts
    monkeypatch.setattr(
        saved_work, "save_facts", lambda *a, **k: (order.append("kept"), keep(*a, **k))
    )
    monkeypatch.setattr(
        questions, "display_or_print", lambda thing: order.append(str(thing).split()[0])
    )
    predict("c99-guess", lambda: order.append("run") or "result", 2)
    assert order == ["kept", "PREDICT", "run", "result", "AS"]
    assert saved_work.load_facts("c99-guess")["choice"] == 2


def test_a_right_prediction_gets_its_sentence_only(shown):
    predict("c99-guess", lambda: "the picture", 2)
    assert shown[1] == "the picture"
    assert "You chose 2" in str(shown[-1]) and "The mean is a blur." in str(shown[-1])
    assert "Noise has gone." not in texts(shown)


def test_a_wrong_prediction_is_welcome_and_explained(shown, monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")                             # no failure, even then
    predict("c99-guess", lambda: "the picture", 1)
    last = str(shown[-1])
    assert last.startswith("A SURPRISE") and "You chose 1, “noise”" in last
    assert "Noise has gone." in last
    assert "What happens is 2, “a <b>blur</b>”. The mean is a blur." in last


def test_without_a_choice_nothing_is_given_away(shown):
    assert predict("c99-guess", lambda: shown.append("run")) is None
    assert "What is x < 1?" in texts(shown) and "1. noise" in texts(shown)
    assert "Set choice to a number, 1 to 2" in texts(shown)
    assert (
        "run" not in shown
        and "blur." not in texts(shown)
        and not saved_work.load_facts("c99-guess")
    )


def test_none_returned_is_not_displayed(shown):
    predict("c99-guess", lambda: None, 1)
    assert len(shown) == 2 and None not in shown


def test_a_choice_made_before_is_remembered_and_the_first_one_stays(shown):
    predict("c99-guess", lambda: None, 1)
    assert "before" not in texts(shown)
    shown.clear()
    predict("c99-guess", lambda: "again")
    assert "You chose 1, “noise” before." in str(shown[0]) and shown[1] == "again"
    assert "A SURPRISE" in str(shown[-1])
    shown.clear()
    predict("c99-guess", lambda: "anew", 2)
    assert "You chose 1, “noise” before." in str(shown[0]) and "AS PREDICTED" in str(shown[-1])
    assert saved_work.load_facts("c99-guess") == {"choice": 2, "first": 1, "right": True}


def test_a_recorded_choice_that_is_no_longer_offered_is_no_choice(shown):
    saved_work.save_facts("c99-guess", choice=7)
    predict("c99-guess", lambda: shown.append("run"))
    assert "run" not in shown and "before" not in texts(shown)


def test_a_store_that_cannot_be_used_stops_nobody(shown, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path / "file" / "home"))
    predict("c99-guess", lambda: "the picture", 2)
    assert "NOT KEPT" in texts(shown) and "the picture" in shown
    assert bughunt("c99-bug", 1).status == "passed"


@pytest.mark.parametrize("choice", [0, 3, -1, True, False, 1.0, "1", [1]])
@pytest.mark.parametrize("ask", [lambda c: predict("c99-guess", lambda: "r", c),
                                 lambda c: bughunt("c99-bug", c)])
def test_a_choice_that_is_not_offered_gets_a_sentence(ask, choice, shown):
    with pytest.raises(ValueError, match=r"choice is a whole number from 1 to 2, not .*\.$"):
        ask(choice)
    assert not shown and not saved_work.load_saved_work()["facts"]


def test_other_kinds_are_sent_to_their_own_function():
    with pytest.raises(ValueError, match=r"not for course\.predict but for course\.bughunt"):
        predict("c99-bug", lambda: None, 1)
    with pytest.raises(ValueError, match=r"not for course\.bughunt but for course\.check"):
        bughunt("c99-write", 1)


@pytest.mark.parametrize("choice", [None, 1])
def test_a_result_instead_of_a_function_gets_a_sentence(choice):
    with pytest.raises(ValueError, match=r"lambda: \.\.\.`, not a str\."):
        predict("c99-guess", "a picture", choice)
    assert not saved_work.load_facts("c99-guess")


def test_the_bug_that_is_found_passes_with_its_points(shown, monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    verdict = bughunt("c99-bug", 1)
    assert (verdict.status, verdict.points) == ("passed", 2)
    assert "One step is missing." in verdict.message
    assert "Which bug?" in texts(shown) and "2. no root" in texts(shown)
    assert saved_work.load_facts("c99-bug")["right"] is True


def test_another_bug_gets_the_sentence_why_it_looks_different():
    verdict = bughunt("c99-bug", 2)
    assert (verdict.status, verdict.points, verdict.mistake) == ("failed", 0, "no root")
    assert "Then the noise would be too weak." in verdict.message
    assert "One step is missing." not in repr(verdict)                     # the hunt goes on
    assert saved_work.load_facts("c99-bug") == {"choice": 2, "first": 2, "right": False}


def test_no_bug_named_is_not_attempted():
    verdict = bughunt("c99-bug")
    assert (verdict.status, verdict.points) == ("not attempted", 0)
    assert "missing" not in verdict.message and not saved_work.load_facts("c99-bug")


@pytest.mark.parametrize("choice", [None, 2])
def test_strict_hunts_raise_unless_right(choice, monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    with pytest.raises(CheckFailed, match="c99-bug"):
        bughunt("c99-bug", choice)


def test_panels_are_escaped_and_fit_every_theme(shown):
    predict("c99-guess", lambda: None, 1)
    for panel in shown:
        text = panel._repr_html_()
        assert "a <b>blur</b>" not in text and "a &lt;b&gt;blur&lt;/b&gt;" in text
        assert text.startswith("<section aria-label=") and text.endswith("</section>")
        assert not re.search("<script|[; ]color:|background", text)
    assert "<li>noise</li>" in shown[0]._repr_html_()


def buttons(shown: list) -> tuple:
    """The widgets that were shown: buttons and the output under them."""
    row, out = shown[-1].children
    return row.children, out


@pytest.fixture
def live(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(questions, "is_interactive", lambda: True)


def test_a_button_does_what_a_written_choice_does(shown, live):
    calls = []
    predict(
        "c99-guess", lambda: calls.append(saved_work.load_facts("c99-guess")["choice"]) or "picture"
    )
    choose, _ = buttons(shown)
    assert [b.tooltip for b in choose] == list(ASKED["c99-guess"].choices) and not calls
    shown.clear()
    choose[0].click()
    assert calls == [1]                                          # once, and recorded before
    assert all(b.disabled for b in choose)
    assert shown[0] == "picture" and "A SURPRISE" in str(shown[-1])
    by_hand = str(shown[-1])
    choose[1].click()
    assert calls == [1] and saved_work.load_facts("c99-guess")["choice"] == 1
    shown.clear()
    predict("c99-guess", lambda: "picture", 1)
    assert str(shown[-1]) == by_hand


def test_without_widgets_the_question_says_how_to_answer(shown, live, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    predict("c99-guess", lambda: shown.append("run"))
    assert "Set choice to a number" in texts(shown) and "run" not in shown


def test_outside_a_kernel_there_are_no_buttons():
    assert not questions.is_interactive()


def catalogue() -> list[Question]:
    return [q for c in exercises.chapters() for q in exercises.questions_of(c)]


@pytest.mark.parametrize("question", catalogue(), ids=lambda q: q.id)
def test_every_question_has_one_right_choice_and_a_sentence_for_each(question, monkeypatch):
    monkeypatch.undo()
    right, why = questions.choice_explanations(question)
    assert 1 <= right <= len(question.choices) == len(why) >= 2
    assert len(set(question.choices)) == len(why) == len(set(why))
    assert all(w[-1] in ".?!" for w in why) and question.text[-1] in ".?"
    assert question.kind in ("predict", "bughunt")
    assert (question.points > 0) == (question.kind == "bughunt")
