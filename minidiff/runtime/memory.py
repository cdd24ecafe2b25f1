"""Memory: what a request needs is compared with what the machine has, before the work begins."""
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def total_bytes(device: torch.device | str = "cpu") -> int | None:
    """The memory of a device in bytes, or None if the system does not tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):                       # Windows has no sysconf
        return None


def check_memory(needed: int, what: str, advice: str, device: torch.device | str = "cpu") -> None:
    """Raises ValueError, with `what` and `advice` in the sentence, if `needed` bytes are too many.

    needed: an estimate in bytes. Without knowledge of the machine, 64 GiB are the limit.
    """
    limit = total_bytes(device) or 2**36
    if needed > limit:
        raise ValueError(f"{what} would need about {format_bytes(needed)} of memory, but there are "
                         f"{format_bytes(limit)}; {advice}.")


def format_bytes(n: int) -> str:
    """Bytes in words: "3.2 GB"."""
    return f"{n / 1e9:,.0f} GB" if n >= 1e10 else f"{n / 1e9:.1f} GB"


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
