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


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_no_loaded_tensor_keeps_its_file_mapped(tmp_path):
    """Windows does not replace a file that is still mapped."""
    files.save_tensors(tmp_path / "x.safetensors", some(), {})
    tensors, _ = files.load_tensors(tmp_path / "x.safetensors")
    with open("/proc/self/maps") as maps:
        assert not [line for line in maps if str(tmp_path) in line]
    assert_close(tensors, some())


def test_replacing_is_tried_again_while_the_system_refuses(tmp_path, monkeypatch):
    replace, refusals = os.replace, [1, 2]

    def refuse_twice(*paths):
        if refusals:
            refusals.pop()
            raise PermissionError(13, "in use", *map(str, paths))
        replace(*paths)
    monkeypatch.setattr(os, "replace", refuse_twice)
    files.write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "new" and os.listdir(tmp_path) == ["x.txt"]
    refusals += range(99)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    with pytest.raises(PermissionError, match=r"x\.txt could not be written: in use"):
        files.write_text(tmp_path / "x.txt", "newer")
    assert (tmp_path / "x.txt").read_text() == "new" and os.listdir(tmp_path) == ["x.txt"]


def test_a_full_disk_is_one_sentence_about_the_file_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, some(), {"old": 1})

    def full(*_):
        raise files.SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match=r"^[^.]*x\.safetensors could not be written: No space left"):
        files.save_tensors(path, some(), {"new": 1})
    assert files.load_tensors(path)[1] == {"old": 1} and os.listdir(tmp_path) == [path.name]


def test_a_name_that_is_too_long_is_said_without_a_draft(tmp_path):
    with pytest.raises(OSError, match=r"x could not be written: File name too long") as error:
        files.write_text(tmp_path / ("x" * 300), "text")
    assert "/." not in str(error.value) and os.listdir(tmp_path) == []


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    files.save_tensors("~/a folder/x.safetensors", some(), {})
    assert (tmp_path / "a folder" / "x.safetensors").exists()
    assert files.load_tensors("~/a folder/x.safetensors")[1] == {}


def test_the_description_is_json(tmp_path):
    files.save_tensors(tmp_path / "x.safetensors", some(), {"seed": 3})
    found = (tmp_path / "x.safetensors").read_bytes()
    assert json.dumps({"seed": 3}).encode().replace(b'"', b'\\"') in found
