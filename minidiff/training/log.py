"""The log of a training: a CSV file with a line per step."""
import csv
import io
import math
import os
from pathlib import Path

from minidiff.runtime import files
from minidiff.runtime.files import write_error
from minidiff.train import Record

HEADER = ["step", "loss", "grad_norm", "lr", "seconds"]


class CSVLogger:
    """A CSV file of records. Opened again after a kill, it drops the lines of unsaved steps.

    step: the number of steps saved; 0 begins a new file. Raises ValueError that names the file if
    it is no such log.
    """

    def __init__(self, path: Path, step: int):
        self.path, self.new = path, not path.exists()
        kept = [row for row in read_rows(path) if int(row[0]) <= step] if step else []
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADER, *kept])
        files.write_text(path, text.getvalue())
        self.file = path.open("a", newline="", encoding="utf-8")
        self.writer = csv.writer(self.file, lineterminator="\n")

    def add(self, record: Record, seconds: float) -> None:
        """Append a line."""
        self.writer.writerow([record.step, f"{record.loss:.6g}", f"{record.grad_norm:.4g}",
                              f"{record.lr:.4g}", f"{seconds:.2f}"])

    def flush(self) -> None:
        """Bring all lines onto the disk. Raises OSError that names the file."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as e:
            raise write_error(self.path, e) from e

    def close(self) -> None:
        """Write the last lines and close the file; may be called twice."""
        try:
            self.file.close()
        except OSError as e:
            raise write_error(self.path, e) from e

    def discard(self) -> None:
        """Close the file and, if it is new, delete it."""
        try:
            self.close()
        finally:
            if self.new:
                self.path.unlink(missing_ok=True)


def read_log(path: Path) -> list[Record]:
    """The records of a log. Raises ValueError that names the file if it is damaged."""
    return [Record(int(step), *map(float, numbers[:3])) for step, *numbers in read_rows(path)]


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a log, split; none if there is no file. A half-written last line is left out.

    Raises ValueError that names the file for anything else.
    """
    if not path.exists():
        return []
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        if header != HEADER:
            raise ValueError("its first line is another")
        if rows and not is_row(rows[-1]):
            rows.pop()
        if wrong := [i for i, row in enumerate(rows, 2) if not is_row(row)]:
            raise ValueError(f"line {wrong[0]} is no record")
    except (ValueError, csv.Error) as e:                  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{path} is not the log of a training ({e}). Move it away: "
                         "a training goes on without it, and begins a new log.") from None
    return rows


def is_row(row: list[str]) -> bool:
    """Whether a split line is a record: a step's number and four other numbers."""
    try:
        int(row[0])
        return len(row) == len(HEADER) and not any(math.isinf(float(x)) for x in row)
    except (ValueError, IndexError):
        return False
