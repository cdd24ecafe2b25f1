"""Drawn digits: their format, that they are reproducible, and that they can be told apart."""
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from minidiff.data.strokes import (
    BLOCK_SIZE,
    GLYPHS,
    POINTS_PER_PATH,
    catmull_rom,
    parse_glyph,
    rasterise,
    strokes,
)


@pytest.fixture(scope="module")
def many():
    return strokes(3000, seed=0)


def assert_exactly(a, b):
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def mass(images):
    """Centres of mass (N, 2) as (x, y), in pixels; a pixel's centre is at its index."""
    at = torch.arange(images.shape[-1]).float()
    ink = images[:, 0] / images.sum((2, 3))[..., None]
    return torch.stack([ink.sum(1) @ at, ink.sum(2) @ at], -1)


def test_same_seed_same_digits():
    assert_exactly(strokes(50, seed=3), strokes(50, seed=3))


def test_other_seeds_other_digits():
    a, b = strokes(50, seed=0), strokes(50, seed=1)
    assert not torch.equal(a[1], b[1]) and (a[0] - b[0]).abs().mean() > .05


def test_no_two_digits_alike(many):
    assert len(many[0].flatten(1).unique(dim=0)) == len(many[0])


@pytest.mark.parametrize("n", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 100])
def test_a_digit_does_not_depend_on_how_many_are_drawn(many, n):
    assert_exactly(strokes(n, seed=0), [x[:n] for x in many])


def test_global_random_state_is_neither_read_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = strokes(40)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_exactly(a, strokes(40))


def test_default_dtype_does_not_matter():
    a = strokes(40)
    torch.set_default_dtype(torch.float64)
    try:
        b = strokes(40)
    finally:
        torch.set_default_dtype(torch.float32)
    assert b[0].dtype == torch.float32
    assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [14, 28, 33, 64])
def test_format(size):
    images, labels = strokes(37, size=size)
    assert images.shape == (37, 1, size, size) and images.dtype == torch.float32
    assert labels.shape == (37,) and labels.dtype == torch.int64
    assert images.min() == 0 and (images.amax((1, 2, 3)) > .5).all() and images.max() <= 1
    assert ((images > 0) & (images < 1)).any((1, 2, 3)).all()                   # anti-aliased


def test_labels_are_even(many):
    share = many[1].bincount(minlength=10) / len(many[1])
    assert len(share) == 10 and ((share - .1).abs() < .025).all()


@pytest.mark.parametrize("size", [14, 28, 33, 64])
def test_mass_is_in_the_middle(size):
    off = mass(strokes(300, size=size)[0]) - size // 2
    assert off.abs().max() < .55 and off.mean(0).abs().max() < .1


def test_ink_fills_a_box_of_20_pixels_and_nothing_is_cut_off(many):
    ink = many[0][:, 0] > .02
    longest = torch.maximum(ink.any(2).sum(1), ink.any(1).sum(1))               # rows, columns
    assert longest.min() >= 19 and longest.max() <= 20


def test_every_digit_has_a_plausible_amount_of_ink(many):
    images, labels = many
    for d in range(10):
        share = images[labels == d].mean((1, 2, 3))
        assert (.05 if d == 1 else .1) < share.mean() < .2
        assert share.min() > .02 and share.max() < .4


@pytest.mark.parametrize("bad, word", [({"n": 0}, "n=0"), ({"n": -5}, "n=-5"),
                                       ({"n": 1, "size": 13}, "size=13")])
def test_bad_input_says_what_was_wrong(bad, word):
    with pytest.raises(ValueError, match=word):
        strokes(**bad)


def test_curve_passes_through_its_points_and_keeps_lines_straight():
    points = torch.tensor([[0., 0.], [3., 1.], [1., 4.], [5., 5.]])
    assert_close(catmull_rom(points, 8)[::8], points)
    line = torch.linspace(0, 3, 4)[:, None] * torch.tensor([1., 2.])
    assert_close(catmull_rom(line, 8), torch.linspace(0, 3, 25)[:, None] * torch.tensor([1., 2.]))


def test_pen_moves_evenly_and_leaves_no_ink_where_it_is_lifted():
    points, w = parse_glyph("0 0, 50 0, 60 0 | 60 50, 60 90")
    path = w @ points
    assert path.shape == (POINTS_PER_PATH, 2)
    assert_close(path[[0, -1]], points[[0, -1]])
    gap = path.diff(dim=0).norm(dim=-1)
    assert (gap > .1).sum() == 1 and gap.max() > .45                            # the lift, once
    assert gap[gap < .1].max() < .04


def test_ink_of_a_straight_stroke_is_its_width():
    y = torch.linspace(-5, 33, 400)
    path = torch.stack([torch.full_like(y, 14.2), y], -1)[None]
    ink = rasterise(path, torch.tensor([3.]), 28)
    assert_close(ink.sum(-1), torch.full((1, 28), 3.), atol=.06, rtol=0)


def test_each_digit_has_several_ways_of_being_written():
    count = torch.tensor([int(line[0]) for line in GLYPHS.strip().splitlines()]).bincount()
    assert len(count) == 10 and count.min() >= 4


def test_digits_can_be_told_apart(many):
    """The nearest neighbour on coarse pixels among digits of seed 0 names those of seed 1."""
    images, labels = strokes(1000, seed=1)
    known, new = (F.avg_pool2d(x, 3, 2, 1).flatten(1) for x in (many[0], images))
    right = many[1][torch.cdist(new, known).argmin(1)] == labels
    assert right.float().mean() > .9
    assert all(right[labels == d].float().mean() > .75 for d in range(10))
