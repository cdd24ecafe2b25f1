"""Seconds since a process started, with its imports, and steps within a budget of time."""
import time
from collections.abc import Callable, Iterator


class Clock:
    """`clock()` -> seconds since `start_time`.

    start_time: `time.monotonic()` in the parent process, just before it started this one; all
    processes of a machine share that clock.
    """

    def __init__(self, start_time: float, now: Callable[[], float] = time.monotonic):
        self.start_time, self.now = start_time, now

    def __call__(self) -> float:
        return self.now() - self.start_time

    def steps_until(self, seconds: float, steps: Iterator) -> Iterator:
        """Steps, until another one as long as the last would end after so many seconds.

        The first step warms up, so its length is not used.
        """
        before, each = self(), 0.0
        for i, step in enumerate(steps):
            if i:
                each = self() - before
            before = self()
            yield step
            if before + each > seconds:
                return
