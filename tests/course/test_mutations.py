"""Mutants of the right answers: each is a small change, and checks see those that matter."""
import pytest
import torch

from minidiff.course import answers, exercises
from minidiff.course.authoring import mutations
from minidiff.course.authoring.mutations import mutants_of, survivors

ALL = mutations.all_exercises([])
FEW = 12                                      # of an exercise's mutants; the command tries all


def halves(x, scale=2.0):
    y = x / scale
    for _ in range(2):
        y = y - x.mean()
    return y.sqrt() if scale > 1 else -y


def test_the_kinds_of_mutants():
    changes = {m.change for m in mutants_of(halves)}
    for expected in ("@torch.no_grad()", "x / scale -> x * scale", "x / scale -> x",
                     "x / scale -> scale / x", "2.0 -> 1.0", "range(2) -> list(range(2))[:-1]",
                     "2 -> 3", "y.sqrt() -> y", "scale > 1 -> scale >= 1", "-y -> y",
                     "y - x.mean() -> y + x.mean()", "x.mean() -> x", "x -> x.detach()",
                     "x.mean() -> x.mean().detach()"):
        assert any(c.endswith(expected) for c in changes), expected
    assert not any("detach" in m.change or "no_grad" in m.change
                   for m in mutants_of(halves, gradients=False))


def test_a_mutant_is_a_function_that_does_what_its_change_says():
    x = torch.tensor([4.0, 4.0])
    found = {m.change.partition(": ")[2]: m.function for m in mutants_of(halves)}
    torch.testing.assert_close(found["y.sqrt() -> y"](x), torch.tensor([-6.0, -6.0]))
    torch.testing.assert_close(found["x / scale -> x"](x, 0.5), torch.tensor([4.0, 4.0]))
    torch.testing.assert_close(halves(x, 0.5), torch.tensor([0.0, 0.0]))


@pytest.mark.parametrize("exercise", ALL, ids=lambda e: e.id)
def test_no_mutant_passes_without_a_reason(exercise):
    found, tried = survivors(exercise, FEW)
    assert 1 <= tried <= FEW and not [s.change for s in found if s.reason is None]


@pytest.mark.parametrize("chapter", exercises.chapters())
def test_mutants_that_are_listed_as_equal_exist(chapter):
    listed = getattr(answers.answer_module(f"c{chapter}"), "EQUIVALENT", {})
    for (id, change), reason in listed.items():
        changes = {m.change for m in mutants_of(answers.find(id).reference)}
        assert change in changes and reason.endswith("."), (id, change)


def test_the_command_names_what_passes(capsys):
    from minidiff.course.__main__ import main
    assert main(["mutants", "00"]) == 0
    assert "0 pass without a reason" in capsys.readouterr().out
