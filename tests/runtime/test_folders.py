"""Output folders: held once, checked before long work, and without traces of what was refused."""
import os
import subprocess
import sys

import pytest

from minidiff.runtime.folders import (
    check_free_space,
    check_output_file,
    clear_drafts,
    lock_folder,
)


def test_a_folder_is_held_once_and_this_process_is_named_as_the_holder(tmp_path):
    held = lock_folder(tmp_path / "run")
    with pytest.raises(BlockingIOError, match=r"This Python process itself.*close\(\)"):
        lock_folder(tmp_path / "run")
    code = f"from minidiff.runtime.folders import *; lock_folder({str(tmp_path / 'run')!r})"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert "BlockingIOError: Another process is working in" in other.stderr
    held.close()
    lock_folder(tmp_path / "run").close()


def test_a_discarded_lock_removes_what_it_made_and_nothing_else(tmp_path):
    lock_folder(tmp_path / "a" / "b").discard()
    assert os.listdir(tmp_path) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    lock_folder(tmp_path / "full").discard()
    assert os.listdir(tmp_path / "full") == ["file"]
    lock_folder(tmp_path / "full").close()
    lock_folder(tmp_path / "full").discard()                             # an older lock file stays
    assert sorted(os.listdir(tmp_path / "full")) == [".lock", "file"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(NotADirectoryError, match="file is a file"):
            lock_folder(folder)
        with pytest.raises(NotADirectoryError, match="file is a file"):
            check_output_file(folder / "x.gif")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_output_file(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path):
    check_free_space(tmp_path / "new", 1)
    with pytest.raises(OSError, match=r"MB are needed, [\d.,]+ MB are free"):
        check_output_file(tmp_path / "new" / "x.npy", 10**18)
    assert os.listdir(tmp_path) == []


def test_only_drafts_of_the_named_files_are_cleared(tmp_path):
    keep = [".model-notes.safetensors", "model-abcdefgh.safetensors", ".other-abcdefgh.safetensors"]
    for name in (*keep, ".model-abc_d3gh.safetensors"):
        (tmp_path / name).write_text("")
    clear_drafts(tmp_path, "model.safetensors")
    assert sorted(os.listdir(tmp_path)) == sorted(keep)
