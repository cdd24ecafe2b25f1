"""Temporary folders: locked while they are in use, removed at the next start if they were left."""
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minidiff.runtime.folders import lock_folder

PREFIX = "minidiff-grading-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of one's own. Those of killed processes are removed first."""
    remove_abandoned()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(OSError):                  # another start may have taken it for abandoned
            lock = lock_folder(folder)
            if (folder / ".lock").exists():
                break
    try:
        yield folder
    finally:
        lock.close()
        remove_tree(folder)


def remove_abandoned() -> None:
    """Remove the folders whose process has ended, as their locks show."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with suppress(OSError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == getattr(os, "getuid", int)():
                lock_folder(folder).close()
                remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder, however deep; what cannot be removed is left."""
    if folder.is_dir():
        remove_content(folder)
    shutil.rmtree(folder, ignore_errors=True)


def remove_content(folder: Path) -> None:
    """Remove everything in a folder. Deep folders are moved up first, so nothing here recurses."""
    while inner := [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()]:
        removed = 0
        for place in inner:
            with suppress(OSError):
                place.chmod(0o700)
                for child in list(place.iterdir()):
                    if child.is_dir() and not child.is_symlink():
                        child.rename(folder / uuid.uuid4().hex)
                    else:
                        child.unlink()
                place.rmdir()
                removed += 1
        if not removed:
            break
    for place in folder.iterdir():
        with suppress(OSError):
            place.unlink()
