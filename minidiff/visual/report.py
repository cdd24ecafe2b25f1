"""The report of a training: one HTML file that needs nothing else, on any screen, by day and night.

Pictures and clips are inside it as data; it loads nothing, runs no script, and whatever is put into
it is escaped.
"""
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from minidiff.data import media
from minidiff.data.media import data_uri
from minidiff.evaluation.scoreboard import HEADLINE_METRICS
from minidiff.runtime import files
from minidiff.visual.figures import NotebookFigure, is_missing, score_interval

OWN_ROW = "this training"
COLUMN_HELP = {  # of the scoreboard -> what it says
    "SCORE": "The geometric mean of the parts after it (one at zero makes it zero) and its "
             "interval; copies get none.",
    "ID": "In how many frames the recogniser is sure of one and the same digit per clip, with "
          "little ink elsewhere.",
    "PHY": "Whether the digit flies straight, bounces off the walls as it should, and moves at "
           "real speeds.",
    "FIT": "How near the clips are to real ones as a whole, from 0, as far as noise, to 1, as near "
           "as real clips are.",
    "COVER": "For how many real clips there is one like it, with the same digit: few if digits or "
             "motions are missing.",
    "PROMPT": "How many clips show the digit that was asked for.",
    "fvd_local": "The Fréchet distance behind FIT, less is nearer; its features are ours, so no "
                 "paper's FVD compares.",
    "real_real": "The same distance between two sets of real clips: what a perfect model would get "
                 "with so many clips.",
    "n": "How many clips were judged.",
}
TRAJECTORY_TEXT = ("One clip on its way, from noise at t = 1 to data at t = 0. At first the guess is a "
             "blur, the mean of all the clips that could still come of this noise; it sharpens as "
             "t falls and fewer remain.")
TRAINING_TEXT = ("The faint line is the loss of each step, noisy because every step draws its own "
            "clips, noise and times; the solid line is its running mean.")
SCOREBOARD_TEXT = ("From 0 to 1, where 1 is what real clips reach. A good row is near the real clips "
              "and far from the trivial answers: each of them fools one part or another, and none "
              "fools them all.")
NEXT_STEPS = ("Train longer: the loss falls slowly while the motion still improves.",
        "Change one thing (width, schedule, guidance scale), keep the seed, and compare the rows "
        "of the scoreboard.",
        "Open notebooks/00_welcome.ipynb: the course builds all that the demo did, step by step.")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
</body>
</html>
"""
CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d8dee4; --page: #fff;
        --card: #f6f8fa; --mark: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4ae; --line: #30363d; --page: #0d1117; --card: #161b22;
          --mark: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page);
       color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
       overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; }
p { max-width: 44rem; margin: .4rem 0 .9rem; }
code { font: .88em ui-monospace, Menlo, Consolas, monospace; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; }
.facts th { font-weight: normal; color: var(--soft); padding: .2rem 1.2rem .2rem 0;
            white-space: nowrap; }
.facts td { padding: .2rem 0; }
.wide { overflow-x: auto; overflow-wrap: normal; margin: .5rem 0; }
.scores { min-width: 44rem; width: 100%; font-size: .92rem; border-collapse: separate;
          border-spacing: 0; }
.scores th, .scores td { padding: .45rem .6rem; border-bottom: 1px solid var(--line);
                         text-align: right; white-space: nowrap; }
.scores th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
.scores thead th { color: var(--soft); font-weight: normal; }
.scores tbody th { font-weight: normal; }
.scores .own th, .scores .own td, .scores .own th:first-child { background: var(--card);
                                                                font-weight: 600; }
.scores .main { color: var(--mark); font-weight: 700; }
.scores small { display: block; color: var(--soft); font-weight: normal; line-height: 1.2; }
.clips { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 10rem));
         gap: .8rem; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .9rem; text-align: center; padding-top: .25rem; }
.clips img { display: block; width: 100%; image-rendering: pixelated;
             outline: 1px solid var(--line); }
.plot { background: #fff; border-radius: 8px; padding: .5rem; border: 1px solid var(--line); }
.plot img { display: block; width: 100%; min-width: 40rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; font-size: .92rem;
     max-width: 50rem; }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); }
@media (max-width: 36rem) { .clips { gap: .4rem; } dl { display: block; } dd { margin: 0 0 .6rem; }
  .scores { min-width: 38rem; } .scores th:first-child { white-space: normal; min-width: 7rem; } }
"""


def report_html(title: str, facts: Mapping[str, object], *, clips: Tensor | None = None,
                prompts: Sequence | None = None, trajectory: NotebookFigure | None = None,
                curve: NotebookFigure | None = None, own_row: dict | None = None, shipped_row: dict | None = None,
                real_row: dict | None = None, baseline_rows: Mapping[str, dict] | None = None,
                next_steps: Sequence[str] = NEXT_STEPS) -> str:
    """A whole page. Parts that are not given are left away.

    facts: what was trained, as label -> value; the value of "command" is set as code.
    clips: (N, T, C, H, W) in [0, 1]; asked: the N digits (or words) asked for.
    trajectory, curve: figures of `figures`.
    own, shipped, real: rows of the scoreboard; trivial: named ones.
    following: sentences on how to go on.
    Raises ValueError for unfit clips, or where `asked` has another length.
    """
    table = {OWN_ROW: own_row, "the shipped model": shipped_row, "real clips (the ceiling)": real_row,
             **(baseline_rows or {})}
    table = {name: row for name, row in table.items() if row}
    body = [f"<h1>{escape_text(title)}</h1>"]
    if facts:
        body += section("What was trained", "", facts_table(facts))
    if clips is not None:
        lead = "." if prompts is None else "; beneath each is what it was asked to show."
        body += section("The clips", "Made from noise alone" + lead, clip_grid(clips, prompts))
    if trajectory:
        strip = figure_html(trajectory, "the denoising of one clip, step by step")
        body += section("From noise to a clip", TRAJECTORY_TEXT, strip)
    if curve:
        lines = figure_html(curve, "loss and learning rate against the step")
        body += section("The training", TRAINING_TEXT, lines)
    if table:
        body += section("The scoreboard", SCOREBOARD_TEXT, scoreboard_table(table) + column_glossary(table))
    if next_steps:
        items = "".join(f"<li>{escape_text(s)}</li>" for s in next_steps)
        body += section("How to go on", "", f"<ul>{items}</ul>")
    return PAGE.format(title=escape_text(title), css=CSS, body="\n".join(body))


def write_report(path: str | Path, title: str, facts: Mapping[str, object], **parts) -> None:
    """Write `report_html(title, facts, **parts)` to a file, whole or not at all."""
    files.write_text(Path(path), report_html(title, facts, **parts))


def escape_text(value: object) -> str:
    """Anything as escaped text.

    Thousands are set apart by thin spaces, nothing is a dash, mappings are "name value".
    """
    if is_missing(value):
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, Mapping):
        return ", ".join(f"{html.escape(str(k))} {escape_text(v)}" for k, v in value.items())
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def section(heading: str, lead: str, content: str) -> list[str]:
    lead = [f"<p>{lead}</p>"] if lead else []
    return [f"<section>\n<h2>{heading}</h2>", *lead, f"{content}\n</section>"]


def facts_table(facts: Mapping[str, object]) -> str:
    cells = {k: f"<code>{escape_text(v)}</code>" if k == "command" else escape_text(v) for k, v in facts.items()}
    rows = "".join(f'<tr><th scope="row">{escape_text(k)}</th><td>{v}</td></tr>\n'
                   for k, v in cells.items())
    return f'<table class="facts">\n{rows}</table>'


def clip_grid(clips: Tensor, prompts: Sequence | None) -> str:
    """One GIF per clip, each above what it was asked to show."""
    clips = media.check_clips(clips)
    prompts = [None] * len(clips) if prompts is None else list(prompts)
    if len(prompts) != len(clips):
        raise ValueError(f"There are {len(clips)} clips, but {len(prompts)} were asked for.")
    tiles = []
    for clip, want in zip(clips, prompts, strict=True):
        want = escape_text(want.item() if isinstance(want, Tensor) else want) if want is not None else ""
        gif = data_uri("gif", media.gif_bytes(clip[None], scale=1))
        caption = f"<figcaption>{want}</figcaption>" if want else ""
        alt = f"a clip of {want}" if want else "a clip"
        tiles.append(f'<figure><img src="{gif}" alt="{alt}">{caption}</figure>\n')
    columns = media.grid_columns(len(clips))
    return f'<div class="clips" style="--columns: {columns}">\n{"".join(tiles)}</div>'


def figure_html(figure: NotebookFigure, alt: str) -> str:
    """A figure as a picture, on white by night, too; it scrolls sideways on narrow screens."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144)
    image = f'<img src="{data_uri("png", out.getvalue())}" alt="{escape_text(alt)}">'
    return f'<div class="wide plot">{image}</div>'


def scoreboard_table(table: Mapping[str, dict]) -> str:
    """Rows x columns; the reader's own row is marked."""
    head = "".join(f'<th scope="col">{c}</th>' for c in ("", *COLUMN_HELP))
    rows = []
    for name, row in table.items():
        cells = "".join(score_cell(row, c) for c in COLUMN_HELP)
        kind = "own" if name == OWN_ROW else "other"
        rows.append(f'<tr class="{kind}"><th scope="row">{escape_text(name)}</th>{cells}</tr>\n')
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>"
    return f'<div class="wide"><table class="scores">\n{inside}</table></div>'


def score_cell(row: dict, column: str) -> str:
    """One number: parts to two places, distances to four digits.

    Beneath SCORE stands its interval, or why there is none.
    """
    value, ends = row.get(column), score_interval(row, column) if column == "SCORE" else None
    shown = f"{value:.2f}" if column in HEADLINE_METRICS and not is_missing(value) else escape_text(value)
    copies = column == "SCORE" and is_missing(value) and row.get("memo")
    below = f"{ends[0]:.2f}–{ends[1]:.2f}" if ends else "copies" if copies else ""
    below = f"<small>{below}</small>" if below else ""
    return f'<td class="{"main" if column == "SCORE" else "part"}">{shown}{below}</td>'


def column_glossary(table: Mapping[str, dict]) -> str:
    """A sentence for each column that any row has something in."""
    used = [c for c in COLUMN_HELP if not all(is_missing(row.get(c)) for row in table.values())]
    terms = "".join(f"<dt>{c}</dt><dd>{escape_text(COLUMN_HELP[c])}</dd>\n" for c in used)
    return f"<dl>{terms}</dl>"
