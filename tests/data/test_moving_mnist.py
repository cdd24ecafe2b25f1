"""Moving-MNIST clips: where things are, what repeats, which digits may meet."""
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits as sources
from minidiff.data import strokes
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import (
    HELD_OUT,
    batches,
    bounce,
    load_public_test,
    moving_mnist,
    object_specs,
    place_sprites,
    sample_captions,
)
from minidiff.data.prompts import DIRECTIONS, describe, encode, parse


@pytest.fixture(scope="module")
def digits() -> Digits:
    return sources.built_in("train", 400)


def test_shapes_ranges_and_everything_else(digits):
    clips = moving_mnist(digits, 5, size=48, frames=6, num_digits=2)
    assert clips.x.shape == (5, 6, 1, 48, 48) and clips.labels.shape == (5, 2)
    assert clips.positions.shape == clips.velocities.shape == (5, 6, 2, 2)
    assert clips.x.min() == -1 and 0.5 < clips.x.max() <= 1 and clips.x.dtype == torch.float32
    assert all(caption.count("moving") == 2 for caption in clips.captions)


def ink_centres(frames: torch.Tensor) -> torch.Tensor:
    """(..., H, W) in [0, 1] -> (..., 2) as (y, x), pixel centres at .5."""
    at = torch.arange(frames.shape[-1]) + 0.5
    mass = torch.stack([(frames.sum(-1) * at).sum(-1), (frames.sum(-2) * at).sum(-1)], -1)
    return mass / frames.sum((-1, -2))[..., None]


def test_placement_is_exact_below_the_pixel(digits):
    """Ink and its centre are the sprite's wherever it is placed: real clips are smooth by that."""
    clips = moving_mnist(digits, 16, seed=3)
    frames = (clips.x[:, :, 0] + 1) / 2
    ink, offset = frames.sum((-1, -2)), ink_centres(frames) - clips.positions[:, :, 0]
    assert_close(ink, ink[:, :1].expand_as(ink), rtol=1e-5, atol=0)
    assert offset.std(1).max() < 1e-4


def test_a_sprite_at_a_whole_pixel_is_copied():
    sprite = torch.rand(1, 1, 1, 5, 5)
    frame = place_sprites(sprite, torch.tensor([[[[3.0, 7.0]]]]), 16)[0, 0, 0, 0]
    assert_close(frame[3:8, 7:12], sprite[0, 0, 0])
    assert frame.sum() == pytest.approx(sprite.sum().item(), rel=1e-5)


def test_flight_is_straight_and_walls_are_elastic():
    start, velocity = torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[-3.0, 2.0]]])
    corners, velocities = bounce(start, velocity, 6, 10)
    assert corners[0, :, 0, 0].tolist() == [1, 2, 5, 8, 9, 6]
    assert corners[0, :, 0, 1].tolist() == [5, 7, 9, 9, 7, 5]
    assert velocities[0, :, 0, 0].tolist() == [-3, 3, 3, 3, -3, -3]
    assert velocities[0, :, 0, 1].abs().eq(2).all()


def test_velocities_predict_the_next_position(digits):
    clips = moving_mnist(digits, 32, seed=5, frames=10)
    room = (7, 32 - 7)                                       # of the centre of a square of 14 px
    ahead = clips.positions[:, :-1] + clips.velocities[:, :-1]
    free = ((ahead > room[0]) & (ahead < room[1])).all(-1)
    assert free.float().mean() > 0.5
    assert_close(ahead[free], clips.positions[:, 1:][free])
    assert (clips.positions >= room[0]).all() and (clips.positions <= room[1]).all()


def test_overlaps_are_the_maximum():
    """Half-grey squares: a sum would be white where two overlap, and each alone is known."""
    grey = Digits(torch.full((1, 1, 9, 9), 0.5), torch.zeros(1, dtype=torch.long))
    clips = moving_mnist(grey, 64, size=16, sprite=9, num_digits=2, seed=1)
    corners = clips.positions - 4.5
    sprites = grey.images[None].expand(64, 2, 1, 9, 9)
    alone = place_sprites(sprites, corners, 16)                                  # (n, T, 2, ...)
    assert (alone.sum(2) > alone.amax(2) + 0.4).any((1, 2, 3, 4)).float().mean() > 0.5
    assert_close((clips.x + 1) / 2, alone.amax(2), rtol=0, atol=1e-5)


def test_speeds_fill_their_interval(digits):
    v = moving_mnist(digits, 4000, frames=1, speed=(1.0, 5.0)).velocities[:, 0, 0]
    speeds, parts = v.norm(dim=-1), torch.linspace(0, 1, 11)
    assert speeds.min() > 1 - 1e-5 and speeds.max() < 5 + 1e-5
    assert_close(speeds.quantile(parts), 1 + 4 * parts, rtol=0, atol=0.2)


def test_angles_fill_each_sector(digits):
    v = moving_mnist(digits, 8000, frames=1, pairs="all").velocities[:, 0, 0]
    turn = torch.atan2(v[:, 0], v[:, 1]) / (torch.pi / 4)        # in sectors, 0 = right
    sector, parts = turn.round().long() % 8, torch.linspace(0, 1, 5)
    for k in range(8):
        within = (turn - turn.round())[sector == k]
        assert len(within) > 800
        assert_close(within.quantile(parts), parts - 0.5, rtol=0, atol=0.08)


def test_wanted_labels_show_many_images(digits):
    have = (digits.labels == 3).sum().item()
    clips = moving_mnist(digits, 400, frames=1, labels=torch.full((400, 1), 3))
    ink = ((clips.x + 1) / 2).sum((1, 2, 3, 4))
    assert len((ink * 100).round().unique()) > 0.6 * have > 10


def test_a_batch_depends_on_seed_and_step_alone(digits):
    stream = batches(digits, 4, seed=7)
    first, second = next(stream), next(stream)
    again = next(batches(digits, 4, seed=7, start=1))
    assert_close(second.x, again.x, rtol=0, atol=0)
    assert second.captions == again.captions
    assert not torch.equal(first.x, second.x)
    assert not torch.equal(first.x, next(batches(digits, 4, seed=8)).x)
    before = torch.random.get_rng_state()
    next(stream)
    assert torch.equal(before, torch.random.get_rng_state())


def pairs(clips) -> set[tuple[int, str]]:
    """The (digit, direction) pairs of clips with one digit."""
    return {(int(label), caption.split("moving ")[1])
            for label, caption in zip(clips.labels[:, 0], clips.captions, strict=True)}


def test_held_out_pairs_stay_out_of_training_and_nothing_else_does(digits):
    seen = pairs(moving_mnist(digits, 4000, frames=1, seed=0))
    held = {(d, DIRECTIONS[s]) for d, s in HELD_OUT}
    assert not seen & held
    assert len(seen) == 70
    assert pairs(moving_mnist(digits, 200, frames=1, pairs="held_out")) <= held
    assert len(pairs(moving_mnist(digits, 4000, frames=1, pairs="all"))) == 80


def test_the_caption_says_where_it_goes(digits):
    clips = moving_mnist(digits, 300, frames=2, seed=2)
    signs = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
    for caption, (vy, vx) in zip(clips.captions, clips.velocities[:, 0, 0].tolist(), strict=True):
        for word in caption.split("moving ")[1].split():
            dy, dx = signs[word]
            assert vy * dy + vx * dx > 0, caption


def test_asked_for_labels_are_shown(digits):
    want = torch.tensor([[3], [3], [9], [0]])
    assert torch.equal(moving_mnist(digits, 4, labels=want).labels, want)


def test_any_sprites_will_do():
    sprites = torch.rand(30, 1, 9, 9)
    train, test = sources.load(sprites, "train"), sources.load(sprites, "test")
    assert not set(train.labels.tolist()) & set(test.labels.tolist())
    assert moving_mnist(test, 3, size=24, sprite=9).x.shape == (3, 8, 1, 24, 24)


def test_the_classic_setting():
    clips = moving_mnist(sources.built_in("test", 50), 2, size=64, frames=20, num_digits=2)
    assert clips.x.shape == (2, 20, 1, 64, 64)


def test_the_public_test_file_is_read(tmp_path):
    raw = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", raw)
    clips = load_public_test(tmp_path)
    assert clips.shape == (3, 20, 1, 64, 64)
    assert_close(clips[1, 2, 0], torch.from_numpy(raw[2, 1]) / 127.5 - 1)
    np.save(tmp_path / "mnist_test_seq.npy", raw.astype(np.float32))
    with pytest.raises(ValueError, match="float32"):
        load_public_test(tmp_path)
    (tmp_path / "mnist_test_seq.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(ValueError, match="not a whole"):
        load_public_test(tmp_path)
    with pytest.raises(FileNotFoundError, match="mnist_test_seq"):
        load_public_test(tmp_path / "nowhere")


@pytest.mark.parametrize(("settings", "words"), [
    (dict(n=0), "at least 1"), (dict(frames=0), "at least 1"), (dict(num_digits=0), "at least 1"),
    (dict(frames=-3), "at least 1"), (dict(sprite=32), "does not fit"),
    (dict(sprite=0), "does not fit"), (dict(speed=(3, 1)), "rising"),
    (dict(speed=(0, float("inf"))), "finite"), (dict(speed=(float("nan"), 1)), "finite"),
    (dict(labels=torch.tensor([1, 2, 3])), r"\(2, 1\).*got \(3,\)"),
    (dict(labels=torch.tensor([[1, 2]])), r"\(2, 1\).*got \(1, 2\)"),
    (dict(labels=torch.tensor([1, 2]), num_digits=2), r"\(2, 2\).*got \(2,\)"),
    (dict(pairs="some"), "seen, all, held_out"), (dict(num_digits=None), "at least 1"),
    (dict(frames=None), "at least 1"), (dict(n=None), "at least 1"), (dict(seed=None), "A seed"),
    (dict(sprite=7.5), "does not fit"),
    (dict(labels=torch.tensor([[11], [1]])), "no digit"), (dict(seed=-1), "A seed must be")])
def test_settings_that_cannot_be_met_are_refused(digits, settings, words):
    with pytest.raises(ValueError, match=words):
        moving_mnist(digits, **(dict(n=2) | settings))


def test_clips_with_one_digit_and_with_two(digits):
    clips = moving_mnist(digits, 64, size=64, num_digits=(1, 2), sprite=20, seed=4)
    one = clips.labels[:, 1] < 0
    assert 20 < one.sum() < 44 and (clips.labels[:, 0] >= 0).all()
    ink = ((clips.x + 1) / 2).sum((1, 2, 3, 4))
    assert ink[one].mean() < 0.7 * ink[~one].mean()
    assert [c.count("moving") for c in clips.captions] == (2 - one.int()).tolist()
    assert (clips.captions, [len(t) for t in object_specs(clips)]) == (
        [describe([t._replace(pace=None) for t in row]) for row in object_specs(clips)],
        (2 - one.int()).tolist())


def test_what_is_said_is_where_digits_go_and_how_fast(digits):
    clips = moving_mnist(digits, 200, size=64, seed=5)
    v = clips.velocities[:, 0, 0]
    for (thing,), (y, x) in zip(object_specs(clips), v.tolist(), strict=True):
        name, speed = DIRECTIONS[thing.direction], (x * x + y * y) ** 0.5
        edge = 0.3827 * speed                                                    # sin(22.5 degrees)
        assert ("left" in name) == (x < -edge) and ("down" in name) == (y > edge)
        pace = "slowly" if speed < 10 / 3 else "quickly" if speed >= 14 / 3 else None
        assert thing.pace == pace


def test_training_prompts_can_be_read_and_repeat(digits):
    clips = moving_mnist(digits, 64, num_digits=(1, 2), seed=6)
    said = sample_captions(clips, 6, 0)
    assert said == sample_captions(clips, 6, 0) != sample_captions(clips, 6, 1)
    assert encode(said).shape == (64, 16)
    for words, truth in zip(said, object_specs(clips), strict=True):
        for got, true in zip(parse(words), truth, strict=True):
            assert all(a in (None, b) for a, b in zip(got, true, strict=True))
    assert len({w.split()[0] for w in said}) > 4


def test_a_number_of_digits_is_drawn_between_sensible_limits(digits):
    with pytest.raises(ValueError, match="at least 1"):
        moving_mnist(digits, 2, num_digits=(2, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 48), (40, 24), [24, 32]])
def test_frames_may_be_oblong_and_coloured(size, channels):
    sprites = Digits(torch.rand(9, channels, 7, 7), torch.arange(9))
    clips = moving_mnist(sprites, 64, size=size, frames=12, num_digits=2, pairs="all", seed=2)
    height, width = size
    half = 7 * min(size) // 16 / 2
    assert clips.x.shape == (64, 12, channels, height, width)
    for axis, side in enumerate(size):                       # every place within the walls is used
        where = clips.positions[..., axis]
        assert where.min() >= int(2 * half) / 2 and where.max() <= side - int(2 * half) / 2
        assert where.max() - where.min() > 0.9 * (side - 2 * half)
    assert len({c.split("moving ")[1] for c in clips.captions}) > 4


def test_an_oblong_frame_s_ink_is_at_its_positions(digits):
    clips = moving_mnist(digits, 16, size=(32, 48), seed=3)
    frames = (clips.x[:, :, 0] + 1) / 2
    y, x = torch.arange(32) + 0.5, torch.arange(48) + 0.5
    ink = frames.sum((-1, -2))
    at = torch.stack([(frames.sum(-1) * y).sum(-1), (frames.sum(-2) * x).sum(-1)], -1)
    offset = at / ink[..., None] - clips.positions[:, :, 0]
    assert_close(ink, ink[:, :1].expand_as(ink), rtol=1e-5, atol=0)
    assert offset.std(1).max() < 1e-4


@pytest.mark.parametrize("size", [None, (32,), (32, 0), 3.5, "32", (8, 8, 8)])
def test_a_size_is_one_number_or_two(digits, size):
    with pytest.raises(ValueError, match="size must be"):
        moving_mnist(digits, 1, size=size)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_may_be_of_any_integer_type(digits, dtype):
    want = torch.tensor([3, 9])
    usual = moving_mnist(digits, 2, labels=want)
    other = Digits(digits.images, digits.labels.to(dtype))
    for source, labels in ((digits, want.to(dtype)), (other, want)):
        clips = moving_mnist(source, 2, labels=labels)
        assert torch.equal(clips.x, usual.x) and clips.labels.dtype == torch.int64
    with pytest.raises(ValueError, match="whole numbers"):
        moving_mnist(digits, 2, labels=want.float())


def test_clips_and_digits_do_not_depend_on_torch_s_defaults(digits):
    def draw():
        return moving_mnist(digits, 2, num_digits=(1, 2), seed=4), sources.built_in("val", 3)
    usual = draw()
    before = torch.random.get_rng_state()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")                         # a draw on it would have no values
    strokes.glyphs.cache_clear()
    try:
        clips, drawn = draw()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        strokes.glyphs.cache_clear()
    assert torch.equal(clips.x, usual[0].x) and torch.equal(drawn.images, usual[1].images)
    assert sample_captions(clips, 1) == sample_captions(usual[0], 1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_more_clips_than_the_memory_holds_are_refused_at_once(digits):
    for settings in (dict(n=10**9), dict(n=2, frames=10**10), dict(n=10**20)):
        with pytest.raises(ValueError, match=r"would need about .* of memory"):
            moving_mnist(digits, **settings)
