"""The comparisons of speed and memory: one function and one table each.

A comparison is a function `(config) -> None` that prints and stores each row at once, so an
interrupted run continues where it stopped. If a row cannot be measured now, or a library is not
installed, it prints the reason and stores nothing.
"""
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.results_table import ResultsTable
from benchmarks.speed.benchmark_config import (
    ALL_OPTIMISATIONS,
    LARGE_CLIPS,
    OURS,
    PEERS,
    BenchmarkConfig,
    optimisations_label,
)
from benchmarks.speed.paired_timing import (
    Comparison,
    NotMeasurable,
    Worker,
    WorkerFailed,
    check_self_ratio,
    compare_blocks,
    time_blocks,
    warm_up,
)

TRIALS = 2                                          # of each combination of optimisations
LARGE_MEMORY_SHARE = 1 / 3                          # of the free memory: more is not tried
FEW_CALLS = 20                                      # calls of a fast sampler
SPEED_COLUMNS = ("peer", "peer_is", "ours_is", "batch", "calls_ours", "calls_peer", "seconds_ours",
                 "seconds_peer", "times", "low", "high", "cpu_times", "gflops_ours", "gflops_peer",
                 "parameters_ours", "parameters_peer", "mib_ours", "mib_peer", "fastest", "a_a",
                 "blocks")
MEMORY_COLUMNS = ("side", "dtype", "batch", "mib", "how")
ROOFLINE_COLUMNS = ("dtype", "share", "low", "high", "step_seconds", "step_gflops",
                    "product_gflops_s", "batch", "a_a", "blocks")
DATA_COLUMNS = ("against", "batch", "clips_s_ours", "clips_s_other", "times", "low", "high",
                "cpu_times", "a_a", "blocks")


@contextmanager
def report_failures(what: str) -> Iterator[None]:
    """Print in a sentence why a row failed; the other rows continue."""
    try:
        yield
    except NotMeasurable as e:
        print(f"{what}: not measurable now ({e}).", flush=True)
    except WorkerFailed as e:
        print(f"{what}: {e}", flush=True)


def open_table(config: BenchmarkConfig, name: str, columns: tuple[str, ...],
               key: tuple[str, ...]) -> ResultsTable:
    """The stored table of a comparison; a new one names cores, versions and processes."""
    note = f"both sides on cores {config.cores}, a thread each, pinned; {peer_versions(config)}"
    note += f"; {config.process_sets} sets of processes, memory in huge pages"
    return ResultsTable(name, columns, key, config.folder, note)


def peer_versions(config: BenchmarkConfig) -> str:
    """The installed versions of the other libraries, from the Python that has them."""
    code = ("from importlib import metadata as m\nfor n in ('video-diffusion-pytorch', "
            "'diffusers'):\n try: print(n, m.version(n))\n except m.PackageNotFoundError: pass")
    found = subprocess.run([config.peer_python, "-c", code], capture_output=True, text=True,
                           check=True)
    return ", ".join(found.stdout.split("\n")[:-1]) or "no peer is installed"


def compare_in_turn(config: BenchmarkConfig, ours: dict,
                    theirs: dict) -> tuple[Comparison, float, dict, dict]:
    """Ours against theirs, and against itself: (theirs / ours, ours / ours, facts of both).

    `config.process_sets` sets of processes share the blocks; the first process of each side counts
    its FLOPs. Before the long part, each of our processes is compared with our next one.
    """
    shares = [config.blocks // config.process_sets + (i < config.blocks % config.process_sets)
              for i in range(config.process_sets)]
    with ExitStack() as stack:
        def started(n: int, spec: dict) -> list[Worker]:
            return [stack.enter_context(config.start_worker(**spec, count=not i)) for i in range(n)]
        our_workers = started(config.process_sets + 1, ours)
        their_workers = started(config.process_sets, theirs)
        facts = our_workers[0].facts, their_workers[0].facts
        for worker in (*our_workers, *their_workers):
            _ = worker.facts                                      # all are ready, before any turn
        for a in our_workers:
            warm_up(a)
        pairs = zip(our_workers[:-1], our_workers[1:], shares, strict=True)
        blocks = [block for pair in pairs for block in time_blocks(*pair)]
        self_ratio = check_self_ratio(our_workers[0].name, blocks)
        found = []
        for a, b, n in zip(our_workers[:-1], their_workers, shares, strict=True):
            warm_up(b)
            found += time_blocks(a, b, n)
            b.close()                                             # the next one needs its memory
    return compare_blocks(found), self_ratio, *facts


def fastest_optimisations(config: BenchmarkConfig, task: str, peer: str) -> tuple[str, ...]:
    """The optimisations with which a library is fastest here, of those that work, tried in turn."""
    def seconds(ways: tuple[str, ...]) -> float:
        with config.start_worker(task, peer, ways, count=False) as worker:
            worker.run_turn(1)
            return min(worker.run_turn(1).wall for _ in range(TRIALS))
    took = {(): seconds(())}                               # if this fails, there is no row
    for way in ALL_OPTIMISATIONS:
        ways = *min(took, key=took.get), way
        with report_failures(f"{task}, {peer}, {optimisations_label(ways)}"):
            took[ways] = seconds(ways)
    tried = ", ".join(f"{optimisations_label(ways)} {s:.3g} s" for ways, s in took.items())
    print(f"{task}, {peer}: {tried}", flush=True)
    return min(took, key=took.get)


def compare_with_peers(config: BenchmarkConfig, task: str, pairs: Callable) -> None:
    """Each library with its defaults and with its fastest optimisations.

    pairs: (facts of both) -> numbers of calls, ours and theirs. Training is compared at the same
    dtype, sampling with our defaults.
    """
    rows = open_table(config, task, SPEED_COLUMNS, ("peer", "peer_is", "batch", "calls_peer"))
    for peer in PEERS:
        here = [r for r in rows.rows if (r["peer"], r["batch"]) == (peer, str(config.batch))]
        if any(r["fastest"] == "yes" for r in here) and any(
                r["peer_is"] == optimisations_label(()) for r in here):
            continue                                       # both rows are stored
        with report_failures(f"{task}, {peer}"):
            fastest = fastest_optimisations(config, task, peer)
            for ways in dict.fromkeys([(), fastest]):
                if any(r["peer_is"] == optimisations_label(ways) for r in here):
                    continue                               # a row of an earlier run
                bf16 = task == "sample" or "bf16" in ways
                ours = ALL_OPTIMISATIONS if bf16 else ("channels_last",)
                found = compare_in_turn(config, dict(task=task, optimisations=ours),
                                        dict(task=task, side=peer, optimisations=ways))
                for row in speed_rows(config.batch, found, pairs):
                    row |= dict(peer=peer, peer_is=optimisations_label(ways),
                                ours_is=optimisations_label(ours),
                                fastest="yes" if ways == fastest else "no")
                    print(f"{task}, {row_sentence(row)}", flush=True)
                    if not rows.has(**row):
                        rows.add(**row)


def speed_rows(batch: int, measured: tuple, pairs: Callable) -> Iterator[dict]:
    """The rows of one comparison, one for each pair of numbers of calls."""
    found, same, a, b = measured
    for mine, its in pairs(a, b):
        more, each = its / mine, found.a.wall / batch
        yield dict(batch=batch, calls_ours=mine, calls_peer=its, seconds_ours=each * mine,
                   seconds_peer=found.b.wall * its / batch,
                   times=found.ratio * more, low=found.low * more, high=found.high * more,
                   cpu_times=found.cpu * more, gflops_ours=a["flops"] * mine / 1e9,
                   gflops_peer=b["flops"] * its / 1e9, parameters_ours=a["parameters"],
                   parameters_peer=b["parameters"], mib_ours=found.a.peak / 2**20,
                   mib_peer=found.b.peak / 2**20, a_a=same, blocks=found.blocks)


def row_sentence(row: dict) -> str:
    """A row in words."""
    return ("{peer} ({peer_is}, {calls_peer} calls): {times:.3g} times ({low:.3g} to {high:.3g}; "
            "A/A {a_a:.3f}); {seconds_ours:.3g} and {seconds_peer:.3g} s a clip, {gflops_ours:.3g} "
            "and {gflops_peer:.3g} GFLOP").format(**row)


def compare_sampling(config: BenchmarkConfig) -> None:
    """Seconds a clip, computed from the seconds of a call: all of its calls, and 20 of them."""
    compare_with_peers(config, "sample",
                       lambda a, b: [(a["calls"], b["calls"]), (a["calls"], FEW_CALLS)])


def compare_training(config: BenchmarkConfig) -> None:
    """Seconds a clip of a training step, same shape, batch and dtype."""
    compare_with_peers(config, "train", lambda a, b: [(1, 1)])


def measure_memory(config: BenchmarkConfig) -> None:
    """Peak bytes of two training steps at 64x64, 16 frames, 8 clips, beyond those of imports."""
    rows = open_table(config, "memory", MEMORY_COLUMNS, ("side", "dtype"))
    for ways in ((), ("bf16",)):
        for side in (OURS, *PEERS):
            if rows.has(side=side, dtype=optimisations_label(ways)):
                continue
            with report_failures(f"memory, {side}, {optimisations_label(ways)}"):
                mib, how = peak_memory(config, side, ways)
                print(f"memory, {side}, {optimisations_label(ways)}: {mib:.0f} MiB {how}",
                      flush=True)
                rows.add(side=side, dtype=optimisations_label(ways), batch=8, mib=mib, how=how)


def peak_memory(config: BenchmarkConfig, side: str, optimisations: tuple[str, ...],
                batch: int = 8) -> tuple[float, str]:
    """(MiB, "measured"); if so many clips need much memory, computed from 1 and 2 clips."""
    free = free_bytes()
    spec = LARGE_CLIPS | ({} if free is None else dict(bytes=int(0.8 * free)))

    def after(n: int, *steps: int) -> list[float]:
        with config.start_worker("train", side, optimisations, batch=n, count=False,
                                 **spec) as worker:
            return [worker.run_turn(more).peak / 2**20 for more in steps]
    first, one = after(1, 1, 1)                            # the second step has momenta, too
    two, = after(2, 1)
    computed = one + (batch - 1) * (two - first), "computed from 1 and 2 clips"
    if free is not None and computed[0] * 2**20 > LARGE_MEMORY_SHARE * free:
        return computed
    try:
        return after(batch, 2)[0], "measured"
    except WorkerFailed:
        return computed


def free_bytes() -> int | None:
    """Memory that a process can still use, or None if the system does not tell."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def measure_roofline(config: BenchmarkConfig) -> None:
    """The share of a large matrix product's rate that a training step of the recipe reaches."""
    rows = open_table(config, "roofline", ROOFLINE_COLUMNS, ("dtype",))
    for dtype, ways in (("bf16", ALL_OPTIMISATIONS), ("float32", ("channels_last",))):
        if rows.has(dtype=dtype):
            continue
        with report_failures(f"roofline, {dtype}"):
            found, same, a, b = compare_in_turn(
                config, dict(task="train", optimisations=ways, batch=16),
                dict(task="product", optimisations=ways))
            more = 16 * a["flops"] / b["flops"]
            print(f"roofline, {dtype}: {found.ratio * more:.1%} of "
                  f"{b['flops'] / found.b.wall / 1e9:.0f} GFLOP/s", flush=True)
            rows.add(dtype=dtype, share=found.ratio * more, low=found.low * more,
                     high=found.high * more, step_seconds=found.a.wall,
                     step_gflops=16 * a["flops"] / 1e9,
                     product_gflops_s=b["flops"] / found.b.wall / 1e9, batch=16, a_a=same,
                     blocks=found.blocks)


def compare_data(config: BenchmarkConfig) -> None:
    """Clips made a second, against a plain loop and against the training step that needs them."""
    rows = open_table(config, "data", DATA_COLUMNS, ("against",))
    step = dict(task="train", optimisations=ALL_OPTIMISATIONS, batch=16)
    for against, other in (("plain loop", dict(task="plain clips", batch=16)),
                           ("training step", step)):
        if rows.has(against=against):
            continue
        with report_failures(f"data, {against}"):
            found, same, *_ = compare_in_turn(config, dict(task="clips", batch=16), other)
            print(f"data: {16 / found.a.wall:.0f} clips a second, {found.ratio:.3g} times those "
                  f"of a {against}", flush=True)
            rows.add(against=against, batch=16, clips_s_ours=16 / found.a.wall,
                     clips_s_other=16 / found.b.wall, times=found.ratio, low=found.low,
                     high=found.high, cpu_times=found.cpu, a_a=same, blocks=found.blocks)


COMPARISONS: dict[str, Callable[[BenchmarkConfig], None]] = {
    "sample": compare_sampling, "train": compare_training, "memory": measure_memory,
    "roofline": measure_roofline, "data": compare_data}
