"""Output folders: made, locked by one training at a time, and checked before long work begins.

A command that is refused leaves no trace: `FolderLock.discard` takes away what the lock made.
"""
import errno
import os
import shutil
import weakref
from pathlib import Path

_held = weakref.WeakValueDictionary()             # resolved folder -> the lock of this process


class FolderLock:
    """A folder that this process holds until `close`, or until the process ends.

    Raises BlockingIOError if another process, or this one, holds it; NotADirectoryError if it is a
    file; OSError if it cannot be made.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder).expanduser()
        self.made = make_folder(self.folder)
        self.path = self.folder / ".lock"
        self.new = not self.path.exists()
        try:
            self.file = open(self.path, "w")  # noqa: SIM115 (held on purpose, until it is closed)
        except OSError as e:
            remove_empty(self.made)
            raise type(e)(f"{self.folder} cannot be written into: {e.strerror}.") from e
        try:
            lock_file(self.file)
        except OSError:
            self.file.close()
            raise BlockingIOError(self.refusal()) from None
        _held[self.folder.resolve()] = self

    def refusal(self) -> str:
        """Who holds the folder, and what to do."""
        if self.folder.resolve() in _held:
            return (f"This Python process itself is still working in {self.folder}: an earlier "
                    "training run holds it. Call close() on that run, restart the kernel, or "
                    "choose another folder.")
        return (f"Another process is working in {self.folder}. "
                "Wait for it, or choose another --out folder.")

    def close(self) -> None:
        """Let go of the folder. May be called twice."""
        self.file.close()
        if _held.get(self.folder.resolve()) is self:
            del _held[self.folder.resolve()]

    def discard(self) -> None:
        """Let go, and remove the lock file and the empty folders that this lock made."""
        if self.new and os.name != "nt":         # while it is held: no other process takes it first
            self.path.unlink(missing_ok=True)
        self.close()
        if self.new:
            self.path.unlink(missing_ok=True)
        remove_empty(self.made)


def lock_folder(folder: Path) -> FolderLock:
    """Hold a folder until the returned lock is closed. Raises as `FolderLock`."""
    return FolderLock(folder)


def lock_file(file) -> None:
    """Lock an open file without waiting. Raises OSError if it is locked already."""
    if os.name == "nt":
        import msvcrt
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parents. Returns those that were not there, the innermost first.

    Raises NotADirectoryError if a file is in the way, OSError if the system refuses.
    """
    folder = Path(folder).expanduser()
    here = existing_part(folder)
    if not here.is_dir():
        raise NotADirectoryError(f"{here} is a file, so {folder} cannot be a folder; "
                                 "choose another place.")
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove these folders, the innermost first, up to the first that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:                                           # somebody else uses it by now
            return


def existing_part(path: Path) -> Path:
    """The path itself or, if it does not exist, its nearest parent that does."""
    return next((p for p in (path, *path.parents) if p.exists()), Path("."))


def check_output_file(path: Path, size: int = 0) -> None:
    """Raise OSError, before long work, unless a file of `size` bytes can be written at `path`.

    Nothing is made or changed.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file in it.")
    here = existing_part(path.parent)
    if not here.is_dir():
        raise NotADirectoryError(f"{here} is a file, so {path} cannot be written.")
    if not os.access(here, os.W_OK):
        raise PermissionError(f"{path} cannot be written: no permission to write into {here}.")
    check_free_space(here, size)


def check_free_space(folder: Path, size: int) -> None:
    """Raise OSError unless `size` more bytes fit on the disk of a folder, which need not exist."""
    folder = Path(folder).expanduser()
    free = shutil.disk_usage(existing_part(folder)).free
    if free < size:
        error = OSError(f"There is not enough room in {folder}: {size / 1e6:,.1f} MB are needed, "
                        f"{free / 1e6:,.1f} MB are free. Make room, or choose another place.")
        error.errno = errno.ENOSPC
        raise error


def clear_drafts(folder: Path, *names: str) -> None:
    """Delete the half-written drafts of these files that a killed process left behind.

    Only for the process that holds the folder: a draft may be another's work.
    """
    for name in map(Path, names):
        for draft in Path(folder).glob(f".{name.stem}-{'[a-z0-9_]' * 8}{name.suffix}"):
            draft.unlink(missing_ok=True)
