"""Where and how workers of all rows are started: cores, threads, Python, clips."""
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.paired_timing import BLOCKS, Worker
from benchmarks.speed.peers import IMPLEMENTATIONS

ROOT = Path(__file__).parents[2]
OURS, *PEERS = IMPLEMENTATIONS
PROCESS_SETS = 2                                                   # of processes
ALL_OPTIMISATIONS = ("bf16", "channels_last")                           # ours, as it comes
WORKER_MODULE = "benchmarks.speed.worker"
HUGE_PAGES = dict(GLIBC_TUNABLES="glibc.malloc.hugetlb=1")  # else speed is a matter of luck
SMALL_CLIPS, LARGE_CLIPS = dict(size=32, frames=8), dict(size=64, frames=16)


class BenchmarkConfig(NamedTuple):
    """What is the same for all rows of a run.

    cores: both workers are pinned to them, with a thread each. peers: the Python that has them.
    batch: clips in a training step and in a call. folder: where tables go. sets: of processes,
    which share the blocks of turns.
    """
    cores: list[int]
    peer_python: str = sys.executable
    blocks: int = BLOCKS
    batch: int = 4
    folder: Path = ROOT / "benchmarks" / "tables"
    process_sets: int = PROCESS_SETS

    def start_worker(self, task: str, side: str = OURS, optimisations: tuple[str, ...] = (),
              module: str = WORKER_MODULE, **spec) -> Worker:
        """A worker that is ready; clips of 32x32x8 and the usual batch unless given."""
        spec = SMALL_CLIPS | dict(batch=self.batch) | spec
        spec |= dict(task=task, side=side, optimisations=optimisations, cores=self.cores)
        python = sys.executable if side == OURS else self.peer_python
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        threads = str(len(self.cores))
        env = os.environ | dict(PYTHONPATH=path, PYTHONWARNINGS="ignore", OMP_NUM_THREADS=threads,
                                MKL_NUM_THREADS=threads) | (HUGE_PAGES if module == WORKER_MODULE else {})
        command = [python, "-m", module, json.dumps(spec)]
        return Worker(side if side in (OURS, *PEERS) else task, command, env=env)

    def run_timed_training(self, task: str, side: str = OURS, **spec) -> dict:
        """What `benchmarks.speedrun.timed_training` answers; its clock begins just before its process does."""
        with (tempfile.TemporaryDirectory() as folder,
              self.start_worker(task, side, module="benchmarks.speedrun.timed_training", folder=folder,
                         began=time.monotonic(), **spec) as worker):
            return worker.facts


def available_cores() -> list[int]:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def optimisations_label(optimisations: tuple[str, ...]) -> str:
    return " + ".join(optimisations) or "float32"
