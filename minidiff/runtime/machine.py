"""The machine that a result was computed on, in words."""
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
