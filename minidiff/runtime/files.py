"""Files that are whole or not there: safetensors with a description, written beside and renamed.

Nothing is ever unpickled. A file carries the sha256 of its tensors, so a damaged or altered one is
refused by name.
"""
import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from minidiff.runtime.folders import make_folder

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"   # the weights that come with the package
COMPILED = "_orig_mod."                 # what torch.compile puts before the names of a network


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`: it becomes `path` if the block ends well, or vanishes.

    Raises OSError that names `path` if the disk is full or the system refuses.
    """
    path = Path(path).expanduser()
    draft = None
    try:
        make_folder(path.parent)
        draft = new_draft(path)
        yield draft
        with open(draft, "rb+") as f:
            os.fsync(f.fileno())                             # on the disk before it has the name
        os.chmod(draft, 0o644)
        replace_file(draft, path)
    except BaseException as e:
        if draft is not None:
            draft.unlink(missing_ok=True)
        own = (None, str(draft), str(path))
        if isinstance(e, OSError) and e.strerror and (draft is None or e.filename in own):
            raise write_error(path, e) from e
        raise


def new_draft(path: Path) -> Path:
    """An empty file beside `path` with a hidden name of its own: `.NAME-RANDOM.SUFFIX`."""
    with suppress(FileNotFoundError):
        os.lstat(path)                          # raises OSError if the name is too long
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-"[:100], suffix=path.suffix[:100],
                                    dir=path.parent)
    os.close(handle)
    return Path(name)


def write_error(path: Path, cause: OSError) -> OSError:
    """The error of a file that could not be written: one sentence, of the cause's own kind."""
    error = type(cause)(f"{path} could not be written: {cause.strerror}.")
    error.errno = cause.errno
    return error


def replace_file(draft: Path, path: Path, pauses=(0.05, 0.1, 0.2, 0.4, 0.8)) -> None:
    """Give the draft its name. Windows refuses while somebody reads the old file: try again."""
    for pause in pauses:
        try:
            os.replace(draft, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(draft, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
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

    Returns the tensors' sha256. Raises OSError that names the file if it cannot be written.
    """
    path = Path(path).expanduser()
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps(metadata)
    facts = {"minidiff": text, "sha256": file_checksum(tensors, text)}
    with atomic_write(path) as draft:
        try:
            save_file(tensors, draft, facts)
        except SafetensorError as e:                     # in truth an OSError, such as a full disk
            full = "os error 28" in str(e)
            raise OSError(errno.ENOSPC if full else errno.EIO,
                          os.strerror(errno.ENOSPC) if full else str(e)) from e
    return digest(tensors)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the description of a file that `save_tensors` wrote.

    The tensors are copies: the file is closed afterwards and may be replaced. Raises
    FileNotFoundError, or ValueError that names a file of any other kind.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, "pt") as f:
            head = f.metadata() or {}
            tensors = {k: f.get_tensor(k).clone() for k in f.keys()}  # noqa: SIM118 (no dict)
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


def module_weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights by name, without the prefixes that torch.compile adds to names."""
    return {k.replace(COMPILED, ""): v for k, v in module.state_dict().items()}


def load_weights(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy weights into a module; either may come from a compiled network.

    Raises ValueError that names the file if they do not fit.
    """
    names = {k.replace(COMPILED, ""): k for k in module.state_dict()}
    own = module_weights(module)
    tensors = {k.replace(COMPILED, ""): v for k, v in tensors.items()}
    wrong = sorted(k for k in own.keys() | tensors.keys()
                   if k not in own or k not in tensors or own[k].shape != tensors[k].shape)
    if wrong:
        raise ValueError(f"{path} holds another network: {len(wrong)} of its tensors do not fit, "
                         f"{wrong[0]} for one.")
    module.load_state_dict({names[k]: v for k, v in tensors.items()})


@torch.no_grad()
def load_into_larger(net: nn.Module, tensors: dict[str, Tensor],
                     path: Path | str = "The file") -> list[str]:
    """Copy the weights of a network into one that has more modules or more input channels.

    Tensors that are not given stay as they were initialised, and the weights of additional input
    channels are 0; so additions that start as the identity do not change the output. Returns the
    names of both kinds of tensors. Raises ValueError, which names the tensor, if one cannot fit;
    net is then unchanged.
    """
    own, new, fitted = module_weights(net), [], {}
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
    load_weights(net, own | fitted, Path(path))
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
