"""Several processes train as one would: the same losses, the same weights, one folder."""
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from minidiff.data.digits import built_in
from minidiff.recipes import get_recipe, training_batches
from minidiff.runtime import distributed, precision
from minidiff.training.training_run import TrainingRun

EXACT = """import sys
from minidiff.runtime import precision
precision.allow_bf16(False)                                     # float32: only sums may differ
from minidiff.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def torchrun(out, *options, processes: int = 2) -> subprocess.CompletedProcess:
    script = out.parent / "exact.py"
    script.write_text(EXACT)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(processes), str(script), "train", "tiny", "--out", str(out), *options],
        capture_output=True, text=True, timeout=300)


@pytest.mark.filterwarnings("ignore:.*the last bits will differ")      # torchrun has one thread
def test_two_processes_take_the_steps_of_one_and_one_goes_on(tmp_path, monkeypatch):
    both = torchrun(tmp_path / "two", "--steps", "3")
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("Trained 3 steps") == 1
    monkeypatch.setattr(precision, "_allowed", False)
    alone = TrainingRun(tmp_path / "one", get_recipe("tiny"), steps=3)
    losses = [r.loss for r in alone.steps()]
    alone.close()
    shared = TrainingRun(tmp_path / "two", resume=True, steps=5)
    assert_close([r.loss for r in shared.read_log()], losses, rtol=1e-4, atol=0)
    mine, its = alone.state.model.state_dict(), shared.state.model.state_dict()
    assert shared.state.step == 3 and mine.keys() == its.keys()
    for name, value in mine.items():
        assert_close(its[name], value, rtol=0, atol=1e-4)
    assert [r.step for r in shared.steps()] == [4, 5]
    shared.close()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    three = torchrun(tmp_path / "x", "--steps", "1", processes=3)
    assert three.returncode != 0 and "A batch of 4 cannot be shared equally by 3" in three.stderr
    assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_gets_its_rows_of_one_draw(monkeypatch, rank):
    plan, digits = get_recipe("tiny"), built_in(n=50)
    whole, labels = next(training_batches(plan, digits, 0))
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    mine = slice(2 * rank, 2 * rank + 2)
    x, cond = next(training_batches(plan, digits, 0))
    assert torch.equal(x, whole[mine]) and torch.equal(cond, labels[mine])
    assert distributed.sharded_draw(2, torch.arange).tolist() == [2 * rank, 2 * rank + 1]
    assert distributed.is_main_process() == (rank == 0)


def test_one_process_has_all_rows():
    assert distributed.shard(5) == slice(0, 5)
    assert distributed.sharded_draw(3, torch.arange).tolist() == [0, 1, 2]
    assert distributed.broadcast(7) == 7
    gradient = torch.tensor([1.0])
    distributed.all_reduce_mean([gradient])
    assert gradient.item() == 1
