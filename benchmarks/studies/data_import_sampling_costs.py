"""Costs on this machine: clips against a training step, imports, sampling against playing.

    python -m benchmarks.studies.data_import_sampling_costs

Medians after warming up; the two times of a ratio are measured in alternating turns.
"""
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import minidiff
from minidiff import pipeline
from minidiff.data import digits
from minidiff.data.moving_mnist import batches
from minidiff.recipes import build_model, get_recipe, training_batches
from minidiff.runtime.machine import machine_description
from minidiff.train import TrainState, denoising_objective, train


def time_once(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def clips_and_step_seconds(blocks: int = 15) -> tuple[float, float]:
    """Seconds to make a batch of clips, and seconds for a whole training step with it."""
    plan, source = get_recipe("mmnist32"), digits.built_in("train", 2000)
    run = TrainState(build_model(plan.model))
    maker = batches(source, plan.training["batch"], **plan.clips)
    step = train(run, training_batches(plan, source, 0), 10**6, denoising_objective(10))
    for _ in range(5):
        next(step)
    times = [(time_once(lambda: next(maker)), time_once(lambda: next(step))) for _ in range(blocks)]
    return tuple(statistics.median(t) for t in zip(*times, strict=True))


def import_seconds(repeats: int = 5) -> tuple[float, float]:
    """Seconds for `import torch`, and for `import minidiff` after it."""
    code = ("import time; a = time.perf_counter(); import torch; b = time.perf_counter(); "
            "import minidiff; print(b - a, time.perf_counter() - b)")
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True)
            for _ in range(repeats)]
    times = (map(float, r.stdout.split()) for r in runs)
    return tuple(statistics.median(t) for t in zip(*times, strict=True))


def sampling_seconds(n: int = 16, repeats: int = 3) -> float:
    """Seconds a clip of `mmnist32`, 20 steps with guidance, n at a time."""
    model = minidiff.load("mmnist32")
    model(n=n, steps=3)
    return statistics.median(time_once(lambda: model(n=n)) for _ in range(repeats)) / n


def main() -> None:
    """Measure, and print or store the figures."""
    print(machine_description())
    clips, step = clips_and_step_seconds()
    print(f"a batch of 16 clips   {1e3 * clips:7.2f} ms, a training step {1e3 * step:.0f} ms: "
          f"{clips / step:.1%}")
    first, then = import_seconds()
    print(f"import torch          {first:7.2f} s, import minidiff after it {then:.3f} s")
    if "mmnist32" in pipeline.shipped_checkpoints():
        each = sampling_seconds()
        print(f"a clip of mmnist32    {each:7.3f} s to sample, "
              "1.000 s to play at 8 frames a second")


if __name__ == "__main__":
    main()
