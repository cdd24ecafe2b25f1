"""Whether the values of a tensor may be read in Python, or only its shape and type."""
import torch
from torch import Tensor
from torch._subclasses import FakeTensor


def values_can_be_checked(x: Tensor) -> bool:
    """True for a real CPU tensor; False while a compiler, an export or torch.func traces.

    Traced tensors have no values that an `if` could read. On other devices the check would wait.
    """
    if torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return False
    wrapped = isinstance(x, FakeTensor) or torch._C._functorch.is_functorch_wrapped_tensor(x)
    return x.device.type == "cpu" and not wrapped
