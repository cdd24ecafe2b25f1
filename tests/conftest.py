"""What several tests need: real digits, where they are."""
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """A folder with MNIST's test files; the test is skipped where there is none.

    Looked for are MINIDIFF_MNIST, ../shared/data/mnist and datasets/.
    """
    root = Path(__file__).parents[1]
    places = [os.environ.get("MINIDIFF_MNIST"), root.parent / "shared/data/mnist",
              root / "datasets"]
    for place in filter(None, places):
        file = "t10k-images-idx3-ubyte"
        ways = [sub + file + end for sub in ("", "MNIST/raw/") for end in ("", ".gz")]
        if any((Path(place) / way).is_file() for way in ways):
            return Path(place)
    pytest.skip("no MNIST test files here; set MINIDIFF_MNIST to a folder that holds them")
