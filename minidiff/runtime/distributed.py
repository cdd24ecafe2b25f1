"""One training by several processes: each process computes its own rows of every batch.

    torchrun --nproc-per-node 4 -m minidiff train mmnist32 --out runs/mmnist32

Every process draws all random numbers of the whole batch, from the same generator, and keeps those
of its rows; gradients are averaged. So several processes take the same step as one process would,
up to the order of sums, and a training can be resumed with another number of processes. A single
process runs the same code: its rows are all rows.
"""
import os
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def init_process_group() -> None:
    """Join the other processes if torchrun started this one; otherwise do nothing."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpus else "gloo")


def destroy_process_group() -> None:
    """Wait for all processes, then leave the group."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process, of rank 0, is the one that prints and saves."""
    return rank() == 0


def shard(n: int) -> slice:
    """This process's rows of a batch of n. Raises ValueError unless all processes get as many."""
    each, rest = divmod(n, world_size())
    if rest:
        raise ValueError(f"A batch of {n} cannot be shared equally by {world_size()} processes; "
                         f"--set batch={(each + 1) * world_size()}, for example.")
    return slice(rank() * each, (rank() + 1) * each)


def sharded_draw(n: int, draw: Callable[[int], Tensor]) -> Tensor:
    """This process's n rows of `draw(number of rows)`, which is called for the whole batch."""
    whole = draw(n * world_size())
    return whole[rank() * n:(rank() + 1) * n]


def broadcast(value: float) -> float:
    """The main process's value, in every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@torch.no_grad()
def all_reduce_mean(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message."""
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1).float() for t in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    for t, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        t.copy_(mean.view(t.shape))
