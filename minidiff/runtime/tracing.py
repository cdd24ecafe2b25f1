"""Whether a check may look at a tensor's values: tracers and vmap have shapes only."""
import torch
from torch import Tensor, nn


def values_can_be_checked(x: Tensor) -> bool:
    """Whether x is a plain tensor on the CPU, outside compile, export, trace and vmap.

    Elsewhere a look at its values would stop the tracer or make the device wait.
    """
    return (x.device.type == "cpu"
            and type(x) in (Tensor, nn.Parameter)                              # no fake tensor
            and not torch.compiler.is_compiling()                              # compile, export
            and not torch.jit.is_tracing()
            and not torch._C._functorch.is_functorch_wrapped_tensor(x))       # vmap, grad
