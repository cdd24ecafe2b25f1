"""The digit classifier reads new digits, of any usual size, and rejects junk."""
import pytest
import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist, resize_sprites
from minidiff.evaluation import digit_classifier
from minidiff.evaluation.digit_classifier import (
    JUNK_MAKERS,
    DigitClassifier,
    centred_windows,
    load_digit_classifier,
    place_at_random,
    predict_digits,
    train_digit_classifier,
)
from minidiff.evaluation.metrics import measure
from minidiff.runtime.seeds import generator


def read(sprites, seed=0):
    """Digits at random sub-pixel positions: the predicted digits, and whether they are sure."""
    frames = place_at_random(resize_sprites(sprites, 14), generator("test", seed, 1))
    return predict_digits(load_digit_classifier()[0](centred_windows(frames))[0])


@pytest.fixture(scope="module")
def drawn():
    return digits.built_in("test", 1000)


def test_reads_built_in_digits(drawn):
    digit, sure = read(drawn.images)
    assert (digit == drawn.labels).float().mean() >= 0.97
    assert (sure & (digit == drawn.labels)).float().mean() >= 0.9
    assert (sure & (digit != drawn.labels)).float().mean() <= 0.01


def test_reads_real_digits(mnist_folder):
    real = digits.mnist(mnist_folder, "test")
    found = [read(real.images, seed) for seed in range(3)]
    assert sum((digit == real.labels).float().mean() for digit, _ in found) / 3 >= 0.97
    assert sum((sure & (digit != real.labels)).float().mean() for digit, sure in found) / 3 <= 0.01


def test_reads_moving_digits_at_any_size(drawn):
    for size in (32, 48, 64):
        clips = moving_mnist(drawn, 64, size=size, frames=4, seed=size)
        measured = measure((clips.x + 1) / 2, size * 7 // 16)
        assert (measured.digit == clips.labels[:, 0]).float().mean() >= 0.95


def test_rejects_junk(drawn):
    sprites, g = resize_sprites(drawn.images, 14), generator("test", 2)
    differ = drawn.labels != drawn.labels.roll(1)
    a, b = place_at_random(sprites, g)[differ], place_at_random(sprites.roll(1, 0), g)[differ]
    net, _ = load_digit_classifier()
    sure = {make.__name__: predict_digits(net(centred_windows(make(a, b, g)))[0])[1]
            for make in JUNK_MAKERS}
    rejected = {name: 1 - found.float().mean().item() for name, found in sure.items()}
    assert sum(rejected.values()) / len(rejected) >= 0.95, rejected
    assert min(rejected.values()) >= 0.85, rejected


def test_blank_frames_are_junk():
    log_odds, features = load_digit_classifier()[0](centred_windows(torch.zeros(3, 32, 32)))
    assert log_odds.isfinite().all() and features.isfinite().all()
    assert not predict_digits(log_odds)[1].any()


def test_a_row_alone_is_read_as_in_a_batch(drawn):
    net, _ = load_digit_classifier()
    x = centred_windows(place_at_random(resize_sprites(drawn.images[:8], 14), generator("test", 3)))
    torch.testing.assert_close(net(x)[0][3:4], net(x[3:4])[0], atol=1e-4, rtol=1e-4)


def test_small_enough():
    assert sum(p.numel() for p in DigitClassifier().parameters()) <= 100_000
    assert digit_classifier.SHIPPED_CLASSIFIER.stat().st_size <= 300_000


def test_its_training_digits_are_in_no_split():
    own = digits.strokes(200, seed=digit_classifier.STROKES_SEED)[0].flatten(1)
    for split in digits.SPLITS:
        assert torch.cdist(own, digits.built_in(split, 200).images.flatten(1)).min() > 0.5


def test_training_is_deterministic(mnist_folder, tmp_path):
    ends = []
    for name in ("a", "b"):
        torch.manual_seed(hash(name) % 1000)                                     # must not matter
        path = tmp_path / f"{name}.safetensors"
        *_, last = train_digit_classifier(mnist_folder, steps=3, path=path)
        ends.append(last["evaluator"])
    assert ends[0] == ends[1] == load_digit_classifier(tmp_path / "a.safetensors")[1]
