"""Trainings in a folder: interrupted, killed, refused, and out of room; nothing is lost or left."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minidiff.recipes import build_model, get_recipe
from minidiff.runtime import files, folders, memory
from minidiff.train import TrainState, lr_factor
from minidiff.training import cost, training_run
from minidiff.training.training_run import TrainingRun

pytestmark = pytest.mark.usefixtures("cached_digits")


def fit(folder, steps=8, **settings) -> TrainingRun:
    torch.manual_seed(99)                                                        # must not matter
    return TrainingRun(folder, get_recipe("tiny"), "builtin", steps=steps, seed=3, **settings)


def model_of(folder) -> dict:
    return files.load_tensors(folder / "training.safetensors")[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of eight steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run = fit(folder)
    list(run.steps())
    run.close()
    return folder


def test_interrupted_and_resumed_is_bit_for_bit_the_same(whole, tmp_path):
    first = fit(tmp_path)
    stopped = first.steps()
    for _ in range(3):
        next(stopped)
    stopped.close()
    first.close()
    again = TrainingRun(tmp_path, resume=True)
    assert again.state.step == 3
    list(again.steps())
    again.close()
    one, other = model_of(whole), model_of(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
    logs = [(folder / "log.csv").read_text().splitlines() for folder in (whole, tmp_path)]
    rows = [[line.split(",")[:-1] for line in lines] for lines in logs]
    assert rows[0] == rows[1]                                                    # but the seconds


def test_killed_and_resumed_is_bit_for_bit_the_same(whole, tmp_path):
    """kill -9 in mid-training, after some saves: the last is whole, and the rest trained again."""
    code = f"""
import torch; torch.set_num_threads({torch.get_num_threads()}); torch.manual_seed(99)
from pathlib import Path
from minidiff.training import cost, training_run
from minidiff.training.training_run import TrainingRun
from minidiff.recipes import get_recipe
run = TrainingRun(Path({str(tmp_path)!r}), get_recipe("tiny"), "builtin", steps=8, seed=3)
for record in run.steps(save_every=0.0):
    print(record.step, flush=True)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 5:
                process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
                break
    again = TrainingRun(tmp_path, resume=True)
    assert 1 <= again.state.step <= 8
    list(again.steps())
    again.close()
    one, other = model_of(whole), model_of(tmp_path)
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_a_finished_training_can_be_made_longer(whole, tmp_path):
    """Its first steps stay; the learning rate is that of the longer budget."""
    for name in ("training.safetensors", "log.csv"):
        shutil.copy(whole / name, tmp_path / name)
    longer = TrainingRun(tmp_path, steps=12, resume=True)
    records = list(longer.steps())
    longer.close()
    assert [r.step for r in records] == [9, 10, 11, 12] and len(longer.read_log()) == 12
    assert records[0].lr == pytest.approx(3e-3 * lr_factor(9 / 12, 9, 50, 0.4))
    with pytest.raises(ValueError, match="already holds 12 steps"):
        TrainingRun(tmp_path, steps=11, resume=True)


def test_another_number_of_threads_is_told(whole):
    run = TrainState(build_model(get_recipe("tiny").model))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match="last bits"):
            run.load(whole / "training.safetensors")
    finally:
        torch.set_num_threads(before)


def test_nan_in_the_data_leaves_the_last_good_state(tmp_path):
    run = fit(tmp_path)
    steps = run.steps()
    next(steps)
    run.dataset.digits.images.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="NaN in the data"):
        list(steps)
    run.close()
    tensors, about = files.load_tensors(tmp_path / "training.safetensors")
    assert about["step"] == 1 and all(v.isfinite().all() for v in tensors.values())


def test_two_trainings_do_not_share_a_folder(tmp_path):
    run = fit(tmp_path)
    with pytest.raises(BlockingIOError, match="This Python process itself"):
        fit(tmp_path)
    run.close()


def test_a_folder_with_a_training_is_not_overwritten(whole):
    with pytest.raises(FileExistsError, match="--resume"):
        fit(whole)


def test_the_model_that_is_sampled_is_the_average(whole):
    averaged = {k: v for k, v in model_of(whole).items() if k.startswith("ema.")}
    model = files.load_tensors(whole / "model.safetensors")[0]
    assert all(torch.equal(model[k[4:]], v.half()) for k, v in averaged.items())


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training to resume"):
        TrainingRun(tmp_path, resume=True)


@pytest.mark.parametrize("budget", [dict(), dict(steps=0), dict(minutes=0.0), dict(steps=-4)])
def test_a_budget_must_be_positive(tmp_path, budget):
    with pytest.raises(ValueError, match="more than 0"):
        TrainingRun(tmp_path, get_recipe("tiny"), **budget)


def test_another_networks_training_is_refused(whole, tmp_path):
    other = TrainState(build_model(get_recipe("tiny", channels=(32, 32)).model))
    with pytest.raises(ValueError, match="another network"):
        other.load(whole / "training.safetensors")


# Refused, out of room, interrupted

def listing(folder) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_a_resumed_training_does_not_keep_its_file_mapped(whole, tmp_path):
    folder = copy_of(whole, tmp_path)
    run = TrainingRun(folder, resume=True, steps=9)
    maps = Path("/proc/self/maps").read_text()
    assert str(folder) not in maps
    list(run.steps())
    run.close()


def copy_of(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("draft", [".model-abcdefgh.safetensors", ".training-a_2defgh.safetensors"])
def test_drafts_of_a_killed_save_are_cleared_on_resume_and_start(whole, tmp_path, draft):
    folder = copy_of(whole, tmp_path)
    for place in (folder, tmp_path):
        (place / draft).write_bytes(b"half")
    TrainingRun(folder, resume=True).close()
    assert draft not in os.listdir(folder)
    fit(tmp_path).close()
    assert draft not in os.listdir(tmp_path)


@pytest.mark.parametrize("settings", [dict(patch=16, channels=(32, 64, 96)), dict(channels=(33,))])
def test_a_recipe_that_cannot_make_a_step_leaves_nothing(tmp_path, settings):
    with pytest.raises((ValueError, RuntimeError)):
        TrainingRun(tmp_path / "new", get_recipe("tiny", **settings), steps=2)
    assert listing(tmp_path) == []


def test_a_first_step_that_fails_leaves_nothing_and_the_corrected_run_works(tmp_path):
    run = fit(tmp_path / "new", steps=1)
    run.dataset.digits.images.fill_(float("nan"))
    with pytest.raises(ValueError, match="got nan"):
        list(run.steps())
    run.close()
    assert listing(tmp_path) == []
    run = fit(tmp_path / "new", steps=1)
    assert len(list(run.steps())) == 1
    run.close()


def test_a_step_for_which_memory_is_too_small_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda device="cpu": 2**27)
    with pytest.raises(ValueError, match=r"batch of 512 clips would need about .* smaller batch"):
        TrainingRun(tmp_path / "new", get_recipe("tiny", batch=512), steps=1)
    with pytest.raises(ValueError, match=r"parameters would need .* smaller channels"):
        TrainingRun(tmp_path / "new", get_recipe("tiny", channels=[4096]), steps=1)
    assert listing(tmp_path) == []


def test_the_memory_of_a_step_is_that_of_its_largest_clips(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(cost, "check_memory", lambda needed, *_: seen.append(needed))
    for size in ([32, 64], [64, 64], [[32, 32], [32, 32], [64, 64]]):
        recipe = get_recipe("tiny")
        recipe = recipe._replace(clips=recipe.clips | {"size": size, "frames": 2})
        TrainingRun(tmp_path / "new", recipe, steps=1).close()
    wide, square, mixed = seen
    assert mixed == square > wide


def test_a_disk_that_is_too_small_is_said_before_the_first_step(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    monkeypatch.setattr(training_run, "build_dataset",
                        lambda *_: pytest.fail("digits were drawn before the disk was checked"))
    with pytest.raises(OSError, match="not enough room"):
        fit(tmp_path / "new")
    assert listing(tmp_path) == []


def test_a_disk_that_fills_up_keeps_the_last_good_state(whole, tmp_path, monkeypatch):
    folder = copy_of(whole, tmp_path)
    before = {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}
    run = TrainingRun(folder, resume=True, steps=10)

    def full(*_):
        raise files.SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match=r"could not be written: No space left.*state of step 8"):
        list(run.steps())
    run.close()
    assert {p.name: p.read_bytes() for p in folder.glob("*.safetensors")} == before
    assert listing(folder) == listing(whole)


def test_the_first_save_comes_with_the_first_step(tmp_path):
    run = fit(tmp_path, steps=3)
    steps = run.steps()
    next(steps), next(steps)
    assert files.load_tensors(tmp_path / "training.safetensors")[1]["step"] == 1
    steps.close()
    run.close()


def test_ctrl_c_again_does_not_interrupt_a_save(tmp_path, monkeypatch):
    run, save_file = fit(tmp_path, steps=5), files.save_file
    steps = run.steps(save_every=float("inf"))
    next(steps)

    def pressed(*given):
        signal.raise_signal(signal.SIGINT)
        save_file(*given)
    monkeypatch.setattr(files, "save_file", pressed)
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt())
    run.close()
    assert run.saved_step == 1 and {"training.safetensors", "model.safetensors"} <= {
        *os.listdir(tmp_path)}
    assert files.load_tensors(tmp_path / "model.safetensors")[1]["steps"] == 1


def test_another_files_name_is_not_taken(whole, tmp_path):
    (tmp_path / "log.csv").write_text("what I noted\n")
    with pytest.raises(ValueError, match=r"log\.csv is not the log of a training"):
        fit(tmp_path)
    assert listing(tmp_path) == ["log.csv"]
    shutil.copy(whole / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(FileExistsError, match="holds a model"):
        fit(tmp_path)


@pytest.mark.parametrize("garbage", [b"\xff\xfe\x00garbage", b"", b"a,b\n1,2\n",
                                     b"step,loss,grad_norm,lr,seconds\nx,y\n1,1,1,1,1\n"])
def test_a_log_of_garbage_is_named_at_resume(whole, tmp_path, garbage):
    folder = copy_of(whole, tmp_path)
    (folder / "log.csv").write_bytes(garbage)
    run = TrainingRun(folder, resume=True, steps=9)
    for read in (run.read_log, lambda: list(run.steps())):
        with pytest.raises(ValueError, match=r"log\.csv is not the log of a training"):
            read()
    run.close()
    (folder / "log.csv").unlink()                            # without it, a new log is begun
    run = TrainingRun(folder, resume=True, steps=9)
    list(run.steps())
    run.close()
    assert [r.step for r in run.read_log()] == [9]


@pytest.mark.parametrize("change", [
    {"recipe": None}, {"recipe": []}, {"total": None}, {"total": "8"}, {"seed": -1},
    {"seconds": None}, {"digits": 3}, "no notes"])
def test_notes_that_make_no_sense_are_refused_by_the_files_name(whole, tmp_path, change):
    tensors, metadata = files.load_tensors(whole / "training.safetensors")
    notes = metadata["notes"] | change if isinstance(change, dict) else change
    path = tmp_path / "training.safetensors"
    files.save_tensors(path, tensors, metadata | {"notes": notes})
    with pytest.raises(ValueError, match=r"training\.safetensors describes a model that this"):
        TrainingRun(tmp_path, resume=True)
    notes = {k: v for k, v in metadata["notes"].items() if k != "total"}
    files.save_tensors(path, tensors, metadata | {"notes": notes})
    with pytest.raises(ValueError, match="lack total"):
        TrainingRun(tmp_path, resume=True)


def test_digits_in_a_relative_folder_are_found_from_another_folder(
        mnist_folder, tmp_path, monkeypatch):
    (tmp_path / "my digits").symlink_to(mnist_folder, target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = TrainingRun(tmp_path / "run", get_recipe("tiny"), "my digits", steps=1)
    list(run.steps())
    run.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    TrainingRun(tmp_path / "run", resume=True).close()
    assert Path(run.source).is_absolute()


def test_a_training_moves_no_global_generator(tmp_path):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    run = TrainingRun(tmp_path, get_recipe("tiny"), steps=1)
    list(run.steps())
    run.close()
    TrainingRun(tmp_path, resume=True).close()
    assert torch.equal(torch.random.get_rng_state(), before)
