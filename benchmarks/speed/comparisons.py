"""The rows of speed: what is compared in each, and the table it goes into.

A function a row, `(setting) -> None`; each prints what it finds and stores it at once, so a run
that was stopped goes on where it was. What cannot be measured now, or is not installed, is said in
a sentence and not stored.
"""
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.results_table import Table
from benchmarks.speed.benchmark_config import FAST, LARGE, OURS, PEERS, Setting, named
from benchmarks.speed.paired_timing import (
    Comparison,
    NotMeasurable,
    Worker,
    WorkerFailed,
    blocks,
    compared,
    level,
    warm,
)

TRIALS = 2                                                 # of each way of a peer
MUCH = 1 / 3                                               # of the memory that is free
FEW = 20                                                   # calls of a fast sampler
SPEED = ("peer", "peer_is", "ours_is", "batch", "calls_ours", "calls_peer", "seconds_ours",
         "seconds_peer", "times", "low", "high", "cpu_times", "gflops_ours", "gflops_peer",
         "parameters_ours", "parameters_peer", "mib_ours", "mib_peer", "fastest", "a_a", "blocks")
MEMORY = ("side", "dtype", "batch", "mib", "how")
ROOFLINE = ("dtype", "share", "low", "high", "step_seconds", "step_gflops", "product_gflops_s",
            "batch", "a_a", "blocks")
DATA = ("against", "batch", "clips_s_ours", "clips_s_other", "times", "low", "high", "cpu_times",
        "a_a", "blocks")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print in a sentence why a row could not be had; the others go on."""
    try:
        yield
    except NotMeasurable as e:
        print(f"{what}: not measurable now ({e}).", flush=True)
    except WorkerFailed as e:
        print(f"{what}: {e}", flush=True)


def table(setting: Setting, name: str, columns: tuple[str, ...], key: tuple[str, ...]) -> Table:
    note = f"both sides on cores {setting.cores}, a thread each, pinned; {versions(setting)}"
    note += f"; {setting.sets} sets of processes, memory in huge pages"
    return Table(name, columns, key, setting.folder, note)


def versions(setting: Setting) -> str:
    """Which peers are there, asked of the Python that has them."""
    code = ("from importlib import metadata as m\nfor n in ('video-diffusion-pytorch', "
            "'diffusers'):\n try: print(n, m.version(n))\n except m.PackageNotFoundError: pass")
    said = subprocess.run([setting.peers, "-c", code], capture_output=True, text=True, check=True)
    return ", ".join(said.stdout.split("\n")[:-1]) or "no peer is installed"


def in_turn(setting: Setting, ours: dict, theirs: dict) -> tuple[Comparison, float, dict, dict]:
    """Ours against theirs, and against itself: (theirs / ours, ours / ours, facts of both).

    The blocks are shared by `setting.sets` of processes, of which the first of a side counts its
    FLOPs; each of ours is compared with the next of ours, too, before the long part.
    """
    shares = [setting.blocks // setting.sets + (i < setting.blocks % setting.sets)
              for i in range(setting.sets)]
    with ExitStack() as stack:
        def started(n: int, spec: dict) -> list[Worker]:
            return [stack.enter_context(setting.start(**spec, count=not i)) for i in range(n)]
        mine, its = started(setting.sets + 1, ours), started(setting.sets, theirs)
        facts = mine[0].facts, its[0].facts
        for worker in (*mine, *its):
            _ = worker.facts                                      # all have begun, before any turn
        for a in mine:
            warm(a)
        pairs = zip(mine[:-1], mine[1:], shares, strict=True)
        even = level(mine[0].name, [block for trio in pairs for block in blocks(*trio)])
        found = []
        for a, b, n in zip(mine[:-1], its, shares, strict=True):
            warm(b)
            found += blocks(a, b, n)
            b.close()                                             # what it held is for the next
    return compared(found), even, *facts


def best(setting: Setting, task: str, peer: str) -> tuple[str, ...]:
    """The ways with which a peer is fastest here, among those that work, tried one by one."""
    def seconds(ways: tuple[str, ...]) -> float:
        with setting.start(task, peer, ways, count=False) as worker:
            worker.go(1)
            return min(worker.go(1).wall for _ in range(TRIALS))
    took = {(): seconds(())}                               # where that fails, there is no row
    for way in FAST:
        ways = *min(took, key=took.get), way
        with told(f"{task}, {peer}, {named(ways)}"):
            took[ways] = seconds(ways)
    tried = ", ".join(f"{named(ways)} {s:.3g} s" for ways, s in took.items())
    print(f"{task}, {peer}: {tried}", flush=True)
    return min(took, key=took.get)


def against_peers(setting: Setting, task: str, pairs: Callable) -> None:
    """Every peer as it comes and at its best. pairs: (facts of both) -> calls of ours and theirs.

    Training is compared at the same dtype; sampling with ours as it comes.
    """
    rows = table(setting, task, SPEED, ("peer", "peer_is", "batch", "calls_peer"))
    for peer in PEERS:
        here = [r for r in rows.rows if (r["peer"], r["batch"]) == (peer, str(setting.batch))]
        if {"yes", named(())} <= {r["fastest"] for r in here} | {r["peer_is"] for r in here}:
            continue
        with told(f"{task}, {peer}"):
            fastest = best(setting, task, peer)
            for ways in dict.fromkeys([(), fastest]):
                if any(r["peer_is"] == named(ways) for r in here):
                    continue                               # a row of an earlier run
                ours = FAST if task == "sample" or "bf16" in ways else ("channels_last",)
                found = in_turn(setting, dict(task=task, ways=ours),
                                dict(task=task, side=peer, ways=ways))
                for row in speeds(setting.batch, found, pairs):
                    row |= dict(peer=peer, peer_is=named(ways), ours_is=named(ours),
                                fastest="yes" if ways == fastest else "no")
                    print(f"{task}, {sentence(row)}", flush=True)
                    if not rows.has(**row):
                        rows.add(**row)


def speeds(batch: int, measured: tuple, pairs: Callable) -> Iterator[dict]:
    """The figures of a pair that was measured once, for each number of calls."""
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


def sentence(row: dict) -> str:
    return ("{peer} ({peer_is}, {calls_peer} calls): {times:.3g} times ({low:.3g} to {high:.3g}; "
            "A/A {a_a:.3f}); {seconds_ours:.3g} and {seconds_peer:.3g} s a clip, {gflops_ours:.3g} "
            "and {gflops_peer:.3g} GFLOP").format(**row)


def sample(setting: Setting) -> None:
    """Seconds a clip, computed from the seconds of a call: all of its calls, and 20 of them."""
    against_peers(setting, "sample", lambda a, b: [(a["calls"], b["calls"]), (a["calls"], FEW)])


def training(setting: Setting) -> None:
    """Seconds a clip of a training step, same shape, batch and dtype."""
    against_peers(setting, "train", lambda a, b: [(1, 1)])


def memory(setting: Setting) -> None:
    """Peak bytes of two training steps at 64x64, 16 frames, 8 clips, beyond those of imports."""
    rows = table(setting, "memory", MEMORY, ("side", "dtype"))
    for ways in ((), ("bf16",)):
        for side in (OURS, *PEERS):
            if rows.has(side=side, dtype=named(ways)):
                continue
            with told(f"memory, {side}, {named(ways)}"):
                mib, how = peak(setting, side, ways)
                print(f"memory, {side}, {named(ways)}: {mib:.0f} MiB {how}", flush=True)
                rows.add(side=side, dtype=named(ways), batch=8, mib=mib, how=how)


def peak(setting: Setting, side: str, ways: tuple[str, ...],
         batch: int = 8) -> tuple[float, str]:
    """(MiB, "measured"), or where so many clips need much, on the line through 1 and 2 clips."""
    free = free_bytes()
    room = {} if free is None else dict(bytes=int(0.8 * free))

    def after(n: int, *steps: int) -> list[float]:
        with setting.start("train", side, ways, batch=n, count=False, **LARGE, **room) as worker:
            return [worker.go(more).peak / 2**20 for more in steps]
    first, one = after(1, 1, 1)                            # the second step has momenta, too
    two, = after(2, 1)
    computed = one + (batch - 1) * (two - first), "computed from 1 and 2 clips"
    if free is not None and computed[0] * 2**20 > MUCH * free:
        return computed
    try:
        return after(batch, 2)[0], "measured"
    except WorkerFailed:
        return computed


def free_bytes() -> int | None:
    """Memory that a process can still have, where the system says so."""
    told_in = Path("/proc/meminfo")
    if not told_in.exists():
        return None
    lines = dict(line.split(":") for line in told_in.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def roofline(setting: Setting) -> None:
    """The share of a large matrix product's rate that a training step of the recipe reaches."""
    rows = table(setting, "roofline", ROOFLINE, ("dtype",))
    for dtype, ways in (("bf16", FAST), ("float32", ("channels_last",))):
        if rows.has(dtype=dtype):
            continue
        with told(f"roofline, {dtype}"):
            found, same, a, b = in_turn(setting, dict(task="train", ways=ways, batch=16),
                                        dict(task="product", ways=ways))
            more = 16 * a["flops"] / b["flops"]
            print(f"roofline, {dtype}: {found.ratio * more:.1%} of "
                  f"{b['flops'] / found.b.wall / 1e9:.0f} GFLOP/s", flush=True)
            rows.add(dtype=dtype, share=found.ratio * more, low=found.low * more,
                     high=found.high * more, step_seconds=found.a.wall,
                     step_gflops=16 * a["flops"] / 1e9,
                     product_gflops_s=b["flops"] / found.b.wall / 1e9, batch=16, a_a=same,
                     blocks=found.blocks)


def data(setting: Setting) -> None:
    """Clips made a second against a plain loop, and against the training that uses them up."""
    rows = table(setting, "data", DATA, ("against",))
    for against, other in (("plain loop", dict(task="plain clips", batch=16)),
                           ("training step", dict(task="train", ways=FAST, batch=16))):
        if rows.has(against=against):
            continue
        with told(f"data, {against}"):
            found, same, *_ = in_turn(setting, dict(task="clips", batch=16), other)
            print(f"data: {16 / found.a.wall:.0f} clips a second, {found.ratio:.3g} times those "
                  f"of a {against}", flush=True)
            rows.add(against=against, batch=16, clips_s_ours=16 / found.a.wall,
                     clips_s_other=16 / found.b.wall, times=found.ratio, low=found.low,
                     high=found.high, cpu_times=found.cpu, a_a=same, blocks=found.blocks)


ROWS: dict[str, Callable[[Setting], None]] = {
    "sample": sample, "train": training, "memory": memory, "roofline": roofline, "data": data}
