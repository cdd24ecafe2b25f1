"""When bfloat16 is used: where the hardware is made for it, unless it is switched off."""
from contextlib import nullcontext

import torch

_allowed = True


def allow_bf16(allowed: bool) -> None:
    """Switch bfloat16 off for this process, so that everything is computed in float32, or on."""
    global _allowed
    _allowed = allowed


def has_bf16(device: torch.device | str) -> bool:
    """Whether bfloat16 is allowed and faster than float32 on the device.

    It is on GPUs since Ampere, and on CPUs with instructions for it (AMX or AVX-512 BF16).
    """
    device = torch.device(device)
    if not _allowed:
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: torch.device | str):
    """A context: networks compute in bfloat16 if `has_bf16`, and in their own dtype if not."""
    device = torch.device(device)
    return torch.autocast(device.type, torch.bfloat16) if has_bf16(device) else nullcontext()
