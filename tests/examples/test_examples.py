"""The examples run from top to bottom, here with hardly any training."""
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import media

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(monkeypatch, name: str, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_minimal_training_fits_a_screen_and_makes_a_gif(tmp_path, monkeypatch, capsys):
    assert len((EXAMPLES / "train_minimal.py").read_text().splitlines()) <= 60
    run(monkeypatch, "train_minimal.py", tmp_path / "x.gif", 2)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 6
    assert "step    0  loss" in capsys.readouterr().out


def test_own_shapes_are_learnt_from_a_folder(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "own_data.py", tmp_path / "shapes", tmp_path / "x.gif", 1)
    assert {p.name for p in (tmp_path / "shapes").iterdir()} == {"disc", "square"}
    assert "asked for disc, square, disc" in capsys.readouterr().out
    assert (tmp_path / "x.gif").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_own_arrays_without_conditions_are_learnt_too(tmp_path, monkeypatch, channels):
    np.save(tmp_path / "clips.npy", torch.rand(6, 2, channels, 8, 16).numpy())
    run(monkeypatch, "own_data.py", tmp_path / "clips.npy", tmp_path / "x.npy", 1)
    assert media.read_npy(tmp_path / "x.npy").shape == (8, 2, channels, 8, 16)
