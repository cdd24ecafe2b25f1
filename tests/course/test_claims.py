"""What chapters say in numbers: intervals, verdicts, tables; and how stored tables are made."""
import re
from importlib.util import module_from_spec, spec_from_file_location
from math import isfinite
from pathlib import Path

import pytest
import torch

from minidiff.course.student import claims
from minidiff.course.student.claims import (
    CLAIM_VERDICTS,
    TABLES,
    claim,
    claims_table,
    confidence_interval,
    exact_claim,
    load_table,
    markdown_table,
    mean_difference,
    table_provenance,
)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
spec = spec_from_file_location("results_table", BENCHMARKS / "results_table.py")
bench = module_from_spec(spec)
spec.loader.exec_module(bench)

HOLDS, FAILS, UNDECIDED = CLAIM_VERDICTS


# Claims

def test_the_interval_of_a_known_sample():
    mean, half = confidence_interval(torch.tensor([1, 2, 3, 4]))
    assert mean == 2.5 and half == pytest.approx(1.96 * (5 / 3)**0.5 / 2)


def test_intervals_hold_the_mean_nineteen_times_of_twenty():
    draws = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    held = sum(abs(mean) < half for mean, half in map(confidence_interval, draws))
    assert 0.92 < held / 2000 < 0.97


def test_independent_errors_add_as_squares():
    assert mean_difference((5.0, 3.0), (2.0, 4.0)) == (3.0, 5.0)


@pytest.fixture(autouse=True)
def full_size(monkeypatch):
    """Claims are judged, which they are not in the smoke profile."""
    monkeypatch.setenv("MINIDIFF_PROFILE", "cpu")


@pytest.mark.parametrize(("values", "low", "high"), [
    ([1.0] * 4, 0.51, 1.0), ([0.0] * 4, 0.0, 0.49), ([1.0, 0, 0, 0], 0.046, 0.699),
    ([0.0] * 10, 0.0, 0.278), ([0.0] * 5 + [1.0] * 5, 0.237, 0.763),
    ([1.0, 1.0, 1.0, -1.0], -0.48, 1.0), ([-1.0] * 6, -1.0, -0.5)])
def test_intervals_of_shares_stay_in_their_range(values, low, high):
    found = claims.limits(torch.tensor(values))
    assert found == pytest.approx((low, high), abs=0.005)


def test_intervals_of_other_values_are_the_usual_ones():
    values = torch.tensor([0.0, 0.5, 1.0, 2.0])
    mean, half = confidence_interval(values)
    assert claims.limits(values) == (mean - half, mean + half)


def test_nothing_is_judged_in_the_smoke_profile(monkeypatch):
    monkeypatch.setenv("MINIDIFF_PROFILE", "smoke")
    row = claim(3, "so", (-6e-7, 1e-7))
    assert row.verdict == "not judged at this size" == claims.NOT_JUDGED
    assert exact_claim(3, "so", 1.0, True).verdict == HOLDS


@pytest.mark.parametrize(("measured", "level", "verdict"), [
    ((1.0, 0.5), 0.0, HOLDS), ((-1.0, 0.5), 0.0, FAILS), ((0.25, 0.5), 0.0, UNDECIDED),
    ((0.5, 0.5), 0.0, UNDECIDED), ((-0.5, 0.5), 0.0, UNDECIDED),                 # touches 0
    ((1.5, 0.25), 1.0, HOLDS), ((1.5, 0.25), 2.0, FAILS), ((1.5, 0.25), 1.75, UNDECIDED)])
def test_a_claim_holds_where_the_whole_interval_is_above_the_level(measured, level, verdict):
    assert claim(1, "so", measured, threshold=level).verdict == verdict


@pytest.mark.parametrize(("measured", "level", "verdict"), [
    ((0.0, 0.125), 0.0, HOLDS), ((-0.0625, 0.125), 0.0, HOLDS), ((0.25, 0.125), 0.0, UNDECIDED),
    ((0.0, 0.5), 0.0, UNDECIDED),                                     # reaches out on both sides
    ((0.5, 0.125), 0.0, FAILS), ((-0.5, 0.125), 0.0, FAILS),
    ((0.125, 0.125), 0.0, UNDECIDED), ((0.375, 0.125), 0.0, UNDECIDED),          # touch the margin
    ((1.0, 0.125), 1.0, HOLDS), ((6.0, 0.125), 1.0, FAILS), ((0.0, 0.125), 1.0, FAILS)])
def test_a_claim_of_equality_holds_where_the_whole_interval_is_within(measured, level, verdict):
    assert claim(1, "the same", measured, within=0.25, threshold=level).verdict == verdict


def test_a_claim_says_what_was_measured():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    row = claim(9, "more", values, threshold=0.5)
    assert row == claim(9, "more", confidence_interval(values), threshold=0.5)
    assert row == (9, "more", "2.5", "1.23 to 3.77", HOLDS)


def test_what_is_exact_needs_no_interval():
    assert exact_claim(19, "repeats", "1e-07", False) == (19, "repeats", "1e-07", "exact", FAILS)
    assert exact_claim(19, "repeats", 0.12345, torch.tensor(True))[2:] == ("0.123", "exact", HOLDS)


def test_verdicts_are_a_table_in_the_claims_order():
    rows = [exact_claim(9, "b", 1, True), exact_claim(10, "c", 1, True),
            exact_claim(2, "a", 1, True), exact_claim(9, "a", 1, True)]
    lines = claims_table(rows).data.splitlines()
    assert {line.count("|") for line in lines} == {6}
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| 2", "a"], ["| 9", "b"], ["| 9", "a"], ["| 10", "c"]]


def test_a_table_makes_means_of_values_and_leaves_words():
    head, line, row = markdown_table(("a", "b", "c", "d", "e"), [
        ("word", 3, 0.12345, torch.tensor(0.5), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    ]).data.splitlines()
    assert head == "| a | b | c | d | e |" and set(line) <= set("| -")
    assert row == "| word | 3 | 0.123 | 0.5 | 2.5 ± 1.3 |"
    shares = markdown_table(("a",), [(torch.tensor([1, 1, 0, 1]).float(),)]).data
    assert shares.splitlines()[-1] == "| 0.75 (0.3 to 0.95) |"


# Stored tables

def test_a_missing_table_says_how_it_is_made():
    with pytest.raises(FileNotFoundError, match=r"python -m benchmarks\.studies\.nothing"):
        load_table("nothing")


def test_a_stored_table_is_read_as_numbers_words_and_gaps(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "TABLES", tmp_path)
    (tmp_path / "some.csv").write_text("# python -m benchmarks.studies.some\n# today\nname,x,y\n"
                                       "a#,1e-3,\nb,-2,inf\n", encoding="utf-8")
    assert load_table("some") == [{"name": "a#", "x": 0.001, "y": None},
                              {"name": "b", "x": -2.0, "y": float("inf")}]
    assert table_provenance("some") == "python -m benchmarks.studies.some\ntoday"


@pytest.mark.parametrize("name", [path.stem for path in sorted(TABLES.glob("*.csv"))])
def test_every_shipped_table_is_whole_and_says_how_where_and_when(name):
    rows, (how, where, *_) = load_table(name), table_provenance(name).splitlines()
    assert rows and len({tuple(row) for row in rows}) == 1
    assert all(isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    assert how.split()[:3] == ["python", "-m", f"benchmarks.studies.{name}"]
    assert (BENCHMARKS / "studies" / f"{name}.py").is_file()
    assert re.match(r"20\d\d-\d\d-\d\d, \w.*, \d+ threads, Python 3\.\S+, torch \d", where)


COLUMNS = "sampler", "calls", "scale", "score"


def begun(folder, columns=COLUMNS):
    return bench.ResultsTable("some", columns, ("sampler", "calls", "scale"), folder, "a note")


def run(folder, wanted, fails_at=None) -> list:
    """As a benchmark does: the rows that it had to make."""
    made, rows = [], begun(folder)
    for sampler, calls in wanted:
        if not rows.has(sampler=sampler, calls=calls, scale=1.5):
            if len(made) == fails_at:
                raise KeyboardInterrupt
            made.append((sampler, calls))
            rows.add(sampler=sampler, calls=calls, scale=1.5, score=calls / 3)
    return made


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    wanted = [("ddim", 4), ("heun", 4), ("ddim", 8), ("heun", 8)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, wanted, fails_at=2)
    assert run(tmp_path, wanted) == wanted[2:]
    assert run(tmp_path, wanted) == []
    monkeypatch.setattr(claims, "TABLES", tmp_path)
    assert [(r["sampler"], r["calls"]) for r in load_table("some")] == wanted
    assert load_table("some")[0]["score"] == 1.3333
    provenance = table_provenance("some")
    assert len(provenance.splitlines()) == 3 and provenance.endswith("a note")


def test_rows_that_another_command_adds_stand_below_it(tmp_path, monkeypatch):
    for words, wanted in ((["first"], [("ddim", 4)]), (["second", "--more"], [("heun", 4)]),
                          (["second", "--more"], [("heun", 8)]), (["idle"], [("heun", 8)])):
        monkeypatch.setattr(bench.sys, "argv", [f"benchmarks/studies/{words[0]}.py", *words[1:]])
        run(tmp_path, wanted)
    lines = (tmp_path / "some.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split()[-1] if line[:8] == "# python" else line[:4] for line in lines
            if line[:4] not in ("# 20", "# a ", "samp")] == \
        ["benchmarks.studies.first", "ddim", "--more", "heun", "heun"]
    monkeypatch.setattr(claims, "TABLES", tmp_path)
    assert [r["calls"] for r in load_table("some")] == [4, 4, 8]


def test_a_key_is_the_same_before_and_after_the_disk(tmp_path):
    begun(tmp_path).add(sampler="ddim", calls=4, scale=0.1 + 0.2, score=None)
    assert begun(tmp_path).has(sampler="ddim", calls=4.0, scale=0.3)
    assert not begun(tmp_path).has(sampler="ddim", calls=4, scale=0.31)


def test_a_table_with_other_columns_is_refused(tmp_path):
    begun(tmp_path)
    with pytest.raises(ValueError, match=r"has the columns sampler, .* remove it"):
        begun(tmp_path, (*COLUMNS, "more"))
