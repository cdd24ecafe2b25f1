"""A study's model: trained, trained to its end if it was interrupted, or as it is in its folder."""
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from minidiff import pipeline
from minidiff.pipeline import Pipeline
from minidiff.recipes import Recipe
from minidiff.training.training_run import TrainingRun


def trained_model(folder: Path, recipe: Recipe, steps: Callable[[], int], seed: int,
                  source: str = "builtin") -> Pipeline:
    """The model of a folder, trained first if need be.

    steps: gives the number of steps; called only for a new training. source: the digits.
    """
    if (folder / "training.safetensors").exists():
        run = TrainingRun(folder, recipe, resume=True)
    else:
        run = TrainingRun(folder, recipe, source, steps=steps(), seed=seed)
    for _ in tqdm(run.steps(), total=run.total_steps, initial=run.state.step, desc=folder.name):
        pass
    run.close()
    return pipeline.load(folder / "model.safetensors")
