"""Microscope, duel and playground show the right pixels, repeat, and load nothing."""
import json
import math
import re
import sys
import threading
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import media
from minidiff.gaussians import gaussian_denoiser
from minidiff.samplers import SAMPLERS, ddim
from minidiff.schedules import Cosine, Flow, log_snr_timesteps, timesteps
from minidiff.visual import figures, widgets
from minidiff.visual.microscope import brightest_row, microscope
from minidiff.visual.sampler_duel import SamplerDuel, sampler_duel
from minidiff.visual.widgets import playground

IMAGES, VIDEOS, COLOUR = (2, 1, 8, 6), (2, 5, 1, 8, 6), (2, 5, 3, 8, 6)
LATENTS = (2, 3, 4, 4, 3)
X, X0, EPS, CHANGE, SLICE = range(5)


def states(shape, n=6, std=0.5):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return list(ddim(gaussian_denoiser(Flow(), -0.3, std), Flow(), x, timesteps(n)))


def spec(viewer):
    return json.loads(viewer.spec.replace("<\\/", "</"))


def tile(viewer, panel, step, frame):
    """A tile as the browser cuts it out of the sheet, bytes (h, w, 3)."""
    about = spec(viewer)
    p = about["panels"][panel]
    data = b64decode(about["sheet"].split(",")[1])
    rgb = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    y, x = p["y"] + min(step, p["rows"] - 1) * p["h"], min(frame, p["columns"] - 1) * p["w"]
    return rgb[y:y + p["h"], x:x + p["w"]]


def grey(image, reach=1.0):
    """(C, H, W) as the page must show it, bytes (H, W, 3)."""
    seen = ((image / reach).clamp(-1, 1) + 1) / 2 * 255
    return seen.expand(3, -1, -1).movedim(0, -1).numpy()


@pytest.mark.parametrize("shape", [IMAGES, VIDEOS, COLOUR], ids=["images", "videos", "colour"])
def test_every_tile_of_the_sheet_is_its_step_and_frame(shape):
    made = states(shape)
    scope = microscope(made, Flow(), 1)
    for step, frame in ((0, 0), (3, 2), (5, 4), (6, 1)):
        frame = frame if len(shape) == 5 else 0
        here = {X: (made[step].x, 1, 11), X0: (made[step].x0, 1, 31)}
        if step < 6:
            here[EPS] = figures.eps_hat(made[step], Flow()), 3, 7
        for panel, (values, reach, levels) in here.items():
            want = grey(values[1] if len(shape) == 4 else values[1, frame], reach)
            off = np.abs(tile(scope, panel, step, frame) - want).max()
            assert off <= 255 / (levels - 1) / 2 + 1                         # half a level
    assert (tile(scope, EPS, 6, 0) == tile(scope, CHANGE, 0, 0)).all()       # nothing to show
    assert spec(scope)["panels"][EPS]["blank_texts"].keys() == {"6"}
    assert spec(scope)["panels"][CHANGE]["blank_texts"].keys() == {"0"}


def test_more_ink_is_blue_and_less_is_red():
    made = states(IMAGES)
    scope = microscope(made, Flow())
    change = (made[4].x0 - made[3].x0)[0, 0].numpy()
    red, _, blue = np.moveaxis(tile(scope, CHANGE, 4, 0).astype(int), -1, 0)
    assert (blue > red)[change > 0.1].all() and (red > blue)[change < -0.1].all()


def test_the_slice_is_the_busiest_row_of_every_frame():
    made = states(VIDEOS)
    row = brightest_row(made[-1].x0[0])
    assert row == int(made[-1].x0[0, :, 0].clamp(-1, 1).sum((0, 2)).argmax())
    want = grey(made[3].x0[0, :, :, row].movedim(1, 0))                      # (C, T, W)
    assert np.abs(tile(microscope(made, Flow()), SLICE, 3, 4) - want).max() <= 255 / 60 + 1


def test_latents_are_shown_through_the_decoder_and_eps_as_it_is():
    def decode(z):                                    # (N, T, 4, h, w) -> clips twice each size
        z = z[:, :, :1].repeat_interleave(2, 1).repeat_interleave(2, 3).repeat_interleave(2, 4)
        return media.to_unit(z)

    made = states(LATENTS)
    scope = microscope(made, Flow(), decode=decode)
    about = spec(scope)
    assert [(p["w"], p["h"], p["columns"]) for p in about["panels"][:4]] == 4 * [(6, 8, 6)]
    first = made[2].x0[0, 1, :1].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert np.abs(tile(scope, X0, 2, 3) - grey(first)).max() <= 255 / 60 + 1
    eps = figures.eps_hat(made[2], Flow())[0, 1, :1].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert np.abs(tile(scope, EPS, 2, 3) - grey(eps, 3)).max() <= 255 / 12 + 1
    assert "first of 4 channels" in repr(microscope(made, Flow()))


def test_steps_are_left_out_only_if_the_page_would_grow():
    made = states((1, 8, 1, 64, 64), n=40, std=0.01)
    scope = microscope(made, Flow())
    says = spec(scope)["sliders"][0]["value_labels"]
    assert len(says) == 8 and says[0].startswith("0 of 40") and says[-1].startswith("40 of 40")
    assert len(scope.html()) < 400_000
    assert len(spec(microscope(made[:3], Flow()))["sliders"][0]["value_labels"]) == 3
    assert np.abs(tile(scope, X0, 7, 2) - grey(made[40].x0[0, 2])).max() <= 255 / 60 + 1


def test_the_step_says_its_time_and_noise():
    says = spec(microscope(states(VIDEOS), Flow()))["sliders"][0]["value_labels"]
    assert says[2] == "2 of 6   t = 0.667   α = 0.333   σ = 0.667"


@pytest.mark.parametrize("bad, match", [
    (lambda: microscope([], Flow()), "at least one state"),
    (lambda: microscope(states(VIDEOS), Flow(), 2), "no sample 2.*0 to 1"),
    (lambda: microscope(states(VIDEOS), Flow(), -1), "no sample -1"),
    (lambda: microscope(states(VIDEOS), Flow(), steps=[9]), "from 0 to 6"),
    (lambda: microscope(states((2, 8)), Flow()), "images .* or videos"),
    (lambda: microscope(states(IMAGES), Flow()).save("x.png"), "saved as .html"),
    (lambda: small_duel(samplers=["midpoint"]), "Unknown samplers 'midpoint'"),
    (lambda: small_duel(calls=[0, 4]), "from 1 up"),
    (lambda: small_duel(sample=2), "no sample 2"),
    (lambda: playground(print), "at least one control"),
    (lambda: playground(print, a=(1, 0, 1)), "The control a must be"),
    (lambda: playground(print, a=[]), "The control a must be"),
])
def test_bad_input_gets_one_sentence(bad, match):
    with pytest.raises(ValueError, match=match) as caught:
        bad()
    assert "\n" not in str(caught.value)


def small_duel(calls=(4, 8), shape=VIDEOS, **settings):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return sampler_duel(gaussian_denoiser(Cosine(), -0.3, 0.5), Cosine(), x, calls, **settings)


@pytest.mark.parametrize("make", [lambda c: microscope(states(VIDEOS), Flow(), caption=c),
                                  lambda c: small_duel(caption=c)], ids=["microscope", "duel"])
class TestViewer:
    def test_the_same_picture_is_the_same_text(self, make):
        one, two = make("a").html(), make("a").html()
        assert one == two and make("b").id not in one

    def test_nothing_comes_from_outside_and_no_id_is_taken(self, make):
        page = make("a").html()
        assert not re.findall(r"https?:|//\w|\bimport\b|fetch\(|\sid=", re.sub(
            r"base64,[A-Za-z0-9+/=]+|^ *//.*$|//[^\n\"']*$", "", page, flags=re.M))

    def test_a_caption_cannot_break_out(self, make):
        page = make("</script><b>\"'&").html()
        assert page.count("</script>") == 1 and "<b>\"" not in page

    def test_readers_without_script_get_a_picture_and_words(self, make):
        bundle = make("Look")._repr_mimebundle_()
        assert set(bundle) == {"text/html", "image/png", "text/plain"}
        picture = Image.open(BytesIO(b64decode(bundle["image/png"])))
        assert picture.width > 600 and len(np.unique(np.asarray(picture.convert("L")))) > 8
        assert bundle["text/plain"].startswith("Look")
        assert bundle["image/png"] in bundle["text/html"]

    def test_saved_and_exported(self, make, tmp_path):
        viewer = make("a")
        viewer.save(tmp_path / "x.html")
        assert viewer.html() in (tmp_path / "x.html").read_text(encoding="utf-8")
        nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
        out = nbformat.v4.new_output("display_data", data=viewer._repr_mimebundle_())
        cell = nbformat.v4.new_code_cell("a", outputs=[out])
        notebook = nbformat.v4.new_notebook(cells=[cell])
        text, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
        assert viewer.spec in text and text.count(f'data-minidiff="{viewer.id}"') == 1


def test_the_order_of_convergence_on_an_exact_gaussian():
    made = small_duel((32, 64, 128), IMAGES, grid=lambda n: log_snr_timesteps(Cosine(), n),
                      reference_steps=1000)
    assert made.orders["ddim"] == pytest.approx(1, abs=0.06)
    assert made.orders["heun"] == pytest.approx(2, abs=0.15)
    assert made.orders["dpmpp_2m"] == pytest.approx(2, abs=0.15)
    assert math.isnan(made.orders["ddpm"])


def test_samplers_meet_at_equal_network_calls():
    made = small_duel((5, 8))
    by = {(r.sampler, r.budget): (r.calls, r.steps) for r in made.runs}
    assert by == {**{(s, b): (b, b) for s in ("ddpm", "ddim", "dpmpp_2m") for b in (5, 8)},
                  ("heun", 5): (5, 3), ("heun", 8): (7, 4)}
    assert "heun used 5, 7 calls, for 3, 4 steps." in repr(made)


def test_the_duel_starts_from_one_noise_and_repeats():
    one, two = small_duel(), small_duel(seed=1)
    for a, b in zip(one.runs, two.runs, strict=True):
        assert torch.equal(a.x, b.x) == (a.sampler != "ddpm")
        assert a.error == pytest.approx(float((a.x - one.reference).square().mean().sqrt()))


def test_the_duel_shows_samples_and_their_differences():
    made = small_duel()
    names = [p["name"] for p in spec(made)["panels"]]
    assert names[:5] == ["ddpm", "ddim", "heun", "dpmpp_2m", "reference"] and len(names) == 9
    run = next(r for r in made.runs if (r.sampler, r.budget) == ("heun", 8))
    assert np.abs(tile(made, 2, 1, 3) - grey(run.x[0, 3].float())).max() <= 255 / 60 + 1
    off = (run.x - made.reference)[0, 3, 0].numpy()
    red, _, blue = np.moveaxis(tile(made, 7, 1, 3).astype(int), -1, 0)
    assert (blue > red)[off > 0.05].all() and (red > blue)[off < -0.05].all()
    assert spec(made)["panels"][2]["captions"][1].startswith("7 calls, 4 steps\nerror 0.0")


@pytest.mark.parametrize("samplers", [["ddim"], list(SAMPLERS)])
def test_a_duel_of_one_or_of_all_and_of_images(samplers):
    made = small_duel([4], IMAGES, samplers=samplers)
    assert isinstance(made, SamplerDuel) and set(made.orders) == set(samplers)
    assert all(math.isnan(p) for p in made.orders.values())                  # one point: no line
    assert len(spec(made)["sliders"]) == 1


def seen():
    """A function that keeps the values of its calls, and these values."""
    calls = []

    def draw(scale=2.0, schedule="flow", words="a 3", guided=True, n=3):
        calls.append((scale, schedule, words, guided, n))
        return figures.snr_curves({"flow": Flow()})
    return draw, calls


CONTROLS = {"scale": (0.0, 3.0, 0.5), "schedule": ["cosine", "flow"], "words": "a 3 moving left",
            "guided": False, "n": (1, 4, 1)}


def test_try_all_tries_both_ends_the_middle_and_every_option():
    draw, calls = seen()
    play = playground(draw, **CONTROLS)
    assert calls == [(2.0, "flow", "a 3 moving left", False, 3)]             # drawn once
    assert play.initial_output.keys() == {"image/png", "text/plain"}         # no HTML of None
    tried = play.try_all()
    assert [t["scale"] for t in tried[:3]] == [0.0, 1.5, 3.0]
    assert {t["schedule"] for t in tried} == {"cosine", "flow"}
    assert {t["guided"] for t in tried} == {True, False}
    assert {t["n"] for t in tried} == {1, 2, 3, 4}
    assert [tuple(t.values()) for t in tried] == calls[1:] and len(tried) == 3 + 2 + 1 + 2 + 3


def test_try_all_raises_errors_with_the_values(monkeypatch):
    play = playground(lambda n=1: 1 / (4 - n), n=(0, 4, 1))
    with pytest.raises(ZeroDivisionError) as caught:
        play.try_all()
    assert "{'n': 4}" in caught.value.__notes__[0]


def loose(monkeypatch):
    for name in widgets.STRICT_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def fails(n=1):
    raise ValueError("There is no\nschedule 'x'.")


def test_an_error_is_a_sentence_but_raised_when_strict(monkeypatch):
    with pytest.raises(ValueError):
        playground(fails, n=(1, 2, 1))                                       # pytest, so nbval, too
    loose(monkeypatch)
    play = playground(fails, n=(1, 2, 1))
    assert play.initial_output == {"text/plain": "ValueError: There is no schedule 'x'."}
    monkeypatch.setenv("MINIDIFF_STRICT", "1")
    with pytest.raises(ValueError):
        play.output_for({"n": 1})


def test_without_ipywidgets_it_is_a_picture(monkeypatch):
    draw, calls = seen()
    play = playground(draw, n=(1, 4, 1))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert "image/png" in play._repr_mimebundle_() and len(calls) == 1


def test_moving_a_control_draws_again():
    pytest.importorskip("ipywidgets")
    draw, calls = seen()
    play = playground(draw, **CONTROLS)
    shown = play._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown and "image/png" in shown
    play.inputs["schedule"].value = "cosine"
    play.inputs["n"].value = 1
    assert [c[1::3] for c in calls] == [("flow", 3), ("cosine", 3), ("cosine", 1)]
    assert play.output.outputs[0]["data"].keys() >= {"image/png", "text/plain"}
    assert not play.inputs["scale"].continuous_update


def test_outdated_values_are_skipped_and_only_one_thread_renders():
    inside, most, drawn, begun, go = 0, 0, [], threading.Event(), threading.Event()

    def draw(n=0):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if n == 1:
            begun.set()
            assert go.wait(20)
        drawn.append(n)
        inside -= 1
        return str(n)

    play = playground(draw, n=(0, 9, 1))
    first = threading.Thread(target=play.output_for, args=({"n": 1},))
    first.start()
    assert begun.wait(20)
    others = [threading.Thread(target=play.output_for, args=({"n": n},)) for n in (2, 3)]
    for k, thread in enumerate(others):
        thread.start()
        while play.latest_request < 2 + k:                                   # until it waits
            thread.join(0.01)
    go.set()
    for thread in (first, *others):
        thread.join(20)
    assert drawn == [0, 1, 3] and most == 1


def test_a_viewer_in_a_playground_is_shown_as_itself():
    play = playground(lambda n=1: microscope(states(IMAGES), Flow()), n=(1, 2, 1))
    assert "minidiff-viewer" in play.initial_output["text/html"]
