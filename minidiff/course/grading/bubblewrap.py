"""The command that starts a program under bubblewrap (`bwrap`), where Linux has it.

The program sees a root of its own, read-only: the interpreter, its libraries, the system's /usr and
nothing else: no home, no project, no answers. It has its own process, network and IPC namespaces,
and ends with us. What it may write is a folder in memory, of limited size.
"""
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOM_BYTES, SHARED_MEMORY_BYTES = 256_000_000, 64_000_000
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")


def prefix(home: Path, inner: Path, libraries: Iterable[str], package: Path) -> list[str]:
    """What comes before the program: `home`'s package and inbox are seen below `inner`.

    libraries: folders that Python needs. package: the installed package, which is hidden.
    """
    mounts = {path: "--ro-bind" for path in system_folders() + interpreter_folders(libraries)}
    root = package.parent
    hidden = [package] if str(root) in set(libraries) else [root]
    mounts |= {p: "--tmpfs" for p in seen_at(hidden, list(mounts))}
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent",
               "--new-session", "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev",
               "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm",
               "--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    for path in sorted(mounts, key=lambda p: p.count(os.sep)):        # a folder before those in it
        command += ["--tmpfs", path] if mounts[path] == "--tmpfs" else ["--ro-bind", path, path]
    for name in ("lib", "lib32", "lib64", "bin", "sbin"):
        place = Path("/", name)
        if place.is_symlink():
            command += ["--symlink", os.readlink(place), str(place)]
    for name in ETC:
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in ("package", "inbox"):
        command += ["--ro-bind", str(home / name), str(inner / name)]
    return [*command, "--size", str(ROOM_BYTES), "--tmpfs", str(inner / "room"),
            "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(inner / "room"), "--"]


def system_folders() -> list[str]:
    """The system's folders with programs and libraries."""
    found = [Path("/", name) for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin")]
    return [str(p) for p in found if p.is_dir() and not p.is_symlink()]


def interpreter_folders(libraries: Iterable[str]) -> list[str]:
    """The parts of Python's prefixes and library folders that are not below /usr already."""
    found = set(libraries)
    for place in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        found |= {os.path.join(place, name) for name in ("bin", "lib", "lib64", "pyvenv.cfg")}
    found |= {os.path.realpath(p) for p in found}
    real = sorted(p for p in found if os.path.exists(p) and not p.startswith("/usr/"))
    return [p for p in real if not below_any(Path(p), set(real))]


def seen_at(hidden: list[Path], mounts: list[str]) -> list[str]:
    """The paths below these mounts at which hidden folders would be seen, links among them."""
    found = []
    for mount in mounts:
        for real in map(os.path.realpath, hidden):
            if real.startswith(os.path.realpath(mount) + os.sep):
                found.append(os.path.join(mount, os.path.relpath(real, os.path.realpath(mount))))
    return found


def below_any(path: Path, folders: Iterable[str]) -> bool:
    """Whether a path is in one of these folders."""
    return any(str(p) in set(folders) for p in path.parents)


def problem(command: list[str]) -> str:
    """Why a program does not start under bubblewrap here, in a few words; empty if it does."""
    if not sys.platform.startswith("linux"):
        return "only Linux has it"
    if not shutil.which("bwrap"):
        return "the program bwrap is not installed"
    try:
        tried = subprocess.run(command, capture_output=True, timeout=60, check=False,
                               stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    said = tried.stderr.decode(errors="replace").strip().splitlines()
    return "" if tried.returncode == 0 else said[-1] if said else f"exit code {tried.returncode}"
