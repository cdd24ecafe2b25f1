"""What a worker does over and over: each task is `(spec) -> (facts, iterate)`.

spec: side, ways, size, frames, batch, as far as a task needs them; count: FLOPs are counted unless
False. Facts are what is free of noise.
"""
import platform
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.speed.flops import flops
from benchmarks.speed.naive_clips import plain_clips
from benchmarks.speed.peers import Action, Side, build, package
from benchmarks.speed.worker import peak_bytes
from minidiff.data import digits
from minidiff.data.moving_mnist import Clips, moving_mnist, shrink, usual_sprite

Prepared = tuple[dict, Action]
SEVERAL = 500                                              # drawn digits, to make clips of


def some_clips(spec: dict) -> Clips:
    return moving_mnist(digits.built_in("train", SEVERAL), spec["batch"], size=spec["size"],
                        frames=spec["frames"])


def built(spec: dict) -> tuple[Side, Clips, dict]:
    """The side, clips for it, and what is known of it before it works."""
    torch.manual_seed(0)
    clips = some_clips(spec)
    package(spec["side"])
    imports = peak_bytes()
    side = build(spec["side"], spec["size"], spec["frames"], tuple(spec["ways"]))
    parameters = sum(p.numel() for p in side.network.parameters())
    return side, clips, dict(imports=imports, parameters=parameters, calls=side.calls,
                             threads=torch.get_num_threads(), torch=torch.__version__,
                             python=platform.python_version())


def training(spec: dict) -> Prepared:
    """Forward, backward and the optimiser's step. flops: of the former two, a clip."""
    side, clips, facts = built(spec)
    x, labels = clips.x, clips.labels[:, 0]
    if spec.get("count", True):
        facts["flops"] = flops(lambda: side.loss(x[:1], labels[:1]).backward())
        side.network.zero_grad()
    return facts, side.train(x, labels)


def sampling(spec: dict) -> Prepared:
    """One call of a sampler. flops: of a call, a clip; a loss needs as many for each it sees."""
    side, clips, facts = built(spec)
    side.network.eval()
    x, labels = clips.x, clips.labels[:, 0]
    if spec.get("count", True):
        with torch.no_grad():
            facts["flops"] = side.seen * flops(lambda: side.loss(x[:1], labels[:1]))
    return facts, side.sample(labels)


def making(spec: dict) -> Prepared:
    """A batch of clips, all at once."""
    source, step = digits.built_in("train", SEVERAL), iter(range(10**9))
    return {}, lambda: moving_mnist(source, spec["batch"], size=spec["size"],
                                    frames=spec["frames"], step=next(step))


def plain_making(spec: dict) -> Prepared:
    """As many clips one by one; its digits were made small beforehand."""
    source, rng = digits.built_in("train", SEVERAL), np.random.default_rng(0)
    images = shrink(source.images, usual_sprite(spec["size"]))[:, 0].numpy()
    return {}, lambda: plain_clips(images, spec["batch"], rng, spec["size"], spec["frames"])


def product(spec: dict, n: int = 2048) -> Prepared:
    """A product of two large square matrices."""
    dtype = torch.bfloat16 if "bf16" in spec["ways"] else torch.float32
    a, b = torch.randn(2, n, n, dtype=dtype)
    return {"flops": 2 * n**3}, lambda: a @ b


TASKS: dict[str, Callable[[dict], Prepared]] = {
    "train": training, "sample": sampling, "clips": making, "plain clips": plain_making,
    "product": product}
