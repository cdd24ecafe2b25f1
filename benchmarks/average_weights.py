"""The mean of the weights of trainings that went on from each other: one model, no training.

    python benchmarks/average_weights.py l/model.safetensors m/model.safetensors --out n

Such weights tend to lie in one basin of the loss, and their mean is often better than each of them
(Wortsman 2022, "Model soups", section 2). Recipe and digits are those of the file named last.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minidiff import files


def mean(these: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensor by tensor, in float32, kept in the type of the last.

    Raises ValueError unless all have the same names and shapes.
    """
    shapes = [{k: v.shape for k, v in tensors.items()} for tensors in these]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("These are weights of different networks; give files of one recipe, "
                         "trained on from each other.")
    return {k: torch.stack([tensors[k].float() for tensors in these]).mean(0).to(last.dtype)
            for k, last in these[-1].items()}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", type=Path, nargs="+", help="model.safetensors of each training")
    p.add_argument("--out", type=Path, required=True, help="a folder; model.safetensors goes there")
    args = p.parse_args()
    try:
        loaded = [files.load_tensors(path) for path in args.models]
        tensors, about = mean([tensors for tensors, _ in loaded]), loaded[-1][1]
    except (ValueError, FileNotFoundError) as e:
        p.error(str(e))
    about |= {"averaged": [files.digest(tensors) for tensors, _ in loaded]}
    args.out.mkdir(parents=True, exist_ok=True)
    print(files.save_tensors(args.out / "model.safetensors", tensors, about))


if __name__ == "__main__":
    main()
