"""Two digits of a clip are separated, followed and read, and the defects of each are found."""
import pytest
import torch

from minidiff.data import digits
from minidiff.data.moving_mnist import bounce, moving_mnist, place_sprites, resize_sprites
from minidiff.data.prompts import DIRECTIONS
from minidiff.evaluation.metrics import measure, prompt_hits, prompt_rates, tracks_by_clip
from minidiff.evaluation.references import true_digits
from minidiff.evaluation.segmentation import (
    connected_components,
    interpolate_gaps,
    min_cost_assignment,
    near_another,
    reorder,
    segment_digits,
)
from minidiff.evaluation.tracking import (
    initial_directions,
    masked_mean,
    measure_motion,
    physics_metrics,
    sectors,
)
from minidiff.runtime.seeds import generator

SIZE, FRAMES, SPRITE, N = 64, 16, 20, 96
SETTING = dict(size=SIZE, frames=FRAMES, sprite=SPRITE, seed=21)


@pytest.fixture(scope="module")
def fresh():
    return digits.Digits(*digits.strokes(2000, seed=4242))


@pytest.fixture(scope="module")
def clips(fresh):
    return moving_mnist(fresh, N, num_digits=2, **SETTING)


@pytest.fixture(scope="module")
def found(clips):
    return measure((clips.x + 1) / 2, SPRITE, 2)


@pytest.fixture(scope="module")
def directions(clips):
    return sectors(clips.velocities[:, 0])


# Real clips

def test_two_digits_are_read(found, clips, directions):
    rates = prompt_rates(found, clips.labels, directions)
    assert rates["digit"] >= 0.95 and rates["direction"] >= 0.93 and rates["joint"] >= 0.92
    assert rates["shuffled"] <= 0.05 and found.known.mean() > 0.7
    seen = physics_metrics(found.motion, SIZE)
    assert seen["smooth"] > 0.94 and seen["bounce"] > 0.99


def test_tracks_stay_with_their_digit(found, clips):
    """In every known frame, also after overlaps, a track is nearest to the same digit."""
    track = found.track.unflatten(0, (N, 2)) * SIZE                              # (N, 2, T, 2)
    places = clips.positions.transpose(1, 2)
    far = (track[:, :, None] - places[:, None]).norm(dim=-1)                     # (N, 2, 2, T)
    own = min_cost_assignment(far.mean(-1))
    off = far.gather(2, own[..., None, None].expand(N, 2, 1, FRAMES))[:, :, 0]
    known = found.known.unflatten(0, (N, 2)).bool()
    assert (off[known] < 3).float().mean() > 0.995 and off[known].median() < 1
    read = found.digit.unflatten(0, (N, 2))
    assert (true_digits(found, clips).view(N, 2) == read).float().mean() > 0.95


def test_frames_with_touching_digits_are_judged_by_their_union(found, clips):
    """Frames are unknown if the digits are near each other, and hardly ever otherwise."""
    near = (clips.positions[:, :, 0] - clips.positions[:, :, 1]).abs().amax(-1) < SPRITE
    unknown = found.known.unflatten(0, (N, 2))[:, 0] == 0
    assert (near[unknown]).float().mean() > 0.98 and unknown[near].float().mean() > 0.3
    assert found.certainty[found.known == 0].mean() > 0.6
    box = (clips.x + 1) / 2
    box[near] = 1.
    spoilt = measure(box, SPRITE, 2)
    assert spoilt.certainty.unflatten(0, (N, 2))[near[:, None].expand(-1, 2, -1)].mean() < 0.05


def test_a_digit_by_itself_is_measured_as_before(fresh):
    """Clips of one digit give the same row alone and mixed with clips of two."""
    one, two = (moving_mnist(fresh, 32, num_digits=k, **SETTING).x for k in (1, 2))
    x, number = torch.stack([one, two], 1).flatten(0, 1), torch.tensor([1, 2]).repeat(32)
    mixed, alone = measure((x + 1) / 2, SPRITE, number), measure((one + 1) / 2, SPRITE)
    assert mixed.clip_index.tolist() == sorted([*range(64), *range(1, 64, 2)])
    same = mixed.select((mixed.clip_index % 2 == 0).nonzero().flatten())
    for name in ("features", "track", "digit", "direction", "known", "certainty", "change",
                 "mean_window", "flicker"):
        torch.testing.assert_close(getattr(same, name), getattr(alone, name))


# Defects

def test_a_digit_that_is_not_there_counts_as_lost(fresh):
    one = moving_mnist(fresh, N, num_digits=1, **SETTING)
    m = measure((one.x + 1) / 2, SPRITE, 2)
    digit, sure = m.digit.view(N, 2), m.certainty.mean(1).view(N, 2)
    assert (digit[:, 1] == -1).all() and (sure[:, 1] == 0).all()
    assert (digit[:, 0] == one.labels[:, 0]).float().mean() > 0.95 and sure[:, 0].mean() > 0.9
    both = torch.cat([one.labels, one.labels], 1)
    assert prompt_rates(m, both, both * 0 - 1)["joint"] == 0


def test_a_digit_that_goes_out_is_missed_from_there_on(fresh):
    labels = torch.tensor([[3, 7]]).repeat(32, 1)
    both = moving_mnist(fresh, 32, num_digits=2, labels=labels, pairs="all", **SETTING)
    known = measure((both.x + 1) / 2, SPRITE, 2).known.view(32, 2, -1)[..., 8:].mean()
    left = (both.x + 1) / 2
    far = (both.positions[:, :, 0] - both.positions[:, :, 1]).abs().amax(-1) > SPRITE
    for i, t in ((i, t) for i in range(32) for t in range(8, 16) if far[i, t]):
        y, x = (both.positions[i, t, 1] - SPRITE / 2).floor().int().tolist()
        left[i, t, 0, max(0, y):y + SPRITE + 1, max(0, x):x + SPRITE + 1] = 0
    m = measure(left, SPRITE, 2)
    late = m.known.view(32, 2, -1)[..., 8:]
    assert late.mean() < 0.65 * known
    assert (late.amax(1) * far[:, 8:]).sum() > 0.7 * far[:, 8:].sum()            # the other is kept
    assert m.motion.accelerations[m.motion.free].isinf().float().mean() > 0.1


def drawn(fresh, corners):
    """Clips of threes and sevens at corners (n, T, 2, 2)."""
    rows = [int((fresh.labels == d).nonzero()[0]) for d in (3, 7)]
    sprites = resize_sprites(fresh.images[rows], SPRITE).expand(len(corners), -1, -1, -1, -1)
    return place_sprites(sprites, corners, SIZE).amax(2).clamp(max=1)


def paths(n, start, velocity):
    """Corners (n, T, 2, 2) that bounce from given starts and velocities, each (2, 2)."""
    every = torch.tensor([start, velocity], dtype=torch.float32)
    return bounce(*every[:, None].expand(2, n, 2, 2), FRAMES, SIZE - SPRITE)[0]


def test_one_jittering_digit_is_seen_in_its_own_track(fresh):
    corners = paths(32, [[2, 5], [34, 30]], [[0, 2.2], [0, -2.]])
    corners[:, :, 1] += torch.randn(32, FRAMES, 2, generator=generator("test", 22))
    m = measure(drawn(fresh, corners), SPRITE, 2)
    off = [masked_mean((m.motion.accelerations > 1)[m.digit == d], m.motion.free[m.digit == d])
           for d in (3, 7)]
    assert off[0] < 0.02 and off[1] > 0.6


def test_digits_that_change_places_are_not_smooth(fresh):
    """A track follows the positions, even if the digits' shapes change places."""
    corners = paths(32, [[2, 5], [34, 30]], [[0, 2.2], [0, -2.]])
    corners[:, 8:] = corners[:, 8:].flip(2)
    m = measure(drawn(fresh, corners), SPRITE, 2)
    assert m.known.mean() == 1 and m.certainty.mean() < 0.6              # it reads as another digit


# Directions

@pytest.mark.parametrize("sector", range(8))
@pytest.mark.parametrize("start", [[20., 20.], [0.5, 0.5], [43.5, 0.5], [0.5, 43.5], [43., 43.]])
def test_directions_are_exact_and_those_of_frame_0(fresh, sector, start):
    """In the corners the first step bounces, in some directions on both axes."""
    angle = (torch.tensor(sector) + torch.linspace(-0.45, 0.45, 7)) * torch.pi / 4
    v = torch.stack([angle.sin(), angle.cos()], -1) * torch.linspace(2.2, 5.8, 7)[:, None]
    corners = bounce(torch.tensor(start).expand(7, 1, 2), v[:, None], FRAMES, SIZE - SPRITE)[0]
    centres, seen = corners[:, :, 0] + SPRITE * 0.51, torch.ones(7, FRAMES).bool()
    motion = measure_motion(centres, seen, SIZE, SPRITE)
    found = initial_directions(centres, seen, motion, SIZE, SPRITE)
    assert (found == sector).all(), DIRECTIONS[sector]
    seen[:, :2] = False                                           # two frames hidden: unfolded back
    guess = interpolate_gaps(centres[:, :, None], seen[..., None], SIZE, SPRITE)[:, :, 0]
    motion = measure_motion(guess, seen, SIZE, SPRITE, occluded=~seen)
    off = (guess - centres).norm(dim=-1).amax(1) > 1.5       # a wall within the ink's width
    found = initial_directions(guess, seen, motion, SIZE, SPRITE)
    assert ((found == sector) | off).all() and off.sum() < 4


@pytest.mark.parametrize(("size", "frames"), [(32, 8), (64, 16)])
def test_directions_of_single_digits(fresh, size, frames):
    clips = moving_mnist(fresh, 256 if size == 32 else 64, size=size, frames=frames, seed=23)
    m = measure((clips.x + 1) / 2, size * 7 // 16)
    assert (m.direction == sectors(clips.velocities[:, 0, 0])).float().mean() >= 0.98


def test_still_digits_have_no_direction(fresh):
    x = moving_mnist(fresh, 32, seed=24).x[:, :1].repeat(1, 8, 1, 1, 1)
    assert (measure((x + 1) / 2, 14).direction == -1).all()


# Prompts

def test_wrong_digits_and_wrong_directions_are_distinguished(found, clips, directions):
    right = prompt_rates(found, clips.labels, directions)
    other = prompt_rates(found, clips.labels, (directions + 3) % 8)
    assert other["digit"] == right["digit"] and other["direction"] < 0.1 and other["joint"] < 0.05
    other = prompt_rates(found, (clips.labels + 1) % 10, directions)
    assert other["direction"] == right["direction"] and other["digit"] < 0.1 > other["joint"]
    crossed = prompt_rates(found, clips.labels, directions.flip(1))              # the other's
    same = (clips.labels[:, 0] == clips.labels[:, 1]) | (directions[:, 0] == directions[:, 1])
    assert crossed["direction"] == right["direction"] and crossed["digit"] == right["digit"]
    assert crossed["joint"] <= same.float().mean()


def test_prompts_match_in_any_order(found, clips, directions):
    a = prompt_hits(found, clips.labels, directions)
    b = prompt_hits(found, clips.labels.flip(1), directions.flip(1))
    assert all(torch.equal(a[k], b[k]) for k in ("digit", "direction", "joint"))


def test_what_is_left_open_is_right(found, clips, directions):
    some = prompt_rates(found, clips.labels, torch.full_like(directions, -1))
    assert some["direction"] == 1 and some["joint"] == some["digit"]
    assert set(prompt_rates(found, clips.labels)) == {"digit"}


def test_prompts_of_one_and_two_digits(fresh):
    c = moving_mnist(fresh, 64, num_digits=(1, 2), **SETTING)
    many = (c.labels >= 0).sum(1)
    m = measure((c.x + 1) / 2, SPRITE, many)
    assert len(m.clip_index) == many.sum()
    assert tracks_by_clip(m, m.digit, 2)[many == 1, 1].eq(-1).all()
    v = sectors(c.velocities[:, 0])
    hits = prompt_hits(m, c.labels, v)
    assert hits["joint"].float().mean() > 0.9
    more = torch.where(c.labels < 0, 1, c.labels)        # two in the prompt, one in the clip
    assert not prompt_hits(m, more, v)["digit"][many == 1].any()


def test_no_clip_has_its_own_prompt_in_the_control():
    """All prompts are different, so no clip follows the prompt of another."""
    n = 80
    labels, v = torch.arange(n) % 10, torch.arange(n) // 10
    m = measure(torch.zeros(n, 8, 1, 32, 32), 14)._replace(digit=labels, direction=v)
    rates = prompt_rates(m, labels[:, None], v[:, None])
    assert rates["joint"] == 1 and rates["shuffled"] == 0


# The parts

def test_components_are_connected_by_corners():
    frame = torch.zeros(1, 8, 8)
    frame[0, 1, 1] = frame[0, 2, 2] = frame[0, 2, 3] = frame[0, 6, 6] = 1
    frame[0, 4, 4] = 0.1                                                         # faint: no ink
    names = connected_components(frame)
    assert len(names.unique()) == 3 and names[0, 1, 1] == names[0, 2, 3] != names[0, 6, 6]


def test_parts_add_up_and_pieces_go_to_the_nearest(fresh):
    corners = paths(4, [[2, 5], [34, 30]], [[0, 2.2], [0, -2.]])
    frames = drawn(fresh, corners).flatten(0, 2)
    frames[:, 30:32, 30:32] = 0.5                                                # a piece
    inks, whole = segment_digits(frames, SPRITE, 2)
    assert whole.all()
    torch.testing.assert_close(inks.sum(1), frames)
    assert not (inks[:, 0] * inks[:, 1]).any()


def test_assign_takes_the_cheapest_pairs():
    cost = torch.tensor([[[1., 2, 9], [9, 3, 1], [4, 1, 9]]])
    assert min_cost_assignment(cost).tolist() == [[0, 2, 1]]
    assert reorder(torch.tensor([[5, 6, 7]]), min_cost_assignment(cost)).tolist() == [[5, 7, 6]]


def test_gaps_are_filled_along_the_motion():
    """Gaps with a wall inside, gaps at the ends, and tracks without any known frame."""
    v = torch.tensor([[0., 3.]])
    path = bounce(torch.tensor([[[4., 20.]]]), v[None], FRAMES, SIZE - SPRITE)[0] + 0.518 * SPRITE
    known = torch.ones(1, FRAMES, 1).bool()
    known[:, [0, 1, 7, 8, 9, 14, 15]] = False
    torch.testing.assert_close(interpolate_gaps(path * known[..., None], known, SIZE, SPRITE), path,
                               atol=1e-3, rtol=0)
    nowhere = interpolate_gaps(path, known & False, SIZE, SPRITE)
    assert (nowhere == SIZE / 2).all()
    assert near_another(torch.stack([path[:, :, 0], path[:, :, 0] + 21], 2), SPRITE).all()
    assert not near_another(torch.stack([path[:, :, 0], path[:, :, 0] + 23], 2), SPRITE).any()
