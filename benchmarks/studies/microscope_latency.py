"""The time from a key press to the microscope's changed picture, in a real Chromium.

    python -m benchmarks.studies.microscope_latency [--presses 50]

Needs playwright and a Chromium (see tests/visual/browser.py). The microscope shows 21 states of a
clip of 8 frames of 32x32 pixels. Times start at the key event's own time stamp: "drawn" ends when
the picture has changed, "on the screen" when the frame that shows it was produced. A page that only
counts the presses shows how much of it is due to the browser and the machine.
"""
import argparse
import os
import platform
import sys
from pathlib import Path
from statistics import median, quantiles

import torch

from minidiff.runtime.machine import machine_description

ROOT = Path(__file__).resolve().parents[2]
LATENCY_SCRIPT = """() => {
  const stage = document.querySelector('.stage'), canvas = document.querySelector('canvas');
  const seen = () => canvas ? canvas.toDataURL() : stage.textContent;
  let before = seen();
  window.times = [];
  stage.parentNode.addEventListener('keydown', event => {           // runs after the viewer's own
    const drawn = performance.now() - event.timeStamp;
    requestAnimationFrame(() => {                            // a message after it is after painting
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const shown = performance.now() - event.timeStamp, after = seen();
        window.times.push([after !== before, drawn, shown]);
        before = after;
      };
      channel.port2.postMessage(0);
    });
  });
  stage.focus();
}"""
COUNTER_PAGE = """<div class="stage" tabindex="0">0</div><script>
  const stage = document.querySelector('.stage');
  stage.addEventListener('keydown', () => { stage.textContent = 1 + +stage.textContent; });
</script>"""


def main() -> None:
    """Measure, and print or store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--presses", type=int, default=50)
    presses = parser.parse_args().presses
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "visual")]
    import browser

    if why := browser.why_not():
        raise SystemExit(why)
    with browser.chromium() as chromium:
        print(f"{machine_description()}, {os.cpu_count()} cores, {platform.system()}, "
              f"Chromium {chromium.version}")
        for name, content in (("microscope", microscope().html()), ("one number", COUNTER_PAGE)):
            page = chromium.new_page(viewport={"width": 1280, "height": 800})
            page.set_content(content)
            changed, drawn, shown = zip(*measure(page, presses), strict=True)
            assert all(changed), "a press left the picture as it was"
            print(f"{name}: {presses} presses, medians: drawn {median(drawn):.1f} ms, "
                  f"on the screen {median(shown):.1f} ms "
                  f"(90 % within {quantiles(shown, n=10)[-1]:.1f} ms)")
            page.close()


def measure(page, presses: int) -> list:
    """Per press: whether the picture changed, ms until it was drawn, ms until it was shown."""
    page.wait_for_selector(".minidiff-viewer[data-at], body > .stage")
    page.evaluate(LATENCY_SCRIPT)
    for k in range(presses):
        page.keyboard.press("ArrowLeft" if k // 10 % 2 else "ArrowRight")
        page.wait_for_function("k => window.times.length > k", arg=k)
    return page.evaluate("window.times")


def microscope():
    """A microscope on the way of the exact denoiser of clips that are AR(1) over time."""
    from minidiff.gaussians import ar1_denoiser
    from minidiff.samplers import ddpm
    from minidiff.schedules import Flow, timesteps
    from minidiff.visual.widgets import microscope

    torch.manual_seed(0)
    x = torch.randn(1, 8, 1, 32, 32)
    return microscope(ddpm(ar1_denoiser(Flow(), 0.9, 0.5), Flow(), x, timesteps(20)), Flow())


if __name__ == "__main__":
    main()
