"""What several tests need: real digits, where they are."""
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """A folder with MNIST's test files: MINIDIFF_MNIST, ../shared/data/mnist or datasets/; the test is skipped without one."""
    root = Path(__file__).parents[1]
    places = [os.environ.get("MINIDIFF_MNIST"), root.parent / "shared/data/mnist", root / "datasets"]
    for place in filter(None, places):
        if any((Path(place) / sub / f"t10k-images-idx3-ubyte{end}").is_file() for sub in ("", "MNIST/raw") for end in ("", ".gz")):
            return Path(place)
    pytest.skip("no MNIST test files here; set MINIDIFF_MNIST to a folder that holds them")
