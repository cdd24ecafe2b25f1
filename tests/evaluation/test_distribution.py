"""Distances and coverage of sets: exact on small ones, and independent of their number."""
from itertools import combinations

import pytest
import torch

from minidiff.evaluation.distribution import (
    class_coverage,
    covered,
    kernel,
    kernel_distance,
    mean_of_pairs,
    miss_chance,
    neighbourhoods,
    real_neighbourhoods,
    same_path,
    same_picture,
    spread,
    without_twin,
)
from minidiff.runtime.seeds import generator


def normal(n, d=4, seed=0, shift=0.):
    return torch.randn(n, d, generator=generator("test points", seed)) + shift


@pytest.mark.parametrize(("hits", "n", "block"), [(0, 6, 3), (2, 6, 3), (3, 7, 2), (4, 6, 3),
                                                  (6, 6, 1), (1, 5, 5)])
def test_the_chance_to_miss_is_counted(hits, n, block):
    draws = list(combinations(range(n), block))
    missed = sum(all(i >= hits for i in draw) for draw in draws) / len(draws)
    assert float(miss_chance(torch.tensor(hits), n, block)) == pytest.approx(missed, abs=1e-9)


def test_pairs_leave_out_a_point_with_itself():
    x, w = normal(6), torch.rand(6, 2, generator=generator("test weights"))
    k = kernel(x, x, 1.0)
    for r in range(2):
        pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
        top = sum(w[i, r] * w[j, r] * k[i, j] for i, j in pairs)
        expected = top / sum(w[i, r] * w[j, r] for i, j in pairs)
        assert float(mean_of_pairs(k, w)[r]) == pytest.approx(float(expected), rel=1e-5)


def test_the_distance_is_unbiased_and_grows():
    real = normal(400)
    same = torch.stack([kernel_distance(normal(n, seed=1 + i), torch.ones(n, 1), real,
                                        torch.ones(400))[0] for n in (16, 64) for i in range(40)])
    far = [float(kernel_distance(normal(64, seed=3, shift=s), torch.ones(64, 1), real,
                                 torch.ones(400))) for s in (0.5, 1., 2.)]
    for part in same.split(40):                          # the real points are one draw, too
        assert abs(float(part.mean())) < 4 * float(part.std()) / 40**0.5 + 4e-3
    assert same.min() < 0 < far[0] < far[1] < far[2]


def test_a_film_counts_by_its_weight():
    real, good, bad = normal(500), normal(40, seed=1), normal(40, seed=2, shift=5.)
    both, w = torch.cat([good, bad]), torch.cat([torch.ones(40, 1), torch.zeros(40, 1)])
    alone = kernel_distance(good, torch.ones(40, 1), real, torch.ones(500))
    assert float(kernel_distance(both, w, real, torch.ones(500))) == pytest.approx(float(alone))


def test_a_neighbourhood_holds_its_share():
    x, group = normal(200), torch.arange(200) % 2
    radii = neighbourhoods(x, 0.1, group)
    inside = (torch.cdist(x, x) <= radii[:, None] + 1e-6) & (group[:, None] == group)
    assert (inside.sum(1) - 1 == 10).all()


def test_coverage_of_many_is_that_of_a_block_of_them():
    near = torch.rand(30, 40, generator=generator("test near")) < 0.08
    block = 10
    exact = float(covered(near, torch.ones(40, 1), block))
    draws = [near[:, torch.randperm(40, generator=generator("test draw", i))[:block]].any(1)
             for i in range(800)]
    assert exact == pytest.approx(float(torch.stack(draws).float().mean()), abs=0.01)
    assert float(covered(near, torch.ones(40, 1), 40)) == pytest.approx(
        float(near.any(1).float().mean()))


def films(n, seed=0):
    """n films of 4 frames: embeddings (n, 32 + 8) and digits."""
    x = torch.cat([normal(n, 32, seed), 0.1 * normal(n, 8, seed + 1)], 1)
    return x, torch.arange(n) % 2


def test_looks_are_covered_by_the_same_digit_only():
    x, digit = films(60)
    x[:, 0] += 20 * digit                                    # the digits look different
    scale = spread(x)
    real = scale.points(x, digit)
    keep, around = torch.ones(60, 1), real_neighbourhoods(real)
    assert [float(v) for v in around.coverage(real, keep, 60)] == [1, 1]
    looks, path = around.coverage(real._replace(digit=1 - digit), keep, 60)
    assert float(looks) == 0 and float(path) == 1


def test_a_missing_class_is_not_made_up_for():
    real, keep = torch.arange(100) % 10, torch.ones(100, 1)
    assert float(class_coverage(real, real, keep, 32)) == pytest.approx(0.98, abs=0.01)
    assert float(class_coverage(real % 5, real, keep, 32)) == pytest.approx(0.5, abs=0.01)
    assert float(class_coverage(real * 0 - 1, real, keep, 32)) == pytest.approx(0, abs=1e-6)


def test_twins_are_films_of_two_clips():
    keep, clip, alone = torch.ones(40, 1), torch.arange(40), torch.eye(40, dtype=torch.bool)
    assert float(without_twin(alone, clip, keep, keep, 40)) == 1
    near = torch.arange(40)[:, None] % 20 == torch.arange(40) % 20
    assert float(without_twin(near, clip, keep, keep, 40)) == 0
    assert float(without_twin(near, clip % 20, keep, keep, 40)) == 1       # two digits of one clip
    half = float(without_twin(near, clip, keep, keep, 20))
    assert half == pytest.approx(1 - 19 / 39)                 # the twin is one of the other 19


def test_twins_have_one_path_or_one_picture():
    x, digit = films(40)
    track = spread(x).points(x, digit).track
    assert torch.equal(same_path(track), torch.eye(40, dtype=torch.bool))
    assert same_path(torch.cat([track, track + 0.1 / 32]))[:40, 40:].diagonal().all()
    windows = torch.rand(40, 256, generator=torch.manual_seed(0)).square()
    assert torch.equal(same_picture(windows), torch.eye(40, dtype=torch.bool))
    assert same_picture(torch.cat([windows, 0.7 * windows + 0.001]))[:40, 40:].diagonal().all()
