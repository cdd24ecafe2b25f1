"""Runs the solutions, strict, as after a student has solved all, and keeps what they show."""
import io
import json
import os
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import minidiff
from minidiff.course.authoring import builder, notebook_files
from minidiff.course.student import saved_work

MAX_OUTPUT_BYTES = 300_000                           # bytes of one kind of one output that are kept
CELL_TIME_LIMIT = 900                                   # that one cell may take
WIDGET = "application/vnd.jupyter.widget-view+json"         # dead without its kernel


class ExecutionResult(NamedTuple):
    """What became of a solution: seconds, the file's bytes, and outputs too large to keep."""
    name: str
    seconds: float
    size: int
    dropped: list[str]


def execute(root: Path, names: list[str], profile: str | None = None,
            home: Path | None = None) -> Iterator[ExecutionResult]:
    """Run solutions one after another and store their outputs: one result each.

    names: "02" or "02_noise_prediction", none for all. profile: smoke, cpu or gpu; the usual one
    unless given. Each runs in solutions/, with checks that raise; what is accepted is kept from one
    to the next, in `home` or a folder for the time being; what an earlier run of it chose there is
    forgotten, so that a question shows no choice before the first. A solution that fails is left as
    it was.
    Raises ValueError for an unknown name, RuntimeError with the cell and its error.
    """
    passing = tempfile.TemporaryDirectory()
    for path in select_solutions(Path(root), names):
        begun, kept = time.monotonic(), Path(home or passing.name).resolve()
        saved_work.delete_choices(path.name[:2], kept)
        notebook = run_notebook(path, {"MINIDIFF_HOME": str(kept)}
                       | ({"MINIDIFF_PROFILE": profile} if profile else {}))
        dropped = [f"{path.name}, cell {number}: {kind} of {size / 1000:.0f} KB"
                   for number, cell in enumerate(notebook["cells"], 1)
                   for kind, size in clean_outputs(cell)]
        content = notebook_files.dump_notebook(builder.normalise_solution(notebook))
        notebook_files.write_notebook(path, content)
        yield ExecutionResult(path.name, time.monotonic() - begun, len(content), dropped)


def select_solutions(root: Path, names: list[str]) -> list[Path]:
    """The solutions of those names. Raises ValueError that names those there are."""
    known = notebook_files.solutions_in(root)
    for name in names:
        if not any(matches_name(path, name) for path in known):
            raise ValueError(f"There is no solution {name!r}; there are "
                             f"{', '.join(p.stem for p in known) or 'none'}.")
    return [p for p in known if not names or any(matches_name(p, name) for name in names)]


def matches_name(path: Path, name: str) -> bool:
    """Whether `name` is this notebook's file name, its stem or its two-digit number."""
    return Path(name).name in (path.name, path.stem, path.stem[:2])


def run_notebook(path: Path, settings: dict[str, str]) -> dict:
    """A solution with the outputs of a fresh kernel. Raises RuntimeError with cell and error."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    package = str(Path(minidiff.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    env = os.environ | {"MINIDIFF_STRICT": "1", "PYTHONPATH": paths} | settings
    notebook = nbformat.reads(
        notebook_files.dump_notebook(
            builder.normalise_solution(notebook_files.read_notebook(path))
        ).decode(),
        4,
    )
    client = NotebookClient(notebook, timeout=CELL_TIME_LIMIT, kernel_name="python3",
                            coalesce_streams=True, store_widget_state=False,
                            resources={"metadata": {"path": str(path.parent)}})
    with client.setup_kernel(env=env):
        for number, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, number)
            except CellExecutionError as e:
                said = f"{e.ename}: {e.evalue}".strip()
            except CellTimeoutError:
                said = f"it took more than {CELL_TIME_LIMIT} s"
            except DeadKernelError:
                said = "the kernel died"
            else:
                continue
            raise RuntimeError(f"solutions/{path.name}, cell {number + 1}: {said}")
    return notebook_files.parse_notebook(nbformat.writes(notebook).encode(), path)


def clean_outputs(cell: dict) -> list[tuple[str, int]]:
    """Take out of a cell's outputs what no file should keep. Returns what was too large.

    Progress bars and warnings (stderr) go, widgets that are dead without their kernel, a JPEG
    beside a PNG, colours beyond 48 and, of what is shown in several kinds, those that are large.
    """
    kept, large = [], []
    for output in cell.get("outputs", []):
        parts = compress_images(output.get("data", {})) | (
            {"text": output["text"]} if "text" in output else {}
        )
        sizes = {kind: len(json.dumps(value)) for kind, value in parts.items()}
        heavy = [kind for kind, size in sizes.items() if size > MAX_OUTPUT_BYTES]
        large += [(kind, sizes[kind]) for kind in heavy]
        parts = {k: v for k, v in parts.items() if k not in (*heavy, WIDGET)}
        if output.get("name") != "stderr" and parts:
            kept.append(output | ({"data": parts} if "data" in output else {}))
    if cell["cell_type"] == "code":
        cell["outputs"] = kept
    return large


def compress_images(data: dict) -> dict:
    """An output's kinds, without a JPEG where there is a PNG, the PNG with a palette if smaller."""
    if "image/png" not in data:
        return data
    text = "".join(data["image/png"])
    picture, small = Image.open(io.BytesIO(b64decode(text))), io.BytesIO()
    picture.convert("RGB").quantize(48).save(small, "PNG", optimize=True)
    fewer = b64encode(small.getvalue()).decode()
    kept = {kind: value for kind, value in data.items() if kind != "image/jpeg"}
    return kept | {"image/png": fewer if len(fewer) < len(text) else text}
