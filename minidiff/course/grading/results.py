"""Values and observations as bytes, for the way from one process to another: never a pickle.

A message is one line of JSON and, after it, the tensors in the safetensors format. Whoever reads a
message must not trust its writer, so `unpack_observations` checks everything.
"""
import json
from contextlib import suppress

import safetensors.torch
import torch
from torch import Tensor

from minidiff.course.checking.observation import Observation

MAX_RESULT_BYTES = 64_000_000                     # bytes that one exercise's function may return
MAX_MESSAGE_BYTES = 2 * MAX_RESULT_BYTES
MAX_VALUES, MAX_DEPTH = 200_000, 20               # values in a result, containers in containers
KINDS = {"value", "raised", "unwritten", "too long"}
DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool}                # what is stored as it is
DAMAGED = "Its result could not be read back: the message with it was damaged or forged."


class Packer:
    """Turns values into JSON. Tensors go to `tensors`, each under a number."""

    def __init__(self):
        self.tensors: dict[str, Tensor] = {}
        self.bytes = self.count = 0

    def pack(self, value: object, depth: int = 0) -> object:
        """None, numbers and strings as they are, and [kind, content] for everything else."""
        self.count += 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and self.bytes + len(value) <= MAX_RESULT_BYTES:
            self.bytes += len(value)
            return str(value)
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
            return float(value) if isinstance(value, float) else int(value)
        if isinstance(value, Tensor):
            return self.pack_tensor(value)
        if not isinstance(value, (list, tuple, dict)):
            return ["other", type(value).__name__[:100]]
        if depth > MAX_DEPTH or self.count + len(value) > MAX_VALUES:
            return ["other", f"{type(value).__name__} of {len(value)} things"]
        if isinstance(value, dict):
            return ["dict", [[self.pack(k, depth + 1), self.pack(v, depth + 1)]
                             for k, v in value.items()]]
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [self.pack(v, depth + 1) for v in value]]

    def pack_tensor(self, value: Tensor) -> list:
        """A tensor's number; only its description if it is too large or of a rare kind."""
        size = value.numel() * value.element_size()
        if value.device.type != "cpu" or value.layout != torch.strided:
            return ["other", f"tensor on {value.device}, {value.layout}"]
        if value.dtype not in DTYPES:
            return ["other", f"tensor of {value.dtype}, {tuple(value.shape)}"]
        if self.bytes + size > MAX_RESULT_BYTES:
            return ["other", f"tensor of {size / 1e6:.0f} MB, {tuple(value.shape)}"]
        self.bytes += size
        self.tensors[name := str(len(self.tensors))] = value.detach().clone().contiguous()
        return ["tensor", name]


def unpack(value: object, tensors: dict[str, Tensor]) -> object:
    """The reverse of `Packer.pack`; "other" becomes an object whose type has the right name."""
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "tensor":
        return tensors[content]
    if kind == "other":
        return type(str(content), (), {})()
    if kind == "dict":
        return {unpack(k, tensors): unpack(v, tensors) for k, v in content}
    if kind in ("list", "tuple"):
        parts = [unpack(v, tensors) for v in content]
        return parts if kind == "list" else tuple(parts)
    raise ValueError(f"There is no kind {kind!r}.")


def message(about: dict, tensors: dict[str, Tensor] | None = None) -> bytes:
    """A description (anything JSON can hold) and tensors as bytes."""
    return json.dumps(about).encode() + b"\n" + safetensors.torch.save(tensors or {})


def read_message(content: bytes) -> tuple[dict, dict[str, Tensor]]:
    """The reverse of `message`. Raises ValueError for anything else."""
    line, _, rest = content.partition(b"\n")
    with suppress(Exception):                    # whatever a forged message makes the readers raise
        about, tensors = json.loads(line), safetensors.torch.load(rest)
        if isinstance(about, dict):
            return about, tensors
    raise ValueError(DAMAGED)


def pack_observations(seen: list[Observation]) -> bytes:
    """Observations as a message."""
    packer = Packer()
    rows = [[o.kind, packer.pack(o.value), printable(o.error),
             [printable(n) for n in o.mutated_arguments], list(o.package_calls),
             packer.pack(o.gradients), bool(o.varies)] for o in seen]
    return message({"seen": rows}, packer.tensors)


def unpack_observations(about: dict, tensors: dict[str, Tensor]) -> list[Observation] | str:
    """Observations from a message, or the sentence in it that says why there are none."""
    try:
        if "unavailable" in about:
            return printable(about["unavailable"], 1000)
        seen = [Observation(kind, unpack(value, tensors), printable(error),
                            tuple(map(printable, changed)), tuple(map(printable, called)),
                            checked_gradients(unpack(gradients, tensors)), varies is True)
                for kind, value, error, changed, called, gradients, varies in about["seen"]]
        if seen and {o.kind for o in seen} <= KINDS:
            return seen
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return DAMAGED


def checked_gradients(value: object) -> tuple[Tensor | None, ...] | str:
    """Gradients that were read. Raises ValueError for anything else."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, tuple) and all(g is None or isinstance(g, Tensor) for g in value):
        return value
    raise ValueError("Gradients are tensors.")


def printable(text: str, max_length: int = 300) -> str:
    """At most `max_length` characters, all of which can be printed."""
    return "".join(c if c.isprintable() else " " for c in text[:max_length])
