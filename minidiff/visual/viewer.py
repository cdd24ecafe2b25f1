"""Pages to leaf through without a kernel: tiles on one picture, and sliders that choose among them.

A `Viewer` is plain HTML. All tiles of all panels are on one PNG of few colours (the sheet), and a
short script (viewer.js) draws the tiles that the sliders choose. Before the script runs, or without
one, a still picture is shown. The page loads nothing. Its ids are computed from its content, so the
same content gives the same text.
"""
import hashlib
import html
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from minidiff.data.media import data_uri
from minidiff.runtime import files
from minidiff.visual import figures
from minidiff.visual.page import html_page

CSS, SCRIPT = (Path(__file__).with_name(f"viewer.{end}") for end in ("css", "js"))
PAGE_CSS = """
:root { color-scheme: light dark; }
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 64rem;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
"""
INK_BAR = "less ink", "more"                           # the ends of a colour bar of differences


class Slider(NamedTuple):
    """A slider, with a label per position; ms: milliseconds from one position to the next."""
    name: str
    value_labels: list[str]
    start: int = 0
    ms: int = 250


class ViewerPanel(NamedTuple):
    """Tiles (A, B, h, w, 3), bytes, for the positions of the first and the second slider.

    A or B is 1 if that slider changes nothing. caption: the text below the tiles; captions: A texts
    instead of it, by the first slider. blank_texts: texts over tiles that are empty, by the first
    slider's position. row: a row of the tiles to mark; "second": the row that the second slider
    gives. colourbar: the texts at the two ends of a colour bar.
    """
    name: str
    title: str                                                                   # as HTML
    tiles: np.ndarray
    caption: str = ""
    captions: tuple[str, ...] = ()
    blank_texts: dict[int, str] | None = None
    row: int | str | None = None
    colourbar: tuple[str, ...] = ()


class Viewer:
    """Panels and sliders as one object that a notebook displays and `save` writes.

    fallback: the figure for readers without scripts; text: for readers without pictures.
    footer_html: HTML below the panels. plot_html: HTML that only a running page shows; its lines of
    class "cursor" stand at the cursor_positions, one for each position of the first slider.
    """

    def __init__(self, caption: str, sliders: list[Slider], panels: list[ViewerPanel],
                 fallback: figures.NotebookFigure, text: str, columns: int, footer_html: str = "",
                 plot_html: str = "", cursor_positions: tuple[float, ...] = ()):
        self.caption, self.text, self.footer_html = caption, text, footer_html
        self.fallback_png = figure_png(fallback)
        self.sheet, places = pack_tiles([p.tiles for p in panels])
        described = [{k: v for k, v in (p._asdict() | place).items() if k != "tiles"}
                     for p, place in zip(panels, places, strict=True)]
        spec = {"caption": caption, "columns": columns, "plot": plot_html,
                "cursor": cursor_positions, "sliders": [s._asdict() for s in sliders],
                "panels": described, "sheet": data_uri("png", self.sheet)}
        self.spec = json.dumps(spec, ensure_ascii=False).replace("</", "<\\/")
        self.id = "minidiff-" + hashlib.sha256(self.spec.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html(), "image/png": b64encode(self.fallback_png).decode(),
                "text/plain": repr(self)}

    def html(self) -> str:
        """The viewer as one piece of HTML, which may stand anywhere in a page."""
        return live_html("minidiff-viewer", (CSS, SCRIPT), self.id, self.spec, self.fallback_png,
                         self.text, self.footer_html)

    def save(self, path: str | Path) -> None:
        """Write the viewer as a page of its own, whole or not at all.

        Raises ValueError unless the path ends in .html or .htm.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{path}: a viewer is saved as .html.")
        title = html.escape(self.caption or self.text.split("\n")[0])
        files.write_text(path, html_page(title, PAGE_CSS, self.html()))


def live_html(name: str, sources: tuple[Path, Path], id: str, spec: str, still: bytes, text: str,
              footer: str = "") -> str:
    """A piece of HTML that shows a still picture, until a script puts a live page in its place.

    name: the CSS class. sources: the files of CSS and script, in which "@ID" and "@SPEC" are
    replaced. still: a PNG; text says what it shows.
    """
    css, script = (f.read_text(encoding="utf-8") for f in sources)
    script = script.replace('"@ID"', json.dumps(id)).replace('"@SPEC"', spec)
    return (f'<style>{css}</style>\n<div class="{name}" data-minidiff="{id}">'
            f'<img class="still" src="{data_uri("png", still)}" '
            f'alt="{html.escape(text)}" style="max-width: 100%">{footer}</div>\n'
            f'<script>{script}</script>')


def frame_slider(frames: int) -> list[Slider]:
    """A slider over the frames of a clip; none for an image."""
    labels = [f"{k} of {frames - 1}" for k in range(frames)]
    return [Slider("frame", labels, start=frames // 2, ms=125)] if frames > 1 else []


def quantised_tiles(images: Tensor, cmap: str, vmax: float, levels: int) -> np.ndarray:
    """(A, B, C, H, W), clipped to [-vmax, vmax] -> bytes (A, B, H, W, 3) of few levels."""
    unit = (images.clamp(-vmax, vmax) / vmax + 1) / 2
    few = (unit * (levels - 1)).round() / (levels - 1)
    rgb = figures.apply_colormap((2 * few - 1) * vmax, cmap, vmax)
    return (rgb * 255).round().astype(np.uint8)


def pack_tiles(blocks: list[np.ndarray]) -> tuple[bytes, list[dict]]:
    """All tiles on one PNG, one block per panel, and each block's x, y, w, h, rows and columns.

    Blocks are (A, B, h, w, 3); A runs down, B to the right.
    """
    wide = max(b.shape[1] * b.shape[3] for b in blocks)
    strips, places, y = [], [], 0
    for block in blocks:
        a, b, h, w, _ = block.shape
        strip = block.transpose(0, 2, 1, 3, 4).reshape(a * h, b * w, 3)
        strips.append(np.pad(strip, [(0, 0), (0, wide - b * w), (0, 0)]))
        places.append({"x": 0, "y": y, "w": w, "h": h, "rows": a, "columns": b})
        y += a * h
    return encode_png(np.concatenate(strips)), places


def encode_png(rgb: np.ndarray) -> bytes:
    """Bytes (H, W, 3) as an exact PNG, with a palette if 256 colours are enough."""
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    image = Image.fromarray(rgb)
    if len(colours) <= 256:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        image.putpalette([int(c) >> shift & 255 for c in colours for shift in (16, 8, 0)])
    return small_png(image)


def figure_png(figure: figures.NotebookFigure, colours: int = 64) -> bytes:
    """A figure as a small PNG, about 900 pixels wide, of few colours."""
    image = Image.open(io.BytesIO(figure.png(dpi=90))).convert("RGB")
    return small_png(image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))


def small_png(image: Image.Image) -> bytes:
    """An image as a PNG, as small as Pillow can make it."""
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
