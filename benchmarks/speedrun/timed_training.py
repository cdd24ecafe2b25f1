"""A worker whose only answer is a row: one training against the clock, and what it came to.

    python -m benchmarks.speedrun.timed_training '{"task": "speedrun", "began": time.monotonic(), ...}'

Its specification: plan (a recipe), seed, side, device, folder, began, budget in seconds; n, the
clips that judge it; and for the time to a SCORE: target, times (when to keep the weights), confirm.
"""
from collections.abc import Sequence
from typing import Protocol

from benchmarks.speed import tasks, worker
from benchmarks.speed.benchmark_config import OURS
from benchmarks.speedrun.clock import Clock
from minidiff.evaluation import scoreboard
from minidiff.recipes import Recipe

SCORE_SEED, CONFIRM_SEED = 50, 51                  # sampling seeds; the shipped models' rows have 100 and on


class TimedTrainer(Protocol):
    """What trains until its budget is over, and can be judged by weights that it had."""

    def steps(self): ...

    def current_weights(self): ...

    def score_weights(self, weights, n: int, seed: int) -> dict: ...


def train_and_score(racer: TimedTrainer, clock: Clock, n: int, target: float | None = None,
             times: Sequence[float] = (), confirm: int = 0) -> dict:
    """Train to the end, then judge: the row.

    first: seconds until a step was done. reached: see `time_reached`, where there is a target; the
    weights are kept at these times and at the end.
    """
    ends, kept, times = [], [], list(times)
    for _ in racer.steps():
        ends.append(clock())
        if times and ends[-1] >= times[0]:
            kept.append((ends[-1], racer.current_weights()))
            times = [t for t in times if t > ends[-1]]
    kept.append((ends[-1], racer.current_weights()))
    row = racer.score_weights(kept[-1][1], n, SCORE_SEED)
    sought = target is not None and has_reached(row, target)
    return dict(steps=len(ends), first=ends[0], seconds=ends[-1], n=n, **table_entries(row),
                reached=time_reached(racer, kept, n, confirm, target) if sought else None)


def time_reached(racer: TimedTrainer, kept: list[tuple[float, object]], n: int, confirm: int,
            target: float) -> float | None:
    """From when on SCORE was there. kept: (seconds, weights); the last ones are known to have it.

    Looked for from the end backwards, by n clips each, and confirmed by more of a fresh seed, which
    may send it forwards again; None if nothing is confirmed.
    """
    good = [kept[-1]]
    for moment in reversed(kept[:-1]):
        if not has_reached(racer.score_weights(moment[1], n, SCORE_SEED), target):
            break
        good.insert(0, moment)
    return next((seconds for seconds, weights in good
                 if has_reached(racer.score_weights(weights, confirm, CONFIRM_SEED), target)), None)


def has_reached(row: dict, target: float) -> bool:
    """Whether SCORE is there; a copier has none."""
    return (row["SCORE"] or 0) >= target


def table_entries(row: dict) -> dict:
    """What a table keeps of a scoreboard's row."""
    low, high = row["interval"]["SCORE"] or (None, None)
    return {k: row.get(k) for k in scoreboard.HEADLINE_METRICS} | dict(low=low, high=high)


def build_trainer(spec: dict, clock: Clock) -> TimedTrainer:
    """Ours or a peer, ready to run."""
    plan = Recipe(**spec["plan"])
    if spec["side"] == OURS:
        from benchmarks.speedrun.minidiff_trainer import MinidiffTrainer
        return MinidiffTrainer(spec["folder"], plan, spec["seed"], spec["device"], clock, spec["budget"])
    from benchmarks.speedrun.peer_trainer import PeerTrainer
    return PeerTrainer(spec["side"], plan, spec["seed"], clock, spec["budget"], tuple(spec["optimisations"]))


def timed_training_task(spec: dict) -> tuple[dict, None]:
    """What a worker says first, and all that it says."""
    clock = Clock(spec["began"])
    settings = {k: spec[k] for k in ("n", "target", "times", "confirm") if k in spec}
    return train_and_score(build_trainer(spec, clock), clock, **settings), None


tasks.TASKS["speedrun"] = timed_training_task

if __name__ == "__main__":
    worker.main()
