"""Two processes timed in turns, A B B A: if the machine slows down, both become slower.

    with Worker("ours", command) as a, Worker("theirs", other) as b:
        warm_up(a), warm_up(b)
        found = compare_blocks(time_blocks(a, b, 15))        # how many times as fast A is
        check_self_ratio("ours", time_blocks(a, again, 15))  # A against A must give 1.00 +- .05

Each block of four turns gives one ratio. The result is the median of the blocks, with an interval
from bootstrapped blocks. Blocks of several pairs of processes may be joined, because two equal
processes can differ as long as they live.
"""
import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from math import ceil
from random import Random
from statistics import median
from typing import NamedTuple

BLOCKS = 15
TOLERANCE = 0.05                                           # allowed difference of A against A


class NotMeasurable(Exception):
    """The machine is too uneven just now; the message says how uneven."""


class WorkerFailed(Exception):
    """A process failed; the message says why in one sentence."""


class Turn(NamedTuple):
    """Seconds and processor seconds an iteration; bytes at the peak so far."""
    wall: float
    cpu: float
    peak: int


Block = tuple[Turn, Turn]                                  # A's and B's


class Comparison(NamedTuple):
    """B's seconds over A's: how many times as fast A is, and the 95 % interval of that median.

    cpu: the same of processor seconds. a, b: the median turn of either.
    """
    ratio: float
    low: float
    high: float
    cpu: float
    a: Turn
    b: Turn
    blocks: int


class Worker:
    """A process that answers as `benchmarks.speed.worker` does; several can start at once.

    repeats: iterations in a turn, enough to time it; `warm_up` sets them.
    """

    def __init__(self, name: str, command: Sequence[str], **popen):
        self.name, self.repeats = name, 1
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe nobody reads fills up)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, **popen)

    @cached_property
    def facts(self) -> dict:
        """Its first answer; waits for it. Raises WorkerFailed if the process cannot start."""
        return self.read_answer()

    def read_answer(self) -> dict:
        """The next answer. Raises WorkerFailed if the process ended or reports an error."""
        said = self.process.stdout.readline()
        if not said:
            status = self.process.wait()
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise WorkerFailed(f"{self.name} ended with status {status}: {last[0]}.")
        answer = json.loads(said)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}.")
        return answer

    def run_turn(self, times: int | None = None) -> Turn:
        """One turn: so many iterations, `repeats` unless given."""
        times = times or self.repeats
        _ = self.facts                                         # its first answer
        with suppress(BrokenPipeError):                        # read_answer() says why it ended
            self.process.stdin.write(f"{times}\n")
            self.process.stdin.flush()
        answer = self.read_answer()
        return Turn(answer["wall"] / times, answer["cpu"] / times, answer.get("peak", 0))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):                    # what the process never read
                pipe.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def warm_up(worker: Worker, min_seconds: float = 0.2, max_turns: int = 40,
            tolerance: float = 0.1) -> Turn:
    """Turns of at least `min_seconds` until three of the last five agree: their median.

    They agree if the slowest takes at most (1 + tolerance) times as long as the fastest. Raises
    NotMeasurable if that does not happen within `max_turns` turns.
    """
    turns = [worker.run_turn(1), worker.run_turn(1)]
    worker.repeats = max(1, ceil(min_seconds / max(turns[-1].wall, 1e-6)))
    if worker.repeats > 1:
        turns.clear()
    while len(turns) < max_turns:
        turns.append(worker.run_turn())
        last = sorted(turns[-5:])                              # by their seconds
        for three in zip(last, last[1:], last[2:], strict=False):
            if three[2].wall <= (1 + tolerance) * three[0].wall:
                return median_turn(three)
    raise NotMeasurable(f"{worker.name} did not settle: its last turns took "
                        f"{', '.join(f'{t.wall:.3g}' for t in turns[-3:])} s")


def time_blocks(a: Worker, b: Worker, n: int = BLOCKS) -> list[Block]:
    """n times A B B A between two warm workers: the mean turn of either."""
    made = []
    for _ in range(n):
        first, second, third, fourth = a.run_turn(), b.run_turn(), b.run_turn(), a.run_turn()
        made.append((mean_turn(first, fourth), mean_turn(second, third)))
    return made


def compare_blocks(pairs: Sequence[Block]) -> Comparison:
    """The median ratio of the blocks, with its interval."""
    ratios = [y.wall / x.wall for x, y in pairs]
    cpu = median(y.cpu / max(x.cpu, 1e-9) for x, y in pairs)
    a, b = (median_turn(turns) for turns in zip(*pairs, strict=True))
    return Comparison(median(ratios), *bootstrap_interval(ratios), cpu, a, b, len(pairs))


def check_self_ratio(name: str, pairs: Sequence[Block]) -> float:
    """The ratio of a side against itself. Raises NotMeasurable unless it is 1.00 +- .05."""
    found = compare_blocks(pairs)
    if abs(found.ratio - 1) > TOLERANCE:
        raise NotMeasurable(f"{name} against itself gave {found.ratio:.2f} "
                            f"({found.low:.2f} to {found.high:.2f})")
    return found.ratio


def bootstrap_interval(values: Sequence[float], draws: int = 2000,
                       seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the median, from values drawn again with replacement."""
    random = Random(seed)
    found = sorted(median(random.choices(values, k=len(values))) for _ in range(draws))
    return found[round(0.025 * (draws - 1))], found[round(0.975 * (draws - 1))]


def mean_turn(x: Turn, y: Turn) -> Turn:
    """The mean of two turns, with the higher peak."""
    return Turn((x.wall + y.wall) / 2, (x.cpu + y.cpu) / 2, max(x.peak, y.peak))


def median_turn(turns: Sequence[Turn]) -> Turn:
    """The median of several turns, with the highest peak."""
    return Turn(median(t.wall for t in turns), median(t.cpu for t in turns),
                max(t.peak for t in turns))
