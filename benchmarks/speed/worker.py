"""One side of a comparison in a process of its own: it waits until told to work, and is timed.

    python -m benchmarks.speed.worker '{"task": "train", "side": "minidiff", "cores": [0, 1], ...}'

It first answers a line of facts (JSON), or {"error": a sentence}. Then for every line N on stdin it
does N iterations and answers {"wall", "cpu", "peak"}: seconds and processor seconds of all N, and
the bytes it needed at its peak beyond those of its imports. It blocks while another side works.
"""
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def peak_bytes() -> int:
    """The most memory this process ever held.

    Where there is /proc it is asked: ru_maxrss begins, on Linux, with what the parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def pin_to_cores(cores: list[int]) -> None:
    """Stay on these cores, where the system can be asked to."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def limit_memory(size: int) -> None:
    """Ask for no more than so many bytes: too large a model gets an error, not the machine."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def serve(prepare: Callable[[], tuple[dict, Callable[[], object]]]) -> None:
    """Answer until stdin ends. prepare() -> (facts, iterate).

    Whatever libraries print goes to stderr, so that answers stay alone on stdout.
    """
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**said) -> None:
        print(json.dumps(said), file=answers, flush=True)
    try:
        facts, iterate = prepare()
        answer(**facts)
        imports = facts.get("imports", 0)
        for line in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(line)):
                iterate()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            answer(wall=wall, cpu=cpu, peak=max(0, peak_bytes() - imports))
    except ImportError as e:
        answer(error=f"{e.name or e} is not installed here")
    except (MemoryError, RuntimeError) as e:
        answer(error=str(e).splitlines()[0])


def main() -> None:
    spec = json.loads(sys.argv[1])
    pin_to_cores(spec["cores"])

    def prepare() -> tuple[dict, Callable[[], object]]:
        from benchmarks.speed.tasks import TASKS  # torch, once pinned

        return TASKS[spec["task"]](spec)
    if "bytes" in spec:
        limit_memory(spec["bytes"])
    serve(prepare)


if __name__ == "__main__":
    main()
