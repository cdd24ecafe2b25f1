"""What a training costs on this machine, known before it begins: time, memory and disk space."""
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from minidiff.data import digits
from minidiff.data.batches import Dataset
from minidiff.pipeline import load_recipe_vae
from minidiff.recipes import (
    Recipe,
    Training,
    build_model,
    build_training,
    frame_sizes,
    full_size_dataset,
    training_batches,
)
from minidiff.runtime.distributed import world_size
from minidiff.runtime.memory import check_memory
from minidiff.runtime.muon import Muon
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.train import Record, TrainState, median_duration, train
from minidiff.vae import VAE


class Cost(NamedTuple):
    """Seconds and bytes of a training step on one machine; the bytes of torch itself are left out.

    parameters: the number of the model's parameters.
    """
    seconds: float
    bytes: int
    parameters: int

    def minutes(self, steps: int) -> float:
        """The minutes that so many steps take."""
        return self.seconds * steps / 60


def measure_recipe_cost(recipe: Recipe, device="cpu", steps: int = 3) -> Cost:
    """The cost of a recipe's training step, measured by `steps` steps after one to warm up."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        training = build_training(recipe, device)
    few = digits.built_in("train", 100)
    sizes = frame_sizes(recipe)                                # the first batch is the largest
    batches = training_batches(recipe, few, 0, len(sizes) - 1, device,
                               load_recipe_vae(recipe, device))
    return measure_step_cost(training.state, batches, training.loop, max(steps, len(sizes)),
                             mixed_sizes=len(sizes) > 1)


def measure_step_cost(state: TrainState, batches: Iterable[tuple],
                      loop: Callable[..., Iterator[Record]] = train, steps: int = 3,
                      mixed_sizes: bool = False) -> Cost:
    """The cost of one training step. It trains `state` for 1 + `steps` steps: give it a copy.

    loop: `train`, or another generator with its arguments.
    mixed_sizes: batches differ in size, so the mean duration counts and not the median.
    The memory is counted, not measured: weights, gradients, averages and momenta, and what the
    forward pass keeps for the backward pass. Raises ValueError if there are not 1 + `steps`
    batches.
    """
    start, kept = state.step, SavedTensors()
    records = loop(state, batches, start + steps + 1)
    try:
        with kept:
            next(records)                                                # the one to warm up
        seconds = mean_duration(records) if mixed_sizes else median_duration(records, warm_up=0)
    except ValueError as e:
        if state.step < start + 2:
            raise ValueError("A step's cost needs at least two batches: one to warm up, "
                             f"one to time ({e})") from None
        raise
    weights = list(state.model.parameters())
    states = [v for _, _, s in state.optimizer_states() for v in s.values() if torch.is_tensor(v)]
    size = sum(v.numel() * v.element_size() for v in [*weights, *weights, *weights, *states])
    return Cost(seconds, size + kept.bytes(), sum(p.numel() for p in weights))


def mean_duration(steps: Iterable) -> float:
    """The mean time of an iterable's items in seconds."""
    began, count = time.perf_counter(), 0
    for _ in steps:
        count += 1
    return (time.perf_counter() - began) / count


class SavedTensors:
    """A context that counts the bytes which the forward pass keeps for the backward pass."""

    def __init__(self):
        self.sizes = {}                                                 # address -> bytes
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.count, lambda x: x)

    def count(self, x: torch.Tensor) -> torch.Tensor:
        """Note a saved tensor's storage; views of one storage count once."""
        storage = x.untyped_storage()
        self.sizes[storage.data_ptr()] = storage.nbytes()
        return x

    def bytes(self, apart_from: Iterable[torch.Tensor] = ()) -> int:
        """All bytes seen, without those of the tensors `apart_from`."""
        known = {x.untyped_storage().data_ptr() for x in apart_from}
        return sum(size for address, size in self.sizes.items() if address not in known)

    def __enter__(self) -> "SavedTensors":
        self.hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.hooks.__exit__(*error)


def check_parameters(recipe: Recipe, device="cpu") -> None:
    """Raises ValueError if the recipe's model is too large to be trained here.

    The model is built without memory (on torch's meta device): its weights, gradients, averages
    and two momenta are counted, four bytes each. Narrow and shallow models are not looked at: they
    fit everywhere, and torch takes seconds to load what the meta device needs.
    """
    if widest(recipe.model["net"]) <= 512:
        return
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_model(recipe.model).parameters())
    check_memory(20 * parameters, f"A model of {parameters:,} parameters",
                 "choose smaller channels or dim", device)


def widest(settings: dict) -> int:
    """The largest whole number among a network's settings."""
    values = [v if isinstance(v, list) else [v] for v in settings.values()]
    return max((v for row in values for v in row if isinstance(v, int)), default=0)


def check_batch_memory(recipe: Recipe, training: Training, dataset: Dataset, vae: VAE | None,
                       device="cpu") -> None:
    """Raises ValueError if a training step of the recipe needs more memory than is free here.

    One forward pass of a single clip of the largest size counts the bytes of each clip. So a
    recipe whose network cannot take its clips fails here, too, before anything is written.
    """
    rows = recipe.training["batch"] // world_size()
    one = recipe._replace(training=recipe.training | {"batch": world_size()})
    largest = full_size_dataset(one, dataset)
    x0, cond = next(training_batches(one, largest, 0, 0, device, vae))
    kept = SavedTensors()
    with kept, autocast(device):
        training.objective(training.state.model, x0, cond, generator("memory", 0, device=device))
    each = kept.bytes(apart_from=training.state.model.parameters())
    check_memory(rows * each, f"A step with a batch of {rows:,} clips", "choose a smaller batch",
                 device)


def disk_space(state: TrainState) -> tuple[int, int]:
    """The sizes in bytes of (training.safetensors, model.safetensors) for this state."""
    sizes = [part_sizes(part) for part in (state, *state.parts().values())]
    return sum(size for size, _ in sizes), sizes[0][1]


def part_sizes(state: TrainState) -> tuple[int, int]:
    """Bytes of one part of a state, and of its averaged weights in half precision."""
    model = sum(v.numel() * v.element_size() for v in state.model.state_dict().values())
    momenta = sum((1 if isinstance(o, Muon) else 2) * p.numel() * p.element_size()
                  for o in state.optimizers for g in o.param_groups for p in g["params"])
    header = 200 * (4 * len(state.model.state_dict()) + 20)
    return 2 * model + momenta + header, model // 2 + header
