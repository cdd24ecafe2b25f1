"""Clips that cannot be judged are refused at once, with the cause and the cure."""
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation import digit_classifier, evaluate, references
from minidiff.evaluation.baselines import BASELINES, Studio
from minidiff.evaluation.digit_classifier import load_digit_classifier, train_digit_classifier
from minidiff.evaluation.metrics import frame_side, guidance_metrics, measure
from minidiff.evaluation.reference_rows import ship_reference
from minidiff.evaluation.references import (
    build_reference,
    load_reference,
    reference_for,
    reference_name,
    save_reference,
)
from minidiff.evaluation.scoreboard import score


@pytest.fixture(scope="module")
def fresh():
    return digits.Digits(*digits.strokes(500, seed=4242))


@pytest.fixture(scope="module")
def real(fresh):
    """32 clips in [0, 1]."""
    return (moving_mnist(fresh, 32, seed=31).x + 1) / 2


@pytest.fixture
def no_work(monkeypatch):
    """Fails if any digit is loaded: a refusal must come before the work."""
    def load(*_):
        raise AssertionError("the work has begun")
    monkeypatch.setattr(references, "load", load)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12, 16, 20])
def test_small_clips_are_refused_at_once(size, no_work):
    with pytest.raises(ValueError, match=rf"Clips of {size}x{size} px .*not judged.*23x23 px"):
        score(torch.rand(32, 8, 1, size, size))


@pytest.mark.parametrize(("shape", "settings", "words"), [
    ((32, 8, 1, 32, 32), {"sprite": 4}, "digits of 4 px are not judged"),
    ((32, 8, 1, 32, 32), {"sprite": 32}, "does not fit frames of 32x32"),
    ((32, 4, 1, 300, 300), {}, "16 frames of 128x128 px"),
    ((32, 300, 1, 32, 32), {}, "16 frames of 128x128 px"),
    ((32, 8, 1, 32, 32), {"num_digits": 7}, "6 digits are the most"),
    ((32, 8, 1, 32, 32), {"num_digits": (1, 12)}, "1to12 digits are not judged")])
def test_other_settings_without_a_reference_are_refused_at_once(shape, settings, words, no_work):
    with pytest.raises(ValueError, match=words):
        score(torch.rand(shape), **settings)


def test_small_references_are_not_built(no_work):
    for build in (reference_for, build_reference):
        with pytest.raises(ValueError, match="not judged"):
            build("builtin", 8, 8)
    with pytest.raises(ValueError, match="not judged"):
        reference_for("builtin", (32, 48), 8)
    assert frame_side((48, 48)) == frame_side(48) == 48


@pytest.mark.parametrize("shape", [(32, 8, 1, 32, 48), (32, 8, 1, 48, 32), (32, 8, 3, 24, 32)])
def test_frames_that_are_not_square_are_refused(shape, no_work):
    with pytest.raises(ValueError, match=f"Clips of {shape[-2]}x{shape[-1]} px are not judged"):
        score(torch.rand(shape))


def test_colour_is_refused_and_grey_in_three_channels_is_grey(real):
    row, grey = score(real), score(real.expand(-1, -1, 3, -1, -1))
    assert [grey[k] for k in ("SCORE", "ID", "FIT")] == pytest.approx(
        [row[k] for k in ("SCORE", "ID", "FIT")], abs=1e-3)
    red = torch.cat([real, 0 * real, 0 * real], 2)
    for clips in (red, torch.rand(32, 8, 3, 32, 32)):
        with pytest.raises(ValueError, match=r"Colour clips are not judged.*clips\.mean"):
            score(clips)


@pytest.mark.parametrize(("spoil", "cure"), [
    (lambda x: x * torch.nan, "weights are finite"),
    (lambda x: torch.where(x > 0.9, torch.nan, x), "weights are finite"),
    (lambda x: x / 0, "weights are finite"),
    (lambda x: 2 * x - 1, r"\(x \+ 1\) / 2"), (lambda x: 255 * x, "x / 255"),
    (lambda x: 40 * x - 20, "scale or clip")])
def test_bad_values_are_refused_with_the_right_advice(real, spoil, cure):
    with pytest.raises(ValueError, match=cure) as caught:
        score(spoil(real))
    assert "\n" not in str(caught.value)


def fake_model(clips, classes=10, vocabulary=None):
    """A stand-in for a Pipeline, with the number of its calls."""
    calls = []

    def call(labels, seed, first_index):
        calls.append(first_index)
        return SimpleNamespace(tensor=clips[:len(labels)])

    class Model:
        recipe = SimpleNamespace(conditions="class", classes=classes, vocabulary=vocabulary,
                                 clips={"num_digits": 1, "size": 32, "frames": 8})

        def __call__(self, **inputs):
            return call(**inputs)

        def make_labels(self, digit, n):
            return torch.arange(n) % 10

    return Model(), calls


@pytest.mark.parametrize(("clips", "words"), [
    (torch.rand(32, 8, 1, 32, 48), "not judged"), (torch.rand(32, 8, 3, 32, 32), "not judged"),
    (torch.full((32, 8, 1, 32, 32), torch.nan), "weights are finite")])
def test_a_model_is_refused_after_its_first_batch(clips, words):
    model, calls = fake_model(clips)
    with pytest.raises(ValueError, match=words):
        evaluate.evaluate_model(model, 320, 0, "builtin")
    assert calls == [0]


def test_an_unknown_source_and_a_model_without_conditions_are_refused_before_sampling(real):
    model, calls = fake_model(real)
    with pytest.raises(ValueError, match="There are no digits"):
        evaluate.evaluate_model(model, 64, 0, "bultin")
    model, calls = fake_model(real, classes=None)
    with pytest.raises(ValueError, match="neither digits nor prompts"):
        evaluate.evaluate_model(model, 64, 0, "builtin")
    assert not calls
    model, calls = fake_model(real, classes=12)
    with pytest.raises(ValueError, match="12 classes"):
        evaluate.evaluate_model(model, 64, 0, "builtin")
    assert not calls


def test_none_is_the_default(real, fresh):
    row = score(real, None, None, held_out=None, reference=None, sprite=None, num_digits=None,
                seeds=None)
    assert row == score(real)
    model, _ = fake_model(real)
    assert evaluate.evaluate_model(model, 32, None, None, None)["seeds"] == [0]
    studio = Studio(fresh, 4, None, None, None, None, None)
    assert torch.equal(studio.real.x, Studio(fresh, 4).real.x)
    a, b = measure(real, 14, None), measure(real, 14)
    assert torch.equal(a.track, b.track)
    guidance_metrics(real, torch.zeros(32), None)
    assert reference_for("builtin", 32, 8, None, None) is reference_for("builtin", 32, 8)
    assert load_digit_classifier(None) is load_digit_classifier()


def test_paths_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ref = reference_for("builtin", 32, 8)
    assert save_reference(ref, "~/a/reference.safetensors").parent == tmp_path / "a"
    assert load_reference("~/a/reference.safetensors").name() == ref.name()
    (tmp_path / "c.safetensors").write_bytes(digit_classifier.SHIPPED_CLASSIFIER.read_bytes())
    assert load_digit_classifier("~/c.safetensors")[1] == load_digit_classifier()[1]
    (tmp_path / "digits").mkdir()
    assert reference_name("~/digits") == "mnist"


def test_shipping_takes_a_tilde(tmp_path, monkeypatch):
    from minidiff.evaluation import reference_rows
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ref = reference_for("builtin", 32, 8)
    build = lambda *_: ref._replace(metadata=dict(ref.metadata))                 # noqa: E731
    build.cache_clear = lambda: None
    monkeypatch.setattr(reference_rows, "build_reference", build)
    monkeypatch.setattr(reference_rows, "baseline_rows", lambda *_, **__: [])
    assert ship_reference(folder="~/shipped").is_file() and (tmp_path / "shipped").is_dir()


def moved(action) -> list[str]:
    """The global generators that an action moved."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    action()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    same = torch.equal(before[0], after[0]), before[1] == after[1], before[2] == after[2]
    return [name for name, kept in zip(("torch", "random", "numpy"), same, strict=True) if not kept]


def test_scoring_and_references_move_no_global_generator(real, fresh, monkeypatch):
    few = digits.built_in("test", 400)
    monkeypatch.setattr(references, "load", lambda source, split, n=400: few)

    def all_of_it():
        digit_classifier.read_digit_classifier.cache_clear()
        references.read_reference.cache_clear()
        score(real, torch.arange(32) % 10)
        build_reference.__wrapped__("builtin", 32, 4, n=40)
        BASELINES["shuffled"].make(Studio(fresh, 4))
        evaluate.evaluate_model(fake_model(real)[0], 32, 0, "builtin")
    assert not moved(all_of_it)


def test_training_the_classifier_moves_no_global_generator(mnist_folder, tmp_path):
    path = tmp_path / "c.safetensors"
    assert not moved(lambda: list(train_digit_classifier(mnist_folder, None, 2, None, path)))


@pytest.mark.parametrize("labels", [
    torch.zeros(32, dtype=torch.bool), ["3"] * 32, "3", {"digit": 3}, [[1, 2], [3]] * 16,
    torch.zeros(32, dtype=torch.complex64), torch.zeros(32, 0, dtype=torch.int64),
    torch.zeros(32, 1, 1, dtype=torch.int64), torch.full((32,), 10, dtype=torch.uint8)])
def test_labels_that_are_no_digits_are_refused_in_one_sentence(labels):
    with pytest.raises(ValueError, match="Labels to score must be 32 digits from 0 to 9"):
        score(torch.rand(32, 8, 1, 32, 32), labels)


def test_labels_of_any_whole_type_are_read():
    clips, labels = torch.rand(32, 8, 1, 32, 32), torch.arange(32) % 10
    rows = [score(clips, kind) for kind in (labels, labels.to(torch.uint8), labels.tolist())]
    assert rows[0]["PROMPT"] == rows[1]["PROMPT"] == rows[2]["PROMPT"]


def test_directions_must_be_numbers_too():
    with pytest.raises(ValueError, match="Directions to score must be sectors from 0 to 7"):
        score(torch.rand(32, 8, 1, 32, 32), torch.arange(32) % 10, ["left"] * 32)


@pytest.mark.parametrize(("settings", "says"), [
    ({"num_digits": "a"}, "num_digits must be a whole number from 1 to"),
    ({"num_digits": 0}, "num_digits must be a whole number from 1 to"),
    ({"seeds": 3}, "seeds must be a list"),
    ({"reference": 3}, "reference must be builtin"),
    ({"held_out": torch.zeros(2)}, "held_out must be three things"),
    ({"held_out": (torch.rand(32, 4, 1, 28, 28), torch.zeros(32).long(), torch.zeros(32).long())},
     "judges clips of 8 frames of 32 px, got 4 frames of 28 px")])
def test_settings_of_another_kind_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        score(torch.rand(32, 8, 1, 32, 32), **settings)
