"""From a file to a video: what repeats, what is refused, what comes along."""
import functools
import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch.testing import assert_close

import minidiff
from minidiff import pipeline
from minidiff.data.digits import built_in
from minidiff.pipeline import Pipeline, load, save_model
from minidiff.recipes import build_model, get_recipe, training_batches
from minidiff.runtime import files
from minidiff.samplers import SAMPLERS
from minidiff.schedules import timesteps
from minidiff.unet import UNet


def facts(**settings) -> dict:
    plan = get_recipe("tiny", **settings)._asdict()
    return {"recipe": plan, "digits": "builtin", "seed": 0, "steps": 1, "clips": 4, "minutes": 0.1}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """An untrained model whose zero-initialised layers were woken up, so that it answers."""
    torch.manual_seed(0)
    denoiser = build_model(get_recipe("tiny").model)
    with torch.no_grad():
        for p in denoiser.parameters():
            if not p.any():
                p.normal_(std=0.05)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, denoiser, facts())
    return path


@pytest.fixture(scope="module")
def model(model_file) -> Pipeline:
    return load(model_file)


def test_a_call_makes_a_video(model, tmp_path):
    video = model(3, n=2, steps=3)
    assert video.tensor.shape == (2, 8, 1, 32, 32) and video.tensor.dtype == torch.float32
    assert video.tensor.min() >= 0 and video.tensor.max() <= 1 and video.labels.tolist() == [3, 3]
    assert video.trajectory is None and "asked for 3 (2 clips" in repr(video)
    video.save(tmp_path / "x.gif")
    assert set(video._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}


def test_without_a_prompt_all_digits_come_in_turn(model):
    assert model(steps=1).labels.tolist() == list(range(10))
    assert model(steps=1, n=12).labels.tolist() == [*range(10), 0, 1]


def test_the_trajectory_is_kept_when_asked_for(model):
    video = model(1, n=3, steps=4, keep_trajectory=True, batch=2)
    assert len(video.trajectory) == 5 and video.trajectory[0].t == 1 and video.trajectory[-1].t == 0
    assert_close((video.trajectory[-1].x.clamp(-1, 1) + 1) / 2, video.tensor)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_gives_the_same_clip_whatever_the_batch(model, sampler):
    settings = dict(steps=3, seed=5, sampler=sampler)
    together = model(labels=torch.tensor([1, 2, 3, 4, 5]), **settings).tensor
    apart = model(labels=torch.tensor([1, 2, 3, 4, 5]), batch=2, **settings).tensor
    alone = model(labels=torch.tensor([4]), first_index=3, **settings).tensor
    assert_close(together, apart, rtol=0, atol=2e-2)                             # bfloat16 maybe
    assert_close(together[3:4], alone, rtol=0, atol=2e-2)
    other = model(labels=torch.tensor([1, 2, 3, 4, 5]), **(settings | {"seed": 6})).tensor
    assert (other - together).abs().max() > 0.1


def test_the_digit_and_the_guidance_matter(model):
    three, seven = (model(d, steps=2, guidance=4.0).tensor for d in (3, 7))
    assert (three - seven).abs().max() > 1e-3
    ignored = [model(d, steps=2, guidance=0.0).tensor for d in (3, 7)]
    assert_close(*ignored, rtol=0, atol=2e-2)


def test_autoguidance_acts_while_noise_is_strong(model, monkeypatch):
    plain, led = (model(3, autoguidance=w, exact=True, steps=4).tensor for w in (0.0, 2.0))
    assert (plain - led).abs().max() > 1e-4
    forward, calls = UNet.forward, []

    @functools.wraps(forward)
    def counted(*args, **settings):
        calls.append(args[2][0])
        return forward(*args, **settings)
    monkeypatch.setattr(UNet, "forward", counted)
    model(3, autoguidance=2.0, steps=8)
    times = timesteps(8, model.sampling["shift"])[:-1]
    assert len(calls) == 8 + sum(t >= 0.5 for t in times) < 16    # one more while t >= .5


@pytest.mark.parametrize(("call", "words"), [
    (dict(prompt="a 3"), "no prompt 'a 3.*from 0 to 9"), (dict(prompt=3.7), "no prompt"),
    (dict(labels=[1, 12]), "from 0 to 9"), (dict(labels=[0.5]), "whole numbers"),
    (dict(labels=[]), "whole numbers"), (dict(labels=[1], n=3), "not both"),
    (dict(prompt=10), "from 0 to 9"), (dict(prompt=-1), "from 0 to 9"), (dict(n=0), "at least 1"),
    (dict(n=-2), "at least 1"), (dict(steps=0), "steps must be .* from 1"),
    (dict(steps=-5), "steps must be"),
    (dict(sampler="magic"), "ddim"), (dict(guidance=-1.0), "0 or more"),
    (dict(guidance=float("nan")), "0 or more"), (dict(seed=-1), "A seed must be"),
    (dict(autoguidance=-1.0), "autoguidance must be a number, 0 or more"),
    (dict(autoguidance="much"), "autoguidance must be a number"),
    (dict(sampler="eulr"), r"do you mean 'euler'\?"), (dict(stesp=3), r"do you mean 'steps'\?"),
    (dict(steps=2.5), "whole number"), (dict(steps=10**12), "whole number"),
    (dict(seed=2**63), "A seed must be"), (dict(first_index=-1), "first_index must be"),
    (dict(exact="x"), "exact must be true or false"), (dict(frames=True), "not of True"),
    (dict(batch=0), "batch must be at least 1"), (dict(n=2.5), "n must be at least 1"),
    (dict(n=10**9), r"would need about .* of memory"),
    (dict(prompt=1, frames=10**7), r"would need about .* of memory.*fewer clips or frames"),
    (dict(n=10**20), "of memory"), (dict(guidance=True, shift=0), "shift"),
    (dict(prompt=1, wrap=lambda denoise: None), "must return a function"),
    (dict(prompt=1, wrap=3), "wrap must be a function"),
    (dict(cond=torch.tensor([1]), n=1), "Give cond alone")])
def test_what_cannot_be_made_is_refused(model, call, words):
    with pytest.raises(ValueError, match=words):
        model(**({"steps": 1} | call))


def test_weights_are_stored_in_half_precision(model_file, model):
    tensors, about = files.load_tensors(model_file)
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert about["recipe"]["name"] == "tiny"
    assert next(model.denoiser.parameters()).dtype == torch.float32


def test_a_file_that_describes_another_model_is_refused(model_file, tmp_path):
    tensors, about = files.load_tensors(model_file)
    for change in ({"network": "gan"}, {"net": {"widths": 3}}, {"schedule": "steep"}):
        strange = about["recipe"] | {"model": about["recipe"]["model"] | change}
        files.save_tensors(tmp_path / "x.safetensors", tensors, about | {"recipe": strange})
        with pytest.raises(ValueError, match="describes a model"):
            load(tmp_path / "x.safetensors")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no checkpoint 'mmnist99'.*mmnist32"):
        load("mmnist99")
    for nothing in (None, [], 3):
        with pytest.raises(ValueError, match="Give the name or the file of a model"):
            load(nothing)


def test_other_files_are_refused(model_file, tmp_path):
    files.save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)}, {"what": "something else"})
    with pytest.raises(ValueError, match="holds no model"):
        load(tmp_path / "x.safetensors")
    tensors, _ = files.load_tensors(model_file)
    files.save_tensors(tmp_path / "y.safetensors", tensors, facts(channels=(32, 32)))
    with pytest.raises(ValueError, match=r"y\.safetensors holds another network"):
        load(tmp_path / "y.safetensors")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere.safetensors")


def test_the_shipped_model_is_the_one_on_its_card():
    for name in pipeline.shipped_checkpoints():
        card = json.loads((pipeline.CHECKPOINTS / f"{name}.json").read_text())
        tensors, about = files.load_tensors(pipeline.CHECKPOINTS / f"{name}.safetensors")
        assert files.digest(tensors) == card["sha256"]
        assert about["recipe"]["name"] == card["name"] == name
        wanted = {"command", "seed", "clips", "minutes", "machine", "score", "digits", "date"}
        assert wanted <= card.keys()


def test_the_shipped_model_makes_a_video():
    video = minidiff.load("mmnist32")(3, steps=4)
    assert video.tensor.shape == (1, 8, 1, 32, 32)
    ink = video.tensor.mean((0, 2, 3, 4))
    assert (ink > 0.01).all() and (ink < 0.3).all()          # a digit in every frame, mostly black


def made(sampling=None, **recipe) -> Pipeline:
    """A small model of one's own, untrained, whose last layers were woken up."""
    settings = dict(channels=[32], patch=4, attention_levels=1) | recipe.pop("net", {})
    own = get_recipe("tiny")._replace(
        model=dict(network="unet", net=settings, schedule="flow", prediction="flow"),
        clips=dict(size=16, frames=4) | recipe.pop("clips", {}), sampling=sampling or {})
    torch.manual_seed(0)
    denoiser = build_model(own.model)
    with torch.no_grad():
        for p in denoiser.parameters():
            if not p.any():
                p.normal_(std=0.05)
    return Pipeline(denoiser, {"recipe": own._asdict()})


@pytest.mark.parametrize("sampling", [{}, dict(autoguidance=0.5)])
def test_a_model_without_conditions_can_be_sampled(sampling):
    model = made(sampling)
    video = model(n=3, steps=2, batch=2)
    assert video.tensor.shape == (3, 4, 1, 16, 16) and video.labels is None
    assert torch.equal(model(steps=2, exact=True).tensor, model(n=1, steps=2, exact=True).tensor)
    assert repr(video).startswith("3 clips")
    for wrong in (dict(prompt=3), dict(labels=[1]), dict(cond=torch.zeros(1))):
        with pytest.raises(ValueError, match=r"no conditions|that has conditions"):
            model(steps=2, **wrong)
    with pytest.warns(UserWarning, match="guidance does nothing"):
        model(steps=2, guidance=3.0)


@pytest.mark.parametrize(("net", "clips", "shape"), [
    (dict(in_channels=3), dict(size=16), (4, 3, 16, 16)),
    (dict(classes=3), dict(size=[16, 24]), (4, 1, 16, 24)),
    (dict(in_channels=3, classes=2), dict(size=(24, 8), frames=2), (2, 3, 24, 8))])
def test_colour_and_oblong_clips_can_be_sampled(net, clips, shape, tmp_path):
    model = made(net=net, clips=clips)
    video = model(n=2, steps=2)
    assert video.tensor.shape == (2, *shape) == (2, *model.recipe.shape)
    video.save(tmp_path / "x.gif")
    assert_close(model(n=2, steps=2, batch=1).tensor, video.tensor, rtol=0, atol=2e-2)


def test_the_conditions_are_the_recipe_s():
    names = ["disc", "square", "star"]
    model = made(net=dict(classes=3), clips=dict(class_names=names))
    assert model(steps=2).labels.tolist() == [0, 1, 2]
    assert "asked for star (2 clips" in repr(model("star", n=2, steps=2))
    with pytest.raises(ValueError, match="from 0 to 2, or one of disc, square, star"):
        model("circle", steps=2)
    own = model(cond=torch.tensor([2, 0]), steps=2, exact=True).tensor
    assert torch.equal(own, model(labels=[2, 0], steps=2, exact=True).tensor)


@pytest.mark.parametrize(("settings", "words"), [
    (dict(labels="ab"), "labels must be"), (dict(labels=[None]), "labels must be"),
    (dict(labels=[[1], [2, 3]]), "labels must be"), (dict(cond="x"), "cond must be"),
    (dict(cond=torch.tensor(1)), "cond must be"), (dict(cond=torch.zeros(0).long()), "at least"),
    (dict(n=1, sampler=[]), "Unknown sampler"), (dict(n=1, frames=10**20), "frames, not of"),
    (dict(n=1, interval=3), "interval must be"), (dict(n=1, interval=[0.5]), "interval must be"),
    (dict(n=1, interval="ab"), "interval must be")])
def test_arguments_of_another_kind_are_refused_in_a_sentence(model, settings, words):
    with pytest.raises(ValueError, match=words):
        model(steps=2, **settings)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32])
def test_labels_may_be_of_any_integer_type(model, dtype):
    labels = torch.tensor([1, 2], dtype=dtype)
    assert model(labels=labels, steps=2).labels.dtype == torch.int64
    with pytest.raises(ValueError, match="whole numbers"):
        model(labels=torch.tensor([True]), steps=2)


def test_none_is_the_model_s_own_setting(model):
    none = dict.fromkeys(("seed", "guidance", "sampler", "shift", "autoguidance", "frames", "exact",
                          "rescale", "batch", "first_index", "n", "wrap"))
    usual = model(3, exact=True, steps=2).tensor
    assert torch.equal(model(3, **none | dict(exact=True, steps=2)).tensor, usual)
    assert model.with_defaults(dict(steps=None))["steps"] == model.sampling["steps"]
    assert model.with_defaults(dict(interval=None))["interval"] is None


def test_wrap_acts_last_so_what_is_known_stays(model):
    """Guidance is scaled and x0 clipped before it: what it returns is what the sampler sees."""
    known = torch.full((1, 1, 32, 32), 0.5)
    mask = (torch.arange(8) < 3).view(-1, 1, 1, 1)
    seen = []

    def wrap(denoise):
        def watched(x, t):
            x0 = denoise(x, t)
            seen.append(float(x0.abs().max()))
            return x0
        return minidiff.inpainted(watched, known, mask)
    video = model(3, n=2, steps=3, guidance=9.0, sampler="ddim", wrap=wrap)
    assert len(seen) == 3 and max(seen) <= 1
    assert_close(video.tensor[:, :3], torch.full((2, 3, 1, 32, 32), 0.75))
    assert (video.tensor[:, 3:] - 0.75).abs().mean() > 0.05
    plain = model(3, steps=3, exact=True).tensor
    assert torch.equal(plain, model(3, steps=3, exact=True, wrap=lambda d: d).tensor)


def test_one_step_is_warned_of(model):
    with pytest.warns(UserWarning, match="One step shows the mean"):
        model(3, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(3, steps=2)


def test_weights_that_are_no_numbers_are_refused(tmp_path, model):
    weights = {k: v * torch.nan for k, v in model.denoiser.state_dict().items()}
    files.save_tensors(tmp_path / "nan.safetensors", weights, facts())
    with pytest.raises(ValueError, match=r"nan\.safetensors holds weights that are NaN"):
        load(tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="made NaN or infinite"):
        model(3, steps=2, wrap=lambda d: lambda x, t: d(x, t) * torch.nan)


def test_a_full_memory_is_one_sentence(model):
    def wrap(denoise):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate "
                           "memory: you tried to allocate 9 bytes.")
    with pytest.raises(ValueError, match="The memory is full; give a smaller batch"):
        model(3, steps=2, wrap=wrap)


def test_no_global_random_state_is_moved_and_no_default_matters(model_file, model):
    before, usual = torch.random.get_rng_state(), model(3, steps=2, exact=True).tensor
    again = load(model_file)
    again(3, steps=2)
    next(training_batches(get_recipe("tiny"), built_in(n=20), 0))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.set_default_dtype(torch.float64)
    try:
        other = load(model_file)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(other(3, steps=2, exact=True).tensor, usual)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, model):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_model("~/x.safetensors", model.denoiser, facts())
    assert (tmp_path / "x.safetensors").exists() and load("~/x.safetensors").recipe.name == "tiny"


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="do you mean 'mmnist32'"):
        load("mnist32")
    with pytest.raises(ValueError, match="do you mean 'tiny'"):
        get_recipe("tinny")
    with pytest.raises(ValueError, match="do you mean 'channels'"):
        get_recipe("tiny", chanels=[32])


def test_importing_the_package_is_quick_and_lazy():
    code = ("import sys, time, torch; a = time.process_time(); import minidiff; "
            "b = time.process_time() - a; from minidiff import load, Denoiser, UNet, DiT, VAE, "
            "guided, autoguided, clipped, inpainted, course, digits, scoreboard, samplers; "
            "print(b, minidiff.schedules.Flow, 'load' in dir(minidiff))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert float(out.stdout.split()[0]) < 0.2 and out.stdout.split()[-1] == "True"
