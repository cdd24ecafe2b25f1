"""How the workers of all rows are started: cores, threads, Python, clips."""
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
PROCESS_SETS = 2                                    # sets of processes that share the blocks
ALL_OPTIMISATIONS = ("bf16", "channels_last")       # what minidiff uses by default
WORKER_MODULE = "benchmarks.speed.worker"
HUGE_PAGES = dict(GLIBC_TUNABLES="glibc.malloc.hugetlb=1")  # without them speed varies by luck
SMALL_CLIPS, LARGE_CLIPS = dict(size=32, frames=8), dict(size=64, frames=16)


class BenchmarkConfig(NamedTuple):
    """The configuration that all rows of a run share.

    cores: the workers are pinned to them, with a thread each. peer_python: the Python that has the
    other libraries. batch: clips in a training step and in a call. folder: for the tables.
    process_sets: sets of processes, which share the blocks of turns.
    """
    cores: list[int]
    peer_python: str = sys.executable
    blocks: int = BLOCKS
    batch: int = 4
    folder: Path = ROOT / "benchmarks" / "tables"
    process_sets: int = PROCESS_SETS

    def start_worker(self, task: str, side: str = OURS, optimisations: tuple[str, ...] = (),
                     module: str = WORKER_MODULE, **spec) -> Worker:
        """A worker process that is ready; clips of 32x32x8 and the usual batch unless given."""
        spec = SMALL_CLIPS | dict(batch=self.batch) | spec
        spec |= dict(task=task, side=side, optimisations=optimisations, cores=self.cores)
        python = sys.executable if side == OURS else self.peer_python
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        threads = str(len(self.cores))
        env = os.environ | dict(PYTHONPATH=path, PYTHONWARNINGS="ignore", OMP_NUM_THREADS=threads,
                                MKL_NUM_THREADS=threads)
        if module == WORKER_MODULE:
            env |= HUGE_PAGES
        command = [python, "-m", module, json.dumps(spec)]
        return Worker(side if side in (OURS, *PEERS) else task, command, env=env)

    def run_timed_training(self, task: str, side: str = OURS, **spec) -> dict:
        """The row of `speedrun.timed_training`; its clock starts just before its process does."""
        module = "benchmarks.speedrun.timed_training"
        with (tempfile.TemporaryDirectory() as folder,
              self.start_worker(task, side, module=module, folder=folder, began=time.monotonic(),
                                **spec) as worker):
            return worker.facts


def available_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def optimisations_label(optimisations: tuple[str, ...]) -> str:
    """The optimisations in words; "float32" if there are none."""
    return " + ".join(optimisations) or "float32"
