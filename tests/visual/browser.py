"""A real browser, and JupyterLab in it, for tests and benchmarks.

    with chromium() as browser, lab(browser, folder) as open_notebook:
        page = open_notebook("x.ipynb")
        run_all(page)

Needs the playwright package and a Chromium: Debian's `chromium`, or the path in CHROMIUM.
"""
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
READY = """async () => {
  await window.jupyterapp.restored;
  const panel = window.jupyterapp.shell.currentWidget;
  if (!panel || !panel.sessionContext) return false;
  await panel.context.ready; await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  if (!kernel) return false;
  await kernel.info;
  return kernel.status === 'idle'; }"""
RUN = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel.sessionContext.session.kernel;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  while (kernel.status !== 'idle') await new Promise(r => setTimeout(r, 50));
  return panel.content.widgets.filter(c => c.model.type === 'code').map(c => ({
    count: c.model.executionCount,
    errors: c.model.outputs.toJSON().filter(o => o.output_type === 'error')
      .map(o => o.ename + ': ' + o.evalue)})); }"""


def executable() -> str | None:
    """The path of a Chromium, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def why_not(*packages: str) -> str | None:
    """A sentence that names the missing package or browser; None if nothing is missing."""
    missing = [p for p in ("playwright", *packages) if not find_spec(p)]
    if missing:
        return f"a test in a browser needs {' and '.join(missing)}: pip install {missing[0]}"
    if executable() is None:
        return "a test in a browser needs Chromium: apt install chromium, or set CHROMIUM"
    return None


@contextlib.contextmanager
def chromium():
    """A headless browser of playwright."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=executable(), headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def lab(browser, folder: Path, seconds: float = 60):
    """A JupyterLab server for a folder, with its own settings; yields a function name -> page."""
    home, token, port = Path(tempfile.mkdtemp(prefix="jupyterlab-")), secrets.token_hex(16), free()
    places = {f"JUPYTER_{k}_DIR": str(home / k) for k in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{k}_DIR": str(home / k) for k in ("SETTINGS", "WORKSPACES")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | places | {"JUPYTER_TOKEN": token, "HOME": str(home), "PYTHONPATH": path}
    quiet = home / "SETTINGS" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1",
               f"--port={port}", "--ServerApp.port_retries=0", "--allow-root",
               f"--ServerApp.root_dir={folder}", "--expose-app-in-browser"]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status?token={token}", server, home / "log", seconds)

        def open_notebook(name: str):
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(1000 * seconds)
            page.goto(f"{address}/lab/tree/{name}?token={token}&reset")
            page.wait_for_selector(".jp-Notebook .jp-Cell")
            end = time.monotonic() + seconds
            while not page.evaluate(READY):
                assert time.monotonic() < end, "the kernel did not start"
                page.wait_for_timeout(100)
            return page

        yield open_notebook
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)


def free() -> int:
    """A port that is not in use."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float) -> None:
    """Wait until a server answers. RuntimeError with its log if it ends, or after the seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not answer in {seconds} seconds:\n{log.read_text()}")


def run_all(page) -> int:
    """Run all cells; returns their number. AssertionError if one did not run, or failed."""
    cells = page.evaluate(RUN)
    bad = [(i, c) for i, c in enumerate(cells) if c["count"] is None or c["errors"]]
    assert not bad, f"cells that did not run, or failed: {bad}"
    return len(cells)
