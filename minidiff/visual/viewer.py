"""Pictures to leaf through, in any page and without a kernel: one sheet of tiles, a few sliders.

A `Viewer` is plain HTML. All tiles of all panels lie on one PNG of few colours, and a short script
(canvas.js) draws those that the sliders choose; until it runs, or where none runs, a still picture
stands in its place. It loads nothing, and its ids come from its content, so that the same picture
is the same text.
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

CSS, SCRIPT = (Path(__file__).with_name(f"viewer.{end}") for end in ("css", "js"))
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 1.5rem auto; padding: 0 1rem; max-width: 64rem;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


class Slider(NamedTuple):
    """One direction to leaf in: `says` what each position is; ms from one to the next in play."""
    name: str
    value_labels: list[str]
    start: int = 0
    ms: int = 250


class ViewerPanel(NamedTuple):
    """Tiles (A, B, h, w, 3), bytes, by the positions of the first and the second slider.

    A or B is 1 where that slider changes nothing. about: below the tiles; notes: A texts instead;
    blanks: texts over tiles that show nothing, by the first slider's position. row: a row of the
    tiles to mark, "second" for the one that the second slider says. bar: the ends of a colour bar.
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

    still: what readers see that run no script; text: what those see that show no pictures.
    after: HTML to put beneath; plot: HTML that only a live page shows, with cursors at `cursor`'s
    places (one for each position of the first slider).
    """

    def __init__(self, caption: str, sliders: list[Slider], panels: list[ViewerPanel], fallback: figures.NotebookFigure,
                 text: str, columns: int, footer_html: str = "", plot_html: str = "",
                 cursor_positions: tuple[float, ...] = ()):
        self.caption, self.text, self.fallback_png, self.footer_html = caption, text, figure_png(fallback), footer_html
        self.sheet, places = pack_tiles([p.tiles for p in panels])
        spec = {"caption": caption, "columns": columns, "plot": plot_html, "cursor": cursor_positions,
                "sliders": [s._asdict() for s in sliders],
                "panels": [p._asdict() | place for p, place in zip(panels, places, strict=True)],
                "sheet": data_uri("png", self.sheet)}
        for panel in spec["panels"]:
            del panel["tiles"]
        self.spec = json.dumps(spec, ensure_ascii=False).replace("</", "<\\/")
        self.id = "minidiff-" + hashlib.sha256(self.spec.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html(), "image/png": b64encode(self.fallback_png).decode(),
                "text/plain": repr(self)}

    def html(self) -> str:
        """The whole thing as one piece of HTML, to stand anywhere in a page."""
        css, script = (f.read_text(encoding="utf-8") for f in (CSS, SCRIPT))
        script = script.replace('"@ID"', json.dumps(self.id)).replace('"@SPEC"', self.spec)
        return (f'<style>{css}</style>\n'
                f'<div class="minidiff-viewer" data-minidiff="{self.id}">'
                f'<img class="still" src="{data_uri("png", self.fallback_png)}" '
                f'alt="{html.escape(self.text)}" style="max-width: 100%">{self.footer_html}</div>\n'
                f'<script>{script}</script>')

    def save(self, path: str | Path) -> None:
        """Write a page of its own, whole or not at all. Raises ValueError unless it is an .html."""
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{path}: a viewer is saved as .html.")
        title = html.escape(self.caption or self.text.split("\n")[0])
        files.write_text(path, PAGE.format(title=title, body=self.html()))


def quantised_tiles(images: Tensor, cmap: str, vmax: float, levels: int) -> np.ndarray:
    """(A, B, C, H, W) in [-reach, reach], else clipped -> bytes (A, B, H, W, 3) of few levels."""
    unit = (images.clamp(-vmax, vmax) / vmax + 1) / 2
    few = (unit * (levels - 1)).round() / (levels - 1)
    return (figures.apply_colormap((2 * few - 1) * vmax, cmap, vmax) * 255).round().astype(np.uint8)


def pack_tiles(blocks: list[np.ndarray]) -> tuple[bytes, list[dict]]:
    """All tiles on one PNG, a block per panel, and where each block is: x, y, w, h, rows, columns.

    Blocks are (A, B, h, w, 3); the first slider's positions go down, the second's to the right.
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
    """Bytes (H, W, 3) as a PNG, exactly; with a palette where 256 colours are enough."""
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    image = Image.fromarray(rgb)
    if len(colours) <= 256:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        image.putpalette([int(c) >> shift & 255 for c in colours for shift in (16, 8, 0)])
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def figure_png(figure: figures.NotebookFigure, colours: int = 64) -> bytes:
    """A figure as a small PNG, about 900 pixels wide, of few colours."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=90)
    image = Image.open(out).convert("RGB").quantize(colours, Image.Quantize.MAXCOVERAGE,
                                                dither=Image.Dither.NONE)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
