"""Several processes train as one would: the same losses, the same weights, one folder."""
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from minidiff import files, parallel
from minidiff.digits import built_in
from minidiff.fit import Fit
from minidiff.recipes import recipe, stream


def torchrun(out, *options, processes: int = 2) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(processes), "-m", "minidiff", "train", "tiny", "--out", str(out), *options],
        capture_output=True, text=True, timeout=300)


def test_two_processes_take_the_steps_of_one_and_one_goes_on(tmp_path):
    both = torchrun(tmp_path / "two", "--steps", "4")
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("Trained 4 steps") == 1
    alone = Fit(tmp_path / "one", recipe("tiny"), steps=4)
    losses = [r.loss for r in alone.steps()]
    alone.close()
    shared = Fit(tmp_path / "two", resume=True, steps=6)
    assert_close([r.loss for r in shared.log()], losses, rtol=2e-2, atol=0)
    assert len({*losses}) == 4 and shared.run.step == 4
    weights, _ = files.load_tensors(tmp_path / "two" / "model.safetensors")
    for name, value in files.load_tensors(tmp_path / "one" / "model.safetensors")[0].items():
        assert_close(weights[name], value, rtol=0, atol=0.02)
    assert [r.step for r in shared.steps()] == [5, 6]
    shared.close()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    three = torchrun(tmp_path / "x", "--steps", "1", processes=3)
    assert three.returncode != 0 and "A batch of 4 cannot be shared equally by 3" in three.stderr
    assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_gets_its_rows_of_one_draw(monkeypatch, rank):
    plan, digits = recipe("tiny"), built_in(n=50)
    whole, labels = next(stream(plan, digits, 0))
    monkeypatch.setattr(parallel, "processes", lambda: 2)
    monkeypatch.setattr(parallel, "rank", lambda: rank)
    mine = slice(2 * rank, 2 * rank + 2)
    x, cond = next(stream(plan, digits, 0))
    assert torch.equal(x, whole[mine]) and torch.equal(cond, labels[mine])
    assert parallel.drawn(2, torch.arange).tolist() == [2 * rank, 2 * rank + 1]
    assert parallel.leads() == (rank == 0)


def test_one_process_has_all_rows():
    assert parallel.rows(5) == slice(0, 5) and parallel.drawn(3, torch.arange).tolist() == [0, 1, 2]
    assert parallel.agreed(7) == 7
    gradient = torch.tensor([1.0])
    parallel.average([gradient])
    assert gradient.item() == 1
