"""Several adapters at once: files that were trained apart, on the same base, make one model.

    model = combined(["letter-a", "style-strokes"], weights=[1, 0.7])

Each change of a weight counts as much as its adapter's weight; the new classes follow the base's
in the order of the adapters. A merged network (`AdaptedUNet.merged`) computes the same.
"""
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minidiff.pipeline import Pipeline, base_weights, checkpoint_path
from minidiff.recipes import Recipe, build_model
from minidiff.runtime import files
from minidiff.runtime.checks import check, list_of, number

ANY_WEIGHT = number(-100, 100)


def combined(names: Sequence[str | Path], weights: Sequence[float] | None = None,
             device="cpu") -> Pipeline:
    """One model of a base and several adapters: checkpoints by name, or files.

    weights: how much of each adapter counts, 1 unless given; below 0 it is taken away. Raises
    ValueError for anything that is no adapter, for adapters of different bases or ranks, for two of
    one name, and for two that teach one new class; and as `load`.
    """
    if not names:
        raise ValueError("Give one adapter or more.")
    weights = [1.0] * len(names) if weights is None else list(weights)
    check("weights", weights, list_of(ANY_WEIGHT, len(names), len(names)))
    found = [read_adapter(name) for name in names]
    recipe = joint_recipe([Recipe(**metadata["recipe"]) for _, metadata in found])
    with torch.random.fork_rng(devices=[]):                      # the first weights are not used
        denoiser = build_model(recipe.model)
    tensors = base_weights(recipe, denoiser.net, same_base(found))
    for own, _ in found:
        tensors |= own
    files.load_weights(denoiser, tensors, checkpoint_path(names[0]))
    denoiser.net.weights = dict(zip(denoiser.net.weights, map(float, weights), strict=True))
    metadata = found[0][1] | {"recipe": recipe._asdict()}
    denoiser = denoiser.to(device, torch.float32, memory_format=torch.channels_last)
    return Pipeline(denoiser.requires_grad_(False), metadata)


def read_adapter(name: str | Path) -> tuple[dict[str, Tensor], dict]:
    """An adapter's tensors and metadata. Raises ValueError for another kind of model."""
    tensors, metadata = files.load_tensors(checkpoint_path(name))
    if metadata.get("recipe", {}).get("model", {}).get("network") != "lora":
        raise ValueError(f"{name} is no adapter; letter-a and style-strokes are.")
    return tensors, metadata


def same_base(found: list[tuple[dict, dict]]) -> str:
    """The sha256 of the base of all adapters. ValueError if they have different ones."""
    bases = {metadata["base"] for _, metadata in found}
    if len(bases) > 1:
        raise ValueError("The adapters were made for different bases: "
                         + ", ".join(f"{Recipe(**m['recipe']).name} for {m['base'][:8]}"
                                     for _, m in found) + ". Combine those of one base.")
    return bases.pop()


def joint_recipe(recipes: list[Recipe]) -> Recipe:
    """The first recipe with the adapters and new classes of all. ValueError if they clash."""
    adapters = [pair for r in recipes for pair in r.model["net"]["adapters"].items()]
    if len({name for name, _ in adapters}) < len(adapters):
        raise ValueError("Two of the adapters have one name: "
                         f"{', '.join(name for name, _ in adapters)}. Give each only once.")
    if len(ranks := {r.model["net"]["rank"] for r in recipes}) > 1:
        raise ValueError(f"The adapters have the ranks {', '.join(map(str, sorted(ranks)))}; only "
                         "those of one rank can be combined.")
    num_new = [sum(r.model["net"]["adapters"].values()) for r in recipes]
    old = recipes[0].class_names[:recipes[0].classes - num_new[0]]
    names = [name for r in recipes for name in r.class_names[len(old):]]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"Two of the adapters teach the class {twice.pop()!r}; leave one out.")
    net = recipes[0].model["net"] | {"adapters": dict(adapters), "classes": len(old) + len(names)}
    return recipes[0]._replace(model=recipes[0].model | {"net": net},
                               clips=recipes[0].clips | {"class_names": [*old, *names]})
