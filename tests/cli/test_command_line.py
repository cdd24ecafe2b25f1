"""The command line as a user meets it: what works, what is refused, in which words and codes."""
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from minidiff.__main__ import main
from minidiff.cli import demo as demo_module
from minidiff.data import media
from minidiff.evaluation.rows import HEADLINE_METRICS
from minidiff.pipeline import save_model
from minidiff.recipes import build_model, get_recipe
from minidiff.runtime import files
from minidiff.training import profiles

pytestmark = pytest.mark.usefixtures("cached_digits")
MINIDIFF = [sys.executable, "-m", "minidiff"]
# A shell shows both as 130. Python ends itself by SIGINT if Ctrl-C came while a module was imported
# that builds classes by exec(), even if the program caught it.
INTERRUPTED = 130, -signal.SIGINT


def run(*args, **settings) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, sys.path))
    env = os.environ | {"PYTHONPATH": path} | settings.pop("env", {})
    command = [*MINIDIFF, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=env, **settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a very small training, by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", "tiny", "--steps", "4", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with a whole demo in the smoke profile."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--profile", "smoke", "--out", str(folder)]) == 0
    return folder


def test_the_demo_writes_all_that_it_promises(demo):
    assert {p.name for p in demo.iterdir()} == {
        "clips.gif", "contact_sheet.png", "trajectory.png", "score.json", "model.safetensors",
        "report.html", "log.csv", ".lock"}
    row = json.loads((demo / "score.json").read_text())
    wanted = {*HEADLINE_METRICS, "n", "evaluator", "edition"}
    assert wanted <= row.keys()
    assert row["n"] == 32 and row["SCORE"] < 0.5                            # 30 steps: no digit yet
    report = (demo / "report.html").read_text()
    assert "real clips" in report and "http" not in report.replace("http-equiv", "")
    assert "a wider network, saw 256,000 clips, 2133 times as many: SCORE 0." in report
    assert len((demo / "log.csv").read_text().splitlines()) == 31


def test_the_demo_can_be_run_again(demo):
    before = (demo / "score.json").read_text()
    assert main(["demo", "--profile", "smoke", "--out", str(demo)]) == 0
    assert json.loads((demo / "score.json").read_text()) == json.loads(before)


def test_a_demo_of_few_steps_samples_as_an_uncertain_network_needs():
    cpu, smoke = profiles.PROFILES["cpu"], profiles.PROFILES["smoke"]
    few, many = (cpu.get_recipe(steps) for steps in (600, 2000))
    assert few.sampling["guidance"] > many.sampling["guidance"] and few.model == many.model
    assert (cpu.clips_after(600), cpu.clips_after(2000), smoke.clips_after(30)) == (64, 128, 32)
    assert cpu.get_recipe() == many and smoke.get_recipe(30) == smoke.get_recipe()


def test_an_interrupted_demo_of_few_steps_goes_on(tmp_path):
    profile = profiles.PROFILES["smoke"]._replace(short_sampling={"guidance": 4.0})
    out, device = tmp_path / "out", torch.device("cpu")
    run = demo_module.open_training_run(out, "builtin", profile, None, 0, device)
    next(run.steps())
    run.save()
    run.close()
    run = demo_module.open_training_run(out, "builtin", profile, None, 0, device)
    assert run.state.step == 1 and run.recipe.sampling["guidance"] == 4.0
    run.close()
    with pytest.raises(FileExistsError, match="another training of the demo"):
        demo_module.open_training_run(out, "builtin", profile, None, 1, device)


@pytest.mark.parametrize("ending", ["gif", "png", "npy"])
def test_sample_writes_what_the_ending_says(trained, tmp_path, ending):
    out = tmp_path / f"x.{ending}"
    model = str(trained / "model.safetensors")
    assert main(["sample", model, "--n", "3", "--steps", "2", "--out", str(out)]) == 0
    if ending == "npy":
        clips = np.load(out)
        assert clips.shape == (3, 8, 1, 32, 32) and clips.dtype == np.float32
        assert clips.min() >= 0 and clips.max() <= 1
    else:
        assert out.read_bytes()[:4] in (b"GIF8", b"\x89PNG")


def test_sample_repeats_with_the_seed(trained, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        main(["sample", str(trained / "model.safetensors"), "--digit", "3", "--steps", "2",
              "--seed", str(seed), "--out", str(tmp_path / f"{name}.npy")])
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_sample_takes_a_model_without_conditions(tmp_path, capsys):
    recipe = get_recipe("tiny")
    net = {k: v for k, v in recipe.model["net"].items() if k != "classes"}
    recipe = recipe._replace(model=recipe.model | {"net": net})
    path, out = tmp_path / "free.safetensors", tmp_path / "x.npy"
    save_model(path, build_model(recipe.model), {"recipe": recipe._asdict()})
    assert main(["sample", str(path), "--n", "2", "--steps", "2", "--out", str(out)]) in (0, None)
    assert np.load(out).shape == (2, 8, 1, 32, 32)
    assert f"2 clips in {out}" in capsys.readouterr().out
    assert_fails(["sample", path, "--digit", "3", "--out", out], "takes --n but no --digit", capsys)


def test_score_takes_a_model_and_clips(trained, tmp_path, capsys):
    model, out = str(trained / "model.safetensors"), str(tmp_path / "row.json")
    assert main(["score", model, "--n", "32", "--steps", "2", "--json", out]) == 0
    printed = capsys.readouterr().out
    assert all(part in printed for part in (*HEADLINE_METRICS, "edition 2 of the scoreboard"))
    row = json.loads((tmp_path / "row.json").read_text())
    assert row["reference"].startswith("builtin") and row["n"] == 32
    np.save(tmp_path / "clips.npy", torch.rand(32, 8, 1, 32, 32).numpy())
    np.save(tmp_path / "labels.npy", np.arange(32) % 10)
    clips, labels = str(tmp_path / "clips.npy"), str(tmp_path / "labels.npy")
    assert main(["score", clips, "--labels", labels, "--json", out]) == 0
    row = json.loads((tmp_path / "row.json").read_text())
    assert row["SCORE"] < 0.25 and "PROMPT" in row


def test_doctor_says_what_is_here(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("Python", "torch", "device", "threads", "bfloat16", "torchvision", "memory",
                 "profile"):
        assert word in out


@pytest.mark.parametrize(("args", "words"), [
    (["train", "mmnist33", "--steps", "1"], "mmnist32"),
    (["train", "tiny", "--steps", "0"], "more than 0"),
    (["train", "tiny", "--steps", "1.5"], "whole number"),
    (["train", "tiny", "--minutes", "-1"], "more than 0"),
    (["train", "tiny", "--minutes", "nan"], "more than 0"),
    (["train", "tiny", "--steps", "1", "--minutes", "1"], "not allowed"),
    (["sample", "mmnist99", "--out", "x.gif"], "mmnist32"),
    (["sample", "mmnist32"], "--out"),
    (["sample", "mmnist32", "--sampler", "magic", "--out", "x.gif"], "dpmpp_2m"),
    (["sample", "mmnist32", "--n", "0", "--out", "x.gif"], "more than 0"),
    (["sample", "mmnist32", "--steps", "-3", "--out", "x.gif"], "more than 0"),
    *[([command, *more, "--seed", seed], f"from 0 to {2**63 - 1}")
      for seed in ("-1", str(2**70))
      for command, more in (("sample", ["mmnist32", "--out", "x.gif"]), ("demo", []),
                            ("train", ["tiny"]), ("score", ["mmnist32"]))],
    *[([command, *more, option, str(10**20)], "at most")
      for command, more, option in (
          ("sample", ["mmnist32", "--out", "x.gif"], "--n"), ("train", ["tiny"], "--steps"),
          ("sample", ["mmnist32", "--out", "x.gif"], "--frames"), ("score", ["mmnist32"], "--n"),
          ("sample", ["mmnist32", "--out", "x.gif"], "--steps"),
          ("score", ["mmnist32"], "--seeds"))],
    (["sample", "mmnist32", "--out", "x" * 300 + ".gif"], "too long"),
    (["train", "tiny", "--out", "x" * 300], "too long"),
    (["train", "tiny", "--out", ""], "path is needed"), (["demo", "--out", " "], "path is needed"),
    (["train", "tiny", "--digits", ""], "path is needed"),
    (["score", "mmnist32", "--json", "x" * 300], "too long"),
    (["sample", "mmnist32", "--digit", "11", "--out", "x.gif"], "0 to 9"),
    (["sample", "mmnist32", "--out", "x.mp4"], ".gif"),
    (["score", "mmnist32", "--n", "0"], "more than 0"), (["score", "mmnist99"], "mmnist32"),
    (["train", "recogniser", "--steps", "9"], "one way only"),
    (["train", "tiny", "--resume", "--digits", "mnist", "--seed", "1"], "--digits and --seed away"),
    (["train", "tiny", "--resume", "--begin", "mnist.safetensors"], "leave --begin"),
    (["train", "recogniser"], "real digits"), (["score", "mmnist32", "--labels", "x.npy"], "clips"),
    (["sample", "mmnist32", "--guidance", "-1", "--out", "x.gif"], "0 or more"),
    (["sample", "mmnist32", "--guidance", "nan", "--out", "x.gif"], "0 or more"),
    (["demo", "--profile", "huge"], "smoke"), ([], "COMMAND"), (["paint"], "demo")])
def test_wrong_usage_is_exit_code_2_and_names_what_is_valid(args, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def assert_fails(args, words, capsys) -> None:
    assert main([str(a) for a in args]) == 1
    err = capsys.readouterr().err
    assert words in err and "Traceback" not in err


def test_failures_are_exit_code_1_and_one_sentence(trained, tmp_path, capsys):
    out = tmp_path / "x.gif"
    assert_fails(["train", "mmnist32", "--resume", "--out", trained], "a training of tiny", capsys)
    resume = ["train", "tiny", "--resume"]
    assert_fails([*resume, "--steps", "1", "--out", trained], "holds 4 steps", capsys)
    for n in ("31", "2001"):
        judged = ["score", trained / "model.safetensors", "--n", n]
        assert_fails(judged, "from 32 to 2000", capsys)
    smoke = ["demo", "--profile", "smoke", "--seed", "7"]
    assert_fails([*smoke, "--out", trained], "another training", capsys)
    assert_fails(["train", "tiny", "--steps", "1", "--out", trained], "--resume", capsys)
    assert_fails([*resume, "--out", tmp_path / "new"], "no training to resume", capsys)
    assert_fails(["train", "tiny", "--steps", "1", "--digits", tmp_path, "--out", tmp_path / "x"],
          "t10k-images", capsys)
    assert_fails(["sample", tmp_path / "no.safetensors", "--out", out], "no.safetensors", capsys)
    backwards = ["sample", trained / "model.safetensors", "--interval", "0.9", "0.1"]
    assert_fails([*backwards, "--steps", "1", "--out", out], "low <= high", capsys)
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04 this is a pickle")
    assert_fails(["sample", tmp_path / "bad.safetensors", "--out", out], "bad.safetensors", capsys)
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    assert_fails(["score", tmp_path / "bad.npy"], "bad.npy", capsys)
    np.save(tmp_path / "clips.npy", np.zeros((40, 8, 1, 32, 32), np.float32))
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "words.npy", np.array(["three"] * 40))
    for name in ("empty.npy", "words.npy"):
        assert_fails(["score", tmp_path / "clips.npy", "--labels", tmp_path / name], name, capsys)
    np.save(tmp_path / "range.npy", np.full((40, 8, 1, 32, 32), 3.0, np.float32))
    assert_fails(["score", tmp_path / "range.npy"], "[0, 1]", capsys)


@pytest.mark.parametrize(("setting", "words"), [
    ("batch=null", "whole number from 1"), ("batch=true", "whole number"), ("batch=x", "whole"),
    ("batch=[4]", "whole"), ("batch=", "whole"), ("batch=0", "from 1"), ("batch=1.5", "whole"),
    ("batch=1000000000", "to 65536"), ("channels=64", "a list"), ("channels=abc", "a list"),
    ("channels=[0]", "a list"), ("channels=[]", "a list"), ("lr=nan", "a number above 0"),
    ("lr=fast", "a number"), ("lr=NaN", "a number"), ("lr=0", "above 0"), ("steps=x", "whole"),
    ("patch=64", "1 to 16"), ("speed=3", "no setting speed"), ("ema=2", "below 1"),
    ("ema=-1", "below 1"), ("ema=x", "below 1"), ("ema=1", "below 1"), ("attention=99", "0 to 8"),
    ("attention=-1", "0 to 8"), ("attention=4", "0 to 3"), ("times=zzz", "logit-normal, uniform"),
    ("time=often", "factorised")])
def test_a_setting_of_the_wrong_kind_is_refused_before_anything_is_made(
        setting, words, tmp_path, capsys):
    recipe = "tiny" if setting.startswith(("patch", "steps")) else "mmnist32"
    assert_fails(["train", recipe, "--set", setting, "--out", tmp_path / "new"], words, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["number=40", "number=[2,1]", "number=0", "network=vae"])
def test_settings_of_text_models_are_checked_too(setting, tmp_path, capsys):
    given = ["train", "mmnist64-text", "--set", setting, "--out", tmp_path / "new"]
    assert_fails(given, "must be", capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_replaces_nothing_that_it_did_not_make(trained, tmp_path, capsys):
    before = {p.name: p.read_bytes() for p in trained.iterdir()}
    for smoke in (["demo", "--profile", "smoke"], ["demo", "--profile", "smoke", "--seed", "7"]):
        assert_fails([*smoke, "--out", trained], "holds another training", capsys)
    assert {p.name: p.read_bytes() for p in trained.iterdir()} == before
    (tmp_path / "model.safetensors").write_bytes(before["model.safetensors"])
    assert_fails([*smoke, "--out", tmp_path], "holds a model", capsys)
    (tmp_path / "model.safetensors").rename(tmp_path / "clips.gif")
    assert_fails([*smoke, "--out", tmp_path], "clips.gif, which the demo would replace", capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["clips.gif"]


def test_a_trainings_model_is_not_replaced_by_another_training(trained, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    model.write_bytes((trained / "model.safetensors").read_bytes())
    assert_fails(["train", "tiny", "--steps", "1", "--out", tmp_path], "holds a model", capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_clips_that_do_not_fit_in_memory_are_refused_at_once(trained, tmp_path, capsys):
    for option in ("--n", "--frames"):
        given = ["sample", trained / "model.safetensors", "--out", tmp_path / "x.gif"]
        assert_fails([*given, option, 10**7], "GiB of memory", capsys)


@pytest.mark.parametrize("error", [
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")])
def test_an_allocator_without_memory_is_one_sentence(error, monkeypatch, capsys):
    from minidiff.cli import commands

    def fail(_):
        raise error
    monkeypatch.setattr(commands, "doctor", fail)
    assert_fails(["doctor"], "minidiff doctor: there is not enough memory; choose", capsys)


def test_errors_of_several_lines_become_one(monkeypatch, capsys):
    from minidiff.cli import commands

    def fail(_):
        raise RuntimeError("no network:\nTried a\n\nTried b")
    monkeypatch.setattr(commands, "doctor", fail)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "minidiff doctor: no network: Tried a Tried b\n"


@pytest.mark.parametrize("change", [
    {"recipe": None}, {"recipe": []}, {"recipe": {}}, {"digits": None}, {"seed": []},
    {"steps": "x"}, {"minutes": {}}, {"clips": [1]},
    *[{"recipe": {group: value}} for group in ("name", "model", "clips", "training", "sampling")
      for value in (None, [], 7)],
    {"recipe": {"clips": {}}}, {"recipe": {"clips": {"size": "large", "frames": 8}}},
    {"recipe": {"clips": {"size": 32, "frames": None}}}, {"recipe": {"model": {}}},
    *[{"recipe": {"clips": {"size": 32, "frames": 8, name: value}}} for name, value in (
        ("channels", "x"), ("channels", -1), ("channels", 10**30), ("class_names", "x"),
        ("class_names", 7), ("class_names", ["a"]), ("class_names", {"a": 1}), ("dataset", []))],
    *[{"recipe": {"sampling": {name: value}}} for name, value in (
        ("seed", -1), ("frames", "x"), ("exact", "x"), ("rescale", []), ("guidance", "x"))],
    {"recipe": {"model": {"network": "unet", "net": None}}},
    {"recipe": {"model": {"network": "unet", "net": {"channels": [-32]}, "schedule": "flow",
                          "prediction": "flow"}}}])
def test_a_model_file_that_says_nonsense_is_named(trained, tmp_path, change, capsys):
    tensors, metadata = files.load_tensors(trained / "model.safetensors")
    if isinstance(change.get("recipe"), dict) and change["recipe"]:
        change = {"recipe": metadata["recipe"] | change["recipe"]}
    path = tmp_path / "model.safetensors"
    files.save_tensors(path, tensors, metadata | change)
    sampled = ["sample", path, "--steps", "1", "--out", tmp_path / "x.gif"]
    assert_fails(sampled, "model.safetensors describes a model that this version cannot build",
                 capsys)


def test_an_ascii_terminal_and_a_python_without_docstrings(trained, tmp_path):
    out = tmp_path / "für Ütz.gif"
    made = run("sample", trained / "model.safetensors", "--digit", 3, "--steps", 1, "--out", out,
               env={"PYTHONIOENCODING": "ascii"})
    assert made.returncode == 0 and out.exists() and r"f\xfcr" in made.stdout, made.stderr
    code = "from minidiff import recipes; print(recipes.summary('tiny'))"
    bare = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert bare.stdout == "tiny\n", bare.stderr


def test_printed_commands_are_quoted_for_a_shell(tmp_path, capsys):
    out = tmp_path / "a folder"
    assert main(["train", "tiny", "--steps", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(printed)[3:] == ["sample", str(out / "model.safetensors"), "--out",
                                        str(out / "clips.gif")]


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_after_the_first_ctrl_c_others_are_ignored_until_the_end(ended_by):
    from minidiff.cli.commands import one_interrupt
    before, steps = signal.getsignal(ended_by), []
    with pytest.raises(KeyboardInterrupt), one_interrupt():
        try:
            signal.raise_signal(ended_by)
        finally:
            signal.raise_signal(ended_by)
            steps.append("saved")
    assert steps == ["saved"] and signal.getsignal(ended_by) is before


def test_what_an_interrupted_training_says_is_true():
    from types import SimpleNamespace

    from minidiff.cli.commands import interrupted_message

    def said(step, saved):
        state = SimpleNamespace(step=step)
        return interrupted_message(SimpleNamespace(state=state, total_steps=9, saved_step=saved,
                                                   folder="o"), "go on")
    assert "all of it is in o" in said(5, 5) and "go on" in said(5, 5)
    assert "step 3 is saved in o" in said(5, 3)
    assert "nothing was saved" in said(0, None) and "go on" not in said(0, None)


def test_files_of_another_kind_are_named(trained, tmp_path, capsys):
    (tmp_path / "training.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    assert_fails(["train", "tiny", "--resume", "--out", tmp_path], "holds no training", capsys)
    assert_fails(["demo", "--profile", "smoke", "--out", tmp_path], "holds no training", capsys)
    saved = trained / "training.safetensors"
    assert_fails(["sample", saved, "--out", tmp_path / "x.gif"], "holds no model", capsys)
    np.save(tmp_path / "clips.npy", np.zeros((40, 8, 1, 32, 32), np.float32))
    np.save(tmp_path / "labels.npy", np.zeros(39, np.int64))
    labels = ["--labels", tmp_path / "labels.npy"]
    assert_fails(["score", tmp_path / "clips.npy", *labels], "39 labels for 40 clips", capsys)


def test_an_unknown_profile_in_the_environment_is_a_failure(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MINIDIFF_PROFILE", "huge")
    assert_fails(["demo", "--out", tmp_path], "smoke, cpu, gpu", capsys)


def test_an_output_folder_that_cannot_be_written(trained, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert_fails(["train", "tiny", "--steps", "1", "--out", tmp_path / "file"], "is a file", capsys)
    model, out = trained / "model.safetensors", tmp_path / "file" / "x.gif"
    assert_fails(["sample", model, "--steps", "1", "--out", out], "file", capsys)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_leaves_nothing_half_written(trained, tmp_path, monkeypatch, capsys):
    from minidiff.data import media

    def full(*_, **__):
        with open("/dev/full", "wb") as f:
            f.write(b"x" * 100_000)
    monkeypatch.setattr(media, "gif_bytes", full)
    model, out = trained / "model.safetensors", tmp_path / "x.gif"
    assert_fails(["sample", model, "--steps", "1", "--out", out], "No space left", capsys)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_on_one_folder(tmp_path):
    command = [*MINIDIFF, "train", "tiny", "--steps", "100000", "--out", tmp_path]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as first:
        wait_for(tmp_path / "training.safetensors")
        second = run("train", "tiny", "--steps", "1", "--out", tmp_path)
        first.send_signal(signal.SIGINT)
        said = first.communicate()[1]
    assert second.returncode == 1 and "Another process is working in" in second.stderr
    assert first.returncode in INTERRUPTED and "--resume" in said and "Traceback" not in said
    assert (tmp_path / "training.safetensors").exists()
    assert (tmp_path / "model.safetensors").exists()


def test_a_command_that_a_batch_system_ends_leaves_nothing_half_done(tmp_path):
    command = [*MINIDIFF, "train", "mmnist32", "--steps", "9", "--out", tmp_path / "new"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        wait_for(tmp_path / "new" / ".lock")                     # the digits take longer to draw
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1]
    assert process.returncode in INTERRUPTED and "Interrupted" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def wait_for(path, seconds=120) -> None:
    """Wait until a training has made this file."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not path.exists():
        time.sleep(0.1)
    time.sleep(0.5)


def test_a_machine_without_bfloat16(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    model, out = str(trained / "model.safetensors"), str(tmp_path / "x.npy")
    assert main(["sample", model, "--steps", "2", "--out", out]) == 0
    assert np.isfinite(np.load(tmp_path / "x.npy")).all()
    assert main(["train", "tiny", "--steps", "2", "--out", str(tmp_path / "run")]) == 0


def test_recipes_say_what_they_cost_here(monkeypatch, capsys):
    from minidiff import recipes
    monkeypatch.setattr(recipes, "RECIPES", {"tiny": recipes.tiny})
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    line = next(row for row in out.splitlines() if row.startswith("tiny")).split()
    count = sum(p.numel() for p in recipes.build_model(recipes.tiny().model).parameters())
    assert line[1] == f"{count:,}" and line[2:4] == ["100", "4"]
    assert 0 < float(line[4]) < 5 and 1 < float(line[5]) < 1000                  # minutes, MiB


def test_help_is_there_for_every_command(capsys):
    for args in ([], ["demo"], ["train"], ["sample"], ["score"], ["recipes"], ["doctor"]):
        with pytest.raises(SystemExit) as stop:
            main([*args, "--help"])
        assert stop.value.code == 0
        assert len(capsys.readouterr().out) > 120


# edit

def test_edit_keeps_a_part_of_given_clips_and_makes_the_rest(trained, tmp_path, capsys):
    model, clips, out = str(trained / "model.safetensors"), tmp_path / "in.npy", tmp_path / "o.npy"
    given = np.random.default_rng(0).random((2, 8, 1, 32, 32), np.float32)
    np.save(clips, given)
    for more in ([], ["--repeats", "2"]):
        assert main(["edit", model, str(clips), "--keep", "left", "--digit", "3", *more,
                     "--out", str(out)]) == 0
        made = np.load(out)
        np.testing.assert_allclose(made[..., :16], given[..., :16], atol=1e-6)
        assert (made[..., 16:] != given[..., 16:]).any()
    assert "2 clips in" in capsys.readouterr().out


def test_edit_redraws_clips_and_reads_a_gif(trained, tmp_path):
    model, gif, out = str(trained / "model.safetensors"), tmp_path / "in.gif", tmp_path / "o.npy"
    media.save(torch.rand(1, 8, 1, 32, 32), gif, scale=1)
    assert main(["edit", model, str(gif), "--redraw", "0.3", "--digit", "3",
                 "--out", str(out)]) == 0
    assert np.load(out).shape == (1, 8, 1, 32, 32)


def test_edit_refuses_what_does_not_fit(trained, tmp_path, capsys):
    model, clips = trained / "model.safetensors", tmp_path / "in.npy"
    np.save(clips, np.zeros((1, 8, 1, 16, 16), np.float32))
    out = ["--out", str(tmp_path / "o.gif")]
    assert_fails(["edit", model, clips, "--keep", "first", *out], "given must broadcast", capsys)
    np.save(clips, np.zeros((1, 8, 1, 32, 32), np.float32))
    assert_fails(["edit", model, clips, "--redraw", "2", *out], "t0 must be a number", capsys)
    with pytest.raises(SystemExit):
        main(["edit", str(model), str(clips), "--redraw", "0.5", "--repeats", "3", *out])
    assert "--repeats belong to --keep" in capsys.readouterr().err
