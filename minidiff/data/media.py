"""Clips to files and back: GIF to look at, a contact sheet as PNG, NPY to compute with.

Everything here takes clips (N, T, C, H, W), floats in [0, 1], C = 1 (grey) or 3 (colour); `to_unit`
converts the package's [-1, 1] to that. A GIF counts time in hundredths of a second: 8 frames a
second would be 12.5 hundredths, so the file has 12, which is 8.33 frames a second.
"""
import html
import io
from base64 import b64encode
from math import isfinite
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from minidiff.runtime.files import atomic_write

LINE_GREY = 96      # of the lines between tiles: visible beside black and beside white
FPS, GREYS = 8.0, 16                                        # of a GIF, unless given


def to_unit(x: Tensor) -> Tensor:
    """From the package's [-1, 1], clipped, to the [0, 1] of files and pictures. Any shape."""
    return (x.detach().clamp(-1, 1) + 1) / 2


def check_clips(clips: Tensor) -> Tensor:
    """The clips as float32 on the CPU.

    Raises ValueError unless they are floats (N, T, C, H, W) with C = 1 or 3, all in [0, 1].
    """
    clips = torch.as_tensor(clips).detach()
    if clips.ndim != 5 or clips.shape[2] not in (1, 3) or not clips.numel():
        raise ValueError("Clips must be floats (N, T, C, H, W) with C = 1 or 3, "
                         f"got {tuple(clips.shape)} of {clips.dtype}.")
    if not clips.is_floating_point():
        raise ValueError(f"Clips must be floats in [0, 1], got {clips.dtype}; for bytes from 0 to "
                         "255 give clips.float() / 255.")
    low, high = (float(v) for v in clips.aminmax())
    if not (low >= 0 and high <= 1):                                        # false for NaN, too
        raise ValueError(f"Clips must lie in [0, 1], {range_advice(low, high)}.")
    return clips.cpu().float()


def range_advice(low: float, high: float) -> str:
    """What values from low to high, not in [0, 1], seem to be, and how to bring them to [0, 1]."""
    got = f"got {low:.4g} to {high:.4g}; "
    if not (isfinite(low) and isfinite(high)):
        return got + "NaN and infinite numbers cannot be shown: see where they come from"
    if low >= 0 and 2 < high <= 255.5:
        return got + "divide clips that go from 0 to 255 by 255"
    if low < 0 and low >= -2 and high <= 2:
        return got + "media.to_unit(x) converts [-1, 1] to that"
    return got + "clamp or scale them"


def gif_bytes(clips: Tensor, fps: float = FPS, scale: int | None = None,
              columns: int | None = None, greys: int = GREYS) -> bytes:
    """One looping GIF of the N clips side by side on a grid, with few greys, so that it is small.

    fps: frames per second. scale: pixels per pixel (nearest neighbour), chosen from the size unless
    given. greys: 2 to 256, evenly spaced, so a pixel is off by at most half a step; colour clips
    share one palette of 256. A frame equal to the one before only lengthens its delay. Raises
    ValueError for bad clips, fps, scale, columns or greys.
    """
    clips = check_clips(clips)
    check_gif_settings(fps, greys)
    columns = grid_columns(len(clips)) if columns is None else columns
    index, palette = quantise(tile_frames(clips, scale, columns), greys)         # (T, H, W) uint8
    frames = [Image.fromarray(i) for i in index]
    for frame in frames:
        frame.putpalette(palette)
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:],
                   duration=10 * gif_delay(fps), loop=0)
    return out.getvalue()


def check_gif_settings(fps: float, greys: int) -> None:
    """Raises ValueError for a number of frames per second, or of greys, that no GIF can have."""
    gif_delay(fps)
    if not isinstance(greys, Integral) or not 2 <= greys <= 256:
        raise ValueError(f"A GIF has 2 to 256 greys, a whole number, got {greys!r}.")


def contact_sheet(clips: Tensor, scale: int | None = None,
                  columns: int | None = None) -> Image.Image:
    """A still: each row a clip, each column a frame, thin lines between. Raises as `gif_bytes`.

    Clips of one frame are laid out on a grid; columns: its width.
    """
    clips = check_clips(clips)
    n, length = clips.shape[:2]
    frames = rearrange(clips, "n t c h w -> (n t) 1 c h w")
    columns = length if length > 1 else columns or grid_columns(n)
    sheet = tile_frames(frames, scale, columns)[0]                                      # (H, W, C)
    return Image.fromarray(sheet.squeeze(-1) if sheet.shape[-1] == 1 else sheet)


def gif_delay(fps: float) -> int:
    """Hundredths of a second per frame: 8 fps -> 12. Raises ValueError unless fps is positive.

    At least 2 (50 fps), because browsers slow down faster GIFs.
    """
    if not isinstance(fps, Real) or not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number, got {fps!r}.")
    return max(2, round(100 / fps))


def grid_columns(n: int) -> int:
    """Columns for n tiles: no fewer than rows, with few gaps (10 -> 5, 12 -> 4, 7 -> 4)."""
    least = int(np.ceil(np.sqrt(n)))
    return min(range(least, 2 * least), key=lambda k: -n % k)


def default_scale(clips: Tensor, columns: int | None = None) -> int:
    """How much to enlarge clips (N, T, C, H, W) on a grid: to about 128 pixels each, 960 in all."""
    n, _, _, h, w = clips.shape
    return max(1, min(128 // max(h, w), 960 // (min(columns or grid_columns(n), n) * (w + 1))))


def tile_frames(clips: Tensor, scale: int | None, columns: int) -> np.ndarray:
    """Clips on a grid, a line between, enlarged: (N, T, C, H, W) -> bytes (T, rows, columns, C)."""
    n = len(clips)
    if columns < 1 or (scale is not None and scale < 1):
        raise ValueError(f"scale and columns must be at least 1, got {scale} and {columns}.")
    columns = min(columns, n)
    scale = scale or default_scale(clips, columns)
    edges = (0, -n % columns), (0, 0), (0, 0), (0, 1), (0, 1)      # empty places; a line after each
    tiles = np.pad((clips * 255).round().byte().numpy(), edges, constant_values=LINE_GREY)
    grid = rearrange(tiles, "(r k) t c h w -> t (r h) (k w) c", k=columns)[:, :-1, :-1]
    return grid.repeat(scale, 1).repeat(scale, 2)


def quantise(frames: np.ndarray, greys: int) -> tuple[np.ndarray, list[int]]:
    """Bytes (T, H, W, C) -> indices (T, H, W) and one palette for all of them: r, g, b, r, ..."""
    if frames.shape[-1] == 1:
        index = (frames[..., 0] * ((greys - 1) / 255)).round().astype(np.uint8)
        return index, [round(i * 255 / (greys - 1)) for i in range(greys) for _ in range(3)]
    tall = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))
    tall = tall.quantize(256, dither=Image.Dither.NONE)
    return np.asarray(tall).reshape(frames.shape[:3]), tall.getpalette()


def save(clips: Tensor, path: str | Path, *, fps: float = FPS, greys: int = GREYS,
         scale: int | None = None, columns: int | None = None) -> None:
    """Write clips to a .gif, a .png (a contact sheet) or an .npy file (float32), by its ending.

    The file is written whole or not at all. The settings are those of `gif_bytes`; a contact sheet
    uses scale and columns, an array none. Raises ValueError for another ending, bad clips or bad
    settings, before anything is written.
    """
    path, clips = Path(path).expanduser(), check_clips(clips)
    if path.suffix.lower() not in FILE_EXTENSIONS:
        raise ValueError(f"{path}: the ending names the format; "
                         f"use one of {', '.join(FILE_EXTENSIONS)}.")
    check_gif_settings(fps, greys)
    settings = dict(fps=fps, greys=greys, scale=scale, columns=columns)
    with atomic_write(path) as draft:
        WRITERS[path.suffix.lower()](clips, draft, settings)


def write_gif(clips: Tensor, path: Path, settings: dict) -> None:
    """One GIF file, by `gif_bytes`."""
    path.write_bytes(gif_bytes(clips, **settings))


def write_png(clips: Tensor, path: Path, settings: dict) -> None:
    """One PNG file, by `contact_sheet`, which has no use for fps and greys."""
    contact_sheet(clips, settings["scale"], settings["columns"]).save(path, "PNG")


def write_npy(clips: Tensor, path: Path, settings: dict) -> None:
    """One array, in [0, 1]; no setting applies."""
    np.save(path, clips.numpy(), allow_pickle=False)


WRITERS = {".gif": write_gif, ".png": write_png, ".npy": write_npy}
FILE_EXTENSIONS = tuple(WRITERS)


def read_npy(path: str | Path) -> Tensor:
    """Clips (N, T, C, H, W), float32 in [0, 1], from an .npy file of such floats or of bytes.

    Nothing is unpickled. Raises FileNotFoundError, or ValueError that names the file, for anything
    else.
    """
    data = load_array(path)
    if data.dtype != np.uint8 and data.dtype.kind != "f":
        raise ValueError(f"{path} holds {data.dtype}; "
                         "clips are floats in [0, 1], or bytes (uint8) from 0 to 255.")
    clips = torch.from_numpy(data.astype(np.float32))
    try:
        return check_clips(clips / 255 if data.dtype == np.uint8 else clips)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def read_labels(path: str | Path) -> Tensor:
    """Labels (N,), int64, from an .npy file of whole numbers. Raises like `read_npy`."""
    data = load_array(path)
    if data.dtype.kind not in "iu":
        raise ValueError(f"{path} holds {data.dtype}; labels are whole numbers, one a clip.")
    return torch.from_numpy(data.astype(np.int64)).flatten()


def load_array(path: str | Path) -> np.ndarray:
    """The array of an .npy file. Raises FileNotFoundError, or ValueError that names the file."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a lying header costs none
    except (ValueError, EOFError, OSError) as e:
        raise ValueError(f"{path} is not a whole .npy file of numbers ({e}).") from None
    if not isinstance(data, np.ndarray):
        raise ValueError(f"{path} holds several arrays; save one array with numpy.save.")
    return data


def data_uri(kind: str, content: bytes) -> str:
    """A picture as an address that holds it. kind: "gif" or "png"."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


class NotebookVideo:
    """Clips that play: a notebook shows a GIF, or a contact sheet or words if it cannot.

    clips: (N, T, C, H, W) in [0, 1], or anything that has such a `.tensor`. The settings are those
    of `gif_bytes`; `save` uses them, too. Raises ValueError for bad clips or settings.
    """

    def __init__(self, clips: Tensor, caption: str = "", *, fps: float = FPS, greys: int = GREYS,
                 scale: int | None = None, columns: int | None = None):
        self.clips = check_clips(getattr(clips, "tensor", clips))
        check_gif_settings(fps, greys)
        self.caption = caption
        self.settings = dict(fps=fps, greys=greys, scale=scale, columns=columns)

    def __repr__(self) -> str:
        n, frames, _, height, width = self.clips.shape
        about = (f"{n} clip{'s' * (n > 1)} of {frames} frame{'s' * (frames > 1)}, "
                 f"{height}x{width}")
        return f"{self.caption} ({about})" if self.caption else about

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        sheet = io.BytesIO()
        contact_sheet(self.clips, columns=self.settings["columns"]).save(sheet, "PNG")
        return {"text/html": self.html(), "image/png": b64encode(sheet.getvalue()).decode(),
                "text/plain": repr(self)}

    def html(self) -> str:
        """The GIF and its caption as one string: small in the file, enlarged by the browser."""
        scale = self.settings["scale"] or default_scale(self.clips, self.settings["columns"])
        gif = gif_bytes(self.clips, **(self.settings | {"scale": 1}))
        width = scale * int.from_bytes(gif[6:8], "little")  # a GIF's width is in its bytes 6 and 7
        img = (f'<img src="{data_uri("gif", gif)}" alt="{html.escape(repr(self))}" width="{width}" '
               f'style="image-rendering: pixelated; max-width: 100%">')
        return f"<div>{img}<div>{html.escape(self.caption)}</div></div>"

    def save(self, path: str | Path, **settings) -> None:
        """Write .gif, .png or .npy, by the path's ending, as it is shown.

        settings: fps, greys, scale or columns, to save with others. Raises as `media.save`.
        """
        save(self.clips, path, **(self.settings | settings))
