"""Checks diagnose: right passes, the stub is not attempted, every known mistake is named, and an
unknown one, or a function that misbehaves, is told what happened."""
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from minidiff import course
from minidiff.course import answers, exercises
from minidiff.course.checking import observation, verdict
from minidiff.course.checking.exercise import Case, Exercise, Question
from minidiff.course.student import saved_work

ALL = [e for c in exercises.chapters() for e in exercises.exercises_of(c)]
QUESTIONS = [q for c in exercises.chapters() for q in exercises.questions_of(c)]
WRONG = [(e, w) for e in ALL for w in answers.find(e.id).wrong_answers]
every_exercise = pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.id)


def verdict_on(f, exercise: Exercise) -> verdict.Verdict:
    return verdict.check_function(f, exercise, answers.find(exercise.id))


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path))
    monkeypatch.delenv("MINIDIFF_STRICT", raising=False)
    return tmp_path


# Every exercise of every chapter

@every_exercise
def test_the_reference_passes(exercise):
    v = verdict_on(answers.find(exercise.id).reference, exercise)
    assert v.status == "passed" and v.points == exercise.points > 0


@every_exercise
def test_the_stub_is_not_attempted(exercise):
    def stub(*args, **kwargs):
        raise NotImplementedError("YOUR CODE HERE")
    v = verdict_on(stub, exercise)
    assert v.status == "not attempted" and v.points == 0
    assert exercise.id in repr(v) and exercise.hints[0] in repr(v)


@pytest.mark.parametrize("exercise, wrong", WRONG, ids=[f"{e.id}-{w.name}" for e, w in WRONG])
def test_every_known_mistake_gets_its_own_diagnosis(exercise, wrong):
    v = verdict_on(wrong.function, exercise)
    assert (v.status, v.mistake, v.points) == ("diagnosed", wrong.name, 0)
    assert v.message == wrong.diagnosis and v.hint in (1, 2, 3)


@every_exercise
def test_an_exercise_says_all_that_is_needed(exercise):
    assert exercise.id.startswith("c") and 1 <= exercise.difficulty <= 3 and exercise.minutes > 0
    assert len(set(exercise.hints)) == 3 and all(h.endswith((".", "?", ")", "]")) or h
                                                 for h in exercise.hints)
    wrong = answers.find(exercise.id).wrong_answers
    assert len(wrong) >= 3
    assert len({w.name for w in wrong}) == len({w.diagnosis for w in wrong}) == len(wrong)
    assert answers.find(exercise.id).reference.__name__ == exercise.entry


@every_exercise
def test_cases_are_the_same_every_time_and_belong_to_the_caller(exercise):
    first, again = exercise.cases(), exercise.cases()
    assert [c.description for c in first] == [c.description for c in again] and len(first) >= 3
    for a, b in zip(first, again):
        assert all(
            observation.is_unchanged(x, observation.clone_argument(y))
            for x, y in zip(a.args, b.args)
        )


@every_exercise
def test_a_constant_does_not_pass_nor_what_returns_its_input(exercise):
    for f in (lambda *a, **k: torch.zeros(1), lambda *a, **k: a[0] if a else 0, lambda *a, **k: 1):
        assert verdict_on(f, exercise).status in ("failed", "diagnosed")


def each(change, value):
    """The change made to every tensor and number that a function returns, or returns later."""
    if isinstance(value, (torch.Tensor, float)):
        return change(value)
    if isinstance(value, Iterator):
        return (each(change, v) for v in value)
    if callable(value):
        return lambda *args, **kwargs: each(change, value(*args, **kwargs))
    if isinstance(value, (list, tuple)):
        return type(value)(each(change, v) for v in value) if type(value) in (list, tuple) \
            else type(value)(*(each(change, v) for v in value))
    return value


UNLISTED = {  # wrong answers that no chapter lists
    "3 % too large": lambda y: 1.03 * y, "a little more": lambda y: y + 0.02,
    "negative": lambda y: -y, "times its size": lambda y: y * abs(y) - 0.1}


@every_exercise
@pytest.mark.parametrize("change", UNLISTED)
def test_a_wrong_answer_that_nobody_listed_does_not_pass_either(exercise, change):
    reference = answers.find(exercise.id).reference

    def nearly(*args, **kwargs):
        return each(UNLISTED[change], reference(*args, **kwargs))
    v = verdict_on(nearly, exercise)
    assert v.status in ("failed", "diagnosed") and v.points == 0
    if v.status == "failed":
        assert "Input: " in v.message and ("expected" in v.message or "not" in v.message
                                           or "raises" in v.message)


@every_exercise
def test_the_packages_own_function_is_no_answer(exercise):
    codes = observation.package_codes(exercise)
    assert sorted(codes.values()) == sorted(exercise.package_equivalents)
    for dotted in exercise.package_equivalents:
        v = verdict_on(partial(observation.import_dotted(dotted)), exercise)
        assert v.status == "failed" and dotted in v.message


@every_exercise
def test_the_right_answer_raises_for_those_inputs_alone_that_say_so(exercise):
    seen = observation.observe(answers.find(exercise.id).reference, exercise)
    assert [o.kind == "raised" for o in seen] == [c.raises for c in exercise.cases()]
    assert all(o.error.startswith("ValueError") for o in seen if o.kind == "raised")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_a_question_explains_each_of_its_choices(question):
    right, why = answers.right_choice(question.id)
    assert isinstance(question, Question) and question.kind in ("predict", "bughunt")
    assert 0 <= right < len(question.choices) == len(why) == len(set(why)) >= 2


def test_ids_are_unique_and_there_are_enough_wrong_answers():
    ids = [e.id for e in ALL + QUESTIONS]
    assert len(ids) == len(set(ids))
    assert len(WRONG) >= 3 * len(ALL)


# Gradients, and randomness of one's own

@every_exercise
def test_a_function_that_stops_gradients_is_told_where_they_count(exercise):
    reference = answers.find(exercise.id).reference

    def quiet(*args, **kwargs):
        with torch.no_grad():
            return reference(*args, **kwargs)
    v = verdict_on(quiet, exercise)
    counts = exercise.gradients and exercise.id not in RETURN_FUNCTIONS   # these run outside of it
    assert (v.status, v.mistake) == (("diagnosed", "gradients") if counts else ("passed", None))


RETURN_FUNCTIONS = {"c06-guided", "c06-interval", "c10-grow"}              # or a layer


@every_exercise
def test_own_random_numbers_are_named(exercise):
    reference = answers.find(exercise.id).reference

    def noisy(*args, **kwargs):
        return each(lambda y: y + 1 + torch.rand(()).item(), reference(*args, **kwargs))
    v = verdict_on(noisy, exercise)
    assert v.status in ("diagnosed", "failed")
    if exercise.id not in RETURN_FUNCTIONS:
        assert v.mistake == "own-randomness"


# A function that misbehaves: a small exercise of the test's own

def double(x):
    return 2 * x


def cases() -> list[Case]:
    return [Case(f"seed {s}, {d}", (torch.randn(2, 3, dtype=d, generator=g(s)),))
            for s in (0, 1) for d in (torch.float32, torch.float64)]


def g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DOUBLE = Exercise("c99-double", "double", "Twice", 2, 1, 1, ("Times two?", "Add.", "2 * x."), cases,
                  ("minidiff.schedules.as_times",))
ANSWER = answers.answer(
    double, answers.Mistake("square", {"2 * x": "x * x"}, "You square.", 2),
    answers.Mistake("raises", {"2 * x": "x.twice()"}, "Tensors have no twice().", 3),
    answers.WrongAnswer("flat", lambda x: (2 * x).flatten(), "You flatten.", 1))


def said(f, seconds: float = 0.3) -> verdict.Verdict:
    return verdict.judge(observation.observe(f, DOUBLE, seconds), DOUBLE, ANSWER)


def in_place(x):
    x *= 2
    return x


def puts_back(x):
    x += 1
    return 2 * (x - 1)


MISBEHAVED = {
    "None. Is a `return` missing?": lambda x: None,
    "returns shape (3,), expected (2, 3)": lambda x: 2 * x[0],
    "a tensor of shape (2, 3), not a str": lambda x: "2 x",
    "the dtype should be that of the input": lambda x: (2 * x).double(),
    "raises ZeroDivisionError": lambda x: 1 / 0,
    "does not come to an end": lambda x: [None for _ in iter(int, 1)],
    "changes its argument": in_place,
    "your function changes its argument x,": puts_back,
    "expected": lambda x: 2 * x + 0.01,
    "the package's own minidiff.schedules.as_times": observation.import_dotted(
        "minidiff.schedules.as_times"
    ),
    "calls, or is, the package's own minidiff.schedules.as_times:": lambda x: (
        observation.import_dotted("minidiff.schedules.as_times")(2 * x)
    ),
}


@pytest.mark.parametrize("sentence", MISBEHAVED)
def test_what_went_wrong_is_said(sentence):
    v = said(MISBEHAVED[sentence])
    assert v.status == "failed" and sentence in v.message and v.points == 0


def test_other_right_answers_pass():
    for f in (double, lambda x: x + x, lambda y: y.mul(2), lambda x: torch.stack([x, x]).sum(0)):
        assert said(f).status == "passed"


def test_the_first_input_that_fails_is_shown_with_what_was_expected_and_what_came():
    v = said(lambda x: 2 * x if x.dtype == torch.float32 else 3 * x)
    assert v.status == "failed" and "seed 0, torch.float64" in v.message
    x = DOUBLE.cases()[1].args[0]
    k = x.abs().argmax()
    assert f"{3 * x.flatten()[k]:.4g}" in v.message and f"{2 * x.flatten()[k]:.4g}" in v.message


@pytest.mark.parametrize("f, sentence", [
    (lambda x: 2 * x.detach(), "gradients do not pass through it"),
    (lambda x: torch.tensor((2 * x).detach().numpy()), "gradients do not pass through it"),
    (lambda x: x + x.detach(), "gradients through it are wrong"),
    (lambda x: torch.from_numpy(2 * x.numpy()), "it raises RuntimeError: Can't call numpy()")])
def test_right_values_with_wrong_gradients_are_diagnosed(f, sentence):
    v = said(f)
    assert (v.status, v.mistake, v.points) == ("diagnosed", "gradients", 0)
    assert sentence in v.message
    assert verdict.judge(observation.observe(f, UNTRAINED), UNTRAINED, ANSWER).status == "passed"


UNTRAINED = DOUBLE._replace(gradients=False)


def test_a_known_mistake_in_the_gradients_has_its_own_sentence():
    mistake = answers.Mistake("half", {"2 * x": "x + x.detach()"}, "Half.", 1)
    answer = answers.answer(double, mistake)
    f = lambda x: x.detach() + x                                               # noqa: E731
    assert verdict.check_function(f, DOUBLE, answer).mistake == "half"


def test_missing_gradients_are_no_right_ones():
    seen = [o._replace(gradients=()) for o in observation.observe(double, DOUBLE)]
    v = verdict.judge(seen, DOUBLE, ANSWER)
    assert v.mistake == "gradients" and "missing" in v.message


def test_what_differs_from_call_to_call_is_named():
    v = said(lambda x: 2 * x + torch.rand(()))
    assert v.mistake == "own-randomness" and "Two calls" in v.message


def test_mistakes_are_known_by_values_errors_and_shapes():
    assert said(lambda z: z**2).mistake == "square"
    assert said(lambda z: z.twice()).mistake == "raises"
    assert said(lambda z: 2 * z.view(-1)).mistake == "flat"
    assert said(lambda z: z**2 + 1e-2).mistake is None


def test_a_line_of_the_students_function_is_named():
    def f(x):
        y = x + 1
        return y.undefined
    assert "AttributeError" in said(f).message and "line 3" in said(f).message


def test_an_endless_loop_that_catches_everything_is_stopped_and_nothing_comes_after():
    def stubborn(x):
        while True:
            try:
                time.sleep(0.01)
            except:                                            # noqa: E722 (that is the point)
                if time.perf_counter() > end:
                    raise
    end = time.perf_counter() + 0.6
    assert said(stubborn, 0.2).status == "failed"
    began = time.perf_counter()
    while time.perf_counter() < began + 0.3:                   # a late exception would hit here
        pass
    assert said(double).status == "passed"


def test_a_generator_is_run_and_an_endless_one_cut():
    listed = Exercise("c99-list", "f", "Count", 1, 1, 1, ("a", "b", "c"),
                      lambda: [Case("three", (3,))])
    right = answers.answer(lambda n: [float(k) for k in range(n)])

    def forever(n):
        while True:
            yield 0.0

    assert (
        verdict.check_function(lambda n: (float(k) for k in range(n)), listed, right).status
        == "passed"
    )
    assert "10000" in verdict.check_function(forever, listed, right).message


def crashes(f):
    raise ZeroDivisionError("in the check itself")


@pytest.mark.parametrize("broken, message", [
    (DOUBLE._replace(package_equivalents=("minidiff.schedules.gone",)), "does not have"),
    (DOUBLE._replace(package_equivalents=("minidiff.gone.as_times",)), "does not have"),
    (DOUBLE._replace(package_equivalents=("elsewhere.as_times",)), "does not have"),
    (DOUBLE._replace(cases=lambda: [Case("one", call=crashes)]), "ZeroDivisionError"),
    (DOUBLE._replace(cases=lambda: [Case("a word", ("x", "y"))]), "TypeError"),
    (DOUBLE._replace(cases=lambda: [c._replace(raises=True) for c in cases()]), "gives: value"),
    (DOUBLE._replace(cases=lambda: [Case("numpy", cases()[0].args, call=lambda f: f(
        torch.ones(2)).numpy())]), "no gradients")])
def test_a_check_that_crashes_for_every_function_passes_none(broken, message):
    for f in (double, lambda x: 0, lambda x: 2 * x):
        with pytest.raises(RuntimeError, match=f"c99-double is broken.*{message}"):
            verdict.check_function(f, broken, ANSWER)


def test_what_is_no_function_is_said():
    assert "None" in verdict.check_function(None, DOUBLE, ANSWER).message
    assert "a Tensor" in verdict.check_function(torch.ones(1), DOUBLE, ANSWER).message


@pytest.mark.parametrize(("came", "want", "sentence"), [
    (torch.tensor(1.4680001), torch.tensor(1.468), ""),
    (torch.tensor(1.46801, dtype=torch.float64), torch.tensor(1.468, dtype=torch.float64),
     "It returns 1.46801, expected 1.468;"),
    (([1], [2, 3]), ([1], [2, 3, 4]), "Number 2 of what it returns should hold 3 things, not 2."),
    (([1], [2, [3]]), ([1], [2, [4]]),
     "Number 1 of number 2 of number 2 of what it returns is 3, expected 4;"),
    (([1], None), ([1], [2]), "Number 2 of what it returns is None."),
    (torch.tensor(1j), torch.tensor(1.0), "It returns complex numbers."),
    ((-1.0) ** 0.5, 1.0, "It returns complex numbers."),
    (10**400, 2.0, "It returns inf, expected 2;"), (-10**400, 2, "It returns -inf, expected 2;"),
    ((1.0, "a"), (1.0, "b"), "Number 2 of what it returns should be 'b', not 'a'."),
    ((1.0, "a"), (1.0, 2.0), "Number 2 of what it returns should be a float, not a str."),
    ([torch.ones(2)], [torch.ones(3)],
     "Number 1 of what it returns has shape (2,), expected (3,).")])
def test_differences_are_sentences_that_say_where(came, want, sentence):
    assert verdict.value_difference(came, want).startswith(sentence)
    assert bool(sentence) == bool(verdict.value_difference(came, want))


def test_nan_is_not_right():
    assert said(lambda x: x * float("nan")).status == "failed"


def test_a_mistake_that_is_not_in_the_source_is_refused():
    with pytest.raises(ValueError, match="0 times"):
        answers.answer(double, answers.Mistake("no", {"3 * x": "x"}, "", 1))


def test_verdicts_show_themselves_and_escape():
    v = verdict.Verdict("c99-x", "failed", "a < b & c", hint=2)
    assert "a &lt; b &amp; c" in v._repr_html_() and "Hint 2 helps" in v._repr_html_()
    assert repr(v) == "NOT YET c99-x: a < b & c Hint 2 helps."


# start, check, pick, progress

E = exercises.find("c02-loss")
RIGHT = answers.find("c02-loss").reference


def test_pick_takes_what_passes_and_falls_back_with_a_banner(capsys):
    mine = notebook(MINE)["noise_loss"]
    assert course.pick("c02-loss", mine) is mine and capsys.readouterr().out == ""
    wrong = answers.find("c02-loss").wrong_answers[0]
    assert course.pick("c02-loss", wrong.function) is RIGHT
    assert wrong.diagnosis[:20] in capsys.readouterr().out


def test_strict_checks_raise_and_pick_stops_falling_back(monkeypatch):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    wrong = answers.find("c02-loss").wrong_answers[0].function
    for call in (course.check, course.pick):
        with pytest.raises(course.CheckFailed, match="DIAGNOSIS c02-loss"):
            call("c02-loss", wrong)
        call("c02-loss", notebook(MINE)["noise_loss"])


def test_unknown_ids_name_the_nearest():
    with pytest.raises(ValueError, match="did you mean c02-loss"):
        course.check("c02-los", RIGHT)
    with pytest.raises(ValueError, match="is a question"):
        course.check("c02-bug", RIGHT)
    with pytest.raises(ValueError, match="There is no chapter '77'"):
        course.start("77")


def test_a_chapter_says_where_it_runs_and_seeds_what_is_drawn(monkeypatch):
    monkeypatch.setenv("MINIDIFF_PROFILE", "smoke")
    chapter = course.start("02")
    first = torch.rand(1)
    assert course.start("02").number == "02" and torch.rand(1) == first
    assert "profile smoke" in repr(chapter) and chapter.device in ("cpu", "cuda")


MINE = '''
import torch
import torch.nn.functional as F
from math import pi
from itertools import pairwise as pairs
SCALE = 2.0
beta = torch.zeros(3)
def helper(x):
    return SCALE * x.square() / 2
def noise_loss(net, schedule, x0, t, noise):
    a, s = (c.view(-1, *[1] * (x0.ndim - 1)) for c in schedule(t))
    assert F.relu(torch.zeros(1)) < pi and list(pairs([1, 2]))
    beta = [net for net in (1, 2)] + [beta for beta in "ab"]
    return helper(net(a * x0 + s * noise, t) - noise).flatten(1).mean(1)
'''


def notebook(source: str) -> dict:
    """A namespace as a notebook's: its functions are __main__'s, and their source can be read."""
    import linecache
    file = f"<cell {hash(source)}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    space = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), space)
    return space


def test_a_function_that_passed_lives_on_in_another_process(kept):
    assert course.check("c02-loss", notebook(MINE)["noise_loss"]).status == "passed"
    code = ("from minidiff import course; f = course.pick('c02-loss'); print(f.__module__);"
            "print(course.check('c02-loss', f).status)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert out.stdout.split() == ["minidiff.course.yours", "passed"]


def test_what_cannot_be_kept_is_said_and_still_passes():
    source = MINE.replace("SCALE = 2.0", "SCALE = torch.tensor(2.0)")
    v = course.check("c02-loss", notebook(source)["noise_loss"])
    assert v.status == "passed" and "uses `SCALE` from your notebook, a Tensor" in v.message
    assert saved_work.load_function("c02-loss") is None


def test_nothing_kept_means_the_reference_even_where_checks_are_strict(monkeypatch, capsys):
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    assert course.pick("c02-loss") is RIGHT
    assert "the reference is used for c02-loss" in capsys.readouterr().out


def test_a_kept_function_that_was_changed_by_hand_is_checked_again(kept, capsys):
    course.check("c02-loss", notebook(MINE)["noise_loss"])
    mine = json.loads((kept / "mine.json").read_text())
    entry = mine["functions"]["c02-loss"]
    entry["source"] = entry["source"].replace("- noise)", "- x0)")
    (kept / "mine.json").write_text(json.dumps(mine))
    assert course.pick("c02-loss") is RIGHT and "clean x0" in capsys.readouterr().out


def test_progress_tells_whose_parts_are_whose():
    before = course.progress()
    course.check("c02-loss", notebook(MINE)["noise_loss"])
    after = course.progress()
    assert after.points - before.points == E.points and after.max_points == before.max_points
    line = next(s for s in repr(after).splitlines() if "c02-loss" in s)
    assert "yours" in line and "<b>yours</b>" in after._repr_html_()
    assert "Chapter 02: 1 of 6 parts" in after._repr_html_()
    assert "<b>yours</b>" not in before._repr_html_()
    assert "1 of" in repr(after) and "0 of" in repr(before)


def test_a_damaged_store_is_named(kept):
    (kept / "mine.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        course.progress()
