"""Files that are whole or not there: safetensors with a description, written beside and renamed.

Nothing is ever unpickled. A file carries the sha256 of its tensors, so a damaged or altered one is
refused by name.
"""
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"   # what comes with the package


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`: it becomes `path` if the block ends well, or vanishes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb+") as draft:
            os.fsync(draft.fileno())                         # on the disk before it has the name
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def lock_folder(folder: Path) -> IO:
    """Hold a folder until the returned file is closed or the process ends.

    Raises BlockingIOError if another process holds it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    held = open(Path(folder) / ".lock", "w")  # noqa: SIM115 (held on purpose, until it is closed)
    try:
        if os.name == "nt":
            import msvcrt
            msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise BlockingIOError(f"Another process is working in {folder}. "
                              "Wait for it, or choose another --out folder.") from None
    return held


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def digest(tensors: dict[str, Tensor]) -> str:
    """The sha256 of names, types, shapes and bytes, in the order of the names."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        h.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        h.update(t.view(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return h.hexdigest()


def file_checksum(tensors: dict[str, Tensor], text: str) -> str:
    """The sha256 of tensors and description together: no part of a file changes unnoticed."""
    return hashlib.sha256((digest(tensors) + text).encode()).hexdigest()


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict) -> str:
    """Write tensors and a description (anything JSON can hold) as one safetensors file.

    Returns the tensors' sha256.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps(metadata)
    with atomic_write(path) as draft:
        save_file(tensors, draft, {"minidiff": text, "sha256": file_checksum(tensors, text)})
    return digest(tensors)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the description of a file that `save_tensors` wrote.

    Raises FileNotFoundError, or ValueError that names a file of any other kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as f:
            head = f.metadata() or {}
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as e:
        raise ValueError(f"{path} is not a whole safetensors file ({e}); "
                         "it is truncated, damaged or of another kind.") from None
    if "minidiff" not in head:
        raise ValueError(f"{path} is a safetensors file, but minidiff did not write it.")
    if file_checksum(tensors, head["minidiff"]) != head.get("sha256"):
        raise ValueError(f"{path} was altered or damaged: its sha256 is not the one written in it.")
    metadata = json.loads(head["minidiff"])
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} describes nothing: its description is no JSON object.")
    return tensors, metadata


def load_weights(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a module. Raises ValueError that names the file if they do not fit."""
    own = module.state_dict()
    wrong = sorted(k for k in own.keys() | tensors.keys()
                   if k not in own or k not in tensors or own[k].shape != tensors[k].shape)
    if wrong:
        raise ValueError(f"{path} holds another network: {len(wrong)} of its tensors do not fit, "
                         f"{wrong[0]} for one.")
    module.load_state_dict(tensors)


@torch.no_grad()
def load_into_larger(net: nn.Module, tensors: dict[str, Tensor],
                     path: Path | str = "The file") -> list[str]:
    """Copy the weights of a network into one that has more modules or more input channels.

    Tensors that are not given stay as they were initialised, and the weights of additional input
    channels are 0; so additions that start as the identity do not change the output. Returns the
    names of both kinds of tensors. Raises ValueError, which names the tensor, if one cannot fit;
    net is then unchanged.
    """
    own, new, fitted = net.state_dict(), [], {}
    if unknown := sorted(tensors.keys() - own.keys()):
        raise ValueError(f"{path} does not fit into this network: it has no tensor {unknown[0]}"
                         f"{f', nor {len(unknown) - 1} more' if unknown[1:] else ''}.")
    for name, mine in own.items():
        given = tensors.get(name)
        if given is None or given.shape != mine.shape:
            new.append(name)
        if given is not None:
            fitted[name] = given if given.shape == mine.shape else widened(net, name, mine, given)
            if fitted[name] is None:
                raise ValueError(f"{path} does not fit into this network: {name} is "
                                 f"{tuple(given.shape)} there and {tuple(mine.shape)} here, and "
                                 "only input channels may be added.")
    net.load_state_dict(own | fitted)
    return new


def widened(net: nn.Module, name: str, mine: Tensor, given: Tensor) -> Tensor | None:
    """A weight (out, in, ...) with more inputs, all of them 0 but the given ones; None: no fit.

    The given inputs are the first ones, unless the module has a method `input_positions`.
    """
    n = given.shape[1] if given.ndim > 1 else 0
    module = net.get_submodule(name.rpartition(".")[0])
    is_weight = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and mine.ndim == given.ndim
    if not is_weight or not 0 < n < mine.shape[1] or (
            mine.shape[:1] + mine.shape[2:] != given.shape[:1] + given.shape[2:]):
        return None
    larger = torch.zeros_like(mine)
    positions = module.input_positions(n) if hasattr(module, "input_positions") else slice(n)
    larger[:, positions] = given.to(larger)
    return larger
