"""Small tables of results: a CSV file that names its command, its date and its machine.

    table = ResultsTable("score_vs_network_calls", columns, key=("model", "sampler", "calls"))
    if not table.has(model="mmnist32", sampler="ddim", calls=8): table.add(...)

A row is written to the disk as soon as it is known, so an interrupted run continues where it
stopped. Rows that another command adds stand below that command.
"""
import csv
import os
import shlex
import sys
from pathlib import Path

import torch

from minidiff.course.student.claims import TABLES
from minidiff.runtime.machine import machine_description


class ResultsTable:
    """Rows of one CSV file; `key` names the columns that identify a row.

    note: one more comment line at the top. Raises ValueError if an existing file has other columns.
    """

    def __init__(self, name: str, columns: tuple[str, ...], key: tuple[str, ...],
                 folder: Path = TABLES, note: str = ""):
        self.path, self.columns, self.key = Path(folder) / f"{name}.csv", columns, key
        if not self.path.exists():
            self.write_header(note)
        with self.path.open(encoding="utf-8", newline="") as f:
            whole = f.readlines()
        last = [line for line in whole if line.startswith("# python ")][-1:]
        self.command_written = last == [f"# {command_line()}\n"]
        lines = csv.DictReader(line for line in whole if not line.startswith("#"))
        self.rows = list(lines)
        if tuple(lines.fieldnames or ()) != columns:
            raise ValueError(f"{self.path} has the columns {', '.join(lines.fieldnames or ())}, "
                             f"not {', '.join(columns)}; remove it to make it anew.")

    def write_header(self, note: str) -> None:
        """Begin the file: command, machine, note and columns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", encoding="utf-8", newline="") as f:
            f.write(comment_lines(command_line(), machine_line(), note))
            csv.DictWriter(f, self.columns, lineterminator="\n").writeheader()

    def has(self, **key) -> bool:
        """Whether there is a row with this key."""
        want = {k: format_value(key[k]) for k in self.key}
        return any(all(row[k] == v for k, v in want.items()) for row in self.rows)

    def add(self, **row) -> None:
        """Add a row and write it to the disk at once."""
        row = {k: format_value(v) for k, v in row.items()}
        with self.path.open("a", encoding="utf-8", newline="") as f:
            if not self.command_written:
                f.write(comment_lines(command_line(), machine_line()))
            csv.DictWriter(f, self.columns, lineterminator="\n").writerow(row)
            f.flush()
            os.fsync(f.fileno())
        self.command_written = True
        self.rows.append(row)


def comment_lines(*lines: str) -> str:
    """The lines that are not empty, each as a comment of the CSV file."""
    return "".join(f"# {line}\n" for line in lines if line)


def format_value(value) -> str:
    """A cell: floats with five digits, nothing for None."""
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def command_line() -> str:
    """The command that runs now. Of whole paths, which exist on one machine only, the last name."""
    parts = Path(sys.argv[0]).with_suffix("").parts
    program = [Path(sys.argv[0]).name]
    if "benchmarks" in parts:
        inside = parts[len(parts) - 1 - parts[::-1].index("benchmarks"):]
        program = ["-m", ".".join(inside).removesuffix(".__main__")]
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", *program, *words])


def machine_line() -> str:
    """One line on the date and the machine: its GPU if there is one, else its processor."""
    return machine_description("cuda" if torch.cuda.is_available() else "cpu")
