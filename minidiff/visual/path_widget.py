"""A frame to draw a path in, with mouse or finger, and a digit that follows it.

    frame = path_widget(make, paths)
    display(frame, frame.live())

With a kernel the drawn path goes to a function, a trained model say, and the clip that it makes is
shown. Without one, in a stored notebook or a saved page, the nearest of a few stored paths is shown
with its clip. The page is plain HTML and a short script (path_widget.js). The way to the kernel is
a hidden line of text and a hidden picture, both ipywidgets, if these are installed.
"""
import hashlib
import html
import json
import warnings
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minidiff.data.media import data_uri
from minidiff.runtime import files
from minidiff.visual import figures
from minidiff.visual.page import html_page
from minidiff.visual.viewer import PAGE_CSS, encode_png, figure_png, live_html
from minidiff.visual.widgets import RENDER_LOCK

CSS, SCRIPT = (Path(__file__).with_name(f"path_widget.{end}") for end in ("css", "js"))
GREYS = 16                                              # of stored clips, so that pages stay small
CAPTION = "Draw a path with the mouse or a finger; the digit follows it."


def path_widget(make: Callable[[Tensor, Tensor], Tensor], paths: Mapping[str, Tensor],
                labels: Sequence[int] = range(10)) -> "PathWidget":
    """A frame to draw in, and the stored paths beside it.

    make: `make(paths (N, T, 2), labels (N,)) -> clips (N, T, 1, H, W)` in [0, 1]; places are (y, x)
    in pixels. It is called once here, for the stored paths, and then for every drawn one; what it
    warns of is shown.
    paths: name -> (T, 2), the stored ones; stored path k shows the class labels[k], and a drawn one
    any of the labels. Raises ValueError for paths that are none, or not alike.
    """
    return PathWidget(make, paths, labels)


class PathWidget:
    """The result of `path_widget`; `answer` makes a clip for a path, as a drawn one does."""

    def __init__(self, make: Callable[[Tensor, Tensor], Tensor], paths: Mapping[str, Tensor],
                 labels: Sequence[int] = range(10)):
        self.make, self.labels = make, [*labels]
        self.paths = check_paths(paths)
        stored = torch.stack([*self.paths.values()])
        shown = torch.tensor([self.labels[k % len(self.labels)] for k in range(len(stored))])
        self.clips = self.clips_for(stored, shown)[0]
        self.frames, (self.height, self.width) = stored.shape[1], self.clips.shape[-2:]
        spec = {"height": self.height, "width": self.width, "frames": self.frames,
                "names": [*self.paths], "paths": stored.round(decimals=2).tolist(),
                "labels": shown.tolist(), "sheet": data_uri("png", sheet_png(self.clips))}
        self.spec = json.dumps(spec, ensure_ascii=False).replace("</", "<\\/")
        self.id = "minidiff-path-" + hashlib.sha256(self.spec.encode()).hexdigest()[:12]
        self.fallback_png = figure_png(paths_figure(self.clips, stored, [*self.paths]))

    def clips_for(self, paths: Tensor, labels: Tensor) -> tuple[Tensor, str]:
        """Clips (N, T, 1, H, W) for paths (N, T, 2), and what was warned of, as one text."""
        with RENDER_LOCK, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            clips = self.make(paths, labels)
        return clips.detach().float().cpu(), " ".join(dict.fromkeys(str(w.message) for w in seen))

    def answer(self, text: str, label: int) -> tuple[bytes, str]:
        """The frames of the clip for a path, side by side as a PNG, and a line to show below it.

        text: as the page writes it, "y,x y,x ...". What is wrong with it is said in the line.
        """
        try:
            path = parse_path(text, self.frames)
            clips, warned = self.clips_for(path[None], torch.tensor([label]))
        except ValueError as e:
            return b"", str(e)
        return sheet_png(clips), warned or "The orange path is yours."

    def __repr__(self) -> str:
        names = ", ".join(self.paths)
        return f"A frame to draw a path in. Stored paths: {names}."

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html(), "image/png": b64encode(self.fallback_png).decode(),
                "text/plain": repr(self)}

    def live(self) -> "LiveControls":
        """What a notebook displays below the frame so that drawn paths reach the kernel."""
        try:
            import ipywidgets
        except ImportError:
            return LiveControls({})
        return LiveControls(self.build_bridge(ipywidgets))

    def build_bridge(self, ipywidgets) -> dict:
        """The menu of labels and, hidden, the path's text and the clip: MIME types and contents."""
        hidden = {"layout": {"display": "none"}}
        self.label = ipywidgets.Dropdown(options=self.labels, description="digit")
        self.text, self.picture = ipywidgets.Text(**hidden), ipywidgets.Image(**hidden)
        self.line = ipywidgets.HTML(**hidden)
        for widget, role in ((self.text, "text"), (self.picture, "picture"), (self.line, "line")):
            widget.add_class(f"{self.id}-{role}")

        def changed(_) -> None:
            if self.text.value:
                picture, line = self.answer(self.text.value.partition("|")[0], self.label.value)
                self.line.value = html.escape(line)
                self.picture.value = picture
        self.text.observe(changed, "value")
        self.label.observe(changed, "value")
        self.bridge = ipywidgets.VBox([self.label, self.text, self.picture, self.line])
        return self.bridge._repr_mimebundle_()

    def html(self) -> str:
        """The page as one piece of HTML, which may stand anywhere."""
        return live_html("minidiff-path", (CSS, SCRIPT), self.id, self.spec, self.fallback_png,
                         repr(self))

    def save(self, path: str | Path) -> None:
        """Write a page of its own, with the stored paths. Raises ValueError unless it is .html."""
        path = Path(path).expanduser()
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{path}: a path widget is saved as .html.")
        files.write_text(path, html_page(html.escape(CAPTION), PAGE_CSS, self.html()))


class LiveControls:
    """A menu of digits and the way to the kernel, from `PathWidget.live`; a line where dead."""

    def __init__(self, bundle: dict):
        self.bundle = bundle

    def __repr__(self) -> str:
        return ("With a kernel, a menu of digits is here, and the frame answers the paths you draw."
                if self.bundle else "Drawn paths reach the kernel if ipywidgets is installed.")

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return self.bundle | {"text/plain": repr(self)}


def check_paths(paths: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named paths as float tensors. Raises ValueError unless all are (T, 2), of one T, finite."""
    made = {str(name): torch.as_tensor(path).float() for name, path in paths.items()}
    shapes = {tuple(path.shape) for path in made.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[1] != 2 or not all(
            path.isfinite().all() for path in made.values()):
        raise ValueError("Stored paths must be finite (y, x) in pixels for each frame, (T, 2), at "
                         "least one path and all of the same number of frames.")
    return made


def parse_path(text: str, frames: int) -> Tensor:
    """A path (T, 2) from its text, "y,x y,x ...". Raises ValueError for another text."""
    try:
        path = torch.tensor([[float(v) for v in point.split(",")] for point in text.split()])
    except ValueError:
        path = torch.zeros(0)
    if path.shape != (frames, 2) or not path.isfinite().all():
        raise ValueError(f"A path is {frames} points y,x with spaces between, got {text[:40]!r}.")
    return path


def sheet_png(clips: Tensor) -> bytes:
    """Clips (N, T, 1, H, W) in [0, 1] as one PNG of few greys: clips down, frames to the right."""
    few = (clips[:, :, 0].clamp(0, 1) * (GREYS - 1)).round() * (255 / (GREYS - 1))
    rows = few.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)                     # (N H, T W)
    return encode_png(rows.round().byte()[..., None].expand(-1, -1, 3).numpy().astype(np.uint8))


@figures.styled
def paths_figure(clips: Tensor, paths: Tensor, titles: Sequence[str]) -> figures.NotebookFigure:
    """Clips (N, T, 1, H, W) in [0, 1], all frames of one on top of each other, with its path.

    Later frames are brighter. paths: (N, T, 2), (y, x) in pixels.
    """
    fig = figures.new_figure(1.6 * len(clips), 1.9)
    axes = fig.subplots(1, len(clips), squeeze=False)[0]
    for ax, clip, path, title in zip(axes, clips.float().cpu(), paths, titles, strict=True):
        late = torch.linspace(0.35, 1, len(clip)).view(-1, 1, 1)
        ax.imshow((late * clip[:, 0]).amax(0).numpy(), cmap="gray", vmin=0, vmax=1)
        y, x = (path.T - 0.5).tolist()
        ax.plot(x, y, ".-", color=figures.COLOURS[1], linewidth=1, markersize=4)
        ax.set(title=title, xlim=(-0.5, clip.shape[-1] - 0.5), ylim=(clip.shape[-2] - 0.5, -0.5),
               xticks=(), yticks=())
        figures.hide_axes(ax)
    return fig
