"""The report of a training: one HTML file that loads nothing, for any screen, in light and dark.

Pictures and clips are inside it as data. It runs no script, and all text in it is escaped.
"""
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from minidiff.data import media
from minidiff.data.media import data_uri
from minidiff.evaluation.rows import HEADLINE_METRICS, is_missing, score_interval
from minidiff.runtime import files
from minidiff.runtime.settings import none_means_default
from minidiff.visual.figures import NotebookFigure
from minidiff.visual.page import html_page

OWN_ROW = "this training"
COLUMN_HELP = {  # column of the scoreboard -> its meaning
    "SCORE": "The smallest of CLIPS, FIT and COVER, with its 95 % interval: a set of clips is as "
             "good as its worst side.",
    "CLIPS": "The mean mark of the clips. The mark of each clip is the product ID x LOOKS x PHY x "
             "NEW, and PROMPT if there are prompts.",
    "ID": "Identity: how sure the digit classifier is of one and the same digit in all frames of a "
          "clip, with no dirt beside it.",
    "LOOKS": "Whether the digit's picture stays the same picture from frame to frame.",
    "PHY": "Physics: whether the digit moves straight at a real speed, and bounces off the walls.",
    "NEW": "The share of clips that do not copy a training digit, compared with real clips.",
    "PROMPT": "The share of clips that show the prompted digit.",
    "FIT": "Fidelity: how near the clips as a whole are to real ones, in looks and paths.",
    "COVER": "Coverage: how many of the looks and paths of real clips the clips reach; it is low "
             "if clips are alike, or if digits are missing.",
    "n": "The number of clips that were judged.",
}
TRAJECTORY_TEXT = (
    "One clip from noise at t = 1 to data at t = 0. At first the guess is blurred: it is the mean "
    "of all clips that are possible with this noise. It becomes sharper as t falls and fewer clips "
    "remain possible.")
TRAINING_TEXT = (
    "The faint line is the loss of each step, noisy because every step draws its own clips, noise "
    "and times; the solid line is its running mean.")
SCOREBOARD_TEXT = (
    "From 0 to 1, where 1 is the value of real clips. A good row is near the real clips and far "
    "from the baselines, clips that no model made, which are low in at least one part each.")
NEXT_STEPS = (
    "Train longer: the loss falls slowly while the motion still improves.",
    "Change one thing (width, schedule, guidance scale), keep the seed, and compare the rows of "
    "the scoreboard.",
    "Open notebooks/00_welcome.ipynb: the course builds all parts of the demo, step by step.")
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


@none_means_default
def report_html(title: str, facts: Mapping[str, object], *, clips: Tensor | None = None,
                prompts: Sequence | None = None, trajectory: NotebookFigure | None = None,
                curve: NotebookFigure | None = None, own_row: dict | None = None,
                shipped_row: dict | None = None, real_row: dict | None = None,
                baseline_rows: Mapping[str, dict] | None = None,
                next_steps: Sequence[str] = NEXT_STEPS) -> str:
    """The whole page. Parts that are not given are left out.

    facts: label -> value, about the training; the value of "command" is set as code.
    clips: (N, T, C, H, W) in [0, 1]; prompts: N digits or texts. trajectory, curve: figures of
    `figures`. own_row, shipped_row, real_row: rows of the scoreboard; baseline_rows: named ones.
    Rows of another edition of the scoreboard than the first of them are named but not shown.
    next_steps: sentences on how to go on. Raises ValueError for unfit clips, and for prompts of
    another number.
    """
    table = {OWN_ROW: own_row, "the shipped model": shipped_row,
             "real clips (the ceiling)": real_row, **(baseline_rows or {})}
    table = {name: row for name, row in table.items() if row}
    body = [f"<h1>{escape_text(title)}</h1>"]
    if facts:
        body += section("What was trained", "", facts_table(facts))
    if clips is not None:
        lead = "." if prompts is None else "; the prompt is below each clip."
        body += section("The clips", "Made from noise alone" + lead, clip_grid(clips, prompts))
    if trajectory:
        strip = figure_html(trajectory, "the denoising of one clip, step by step")
        body += section("From noise to a clip", TRAJECTORY_TEXT, strip)
    if curve:
        lines = figure_html(curve, "loss and learning rate over the steps")
        body += section("The training", TRAINING_TEXT, lines)
    if table:
        same = rows_of_one_edition(table)
        text = SCOREBOARD_TEXT + left_out_text([name for name in table if name not in same])
        body += section("The scoreboard", text, scoreboard_table(same) + column_glossary(same))
    if next_steps:
        items = "".join(f"<li>{escape_text(s)}</li>" for s in next_steps)
        body += section("How to go on", "", f"<ul>{items}</ul>")
    return html_page(escape_text(title), CSS, "\n".join(body))


def write_report(path: str | Path, title: str, facts: Mapping[str, object], **parts) -> None:
    """Write `report_html(title, facts, **parts)` to a file, whole or not at all."""
    files.write_text(Path(path).expanduser(), report_html(title, facts, **parts))


def escape_text(value: object) -> str:
    """A value as escaped text.

    Thousands are separated by thin spaces, a missing value is a dash, mappings are "name value".
    """
    if is_missing(value):
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, Mapping):
        return ", ".join(f"{html.escape(str(k))} {escape_text(v)}" for k, v in value.items())
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def section(heading: str, lead: str, content: str) -> list[str]:
    """A section of the page: a heading, a paragraph (none if empty) and HTML content."""
    lead = [f"<p>{lead}</p>"] if lead else []
    return [f"<section>\n<h2>{heading}</h2>", *lead, f"{content}\n</section>"]


def facts_table(facts: Mapping[str, object]) -> str:
    """A table with a row per fact."""
    rows = ""
    for name, value in facts.items():
        text = escape_text(value)
        cell = f"<code>{text}</code>" if name == "command" else text
        rows += f'<tr><th scope="row">{escape_text(name)}</th><td>{cell}</td></tr>\n'
    return f'<table class="facts">\n{rows}</table>'


def clip_grid(clips: Tensor, prompts: Sequence | None) -> str:
    """One GIF per clip, each above its prompt."""
    clips = media.check_clips(clips)
    prompts = [None] * len(clips) if prompts is None else list(prompts)
    if len(prompts) != len(clips):
        raise ValueError(f"There are {len(clips)} clips, but {len(prompts)} prompts; "
                         "give one prompt per clip.")
    tiles = []
    for clip, prompt in zip(clips, prompts, strict=True):
        prompt = prompt.item() if isinstance(prompt, Tensor) else prompt
        text = "" if prompt is None else escape_text(prompt)
        gif = data_uri("gif", media.gif_bytes(clip[None], scale=1))
        caption = f"<figcaption>{text}</figcaption>" if text else ""
        alt = f"a clip of {text}" if text else "a clip"
        tiles.append(f'<figure><img src="{gif}" alt="{alt}">{caption}</figure>\n')
    columns = media.grid_columns(len(clips))
    return f'<div class="clips" style="--columns: {columns}">\n{"".join(tiles)}</div>'


def figure_html(figure: NotebookFigure, alt: str) -> str:
    """A figure on white, in dark mode too; on narrow screens it scrolls sideways."""
    image = f'<img src="{data_uri("png", figure.png(dpi=144))}" alt="{escape_text(alt)}">'
    return f'<div class="wide plot">{image}</div>'


def rows_of_one_edition(table: Mapping[str, dict]) -> dict[str, dict]:
    """The rows of the first one's edition of the scoreboard: others cannot be compared with it."""
    edition = next(iter(table.values())).get("edition")
    return {name: row for name, row in table.items() if row.get("edition") == edition}


def left_out_text(names: Sequence[str]) -> str:
    """A sentence on the rows that are not shown, or nothing."""
    if not names:
        return ""
    return (" Left out, being of another edition of the scoreboard: "
            f"{escape_text(', '.join(names))}.")


def scoreboard_table(table: Mapping[str, dict]) -> str:
    """The rows of the scoreboard by name; the reader's own row is marked."""
    head = "".join(f'<th scope="col">{c}</th>' for c in ("", *COLUMN_HELP))
    rows = []
    for name, row in table.items():
        cells = "".join(score_cell(row, c) for c in COLUMN_HELP)
        kind = "own" if name == OWN_ROW else "other"
        rows.append(f'<tr class="{kind}"><th scope="row">{escape_text(name)}</th>{cells}</tr>\n')
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>"
    return f'<div class="wide"><table class="scores">\n{inside}</table></div>'


def score_cell(row: dict, column: str) -> str:
    """One number: headline metrics with two decimals, others with four digits.

    Below SCORE is its interval.
    """
    value, below = row.get(column), ""
    headline = column in HEADLINE_METRICS and not is_missing(value)
    shown = f"{value:.2f}" if headline else escape_text(value)
    if column == "SCORE" and (ends := score_interval(row)):
        below = f"<small>{ends[0]:.2f}–{ends[1]:.2f}</small>"
    return f'<td class="{"main" if column == "SCORE" else "part"}">{shown}{below}</td>'


def column_glossary(table: Mapping[str, dict]) -> str:
    """A sentence for each column that has a value in any row."""
    used = [c for c in COLUMN_HELP if not all(is_missing(row.get(c)) for row in table.values())]
    terms = "".join(f"<dt>{c}</dt><dd>{escape_text(COLUMN_HELP[c])}</dd>\n" for c in used)
    return f"<dl>{terms}</dl>"
