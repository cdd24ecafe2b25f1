"""Rows of the baselines, and references that are shipped with them."""
from collections.abc import Iterator
from pathlib import Path

from minidiff.data.digits import load
from minidiff.evaluation.baselines import BASELINES, Studio
from minidiff.evaluation.references import (
    CHECKPOINTS,
    Reference,
    build_reference,
    reference_file_name,
    reference_for,
    save_reference,
)
from minidiff.evaluation.scoreboard import score
from minidiff.runtime.settings import none_means_default

SHIPPED_ROWS = 128                            # clips of each row that a reference holds
SHIPPED_KINDS = "real", "trivial", "defect"
SHIPPED_NAMES = "ten images", "another image in every frame", "copies"


@none_means_default
def baseline_rows(source: str | Path = "builtin", n: int = 256, seed: int = 0,
                  reference: Reference | None = None, names: list[str] | None = None,
                  other: str | Path | None = None) -> Iterator[tuple[str, dict]]:
    """The name and the row of each baseline, all unless names are given.

    other: digits of another source ("builtin", or MNIST's folder), for the baseline that needs
    them; without it that one is left out.
    """
    ref = reference or reference_for(source, 32, 8)
    setting = {k: ref.metadata[k] for k in ("size", "frames", "sprite")}
    number = ref.digits_per_clip()
    studio = Studio(load(source, "test"), n, seed, **setting, num_digits=number,
                    train=load(source, "train"),
                    other=None if other is None else load(other, "test"))
    for name, baseline in BASELINES.items():
        fits = baseline.digits in (None, number) and (other is not None or name != "other source")
        if fits and (names is None or name in names):
            yield name, score(baseline.make(studio), reference=ref, num_digits=number,
                              seeds=(seed,))


@none_means_default
def ship_reference(source: str | Path = "builtin", size: int = 32, frames: int = 8,
                   folder: str | Path = CHECKPOINTS, sprite: int | None = None,
                   num_digits: int = 1) -> Path:
    """Build a reference and write it to the folder; returns its path.

    metadata["rows"] has the rows of some baselines, by their names.
    """
    build_reference.cache_clear()                          # the digit classifier may be a new one
    ref = build_reference(source, size, frames, sprite, num_digits)
    names = [k for k, b in BASELINES.items() if b.kind in SHIPPED_KINDS or k in SHIPPED_NAMES]
    ref.metadata["rows"] = dict(baseline_rows(source, SHIPPED_ROWS, reference=ref, names=names))
    name = reference_file_name(source, size, frames, sprite, num_digits)
    return save_reference(ref, Path(folder).expanduser() / name)
