"""The report is whole, loads nothing, escapes all text, and may lack any part."""
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import pytest
import torch
from PIL import Image

from minidiff.train import Record
from minidiff.visual import figures, report

VOID = {"meta", "img", "br", "link", "input"}
EVIL = '<script src="https://evil.example/x.js"></script> & "quoted"'


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails if tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.cells, self.words = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data

    @property
    def text(self):
        return "".join(self.words)

    def images(self, kind):
        found = [a["src"].split(",") for tag, a in self.tags if tag == "img"]
        return [Image.open(BytesIO(b64decode(data)))
                for head, data in found if head == f"data:image/{kind};base64"]


def row(score, **more):
    parts = dict(SCORE=score, CLIPS=0.4, ID=0.9, LOOKS=0.95, PHY=0.8, NEW=0.85, PROMPT=0.5,
                 FIT=0.7, COVER=0.6)
    return parts | dict(n=1024, edition=2) | more


@pytest.fixture(scope="module")
def full():
    facts = {"recipe": "mmnist32", "clips seen": 29440, "minutes": 9.9712,
             "versions": {"torch": "2.13"}, "command": "python -m minidiff demo --out 'a & b'"}
    return report.report_html(
        "A <b>title</b>", facts, clips=torch.rand(3, 4, 1, 8, 8), prompts=torch.tensor([7, 1, 4]),
        trajectory=figures.NotebookFigure(figsize=(2, 1)),
        curve=figures.loss_curve([Record(1, 1.0, 0.1, 0.1), Record(2, 0.5, 0.1, 0.1)]),
        own_row=row(0.712, interval={"SCORE": [0.69, 0.74]}), shipped_row=row(0.91),
        real_row=row(1.0, PROMPT=None),
        baseline_rows={"static": row(0.0), "unknown": row(None)})


def test_the_page_is_whole_and_every_part_is_in_it(full):
    page = Page(full)
    headings = re.findall("<h2>(.*?)</h2>", full)
    assert headings == ["What was trained", "The clips", "From noise to a clip", "The training",
                        "The scoreboard", "How to go on"]
    assert [i.n_frames for i in page.images("gif")] == [4, 4, 4] and len(page.images("png")) == 2
    assert re.findall("<figcaption>(.*?)</figcaption>", full) == ["7", "1", "4"]
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")


def test_the_page_loads_nothing_and_runs_nothing(full):
    page = Page(full)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name, value in attrs.items():
            assert not name.startswith("on")
            loads = name in ("src", "href", "srcset", "data", "action")
            assert not loads or value.startswith("data:image/")
    assert not re.search(r"https?://|//[a-z]|url\(|@import", re.sub("base64,[^\"]*", "", full))


def test_facts_are_shown_as_written(full):
    facts = dict(cells for cells in Page(full).cells if len(cells) == 2)
    assert facts == {"recipe": "mmnist32", "clips seen": "29\u202f440", "minutes": "9.971",
                     "versions": "torch 2.13", "command": "python -m minidiff demo --out 'a & b'"}


def test_the_scoreboard_has_every_row_and_column(full):
    head, *rows = (cells for cells in Page(full).cells if len(cells) > 2)
    assert head == ["", *report.COLUMN_HELP]
    rest = ["0.40", "0.90", "0.95", "0.80", "0.85", "0.50", "0.70", "0.60", "1\u202f024"]
    assert rows == [["this training", "0.710.69–0.74", *rest],
                    ["the shipped model", "0.91", *rest],
                    ["real clips (the ceiling)", "1.00", *rest[:5], "–", *rest[6:]],
                    ["static", "0.00", *rest], ["unknown", "–", *rest]]
    assert all(report.escape_text(text) in full for text in report.COLUMN_HELP.values())


@pytest.mark.parametrize("parts", [
    dict(title=EVIL), dict(facts={EVIL: EVIL, "command": EVIL, "versions": {EVIL: EVIL}}),
    dict(next_steps=[EVIL]), dict(baseline_rows={EVIL: row(0.5, n=EVIL)}),
    dict(clips=torch.rand(1, 2, 1, 8, 8), prompts=[EVIL])])
def test_whatever_is_put_in_is_escaped(parts):
    made = report.report_html(**{"title": "t", "facts": {}} | parts)
    page = Page(made)
    assert "script" not in [tag for tag, _ in page.tags] and "<script" not in made
    assert EVIL in page.text


@pytest.mark.parametrize("kept", ["clips", "trajectory", "curve", "own_row", "shipped_row",
                                  "real_row", "baseline_rows", "nothing"])
def test_parts_may_be_missing(kept):
    parts = dict(clips=torch.rand(1, 2, 1, 8, 8), trajectory=figures.NotebookFigure(),
                 curve=figures.NotebookFigure(), own_row=row(0.5), shipped_row=row(0.9),
                 real_row={"SCORE": 1.0},
                 baseline_rows={"noise": {}, "black": row(0.0)})
    parts = {k: v if k == kept else None for k, v in parts.items()}
    made = report.report_html("t", {}, **parts, next_steps=())
    assert len(re.findall("<h2>", made)) == (kept != "nothing")
    assert "None" not in Page(made).text and "nan" not in Page(made).text


def test_columns_that_no_row_fills_are_not_explained():
    made = report.report_html("t", {}, own_row={"SCORE": 0.5, "PROMPT": None})
    assert re.findall("<dt>(.*?)</dt>", made) == ["SCORE"]


@pytest.mark.parametrize("own", [2, None])
def test_rows_of_another_edition_are_named_and_not_shown(own):
    old, new = ({k: v for k, v in row(0.5).items() if k != "edition"}, row(0.5))
    rows = dict(own_row=old, shipped_row=new) if own is None else dict(own_row=new, shipped_row=old)
    page = Page(report.report_html("t", {}, **rows, real_row=rows["own_row"]))
    shown = [cells[0] for cells in page.cells if len(cells) > 2]
    assert shown == ["", "this training", "real clips (the ceiling)"]
    assert "another edition of the scoreboard: the shipped model." in page.text


def test_there_must_be_a_prompt_for_each_clip():
    with pytest.raises(ValueError, match="2 clips, but 1"):
        report.report_html("t", {}, clips=torch.rand(2, 2, 1, 8, 8), prompts=[1])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        report.report_html("t", {}, clips=torch.rand(2, 2, 1, 8, 8) - 1)


def test_write_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "r.html"
    report.write_report(path, "Fréchet", {"seed": 0})
    assert path.read_text(encoding="utf-8") == report.report_html("Fréchet", {"seed": 0})
    with pytest.raises(ValueError):
        report.write_report(path, "new", {}, clips=torch.rand(2, 2))
    assert "Fréchet" in path.read_text(encoding="utf-8") and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("value", "shown"), [
    (None, "–"), (torch.nan, "–"), (True, "True"), (0, "0"), (0.5, "0.5"),
    (1234567, "1\u202f234\u202f567"), (126.3456, "126.3"), ("<a>", "&lt;a&gt;")])
def test_values_as_text(value, shown):
    assert report.escape_text(value) == shown
