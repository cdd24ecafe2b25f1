"""minidiff itself: the U-Net of `mmnist32`, trained by `train` and sampled by its pipeline."""
from itertools import chain, repeat

from benchmarks.speed.peers import Implementation
from minidiff.pipeline import SAMPLING, Pipeline
from minidiff.recipes import build_model, build_objective, get_recipe
from minidiff.runtime import precision
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.train import TrainState, train


def unet(size: int, frames: int, optimisations: tuple[str, ...]) -> Implementation:
    """Without "bf16" in optimisations it computes in float32, even if bfloat16 is faster.

    A sampling call is guided, without autoguidance: the network processes each clip twice.
    """
    if "bf16" not in optimisations:
        precision.allow_bf16(False)
    recipe = get_recipe("mmnist32")
    recipe = recipe._replace(clips=recipe.clips | {"size": size, "frames": frames})
    state = TrainState(build_model(recipe.model), recipe.training["lr"], recipe.training["ema"])
    objective = build_objective(recipe)

    def loss(clips, labels):
        with autocast("cpu"):
            g = generator("times and noise", 0)
            return objective(state.model, clips, labels, g).mean()

    def training_step(clips, labels):
        records = train(state, repeat((clips, labels)), 10**6, objective)
        return lambda: next(records)

    def sampling_step(labels):
        model = Pipeline(state.model, {"recipe": recipe._asdict()})
        states = chain.from_iterable(
            model.run_sampler(labels, steps=10_000, autoguidance=0.0) for _ in repeat(None))
        next(states)                                                # the first state is the noise
        return lambda: next(states)

    def generate(labels):
        return Pipeline(state.ema.model, {"recipe": recipe._asdict()})(labels=labels).tensor
    return Implementation(state.model, loss, training_step, sampling_step, generate,
                          (SAMPLING | recipe.sampling)["steps"], passes_per_call=2)
