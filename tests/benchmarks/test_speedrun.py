"""Trainings within a budget of time: what counts, when they stop, what is kept and printed."""
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks.speed import benchmark_config
from benchmarks.speed.benchmark_config import OURS, PEERS, BenchmarkConfig
from benchmarks.speed.paired_timing import WorkerFailed
from benchmarks.speed.peers import Implementation
from benchmarks.speedrun import (
    fixed_budget,
    minidiff_trainer,
    peer_trainer,
    time_to_score,
    timed_training,
)
from benchmarks.speedrun.clock import Clock
from benchmarks.speedrun.variants import (
    BUDGET_CLASSES,
    RECORD,
    VARIANTS,
    fingerprint,
    variant_recipe,
)
from minidiff import recipes
from minidiff.data import digits

CPU = BUDGET_CLASSES["cpu-10min"]
LIKE_REAL = dict(CLIPS=0.5, ID=1.0, LOOKS=1.0, PHY=0.5, NEW=1.0, PROMPT=1.0, FIT=0.9, COVER=1.0,
                 edition=2)


class Time:
    """A clock's time that moves when it is told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def steps(self, *each: float):
        for i, seconds in enumerate(each):
            self.seconds += seconds
            yield i


@pytest.mark.parametrize("name", BUDGET_CLASSES)
def test_no_two_ideas_are_the_same_training(name):
    plans = [variant_recipe(idea, BUDGET_CLASSES[name]) for idea in VARIANTS]
    assert len({fingerprint(plan) for plan in plans}) == len(VARIANTS)
    assert all(plan.sampling == plans[0].sampling for plan in plans)     # it is the evaluator's


@pytest.mark.parametrize("idea", VARIANTS)
def test_every_idea_can_be_trained(idea):
    plan = variant_recipe(idea, CPU)
    plan = plan._replace(training=plan.training | dict(batch=1))
    x, labels = next(recipes.training_batches(plan, digits.built_in(n=20), 0))
    model, g = recipes.build_model(plan.model), torch.Generator().manual_seed(0)
    assert recipes.build_objective(plan)(model, x[:, :2], labels, g).isfinite().all()


def test_a_factor_keeps_batches_whole():
    assert repr(variant_recipe("half the batch", CPU).training["batch"]) == "8"
    assert variant_recipe("half the rate", CPU).training["lr"] == pytest.approx(1.5e-3)


def test_the_clock_counts_from_the_process():
    time = Time()
    time.seconds = 7.0
    assert Clock(5.0, time)() == 2


@pytest.mark.parametrize("each, done", [((1,) * 20, 10), ((7, 1, 1, 1, 1), 4), ((3, 4, 4), 2),
                                        ((20, 1), 1), ((8, 1), 2)])
def test_no_step_is_begun_that_would_end_too_late(each, done):
    time = Time()
    assert len(list(Clock(0, time).steps_until(10, time.steps(*each)))) == done


def timed(tmp_path, monkeypatch, **training):
    """A training of ten seconds on tiny clips, a second a step, and the frames of its batches."""
    time, frames, whole = Time(), [], recipes.training_batches

    def stream(*args):
        for x, cond in whole(*args):
            time.seconds += 1
            frames.append(x.shape[1])
            yield x, cond
    monkeypatch.setattr(minidiff_trainer, "training_batches", stream)
    monkeypatch.setattr(digits, "load", lambda *_: digits.built_in(n=20))
    plan = recipes.get_recipe("tiny")
    plan = plan._replace(training=plan.training | dict(batch=1) | training)
    return minidiff_trainer.MinidiffTrainer(tmp_path, plan, 0, "cpu", Clock(0, time), 10), frames


def test_the_rate_falls_with_the_time_and_the_weights_are_kept(tmp_path, monkeypatch):
    fit, frames = timed(tmp_path, monkeypatch)
    records = list(fit.steps())
    fit.close()
    assert [r.step for r in records] == [*range(1, 11)] and set(frames) == {8}
    factors = [r.lr / 3e-3 * 50 / r.step for r in records]     # without the steps of warming up
    assert_close(factors, [1.0] * 7 + [0.02 + 0.3 / 0.4, 0.02 + 0.2 / 0.4, 0.02 + 0.1 / 0.4])
    assert (tmp_path / "model.safetensors").exists()


def test_stills_come_first_for_their_share_of_the_time(tmp_path, monkeypatch):
    fit, frames = timed(tmp_path, monkeypatch, stills=0.3)
    assert len(list(fit.steps())) == 10
    fit.close()
    assert frames == [1] * 3 + [8] * 7


def test_another_optimiser_and_the_compiler(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    fit, _ = timed(tmp_path, monkeypatch, optimizer="adamw", compiled=True)
    fit.close()
    assert [type(o) for o in fit.state.optimizers] == [torch.optim.AdamW]
    owned = sum(p.numel() for p in fit.state.optimizers[0].param_groups[0]["params"])
    assert owned == sum(p.numel() for p in fit.state.model.parameters())
    assert compiled == [fit.state.model.net]


class Known:
    """A racer whose SCORE is a function of the time; it remembers who was judged."""

    def __init__(self, score, seconds: int = 10):
        self.score, self.seconds, self.time, self.looks = score, seconds, Time(), []

    def steps(self):
        yield from self.time.steps(*[1] * self.seconds)

    def current_weights(self) -> float:
        return self.time.seconds

    def score_weights(self, weights: float, n: int, seed: int) -> dict:
        self.looks.append((weights, n, seed))
        return LIKE_REAL | dict(SCORE=self.score(weights, n), interval=dict(SCORE=(0.1, 0.2)))


def ran(racer: Known, **settings) -> dict:
    return timed_training.train_and_score(racer, Clock(0, racer.time), n=32, **settings)


def test_a_speedrun_is_judged_once_after_its_time():
    racer = Known(lambda now, n: 0.3)
    row = ran(racer)
    assert racer.looks == [(10, 32, timed_training.SCORE_SEED)]
    assert (row["steps"], row["first"], row["seconds"], row["n"]) == (10, 1, 10, 32)
    assert (row["SCORE"], row["PHY"], row["low"], row["high"]) == (0.3, 0.5, 0.1, 0.2)
    assert row["reached"] is None


SOUGHT = dict(target=0.8, times=[2.5, 4, 5.9, 9], confirm=64)


def test_a_score_is_reached_at_the_first_look_that_more_clips_confirm():
    """32 clips see it from second 4 on, but 64 not before second 6."""
    racer = Known(lambda now, n: 0.8 if now >= (4 if n == 32 else 6) else 0.7)
    row = ran(racer, **SOUGHT)
    assert (row["reached"], row["seconds"], row["n"]) == (6, 10, 32)
    first, second = timed_training.SCORE_SEED, timed_training.CONFIRM_SEED
    assert racer.looks == [(10, 32, first), (9, 32, first), (6, 32, first), (4, 32, first),
                           (3, 32, first), (4, 64, second), (6, 64, second)]


def test_a_score_that_is_lost_again_was_not_reached_there():
    racer = Known(lambda now, n: 0.9 if now in (4, 9, 10) else 0.1)
    assert ran(racer, **SOUGHT)["reached"] == 9


@pytest.mark.parametrize("score", [lambda now, n: 0.0,
                                   lambda now, n: 0.9 if now < 10 else 0.7,    # the end decides
                                   lambda now, n: 0.9 if n == 32 else 0.7])
def test_a_score_that_is_never_reached(score):
    assert ran(Known(score), **SOUGHT)["reached"] is None


@pytest.fixture
def raced(monkeypatch):
    """`run_timed_training` without processes: a function gives SCORE; the list of what ran."""
    ran = []

    def answers(score):
        def fake(self, task, side=OURS, **spec):
            ran.append(dict(task=task, side=side, **spec))
            return LIKE_REAL | dict(SCORE=score(side, spec), steps=5, first=1.0, seconds=9.0,
                                    n=spec["n"], low=0.1, high=0.2,
                                    reached=spec.get("target") and 8)
        monkeypatch.setattr(BenchmarkConfig, "run_timed_training", fake)
        return ran
    return answers


def test_a_speedrun_keeps_each_row_and_makes_none_again(raced, tmp_path, capsys):
    def score(side, spec):
        if "images" in spec["plan"]["training"]:
            raise WorkerFailed("minidiff: no room.")
        if spec["seed"] == 1 and len(ran) == 3:
            raise KeyboardInterrupt
        return 0.5 + 0.1 * spec["seed"]
    ran, ideas = raced(score), [RECORD, "half stills"]
    with pytest.raises(KeyboardInterrupt):
        fixed_budget.speedrun(BenchmarkConfig([0], folder=tmp_path), CPU, ideas, [0, 1])
    assert "half stills, seed 0: minidiff: no room." in capsys.readouterr().out
    stored = (tmp_path / "speedrun-cpu-10min.csv").read_text()
    assert stored.count(f"\n{RECORD},") == 1 and stored.startswith("# python ")
    fixed_budget.speedrun(BenchmarkConfig([0], folder=tmp_path), CPU, ideas, [0, 1])
    assert [(r["seed"], "images" in r["plan"]["training"]) for r in ran[3:]] == [
        (0, True), (1, False), (1, True)]
    assert {(r["budget"], r["n"], r["device"]) for r in ran} == {(600, 128, "cpu")}
    sought = [r for r in ran if "target" in r]
    assert [r["seed"] for r in sought] == [0, 1, 1]                  # of the record, whole or not
    assert all(r["plan"] == variant_recipe(RECORD, CPU)._asdict() for r in sought)
    assert sought[0]["times"] == pytest.approx([200, 260, 320, 380, 440, 500, 560])
    said = capsys.readouterr().out
    assert "| record | 0.55 ± 0.098 |  | 2 | 5 |" in said
    assert "record, SCORE 0.8: seed 0 8; seed 1 8" in said


def test_a_trial_has_its_own_budget_and_few_clips(raced, tmp_path):
    ran = raced(lambda side, spec: 0.1)
    fixed_budget.speedrun(BenchmarkConfig([0], folder=tmp_path), CPU, [RECORD], [4], seconds=3)
    assert [(r["budget"], r["n"], r["seed"]) for r in ran] == [(3, 32, 4)]
    assert "target" not in ran[0]


def rows_of(idea: str, *scores: tuple[int, str], **other) -> list[dict]:
    key = fixed_budget.variant_key(idea, CPU) if idea in VARIANTS else dict(idea=idea, recipe="0")
    return [key | dict(seed=str(seed), SCORE=score, steps="10") | other for seed, score in scores]


def test_differences_are_between_equal_seeds():
    rows = (rows_of(RECORD, (0, "0.2"), (1, "0.6")) + rows_of("AdamW", (1, "0.7"), (2, "0"))
            + rows_of("wide", (0, "0.4"), (1, "0.8"), (2, "0.9")) + rows_of("gone", (0, "1"))
            + rows_of("narrow", (0, "1"), recipe="of old"))
    lines = fixed_budget.record_table(rows, CPU).splitlines()
    assert lines[2].startswith("| wide | 0.7 ±") and "| 0.2 ±" in lines[2]
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| wide", "| record", "| AdamW"]
    assert "| 0.35 ±" in lines[4] and "| 0.1 | 2 | 10 |" in lines[4] and not lines[5]


def test_peers_have_three_budgets_and_a_missing_one_is_told(raced, tmp_path, capsys, monkeypatch):
    def score(side, spec):
        if side == PEERS[0]:
            raise WorkerFailed(f"{side}: it is not installed here.")
        return 0.4
    ran, sides = raced(score), [PEERS[0], OURS, PEERS[2]]
    monkeypatch.setattr(time_to_score, "fastest_optimisations",
                        lambda setting, task, side: ("bf16",))
    for _ in range(2):
        time_to_score.time_to_score(BenchmarkConfig([0], folder=tmp_path), CPU, sides, [3])
    said = capsys.readouterr().out
    assert said.count(f"{PEERS[0]}: it is not installed here.") == 2
    assert [(r["side"], r["budget"], r["n"]) for r in ran] == [
        (OURS, 600, 128), (PEERS[0], 1800, 32), (PEERS[2], 1800, 32), (PEERS[0], 1800, 32)]
    assert [r.get("optimisations") for r in ran] == [None, *[("bf16",)] * 3]
    assert "record, SCORE 0.8: seed 3 8" in said
    assert said.count(f"| {PEERS[2]} | bf16 | 3 | 8 | 0.4 | 32 | 5 |") == 2


def test_peers_do_not_race_on_a_gpu(tmp_path, capsys):
    time_to_score.time_to_score(BenchmarkConfig([0], folder=tmp_path), BUDGET_CLASSES["gpu-60s"],
                                PEERS[:1], [0])
    assert f"{PEERS[0]}: trains on the CPU alone" in capsys.readouterr().out


def test_what_is_never_reached_is_said():
    row = dict(side=PEERS[1], side_is="bf16", seed="0", reached="", SCORE="0", n="32", steps="9")
    table = time_to_score.peers_table([row], CPU)
    assert f"| {PEERS[1]} | bf16 | 0 | > 1800 | 0 | 32 | 9 |" in table
    assert fixed_budget.times_table(rows_of(RECORD, (0, "0.7"), reached=""), CPU) == "seed 0 never"
    assert fixed_budget.times_table(rows_of("wide", (0, "0.7"), reached=""), CPU) == "no run yet"


def test_a_rival_trains_on_our_batches_and_is_judged_by_its_average(monkeypatch):
    plan, seen, scored, built = recipes.get_recipe("tiny"), [], [], []
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)

    def train(x, labels):
        def step():
            network.weight.data += 1
            seen.append((x.clone(), labels.clone()))
            return 0.5
        return step
    monkeypatch.setattr(digits, "load", lambda *_: digits.built_in(n=20))
    monkeypatch.setattr(peer_trainer, "build", lambda *spec: built.append(spec) or Implementation(
        network, None, train, None, lambda some: network.weight.expand(len(some), 1), 1,
        conditional=False))
    monkeypatch.setattr(peer_trainer.scoreboard, "score", lambda *args, **_: scored.append(args))
    time = Time()
    peer = peer_trainer.PeerTrainer("any", plan, 0, Clock(0, time), 10, ("bf16",))
    steps = peer.steps()
    assert [next(steps) for _ in range(3)] == [0.5] * 3
    ours = recipes.training_batches(plan, digits.built_in(n=20), 0)
    assert_close(seen, [next(ours) for _ in seen])
    peer.score_weights(peer.current_weights(), 40, 0)
    (clips, labels), average = scored[0], peer.ema.model.weight
    assert built == [("any", 32, 8, ("bf16",))]
    assert len(clips) == 40 and labels is None
    assert_close(clips, average.expand(40, 1))
    assert 1 < average < 3 and network.weight == 3 and network.training


def test_one_real_process(tmp_path):
    plan = recipes.get_recipe("tiny")._replace(sampling=dict(steps=1))
    config = BenchmarkConfig(benchmark_config.available_cores()[:1])
    row = config.run_timed_training("speedrun", plan=plan._asdict(), seed=0, n=32, device="cpu",
                                    budget=0.1)
    assert row["steps"] == 1 and row["n"] == 32 and 0 <= row["SCORE"] < 0.5
    assert row["seconds"] == row["first"] > 0.1                # imports count: late at once


def test_the_command_line_knows_old_and_new_commands(monkeypatch, tmp_path):
    did = []
    for name in command_line.COMPARISONS:
        monkeypatch.setitem(command_line.COMPARISONS, name,
                            lambda s, name=name: did.append((name, s)))
    monkeypatch.setattr(command_line, "speedrun", lambda *args: did.append(args))
    monkeypatch.setattr(command_line, "time_to_score", lambda *args: did.append(args))
    command_line.main(["all", "--quick", "--peers", "py"])
    assert [name for name, _ in did] == ["sample", "train", "memory", "roofline", "data"]
    assert {(s.blocks, s.batch, s.peer_python) for _, s in did} == {(3, 1, "py")}
    assert did[0][1].folder != BenchmarkConfig([0]).folder
    command_line.main(["data", "--cores", "0,1", "--blocks", "20", "--batch", "2"])
    assert did[-1] == ("data", BenchmarkConfig([0, 1], sys.executable, 20, 2))
    command_line.main(["speedrun", "--class", "cpu-10min", "--cores", "1,2,3"])
    assert did[-1] == (BenchmarkConfig([1, 2], sys.executable), CPU, [RECORD], [0, 1, 2], None)
    command_line.main(["speedrun", "--class", "core-10min", "--ideas", "wide", "--seconds", "4"])
    assert did[-1][0].folder != BenchmarkConfig([0]).folder
    assert did[-1][2:] == (["wide"], [0, 1, 2], 4)
    command_line.main(["time-to-score", "--class", "cpu-10min", "--cores", "0,1", "--seeds", "7"])
    assert did[-1] == (BenchmarkConfig([0, 1], sys.executable), CPU, [OURS], [7])
    with pytest.raises(SystemExit, match="needs 2 cores, not 1"):
        command_line.main(["speedrun", "--class", "cpu-10min", "--cores", "0"])
    with pytest.raises(SystemExit):
        command_line.main(["speedrun", "--class", "an hour"])


def test_a_class_for_gpus_says_that_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="gpu-60s needs a GPU"):
        command_line.main(["speedrun", "--class", "gpu-60s"])
