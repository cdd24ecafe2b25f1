"""The course as nbgrader's source tree, for instructors who collect and grade with nbgrader.

The course does not depend on nbgrader: its own `grade` needs nothing else, but hands nothing out.
"""
from pathlib import Path

from minidiff.course.authoring import builder, notebook_files
from minidiff.course.authoring.notebook_files import CourseOutline, load_outline, read_notebook
from minidiff.runtime.files import write_text

CONFIG = '''"""nbgrader's settings for this course; see README.md."""
from pathlib import Path

c = get_config()  # noqa: F821 (nbgrader defines it)
c.CourseDirectory.root = str(Path(__file__).resolve().parent)       # nbgrader wants it absolute
c.CourseDirectory.course_id = "minidiff"
c.IncludeHeaderFooter.header = "source/header.ipynb"
c.ClearSolutions.code_stub = {"python": """STUB"""}
c.Execute.timeout = 900                                             # seconds a cell, of training
'''.replace("STUB", "\n".join(notebook_files.STUB_LINES))

HEADER = """Before you hand this in, make sure that it runs from top to bottom: *Kernel*, then \
*Restart Kernel and Run All Cells*. Write where it says `YOUR CODE HERE`; add cells as you like, \
but delete none."""

README = """# {title}: nbgrader's source tree

Made by `python -m minidiff.course release --nbgrader`; make it anew rather than change it here.
In this folder, with nbgrader and minidiff installed, for the chapter {first} for example:

1. `nbgrader generate_assignment {first}` writes what students get into `write_release/`.
2. Put what they hand in into `submitted/STUDENT/{first}/{first}.ipynb`.
3. `MINIDIFF_PROFILE=smoke nbgrader autograde {first}` runs it, small: checks never depend on
   trained numbers. nbgrader runs students' code as you, so do it in a container.
4. `nbgrader generate_feedback {first}`, and `nbgrader export` for `grades.csv`.

| chapter | points | minutes | solutions are shown |
| --- | --- | --- | --- |
{rows}

Bug hunts count in a chapter's points but not in nbgrader's, which grades what is written.
"""


def write_release(root: Path, folder: Path) -> list[Path]:
    """Write nbgrader's source tree into a new or empty folder; the notebooks written.

    Raises FileExistsError for a folder with anything in it, ValueError, a sentence a fault, for
    solutions that break the rules.
    """
    folder, course = Path(folder), load_outline(root)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; a release needs a new folder.")
    builder.make_editions(root)                               # nothing leaks, or nothing is written
    written = []
    for path in notebook_files.solutions_in(root):
        made = builder.nbgrader_edition(read_notebook(path), course.install)
        written.append(folder / "source" / path.stem / path.name)
        notebook_files.write_notebook(written[-1], notebook_files.dump_notebook(made))
    header = builder.make_notebook([{"cell_type": "markdown", "metadata": {}, "source": HEADER}])
    notebook_files.write_notebook(
        folder / "source" / "header.ipynb", notebook_files.dump_notebook(header)
    )
    write_text(folder / "nbgrader_config.py", CONFIG)
    write_text(folder / "README.md", readme(course, written))
    return written


def readme(course: CourseOutline, written: list[Path]) -> str:
    """The text of the release's README.md, with a table of all chapters."""
    rows = [f"| {c.name} | {c.points} | {c.minutes} | {c.solutions} |" for c in course.chapters]
    first = written[0].stem if written else course.chapters[0].name
    return README.format(title=course.title, first=first, rows="\n".join(rows))
