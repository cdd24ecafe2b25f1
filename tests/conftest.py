"""What several tests need: real digits, where they are."""
import os
from functools import lru_cache
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """MNIST's test files: in MINIDIFF_MNIST or datasets/. The test is skipped without them."""
    places = [os.environ.get("MINIDIFF_MNIST"), Path(__file__).parents[1] / "datasets"]
    for place in filter(None, places):
        file = "t10k-images-idx3-ubyte"
        ways = [sub + file + end for sub in ("", "MNIST/raw/") for end in ("", ".gz")]
        if any((Path(place) / way).is_file() for way in ways):
            return Path(place)
    pytest.skip("no MNIST test files here; set MINIDIFF_MNIST to a folder that holds them")


@pytest.fixture(scope="session")
def cached_digits():
    """The built-in digits are drawn once for all tests that use this; each gets its own copy."""
    from minidiff.data import digits
    draw = lru_cache(digits.built_in)

    def built_in(split: str = "train", n: int = 20_000) -> digits.Digits:
        drawn = draw(split, n)
        return drawn._replace(images=drawn.images.clone(), labels=drawn.labels.clone())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "built_in", built_in)
        yield
