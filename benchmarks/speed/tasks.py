"""The tasks that a worker repeats: each is `(spec) -> (facts, iterate)`.

spec: side, optimisations, size, frames, batch, if a task needs them; FLOPs are counted unless
`count` is False. Facts are what does not vary from turn to turn.
"""
import platform
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.speed.flops import count_flops
from benchmarks.speed.naive_clips import naive_clips
from benchmarks.speed.peers import Action, Implementation, build, import_package
from benchmarks.speed.worker import peak_bytes
from minidiff.data import digits
from minidiff.data.moving_mnist import Clips, default_sprite, moving_mnist, resize_sprites

PreparedTask = tuple[dict, Action]
SOURCE_DIGITS = 500                                              # drawn digits, to make clips of


def example_clips(spec: dict) -> Clips:
    """One batch of clips of the specified shape."""
    return moving_mnist(digits.built_in("train", SOURCE_DIGITS), spec["batch"], size=spec["size"],
                        frames=spec["frames"])


def prepare_implementation(spec: dict) -> tuple[Implementation, Clips, dict]:
    """The implementation, clips for it, and its facts before any work."""
    torch.manual_seed(0)
    clips = example_clips(spec)
    import_package(spec["side"])
    imports = peak_bytes()
    side = build(spec["side"], spec["size"], spec["frames"], tuple(spec["optimisations"]))
    parameters = sum(p.numel() for p in side.network.parameters())
    return side, clips, dict(imports=imports, parameters=parameters, calls=side.calls,
                             threads=torch.get_num_threads(), torch=torch.__version__,
                             python=platform.python_version())


def training_task(spec: dict) -> PreparedTask:
    """Forward, backward and the optimiser's step. flops: of the former two, a clip."""
    side, clips, facts = prepare_implementation(spec)
    x, labels = clips.x, clips.labels[:, 0]
    if spec.get("count", True):
        facts["flops"] = count_flops(lambda: side.loss(x[:1], labels[:1]).backward())
        side.network.zero_grad()
    return facts, side.training_step(x, labels)


def sampling_task(spec: dict) -> PreparedTask:
    """One call of a sampler. flops: of a call, for one clip, counted in its loss."""
    side, clips, facts = prepare_implementation(spec)
    side.network.eval()
    x, labels = clips.x, clips.labels[:, 0]
    if spec.get("count", True):
        with torch.no_grad():
            once = count_flops(lambda: side.loss(x[:1], labels[:1]))
        facts["flops"] = side.passes_per_call * once
    return facts, side.sampling_step(labels)


def clips_task(spec: dict) -> PreparedTask:
    """A batch of clips, all at once."""
    source, step = digits.built_in("train", SOURCE_DIGITS), iter(range(10**9))
    return {}, lambda: moving_mnist(source, spec["batch"], size=spec["size"],
                                    frames=spec["frames"], step=next(step))


def naive_clips_task(spec: dict) -> PreparedTask:
    """As many clips, one by one; the digits were scaled beforehand."""
    source, rng = digits.built_in("train", SOURCE_DIGITS), np.random.default_rng(0)
    images = resize_sprites(source.images, default_sprite(spec["size"]))[:, 0].numpy()
    return {}, lambda: naive_clips(images, spec["batch"], rng, spec["size"], spec["frames"])


def matmul_task(spec: dict, n: int = 2048) -> PreparedTask:
    """A product of two large square matrices."""
    dtype = torch.bfloat16 if "bf16" in spec["optimisations"] else torch.float32
    a, b = torch.randn(2, n, n, dtype=dtype)
    return {"flops": 2 * n**3}, lambda: a @ b


TASKS: dict[str, Callable[[dict], PreparedTask]] = {
    "train": training_task, "sample": sampling_task, "clips": clips_task,
    "plain clips": naive_clips_task, "product": matmul_task}
