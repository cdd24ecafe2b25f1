"""torchvision, also where its compiled operators cannot load.

Its wheels are built for CUDA and die beside a CPU-only torch. Data sets need none of those
operators; they only have to be known by name for the import to go through.
"""
import importlib
import sys
from types import ModuleType

import torch

# The two whose fakes are registered unasked.
SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
           "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library = None  # must outlive the import: a collected Library takes its schemas along


def import_torchvision() -> ModuleType:
    """torchvision, or ImportError where there is none.

    The names are declared only after a plain import failed for want of them.
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
