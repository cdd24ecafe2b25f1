"""What was tried against the scoreboard: each kind stays below its limit, fair changes above it."""
from itertools import pairwise

import pytest
import torch

from minidiff.data import digits
from minidiff.evaluation import reference_rows
from minidiff.evaluation.baselines import BASELINES, Studio
from minidiff.evaluation.reference_rows import baseline_rows, ship_reference
from minidiff.evaluation.references import load_reference, reference_for
from minidiff.evaluation.scoreboard import score

N, MARGIN = 128, 0.1                      # the limits hold at n = 256; fewer clips vary more
PARTS = "ID", "LOOKS", "PHY", "NEW", "FIT", "COVER"
ONE = [k for k, b in BASELINES.items() if b.digits is None and b.kind != "source"]
TRIVIAL = [k for k, b in BASELINES.items() if b.kind == "trivial"]


@pytest.fixture(scope="module")
def studio():
    """Digits that are in no split, and the training digits for copies."""
    return Studio(digits.Digits(*digits.strokes(3000, seed=4242)), N, seed=1,
                  train=digits.built_in("train"))


@pytest.fixture(scope="module")
def rows(studio):
    """The row of a baseline, computed once."""
    found = {}

    def row(name):
        if name not in found:
            found[name] = score(BASELINES[name].make(studio), seeds=(1,))
        return found[name]
    return row


@pytest.mark.parametrize("name", ONE)
def test_every_baseline_stays_within_its_limits(rows, name):
    row, baseline = rows(name), BASELINES[name]
    assert baseline.at_least - MARGIN <= row["SCORE"] <= baseline.at_most + MARGIN * (
        baseline.at_most > 0.25)


@pytest.mark.parametrize("name", [k for k in ONE if BASELINES[k].part])
def test_the_part_that_should_catch_it_does(rows, name):
    row, part = rows(name), BASELINES[name].part
    assert row[part] <= min(row[k] for k in PARTS) + 0.05 or (
        row[part] < BASELINES[name].at_most)


def test_the_kinds_of_the_review_are_all_there():
    assert len(BASELINES) >= 60
    assert {b.kind for b in BASELINES.values()} == {
        "real", "trivial", "defect", "variety", "looks", "copies", "dirt", "unwatched", "walls",
        "fair", "proportional", "source"}


def test_what_walls_keep_falls_smoothly(rows):
    scores = [rows("real")["SCORE"]] + [
        rows(f"walls keep {k:g} of the speed")["SCORE"] for k in (.9, .85, .8, .7, .5)]
    falls = [a - b for a, b in pairwise(scores)]
    assert all(0 < fall < 0.4 for fall in falls)


def test_clips_are_what_they_say(studio):
    for name in ONE:
        x = BASELINES[name].make(studio)
        assert x.shape == (N, 8, 1, 32, 32) and x.min() >= -1e-5 and x.max() <= 1.0001, name
    again = Studio(studio.digits, N, seed=1)
    assert torch.equal(BASELINES["ten images"].make(again), BASELINES["ten images"].make(studio))


@pytest.mark.parametrize("source", ["builtin", "mnist"])
def test_shipped_rows_agree(source):
    shipped = reference_for(source, 32, 8).metadata["rows"]
    assert shipped["real"]["SCORE"] >= 0.94 and shipped["copies"]["NEW"] < 0.2
    assert all(shipped[name]["SCORE"] <= 0.25 for name in TRIVIAL)
    assert shipped["ten images"]["SCORE"] <= 0.4
    assert shipped["another image in every frame"]["SCORE"] <= 0.4
    assert {row["edition"] for row in shipped.values()} == {2}


@pytest.mark.parametrize("name", [*TRIVIAL, "blurred", "swapped", "one digit", "one lost"])
def test_shipped_rows_of_two_digits(name):
    rows = reference_for("mnist", 64, 16, 20, 2).metadata["rows"]
    assert rows["real"]["SCORE"] >= 0.92
    assert rows[name]["SCORE"] <= BASELINES[name].at_most


def test_rows_come_by_name(monkeypatch):
    monkeypatch.setattr(reference_rows, "load", lambda source, split: digits.built_in(split, 400))
    ref = reference_for("builtin", 32, 8)
    rows = dict(baseline_rows("builtin", 32, reference=ref, names=["black", "real"]))
    assert [*rows] == ["real", "black"] and rows["black"]["SCORE"] == 0 and rows["real"]["n"] == 32


def test_shipping_is_saving(tmp_path, monkeypatch):
    ref = reference_for("builtin", 32, 8)

    class Build:
        def __call__(self, *_):
            return ref._replace(metadata=dict(ref.metadata))

        def cache_clear(self):
            pass
    monkeypatch.setattr(reference_rows, "build_reference", Build())
    monkeypatch.setattr(reference_rows, "baseline_rows",
                        lambda source, n, reference, names: [("real", {"n": n})])
    again = load_reference(ship_reference("builtin", folder=tmp_path))
    assert again.metadata["rows"] == {"real": {"n": reference_rows.SHIPPED_ROWS}}
    torch.testing.assert_close(again.films, ref.films)
    assert (again.train_codes == ref.train_codes).all()
