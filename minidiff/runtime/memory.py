"""Memory: what a request needs is compared with what is free, before the work begins."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def available_memory(device: torch.device | str = "cpu") -> int | None:
    """Bytes that are free on the device, or None if the system does not tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as f:
            fields = dict(line.split(":") for line in f)
        return 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def check_memory(needed: float, what: str, advice: str, device: torch.device | str = "cpu") -> None:
    """Raises ValueError, with `what` and `advice` in the sentence, if `needed` bytes are not free.

    needed: an estimate in bytes. Where the system does not tell what is free, 64 GiB are the limit.
    """
    free = available_memory(device) or 2**36
    if needed > free:
        raise ValueError(f"{what} would need about {gibibytes(needed)} of memory, but "
                         f"{gibibytes(free)} are free; {advice}.")


def gibibytes(n: float) -> str:
    """Bytes in words: "3.2 GiB"."""
    return f"{n / 2**30:,.1f} GiB"


@contextmanager
def explain_memory_errors(advice: str) -> Iterator[None]:
    """Inside, an allocator's message becomes one sentence with advice, a ValueError."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:                # OutOfMemoryError is a RuntimeError
        if not isinstance(e, (MemoryError, torch.OutOfMemoryError)) and (
                "allocate memory" not in str(e)):
            raise
        raise ValueError(f"The memory is full; {advice}.") from e
