"""The course: `from minidiff import course`, and a chapter begins with `course.start("02")`."""
from minidiff.course.cards import compute_card
from minidiff.course.judge import CheckFailed, Verdict
from minidiff.course.notation import notation
from minidiff.course.questions import bughunt, predict
from minidiff.course.session import check, pick, progress, start

__all__ = ["CheckFailed", "Verdict", "bughunt", "check", "compute_card", "notation", "pick",
           "predict", "progress", "start"]
