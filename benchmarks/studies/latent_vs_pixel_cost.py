"""What latents save: time and memory of a training step, on latents and on pixels.

The latent model is `mmnist64-text`, encoding included; the pixel model is the U-Net of `mmnist32`
on the same clips of 16 frames, 64x64.

    python -m benchmarks.studies.latent_vs_pixel_cost

Steps alternate after warming up; the interval of the ratio is from bootstrapped medians.
"""
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import torch

from minidiff.data import digits
from minidiff.pipeline import load_recipe_vae
from minidiff.recipes import Recipe, build_model, build_objective, get_recipe, training_batches
from minidiff.runtime.machine import machine_description
from minidiff.train import Record, TrainState, train
from minidiff.training.cost import measure_recipe_cost


def pixel_recipe(batch: int = 4) -> Recipe:
    """The U-Net of mmnist32, without labels, on the clips of mmnist64-text."""
    recipe, clips = get_recipe("mmnist32", batch=batch), get_recipe("mmnist64-text").clips
    net = {k: v for k, v in recipe.model["net"].items() if k != "classes"}
    return recipe._replace(model=recipe.model | {"net": net}, clips=clips)


def training_steps(recipe: Recipe) -> Iterator[Record]:
    """Endless training steps of a recipe."""
    run = TrainState(build_model(recipe.model), recipe.training["lr"], recipe.training["ema"])
    batches = training_batches(recipe, digits.built_in("train", 500), 0,
                               vae=load_recipe_vae(recipe))
    return train(run, batches, 10**6, build_objective(recipe))


def seconds_per_clip(rounds: int) -> dict[str, list[float]]:
    """Seconds a clip of either training, step by step in turn."""
    both = {"pixels": pixel_recipe(), "latents": get_recipe("mmnist64-text")}
    running, took = {k: training_steps(p) for k, p in both.items()}, {k: [] for k in both}
    for i in range(rounds + 3):
        for name, records in running.items():
            began = time.perf_counter()
            next(records)
            if i >= 3:
                each = (time.perf_counter() - began) / both[name].training["batch"]
                took[name].append(each)
    return took


def ratio_with_interval(took: dict[str, list[float]],
                        draws: int = 2000) -> tuple[float, float, float]:
    """latents / pixels, and its 95 % interval."""
    g = torch.Generator().manual_seed(0)

    def medians(x: list[float]) -> torch.Tensor:
        rows = torch.randint(len(x), (draws, len(x)), generator=g)
        return torch.tensor(x)[rows].median(1).values
    found = medians(took["latents"]) / medians(took["pixels"])
    middle = statistics.median(took["latents"]) / statistics.median(took["pixels"])
    return middle, *found.quantile(torch.tensor([0.025, 0.975])).tolist()


def peak_mib(name: str) -> float:
    """MiB that a process needs at its peak for a few training steps of a recipe."""
    code = ("import sys, resource\nfrom minidiff.training.cost import measure_recipe_cost\n"
            "from minidiff.recipes import get_recipe\n"
            "measure_recipe_cost(get_recipe(sys.argv[1]))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)")
    out = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True,
                         check=True)
    return float(out.stdout)


def main() -> None:
    """Measure, and print or store the figures."""
    print(machine_description())
    took = seconds_per_clip(12)
    middle, low, high = ratio_with_interval(took)
    for name, each in took.items():
        print(f"{name:>8} {1e3 * statistics.median(each):7.1f} ms a clip of 64x64, 16 frames")
    print(f"latents / pixels {middle:.3f} ({low:.3f} to {high:.3f})")
    print(f"peak memory to train mmnist64-text at its batch: {peak_mib('mmnist64-text'):.0f} MiB")
    recipe = get_recipe("mmnist64-text", batch=64)
    mib = measure_recipe_cost(recipe, steps=1).bytes / 2**20
    print(f"computed for a batch of 64: {mib:.0f} MiB "
          "beyond torch itself")


if __name__ == "__main__":
    main()
