"""Sheets: clips side by side, one in each row, with a name at every row and column."""
from collections.abc import Sequence

from torch import Tensor

from minidiff.data import media
from minidiff.visual.figures import NotebookFigure, hide_axes, styled

PIXELS_PER_INCH = 96                    # of a notebook
CHARACTER = 0.075                       # inches that a letter of a row's name takes


@styled
def labelled_sheet(clips: Tensor, rows: Sequence[str], columns: Sequence = (), scale: int = 2,
                   levels: int | None = None) -> NotebookFigure:
    """A contact sheet of clips (N, T, C, H, W) in [0, 1] with names of its rows and columns.

    rows: N names. columns: T names, for example times or numbers of frames, or none. scale: screen
    pixels for one of the clips. levels: the number of greys; few make a small file. Raises
    ValueError for another number of names.
    """
    n, length, _, h, w = clips.shape
    if len(rows) != n or len(columns) not in (0, length):
        raise ValueError(f"A sheet of {n} clips of {length} frames needs {n} names of rows and "
                         f"{length} of columns, or none; got {len(rows)} and {len(columns)}.")
    if levels:
        clips = (clips * (levels - 1)).round() / (levels - 1)
    sheet = media.contact_sheet(clips, 1, columns=1)
    wide, high = (scale * side / PIXELS_PER_INCH for side in sheet.size)
    left = 0.15 + CHARACTER * max(len(line) for name in rows for line in str(name).split("\n"))
    fig = NotebookFigure(figsize=(left + wide + 0.1, (0.25 if columns else 0.02) + high + 0.02))
    full = fig.get_size_inches()
    axes = fig.add_axes((left / full[0], 0.02 / full[1], wide / full[0], high / full[1]))
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    axes.set_yticks([(h + 1) * k + h / 2 for k in range(n)], [*map(str, rows)])
    axes.set_xticks([(w + 1) * k + w / 2 for k in range(len(columns))], [*map(str, columns)])
    axes.tick_params(labeltop=True, labelbottom=False)
    hide_axes(axes)
    return fig
