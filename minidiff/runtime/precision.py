"""Where bfloat16 is worth using, and how it is switched on."""
from contextlib import nullcontext

import torch


def has_bf16(device: torch.device | str) -> bool:
    """Whether bfloat16 beats float32 there: GPUs since Ampere, CPUs with instructions for it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: torch.device | str):
    """A context where networks compute in bfloat16 if `has_bf16`, and as they are if not."""
    device = torch.device(device)
    return torch.autocast(device.type, torch.bfloat16) if has_bf16(device) else nullcontext()
