"""The microscope in a real browser: in JupyterLab, in an exported page, and without scripts."""
from pathlib import Path

import browser
import numpy as np
import pytest

from minidiff.schedules import Flow
from minidiff.visual.widgets import microscope

nbformat = pytest.importorskip("nbformat")
SHOTS = Path(__file__).resolve().parents[2] / "build" / "browser"
MAKE = """import torch
from minidiff.visual import figures
from minidiff.gaussians import gaussian_denoiser
from minidiff.samplers import ddim
from minidiff.schedules import Cosine, Flow, timesteps
from minidiff.visual.widgets import microscope, playground
torch.manual_seed(0)
x = torch.randn(2, 6, 1, 12, 10)
states = list(ddim(gaussian_denoiser(Flow(), -0.5, 0.4), Flow(), x, timesteps(8)))"""
CELLS = [MAKE, "microscope(states, Flow(), 0, 'first')", "microscope(states, Flow(), 1, 'second')",
         """def draw(n=2):
    return figures.snr_curves(dict(list({"cosine": Cosine(), "flow": Flow()}.items())[:n]))
playground(draw, n=(1, 2, 1))"""]
PIXELS = """(canvas) => Array.from(
  canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"""


def scope(sample=0, caption="first"):
    """The states and the viewer that CELLS show."""
    made = {}
    exec(MAKE, made)
    return made["states"], microscope(made["states"], Flow(), sample, caption)


def expected(states, step, frame, sample=0):
    """x0-hat as the bytes on the screen, exact to a grey level."""
    x0 = states[step].x0[sample, frame, 0]
    return ((x0.clamp(-1, 1) + 1) / 2 * 255).numpy()


def drawn(viewer, panel=1):
    canvas = viewer.locator("canvas").nth(panel)
    rgba = np.array(canvas.evaluate(PIXELS)).reshape(
        int(canvas.get_attribute("height")), int(canvas.get_attribute("width")), 4)
    assert (rgba[..., 3] == 255).all()
    return rgba[..., 0]


def viewer_of(page, caption):
    found = page.locator(".minidiff-viewer[data-at]", has=page.get_by_text(caption, exact=True))
    found.first.wait_for()
    return found.first


@pytest.fixture(scope="module")
def chromium():
    if why := browser.why_not():
        pytest.skip(why)
    with browser.chromium() as b:
        yield b


def check_keys(page, states, viewer):
    """Arrow keys move step and frame, and the canvas shows the tile of both."""
    viewer.scroll_into_view_if_needed()
    viewer.locator(".stage").focus()
    assert viewer.get_attribute("data-at") == "4,3"
    for key, at in (("ArrowRight", "5,3"), ("ArrowDown", "5,4"), ("ArrowLeft", "4,4"),
                    ("ArrowUp", "4,3")):
        page.keyboard.press(key)
        assert viewer.get_attribute("data-at") == at
        step, frame = map(int, at.split(","))
        assert np.abs(drawn(viewer) - expected(states, step, frame)).max() <= 255 / 60 + 1


def test_the_microscope_in_an_exported_page(chromium, tmp_path):
    nbconvert = pytest.importorskip("nbconvert")
    states, first = scope()
    shown = [nbformat.v4.new_output("display_data", data=v._repr_mimebundle_())
             for v in (first, scope(1, "second")[1], first)]                # one of them twice
    cell = nbformat.v4.new_code_cell("...", outputs=shown)
    text, _ = nbconvert.HTMLExporter(mathjax_url="", require_js_url="").from_notebook_node(
        nbformat.v4.new_notebook(cells=[cell]))
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = chromium.new_page()
    page.context.set_offline(True)
    errors = []
    page.on("pageerror", lambda e: errors.append(e))
    page.goto((tmp_path / "page.html").as_uri())
    viewer_of(page, "second")
    live = page.locator(".minidiff-viewer[data-at]")
    assert live.count() == 3
    check_keys(page, states, live.nth(0))
    page.keyboard.press("ArrowRight")
    assert [live.nth(k).get_attribute("data-at") for k in range(3)] == ["5,3", "4,3", "4,3"]
    assert not errors
    page.close()


def test_play_and_sliders(chromium, tmp_path):
    _, first = scope()
    first.save(tmp_path / "page.html")
    page = chromium.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    viewer = viewer_of(page, "first")
    steps, frames = (viewer.locator("input[type=range]").nth(k) for k in range(2))
    steps.fill("0")
    frames.fill("5")
    assert viewer.get_attribute("data-at") == "0,5"
    assert "none before" in viewer.locator(".blank").nth(3).inner_text()
    assert "t = 1.000" in steps.get_attribute("aria-valuetext")
    viewer.get_by_role("button", name="play the frames").click()
    page.wait_for_function("() => document.querySelector('[data-at]').dataset.at === '0,1'")
    viewer.get_by_role("button", name="pause the frames").click()
    page.close()


def test_a_still_picture_where_no_script_runs(chromium, tmp_path):
    _, first = scope()
    first.save(tmp_path / "page.html")
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    still = page.locator("img.still")
    assert still.is_visible() and still.bounding_box()["width"] > 300
    assert "x0-hat" in still.get_attribute("alt")
    context.close()


def test_jupyterlab(chromium, tmp_path):
    if why := browser.why_not("jupyterlab", "ipykernel", "ipywidgets"):
        pytest.skip(why)
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "x.ipynb")
    SHOTS.mkdir(parents=True, exist_ok=True)
    states, _ = scope()
    with browser.lab(chromium, tmp_path) as open_notebook:
        page = open_notebook("x.ipynb")
        assert browser.run_all(page) == len(CELLS)
        first, second = viewer_of(page, "first"), viewer_of(page, "second")
        active = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
        first.locator(".stage").focus()
        before = page.evaluate(active)
        check_keys(page, states, first)
        assert page.evaluate(active) == before, "JupyterLab took the arrow keys, too"
        assert second.get_attribute("data-at") == "4,3"
        page.screenshot(path=SHOTS / "microscope.png")

        picture = page.locator(".widget-output img").first
        picture.wait_for()
        old = picture.get_attribute("src")
        handle = page.locator(".widget-slider [role=slider]").first
        handle.scroll_into_view_if_needed()
        handle.focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("s => [...document.querySelectorAll('.widget-output img')]"
                               ".some(image => image.src !== s)", arg=old)
        page.screenshot(path=SHOTS / "playground.png")

        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        check_keys(page, states, first)                                     # without a kernel
        page.close()


# The frame to draw a path in

FOLLOW = """import torch
from minidiff.extensions.control import dots
from minidiff.visual.path_widget import path_widget
line = torch.stack([torch.linspace(2, 13, 4), torch.full((4,), 4.0)], -1)
paths = {"down": line, "across": line.flip(1)}
def follow(paths, labels):
    return dots(paths, (16, 16)) * (1 - labels.view(-1, 1, 1, 1, 1) / 20)
"""
BRIGHTEST = """canvas => {
  const {data, width} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let best = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i] === data[i + 2] && data[i] > data[best]) best = i;
  return [Math.floor(best / 4 / width), best / 4 % width]; }"""

GREY = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((most, v, i) => i % 4 === 2 ? Math.max(most, v) : most, 0); }"""


def drag(page, canvas, points):
    """Draw through points (y, x) of a frame of 16 pixels, with the mouse."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for k, (y, x) in enumerate(points):
        page.mouse.move(box["x"] + x / 16 * box["width"], box["y"] + y / 16 * box["height"])
        if k == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_drawn_path_without_a_kernel_shows_the_nearest_stored_one(chromium, tmp_path):
    made = {}
    exec(FOLLOW, made)
    made["path_widget"](made["follow"], made["paths"]).save(tmp_path / "page.html")
    page = chromium.new_page()
    errors = []
    page.on("pageerror", lambda e: errors.append(e))
    page.goto((tmp_path / "page.html").as_uri())
    root = page.locator(".minidiff-path[data-shows]")
    root.wait_for()
    assert root.get_attribute("data-shows") == "down"
    page.get_by_role("button", name="across").click()
    assert root.get_attribute("data-shows") == "across"
    drag(page, root.locator("canvas"), [(2, 5), (8, 5), (14, 5)])
    assert root.get_attribute("data-shows") == "down"
    assert "nearest stored path" in root.locator(".line").inner_text()
    page.wait_for_function("() => document.querySelector('[data-shows]').dataset.frame === '3'")
    page.wait_for_function("() => document.querySelector('[data-shows]').dataset.frame === '0'")
    y, x = root.locator("canvas").evaluate(BRIGHTEST)
    assert abs(x / 10 - 4) < 3 and y / 10 < 16
    drag(page, root.locator("canvas"), [(8, 8)])                            # a point is a path, too
    assert root.get_attribute("data-shows") in ("down", "across") and not errors
    page.close()


def test_a_drawn_path_in_jupyterlab_is_answered_by_the_kernel(chromium, tmp_path):
    if why := browser.why_not("jupyterlab", "ipykernel", "ipywidgets"):
        pytest.skip(why)
    cells = [nbformat.v4.new_code_cell(source) for source in (
        FOLLOW, "frame = path_widget(follow, paths)\ndisplay(frame, frame.live())")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "x.ipynb")
    SHOTS.mkdir(parents=True, exist_ok=True)
    with browser.lab(chromium, tmp_path) as open_notebook:
        page = open_notebook("x.ipynb")
        assert browser.run_all(page) == len(cells)
        root = page.locator(".minidiff-path[data-shows]")
        root.wait_for()
        page.locator(".widget-dropdown").wait_for()
        drag(page, root.locator("canvas"), [(3, 13), (8, 13), (13, 13)])
        page.wait_for_function(
            "() => document.querySelector('[data-shows]').dataset.shows === 'yours'")
        page.wait_for_function(
            "() => document.querySelector('[data-shows]').dataset.frame === '0'")
        _, x = root.locator("canvas").evaluate(BRIGHTEST)
        assert abs(x / 10 - 13) < 3
        page.screenshot(path=SHOTS / "path.png")
        grey = root.locator("canvas").evaluate(GREY)
        page.locator(".widget-dropdown select").select_option("5")          # paler, by `follow`
        page.wait_for_function(f"old => ({GREY})(document.querySelector('.minidiff-path canvas'))"
                               " < old - 20", arg=grey)
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.get_by_role("button", name="across").click()                   # without a kernel
        assert root.get_attribute("data-shows") == "across"
        page.close()
