"""The order of every sampler on every schedule, against the exact flow of a Gaussian.

    python -m benchmarks.studies.sampler_order

Error is the largest difference from the exact flow; order is
`log2(error at n = 128 / error at n = 256)`. Uniform grids are measured at t = 0; grids uniform in
log-SNR at t_min, before their last step, as the log-SNR is infinite at 0. The measuring functions
are those of tests/core/test_samplers.py, of test_guidance.py (a guidance interval, without and with
its ends in the grid) and of test_parity_diffusers.py, which needs diffusers and is left out without
it.
"""
import platform
import sys
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from math import log2
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure, and print or store the figures."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "core")]
    from test_samplers import GRIDS, SCHEDULES, ddim, dpmpp_2m, flow_error, heun, timesteps

    packages = [name for name in ("torch", "diffusers") if find_spec(name)]
    versions = [f"{name} {version(name)}" for name in packages]
    print(date.today(), f"Python {platform.python_version()}", *versions, sep="  ")
    torch.set_num_threads(1)

    print(f"\n{'sampler':10} {'schedule':9} {'grid':8} {'n = 128':>9} {'n = 256':>9} {'order':>6}")
    for sampler in (ddim, heun, dpmpp_2m):
        for name, schedule in SCHEDULES.items():
            for grid in GRIDS:
                coarse, fine = (flow_error(sampler, schedule, grid, n) for n in (128, 256))
                row = (f"{sampler.__name__:10} {name:9} {grid:8} {coarse:9.1e} {fine:9.1e} "
                       f"{log2(coarse / fine):6.2f}")
                print(row + note(sampler.__name__, name, grid))

    from test_guidance import INTERVAL, interval_order
    print(f"\n{'guided in ' + str(INTERVAL):20} {'schedule':9} {'order':>6} {'with the ends':>14}")
    for name in ("cosine", "flow"):
        broken, restored = interval_order(heun, SCHEDULES[name], timesteps, -1)
        print(f"{'heun':20} {name:9} {broken:6.2f} {restored:14.2f}")

    if "diffusers" in packages:
        from test_parity_diffusers import ERRORS, STEPS
        print("\nlargest difference from diffusers" + "".join(f"{f'n = {n}':>10}" for n in STEPS))
        for name, error in ERRORS.items():
            print(f"{name:33}" + "".join(f"{error(n):10.1e}" for n in STEPS))


def note(sampler: str, schedule: str, grid: str) -> str:
    """Why the order of a row is low, or nothing."""
    if grid == "uniform" and sampler == "dpmpp_2m" and schedule != "ve":
        return "  a step is long in log-SNR at both ends"
    if grid == "uniform" and sampler == "heun" and schedule == "ddpm":
        return "  sigma falls like sqrt(t) near the data"
    return ""


if __name__ == "__main__":
    main()
