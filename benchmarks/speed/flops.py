"""Floating-point operations of matrix products, convolutions and attention: 2 per multiply-add.

torch's counter, completed: in torch 2.13 it knows the fused attention kernels of GPUs but counts
the kernel of CPUs as nothing. Attention that is written out is counted as matrix products.
"""
from collections.abc import Callable

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

aten = torch.ops.aten


def attention_flops(query, key, value, *_, **__) -> int:
    """Operations of fused attention, from the shapes of its inputs."""
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(grad, query, key, value, *_, **__) -> int:
    """Operations of its backward pass."""
    return sdpa_backward_flop_count(grad, query, key, value)


UNCOUNTED_OPS = {op: count for op, count in (
    (aten._scaled_dot_product_flash_attention_for_cpu, attention_flops),
    (aten._scaled_dot_product_flash_attention_for_cpu_backward, attention_backward_flops))
    if op not in flop_registry}


def count_flops(action: Callable[[], object]) -> int:
    """The operations of an action, with the backward passes inside it."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED_OPS) as counter:
        action()
    return counter.get_total_flops()
