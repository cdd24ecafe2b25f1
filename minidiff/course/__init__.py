"""The course: `from minidiff import course`, and a chapter begins with `course.start("02")`."""
from minidiff.course.checking.verdict import CheckFailed, Verdict
from minidiff.course.student.compute_card import compute_card
from minidiff.course.student.notation import notation
from minidiff.course.student.questions import bughunt, predict
from minidiff.course.student.session import check, pick, progress, start

__all__ = ["CheckFailed", "Verdict", "bughunt", "check", "compute_card", "notation", "pick",
           "predict", "progress", "start"]
