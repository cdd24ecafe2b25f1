"""Which way to compute attention is faster, and does `layers.attention` choose it?

    python -m benchmarks.speed.attention [--threads 1 2] [--repeats 9] [--tokens 8 64 ...] [--mask]

Prints, for each number of tokens, dtype and kind of call, the median time of torch's fused kernel,
of the written formula and of the chosen one, measured in turns of changing order, and how much
slower the chosen one is than the faster (aim: at most 10 %). The thresholds in `layers.FUSED_FROM`
come from this table. On a busy machine times differ by more than 10 %: run it twice.
"""
import argparse
import time
from collections.abc import Callable
from itertools import product
from random import Random
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.layers import attention, cpu_has_bf16, fused_attention, written_attention
from minidiff.runtime.machine import processor_name

WAYS = {"fused": fused_attention, "written": written_attention, "chosen": attention}
TOKENS = (8, 64, 256, 512, 2048)
HEADS, HEAD_DIM, TOTAL_TOKENS = 3, 32, 4096          # rows: as many as make up TOTAL_TOKENS


class Case(NamedTuple):
    """One line of the table."""
    tokens: int
    dtype: torch.dtype
    backward: bool
    mask: bool


def prepare(case: Case) -> Callable[[Callable], None]:
    """A function that runs one way of attention once on the case's tensors."""
    g = torch.Generator().manual_seed(0)
    rows = max(1, TOTAL_TOKENS // case.tokens)
    shape = rows, case.tokens, 3, HEADS, HEAD_DIM
    qkv = torch.randn(shape, generator=g, dtype=torch.float32, device="cpu").to(case.dtype)
    qkv.requires_grad_(case.backward)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)                     # (rows, heads, L, d) each
    weights = torch.ones_like(q, requires_grad=False)
    square = torch.ones(case.tokens, case.tokens, dtype=torch.bool, device="cpu")
    mask = square.tril() if case.mask else None

    def call(way: Callable[..., Tensor]) -> None:
        with torch.set_grad_enabled(case.backward):
            out = way(q, k, v, mask)
        if case.backward:
            torch.autograd.grad(out, (q, k, v), weights)
    return call


def time_case(case: Case, repeats: int) -> dict[str, float]:
    """The median seconds of each way, in turns of changing order, after a call to warm up."""
    call, seconds = prepare(case), {name: [] for name in WAYS}
    for turn in range(repeats + 1):
        for name in Random(turn).sample(list(WAYS), len(WAYS)):      # the order changes every turn
            began = time.perf_counter()
            call(WAYS[name])
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(times) for name, times in seconds.items()}


def print_table(threads: int, cases: list[Case], repeats: int) -> None:
    """Time all cases with so many threads, and print them."""
    torch.set_num_threads(threads)
    print(f"{threads} thread(s)\ntokens dtype     call               fused   written    chosen  ms"
          "   chosen / faster")
    for case in cases:
        times = time_case(case, repeats)
        faster = min(times["fused"], times["written"])
        call = ("forward + backward" if case.backward else "forward") + (" m" if case.mask else "")
        print(f"{case.tokens:6d} {str(case.dtype).removeprefix('torch.'):9s} {call:16.16s}"
              + "".join(f"{1e3 * times[name]:10.2f}" for name in WAYS)
              + f"      {times['chosen'] / faster:.2f}", flush=True)


def main() -> None:
    """Reads the command line and prints a table for each number of threads."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    p.add_argument("--repeats", type=int, default=15)
    p.add_argument("--mask", action="store_true", help="with a causal mask")
    args = p.parse_args()
    print(f"{processor_name()}, torch {torch.__version__}, "
          f"bf16 instructions: {'yes' if cpu_has_bf16() else 'no'}")
    cases = [Case(*values) for values in product(
        args.tokens, (torch.bfloat16, torch.float32), (False, True), (args.mask,))]
    for threads in args.threads:
        print_table(threads, cases, args.repeats)


if __name__ == "__main__":
    main()
