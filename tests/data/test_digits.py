"""Sources of digits: MNIST's files in every shape, splits that share nothing, what is refused."""
import gzip
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits, torchvision_compat
from minidiff.data.digits import SPLITS, load, mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    shape = np.array(array.shape, ">u4").tobytes()
    return b"\x00\x00\x08" + bytes([array.ndim]) + shape + array.tobytes()


def write_pair(folder, kind="t10k", n=10_000, zipped=False, labels=None):
    """MNIST's two files with made-up content: image i is all i mod 251, its label i mod 10."""
    images = np.broadcast_to((np.arange(n) % 251).astype(np.uint8)[:, None, None], (n, 28, 28))
    labels = (np.arange(n) % 10).astype(np.uint8) if labels is None else labels
    for name, array in ((f"{kind}-images-idx3-ubyte", np.ascontiguousarray(images)),
                        (f"{kind}-labels-idx1-ubyte", labels)):
        path = folder / (name + (".gz" if zipped else ""))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(idx(array), 1) if zipped else idx(array))
    return folder


@pytest.mark.parametrize(("zipped", "where"), [(False, "."), (True, "."), (False, "MNIST/raw")])
def test_the_test_pair_alone_is_enough(tmp_path, zipped, where):
    write_pair(tmp_path / where, zipped=zipped)
    parts = {split: mnist(tmp_path, split) for split in SPLITS}
    assert [len(parts[s].images) for s in SPLITS] == [8000, 1000, 1000]
    train = parts["train"].images
    assert train.shape[1:] == (1, 28, 28) and train.dtype == torch.float32
    assert parts["test"].images[0, 0, 0, 0] == pytest.approx((9000 % 251) / 255)
    assert parts["val"].labels[3] == 3 and parts["val"].labels.dtype == torch.int64


def test_the_training_pair_is_used_where_it_is(tmp_path):
    write_pair(write_pair(tmp_path), "train", 600)
    assert len(mnist(tmp_path, "train").images) == 600
    assert len(mnist(tmp_path, "test").images) == 1000                           # of the test file


def test_real_mnist_is_read(mnist_folder):
    test = mnist(mnist_folder, "test")
    assert test.images.shape == (1000, 1, 28, 28)
    assert test.images.max() == 1 and 0.1 < test.images.mean() < 0.17
    assert torch.bincount(test.labels).min() > 50


def test_splits_of_drawn_digits_share_nothing():
    parts = [load("builtin", split, n=300) for split in SPLITS]
    rows = torch.cat([p.images for p in parts]).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows)
    assert all(p.source == "builtin" for p in parts)


def test_sprites_are_dealt_out_to_the_splits():
    sprites = torch.rand(25, 3, 5, 5)
    parts = [load(sprites, split) for split in SPLITS]
    assert sorted(torch.cat([p.labels for p in parts]).tolist()) == list(range(25))
    assert_close(parts[1].images, sprites[parts[1].labels])


@pytest.mark.parametrize(("sprites", "words"), [
    (torch.rand(20, 5, 5), "float tensor"), (torch.rand(20, 1, 5, 5) * 2, "between 0"),
    (torch.zeros(20, 1, 5, 5).byte(), "float tensor"),
    (torch.full((20, 1, 5, 5), torch.nan), "finite"), (torch.rand(4, 1, 5, 5), "too few")])
def test_unfit_sprites_are_refused(sprites, words):
    with pytest.raises(ValueError, match=words):
        load(sprites, "test")


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, val, test"):
        load("builtin", "holdout")


def test_a_folder_without_digits_says_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte.*built-in"):
        load(tmp_path / "nothing", "train")


@pytest.mark.parametrize(("content", "words"), [
    (b"", "not an IDX"), (b"hello, world", "not an IDX"), (b"\x80\x04\x95\x00", "not an IDX"),
    (idx(np.zeros((4, 3), np.uint8))[:-1], "truncated"),
    (idx(np.zeros((4, 3), np.uint8)) + b"x", "truncated or tampered"),
    (gzip.compress(idx(np.zeros((40, 30), np.uint8)), mtime=0)[:-9], "truncated or damaged"),
    (gzip.compress(idx(np.arange(200, dtype=np.uint8)), mtime=0)[:20] + b"\xff" * 40,
     "truncated or damaged"),
    (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "unsigned bytes"),
    (b"\x00\x00\x08\x03" + b"\xff" * 12, "truncated"),
    (b"\x00\x00\x08\x04" + b"\x00\x01\x00\x00" * 4, "truncated")])                 # 2^64 bytes
def test_damaged_and_foreign_idx_files_are_refused_by_name(tmp_path, content, words):
    (tmp_path / "some-idx").write_bytes(content)
    with pytest.raises(ValueError, match=f"some-idx.*{words}"):
        read_idx(tmp_path / "some-idx")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write_pair(tmp_path, labels=np.zeros(9_999, np.uint8))
    with pytest.raises(ValueError, match="do not belong together"):
        mnist(tmp_path)
    write_pair(tmp_path, labels=np.full(10_000, 77, np.uint8))
    with pytest.raises(ValueError, match="do not belong together"):
        mnist(tmp_path)


@pytest.mark.parametrize("shape", [(0, 28, 28), (10, 28, 27), (10, 784), (10,)])
def test_images_that_are_not_mnists_are_refused_by_name(tmp_path, shape):
    write_pair(tmp_path, n=shape[0])
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros(shape, np.uint8)))
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte should hold images of 28x28"):
        mnist(tmp_path)


def test_a_short_test_file_is_refused(tmp_path):
    write_pair(tmp_path, n=500)
    with pytest.raises(ValueError, match="10,000"):
        mnist(tmp_path)


# The download, without the network

@pytest.fixture
def no_torchvision(monkeypatch):
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)       # as if the package was missing


def test_without_torchvision_the_download_says_what_to_do(no_torchvision, tmp_path):
    with pytest.raises(RuntimeError, match=r"needs torchvision.*minidiff\[data\].*builtin"):
        digits.download_mnist(tmp_path)


def test_without_the_network_the_download_says_what_to_do(monkeypatch, tmp_path):
    class MNIST:
        def __init__(self, *args, **settings):
            raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")
    broken = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=MNIST))
    monkeypatch.setattr(torchvision_compat, "import_torchvision", lambda: broken)
    with pytest.raises(RuntimeError, match=r"could not be downloaded.*Check the network.*builtin"):
        digits.download_mnist(tmp_path)


def test_nothing_is_fetched_twice(no_torchvision, tmp_path):
    for kind in ("train", "t10k"):
        write_pair(tmp_path / "MNIST/raw", kind, 20)
    assert digits.download_mnist(tmp_path) == tmp_path


def test_a_torchvision_that_cannot_load_its_operators_is_imported_all_the_same(tmp_path):
    """It dies at import, as the CUDA build does beside a CPU-only torch, until a name is known.

    In a process of its own: in this one the names may be known already.
    """
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "@torch.library.register_fake('torchvision::nms')\ndef fake(*a): ...\nmark = 'loaded'\n")
    code = ("from minidiff.data import torchvision_compat as shim\n"
            "print(shim.import_torchvision().mark, shim.library is not None)")
    places = os.pathsep.join([str(tmp_path), *sys.path])
    found = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": places},
                           capture_output=True, text=True)
    assert found.stdout.split() == ["loaded", "True"], found.stderr


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch, tmp_path):
    source = "raise RuntimeError('this build is for another torch')\n"
    (tmp_path / "torchvision.py").write_text(source)
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="another torch"):
        torchvision_compat.import_torchvision()


def test_both_spellings_of_mnist_s_files_are_found(tmp_path):
    for path in write_pair(tmp_path).iterdir():
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert {p.name for p in tmp_path.iterdir()} == {"t10k-images.idx3-ubyte",
                                                    "t10k-labels.idx1-ubyte"}
    assert len(mnist(tmp_path, "val").images) == 1000


def test_digits_are_called_mnist_by_their_content_not_by_their_name(tmp_path, mnist_folder):
    assert mnist(mnist_folder, "test").source == "mnist"
    other = mnist(write_pair(tmp_path), "test").source
    assert other.startswith("idx-") and len(other) == 12
    assert mnist(write_pair(tmp_path, zipped=True), "test").source == other


@pytest.mark.parametrize(("code", "dtype"), [(9, ">i1"), (11, ">i2"), (12, ">i4")])
def test_labels_of_other_integer_types_are_read(tmp_path, code, dtype):
    write_pair(tmp_path)
    labels = (np.arange(10_000) % 10).astype(dtype)
    raw = b"\0\0" + bytes([code, 1]) + np.array([10_000], ">u4").tobytes() + labels.tobytes()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(raw)
    found = mnist(tmp_path, "test").labels
    assert found.dtype == torch.int64 and found.tolist() == [i % 10 for i in range(1000)]


def test_a_folder_may_be_given_from_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_pair(tmp_path / "my digits")
    assert len(load("~/my digits", "test").images) == 1000
