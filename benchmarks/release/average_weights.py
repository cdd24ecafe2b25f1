"""The mean of the weights of several trainings: one model, without more training.

    python -m benchmarks.release.average_weights l/model.safetensors m/model.safetensors --out n

Each training but the first began with the weights of the one before. Such weights tend to lie in
one basin of the loss, and their mean is often better than each of them (Wortsman 2022, "Model
soups", section 2). Recipe and digits are those of the file named last.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from minidiff import pipeline
from minidiff.runtime import files
from minidiff.runtime.old_files import with_new_names


def read_model(path: Path) -> tuple[dict[str, Tensor], dict, str]:
    """A model's tensors and description under today's names, and the sha256 of the file's tensors.

    Raises ValueError or FileNotFoundError as `load` does.
    """
    pipeline.load(path)
    tensors, metadata = files.load_tensors(path)
    return *with_new_names(tensors, metadata), files.digest(tensors)


def average_tensors(models: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor over the models: in float32, stored in the type of the last."""
    return {k: torch.stack([tensors[k].float() for tensors in models]).mean(0).to(last.dtype)
            for k, last in models[-1].items()}


def main() -> None:
    """Read the models, check that they are of one network, and store their mean."""
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", type=Path, nargs="+", help="model.safetensors of each training")
    p.add_argument("--out", type=Path, required=True, help="a folder; model.safetensors goes there")
    args = p.parse_args()
    try:
        models, descriptions, sums = zip(*map(read_model, args.models), strict=True)
    except (ValueError, FileNotFoundError) as e:
        p.error(str(e))
    *others, metadata = descriptions
    if any(other["recipe"]["model"] != metadata["recipe"]["model"] for other in others):
        p.error("These are different networks; give trainings that went on from each other.")
    metadata |= {"averaged": list(sums)}
    args.out.mkdir(parents=True, exist_ok=True)
    print(files.save_tensors(args.out / "model.safetensors", average_tensors(models), metadata))


if __name__ == "__main__":
    main()
