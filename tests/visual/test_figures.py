"""Figures show the right numbers; drawing needs no display and changes no settings."""
import os
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from minidiff.data import media
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.gaussians import gaussian_denoiser
from minidiff.samplers import State, ddim
from minidiff.schedules import VE, Cosine, Discrete, Flow, add_noise, timesteps
from minidiff.train import Record
from minidiff.visual import figures

IMAGES, VIDEOS, COLOUR = (2, 1, 8, 6), (2, 5, 1, 8, 6), (2, 5, 3, 8, 6)
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(), "ddpm": Discrete.linear()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def states(shape, n=6):
    return list(ddim(gaussian_denoiser(Flow(), 0.3, 0.5), Flow(), torch.randn(shape), timesteps(n)))


def pixels(figure):
    data, size = figure._repr_png_()
    image = Image.open(BytesIO(data))
    assert abs(image.width / image.height - size["width"] / size["height"]) < 0.02
    return np.asarray(image.convert("RGB"))


def videos(n=3, frames=4, channels=1, size=8):
    return torch.rand(n, frames, channels, size, size)


@every_schedule
@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
def test_eps_hat_is_the_noise_if_the_guess_is_the_data(schedule, t):
    x0, noise = torch.randn(2, *VIDEOS, dtype=torch.float64)
    t = torch.tensor(t, dtype=torch.float64)
    state = State(t, add_noise(schedule, x0, noise, t), x0)
    assert_close(figures.eps_hat(state, schedule), noise, rtol=0, atol=1e-8)


@every_schedule
def test_there_is_no_eps_hat_without_noise(schedule):
    x = torch.randn(VIDEOS)
    assert figures.eps_hat(State(torch.tensor(0.0), x, x), schedule).isnan().all()


def test_a_trajectory_shows_the_given_sample_steps_and_frames():
    s = states(VIDEOS)
    drawn = figures.trajectory_arrays(s, Flow(), sample=1, steps=[0, 2, 6], frames=[0, 4])
    assert list(drawn) == ["x", "x0", "eps", "change"]
    assert all(v.shape == (3, 2, 1, 8, 6) for v in drawn.values())
    assert torch.equal(drawn["x"][1, 1], s[2].x[1, 4])
    assert torch.equal(drawn["x0"][1, 0], s[2].x0[1, 0])
    assert_close(drawn["change"][2], s[6].x0[1, [0, 4]] - s[2].x0[1, [0, 4]])
    assert drawn["change"][0].isnan().all() and drawn["eps"][2].isnan().all()
    assert not drawn["eps"][:2].isnan().any()
    drawn = figures.trajectory_arrays(states(IMAGES), Flow(), 0, [0, 6], [0])
    assert drawn["x"].shape == (2, 1, 1, 8, 6)


@pytest.mark.parametrize("shape", [IMAGES, VIDEOS, COLOUR], ids=["images", "videos", "colour"])
def test_a_trajectory_labels_its_columns_with_t(shape):
    figure = figures.trajectory(states(shape), Flow(), steps=[0, 3, 6])
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["$t$ = 1.00", "0.50", "0.00"] and len(figure.axes) == 4
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 20


def test_a_trajectory_picks_steps_from_first_to_last_and_frames_of_its_own():
    assert len(figures.trajectory(states(VIDEOS), Flow(), steps=3).axes[0].get_xticks()) == 3
    assert len(figures.trajectory(states(VIDEOS, n=2), Flow(), frame=2).axes[0].get_xticks()) == 3
    assert "0, 2, 4 of 0 to 4" in figures.trajectory(states(VIDEOS), Flow()).get_supxlabel()
    with pytest.raises(ValueError, match="at least one state"):
        figures.trajectory([], Flow())


def test_colours_clip_to_the_reach_and_show_nan_as_neither_black_nor_white():
    values = torch.tensor([[[-5.0, -1.0, 0.0, 1.0, 5.0, torch.nan]]])
    grey = figures.apply_colormap(values, "gray", 1)[0]
    want = torch.tensor([0, 0, 0.5, 1, 1, 0.93], dtype=torch.float64)
    assert_close(torch.tensor(grey[:, 0]), want, rtol=0, atol=5e-3)
    red = figures.apply_colormap(torch.tensor([3.0, -3.0, 0.0]).view(3, 1, 1), "gray", 3)
    assert red.shape == (1, 1, 3) and red.flatten().tolist() == [1, 0, 0.5]


def test_slices_follow_the_ink():
    clips = torch.zeros(1, 4, 1, 8, 8)
    for k in range(4):
        clips[0, k, 0, 5, 1 + k] = 1                        # a pixel a frame to the right, in row 5
    for row in (None, "auto", 5):
        cut, rows = figures.xt_slices(clips, row)
        assert rows == (None if row is None else [5])
        assert torch.equal(cut[0].nonzero()[:, 1], torch.arange(1, 5)) and cut.shape == (1, 4, 8)
    assert not figures.xt_slices(clips, 2)[0].any()
    assert figures.xt_slices(torch.zeros(1, 4, 3, 8, 8), "auto")[0].isfinite().all()


def test_xt_slice_puts_time_downwards():
    axes = figures.xt_slice(videos(2), "auto").axes
    assert len(axes) == 4 and axes[1].yaxis_inverted() and axes[1].get_ylabel() == "frame"


def test_bins_hold_their_own_losses_and_an_interval():
    t = torch.tensor([0.0, 0.1, 0.2, 0.55, 1.0])
    centre, mean, half, count = figures.loss_per_bin(t, torch.tensor([1.0, 2.0, 3.0, 7.0, 9.0]), 4)
    assert centre.tolist() == [0.125, 0.375, 0.625, 0.875] and count.tolist() == [3, 0, 1, 1]
    assert mean[[0, 2, 3]].tolist() == [2, 7, 9] and mean[1].isnan()
    assert_close(half[0], torch.tensor(1.96 / 3**0.5, dtype=torch.float64))
    assert half[1:].isnan().all()
    with pytest.raises(ValueError, match="one loss for each"):
        figures.loss_per_bin(t, t[:2], 4)


def test_the_interval_covers_the_true_mean_nineteen_times_in_twenty():
    t, loss = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(0))
    _, mean, half, _ = figures.loss_per_bin(t, loss, 500)
    assert 0.92 < ((mean - 0.5).abs() < half).double().mean() < 0.98


def test_smoothing_is_a_centred_mean():
    mean = torch.tensor([1.5, 3, 4, 5], dtype=torch.float64)
    assert_close(torch.tensor(figures.moving_average([1, 2, 6, 4], 3)), mean)
    assert figures.moving_average([3, 1, 2], 1).tolist() == [3, 1, 2]
    mean = torch.tensor([3.0, 3.0], dtype=torch.float64)
    assert_close(torch.tensor(figures.moving_average([2.0, 4.0], 101)), mean)


def test_a_loss_curve_is_drawn_from_records():
    figure = figures.loss_curve([Record(k, 1 / k, 0.1, 3e-3) for k in range(1, 200)])
    raw, mean = figure.axes[0].lines
    assert_close(torch.tensor(raw.get_ydata()), 1 / torch.arange(1, 200, dtype=torch.float64))
    assert raw.get_alpha() < 1 and mean.get_alpha() is None        # the mean stands out
    assert figure.axes[1].get_ylabel() == "lr"
    assert figures.loss_curve(SimpleNamespace(step=1, loss=1.0, lr=0.1) for _ in range(1))
    with pytest.raises(ValueError, match="at least one record"):
        figures.loss_curve([])


def test_snr_curves_are_the_schedules():
    left, right = figures.snr_curves({"flow": Flow(), "VE": VE()}).axes
    t = np.asarray(left.lines[0].get_xdata())
    assert np.allclose(left.lines[0].get_ydata()[1:-1], 2 * np.log((1 - t[1:-1]) / t[1:-1]))
    assert np.allclose(right.lines[0].get_ydata(), 1 - t)
    assert np.allclose(right.lines[1].get_ydata(), t)
    assert [text.get_text() for text in right.texts] == ["to 80"]


def test_score_bars_show_every_part_and_a_dash_for_what_is_missing():
    rows = {"a": dict(SCORE=0.5, ID=0.25, interval={"SCORE": [0.4, 0.6]}, FIT=1.0),
            "b": dict(SCORE=torch.nan, PROMPT=None, COVER=0.0)}
    figure = figures.score_bars(rows)
    shown = {axes.get_title(loc="left"): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert shown == {"SCORE": ["0.50", "–"], "ID": ["0.25", "–"], "FIT": ["1.00", "–"],
                     "COVER": ["–", "0.00"]}                   # no panel for what no row has
    assert list(shown) == [part for part in HEADLINE_METRICS if part in shown]
    assert figure.axes[0].lines[-1].get_xdata().tolist() == [0.4, 0.6]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert [axes.get_title(loc="left") for axes in figures.score_bars({"c": {}}).axes] == ["SCORE"]
    with pytest.raises(ValueError, match="at least one row"):
        figures.score_bars({})


def test_score_bars_compare_no_rows_of_different_editions():
    new, old = dict(SCORE=0.5, edition=2), dict(SCORE=0.5)
    assert figures.score_bars({"a": new, "b": new}) and figures.score_bars({"a": old, "b": old})
    for other in (old, dict(SCORE=0.5, edition=3)):
        with pytest.raises(ValueError, match="different editions of the scoreboard"):
            figures.score_bars({"a": new, "b": other})


@pytest.mark.parametrize(("row", "ends"), [
    ({}, None), ({"interval": {"SCORE": [0.2, 0.4]}}, (0.2, 0.4)),
    ({"interval": {"SCORE": None}}, None),
    ({"interval": {"ID": [0.2, 0.4]}}, None), ({"interval": None}, None)])
def test_an_interval_is_found_or_missed(row, ends):
    assert figures.score_interval(row) == ends


def test_a_video_shows_itself_in_three_ways():
    bundle = media.NotebookVideo(videos(), 'a <b> & "c"')._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append((tag, dict(attrs)))
    parser.feed(bundle["text/html"])
    assert [tag for tag, _ in seen] == ["div", "img", "div"]                     # <b> is text
    img = seen[1][1]
    head, gif = img["src"].split(",")
    width = Image.open(BytesIO(b64decode(gif))).width
    assert head == "data:image/gif;base64"
    assert int(img["width"]) % width == 0 and int(img["width"]) >= 96
    assert img["alt"] == 'a <b> & "c" (3 clips of 4 frames, 8x8)' == bundle["text/plain"]
    assert Image.open(BytesIO(b64decode(bundle["image/png"]))).format == "PNG"


def test_a_video_takes_a_models_answer_and_saves(tmp_path):
    video = media.NotebookVideo(SimpleNamespace(tensor=videos()), columns=3, fps=4)
    video.save(tmp_path / "x.gif")
    assert (tmp_path / "x.gif").read_bytes()[:3] == b"GIF"
    assert repr(video) == "3 clips of 4 frames, 8x8"
    with pytest.raises(ValueError, match="Clips must"):
        media.NotebookVideo(videos() * 2 - 1)


def test_matplotlibs_settings_are_restored():
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(matplotlib.rcParams)
        figures.loss_by_noise_level(torch.rand(99), torch.rand(99))
        figures.snr_curves({"flow": Flow()})
        assert dict(matplotlib.rcParams) == before


def test_no_display_and_no_pyplot_is_needed():
    code = ("import sys, torch\nfrom minidiff.visual import figures\n"
            "from minidiff.schedules import Flow\n"
            "figures.snr_curves({'flow': Flow()})._repr_png_()\n"
            "figures.xt_slice(torch.rand(1, 4, 1, 8, 8))._repr_png_()\n"
            "assert 'matplotlib.pyplot' not in sys.modules and 'IPython' not in sys.modules")
    without_display = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MPLBACKEND")}
    path = os.pathsep.join(filter(None, sys.path))
    env = without_display | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_lines_differ_in_colour_and_style_and_may_be_given_both():
    lines = {name: [1, 2] for name in "abc"}
    plain = figures.line_plot([0, 1], lines).axes[0].lines
    assert len({line.get_color() for line in plain}) == 3
    assert len({line.get_linestyle() for line in plain}) == 3
    b = figures.line_plot([0, 1], lines, looks={"b": ("#123456", ":")}).axes[0].lines[1]
    assert (b.get_color(), b.get_linestyle()) == ("#123456", ":")
    many = figures.line_plot(range(40), {"a": range(40)}).axes[0].lines[0]
    assert many.get_marker() in ("", "None")
