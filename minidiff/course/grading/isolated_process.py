"""Inside the sandbox: the process that reads notebooks and observes students' functions.

It gets requests on its standard input, a line of JSON each, and answers each with a message
(`results`) on its standard output. On Linux every request is served by a fork of its own, so that
nothing which one function does reaches the next: not its definitions, its threads, nor its
processes. Elsewhere this process serves one request and ends. Its arguments are further folders
that are cleared after each request.
"""
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import torch

from minidiff.course.grading import equivalents, folders, limits, submission
from minidiff.course.grading.observing import observe_task
from minidiff.course.grading.results import MAX_MESSAGE_BYTES, message

FORKS = sys.platform == "linux"
READY = b"ready\n"                                 # what a fork writes before it calls a function


def main() -> None:
    """Serve requests until the input ends."""
    torch.set_num_threads(1)
    limits.end_with_parent()
    for name in equivalents.all_equivalents():
        with suppress(ImportError):
            equivalents.import_dotted(name)              # before its file is made useless
    requests, answers = private_streams()
    write_frame(answers, message({"started": True}))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    limits.process_option(limits.SET_DUMPABLE, 0)        # no fork opens this process's files
    limits.process_option(limits.SET_CHILD_SUBREAPER, 1)  # whose orphans become children of it
    for line in requests:
        request = json.loads(line)
        if not FORKS:
            write_frame(answers, respond(request, lambda: None))
            os._exit(0)                                   # whatever threads are still running
        answer = respond_in_fork(request, (requests, answers))
        for place in (Path.cwd(), *map(Path, sys.argv[1:])):
            folders.remove_content(place)                   # in the time of whoever filled it
        write_frame(answers, answer)


def private_streams() -> tuple[BinaryIO, BinaryIO]:
    """The standard input and output, which are replaced by the null device."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), number)
    return streams


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write a length (8 bytes) and the content."""
    stream.write(len(content).to_bytes(8, "big") + content)
    stream.flush()


def respond(request: dict, ready) -> bytes:
    """The answer to a request: a notebook's content, or what a function does."""
    limits.set_resource_limits(request["seconds"], request["memory"])
    if request["kind"] == "read":
        return submission.read_as_message(Path(request["path"]), request["catalogue"])
    limits.forbid(Path.cwd(), request["hidden"], [p for p in sys.path if p])
    return observe_task(request, ready)


# One fork a request


def respond_in_fork(request: dict, private: tuple[BinaryIO, BinaryIO]) -> bytes:
    """The answer to a request from a fork, or how the fork ended without one."""
    inlet, outlet = os.pipe()
    if (child := os.fork()) == 0:
        run_fork(request, outlet, [inlet, *(s.fileno() for s in private)])
    os.close(outlet)
    try:
        content, timed_out = read_answer(inlet, child, time.monotonic() + request["seconds"])
    finally:
        os.close(inlet)
    held = resident_memory(child) - resident_memory(os.getpid())
    status = end_children(child)
    ready, content = content.startswith(READY), content.removeprefix(READY)
    if content and len(content) == 8 + int.from_bytes(content[:8], "big"):
        return content[8:]
    return message({"ended": None if timed_out else status, "ready": ready, "held": held})


def run_fork(request: dict, outlet: int, foreign: list[int]) -> None:
    """Serve a request in a fork, which ends here."""
    try:
        os.setsid()
        limits.end_with_parent()
        for number in foreign:
            os.close(number)
        try:
            content = respond(request, lambda: os.write(outlet, READY))
        except Exception as e:
            content = message({"unavailable": f"It could not be tried ({type(e).__name__})."})
        with os.fdopen(outlet, "wb") as stream:
            write_frame(stream, content)
    finally:
        os._exit(1)


def read_answer(inlet: int, child: int, until: float) -> tuple[bytes, bool]:
    """What a fork wrote, and whether its time was up before it had written all of it."""
    parts, size = [], 0
    while size <= MAX_MESSAGE_BYTES and time.monotonic() < until:
        if select.select([inlet], [], [], 0.05)[0]:
            if not (part := os.read(inlet, 1 << 20)):
                return b"".join(parts), False
            parts.append(part)
            size += len(part)
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return b"".join(parts), False            # a process that it started still has the pipe
    return b"".join(parts), True


def end_children(child: int) -> int | None:
    """End a fork and every process that it started. Returns the fork's exit code."""
    status = None
    while pids := children():
        for pid in pids:
            with suppress(OSError):
                if not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    os.kill(pid, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                status = code if pid == child else status
    return status


def children() -> list[int]:
    """The processes whose parent is this one."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            after_name = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(after_name[1]) == os.getpid():
                found.append(int(place.name))
    return found


def resident_memory(pid: int) -> float:
    """MB that a process holds now; 0 if it has ended."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


if __name__ == "__main__":
    main()
