"""Random streams: every purpose has its own, and no one reads another's numbers in them."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minidiff.data import digits, moving_mnist, strokes
from minidiff.pipeline import Pipeline
from minidiff.recipes import build_model, build_objective, get_recipe, training_batches
from minidiff.runtime.seeds import MAX_SEED, check_seed, generator

RECIPE = get_recipe("tiny")


@pytest.fixture(scope="module")
def source() -> digits.Digits:
    return digits.built_in(n=50)


def uniforms_of(noise: torch.Tensor) -> np.ndarray:
    """The uniform numbers that torch made normal ones of on the CPU: Box-Muller, in blocks of 16.

    Number i and i + 8 of a block are r cos(a) and r sin(a), r = sqrt(-2 log(1 - u)), a = 2 pi v.
    """
    cos, sin = noise.double().flatten().view(-1, 2, 8).unbind(1)
    u = 1 - (-(cos**2 + sin**2) / 2).exp()
    v = torch.atan2(sin, cos) / (2 * torch.pi) % 1
    return torch.cat([u, v], -1).flatten().sort().values.numpy()


def share_found(wanted: torch.Tensor, noise: torch.Tensor) -> float:
    """The share of numbers that are, to 2e-6, among the uniform ones behind the noise."""
    there, wanted = uniforms_of(noise), wanted.double().flatten().numpy()
    at = np.searchsorted(there, wanted).clip(1, len(there) - 1)
    return float((np.minimum(abs(there[at] - wanted), abs(there[at - 1] - wanted)) < 2e-6).mean())


def training_draws(source, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The start coordinates of the first batch, as shares of the room, and its first clip's noise.

    The noise is the one that the recipe's objective draws from the generator of `train`.
    """
    recipe = RECIPE._replace(training=RECIPE.training | dict(batch=16))
    x0, cond = next(training_batches(recipe, source, seed))
    seen = {}

    def loss(x0, cond, t, noise):
        seen["noise"] = noise
        return noise.mean((1, 2, 3, 4))
    g = moving_mnist.generator("times and noise", seed, 0)
    build_objective(recipe)(SimpleNamespace(loss=loss), x0, cond, g)
    clips = moving_mnist.moving_mnist(source, 16, seed=seed, **recipe.clips)
    assert torch.equal(clips.x, x0)
    return (clips.positions[:, 0, 0] - 7) / (32 - 14), seen["noise"]


def test_noise_holds_nothing_of_the_clips(source, monkeypatch):
    """Box-Muller inversion finds no start coordinate; with one stream for all it finds them."""
    start, noise = training_draws(source, 3)
    assert share_found(start, noise[:1]) < 0.15                        # 8192 numbers, by chance 3 %
    monkeypatch.setattr(moving_mnist, "generator",
                        lambda purpose, *numbers: torch.Generator().manual_seed(hash(numbers) % 99))
    start, noise = training_draws(source, 3)
    assert share_found(start, noise[:1]) > 0.9


def test_sampling_noise_is_neither_the_training_s_nor_the_clips(source):
    model = Pipeline(build_model(RECIPE.model), {"recipe": RECIPE._asdict()})
    start, noise = training_draws(source, 0)
    drawn = next(model.run_sampler(torch.tensor([1, 2]), seed=0)).x
    assert np.isin(drawn.numpy(), noise.numpy()).mean() < 0.05          # equal ones by chance
    assert share_found(start, drawn[:1]) < 0.15
    assert abs(np.corrcoef(drawn.flatten(), noise[:2].flatten())[0, 1]) < 0.04   # 16,384 numbers


def test_all_numbers_and_how_many_they_are_count():
    streams = [generator(*key).initial_seed() for key in (
        ("noise", 7), ("noise", 7, 0), ("noise", 3, 2), ("noise", 3, 2, 0), ("noise", 2**32),
        ("noise", 0, 1), ("noise", 1, 0), ("times", 7), ("noise",))]
    assert len(set(streams)) == len(streams)
    assert generator("noise", 7).initial_seed() == streams[0]


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2**70, 1.0, True, None, "1"])
def test_one_range_of_seeds_everywhere(source, seed):
    model = Pipeline(build_model(RECIPE.model), {"recipe": RECIPE._asdict()})
    for use in (check_seed, lambda s: generator("noise", s),
                lambda s: moving_mnist.moving_mnist(source, 1, seed=s),
                lambda s: strokes.strokes(1, seed=s),
                lambda s: check_seed(s) if s is None else model(1, steps=2, seed=s)):
        with pytest.raises(ValueError, match="A seed must be a whole number from 0 to 92233720368"):
            use(seed)


def test_the_largest_seed_serves(source):
    assert moving_mnist.moving_mnist(source, 1, seed=MAX_SEED).x.shape[0] == 1
    assert strokes.strokes(1, seed=MAX_SEED)[0].shape == (1, 1, 28, 28)
    assert check_seed(np.int64(5)) == 5 and type(check_seed(np.int64(5))) is int


def test_a_purpose_comes_first():
    with pytest.raises(TypeError, match="purpose first"):
        generator(7, 0)
