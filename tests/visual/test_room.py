"""Rules for all of the room: paths, None, global generators, NaN, imports."""
import ast
import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.gaussians import gaussian_denoiser
from minidiff.samplers import State, ddim
from minidiff.schedules import Cosine, Flow, timesteps
from minidiff.visual import figures, report
from minidiff.visual.microscope import microscope
from minidiff.visual.sampler_duel import sampler_duel
from minidiff.visual.widgets import playground

ROOM = Path(figures.__file__).parent


def states(shape=(2, 5, 1, 8, 6), n=6):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return list(ddim(gaussian_denoiser(Flow(), -0.3, 0.5), Flow(), x, timesteps(n)))


def duel(**settings):
    x = torch.randn(2, 1, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return sampler_duel(gaussian_denoiser(Cosine(), -0.3, 0.5), Cosine(), x, **settings)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_every_path_may_begin_with_a_tilde(home):
    microscope(states(), Flow()).save("~/a.html")
    report.write_report("~/b.html", "title", {})
    figures.snr_curves({"flow": Flow()}).savefig("~/c.png")
    figures.snr_curves({"flow": Flow()}).savefig(Path("~/d.svg"))
    assert {p.name for p in home.iterdir()} == {"a.html", "b.html", "c.png", "d.svg"}


def test_a_saved_figure_is_the_one_that_is_shown(tmp_path):
    figure = figures.snr_curves({"flow": Flow()})
    figure.savefig(tmp_path / "x.png")
    shown = Image.open(BytesIO(figure._repr_png_()[0]))
    saved = Image.open(tmp_path / "x.png")
    assert np.array_equal(np.asarray(shown), np.asarray(saved))
    figure.savefig(tmp_path / "y.png", dpi=50)                       # but one may ask for another
    assert Image.open(tmp_path / "y.png").width == int(50 * figure.get_figwidth())


def test_none_is_the_default():
    made = states()
    usual = microscope(made, Flow()).html()
    assert microscope(made, Flow(), None, None, steps=None, decode=None).html() == usual
    few = duel(calls=(4, 8, 16, 32)).html()
    assert duel(calls=None, samplers=None, grid=None, reference_steps=None, decode=None,
                sample=None, seed=None, caption=None).html() == few
    for draw in (lambda n: figures.trajectory(made, Flow(), n, n, n),
                 lambda n: figures.loss_by_noise_level(torch.rand(9), torch.rand(9), n)):
        draw(None)
    assert report.report_html("t", {}, next_steps=None) == report.report_html("t", {})


@pytest.mark.parametrize(("bad", "words"), [
    (lambda: figures.trajectory(states(), Flow(), 2), "no sample 2"),
    (lambda: figures.trajectory(states(), Flow(), frame=5), "frame must be from 0 to 4"),
    (lambda: figures.trajectory(states(), Flow(), steps=[7]), "steps must be from 0 to 6"),
    (lambda: figures.trajectory(states(), Flow(), steps=0), "steps must be"),
    (lambda: figures.xt_slice(torch.rand(1, 4, 1, 8, 8), 8), "row must be from 0 to 7"),
    (lambda: sampler_duel(lambda x, t: x * torch.nan, Flow(), torch.randn(1, 1, 4, 4), [4]),
     "weights and x are finite")])
def test_bad_input_gets_one_sentence(bad, words):
    with pytest.raises(ValueError, match=words) as caught:
        bad()
    assert "\n" not in str(caught.value)


def test_a_broken_state_is_called_nan_and_not_sigma_0():
    made = states()
    x, x0 = made[2].x, torch.full_like(made[2].x0, torch.nan)
    made[2] = State(made[2].t, x, x0)
    arrays = figures.trajectory_arrays(made, Flow(), 0, range(7), [0])
    texts = {f.key: figures.empty_texts(arrays, f) for f in figures.FIELDS}
    assert texts["x"] == {} and texts["x0"] == {2: "NaN"}
    assert texts["eps"][2] == "NaN" and "σ = 0" in texts["eps"][6]
    assert texts["change"][2] == "NaN" and "none before" in texts["change"][0]
    microscope(made, Flow()).html()


def test_nothing_moves_a_global_generator():
    made = states()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    microscope(made, Flow()).html()
    duel(calls=[4])
    playground(lambda n=1: figures.snr_curves({"flow": Flow()}), n=(1, 2, 1))._repr_mimebundle_()
    figures.trajectory(made, Flow())._repr_png_()
    report.report_html("t", {}, clips=torch.full((1, 4, 1, 8, 8), 0.5))
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()


def test_pictures_need_no_scoreboard():
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            assert "minidiff.evaluation.scoreboard" not in names, path.name
