"""Import torchvision even when its compiled ops cannot load (CUDA wheel beside CPU torch).

    from tvcompat import import_torchvision
    tv = import_torchvision()
"""
import importlib
import importlib.util
import sys

_SCHEMAS = (  # the two ops whose fakes torchvision registers without asking _has_ops()
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lib = None  # must outlive the process: a collected Library removes its schemas


def import_torchvision():
    """torchvision, or ImportError. The shim is used only after a plain import failed on nms."""
    global _lib
    if "torchvision" in sys.modules:
        return sys.modules["torchvision"]
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as e:
        if "torchvision::" not in str(e) or "does not exist" not in str(e):
            raise
    for m in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
        del sys.modules[m]
    import torch
    _lib = torch.library.Library("torchvision", "FRAGMENT")
    for s in _SCHEMAS:
        _lib.define(s)
    return importlib.import_module("torchvision")
