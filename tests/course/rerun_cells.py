"""Runs a notebook's code cells in one process, every cell twice in a row, then again from below.

    python tests/course/rerun_cells.py solutions/02_noise_prediction.ipynb

A student runs cells again, and runs a cell again after those below it. Three passes find the cells
that do not allow that: from the top to the end with every cell doubled, then from the last cell up
to the first. Prints one line for each failure and ends with 1 if there is one.
"""
import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path


def code_cells(path: Path) -> list[tuple[int, str]]:
    """The number (from 1) and the source of every code cell of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(number, "".join(cell["source"])) for number, cell in enumerate(cells, 1)
            if cell["cell_type"] == "code"]


def run_again(path: Path) -> list[str]:
    """One sentence for each cell that fails: at first, run twice, or after the cells below it."""
    from IPython.core.interactiveshell import InteractiveShell
    cells, failures = code_cells(path), []
    os.chdir(path.parent)                                # where a kernel would work
    shell = InteractiveShell.instance()
    orders = (("twice in a row", [c for c in cells for _ in range(2)]),
              ("after those below it", cells[::-1]))
    for order, sequence in orders:
        seen = set()
        for number, source in sequence:
            began, output = time.monotonic(), io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                result = shell.run_cell(source, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                when = (
                    order if number in seen or order != "twice in a row" else "for the first time"
                )
                failures.append(f"{path.name}, cell {number}, run {when}: "
                                f"{type(error).__name__}: {error}")
                print(failures[-1], flush=True)
            if os.environ.get("RERUN_TIMES"):
                print(f"cell {number}: {time.monotonic() - began:.1f} s", flush=True)
            seen.add(number)
    return failures


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    failed = [failure for name in sys.argv[1:] for failure in run_again(Path(name).resolve())]
    sys.exit(1 if failed else 0)
