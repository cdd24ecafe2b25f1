"""The page on which students try to fool the scoreboard."""
import json

import pytest
import torch

from minidiff.course.student import leaderboard
from minidiff.course.student.leaderboard import fool, load_attacks, studio


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path / "work"))
    return tmp_path / "work"


def frozen(s):
    """The first frame of each clip, in all frames."""
    return s.draw()[:, :1].expand(-1, s.frames, -1, -1, -1).clone()


def turned(s):
    """Real clips, upside down in every second frame."""
    clips = s.draw()
    clips[:, ::2] = clips[:, ::2].flip(-2)
    return clips


def test_an_attack_is_judged_kept_and_listed(home):
    table = fool("stands still", frozen, "nothing moves").data
    line = next(row for row in table.splitlines() if "stands still" in row)
    assert "nothing moves" in line and float(line.split("|")[3]) < 0.05
    kept = json.loads((home / "attacks.json").read_text())
    assert "frozen" in kept["stands still"]["source"]
    assert kept["stands still"]["row"]["n"] == 128


def test_the_best_stands_first_and_known_ones_beside():
    fool("turned", turned, "it turns")
    lines = fool("stands still", frozen, "nothing moves").data.splitlines()[2:]
    scores = [float(row.split("|")[3]) for row in lines]
    assert scores == sorted(scores, reverse=True) and any("ten images" in row for row in lines)
    assert not any("real |" in row for row in lines)


def test_an_attack_of_the_same_name_is_replaced():
    fool("mine", frozen, "nothing moves")
    fool("mine", turned, "it turns")
    assert [a["why"] for a in load_attacks().values()] == ["it turns"]


def test_a_success_asks_for_a_report(monkeypatch):
    real = leaderboard.score(studio().draw(), seeds=(1,))
    monkeypatch.setattr(leaderboard, "score", lambda *_, **__: real)
    assert "report" in fool("flipped", turned, "it turns").data


@pytest.mark.parametrize(("attack", "why", "message"), [
    (lambda s: s.draw(), "x", "real clips"),
    (lambda s: s.draw()[:5], "x", "shape"),
    (lambda s: None, "x", "NoneType"),
    (lambda s: 2 * s.draw(), "x", r"in \[0, 1\]"),
    (lambda s: s.draw().flip(-1), " ", "why"),
])
def test_what_is_no_attack_is_refused(attack, why, message, home):
    with pytest.raises(ValueError, match=message):
        fool("mine", attack, why)
    assert not home.exists()


def test_a_damaged_file_is_named_and_old_rows_are_left_out(home):
    fool("mine", frozen, "nothing moves")
    kept = json.loads((home / "attacks.json").read_text())
    kept["mine"]["row"]["edition"] = 1
    (home / "attacks.json").write_text(json.dumps(kept))
    assert load_attacks() == {}
    (home / "attacks.json").write_text('{"mine": 3}')
    with pytest.raises(ValueError, match=r"attacks\.json cannot be read"):
        load_attacks()


def test_an_attack_cannot_change_the_next_ones_clips():
    before = studio().draw()

    def paints_the_studio(s):
        for x in (s.digits.images, s.own, s.real.positions):
            x.mul_(0.5)
        return s.draw()
    fool("turned", turned, "it turns")
    fool("dark", paints_the_studio, "too dark")
    torch.testing.assert_close(studio().draw(), before, rtol=0, atol=0)
