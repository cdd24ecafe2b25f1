"""The mean of the weights of trainings that went on from each other: one model, no training.

    python -m benchmarks.release.average_weights l/model.safetensors m/model.safetensors --out n

Such weights tend to lie in one basin of the loss, and their mean is often better than each of them
(Wortsman 2022, "Model soups", section 2). Recipe and digits are those of the file named last.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minidiff import pipeline
from minidiff.runtime import files


def read_model(path: Path) -> tuple[dict[str, Tensor], dict]:
    """A model's tensors and description. Raises ValueError or FileNotFoundError as `load` does."""
    pipeline.load(path)
    return files.load_tensors(path)


def average_tensors(these: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensor by tensor of the same name and shape: in float32, kept in the type of the last."""
    return {k: torch.stack([tensors[k].float() for tensors in these]).mean(0).to(last.dtype)
            for k, last in these[-1].items()}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", type=Path, nargs="+", help="model.safetensors of each training")
    p.add_argument("--out", type=Path, required=True, help="a folder; model.safetensors goes there")
    args = p.parse_args()
    try:
        these, abouts = zip(*map(read_model, args.models), strict=True)
    except (ValueError, FileNotFoundError) as e:
        p.error(str(e))
    *others, about = abouts
    if any(other["recipe"]["model"] != about["recipe"]["model"] for other in others):
        p.error("These are different networks; give trainings that went on from each other.")
    about |= {"averaged": [files.digest(tensors) for tensors in these]}
    args.out.mkdir(parents=True, exist_ok=True)
    print(files.save_tensors(args.out / "model.safetensors", average_tensors(these), about))


if __name__ == "__main__":
    main()
