"""What the process in which a student's function runs may use: memory, time, files, processes.

The operating system enforces the memory and the time. The audit hook gives clear errors for other
processes, the network and foreign files. Who gets around it still meets `bubblewrap`.
"""
import ctypes
import math
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

MAX_FILE_BYTES = 256_000_000
SLACK = 256 * 2**20                   # bytes of address space for stacks and the allocator's arenas
SET_PARENT_DEATH_SIGNAL, SET_DUMPABLE, SET_CHILD_SUBREAPER = 1, 4, 36          # of Linux's prctl
FORBIDDEN_EVENTS = {"os.chdir", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg",
                    "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
                    "signal.pthread_kill", "socket.connect", "subprocess.Popen"}
CHANGING_EVENTS = {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename",
                   "os.rmdir", "os.symlink", "os.truncate", "shutil.rmtree", "shutil.move"}
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Limits(NamedTuple):
    """Seconds for a case, an exercise and a notebook; MB of memory on top of torch's own."""
    case: float = 5
    exercise: float = 30
    notebook: float = 300
    memory: int = 2000


def set_resource_limits(seconds: float, memory: int) -> None:
    """Limit this process: seconds on the processor, MB of memory on top of what it holds now."""
    try:
        import resource
    except ImportError:                                      # Windows has none: only time is short
        return
    most = memory * 2**20
    lower_limit(resource, resource.RLIMIT_CPU, math.ceil(seconds) + 60)
    lower_limit(resource, resource.RLIMIT_CORE, 0)
    lower_limit(resource, resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    if sys.platform != "linux":
        threading.Thread(target=exit_when_over_memory, args=(most,), daemon=True).start()
        return
    text = Path("/proc/self/status").read_text()
    held = {k: 1024 * int(v) for k, v in re.findall(r"(Vm\w+):\s*(\d+)", text)}
    lower_limit(resource, resource.RLIMIT_DATA, held["VmData"] + most)
    lower_limit(resource, resource.RLIMIT_AS, held["VmSize"] + most + SLACK)     # shared memory too


def lower_limit(resource: ModuleType, which: int, limit: int) -> None:
    """Set a limit that cannot be raised again."""
    hard = resource.getrlimit(which)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, limit))


def peak_memory() -> int:
    """The most memory that this process ever held, in bytes; 0 if the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def exit_when_over_memory(most: int) -> None:
    """End this process when it holds too much memory; for macOS, which has no such limit."""
    begin = peak_memory()
    while peak_memory() < begin + most:
        time.sleep(0.05)
    os._exit(137)


def process_option(option: int, value: int) -> None:
    """Set one of Linux's options for this process; elsewhere nothing happens."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end_with_parent() -> None:
    """Have the system end this process when its parent ends (Linux)."""
    process_option(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL if os.name != "nt" else 0)


def forbid(room: Path, hidden: list[str], allowed: list[str]) -> None:
    """From here on: no other process, no network, no writing outside `room`, no reading below the
    folders `hidden` unless below one of `allowed`. It cannot be undone in this process."""
    room, hidden, allowed = (folder_prefixes(p) for p in ([str(room)], hidden, allowed))
    allowed = tuple(p for p in allowed if p.startswith(hidden))    # not the folder around a hidden

    def hook(event: str, args: tuple) -> None:
        if event in FORBIDDEN_EVENTS:
            raise PermissionError(f"what is graded may not use {event}")
        if event == "open" and isinstance(args[0], (str, bytes)):
            path, mode, flags = real_path(args[0]), args[1], args[2]
            writes = set(mode or "") & set("wax+") or (flags or 0) & WRITING_FLAGS
            if writes and not path.startswith((*room, os.devnull)):
                raise PermissionError("what is graded may write only below its own folder")
            if path.startswith(hidden) and not path.startswith((*room, *allowed)):
                raise PermissionError("what is graded may not read the course's files")
        if event in CHANGING_EVENTS:
            paths = [p for p in args[:2] if isinstance(p, (str, bytes))]
            if not all(real_path(p).startswith(room) for p in paths):
                raise PermissionError("what is graded may write only below its own folder")
    sys.addaudithook(hook)


def folder_prefixes(folders: list[str]) -> tuple[str, ...]:
    """How the paths below these folders begin."""
    return tuple(os.path.realpath(f).rstrip(os.sep) + os.sep for f in folders)


def real_path(path: str | bytes) -> str:
    """The path that is meant, without links."""
    return os.path.realpath(os.fsdecode(path))
