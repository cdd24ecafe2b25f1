"""The page on which a student tries to fool the scoreboard, and the list of the best attempts.

    .minidiff/attacks.json   {name: {"why", "source", "row"}}

An attack is a function of a `Studio`, real clips taken apart into pictures and paths. It returns
clips that an eye calls wrong. The higher their SCORE, the more the scoreboard has missed.
"""
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from IPython.display import Image, Markdown, display
from torch import Tensor

from minidiff.course.student.claims import markdown_table
from minidiff.course.student.function_source import source_with_dependencies
from minidiff.course.student.saved_work import saved_work_folder
from minidiff.data import digits, media
from minidiff.evaluation.baselines import Studio
from minidiff.evaluation.references import reference_for
from minidiff.evaluation.rows import EDITION
from minidiff.evaluation.scoreboard import score
from minidiff.runtime import files

CLIPS, DIGITS, SHOWN, SEED = 128, 3000, 3, 1
SPLITS = "test", "train"
LIMIT = 0.6                    # a wrong set above it is a fault of the scoreboard
REAL = 0.02                    # clips that differ less from the real ones, in the mean, are these
PARTS = "ID", "LOOKS", "PHY", "NEW", "FIT", "COVER"


def studio() -> Studio:
    """The real clips of built-in digits that an attack starts from, its own copy of them."""
    drawn, train = (d._replace(images=d.images.clone()) for d in map(drawn_digits, SPLITS))
    return Studio(drawn, CLIPS, SEED, train=train)


@cache
def drawn_digits(split: str) -> digits.Digits:
    """The digits of a split, drawn once."""
    return digits.built_in(split, DIGITS)


def fool(name: str, attack: Callable[[Studio], Tensor], why: str) -> Markdown:
    """Judge an attack, show some of its clips, keep it, and return the leaderboard.

    attack(studio) returns clips (128, 8, 1, 32, 32) in [0, 1]. why: what an eye sees is wrong with
    them. An attack of the same name is replaced. Raises ValueError for clips that cannot be judged,
    for the real clips themselves, and for an attack that does not say why.
    """
    if not name.strip() or not why.strip():
        raise ValueError("An attack needs a name, and why: what does an eye see that is wrong?")
    clips = checked_attack(attack(studio()), studio())
    row = score(clips, seeds=(SEED,))
    attacks = load_attacks() | {name: {"why": why, "source": source_of(attack), "row": row}}
    path = attacks_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(attacks, indent=1, ensure_ascii=False))
    sheet = io.BytesIO()
    media.contact_sheet(clips[:SHOWN], scale=2).save(sheet, format="png")
    display(Image(sheet.getvalue()))
    return leaderboard()


def checked_attack(clips: object, s: Studio) -> Tensor:
    """The clips of an attack. Raises ValueError for another shape, and for the real clips."""
    shape = (s.n, s.frames, 1, s.size, s.size)
    if not isinstance(clips, Tensor) or clips.shape != shape:
        got = tuple(clips.shape) if isinstance(clips, Tensor) else type(clips).__name__
        raise ValueError(f"An attack returns clips of shape {shape}, got {got}.")
    if (clips - s.draw()).abs().mean() < REAL * s.draw().mean():
        raise ValueError("These are the real clips: nothing is wrong with them. Change something "
                         "that an eye sees.")
    return clips.detach().float()


def source_of(attack: Callable) -> str | None:
    """The source of an attack, with all that it needs; None if it cannot be found."""
    try:
        return source_with_dependencies(attack)[0]
    except ValueError:
        return None


def attacks_file() -> Path:
    """The file of the student's attacks."""
    return saved_work_folder() / "attacks.json"


def load_attacks() -> dict[str, dict]:
    """The attacks that are kept, by name; those of another edition of the scoreboard are left out.

    Raises ValueError with the file's name if it is damaged.
    """
    path = attacks_file()
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: a for name, a in kept.items() if a["row"]["edition"] == EDITION
                and all(isinstance(a["row"][k], float | int) for k in ("SCORE", *PARTS))
                and isinstance(a["why"], str)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ValueError(f"{path} cannot be read ({e}); delete it to begin anew.") from None


def leaderboard() -> Markdown:
    """All attacks as a table, the most successful first: the student's in bold, and known ones."""
    known = reference_for("builtin", 32, 8).metadata["rows"]
    rows = [(name, row, "known") for name, row in known.items() if name != "real"]
    rows += [(f"**{name}**", a["row"], a["why"]) for name, a in load_attacks().items()]
    rows.sort(key=lambda r: r[1]["SCORE"], reverse=True)
    table = [(str(i), name, f"{row['SCORE']:.2f}", charged_by(row), why.replace("|", "/"))
             for i, (name, row, why) in enumerate(rows, 1)]
    best = max((a["row"]["SCORE"] for a in load_attacks().values()), default=0)
    note = (f"\n\n**{best:.2f} for wrong clips is a fault of the scoreboard.** Please report it: "
            f"the function is kept in {attacks_file()}." if best > LIMIT else "")
    head = ("place", "attack", "SCORE", "charged by", "what is wrong")
    return Markdown(markdown_table(head, table).data + note)


def charged_by(row: dict) -> str:
    """The part of a row that is smallest, and its value."""
    part = min(PARTS, key=lambda k: row[k])
    return f"{part} {row[part]:.2f}"
