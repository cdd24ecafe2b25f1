"""Imports torchvision even if its compiled operators cannot be loaded.

Its wheels are built for CUDA and fail beside a CPU-only torch. Data sets need none of these
operators, but the import fails unless torch knows their names.
"""
import importlib
import sys
from types import ModuleType

import torch

# The operators whose names torchvision needs when it is imported.
SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
           "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library = None  # kept: when a Library is garbage-collected, its schemas are removed


def import_torchvision() -> ModuleType:
    """torchvision. Raises ImportError if it is not installed.

    The names are declared only if a plain import fails because they are missing.
    """
    global library
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as e:
        if "torchvision::" not in str(e) or "does not exist" not in str(e):
            raise
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    return importlib.import_module("torchvision")
