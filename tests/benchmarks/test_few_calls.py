"""The studies of students: what is known exactly, and what a row of the table counts."""
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.studies import few_calls, few_calls_exact  # noqa: E402
from minidiff import load  # noqa: E402


@pytest.fixture(scope="module")
def table() -> dict:
    """{(method, n): (map, spread)} of the exact study."""
    return {(r["method"], r["n"]): (r["map"], r["spread"]) for r in few_calls_exact.rows()}


def test_paths_keep_their_error_of_first_and_second_order(table):
    ddim, heun = "progressive, consistency (ddim's path)", "the same on heun's path"
    assert 3.5 < table[ddim, 32][0] / table[ddim, 64][0] < 4.5          # squared errors
    assert 14 < table[heun, 32][0] / table[heun, 64][0] < 18


def test_consistency_training_errs_as_ddims_path_does(table):
    for n in few_calls_exact.BUDGETS:
        path = table["progressive, consistency (ddim's path)", n]
        assert table["consistency training", n] == pytest.approx(path, rel=1e-6)


def test_reflow_needs_as_many_pairs_as_a_clip_has_numbers(table):
    assert table["reflow", 4][0] > 0.01 and max(table["reflow", 8]) < 1e-9


def test_matching_has_the_spread_and_not_the_map(table):
    apart, spread = table["distribution matching", 1]
    assert spread < 1e-9 and apart > 0.5


def test_more_velocities_follow_the_path_better(table):
    errors = [table["arc, all along the path", n][0] for n in (1, 2, 3, 4)]
    assert all(a > 5 * b for a, b in pairwise(errors))


def test_the_picture_is_written(tmp_path):
    few_calls_exact.draw(few_calls_exact.rows(), tmp_path / "exact.png")
    assert (tmp_path / "exact.png").stat().st_size > 1000


def test_passes_are_those_of_one_clip_with_guidance_and_autoguidance():
    model = load("time-none")
    for settings, passes in ((dict(guidance=1.0), 2), (dict(guidance=2.0), 4)):
        with few_calls.Passes(model) as counted:
            few_calls.some_clips(model, 2, seed=0, steps=2, autoguidance=0.0, **settings)
        assert counted.count == 2 * passes


def test_distance_is_relative_to_the_ink_of_the_ends():
    ends = torch.zeros(4, 2, 1, 8, 8)
    ends[..., 2:4, 2:4] = 1
    assert few_calls.distance(ends, ends)[0] == 0
    assert few_calls.distance(0 * ends, ends)[0] == pytest.approx(1)


def test_a_table_has_the_teacher_its_controls_and_the_students():
    args = SimpleNamespace(teacher="a", students=["b"], calls=[1, 4])
    found = few_calls.plans(args)
    assert found[0] == ("a", "its own", 0, {}) and len(found) == 1 + 2 * 4
    assert ("b", "its own", 4, {"steps": 4}) in found
    assert ("a", "ddim", 1, {"sampler": "ddim", "steps": 1, "autoguidance": 0.0}) in found
