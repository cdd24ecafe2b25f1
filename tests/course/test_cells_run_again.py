"""Every code cell can be run twice in a row, and again after the cells below it.

One chapter is run by default. MINIDIFF_RERUN=all runs every solution, in the smoke profile: 30
minutes on two cores.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
CHOSEN = SOLUTIONS if os.environ.get("MINIDIFF_RERUN") == "all" else SOLUTIONS[1:2]


def rerun(notebook: Path, home: Path) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("rerun_cells.py")), str(notebook)],
        capture_output=True, text=True, env=os.environ | {
            "MINIDIFF_PROFILE": "smoke", "MINIDIFF_STRICT": "1", "MINIDIFF_HOME": str(home),
            "IPYTHONDIR": str(home), "PYTHONPATH": paths})


@pytest.mark.parametrize("notebook", CHOSEN, ids=lambda p: p.stem)
def test_every_cell_can_be_run_again(notebook, tmp_path):
    result = rerun(notebook, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


@pytest.mark.parametrize("cells, failure", [
    (["x = [1]", "y = x.pop()"], "cell 2, run twice in a row: IndexError"),
    (["x = 1", "y = x + 1", "x = 'a'"], "cell 2, run after those below it: TypeError"),
    (["x = z"], "cell 1, run for the first time: NameError"), (["x = 1", "y = x"], "")])
def test_cells_that_cannot_be_run_again_are_found(cells, failure, tmp_path):
    notebook = tmp_path / "some.ipynb"
    notebook.write_text(json.dumps({"cells": [
        {"cell_type": "code", "source": [source]} for source in cells]}))
    result = rerun(notebook, tmp_path)
    assert failure in result.stdout and result.returncode == (1 if failure else 0), result
