"""The catalogue: a chapter a file, with its `EXERCISES` and its `QUESTIONS`."""
import importlib
import pkgutil
from difflib import get_close_matches

from minidiff.course.checking.exercise import Exercise, Question


def chapters() -> list[str]:
    """The numbers of the chapters that have exercises: "00", "01", ..."""
    return sorted(m.name.removeprefix("ch") for m in pkgutil.iter_modules(__path__))


def exercises_of(chapter: str) -> list[Exercise]:
    """A chapter's exercises, in their order. Raises ValueError that names the chapters."""
    return list(chapter_module(chapter).EXERCISES)


def questions_of(chapter: str) -> list[Question]:
    """A chapter's predictions and bug hunts, in their order."""
    return list(chapter_module(chapter).QUESTIONS)


def chapter_module(chapter: str):
    """The module of a chapter's exercises. Raises ValueError for an unknown chapter."""
    if chapter not in chapters():
        raise ValueError(f"There is no chapter {chapter!r}; there are {', '.join(chapters())}.")
    return importlib.import_module(f"{__name__}.ch{chapter}")


def find(id: str) -> Exercise | Question:
    """The exercise or question of that id. Raises ValueError that names the nearest ones."""
    known = {e.id: e for c in chapters() for e in exercises_of(c) + questions_of(c)}
    if id not in known:
        near = get_close_matches(str(id), known, 3, 0.4)
        meant = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ValueError(f"There is no exercise {id!r}{meant}")
    return known[id]
