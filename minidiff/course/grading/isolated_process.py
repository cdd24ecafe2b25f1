"""A process of its own in which a student's functions are observed, and the way back from it.

`observe_in_subprocess` (outside) starts it with a copy of the package that has no answers in it, so nothing there
can import one; `main` (inside) defines what was collected from a notebook, observes each exercise's
function and writes what it saw: tensors as safetensors, the rest as JSON, never a pickle, a file an
exercise, so that a crash loses one. Outside, that is read back and judged.

This keeps accidents apart: endless loops, hunger for memory, exits, crashes. It is no jail against
malice: the process runs as you, with your rights. Grade strangers' notebooks in a container. Who
forges what it writes gains little, though: only the right values pass.
"""
import __future__

import json
import linecache
import math
import os
import re
import shutil
import signal
import site
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.course import exercises
from minidiff.course.checking.observation import Observation, observe
from minidiff.runtime import files

PACKAGE = Path(files.__file__).parents[1]
MAX_RESULT_BYTES = 64_000_000                     # bytes that one exercise's functions may return
MAX_VALUES, MAX_DEPTH = 200_000, 20                 # values in what is returned, and containers in containers
TIMEOUT_MESSAGE = ("It was stopped after {:g} s, and could not be stopped from within. Does every loop "
            "have a condition that changes?")
NOTEBOOK_FILE, NOTEBOOK_MODULE = "<notebook>", "notebook"    # where the functions seem to come from
KINDS = {"value", "raised", "unwritten", "too long"}
FORBIDDEN_EVENTS = {"os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.posix_spawn",
             "os.spawn", "os.startfile", "os.system", "pty.spawn", "socket.connect",
             "subprocess.Popen"}
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "WINDIR",
        "SYSTEMDRIVE", "NUMBER_OF_PROCESSORS")               # of the environment


class Limits(NamedTuple):
    """Seconds for a case, an exercise and a notebook; MB of memory on top of torch's own."""
    case: float = 5
    exercise: float = 30
    notebook: float = 300
    memory: int = 2000


class Job(NamedTuple):
    """What is to be observed.

    items: sources, each defining something. entries: exercise id -> function's name. lost: why a
    name has no value. stands: name -> (name there, sources), a right function in place of a
    student's own.
    """
    sources: list[str]
    entries: dict[str, str]
    unavailable: dict[str, str]
    substitutes: dict[str, tuple[str, list[str]]] = {}                    # noqa: RUF012 (only read)


# Outside


def observe_in_subprocess(job: Job, limits: Limits) -> dict[str, list[Observation] | str]:
    """What came of each exercise, or the sentence that says why nothing did.

    Raises RuntimeError if no process can be started here at all.
    """
    end, seen, left = time.monotonic() + limits.notebook, {}, list(job.entries)
    while left:
        came, stopped = run_subprocess(job, left, limits, end)
        seen |= came
        left = left[len(came):]
        if left and time.monotonic() > end:
            sentence = f"Time is up: all of the notebook together had {limits.notebook:g} s."
            return seen | dict.fromkeys(left, sentence)
        if left:
            seen[left.pop(0)] = stopped
    return seen


def run_subprocess(job: Job, ids: list[str], limits: Limits, end: float) -> tuple[dict, str]:
    """What a process came to observe, and why it went no further."""
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder:
        here = Path(folder)
        for name in ("room", "out"):
            (here / name).mkdir()
        copy_package(here / "package" / "minidiff")
        entries = {id: job.entries[id] for id in ids}
        about = job._replace(entries=entries)._asdict() | {"limits": limits}
        (here / "job.json").write_text(json.dumps(about), encoding="utf-8")
        with open(here / "errors", "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-S", "-s", "-P", "-B", "-m", "minidiff.course.grading.isolated_process", folder],
                cwd=here / "room", env=environment(here), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors, start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))
        try:
            return wait_for_results(process, here, ids, limits, end)
        finally:
            stop(process)


def copy_package(destination: Path) -> None:
    """The package, without answers and what would need them."""
    shutil.copytree(PACKAGE, destination, ignore=shutil.ignore_patterns(
        "answers", "checkpoints", "__pycache__", "*.pyc"))
    (destination / "course" / "__init__.py").write_text("")


def environment(here: Path) -> dict[str, str]:
    """Little of ours; libraries are found, but nothing of the folder that we run in."""
    core = {str(Path(sys.modules[m].__file__).parents[1]) for m in ("torch", "numpy", "safetensors")
            if m in sys.modules}
    usual = {p for p in [*site.getsitepackages(), *sys.path]
             if Path(p).name in ("site-packages", "dist-packages")}
    path = [str(here / "package"), *sorted(usual), *sorted(core - usual)]
    own = {k: v for k in KEPT if (v := os.environ.get(k))}
    room = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), str(here / "room"))
    return own | room | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1",
                         "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
                         "MINIDIFF_PROFILE": "smoke"}


def wait_for_results(process: subprocess.Popen, here: Path, ids: list[str], limits: Limits,
           end: float) -> tuple[dict, str]:
    """Waits for one file after the other, until the time `end`, and reads it at once."""
    came: dict[str, list[Observation] | str] = {}
    for stage, seconds in (("started", 120), ("ready", limits.exercise),
                           *((id, limits.exercise) for id in ids)):
        file, until = here / "out" / stage, time.monotonic() + seconds
        while True:
            ended = process.poll()
            if file.exists():
                break
            if stage == "started" and (ended is not None or time.monotonic() > until):
                said = (here / "errors").read_text(errors="replace").strip().splitlines()
                raise RuntimeError("The process that grades does not start here: "
                                   f"{said[-1] if said else 'no word from it'}")
            if stage != "started" and time.monotonic() > end:
                return came, ""
            if ended is not None or time.monotonic() > until:
                sentence = exit_message(ended) if ended is not None else TIMEOUT_MESSAGE.format(seconds)
                if stage == "ready":                          # then no function is ever tried
                    return dict.fromkeys(ids, f"Its imports and definitions: {sentence}"), ""
                return came, sentence
            time.sleep(0.02)
        if stage in ids:
            came[stage] = read_result(file)
    return came, ""


def exit_message(code: int) -> str:
    """A sentence for a process that ended too early."""
    if code >= 0:
        return f"It ended the whole process (exit code {code}); a function returns, or raises."
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    memory = " It may have run out of memory." if name in ("SIGKILL", "SIGABRT") else ""
    return f"It brought the whole process down ({name}).{memory}"


def stop(process: subprocess.Popen) -> None:
    """End a process and whatever it started."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True,
                       check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):   # all gone (macOS: all but gone)
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def read_result(file: Path) -> list[Observation] | str:
    """A result. Anyone may have written it, so a sentence for whatever is none."""
    try:
        about = file.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > 2 * MAX_RESULT_BYTES:
            raise ValueError("no plain file")
        return unpack_observations(*files.load_tensors(file))
    except (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError):
        return "What it did could not be read back: the file with it was damaged or exchanged."


# Observations to a file and back


class Packer:
    """Makes JSON of values; tensors go to `tensors` under a number, within the limits above."""

    def __init__(self):
        self.tensors: dict[str, Tensor] = {}
        self.bytes = self.count = 0

    def pack(self, value: object, depth: int = 0) -> object:
        """None, numbers and strings as they are, [kind, content] for all else."""
        self.count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and self.bytes + len(value) <= MAX_RESULT_BYTES:
            self.bytes += len(value)
            return str(value)
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
            return float(value) if isinstance(value, float) else int(value)
        if isinstance(value, Tensor):
            return self.tensor(value)
        if not isinstance(value, (list, tuple, dict)):
            return ["other", type(value).__name__[:100]]
        if depth > MAX_DEPTH or self.count + len(value) > MAX_VALUES:
            return ["other", f"{type(value).__name__} of {len(value)} things"]
        if isinstance(value, dict):
            return ["dict", [[self.pack(k, depth + 1), self.pack(v, depth + 1)]
                             for k, v in value.items()]]
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [self.pack(v, depth + 1) for v in value]]

    def tensor(self, value: Tensor) -> list:
        size = value.numel() * value.element_size()
        if value.device.type != "cpu" or value.layout != torch.strided:
            return ["other", f"tensor on {value.device}, {value.layout}"]
        if self.bytes + size > MAX_RESULT_BYTES:
            return ["other", f"tensor of {size / 1e6:.0f} MB, {tuple(value.shape)}"]
        self.bytes += size
        self.tensors[name := str(len(self.tensors))] = value.detach().clone().contiguous()
        return ["tensor", name]


def unpack(value: object, tensors: dict[str, Tensor]) -> object:
    """What Packer packed; an object of no use but of the right type's name for "other"."""
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "tensor":
        return tensors[content]
    if kind == "other":
        return type(str(content), (), {})()
    if kind == "dict":
        return {unpack(k, tensors): unpack(v, tensors) for k, v in content}
    if kind in ("list", "tuple"):
        parts = [unpack(v, tensors) for v in content]
        return parts if kind == "list" else tuple(parts)
    raise ValueError(f"There is no kind {kind!r}.")


def pack_observations(seen: list[Observation]) -> tuple[dict[str, Tensor], dict]:
    """Tensors and a description, for `files.save_tensors`."""
    packer = Packer()
    return packer.tensors, {"seen": [[o.kind, packer.pack(o.value), printable(o.error),
                                      [printable(c) for c in o.mutated_arguments], list(o.package_calls)]
                                     for o in seen]}


def unpack_observations(tensors: dict[str, Tensor], about: dict) -> list[Observation] | str:
    """The reverse. Raises one of many errors for what is none of ours."""
    if "unavailable" in about:
        return printable(about["unavailable"])
    seen = [Observation(kind, unpack(value, tensors), printable(error), tuple(map(printable, changed)),
                        tuple(map(printable, called)))
            for kind, value, error, changed, called in about["seen"]]
    if not seen or not {o.kind for o in seen} <= KINDS:
        raise ValueError("Nothing was observed.")
    return seen


def printable(text: str, max_length: int = 300) -> str:
    """No more characters than that, all of which can be printed."""
    return "".join(c if c.isprintable() else " " for c in text[:max_length])


# Inside


def main(folder: Path) -> None:
    """Observe what `folder/job.json` asks for, into `folder/out`."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    (folder / "job.json").unlink()
    entries, limits = job["entries"], Limits(*job["limits"])
    known = {id: exercises.find(id) for id in entries}
    torch.set_num_threads(1)
    set_resource_limits(limits)
    (folder / "out" / "started").touch()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)              # from here on a student's code runs
    sys.addaudithook(audit_hook)
    space, why = define_module(job["sources"], NOTEBOOK_FILE, NOTEBOOK_MODULE)
    for k, (name, (there, sources)) in enumerate(job["substitutes"].items()):
        space[name] = define_module(sources, f"<right {k}>", f"right_{k}")[0].get(there)
    (folder / "out" / "ready").touch()
    for id, name in entries.items():
        tensors, about = observe_exercise(known[id], space, name, job["unavailable"] | why, limits)
        files.save_tensors(folder / "out" / id, tensors, about)
    os._exit(0)                                               # whatever threads are still running


def define_module(sources: list[str], file: str, name: str) -> tuple[dict, dict[str, str]]:
    """A module's names, and why some could not be defined; the order of sources hardly matters."""
    module = ModuleType(name)
    sys.modules[name], space, why = module, module.__dict__, {}
    whole = "\n".join(sources)
    linecache.cache[file] = len(whole), None, whole.splitlines(True), file
    starts, waiting = [0], list(range(len(sources)))
    for source in sources:
        starts.append(starts[-1] + source.count("\n") + 1)
    while waiting:
        late = []
        for k in waiting:
            try:
                text = "\n" * starts[k] + sources[k]
                exec(compile(text, file, "exec", __future__.annotations.compiler_flag, True), space)
            except NameError as e:
                late.append(k)
                why |= definition_error(sources[k], e)
            except BaseException as e:
                why |= definition_error(sources[k], e)
        if len(late) == len(waiting):
            break
        waiting = late
    return space, {n: w for n, w in why.items() if n not in space}


def definition_error(source: str, e: BaseException) -> dict[str, str]:
    """What became of the name that a source was to define."""
    found = re.search(r"^(?:async def|def|class) (\w+)|^(?:from|import) .*?(\w+)$|^(\w+) *[:=]",
                      source, re.M)
    name = next(filter(None, found.groups()), "") if found else ""
    return {name: f"its line in your notebook raises {type(e).__name__}: {printable(str(e))}"}


def observe_exercise(exercise, space: dict, name: str, why: dict[str, str],
            limits: Limits) -> tuple[dict[str, Tensor], dict]:
    """What came of one exercise, packed."""
    f = space.get(name)
    if name not in space:
        return {}, {"unavailable": f"{name} could not be defined; {why.get(name, 'nobody knows why')}."}
    if not callable(f):
        return {}, {"unavailable": f"{name} is no function but a {type(f).__name__}."}
    home = str(getattr(f, "__module__", ""))
    if home.split(".")[0] == "minidiff":
        return {}, {"unavailable": f"It is the package's own {home}.{getattr(f, '__qualname__', name)}: "
                            "that is the answer, not yours. Write the formula out."}
    torch.manual_seed(0)
    try:
        seen = observe(f, exercise, limits.case)
        return pack_observations([o._replace(error=explain_error(o.error, why, limits)) for o in seen])
    except MemoryError:
        return {}, {"unavailable": f"It needs more than the {limits.memory} MB of memory there are."}
    except BaseException as e:
        return {}, {"unavailable": f"It ends Python itself ({type(e).__name__}); a function returns, or "
                            "raises."}


def explain_error(error: str, why: dict[str, str], limits: Limits) -> str:
    """An error with what is known here about it."""
    if error.startswith("MemoryError") or "can't allocate memory" in error:
        return f"MemoryError: it needs more than the {limits.memory} MB there are"
    found = re.search(r"^NameError: name '(\w+)' is not defined", error)
    return f"{error}; {why[found[1]]}" if found and found[1] in why else error


def audit_hook(event: str, args: tuple) -> None:
    """An audit hook: no other processes, no network, no reading of answers."""
    if event in FORBIDDEN_EVENTS:
        raise PermissionError(f"what is graded may not use {event}")
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.fsdecode(args[0]).replace("\\", "/")
        if "course/answers" in path:
            raise PermissionError("what is graded may not read answers")


def set_resource_limits(limits: Limits) -> None:
    """Limits of memory, where the system knows them, and of time, should nobody watch any more."""
    try:
        import resource
    except ImportError:                                      # Windows has none: only time is short
        return
    most = limits.memory * 2**20
    lower_limit(resource, resource.RLIMIT_CPU, math.ceil(limits.notebook) + 60)
    lower_limit(resource, resource.RLIMIT_CORE, 0)
    lower_limit(resource, resource.RLIMIT_FSIZE, 4 * MAX_RESULT_BYTES)
    if sys.platform == "linux":
        text = Path("/proc/self/status").read_text()
        held = re.search(r"VmData:\s*(\d+)", text)
        lower_limit(resource, resource.RLIMIT_DATA, most + 1024 * int(held[1]) if held else 4 * most)
    else:
        threading.Thread(target=exit_when_over_memory, args=(resource, most), daemon=True).start()


def lower_limit(resource: ModuleType, which: int, limit: int) -> None:
    hard = resource.getrlimit(which)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, hard))


def exit_when_over_memory(resource: ModuleType, most: int) -> None:
    """Ends this process when it holds too much; for macOS, which keeps no such limit itself."""
    def held() -> int:
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else 1024 * size
    begin = held()
    while held() < begin + most:
        time.sleep(0.05)
    os._exit(137)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
