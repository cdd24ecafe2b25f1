"""One implementation in its own process: it runs on request, and measures the time.

    python -m benchmarks.speed.worker '{"task": "train", "side": "minidiff", "cores": [0, 1], ...}'

It first answers a line of facts (JSON), or {"error": a sentence}. Then for every line N on stdin it
does N iterations and answers {"wall", "cpu", "peak"}: seconds and processor seconds of all N, and
its peak memory in bytes without that of its imports. It waits while another process works.
"""
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def peak_bytes() -> int:
    """The most memory this process ever held.

    From /proc if it exists, because ru_maxrss on Linux starts with the parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def pin_to_cores(cores: list[int]) -> None:
    """Stay on these cores, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def limit_memory(size: int) -> None:
    """Use no more than so many bytes, so that a model that is too large fails with an error."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def serve(prepare: Callable[[], tuple[dict, Callable[[], object]]]) -> None:
    """Answer until stdin ends. prepare() -> (facts, iterate).

    What libraries print goes to stderr, so that stdout holds answers alone.
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
    """Work as the specification in the first argument says."""
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
