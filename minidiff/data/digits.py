"""Where digits come from: curves (built in), MNIST (IDX files or a download), or any sprites.

Three splits that never share an image: generators train on "train", the recogniser and validation
use "val", references and figures use "test". MNIST's "val" and "test" are always rows 8000-8999 and
9000-9999 of its test file; "train" is the 60,000 images of the training file or, where only the
test file is there, its rows 0-7999.
"""
import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minidiff.data.strokes import strokes

__all__ = ["SPLITS", "Digits", "built_in", "checked_sprites", "download_mnist", "load", "mnist", "read_idx",
           "strokes"]
SPLITS = ("train", "val", "test")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


class Digits(NamedTuple):
    """Sprites: images (M, C, h, w) in [0, 1], labels (M,), and a word for where they come from."""
    images: Tensor
    labels: Tensor
    source: str = "sprites"


def load(source: str | Path | Tensor = "builtin", split: str = "train", n: int = 20_000) -> Digits:
    """Digits of one split: "builtin", "mnist" (downloaded once) or a folder with MNIST's files.

    A tensor (M, C, h, w) in [0, 1] stands in for digits, too: its rows are dealt out to the splits,
    8 : 1 : 1, label = row. n: how many built-in digits to draw. Raises ValueError for an unknown
    split or an unusable source.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}; choose one of {', '.join(SPLITS)}.")
    if isinstance(source, Tensor):
        return split_sprites(source, split)
    if str(source) == "builtin":
        return built_in(split, n)
    return mnist(download_mnist() if str(source) == "mnist" else Path(source), split)


def built_in(split: str = "train", n: int = 20_000) -> Digits:
    """n digits drawn from curves; each split has seeds of its own."""
    return Digits(*strokes(n, seed=1000 + SPLITS.index(split)), "builtin")


def split_sprites(images: Tensor, split: str) -> Digits:
    """A split's rows of any images, label = row. Raises ValueError for unfit or too few ones."""
    images = checked_sprites(images)
    tenth = torch.arange(len(images)) % 10
    rows = {"train": tenth < 8, "val": tenth == 8, "test": tenth == 9}[split].nonzero().flatten()
    if not len(rows):
        raise ValueError(f"{len(images)} sprites are too few to leave any for the {split} split; "
                         "give at least 10.")
    return Digits(images[rows], rows, "sprites")


def checked_sprites(images: Tensor) -> Tensor:
    """images as float32, or a ValueError unless it is (M, C, h, w), finite and in [0, 1]."""
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError("Sprites must be a float tensor (M, C, h, w), "
                         f"got {tuple(images.shape)} of {images.dtype}.")
    if not images.isfinite().all() or images.min() < 0 or images.max() > 1:
        raise ValueError("Sprites must be finite and between 0 (background) and 1 (ink).")
    return images.float()


def mnist(folder: Path, split: str = "train") -> Digits:
    """Real digits of one split from a folder's IDX files, gzipped or not; the test pair is enough.

    They lie in the folder or in its MNIST/raw. Raises FileNotFoundError with what is missing,
    ValueError for a damaged file.
    """
    if split == "train" and find_file(folder, f"train-{IMAGES}"):
        return load_idx_pair(folder, "train")
    images, labels, source = load_idx_pair(folder, "t10k")
    if len(images) != 10_000:
        raise ValueError(f"{folder}: MNIST's test file has 10,000 digits, "
                         f"this one has {len(images)}; fetch it anew.")
    rows = {"train": slice(0, 8000), "val": slice(8000, 9000), "test": slice(9000, 10_000)}[split]
    return Digits(images[rows], labels[rows], source)


def load_idx_pair(folder: Path, kind: str) -> Digits:
    """One of MNIST's two pairs of files; kind "train" or "t10k". Raises as `mnist`."""
    paths = [find_file(folder, f"{kind}-{name}") for name in (IMAGES, LABELS)]
    if None in paths:
        raise FileNotFoundError(
            f"{folder} does not hold {kind}-{IMAGES} and {kind}-{LABELS} (with or without .gz). "
            "Give a folder that does, or use the built-in digits, which need no files.")
    images, labels = (read_idx(p) for p in paths)
    if not images.numel() or images.shape[1:] != (28, 28):
        raise ValueError(f"{paths[0]} should hold images of 28x28 pixels, "
                         f"but holds {tuple(images.shape)}; fetch it anew.")
    if labels.ndim != 1 or len(images) != len(labels) or labels.max() > 9:
        raise ValueError(f"{paths[0]} and {paths[1]} do not belong together: "
                         f"{images.shape} images, {labels.shape} labels.")
    return Digits(images[:, None].float() / 255, labels.long(), "mnist")


def find_file(folder: Path, name: str) -> Path | None:
    places = [Path(folder) / sub / (name + end) for sub in ("", "MNIST/raw") for end in ("", ".gz")]
    return next((p for p in places if p.is_file()), None)


def read_idx(path: Path) -> Tensor:
    """An IDX file of unsigned bytes, gzipped or not, as a uint8 tensor.

    Raises ValueError that names a damaged or foreign file.
    """
    raw = Path(path).read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError, zlib.error) as e:
        raise ValueError(f"{path} is truncated or damaged (gzip: {e}); fetch it anew.") from None
    axes = raw[3] if len(raw) > 3 else 0
    if raw[:3] != b"\x00\x00\x08" or not 1 <= axes <= 4 or len(raw) < 4 + 4 * axes:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes; "
                         "MNIST's files begin with the bytes 00 00 08.")
    shape = np.frombuffer(raw, ">u4", axes, 4).tolist()
    data = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if data.size != math.prod(shape):
        raise ValueError(
            f"{path} should hold {'x'.join(map(str, shape))} bytes but holds {data.size}: "
            "truncated or tampered with; fetch it anew.")
    return torch.from_numpy(data.copy()).view(shape)


def download_mnist(folder: Path | None = None) -> Path:
    """MNIST through torchvision, with checksums, into datasets/ (or `folder`).

    Nothing is fetched twice. Needs the extra "data". Raises RuntimeError with what to do where
    torchvision or the network is missing.
    """
    folder = Path("datasets") if folder is None else Path(folder)
    needed = [f"{kind}-{name}" for kind in ("train", "t10k") for name in (IMAGES, LABELS)]
    if all(find_file(folder, name) for name in needed):
        return folder
    from minidiff.data.torchvision_compat import import_torchvision
    try:
        datasets = import_torchvision().datasets
        for train in (True, False):
            datasets.MNIST(folder, train=train, download=True)
    except ImportError as e:
        raise RuntimeError(
            f"Downloading MNIST needs torchvision ({e}): pip install 'minidiff[data]', or give "
            "--digits a folder with the IDX files, or --digits builtin, which needs no download."
        ) from e
    except Exception as e:  # RuntimeError, URLError, OSError, ...: to us all one thing, no file
        raise RuntimeError(
            f"MNIST could not be downloaded ({e}). Check the network, or give --digits a folder "
            "with the IDX files, or --digits builtin, which needs no download.") from e
    return folder
