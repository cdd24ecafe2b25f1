"""The frame to draw a path in: its stored clips, what it answers, and what it refuses."""
import json
import sys
import warnings
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.extensions.control import dots
from minidiff.visual.path_widget import GREYS, parse_path, path_widget

SIZE, FRAMES = (12, 16), 4
LINE = torch.stack([torch.linspace(2, 9, FRAMES), torch.linspace(3, 13, FRAMES)], -1)
PATHS = {"line": LINE, "back": LINE.flip(0), "stand": LINE[:1].expand(FRAMES, 2)}


def follow(paths, labels):
    """A dot where the path is, the paler the larger the label."""
    if (labels == 9).any():
        warnings.warn("A 9 is slow.", stacklevel=2)
    return dots(paths, SIZE) * (1 - labels.view(-1, 1, 1, 1, 1) / 20)


def spec(widget):
    return json.loads(widget.spec.replace("<\\/", "</"))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("L"))


def text(path) -> str:
    return " ".join(f"{y:.2f},{x:.2f}" for y, x in path.tolist())


def test_the_sheet_holds_every_frame_of_every_stored_path():
    widget = path_widget(follow, PATHS, [3, 5])
    about = spec(widget)
    assert about["names"] == [*PATHS] and about["labels"] == [3, 5, 3]
    sheet = pixels(b64decode(about["sheet"].split(",")[1]))
    assert sheet.shape == (3 * SIZE[0], FRAMES * SIZE[1])
    for k, (path, label) in enumerate(zip(PATHS.values(), about["labels"], strict=True)):
        want = follow(path[None], torch.tensor([label]))[0, :, 0].numpy() * 255
        for t in range(FRAMES):
            tile = sheet[k * SIZE[0]:(k + 1) * SIZE[0], t * SIZE[1]:(t + 1) * SIZE[1]]
            assert np.abs(tile - want[t]).max() <= 255 / (GREYS - 1) / 2 + 1


def test_the_same_content_is_the_same_page_and_it_loads_nothing():
    one, two = (path_widget(follow, PATHS).html() for _ in range(2))
    assert one == two != path_widget(follow, PATHS, [1]).html()
    assert "http" not in one.replace("http://www.w3.org", "")


def test_a_drawn_path_is_answered_by_a_clip_along_it():
    widget = path_widget(follow, PATHS)
    picture, line = widget.answer(text(LINE.flip(1)), 2)
    want = follow(LINE.flip(1)[None], torch.tensor([2]))[0, :, 0] * 255
    assert np.abs(pixels(picture) - np.concatenate([*want.numpy()], 1)).max() <= 11
    assert "yours" in line
    assert widget.answer(text(LINE), 9)[1] == "A 9 is slow."


@pytest.mark.parametrize("wrong", ["", "1,2", "1,2 3,4 5,6", "1,2 3,4 5,6 7", "a,b c,d e,f g,h",
                                   "1,2 3,4 5,6 7,nan", "1,2,3 4,5,6 7,8,9 1,1,1"])
def test_what_is_no_path_is_said(wrong):
    with pytest.raises(ValueError, match="4 points y,x"):
        parse_path(wrong, FRAMES)
    picture, line = path_widget(follow, PATHS).answer(wrong, 0)
    assert picture == b"" and line.startswith("A path is 4 points")


@pytest.mark.parametrize("wrong", [{}, {"a": LINE, "b": LINE[:2]}, {"a": LINE[:, :1]},
                                   {"a": LINE * torch.nan}, {"a": LINE[None]}])
def test_stored_paths_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="Stored paths must be finite"):
        path_widget(follow, wrong)


def test_the_bridge_carries_a_path_there_and_a_clip_back():
    ipywidgets = pytest.importorskip("ipywidgets")
    widget = path_widget(follow, PATHS)
    assert "application/vnd.jupyter.widget-view+json" in widget.build_bridge(ipywidgets)
    assert f"{widget.id}-text" in widget.text._dom_classes
    widget.text.value = text(LINE) + "|123"
    assert widget.picture.value == widget.answer(text(LINE), 0)[0]
    widget.label.value = 5
    assert widget.picture.value == widget.answer(text(LINE), 5)[0]
    widget.text.value = "nonsense"
    assert widget.picture.value == b"" and "A path is 4 points" in widget.line.value


def test_a_notebook_gets_the_page_and_then_the_bridge(monkeypatch):
    pytest.importorskip("ipywidgets")
    widget = path_widget(follow, PATHS)
    shown = widget._repr_mimebundle_()
    assert shown.keys() == {"text/html", "image/png", "text/plain"}
    assert "line, back, stand" in shown["text/plain"]
    live = widget.live()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in live
    assert live["text/plain"].startswith("With a kernel")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert widget.live()._repr_mimebundle_().keys() == {"text/plain"}
    assert "ipywidgets is installed" in repr(widget.live())


def test_saving_writes_a_page(tmp_path):
    widget = path_widget(follow, PATHS)
    widget.save(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and widget.spec in page
    with pytest.raises(ValueError, match=r"saved as \.html"):
        widget.save(tmp_path / "x.pdf")
