"""Digits from three sources: curves (built in), MNIST (IDX files or a download), or any sprites.

Three splits that never share an image: generators train on "train", the digit classifier and
validation use "val", references and figures use "test". MNIST's "val" and "test" are always rows
8000-8999 and 9000-9999 of its test file; "train" is the 60,000 images of the training file or, if
only the test file is there, its rows 0-7999.
"""
import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minidiff.data.strokes import LETTERS, strokes

__all__ = ["SPLITS", "Digits", "built_in", "checked_sprites", "download_mnist", "letters", "load",
           "mnist", "read_idx", "strokes"]
SPLITS = ("train", "val", "test")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4"}          # an IDX file's third byte -> type
MNIST_MD5 = {"6bbc9ace898e44ae57da46a324031adb",                # of the training images, unzipped
             "2646ac647ad5339dbf082846283269ea"}                # of the test images


class Digits(NamedTuple):
    """Sprites: images (M, C, h, w) in [0, 1], labels (M,), and a word for their source."""
    images: Tensor
    labels: Tensor
    source: str = "sprites"


def load(source: str | Path | Tensor = "builtin", split: str = "train", n: int = 20_000) -> Digits:
    """Digits of one split: "builtin", "mnist" (downloaded once) or a folder with MNIST's files.

    A tensor (M, C, h, w) in [0, 1] is a source, too: its rows are divided among the splits,
    8 : 1 : 1, with label = row. n: how many built-in digits to draw. Raises ValueError for an
    unknown split or an unusable source.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}; choose one of {', '.join(SPLITS)}.")
    if isinstance(source, Tensor):
        return split_sprites(source, split)
    if str(source) == "builtin":
        return built_in(split, n)
    return mnist(download_mnist() if str(source) == "mnist" else source, split)


def built_in(split: str = "train", n: int = 20_000) -> Digits:
    """n digits drawn from curves (`strokes`); each split has its own seed."""
    return Digits(*strokes(n, seed=1000 + SPLITS.index(split)), "builtin")


def letters(letter: str, split: str = "train", n: int = 100, label: int = 10) -> Digits:
    """n drawings of one letter of `strokes.LETTERS`, all with the same label; as `built_in`."""
    images, _ = strokes(n, seed=2000 + SPLITS.index(split), table=LETTERS[letter])
    return Digits(images, torch.full((n,), label, device="cpu"), "letters")


def split_sprites(images: Tensor, split: str) -> Digits:
    """A split's rows of any images, label = row. Raises ValueError for bad or too few images."""
    images = checked_sprites(images)
    tenth = torch.arange(len(images), device="cpu") % 10
    chosen = {"train": tenth < 8, "val": tenth == 8, "test": tenth == 9}[split]
    rows = chosen.nonzero().flatten()
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


def mnist(folder: str | Path, split: str = "train") -> Digits:
    """Real digits of one split from a folder's IDX files, gzipped or not; the test pair is enough.

    The files are in the folder or in its MNIST/raw. Their `source` is "mnist" if the images are
    MNIST's own, byte for byte, or else "idx-" and the start of their hash: Fashion-MNIST has the
    same names. Raises FileNotFoundError with what is missing, ValueError for a damaged file.
    """
    folder = Path(folder).expanduser()
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
    if not images.numel() or images.shape[1:] != (28, 28) or images.dtype != torch.uint8:
        raise ValueError(f"{paths[0]} should hold images of 28x28 pixels, "
                         f"but holds {tuple(images.shape)} of {images.dtype}; fetch it anew.")
    if labels.ndim != 1 or len(images) != len(labels) or not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{paths[0]} and {paths[1]} do not belong together: "
                         f"{tuple(images.shape)} images, {tuple(labels.shape)} labels.")
    return Digits(images[:, None].float() / 255, labels.long(), idx_source(paths[0]))


def idx_source(path: Path) -> str:
    """What the images of an IDX file are called: "mnist", or "idx-" and 8 digits of their hash."""
    found = hashlib.md5(unzipped(path), usedforsecurity=False).hexdigest()
    return "mnist" if found in MNIST_MD5 else f"idx-{found[:8]}"


def find_file(folder: Path, name: str) -> Path | None:
    """MNIST's file of this name, `x-idx3-ubyte` or `x.idx3-ubyte`, zipped or not, or None."""
    names = [n + end for n in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    places = [Path(folder) / sub / n for sub in ("", "MNIST/raw") for n in names]
    return next((p for p in places if p.is_file()), None)


def unzipped(path: Path) -> bytes:
    """The bytes of a file, gzipped or not. Raises ValueError that names a damaged file."""
    raw = Path(path).read_bytes()
    try:
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError, zlib.error) as e:
        raise ValueError(f"{path} is truncated or damaged (gzip: {e}); fetch it anew.") from None


def read_idx(path: Path) -> Tensor:
    """An IDX file of whole numbers, gzipped or not: unsigned bytes as uint8, other types as int64.

    Raises ValueError that names a damaged or foreign file.
    """
    raw = unzipped(path)
    axes = raw[3] if len(raw) > 3 else 0
    if raw[:2] != b"\0\0" or not 1 <= axes <= 4 or len(raw) < 4 + 4 * axes or (
            raw[2] not in IDX_TYPES):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes or other whole numbers; "
                         "MNIST's files begin with the bytes 00 00 08.")
    dtype = np.dtype(IDX_TYPES[raw[2]])
    shape = np.frombuffer(raw, ">u4", axes, 4).tolist()
    content = raw[4 + 4 * axes:]
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"{path} should hold {'x'.join(map(str, shape))} numbers of {dtype.itemsize} bytes but "
            f"holds {len(content)} bytes: truncated or tampered with; fetch it anew.")
    data = np.frombuffer(content, dtype).astype(np.uint8 if raw[2] == 8 else np.int64)
    return torch.from_numpy(data).view(shape)


def download_mnist(folder: Path | None = None) -> Path:
    """MNIST through torchvision, with checksums, into datasets/ (or `folder`).

    Nothing is fetched twice. Needs the extra "data". Raises RuntimeError with what to do if
    torchvision or the network is missing.
    """
    folder = Path("datasets") if folder is None else Path(folder).expanduser()
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
    except Exception as e:  # RuntimeError, URLError, OSError, ...: all mean the same here: no file
        raise RuntimeError(
            f"MNIST could not be downloaded ({e}). Check the network, or give --digits a folder "
            "with the IDX files, or --digits builtin, which needs no download.") from e
    return folder
