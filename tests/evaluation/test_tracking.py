"""The tracker and the path against what is known."""
from math import exp

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.evaluation.metrics import frechet_distance, mean_and_cov, measure
from minidiff.evaluation.tracking import (
    Motion,
    fit_path,
    ink_centres,
    measure_motion,
    physics_metrics,
    wall_positions,
    wall_speeds,
)
from minidiff.runtime.seeds import generator


@pytest.fixture(scope="module")
def fresh():
    """Digits that are in no split."""
    return digits.Digits(*digits.strokes(600, seed=4242))


@pytest.mark.parametrize("size", [32, 64])
def test_tracker_finds_known_positions(fresh, size):
    clips = moving_mnist(fresh, 96, size=size, seed=10)
    sprite = size * 7 // 16
    frames = (clips.x + 1)[:, :, 0].flatten(0, 1) / 2
    centres, seen = (v.unflatten(0, (96, 8)) for v in ink_centres(frames, sprite))
    off = centres - clips.positions[:, :, 0]                                     # constant
    assert seen.all() and (off - off.mean(1, keepdim=True)).abs().max() < 0.01
    f = measure_motion(centres, seen, size, sprite)
    speed = clips.velocities[:, 0, 0].norm(dim=-1)
    assert (f.speeds.amax(1) - speed).abs().max() < 0.01                # between walls, the fastest
    found = physics_metrics(f, size)
    assert found["smooth"] > 0.999 and found["bounce"] == 1 and found["off_half"] == 0


def test_every_contact_found_is_one(fresh):
    clips = moving_mnist(fresh, 256, seed=11)
    frames = (clips.x + 1)[:, :, 0].flatten(0, 1) / 2
    centres, seen = (v.unflatten(0, (256, 8)) for v in ink_centres(frames, 14))
    f = measure_motion(centres, seen, 32, 14)
    v = clips.velocities[:, :, 0]                                                # (N, T, 2)
    turns = v[:, 1:-2] != v[:, 2:-1]                                             # (N, T-3, 2)
    assert turns[f.wall_contact].all() and f.wall_contact.sum() > 0.3 * turns.sum()
    crossed = (v[:, :-2] != v[:, 2:]).any(-1)                                    # (N, T-2)
    assert not (f.free & crossed).any() and f.free.float().mean() > 0.5


def test_jumps_stops_and_sticking_walls_are_seen():
    path = torch.tensor([10., 12, 14, 16, 18, 20, 22, 24])
    still = torch.full((8,), 16.)

    def judge(y):
        centres, seen = torch.stack([y, still], -1)[None], torch.ones(1, 8).bool()
        return physics_metrics(measure_motion(centres, seen, 32, 14), 32)

    assert judge(path)["smooth"] == 1
    jump = path + torch.tensor([0., 0, 0, 2, 0, 0, 0, 0])
    assert judge(jump)["smooth"] < 0.6 and judge(jump)["off_one"] > 0.2
    bounces, sticks, slows = torch.tensor([[18., 20, 22, 24, 24.4, 22.4, 20.4, 18.4],
                                           [18., 20, 22, 24, 25, 25, 25, 25],
                                           [18., 20, 22, 24, 24.8, 24, 23.2, 22.4]])
    assert judge(bounces)["bounce"] == 1 and judge(sticks)["bounce"] == judge(slows)["bounce"] == 0


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("jolt", [0.1, 0.5, 2.])
def test_smooth_of_a_known_jolt(size, jolt):
    """A free step with an error of 1/64 of the frame counts 1/e; steps near a wall do not count."""
    none = torch.zeros(1, 1, 2).bool()
    f = Motion(torch.ones(1, 3), torch.tensor([[jolt, 9.]]), torch.tensor([[True, False]]), none,
               none)
    assert physics_metrics(f, size)["smooth"] == pytest.approx(exp(-jolt * 64 / size))


def test_faint_ink_elsewhere_does_not_move_the_centre(fresh):
    frames = (moving_mnist(fresh, 64, seed=12).x + 1)[:, 0, 0] / 2
    faint = (frames + 0.01).clamp(0, 1)
    faint[:, :2, :2] = 1
    assert (ink_centres(frames, 14)[0] - ink_centres(faint, 14)[0]).norm(dim=-1).median() < 0.3


def test_a_digit_that_blinks_does_not_fly(fresh):
    blinking = (moving_mnist(fresh, 32, seed=1).x + 1) / 2
    blinking[:, ::2] = 0
    found = physics_metrics(measure(blinking, 14).motion, 32)
    assert found["smooth"] == 0 and found["off_one"] == 1


# The path

def paths(n=200, T=8, size=32, sprite=14):
    """Centres (n, T, 2) that bounce between the walls of `wall_positions`, and their velocities."""
    g = generator("test paths", n)
    low, high = wall_positions(size, sprite)
    v = (2 * torch.rand(n, 2, generator=g) - 1) * 3 * size / 32
    x = torch.rand(n, 1, 2, generator=g) * (high - low) + v[:, None] * torch.arange(T)[:, None]
    x = x % (2 * (high - low))
    return low + torch.where(x > high - low, 2 * (high - low) - x, x), v


@pytest.mark.parametrize(("T", "size", "sprite"), [(8, 32, 14), (16, 64, 20), (5, 48, 21)])
def test_a_bouncing_path_is_found(T, size, sprite):
    x, v = paths(T=T, size=size, sprite=sprite)
    path, seen = fit_path(x, torch.ones(len(x), T).bool(), size, sprite), torch.ones(len(x), T)
    assert (path.rms(seen) < 0.02).float().mean() > 0.9
    if T < 8:                                # two paths may go through five positions on an axis
        return
    right = (path.velocity.abs() - v.abs()).abs().amax(1) < 0.05           # a start at a wall: +-
    assert right.float().mean() > 0.97


def test_frames_that_are_not_seen_do_not_count():
    x, _ = paths()
    seen = torch.ones(len(x), 8).bool()
    seen[:, 3:5] = False
    spoilt = torch.where(seen[..., None], x, torch.full_like(x, 16.))
    path = fit_path(spoilt, seen, 32, 14)
    assert (path.errors[:, 3:5] == 0).all()
    assert (path.rms(seen) < 0.02).float().mean() > 0.95


@pytest.mark.parametrize("off", [0.1, 0.3])
def test_the_error_is_that_of_the_positions(off):
    x, _ = paths()
    noisy = x + off * torch.randn(x.shape, generator=generator("test", 3))
    rms = fit_path(noisy, torch.ones(len(x), 8).bool(), 32, 14).rms(torch.ones(len(x), 8))
    assert float(rms.square().mean().sqrt()) == pytest.approx(off * 2**0.5, rel=0.1)


def test_jumps_stops_and_turns_leave_the_path():
    t = torch.arange(8.)
    straight = torch.stack([10 + t, 16 + 0 * t], -1)
    stop, turn, curve = straight.clone(), straight.clone(), straight.clone()
    stop[4:] = stop[4]
    turn[4:, 0] = turn[4, 0] - t[:4]
    curve[:, 1] += 0.15 * t**2 - t
    seen = torch.ones(4, 8).bool()
    rms = fit_path(torch.stack([straight, stop, turn, curve]), seen, 32, 14).rms(seen)
    assert rms[0] < 0.01 and (rms[1:] > 0.4).all()


def test_speeds_across_walls():
    y = torch.tensor([[18., 20, 22, 24, 24.4, 22.4, 20.4, 18.4],               # returned
                      [18., 20, 22, 24, 25, 25, 25, 25],                       # it stays there
                      [18., 20, 22, 24, 24.8, 24, 23.2, 22.4]])                # slower
    centres, seen = torch.stack([y, 0 * y + 16], -1), torch.ones(3, 8).bool()
    before, after = wall_speeds(centres, measure_motion(centres, seen, 32, 14), 32)
    assert_close(before, torch.full((3,), 2.))
    assert_close(after, torch.tensor([2., 0., 0.8]), atol=1e-4, rtol=0)


def test_frechet_of_known_gaussians():
    eye = torch.eye(3, dtype=torch.float64)
    a, b = (torch.zeros(3).double(), eye), (torch.ones(3).double(), 4 * eye)
    assert frechet_distance(a, b) == pytest.approx(3 + 3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    x = torch.randn(500, 3, generator=generator("test", 14))
    assert frechet_distance(mean_and_cov(x), mean_and_cov(x + 2)) == pytest.approx(12, rel=1e-4)
