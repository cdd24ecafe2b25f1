"""Datasets: what a training needs of its data, and clips of one's own as data.

A dataset says what its clips are (shape, conditions) and yields endless batches (x0, cond):

    dataset = clip_folder("my_gifs")                     # my_gifs/cat/1.gif, my_gifs/dog/1.gif, ...
    x0, cond = next(dataset.batches(16, seed=0))         # (16, T, C, H, W) in [-1, 1], (16,)

Anything with these attributes is a dataset; it need not inherit from `Dataset`.
"""
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from minidiff.data import media
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import (
    Clips,
    batch_numbers,
    frame_size,
    moving_mnist,
    sample_captions,
)
from minidiff.data.prompts import VOCABULARY, encode
from minidiff.runtime.seeds import generator

CONDITIONS = ("class", "text", None)                         # of Moving-MNIST's clips


@runtime_checkable
class Dataset(Protocol):
    """Clips to train on.

    shape: (T, C, H, W) of a clip. num_classes: the number of class ids if conditions are class ids
    (B,), or None. vocab_size: the number of token ids if conditions are token ids (B, L), 0 being
    no word, or None. Without both the clips have no condition.
    """
    shape: tuple[int, int, int, int]
    num_classes: int | None
    vocab_size: int | None

    def batches(self, batch: int, seed: int = 0, start: int = 0,
                device="cpu") -> Iterator[tuple[Tensor, Tensor | None]]:
        """Endless batches (x0, cond), x0 (B, T, C, H, W) floats in [-1, 1], from number start on.

        Batch k depends on (seed, k) alone, so a training can be resumed. In a worker of a
        `DataLoader` only the worker's own numbers come (`moving_mnist.batch_numbers`).
        """
        ...


class MovingMNIST:
    """Bouncing digits as a dataset.

    conditions: "class" (the first digit), "text" (token ids of a random caption) or None.
    pool: the clips of batch k are those of batch k modulo pool, each time with other captions.
    settings: as for `moving_mnist`; `size` may be a list of sizes, which batches take in turn.
    Raises ValueError for unknown conditions.
    """

    def __init__(self, digits: Digits, conditions: str | None = "class", pool: int | None = None,
                 **settings):
        if conditions not in CONDITIONS:
            raise ValueError(f"Unknown conditions {conditions!r}; choose class, text or None.")
        self.digits, self.conditions, self.pool = digits, conditions, pool
        self.sizes = batch_sizes(settings.pop("size", 32))
        self.settings = {"frames": 8} | settings
        largest = max(map(frame_size, self.sizes), key=lambda size: size[0] * size[1])
        self.shape = (self.settings["frames"], digits.images.shape[1], *largest)
        classes = 10 if digits.source != "sprites" else int(digits.labels.max()) + 1
        self.num_classes = classes if conditions == "class" else None
        self.vocab_size = len(VOCABULARY) if conditions == "text" else None

    def batches(self, batch: int, seed: int = 0, start: int = 0,
                device="cpu") -> Iterator[tuple[Tensor, Tensor | None]]:
        """Endless batches, as `Dataset.batches`."""
        for k in batch_numbers(start):
            step = k % self.pool if self.pool else k
            clips = moving_mnist(self.digits, batch, size=self.sizes[step % len(self.sizes)],
                                 seed=seed, step=step, device=device, **self.settings)
            yield clips.x, self.make_conditions(clips, seed, k)

    def make_conditions(self, clips: Clips, seed: int, step: int) -> Tensor | None:
        """The conditions of a batch: class ids (B,), token ids (B, L), or None."""
        if self.conditions == "text":
            return encode(sample_captions(clips, seed, step))
        return clips.labels[:, 0] if self.conditions == "class" else None


class ArrayClips:
    """Clips in memory as a dataset: floats (N, T, C, H, W) in [0, 1], or bytes from 0 to 255.

    labels: (N,) class ids from 0 on, of any integer type, or None for clips without a condition.
    class_names: a word for each class. Batches are drawn with replacement.
    Raises ValueError for clips that are not such, or labels that do not belong to them.
    """
    vocab_size = None

    def __init__(self, clips: Tensor | np.ndarray, labels: Tensor | Sequence[int] | None = None,
                 class_names: Sequence[str] | None = None):
        clips = torch.as_tensor(clips)
        self.clips = media.check_clips(clips / 255 if clips.dtype == torch.uint8 else clips)
        self.shape = tuple(self.clips.shape[1:])
        self.labels = None if labels is None else check_class_ids(labels, len(self.clips))
        self.class_names = None if class_names is None else [str(name) for name in class_names]
        found = 0 if self.labels is None else int(self.labels.max()) + 1
        self.num_classes = max(found, len(self.class_names or ())) or None
        if self.class_names and len(self.class_names) < found:
            raise ValueError(f"The labels go up to {found - 1}, so there must be {found} class "
                             f"names, got {len(self.class_names)}.")

    def batches(self, batch: int, seed: int = 0, start: int = 0,
                device="cpu") -> Iterator[tuple[Tensor, Tensor | None]]:
        """Endless batches, as `Dataset.batches`."""
        for k in batch_numbers(start):
            rows = torch.randint(len(self.clips), (batch,), device="cpu",
                                 generator=generator("clips of an array", seed, k))
            x = 2 * self.clips[rows].to(device) - 1                      # (B, T, C, H, W)
            yield x, None if self.labels is None else self.labels[rows].to(device)


def check_class_ids(labels: Tensor | Sequence[int], n: int) -> Tensor:
    """Labels as (n,) int64. Raises ValueError unless they are n whole numbers of at least 0."""
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (n,) or labels.is_floating_point() or labels.dtype == torch.bool or (
            labels.min() < 0):
        raise ValueError(f"labels must be {n} whole numbers from 0 on, one for each clip, "
                         f"got {tuple(labels.shape)} of {labels.dtype}.")
    return labels.long()


def clip_folder(folder: str | Path, frames: int | None = None, colour: bool = False) -> ArrayClips:
    """A folder of GIFs as a dataset: each subfolder is a class, named as it is.

    Without subfolders there are no classes. frames: keep only the first ones of each GIF; all clips
    must have equal sizes and lengths. colour: 3 channels instead of grey. Raises FileNotFoundError
    or ValueError that names the folder or the file.
    """
    folder = Path(folder).expanduser()
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".gif")
    if not paths:
        raise FileNotFoundError(f"{folder} holds no GIFs; put clips into it, or into one subfolder "
                                "for each class.")
    clips = [read_gif(p, colour)[:frames] for p in paths]
    for path, clip in zip(paths, clips):
        if clip.shape != clips[0].shape:
            raise ValueError(f"{path} is {clip_text(clip)}, but {paths[0]} is "
                             f"{clip_text(clips[0])}; clips must have equal sizes and lengths "
                             "(frames=... cuts them).")
    names = sorted({p.parent.name for p in paths if p.parent != folder})
    if names and any(p.parent == folder for p in paths):
        raise ValueError(f"{folder} holds GIFs beside its subfolders; put each into a subfolder, "
                         "which is its class, or none of them.")
    labels = [names.index(p.parent.name) for p in paths] if names else None
    return ArrayClips(torch.stack(clips), labels, names or None)


def read_gif(path: str | Path, colour: bool = False) -> Tensor:
    """One GIF as floats (T, C, H, W) in [0, 1]; a frame shown n times as long comes n times.

    Raises ValueError that names a file of another kind.
    """
    try:
        with Image.open(path) as image:
            frames = [(np.asarray(f.convert("RGB" if colour else "L")), f.info.get("duration") or 1)
                      for f in ImageSequence.Iterator(image)]
    except (OSError, ValueError) as e:
        raise ValueError(f"{path} is not a whole GIF ({e}).") from None
    shortest = min(duration for _, duration in frames)
    frames = [f for f, duration in frames for _ in range(round(duration / shortest))]
    clip = torch.from_numpy(np.stack(frames)).float() / 255              # (T, H, W) or (T, H, W, 3)
    return clip.movedim(-1, 1) if colour else clip[:, None]


def clip_text(clip: Tensor) -> str:
    """The length and size of one clip (T, C, H, W) in words."""
    return f"{len(clip)} frames of {clip.shape[-2]}x{clip.shape[-1]}"


def load_clips(path: str | Path, **settings) -> ArrayClips:
    """Clips of one's own: a folder of GIFs (`clip_folder`), or an .npy file of clips.

    Beside x.npy, x-labels.npy may hold the class ids. Raises FileNotFoundError or ValueError that
    names the file.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".npy":
        return clip_folder(path, **settings)
    labels = path.with_name(f"{path.stem}-labels.npy")
    return ArrayClips(media.read_npy(path), media.read_labels(labels) if labels.exists() else None)


def batch_sizes(size: int | Sequence) -> list:
    """The sizes that batches take in turn.

    One number, or two, (height, width), are one size; a list of anything else holds several.
    """
    if isinstance(size, Integral):
        return [size]
    sizes = list(size)
    if len(sizes) == 2 and all(isinstance(s, Integral) for s in sizes):
        return [tuple(sizes)]
    return [s if isinstance(s, Integral) else tuple(s) for s in sizes]


def check_batch(x: Tensor, cond: Tensor | None) -> None:
    """Raises ValueError for a batch that no training can use: its shape, type, range or number."""
    if not isinstance(x, Tensor) or x.ndim != 5 or not x.is_floating_point():
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"A dataset yields x0 as floats (B, T, C, H, W), got {got}.")
    low, high = (float(v) for v in x.aminmax())
    if not (low >= -1.001 and high <= 1.001):                                # false for NaN, too
        raise ValueError(f"A dataset yields x0 in [-1, 1], got {low:.4g} to {high:.4g}.")
    if cond is not None and len(cond) != len(x):
        raise ValueError(f"A dataset yields one condition for each clip, got {len(cond)} "
                         f"for {len(x)} clips.")
