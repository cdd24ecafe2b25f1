"""A worker whose only answer is a row: one training against the clock, and what it came to.

    python -m benchmarks.race '{"task": "speedrun", "began": time.monotonic(), ...}'

Its specification: plan (a recipe), seed, side, device, folder, began, budget in seconds; and for a
speedrun n, the clips that judge it, else target, times (when to look) and n_look, n.
"""
from collections.abc import Sequence
from contextlib import closing
from typing import Protocol

from benchmarks import tasks, worker
from benchmarks.clock import Clock
from benchmarks.setting import OURS
from minidiff import scoreboard
from minidiff.recipes import Recipe

LOOK, CONFIRM = 50, 51                  # sampling seeds; the shipped models' rows have 100 and on


class Racer(Protocol):
    """What trains until its budget is over, and can be judged at any time."""

    def steps(self): ...

    def judged(self, n: int, seed: int) -> dict: ...


def speedrun(racer: Racer, clock: Clock, n: int) -> dict:
    """Train to the end, then judge: the row. first: seconds until a step was done."""
    ends = [clock() for _ in racer.steps()]
    return dict(steps=len(ends), first=ends[0], seconds=ends[-1], n=n,
                **told(racer.judged(n, LOOK)))


def time_to_score(racer: Racer, clock: Clock, target: float, times: Sequence[float], n_look: int,
                  n: int) -> dict:
    """Train until n clips of a fresh seed confirm the target, which n_look promised; the row.

    times: when to look. The clock stands still meanwhile; seconds is None if it is never reached.
    """
    with closing(racer.steps()) as records:
        for steps, _ in enumerate(records, 1):
            seconds = clock()
            if not times or seconds < times[0]:
                continue
            times = [t for t in times if t > seconds]
            with clock.stopped():
                if reaches(racer.judged(n_look, LOOK), target) and reaches(
                        row := racer.judged(n, CONFIRM), target):
                    return dict(seconds=seconds, steps=steps, n=n, **told(row))
    row = racer.judged(n, CONFIRM)
    seconds = seconds if reaches(row, target) else None
    return dict(seconds=seconds, steps=steps, n=n, **told(row))


def reaches(row: dict, target: float) -> bool:
    """Whether SCORE is there; a copier has none."""
    return (row["SCORE"] or 0) >= target


def told(row: dict) -> dict:
    """What a table keeps of a scoreboard's row."""
    low, high = row["interval"]["SCORE"] or (None, None)
    return {k: row.get(k) for k in scoreboard.HEADLINES} | dict(low=low, high=high)


def racer(spec: dict, clock: Clock) -> Racer:
    """Ours or a peer, ready to run."""
    plan = Recipe(**spec["plan"])
    if spec["side"] == OURS:
        from benchmarks.sprint import Sprint
        return Sprint(spec["folder"], plan, spec["seed"], spec["device"], clock, spec["budget"])
    from benchmarks.rival import Rival
    return Rival(spec["side"], plan, spec["seed"], clock, spec["budget"])


def raced(spec: dict, run, *settings: str) -> tuple[dict, None]:
    """What a worker says first, and all that it says."""
    clock = Clock(spec["began"])
    return run(racer(spec, clock), clock, **{k: spec[k] for k in settings}), None


tasks.TASKS |= {
    "speedrun": lambda spec: raced(spec, speedrun, "n"),
    "time to score": lambda spec: raced(spec, time_to_score, "target", "times", "n_look", "n")}

if __name__ == "__main__":
    worker.main()
