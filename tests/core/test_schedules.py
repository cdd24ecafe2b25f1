"""Schedules: the laws that every sampler and loss relies on, at the ends above all."""
from math import pi

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from minidiff.runtime.tracing import values_can_be_checked
from minidiff.schedules import (
    VE,
    Cosine,
    Discrete,
    Flow,
    add_noise,
    append_dims,
    coefficients,
    half_log_snr,
    log_snr_timesteps,
    timesteps,
)

F64 = torch.float64
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(),
             "ddpm": Discrete.linear(), "squared cosine": Discrete.cosine()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("shape", [(), (5,)])
def test_starts_exactly_at_the_data_in_the_shape_and_dtype_of_t(schedule, dtype, shape):
    alpha, sigma = schedule(torch.zeros(shape, dtype=dtype))
    assert torch.equal(alpha, torch.ones(shape, dtype=dtype))
    assert torch.equal(sigma, torch.zeros(shape, dtype=dtype))
    assert alpha.dtype == sigma.dtype == dtype


@pytest.mark.parametrize("schedule", [Cosine(), Flow()], ids=["cosine", "flow"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_ends_exactly_at_the_noise(schedule, dtype):
    assert [c.item() for c in schedule(torch.ones((), dtype=dtype))] == [0, 1]


@pytest.mark.parametrize("name", ["cosine", "ddpm", "squared cosine"])
def test_variance_preserving(name):
    alpha, sigma = SCHEDULES[name](torch.linspace(0, 1, 777, dtype=F64))
    assert_close(alpha**2 + sigma**2, torch.ones(777, dtype=F64), rtol=0, atol=1e-14)


@every_schedule
def test_snr_strictly_falls(schedule):
    lam = half_log_snr(schedule, torch.linspace(0, 1, 4001, dtype=F64))
    assert lam[0] == float("inf") and (lam[1:] < lam[:-1]).all()


@pytest.mark.parametrize("t", [0.1, 0.37, 1.0])
def test_formulas(t):
    t = torch.tensor(t, dtype=F64)
    assert_close(Cosine()(t), (torch.cos(pi * t / 2), torch.sin(pi * t / 2)), rtol=0, atol=1e-15)
    assert_close(Flow()(t), (1 - t, t))
    assert_close(VE(50.0, 3.0)(t), (torch.ones_like(t), 50 * t**3))


def test_flow_returns_a_sigma_of_its_own():
    t = torch.tensor([0.5])
    Flow()(t)[1].zero_()
    assert t.item() == 0.5


@pytest.mark.parametrize("n", [2, 7, 1000])
def test_discrete_is_its_table_on_the_rows(n):
    betas = torch.linspace(1e-3, 0.5, n, dtype=F64)
    alpha, sigma = Discrete(betas)(torch.arange(1, n + 1, dtype=F64) / n)
    alpha_bar = torch.cumprod(1 - betas, 0)                                      # Ho 2020 eq. 4
    assert_close(alpha, alpha_bar.sqrt(), rtol=1e-10, atol=0)
    assert_close(sigma, (1 - alpha_bar).sqrt(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("row", [1, 2, 5, 10])
def test_discrete_is_continuous_at_every_kind_of_row_and_linear_in_log_snr_between(row):
    schedule = Discrete.linear(10, 1e-3, 0.3)
    t = torch.tensor([row - 1e-9, row, min(row + 1e-9, 10)], dtype=F64) / 10
    lam = half_log_snr(schedule, t)
    assert_close(lam, lam[1].expand(3), rtol=0, atol=1e-8)
    rows = torch.tensor([row, row + 0.5, row + 1], dtype=F64).clamp(max=10)
    low, mid, high = half_log_snr(schedule, rows / 10)
    assert row == 10 or torch.isclose(mid, (low + high) / 2, rtol=1e-12)


def test_discrete_falls_linearly_to_no_noise_below_its_first_row():
    alpha, sigma = Discrete.linear(10)(torch.tensor([0.01, 0.05, 0.1], dtype=F64))
    assert_close(sigma / alpha, sigma[2] / alpha[2] * torch.tensor([0.1, 0.5, 1], dtype=F64))


def test_known_tables():
    one = torch.ones((), dtype=F64)
    final = {name: SCHEDULES[name](one)[0].item() ** 2 for name in ("ddpm", "squared cosine")}
    assert final["ddpm"] == pytest.approx(4.04e-5, rel=1e-2)                     # Lin 2023 table 1
    assert final["squared cosine"] == pytest.approx(2.43e-9, rel=1e-2)
    half = Discrete.cosine()(torch.tensor(0.5, dtype=F64))[0] ** 2
    want = torch.cos(torch.tensor((0.5 + 0.008) / 1.008 * pi / 2)) ** 2
    assert half.item() == pytest.approx(want.item(), rel=2e-4)


@pytest.mark.parametrize("make", [
    lambda: Discrete([0.1]), lambda: Discrete([[0.1, 0.2]]), lambda: Discrete([0.0, 0.1]),
    lambda: Discrete([0.1, 1.0]),
    lambda: Discrete([0.1, float("nan")]), lambda: VE(0), lambda: VE(80, -1),
    lambda: VE(float("nan")), lambda: VE(float("inf")), lambda: VE(80, float("nan"))])
def test_bad_schedules_raise(make):
    with pytest.raises(ValueError, match="needs"):
        make()


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize("shift", [0.1, 0.3, 1.0, 1.7, 3.0, 12.5])
@pytest.mark.parametrize("t_max", [1.0, 0.9, 0.3])
def test_timesteps_fall_from_t_max_to_zero_exactly(n, shift, t_max):
    ts = timesteps(n, shift, t_max)
    assert ts.shape == (n + 1,) and ts.dtype == F64 and ts.device.type == "cpu"
    assert ts[0].item() == t_max and ts[-1].item() == 0 and (ts[1:] < ts[:-1]).all()


def test_shift_is_uniform_at_one_and_matches_its_formula():
    assert_close(timesteps(4), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=F64), rtol=0, atol=0)
    assert_close(timesteps(4, 3.0, 0.5), torch.tensor([1, 0.9, 0.75, 0.5, 0], dtype=F64) / 2)
    assert (timesteps(4, 3.0)[1:-1] > timesteps(4)[1:-1]).all()


@pytest.mark.parametrize("n, shift, t_max", [(0, 1, 1), (4, 0, 1), (4, -1, 1), (4, 1, 0),
                                             (4, 1, 1.1), (4, float("nan"), 1),
                                             (4, float("inf"), 1), (4, 1, float("nan"))])
def test_bad_timesteps_raise(n, shift, t_max):
    with pytest.raises(ValueError, match="timesteps needs"):
        timesteps(n, shift, t_max)


@every_schedule
@pytest.mark.parametrize("ends", [(1e-3, 0.999), (0.2, 0.7)])
def test_log_snr_timesteps_are_uniform_in_log_snr(schedule, ends):
    ts = log_snr_timesteps(schedule, 33, *ends)
    assert ts.shape == (34,) and ts.dtype == F64 and (ts[1:] < ts[:-1]).all()
    assert (ts[0].item(), ts[-2].item(), ts[-1].item()) == (ends[1], ends[0], 0)
    lam = half_log_snr(schedule, ts[:-1])
    steps = lam.diff()
    assert_close(steps, steps.mean().expand(32), rtol=1e-8, atol=0)


def test_log_snr_timesteps_need_two_and_finite_ends():
    assert log_snr_timesteps(Flow(), 2, 0.1, 0.9).tolist() == [0.9, 0.1, 0]
    assert log_snr_timesteps(VE(), 5, 0.1, 1.0)[0] == 1                          # finite at 1
    for n, t_min, t_max in ((1, 0.1, 0.9), (5, 0.0, 0.9), (5, 0.5, 0.5), (5, 0.1, 1.5),
                            (5, 0.1, 1.0)):
        with pytest.raises(ValueError, match="log"):
            log_snr_timesteps(Cosine(), n, t_min, t_max)


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 5, 3, 8, 8)], ids=["images", "videos"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@every_schedule
def test_add_noise_per_sample_is_add_noise_of_each_sample(schedule, dtype, shape):
    x0, noise = torch.randn(2, *shape, dtype=dtype)
    t = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=dtype)
    x = add_noise(schedule, x0, noise, t)
    assert x.shape == shape and x.dtype == dtype and torch.equal(x[0], x0[0])
    each = torch.stack([add_noise(schedule, a, b, u) for a, b, u in zip(x0, noise, t, strict=True)])
    assert_close(x, each, rtol=0, atol=1e-5)
    alpha, sigma = schedule(t[2])
    assert_close(x[2], alpha * x0[2] + sigma * noise[2])


def test_coefficients_are_evaluated_in_the_precision_of_t():
    t = torch.tensor(1 - 1e-9, dtype=F64)                                        # is 1 in float32
    for times in (t, t.expand(2)):
        alpha, _ = coefficients(Cosine(), times, torch.zeros(2, 3))
        assert alpha.dtype == torch.float32
        assert_close(alpha, torch.full_like(alpha, pi / 2 * 1e-9), rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [torch.zeros(2), torch.zeros(3, 1), torch.zeros(1),
                               torch.zeros(3, 2)])
def test_times_that_are_not_one_per_sample_raise(t):
    with pytest.raises(ValueError, match="one per sample"):
        coefficients(Flow(), t, torch.zeros(3, 2))


@pytest.mark.parametrize("t", [500, -1, -1e-9, float("nan"), torch.tensor([0.5, 1.5]),
                               torch.tensor([float("nan"), 0.5])], ids=str)
def test_times_outside_0_to_1_raise(t):
    with pytest.raises(ValueError, match="between 0"):
        coefficients(Flow(), t, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="between"):
        add_noise(Flow(), torch.zeros(2, 3), torch.zeros(2, 3), t)


def test_noise_of_another_shape_raises():
    with pytest.raises(ValueError, match="shape"):
        add_noise(Flow(), torch.zeros(2, 3), torch.zeros(3), torch.tensor(0.5))


@every_schedule
def test_add_noise_per_frame_is_add_noise_of_each_frame(schedule):
    x0, noise, t = *torch.randn(2, 4, 5, 3, 2, 2, dtype=F64), torch.rand(4, 5, dtype=F64)
    frames = add_noise(schedule, x0.flatten(0, 1), noise.flatten(0, 1), t.flatten())
    assert_close(add_noise(schedule, x0, noise, t), frames.view_as(x0), rtol=0, atol=1e-14)


def test_append_dims():
    clip, image = torch.zeros(4, 5, 3, 2, 2), torch.zeros(4, 3, 2, 2)
    assert append_dims(torch.zeros(()), clip).shape == ()
    assert append_dims(torch.zeros(4), clip).shape == (4, 1, 1, 1, 1)
    assert append_dims(torch.zeros(4, 5), clip).shape == (4, 5, 1, 1, 1)
    assert append_dims(torch.zeros(4, 1).expand(4, 5), clip).shape == (4, 5, 1, 1, 1)
    for t, x in (((4, 3), image), ((5,), clip), ((4, 4), clip), ((5, 4), clip), ((4, 5, 3), clip)):
        with pytest.raises(ValueError, match="one per frame"):
            append_dims(torch.zeros(t), x)


def test_values_are_not_checked_while_a_graph_is_traced():
    t, x = torch.rand(3), torch.zeros(3, 2)

    def alpha(t, x):
        return coefficients(Flow(), t, x)[0]

    class Module(torch.nn.Module):
        def forward(self, t, x):
            return alpha(t, x)
    assert_close(torch.export.export(Module(), (t / 2, x)).module()(t, x), (1 - t)[:, None])
    assert_close(torch.func.vmap(alpha)(t, x), 1 - t)
    with FakeTensorMode():
        assert alpha(torch.zeros(3), torch.zeros(3, 2)).shape == (3, 1)
    assert values_can_be_checked(t) and not values_can_be_checked(t.to("meta"))
