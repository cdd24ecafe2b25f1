"""Models as ONNX files, which run without PyTorch (onnxruntime, browsers, phones).

    export_onnx(minidiff.load("mmnist32"), "mmnist32.onnx")

The file computes one call of the denoiser: inputs x (B, T, C, H, W), t (B,) and, if the model has
conditions, cond; output x0. The sampler's loop stays outside.
"""
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.pipeline import Pipeline
from minidiff.runtime.files import atomic_write


def export_onnx(model: Pipeline | nn.Module, path: str | Path, frames: int | None = None,
                size: int | tuple[int, int] = 32, batch: int = 2) -> Path:
    """Write a model as an ONNX file for inputs of one fixed shape; returns the path.

    model: a pipeline, whose denoiser is written, or a denoiser or network itself. frames: of a
    clip, the recipe's unless given, else 8. size: height and width, of a denoiser or network;
    a pipeline has its own. batch: clips per call.
    Raises ImportError without onnxscript, ValueError for a network whose computation depends on
    the values of its input, such as object slots.
    """
    if find_spec("onnxscript") is None or find_spec("onnx") is None:
        raise ImportError("Writing ONNX files needs more packages: "
                          "pip install minidiff[onnx].")
    module, inputs = export_inputs(model, frames, size, batch)
    names = ("x", "t", "cond")[:len(inputs)]
    with atomic_write(Path(path).expanduser()) as draft:
        torch.onnx.export(module, inputs, draft, dynamo=True, input_names=names,
                          output_names=("out",), external_data=False, verbose=False)
    return Path(path).expanduser()


def export_inputs(model: Pipeline | nn.Module, frames: int | None = None,
                  size: int | tuple[int, int] = 32,
                  batch: int = 2) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module to export and inputs of the right shapes: (x, t) or (x, t, cond).

    Arguments and errors as in `export_onnx`.
    """
    module = model.denoiser if isinstance(model, Pipeline) else model
    net = module.net if isinstance(module, Denoiser) else module
    if hasattr(net, "separator"):
        raise ValueError(f"{type(net).__name__} cannot be exported: the number of passes depends "
                         "on the words of the prompt.")
    device = next(module.parameters()).device
    if isinstance(model, Pipeline):
        shape = model.sample_shape(frames)
    else:
        height, width = (size, size) if isinstance(size, int) else size
        shape = 8 if frames is None else frames, net.in_channels, height, width
    x = torch.zeros(batch, *shape, dtype=torch.float32, device=device)
    t = torch.full((batch,), 0.5, dtype=torch.float32, device=device)
    if net.vocab_size:
        cond = torch.zeros(batch, 16, dtype=torch.long, device=device)
    elif net.classes:
        cond = torch.zeros(batch, dtype=torch.long, device=device)
    else:
        return module.eval(), (x, t)
    return module.eval(), (x, t, cond)
