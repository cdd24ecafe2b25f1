"""Models that read prompts and work on latents: from words to a clip, and what is refused."""
import warnings

import pytest
import torch
from torch.testing import assert_close

from minidiff.__main__ import main
from minidiff.data.digits import built_in
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import HELD_OUT
from minidiff.data.prompts import VERBS, VOCABULARY, encode, parse
from minidiff.evaluation import evaluate
from minidiff.pipeline import Pipeline, load, passes_are_alike, save_model
from minidiff.recipes import build_model, get_recipe, training_batches
from minidiff.training.training_run import TrainingRun
from minidiff.vae import VAE

SMALL = dict(frames=2, steps=2)


def awake(model):
    """The model with its parts that began at 0 woken up, so that it answers."""
    with torch.no_grad():
        for p in model.parameters():
            if p.abs().max() < 0.01:
                p.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small VAE and a small model that reads prompts, both hardly trained."""
    folder = tmp_path_factory.mktemp("prompted")
    plan = get_recipe("mmnist64-vae", channels=(16,), bottleneck_channels=16, batch=2)
    fit = TrainingRun(folder / "vae", plan, steps=1)
    assert [r.step for r in fit.steps()] == [1]
    fit.close()
    plan = get_recipe("mmnist64-text", channels=(32, 32), attention=1, batch=2,
                  vae=str(folder / "vae" / "model.safetensors"))
    fit = TrainingRun(folder / "text", plan, steps=2)
    assert [r.step for r in fit.steps()] == [1, 2]
    save_model(folder / "text.safetensors", awake(fit.state.ema.model), fit.metadata())
    fit.close()
    return folder


@pytest.fixture(scope="module")
def model(folder) -> Pipeline:
    return load(folder / "text.safetensors")


def test_words_become_a_video(model, tmp_path):
    video = model("a 3 moving left and a 7 moving up", steps=2, guidance=3.0, seed=0)
    assert video.tensor.shape == (1, 16, 1, 64, 64)
    assert video.tensor.min() >= 0 and video.tensor.max() <= 1
    assert "a 3 moving left and a 7 moving up" in repr(video) and video.labels is None
    assert set(video._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}
    video.save(tmp_path / "x.gif")


def test_n_prompts_lists_and_nothing(model):
    assert model("a 7", n=3, **SMALL).tensor.shape == (3, 2, 1, 64, 64)
    video = model(["a 7", None], **SMALL)
    assert video.prompts == ["a 7", "anything"] and len(video.tensor) == 2
    assert len(model(**SMALL).tensor) == 1


def test_a_clip_depends_on_its_seed_not_on_its_batch(model):
    prompts, settings = ["a 7", "a 3 moving up", None], dict(seed=5, exact=True) | SMALL
    together = model(prompts, **settings).tensor
    apart = model(prompts, batch=2, **settings).tensor
    alone = model(prompts[1], first_index=1, **settings).tensor
    assert_close(together, apart, rtol=0, atol=1e-3)
    assert_close(together[1:2], alone, rtol=0, atol=1e-3)
    z = torch.randn(2, 1, 1, 16, 16)
    assert torch.equal(model.decode(z, exact=True), to_unit(model.vae.decode(z)))
    assert (model(prompts, **settings | {"seed": 6}).tensor - together).abs().max() > 0.05


def test_words_negatives_guidance_interval_and_rescale_all_matter(model):
    plain = model("a 3 moving left", exact=True, **SMALL).tensor
    for other in (dict(prompt="a 4 moving left"), dict(negative_prompt="a 3"), dict(guidance=9.0),
                  dict(interval=(0.9, 1.0)), dict(rescale=1.0)):
        settings = dict(prompt="a 3 moving left", exact=True) | SMALL | other
        assert (model(**settings).tensor - plain).abs().max() > 1e-4, other


def test_guidance_keeps_to_the_recipe_s_interval_unless_told_otherwise(model):
    low, high = model.sampling["interval"]
    settings = dict(prompt="a 3 moving left", exact=True, frames=2, steps=8)
    usual = model(**settings).tensor
    assert torch.equal(usual, model(interval=(low, high), **settings).tensor)
    assert (usual - model(interval=None, **settings).tensor).abs().max() > 1e-4


def test_a_prompt_of_every_word_samples(model):
    prompts = [f"3 {word} 7" if word == "and" else f"{word} 3" if word in ("a", "the", "digit")
               else f"3 {word}" if word in VERBS else word for word in VOCABULARY[1:]]
    clips = model(prompts, steps=2, frames=2).tensor
    assert clips.shape == (len(prompts), 2, 1, 64, 64) and clips.isfinite().all()


def test_one_frame_is_one_frame(model):
    with pytest.warns(UserWarning, match="trained on clips of 16 frames.*poor quality"):
        video = model("a 3", n=2, steps=2, frames=1, keep_trajectory=True)
    assert video.tensor.shape == (2, 1, 1, 64, 64)
    z = video.trajectory[-1].x
    assert_close(video.tensor[:, 0], to_unit(model.vae.decode(z[:, 0])), rtol=0, atol=2e-2)


def test_equal_phrases_are_warned_of_if_nothing_tells_them_apart(folder):
    twice, model = "a 3 moving left and a 3 moving left", load(folder / "text.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(twice, **SMALL)                           # its embedding of numbers is not 0
        numbers = model.denoiser.net.number_embedding.weight
        with torch.no_grad():
            numbers[1:] = 0                        # as if its training had no equal phrases
        model(["a 3 moving left and a 3 moving right", "a 3", None], **SMALL)
    with pytest.warns(UserWarning, match="asks twice for the same"):
        model(twice, **SMALL)


def test_the_shipped_text_model_cannot_tell_equal_phrases_apart():
    assert passes_are_alike(load("mmnist64-text").denoiser.net)
    assert not passes_are_alike(load("mmnist32").denoiser.net)


def test_each_clip_has_its_own_negative_prompt_in_every_batch(model):
    prompts, negatives = ["a 7", "a 3 moving up", None], ["a 3", None, "a 5 moving left"]
    settings = dict(seed=5, exact=True, guidance=6.0) | SMALL
    apart = model(prompts, negative_prompt=negatives, batch=2, **settings).tensor
    for i, (prompt, negative) in enumerate(zip(prompts, negatives, strict=True)):
        alone = model(prompt, negative_prompt=negative, first_index=i, **settings).tensor
        assert_close(apart[i:i + 1], alone, rtol=0, atol=1e-3)
    conditions = evaluate.SampleConditions(prompts, torch.zeros(3), None)
    clips = evaluate.sample_clips(model, conditions, batch=2, negative_prompt=negatives, **settings)
    assert_close(torch.cat([video.tensor for video in clips]), apart, rtol=0, atol=1e-3)
    one = model(prompts, negative_prompt="a 3", batch=2, **settings).tensor
    assert_close(one[:1], apart[:1], rtol=0, atol=1e-3)
    assert (one[2] - apart[2]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="one for each: got 2 for 3 clips"):
        model(prompts, negative_prompt=negatives[:2], **settings)


@pytest.mark.parametrize("size", [64, 32])
def test_a_latent_model_makes_what_its_vae_decodes(model, size):
    clips = model.recipe.clips | {"size": [size, 64]}
    other = Pipeline(model.denoiser, {"recipe": model.recipe._replace(clips=clips)._asdict()},
                     model.vae)
    assert other("a 3", **SMALL).tensor.shape == (1, 2, 1, size, 64)


def test_the_trajectory_is_one_of_latents_that_can_be_shown(model):
    video = model("a 3", keep_trajectory=True, **SMALL)
    assert video.trajectory[0].x.shape == (1, 1, 1, 16, 16) and len(video.trajectory) == 3
    assert_close(model.decode(video.trajectory[-1].x), video.tensor, rtol=0, atol=2e-2)


@pytest.mark.parametrize(("call", "words"), [
    (dict(prompt="a cat"), "cat"), (dict(prompt=""), "empty"), (dict(prompt=3), "reads words"),
    (dict(prompt=[]), "empty"), (dict(labels=[3]), "takes no labels"), (dict(n=0), "at least 1"),
    (dict(prompt=["a 3"], n=2), "not both"), (dict(frames=3), "multiple of 2"),
    (dict(frames=0), "not of 0"), (dict(frames=2.5), "not of 2.5"),
    (dict(guidance="much"), "number"),
    (dict(guidance=-1.0), "0 or more"), (dict(negative_prompt="a dog"), "dog"),
    (dict(interval=(0.9, 0.1)), "interval"), (dict(rescale=2.0), "rescale"),
    (dict(speed=3), "Unknown settings speed")])
def test_what_cannot_be_made_is_refused(model, call, words):
    with pytest.raises(ValueError, match=words):
        model(**({"steps": 1} | call))


def test_a_model_that_knows_digits_takes_no_words():
    recipe = get_recipe("tiny")
    digits = Pipeline(build_model(recipe.model), {"recipe": recipe._asdict()})
    with pytest.raises(ValueError, match="from 0 to 9"):
        digits("a 3 moving left", steps=1)
    with pytest.raises(ValueError, match="reads prompts"):
        digits(3, negative_prompt="a 4", steps=1)


def test_a_vae_comes_as_itself(folder):
    vae = load(folder / "vae" / "model.safetensors")
    assert isinstance(vae, VAE) and vae.metadata["recipe"]["name"] == "mmnist64-vae"
    z = vae.encode(torch.full((1, 4, 1, 64, 64), -1.0))
    assert z.shape == (1, 2, 1, 16, 16) and not z.requires_grad
    assert (vae.latent_std - 1).abs().max() > 1e-3                  # calibrated when it was saved


def test_another_vae_or_no_vae_is_refused(folder, tmp_path):
    model = load(folder / "text.safetensors")
    about = model.metadata | {"vae": "0" * 64}
    save_model(tmp_path / "x.safetensors", model.denoiser, about)
    with pytest.raises(ValueError, match="latents of another VAE"):
        load(tmp_path / "x.safetensors")
    plan = get_recipe("mmnist64-text", vae=str(folder / "text.safetensors"))
    with pytest.raises(ValueError, match="is not a VAE"):
        TrainingRun(tmp_path / "run", plan, steps=1)


def test_a_decoder_can_be_trained_alone(folder, tmp_path):
    begin = folder / "vae" / "model.safetensors"
    plan = get_recipe("mmnist64-vae", channels=(16,), bottleneck_channels=16, batch=2,
                      decoder_only=True)
    fit = TrainingRun(tmp_path, plan, steps=2, init_from=begin)
    list(fit.steps())
    fit.close()
    clips = torch.rand(2, 4, 1, 64, 64) * 2 - 1
    old, new = load(begin), load(tmp_path / "model.safetensors")
    assert torch.equal(old.encode(clips), new.encode(clips))
    assert (old.decode(old.encode(clips)) - new.decode(old.encode(clips))).abs().max() > 1e-4
    assert new.metadata["begun"]["sha256"] == old.metadata["sha256"]


def test_a_model_with_more_layers_goes_on_where_one_with_fewer_was(folder, tmp_path):
    begin, vae = folder / "text.safetensors", str(folder / "vae" / "model.safetensors")
    old = load(begin)
    net = old.metadata["recipe"]["model"]["net"]
    more = dict(channels=net["channels"], attention=net["attention_levels"] + 1, vae=vae, batch=2)
    fit = TrainingRun(tmp_path / "more", get_recipe("mmnist64-text", **more), steps=1,
                      init_from=begin)
    fit.close()
    asked = torch.randn(2, 2, 1, 16, 16), torch.tensor([0.3, 0.9]), encode(["a 3", "a 7"])
    with torch.no_grad():
        new, known = fit.state.model.eval()(*asked), old.denoiser.eval()(*asked)
    assert_close(new, known, rtol=0, atol=1e-5)
    assert len(fit.state.model.state_dict()) > len(old.denoiser.state_dict())
    with pytest.raises(ValueError, match="does not fit into this network"):
        TrainingRun(tmp_path / "less", get_recipe("mmnist64-text", **more | {"attention": 0}),
                    steps=1, init_from=begin)


def test_images_and_clips_alternate(folder):
    plan = get_recipe("mmnist64-text", channels=(32, 32), batch=2, images=0.5,
                  vae=str(folder / "vae" / "model.safetensors"))
    vae = load(folder / "vae" / "model.safetensors")
    batches = training_batches(plan, built_in(n=50), 0, vae=vae)
    assert [next(batches)[0].shape[1] for _ in range(4)] == [8, 1, 8, 1]


def test_a_pool_of_latents_comes_again_in_other_words(folder):
    plan = get_recipe("mmnist64-text", batch=8, pool=2,
                      vae=str(folder / "vae" / "model.safetensors"))
    vae = load(folder / "vae" / "model.safetensors")
    batches = training_batches(plan, built_in(n=50), 0, vae=vae)
    (x, words), (y, _), (again, other), _ = (next(batches) for _ in range(4))
    assert again is x and not torch.equal(x, y) and not torch.equal(words, other)
    resumed, said = next(training_batches(plan, built_in(n=50), 0, start=2, vae=vae))
    assert torch.equal(resumed, x) and torch.equal(said, other)


def test_prompts_to_judge_by_are_of_the_pairs_wanted(model):
    for pairs, held in (("seen", False), ("held_out", True)):
        asked = evaluate.evaluation_conditions(model, 50, 1, pairs)
        rows = zip(asked.labels.flatten().tolist(), asked.directions.flatten().tolist())
        assert all((pair in HELD_OUT) == held for pair in rows)
        said = [parse(p) for p in asked.prompts]
        assert [[t.digit for t in row] for row in said] == asked.labels.tolist()
        assert [[t.direction for t in row] for row in said] == asked.directions.tolist()


def test_the_command_line_takes_prompts(folder, tmp_path, capsys):
    model, out = str(folder / "text.safetensors"), str(tmp_path / "x.gif")
    usual = ["sample", model, "--steps", "1", "--frames", "2", "--out", out]
    assert main([*usual, "--prompt", "a 3 moving left", "--negative", "a 7"]) == 0
    assert "a 3 moving left" in capsys.readouterr().out
    for wrong, words in ((["--prompt", "a cow"], "cow"), (["--digit", "3"], "takes no --digit")):
        assert main([*usual, *wrong]) == 1
        assert words in capsys.readouterr().err
    assert main(["sample", "mmnist32", "--prompt", "a 3", "--out", out]) == 1
    assert "takes digits, not words" in capsys.readouterr().err
    vae = str(folder / "vae" / "model.safetensors")
    assert main(["sample", vae, "--out", out]) == 1
    assert "is a VAE" in capsys.readouterr().err


def test_settings_of_a_recipe_can_be_set(tmp_path, capsys):
    train = ["train", "tiny", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main([*train, "--set", "batch=2", "--set", "channels=[32]"]) == 0
    assert load(tmp_path / "run" / "model.safetensors").metadata["clips"] == 2
    assert main([*train, "--set", "wings=2"]) == 1
    assert "no setting wings; it has channels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*train, "--set", "wings"])


def test_a_model_that_reads_gets_a_row_with_its_prompts(model):
    row = evaluate.evaluate_model(model, 32, 1, "mnist", steps=1)
    assert row["reference"].startswith("mnist-64x16-sprite20-digits2") and row["n"] == 32
    assert row["SCORE"] < 0.25 and row["real_prompt_joint_seen"] > 0.9
    for part in ("seen", "heldout", "shuffled"):
        assert 0 <= row[f"prompt_joint_{part}"] <= 0.2


def test_what_a_vae_loses_stands_beside_real_clips(folder, mnist_folder):
    row = evaluate.evaluate_vae(load(folder / "vae" / "model.safetensors"), 32, 1, mnist_folder)
    assert row["numbers"] == 32 and 0 < row["PSNR"] < 25                         # hardly trained
    assert row["REC"] < 0.3 and row["real_smooth"] > 0.9
    assert row["flicker"] > row["real_flicker"]
