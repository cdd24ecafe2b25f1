"""The compute card: its arithmetic without a clock, and a probe that leaves no trace."""
import re
from itertools import islice

import pytest
import torch

from minidiff.course.student import compute_card as compute_card_module
from minidiff.course.student.compute_card import GIB, Budget, choose_size, compute_card
from minidiff.data import digits
from minidiff.recipes import build_model, build_objective, get_recipe, training_batches
from minidiff.train import TrainState, train
from minidiff.training import cost

PLAN = get_recipe("tiny", channels=[32], batch=2)
SOURCE = digits.built_in("train", 20)


@pytest.fixture(autouse=True)
def profile(monkeypatch):
    monkeypatch.setenv("MINIDIFF_PROFILE", "smoke")


@pytest.mark.parametrize("minutes, choice", [(5.1, "full"), (4.9, "half"), (2.6, "half"),
                                             (2.4, "small"), (0.6, "small")])
def test_the_largest_size_within_the_budget_is_chosen(minutes, choice):
    sizes = {"full": 300, "small": 30, "half": 150}                          # in any order
    found = choose_size((1.0, GIB), sizes, minutes)
    assert (found.choice, found.steps) == (choice, sizes[choice])
    assert [s.seconds for s in found.sizes] == [300, 30, 150]
    assert [bool(s.excess) for s in found.sizes] == [s > 60 * minutes for s in (300, 30, 150)]


def test_a_size_over_budget_is_offered_down_with_a_sentence():
    found = choose_size((2.0, GIB), {"small": 60, "full": 600}, (10, 4))
    assert found.explanation == ("Here “full” would take about 20 min (budget: 10 min); "
                          "“small” fits: 60 steps, about 2.0 min.")
    found = choose_size((2.0, GIB), {"small": 60, "full": 300}, (10, 4))
    assert found.explanation == "“full” fits: 300 steps, about 10 min."


def test_the_smallest_is_chosen_with_a_warning_when_none_fits():
    found = choose_size((2.0, GIB), {"full": 600, "small": 60}, (1, 4))
    assert (found.choice, found.steps) == ("small", 60)
    assert (
        found.explanation.startswith("Warning: here even “small”")
        and "budget: 60 s" in found.explanation
    )
    found = choose_size((0.001, 5 * GIB), {"full": 600, "small": 60}, (1, 4))
    assert found.choice == "small" and "need about 5.0 GiB (budget: 4 GiB)" in found.explanation
    assert "smaller batch" in found.explanation


def test_a_dearer_step_takes_more_time_and_memory():
    sizes = {"small": 100, "wide": (50, 4.0), "light": (400, 0.25)}
    found = choose_size((1.0, GIB), sizes, (100, 5))
    assert [s.seconds for s in found.sizes] == [100, 200, 100]
    assert [s.bytes / GIB for s in found.sizes] == [1, 4, 1]
    assert found.choice == "wide"                                # of most work, not of most steps
    assert choose_size((1.0, GIB), sizes, (100, 3)).choice != "wide"


def test_memory_that_is_not_known_forbids_nothing():
    found = choose_size((1.0, None), {"a": 10}, (1, 1e-9))
    assert not found.sizes[0].excess and "not measured" in repr(found)


def test_a_number_is_minutes_and_no_budget_is_the_profiles(monkeypatch):
    assert compute_card_module.parse_budget(2) == Budget(
        2, compute_card_module.BUDGETS["smoke"].gib
    )
    assert compute_card_module.parse_budget((2, 3)) == Budget(2, 3)
    assert compute_card_module.parse_budget(None) == compute_card_module.BUDGETS["smoke"]
    monkeypatch.setenv("MINIDIFF_PROFILE", "cpu")
    assert compute_card_module.parse_budget(None) == compute_card_module.BUDGETS["cpu"]


@pytest.mark.parametrize("sizes", [{}, {"a": 0}, {"a": 1.5}, {"a": True}, {"a": (10, 0)},
                                   {"a": (10, 2, 3)}, {"a": (10, float("nan"))}, {"a": "10"}])
def test_bad_sizes_get_a_sentence_before_any_step_is_done(sizes):
    def batches():
        raise AssertionError("probed")
        yield
    with pytest.raises(ValueError, match="size"):
        compute_card(TrainState(build_model(PLAN.model)), batches(), sizes)


@pytest.mark.parametrize("budget", [0, -1, (1, 0), (1,), "1", float("nan")])
def test_bad_budgets_get_a_sentence(budget):
    with pytest.raises(ValueError, match=r"^A budget is positive minutes.*\.$"):
        choose_size((1, 1), {"a": 1}, budget)


@pytest.mark.parametrize("seconds, text", [(0.04, "0.0 s"), (9.96, "10 s"), (45, "45 s"),
                                           (119, "2.0 min"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_said_as_people_do(seconds, text):
    assert compute_card_module.format_duration(seconds) == text


def test_three_steps_are_timed_after_one_to_warm_up(monkeypatch):
    ticks = iter([0.0, 2.0, 2.0, 11.0, 11.0, 14.0, 14.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))
    given = []

    def batches():
        for batch in training_batches(PLAN, SOURCE, 5):
            given.append(batch)
            yield batch

    found = compute_card(
        TrainState(build_model(PLAN.model)), batches(), {"a": 10}, build_objective(PLAN)
    )
    assert found.seconds == 3.0 and len(given) <= 5              # 2, 9 and 3: the median


def trained(look) -> dict[str, torch.Tensor]:
    """The averaged weights of a short training that `look(run)` looked at in its middle."""
    torch.manual_seed(0)
    run = TrainState(build_model(PLAN.model))
    for stop in (2, 4):
        look(run)
        for _ in train(run, training_batches(PLAN, SOURCE, 0, run.step), stop, drawing):
            pass
    return run.ema.model.state_dict() | {"draw": torch.rand(3)}


def drawing(model, x0, cond, g):
    """An objective that draws global random numbers, as a student's may."""
    return model.loss(x0, cond)


def test_a_run_is_trained_the_same_with_the_card_and_without():
    seen = trained(
        lambda run: compute_card(run, training_batches(PLAN, SOURCE, 5), {"a": 3}, drawing)
    )
    want = trained(lambda run: None)
    assert all(torch.equal(seen[k], v) for k, v in want.items())


def test_memory_grows_with_the_batch():
    def weighed(batch: int) -> int:
        plan = get_recipe("tiny", channels=[32], batch=batch)
        return compute_card(
            TrainState(build_model(plan.model)),
            training_batches(plan, SOURCE, 0),
            {"a": 3},
            build_objective(plan),
        ).bytes
    two, four, eight = map(weighed, (2, 4, 8))
    assert 1.6 < (eight - four) / (four - two) < 2.4


@pytest.mark.parametrize("n", [0, 1])
def test_a_training_too_short_to_probe_gets_a_sentence(n):
    with pytest.raises(ValueError, match="at least two batches"):
        compute_card(
            TrainState(build_model(PLAN.model)),
            islice(training_batches(PLAN, SOURCE, 0), n),
            {"a": 3},
            build_objective(PLAN),
        )


def test_it_reads_well_as_text_and_as_a_table():
    found = choose_size((0.12, 300 * 2**20), {"small": 300, "<full>": 20_000}, (10, 4))
    lines = repr(found).splitlines()
    assert lines[0] == "Compute card: 120 ms a step on this machine"
    assert lines[2].split() == ["small", "300", "36", "s", "300", "MiB", "fits,", "chosen"]
    assert lines[3].split() == ["<full>", "20,000", "40", "min", "300", "MiB", "too", "much"]
    shown = found._repr_html_()
    assert "<full>" not in shown and "&lt;full&gt;" in shown
    assert '<th scope="col">size</th>' in shown and "<caption>" in shown
    assert not re.search("<script|(^|[^-])color:|background", shown)
