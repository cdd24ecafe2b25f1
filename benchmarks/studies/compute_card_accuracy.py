"""How well the compute card predicts: predicted and real seconds of several trainings.

    python -m benchmarks.studies.compute_card_accuracy

The goal is a factor of two. On a GPU it also compares the predicted memory with the peak.
"""
import time

import torch

from minidiff.course.student.compute_card import GIB, compute_card
from minidiff.data import digits
from minidiff.recipes import build_model, build_objective, get_recipe, training_batches
from minidiff.runtime.machine import machine_description
from minidiff.train import TrainState, train

TRAININGS = (("tiny", 100), ("time-none", 60), ("time-factorised", 40), ("mmnist32", 20))
UNLIMITED_BUDGET = 1e6, 1e6


def main() -> None:
    """Measure, and print or store the figures."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = digits.built_in("train", 500)
    print(machine_description(device))
    print("recipe           steps    real   predicted (ratio)    memory")
    worst = 1.0
    for name, steps in TRAININGS:
        recipe = get_recipe(name)
        state = TrainState(build_model(recipe.model).to(device), recipe.training["lr"],
                           recipe.training["ema"])
        objective = build_objective(recipe)

        def batches(recipe=recipe):
            return training_batches(recipe, source, 0, device=device)

        predicted = compute_card(state, batches(), {name: steps}, objective,
                                 UNLIMITED_BUDGET).sizes[0]
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        for _ in train(state, batches(), steps, objective):
            pass
        real = time.perf_counter() - began
        ratio = predicted.seconds / real
        worst = max(worst, ratio, 1 / ratio)
        peak = f" of {torch.cuda.max_memory_allocated() / GIB:.2f}" if device == "cuda" else ""
        print(f"{name:<16} {steps:>5} {real:>6.1f}s {predicted.seconds:>9.1f}s ({ratio:.2f}) "
              f"{predicted.bytes / GIB:>6.2f}{peak} GiB")
    print(f"worst factor {worst:.2f}, the goal is 2")


if __name__ == "__main__":
    main()
