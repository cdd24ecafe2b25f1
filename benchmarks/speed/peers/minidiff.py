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
    """ways: without "bf16" it computes in float32 even where bfloat16 is faster.

    A call of its sampling is guided, without autoguidance: the network sees each clip twice.
    """
    if "bf16" not in optimisations:
        precision.allow_bf16(False)
    plan = get_recipe("mmnist32")
    plan = plan._replace(clips=plan.clips | {"size": size, "frames": frames})
    run, told = TrainState(build_model(plan.model), plan.training["lr"], plan.training["ema"]), build_objective(plan)

    def loss(clips, labels):
        with autocast("cpu"):
            return told(run.model, clips, labels, generator("times and noise", 0)).mean()

    def trainer(clips, labels):
        records = train(run, repeat((clips, labels)), 10**6, told)
        return lambda: next(records)

    def sampler(labels):
        model = Pipeline(run.model, {"recipe": plan._asdict()})
        states = chain.from_iterable(
            model.run_sampler(labels, steps=10_000, autoguidance=0.0) for _ in repeat(None))
        next(states)                                                # the noise took no call
        return lambda: next(states)

    def make(labels):
        return Pipeline(run.ema.model, {"recipe": plan._asdict()})(labels=labels).tensor
    return Implementation(run.model, loss, trainer, sampler, make, (SAMPLING | plan.sampling)["steps"],
                passes_per_call=2)
