"""Seconds since a process began, imports and all, and what is done until a time is over."""
import time
from collections.abc import Callable, Iterator


class Clock:
    """`clock()` -> seconds since `began`.

    began: what `time.monotonic()` was in the process that started this one, just before: it counts
    alike in all processes of a machine.
    """

    def __init__(self, start_time: float, now: Callable[[], float] = time.monotonic):
        self.start_time, self.now = start_time, now

    def __call__(self) -> float:
        return self.now() - self.start_time

    def steps_until(self, seconds: float, steps: Iterator) -> Iterator:
        """Steps, until another one as long as the last would end after so many seconds.

        The first one warms up, so it says nothing of the next.
        """
        before, each = self(), 0.0
        for i, step in enumerate(steps):
            if i:
                each = self() - before
            before = self()
            yield step
            if before + each > seconds:
                return
