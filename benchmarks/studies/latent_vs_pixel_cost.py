"""What working on latents saves: a training step of `mmnist64-text`, encoding included, beside one
of the pixel U-Net of `mmnist32` on the same clips of 16 frames, 64x64; and the memory of both.

    python -m benchmarks.studies.latent_vs_pixel_cost

Steps are taken in turn after warming up; the ratio's interval is from bootstrapped medians.
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
    plan, clips = get_recipe("mmnist32", batch=batch), get_recipe("mmnist64-text").clips
    net = {k: v for k, v in plan.model["net"].items() if k != "classes"}
    return plan._replace(model=plan.model | {"net": net}, clips=clips)


def training_steps(plan: Recipe) -> Iterator[Record]:
    run = TrainState(build_model(plan.model), plan.training["lr"], plan.training["ema"])
    batches = training_batches(plan, digits.built_in("train", 500), 0, vae=load_recipe_vae(plan))
    return train(run, batches, 10**6, build_objective(plan))


def seconds_per_clip(rounds: int) -> dict[str, list[float]]:
    """Seconds a clip of either training, step by step in turn."""
    plans = {"pixels": pixel_recipe(), "latents": get_recipe("mmnist64-text")}
    running, took = {k: training_steps(p) for k, p in plans.items()}, {k: [] for k in plans}
    for i in range(rounds + 3):
        for name, records in running.items():
            began = time.perf_counter()
            next(records)
            if i >= 3:
                each = (time.perf_counter() - began) / plans[name].training["batch"]
                took[name].append(each)
    return took


def ratio_with_interval(took: dict[str, list[float]], draws: int = 2000) -> tuple[float, float, float]:
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
    code = ("import sys, resource\nfrom minidiff.training.cost import probe\n"
            "from minidiff.recipes import recipe\n"
            "probe(recipe(sys.argv[1]))\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)")
    out = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True,
                         check=True)
    return float(out.stdout)


def main() -> None:
    print(machine_description())
    took = seconds_per_clip(12)
    middle, low, high = ratio_with_interval(took)
    for name, each in took.items():
        print(f"{name:>8} {1e3 * statistics.median(each):7.1f} ms a clip of 64x64, 16 frames")
    print(f"latents / pixels {middle:.3f} ({low:.3f} to {high:.3f})")
    print(f"peak memory to train mmnist64-text at its batch: {peak_mib('mmnist64-text'):.0f} MiB")
    plan = get_recipe("mmnist64-text", batch=64)
    print(f"computed for a batch of 64: {measure_recipe_cost(plan, steps=1).bytes / 2**20:.0f} MiB "
          "beyond torch itself")


if __name__ == "__main__":
    main()
