"""Outside: starts the process that reads notebooks and observes functions, and asks it.

The process (`isolated_process`) works on a copy of the package without answers, under bubblewrap if
that works here, and has limits of time and memory. This is not a security sandbox beyond
bubblewrap: grade untrusted notebooks in a container. Only right values pass, and they are judged
outside, so that a forged answer gains nothing.
"""
import json
import os
import queue
import shutil
import signal
import site
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from minidiff.course import exercises
from minidiff.course.checking.observation import Observation
from minidiff.course.grading import bubblewrap, equivalents, folders, submission
from minidiff.course.grading.limits import Limits
from minidiff.course.grading.results import (
    DAMAGED,
    MAX_MESSAGE_BYTES,
    read_message,
    unpack_observations,
)
from minidiff.runtime import files

PACKAGE = Path(files.__file__).parents[1]
INNER = Path("/grading")                             # where the folder is seen under bubblewrap
START_SECONDS, READ_SECONDS, GRACE_SECONDS = 120, 60, 10
READ_MEMORY = 4000                                   # MB to read a notebook with
TIMEOUT_MESSAGE = ("It was stopped after {:g} s, and could not be stopped from within. Does every "
                   "loop have a condition that changes?")
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT",
                  "WINDIR", "SYSTEMDRIVE", "NUMBER_OF_PROCESSORS")


class Task(NamedTuple):
    """One exercise's function and what it needs.

    sources: texts, each defining something. unavailable: why a name has no value. substitutes:
    name -> (name there, sources), a right function in place of a student's own.
    """
    id: str
    entry: str
    sources: list[str]
    unavailable: dict[str, str]
    substitutes: dict[str, tuple[str, list[str]]] = {}                # noqa: RUF012 (only read)


class Sandbox:
    """A process that answers one request at a time. It is started when it is needed.

    isolation: "bwrap" or "none".
    """

    def __init__(self, home: Path, limits: Limits, isolation: str):
        self.home, self.limits, self.isolation = home, limits, isolation
        self.warning = ""                              # why it is not under bubblewrap
        self.process: subprocess.Popen | None = None
        self.answers: queue.Queue = queue.Queue()

    def read_submission(self, path: Path) -> submission.Submission:
        """Collect a notebook. Raises ValueError that says why a file is not one of the course."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise OSError("it is not a file")
            (inbox := self.home / "inbox" / "notebook.ipynb").parent.mkdir(exist_ok=True)
            shutil.copyfile(path, inbox)
        except OSError as e:
            raise ValueError(f"it cannot be read as a notebook: {e.strerror or e}.") from None
        about, _ = self.ask({"kind": "read", "catalogue": catalogue(), "memory": READ_MEMORY,
                             "path": str(self.inner() / "inbox" / inbox.name)}, READ_SECONDS)
        inbox.unlink()
        if "submission" not in about and "unreadable" not in about:
            raise ValueError(f"it cannot be read within {READ_SECONDS} s and {READ_MEMORY} MB.")
        return submission.from_message(about)

    def observe(self, task: Task, seconds: float) -> list[Observation] | str:
        """What a function does, or the sentence that says why it did nothing, within some seconds.

        Raises RuntimeError if no process can be started here.
        """
        seconds = min(seconds, self.limits.exercise)
        about, tensors = self.ask(
            task._asdict() | {"kind": "observe", "limits": self.limits, "hidden": hidden_folders(),
                              "memory": self.limits.memory}, seconds)
        if "ended" not in about:
            return unpack_observations(about, tensors)
        sentence = end_message(about, seconds, self.limits)
        return sentence if about.get("ready") is True else \
            f"Its imports and definitions: {sentence}"

    def ask(self, request: dict, seconds: float) -> tuple[dict, dict]:
        """The answer to a request; {"ended": code or None} if the process ended or hung."""
        self.start()
        try:
            self.process.stdin.write(json.dumps(request | {"seconds": seconds}).encode() + b"\n")
            self.process.stdin.flush()
            return read_message(self.next_answer(seconds + GRACE_SECONDS))
        except queue.Empty:
            self.stop()
            return {"ended": None, "ready": True}, {}
        except (EOFError, OSError):
            return {"ended": self.stop(), "ready": True}, {}
        except ValueError:
            self.stop()
            return {"unavailable": DAMAGED, "unreadable": DAMAGED}, {}

    def next_answer(self, seconds: float) -> bytes:
        """The next message. Raises EOFError if the process ended, queue.Empty if time is up."""
        if (content := self.answers.get(timeout=seconds)) is None:
            raise EOFError
        return content

    def inner(self) -> Path:
        """The folder as the process sees it."""
        return INNER if self.isolation == "bwrap" else self.home

    def start(self) -> None:
        """Start the process, unless it is running. Raises RuntimeError if that does not work."""
        if self.process is not None and self.process.poll() is None:
            return
        self.stop()
        for name in ("package", "room"):
            folders.remove_tree(self.home / name)
        for name in ("package", "inbox", "room"):
            (self.home / name).mkdir(exist_ok=True)
        copy_package(package := self.home / "package" / "minidiff")
        with open(self.home / "errors", "wb") as errors:
            self.process = subprocess.Popen(
                [*self.prefix(), *interpreter("-m", "minidiff.course.grading.isolated_process"),
                 *(["/dev/shm"] if self.isolation == "bwrap" else [])],
                cwd=self.home / "room", env=environment(self.inner()), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))
        self.answers = queue.Queue()
        threading.Thread(target=read_frames, args=(self.process.stdout, self.answers),
                         daemon=True).start()
        try:
            read_message(self.next_answer(START_SECONDS))
        except (EOFError, queue.Empty, ValueError):
            said = (self.home / "errors").read_text(errors="replace").strip().splitlines()
            self.stop()
            raise RuntimeError("The process that grades does not start here: "
                               f"{said[-1] if said else 'it said nothing'}") from None
        equivalents.switch_off_in_files(package, equivalents.all_equivalents())

    def prefix(self) -> list[str]:
        """What comes before the interpreter in the command."""
        if self.isolation != "bwrap":
            return []
        return bubblewrap.prefix(self.home, INNER, library_folders(), PACKAGE)

    def stop(self) -> int | None:
        """End the process and whatever it started. Returns its exit code if it had ended itself."""
        if (process := self.process) is None:
            return None
        with suppress(OSError):
            process.stdin.close()                         # which ends one that has nothing to do
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        code = process.poll()
        if os.name == "nt":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True,
                           check=False)
        else:
            with suppress(ProcessLookupError, PermissionError):   # all gone (macOS: all but gone)
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        self.process = None
        return code


@contextmanager
def open_sandbox(limits: Limits, isolation: str | None = None) -> Iterator[Sandbox]:
    """A sandbox, ended and removed after the block.

    isolation: "bwrap", "none", or None for bubblewrap if it works here; `warning` of the sandbox
    says if it does not. Raises RuntimeError if "bwrap" is asked for and does not work.
    """
    with folders.temporary_folder() as home:
        sandbox = Sandbox(home, limits, "none" if isolation == "none" else "bwrap")
        sandbox.warning = "" if isolation == "none" else bubblewrap_problem(sandbox)
        if sandbox.warning and isolation == "bwrap":
            raise RuntimeError(f"bubblewrap does not work here ({sandbox.warning}). Install it, or "
                               "choose --isolation none.")
        if sandbox.warning:
            sandbox.isolation = "none"
        try:
            yield sandbox
        finally:
            sandbox.stop()


def bubblewrap_problem(sandbox: Sandbox) -> str:
    """Why bubblewrap does not work here; empty if it does."""
    for name in ("package", "inbox"):
        (sandbox.home / name).mkdir(exist_ok=True)
    return bubblewrap.problem([*sandbox.prefix(), *interpreter("-c", "pass")])


def interpreter(*arguments: str) -> list[str]:
    """The command for Python without anything of the user's or of this folder."""
    return [sys.executable, "-S", "-s", "-P", "-B", *arguments]


def copy_package(destination: Path) -> None:
    """Copy the package, without answers and what would need them."""
    shutil.copytree(PACKAGE, destination, ignore=shutil.ignore_patterns(
        "answers", "checkpoints", "__pycache__", "*.pyc"))
    (destination / "course" / "__init__.py").write_text("")


def library_folders() -> list[str]:
    """The folders with the libraries that grading needs."""
    core = {str(Path(sys.modules[m].__file__).parents[1]) for m in ("torch", "numpy", "safetensors")
            if m in sys.modules}
    usual = {p for p in [*site.getsitepackages(), *sys.path]
             if Path(p).name in ("site-packages", "dist-packages") and Path(p).is_dir()}
    return [*sorted(usual), *sorted(core - usual)]


def hidden_folders() -> list[str]:
    """What no function may read: the package with its answers, and the project around it."""
    project = PACKAGE.parent
    return [str(PACKAGE)] if str(project) in library_folders() else [str(project)]


def environment(inner: Path) -> dict[str, str]:
    """The variables of the process: few of ours, and where the libraries are."""
    own = {k: v for k in KEPT_VARIABLES if (v := os.environ.get(k))}
    room = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), str(inner / "room"))
    path = [str(inner / "package"), *library_folders()]
    return own | room | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUTF8": "1", "USER": "student",
                         "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
                         "MALLOC_ARENA_MAX": "2", "MINIDIFF_PROFILE": "smoke"}


def catalogue() -> dict[str, dict]:
    """The chapters' exercises and questions, as `submission.read_submission` wants them."""
    return {c: {"entries": {e.id: e.entry for e in exercises.exercises_of(c)},
                "questions": [q.id for q in exercises.questions_of(c)]}
            for c in exercises.chapters()}


def read_frames(stream, answers: queue.Queue) -> None:
    """Put each message that comes into the queue, and None at the end."""
    with suppress(OSError, ValueError):
        while len(head := stream.read(8)) == 8:
            if (size := int.from_bytes(head, "big")) > 2 * MAX_MESSAGE_BYTES:
                answers.put(b"")                                     # which is no message
                break
            answers.put(stream.read(size))
    answers.put(None)


def end_message(about: dict, seconds: float, limits: Limits) -> str:
    """A sentence for a function that ended its process, or whose time was up."""
    code, held = about["ended"], about.get("held", 0)
    if not isinstance(code, int):
        if isinstance(held, float) and held > limits.memory / 8:
            return (f"It was stopped after {seconds:g} s, and held {held:.0f} MB of memory by "
                    "then. Does a list grow without end?")
        return TIMEOUT_MESSAGE.format(seconds)
    if code == 137:                                     # bubblewrap's code for SIGKILL, and macOS's
        code = -9
    if code >= 0:
        return f"It ended the whole process (exit code {code}); a function returns, or raises."
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    memory = " It may have run out of memory." if name in ("SIGKILL", "SIGABRT", "SIGBUS") else ""
    return f"It brought the whole process down ({name}).{memory}"
