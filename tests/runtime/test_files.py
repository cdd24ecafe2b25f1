"""Files: whole or not there, never unpickled, and a damaged one is refused by its name."""
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from minidiff.runtime import files


def some() -> dict:
    return {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "half": torch.ones(4).half(),
            "none": torch.zeros(0)}


def test_a_round_trip(tmp_path):
    sha256 = files.save_tensors(tmp_path / "new" / "x.safetensors", some(), {"of": ["anything", 1]})
    tensors, about = files.load_tensors(tmp_path / "new" / "x.safetensors")
    assert_close(tensors, some())
    assert about == {"of": ["anything", 1]} and sha256 == files.digest(tensors)
    assert os.listdir(tmp_path / "new") == ["x.safetensors"]


@pytest.mark.parametrize("change", [
    {"a": torch.zeros(2, 3)}, {"a": torch.arange(6.0).view(3, 2)}, {"c": torch.ones(1)},
    {"half": torch.ones(4)}])
def test_the_digest_sees_every_change(change):
    assert files.digest(some()) != files.digest(some() | change)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, some(), {})
    whole = path.read_bytes()
    for keep in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"x\.safetensors is not a whole"):
            files.load_tensors(path)


def test_an_altered_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, some(), {})
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="altered or damaged"):
        files.load_tensors(path)


def test_an_altered_description_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, some(), {"schedule": "flow"})
    path.write_bytes(path.read_bytes().replace(b"flow", b"slow"))
    with pytest.raises(ValueError, match="altered or damaged"):
        files.load_tensors(path)


def test_foreign_files_are_refused_and_a_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)
    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="not a whole safetensors"):
        files.load_tensors(path)
    assert not (tmp_path / "sprung").exists()
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="did not write it"):
        files.load_tensors(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        files.load_tensors(tmp_path / "nowhere.safetensors")


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.json"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_write(path) as draft:
        draft.write_text("half of the n")
        raise RuntimeError("the disk is full")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.json"]


def test_weights_of_another_network_are_refused(tmp_path):
    weights = {"weight": torch.ones(2, 2), "bias": torch.ones(3)}
    words = r"some.safetensors holds another network.*1 of its tensors.*weight"
    with pytest.raises(ValueError, match=words):
        files.load_weights(nn.Linear(2, 3), weights, tmp_path / "some.safetensors")


def test_a_folder_is_held_once(tmp_path):
    held = files.lock_folder(tmp_path / "run")
    with pytest.raises(BlockingIOError, match="Another process is working in"):
        files.lock_folder(tmp_path / "run")
    held.close()
    files.lock_folder(tmp_path / "run").close()


def test_the_description_is_json(tmp_path):
    files.save_tensors(tmp_path / "x.safetensors", some(), {"seed": 3})
    found = (tmp_path / "x.safetensors").read_bytes()
    assert json.dumps({"seed": 3}).encode().replace(b'"', b'\\"') in found
