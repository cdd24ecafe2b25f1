"""The machine that a result was computed on, in words, and how much memory it has left."""
import platform
from datetime import date
from pathlib import Path

import torch


def processor_name() -> str:
    """The processor's name, or its architecture if the system does not tell the name."""
    name = torch.cpu.get_capabilities().get("cpu_name")
    if name:
        return name
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def device_name(device: torch.device | str = "cpu") -> str:
    """The name of the GPU, or of the processor with the number of threads that torch uses."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def machine_description(device: torch.device | str = "cpu") -> str:
    """One line on when and where a result was computed: date, device, threads, versions."""
    return (f"{date.today()}, {device_name(device)}, "
            f"Python {platform.python_version()}, torch {torch.__version__}")


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
    """Raise MemoryError, before anything is made, if `needed` bytes are not free on the device."""
    free = available_memory(device)
    if free is not None and needed > free:
        raise MemoryError(f"{what} needs about {needed / 2**30:,.1f} GiB of memory, "
                          f"{free / 2**30:,.1f} GiB are free here; {advice}.")
