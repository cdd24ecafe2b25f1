"""A worker whose only answer is a row: one training within a budget of time, and its scores.

    python -m benchmarks.speedrun.timed_training '{"task": "speedrun", "began": 12.3, ...}'

Its specification: plan (a recipe), seed, side, device, folder, began (`time.monotonic()` before its
start), budget in seconds; n, the clips that are scored; and for the time to a SCORE: target, times
(when to keep the weights), confirm (clips that confirm it).
"""
from collections.abc import Sequence
from typing import Protocol

from benchmarks.speed import tasks, worker
from benchmarks.speed.benchmark_config import OURS
from benchmarks.speedrun.clock import Clock
from minidiff.evaluation import scoreboard
from minidiff.recipes import Recipe

SCORE_SEED, CONFIRM_SEED = 50, 51           # sampling seeds; those of model cards start at 100


class TimedTrainer(Protocol):
    """A training that ends with its budget and can score the weights that it had."""

    def steps(self):
        """Train until the budget is over; yields after each step."""

    def current_weights(self):
        """A copy of the averaged weights."""

    def score_weights(self, weights, n: int, seed: int) -> dict:
        """The scoreboard's row for n clips of a model with these weights."""


def train_and_score(trainer: TimedTrainer, clock: Clock, n: int, target: float | None = None,
                    times: Sequence[float] = (), confirm: int = 0) -> dict:
    """Train to the end, then score: the row.

    Its entry `first` is the seconds until the first step was done; `reached` is `time_reached`, if
    there is a target. The weights are kept at `times` and at the end.
    """
    ends, kept, times = [], [], list(times)
    for _ in trainer.steps():
        ends.append(clock())
        if times and ends[-1] >= times[0]:
            kept.append((ends[-1], trainer.current_weights()))
            times = [t for t in times if t > ends[-1]]
    kept.append((ends[-1], trainer.current_weights()))
    row = trainer.score_weights(kept[-1][1], n, SCORE_SEED)
    sought = target is not None and has_reached(row, target)
    return dict(steps=len(ends), first=ends[0], seconds=ends[-1], n=n, **table_entries(row),
                reached=time_reached(trainer, kept, n, confirm, target) if sought else None)


def time_reached(trainer: TimedTrainer, kept: list[tuple[float, object]], n: int, confirm: int,
                 target: float) -> float | None:
    """Seconds after which SCORE stayed at the target. kept: (seconds, weights); the last have it.

    The search goes backwards from the end, with n clips each. More clips of another seed confirm
    the earliest one; if they do not, the next one is tried. None if nothing is confirmed.
    """
    good = [kept[-1]]
    for moment in reversed(kept[:-1]):
        if not has_reached(trainer.score_weights(moment[1], n, SCORE_SEED), target):
            break
        good.insert(0, moment)
    for seconds, weights in good:
        if has_reached(trainer.score_weights(weights, confirm, CONFIRM_SEED), target):
            return seconds
    return None


def has_reached(row: dict, target: float) -> bool:
    """Whether a row has this SCORE."""
    return row["SCORE"] >= target


def table_entries(row: dict) -> dict:
    """The entries of a scoreboard's row that a table stores."""
    low, high = row["interval"]["SCORE"]
    entries = {k: row.get(k) for k in (*scoreboard.HEADLINE_METRICS, "edition")}
    return entries | dict(low=low, high=high)


def build_trainer(spec: dict, clock: Clock) -> TimedTrainer:
    """The trainer of minidiff or of another library."""
    recipe, seed, budget = Recipe(**spec["plan"]), spec["seed"], spec["budget"]
    if spec["side"] == OURS:
        from benchmarks.speedrun.minidiff_trainer import MinidiffTrainer
        return MinidiffTrainer(spec["folder"], recipe, seed, spec["device"], clock, budget)
    from benchmarks.speedrun.peer_trainer import PeerTrainer
    return PeerTrainer(spec["side"], recipe, seed, clock, budget, tuple(spec["optimisations"]))


def timed_training_task(spec: dict) -> tuple[dict, None]:
    """The row as the worker's facts; there is nothing to repeat."""
    clock = Clock(spec["began"])
    settings = {k: spec[k] for k in ("n", "target", "times", "confirm") if k in spec}
    return train_and_score(build_trainer(spec, clock), clock, **settings), None


tasks.TASKS["speedrun"] = timed_training_task

if __name__ == "__main__":
    worker.main()
