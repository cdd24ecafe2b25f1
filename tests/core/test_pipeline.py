"""From a file to a video: what repeats, what is refused, what comes along."""
import json

import pytest
import torch
from torch.testing import assert_close

import minidiff
from minidiff import pipeline
from minidiff.pipeline import Pipeline, load, save_model
from minidiff.recipes import build_model, get_recipe
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
    monkeypatch.setattr(UNet, "forward", lambda *args: calls.append(args[2][0]) or forward(*args))
    model(3, autoguidance=2.0, steps=8)
    times = timesteps(8, model.sampling["shift"])[:-1]
    assert len(calls) == 8 + sum(t >= 0.5 for t in times) < 16    # one more while t >= .5


@pytest.mark.parametrize(("call", "words"), [
    (dict(prompt="a 3"), "no prompt 'a 3.*from 0 to 9"), (dict(prompt=3.7), "no prompt"),
    (dict(labels=[1, 12]), "from 0 to 9"), (dict(labels=[0.5]), "whole numbers"),
    (dict(labels=[]), "whole numbers"), (dict(labels=[1], n=3), "not both"),
    (dict(prompt=10), "from 0 to 9"), (dict(prompt=-1), "from 0 to 9"), (dict(n=0), "at least 1"),
    (dict(n=-2), "at least 1"), (dict(steps=0), "n >= 1"), (dict(steps=-5), "n >= 1"),
    (dict(sampler="magic"), "ddim"), (dict(guidance=-1.0), "0 or more"),
    (dict(guidance=float("nan")), "0 or more"), (dict(seed=-1), "A seed must be"),
    (dict(autoguidance=-1.0), "autoguidance must be a number, 0 or more"),
    (dict(autoguidance="much"), "autoguidance must be a number")])
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
