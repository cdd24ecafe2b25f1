"""The exact denoisers against brute force: integration, joint conditioning, errors as measured."""
import pytest
import torch
from torch.testing import assert_close

from minidiff.denoiser import PREDICTIONS, Denoiser
from minidiff.gaussians import (
    ar1_clips,
    ar1_denoiser,
    ar1_mse,
    dataset_denoiser,
    gaussian_denoiser,
    gaussian_flow,
    gaussian_mse,
    mixture_denoiser,
    prediction_loss,
)
from minidiff.samplers import heun, last
from minidiff.schedules import VE, Cosine, Discrete, Flow, add_noise, coefficients, timesteps

F64 = torch.float64
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(5.0, 2.0), "ddpm": Discrete.linear()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_time = pytest.mark.parametrize("t", torch.tensor([0.1, 0.4, 0.8, 1.0], dtype=F64),
                                     ids=lambda t: f"{t.item()}")
ZERO, ONE = torch.tensor([0.0, 1.0], dtype=F64)
MEANS = torch.tensor([[-1.0, 0.5], [1.5, 1.0], [0.0, -2.0]], dtype=F64)          # in the plane
CLIPS = torch.linspace(-9, 9, 6 * 5 * 24, dtype=F64).sin().view(6, 5, 3, 2, 4)
STDS, WEIGHTS = torch.tensor([0.3, 0.9, 0.6], dtype=F64), torch.tensor([1.0, 2.0, 5.0], dtype=F64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def integrated(log_density, schedule, x, t):
    """E[x0 | x_t = x] in the plane, by summing over a fine grid of x0."""
    axis = torch.linspace(-10, 10, 501, dtype=F64)
    x0 = torch.cartesian_prod(axis, axis)                                        # (501^2, 2)
    alpha, sigma = schedule(t)
    logs = log_density(x0) - (x[:, None] - alpha * x0).square().sum(-1) / (2 * sigma**2)
    return torch.softmax(logs, 1) @ x0


@every_schedule
@every_time
def test_gaussian_denoiser_is_the_posterior_mean(schedule, t):
    mean, std = torch.tensor([[0.5, -1.0], [0.4, 0.9]], dtype=F64)
    x = 2 * torch.randn(3, 2, dtype=F64)
    expected = integrated(lambda x0: -((x0 - mean) / std).square().sum(-1) / 2, schedule, x, t)
    assert_close(gaussian_denoiser(schedule, mean, std)(x, t), expected, rtol=0, atol=1e-6)


@every_schedule
@every_time
def test_mixture_denoiser_is_the_posterior_mean(schedule, t):
    def log_density(x0):
        logs = -(x0[:, None] - MEANS).square().sum(-1) / (2 * STDS**2)
        logs = logs - 2 * STDS.log() + WEIGHTS.log()
        return torch.logsumexp(logs, 1)
    x = 2 * torch.randn(4, 2, dtype=F64)
    expected = integrated(log_density, schedule, x, t)
    denoise = mixture_denoiser(schedule, MEANS, STDS, WEIGHTS)
    assert_close(denoise(x, t), expected, rtol=0, atol=1e-6)


@every_schedule
@every_time
def test_mixture_posterior_in_many_dimensions(schedule, t):
    """Each component by its normal density over all 120 elements: wide ones are not favoured."""
    alpha, sigma = schedule(t)
    std = torch.tensor([0.5, 0.55, 0.6], dtype=F64)
    x = alpha * CLIPS[3:5] + sigma * torch.randn(2, 5, 3, 2, 4, dtype=F64)
    spread = (alpha**2 * std**2 + sigma**2).sqrt().view(3, 1)
    normal = torch.distributions.Normal(alpha * CLIPS[:3].flatten(1), spread)
    r = torch.softmax(normal.log_prob(x.flatten(1)[:, None]).sum(-1) + WEIGHTS.log(), 1)
    guesses = torch.stack([gaussian_denoiser(schedule, m, c)(x, t)
                           for m, c in zip(CLIPS, std, strict=False)], 1)
    expected = torch.einsum("bk,bk...->b...", r, guesses)
    assert_close(mixture_denoiser(schedule, CLIPS[:3], std, WEIGHTS)(x, t), expected)


def test_weights_count_even_where_the_logs_are_huge():
    """Half-way between two data, nearly without noise: logs of -2e19 each, and weights decide."""
    means, weights = torch.tensor([[-1.0], [1.0]], dtype=F64), torch.tensor([1.0, 9.0])
    denoise = mixture_denoiser(Cosine(), means, 0.0, weights)
    assert_close(denoise(torch.zeros(1, 1, dtype=F64), torch.tensor(1e-10, dtype=F64)).item(), 0.8)


@every_schedule
@pytest.mark.parametrize("std", [0.7, 0.0])
def test_a_mixture_of_one_and_of_equals_is_a_gaussian(schedule, std):
    mean, x = torch.randn(1, 3, 4, 4, dtype=F64), torch.randn(4, 3, 4, 4, dtype=F64)
    t = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=F64)
    expected = gaussian_denoiser(schedule, mean[0], std)(x, t)
    if std == 0:
        expected = mean.expand_as(x)
    assert_close(mixture_denoiser(schedule, mean, std)(x, t), expected)
    equals = mixture_denoiser(schedule, mean.repeat(3, 1, 1, 1), torch.full((3,), std), WEIGHTS)
    assert_close(equals(x, t), expected)


DENOISERS = {
    "gaussian": lambda schedule: gaussian_denoiser(
        schedule, torch.linspace(-1, 1, 4, dtype=F64), 0.6),
    "mixture": lambda schedule: mixture_denoiser(schedule, CLIPS[:3], STDS, WEIGHTS),
    "data": lambda schedule: dataset_denoiser(schedule, CLIPS),
    "ar1": lambda schedule: ar1_denoiser(schedule, 0.9, 0.5),
}


@pytest.mark.parametrize("name", DENOISERS)
@every_schedule
def test_one_time_per_sample_is_each_sample_at_its_time(name, schedule):
    denoise, x = DENOISERS[name](schedule), torch.randn(4, 5, 3, 2, 4, dtype=F64)
    t = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=F64)
    out = denoise(x, t)
    assert_close(out, torch.cat([denoise(row[None], u) for row, u in zip(x, t, strict=True)]))
    assert_close(denoise(x, t[1]), denoise(x, t[1].expand(4)))


@pytest.mark.parametrize("name", DENOISERS)
@every_schedule
def test_dtype_follows_x_and_float32_is_close(name, schedule):
    denoise, x = DENOISERS[name](schedule), torch.randn(4, 5, 3, 2, 4, dtype=F64)
    for t in (ZERO, torch.tensor(0.3, dtype=F64), torch.tensor(0.8, dtype=F64), ONE):
        out = denoise(x.float(), t)
        assert out.dtype == torch.float32 and out.shape == x.shape
        assert_close(out.double(), denoise(x, t), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["gaussian", "mixture", "ar1"])
@every_schedule
def test_without_noise_x_is_its_own_denoising(name, schedule):
    x = torch.randn(4, 5, 3, 2, 4, dtype=F64)
    assert_close(DENOISERS[name](schedule)(x, ZERO), x)


@every_schedule
def test_gaussian_flow_goes_both_ways_and_keeps_the_law(schedule):
    mean, std = torch.randn(3, dtype=F64), torch.rand(3, dtype=F64) + 0.1
    x = torch.randn(4, 3, dtype=F64)
    flow, (t, s, r) = gaussian_flow(schedule, mean, std), torch.tensor([0.9, 0.4, 0.0], dtype=F64)
    assert_close(flow(flow(x, t, s), s, r), flow(x, t, r))
    assert_close(flow(flow(x, t, s), s, t), x)
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    at_one = a_t * mean + (a_t**2 * std**2 + s_t**2).sqrt()                      # mean + one std
    assert_close(flow(at_one[None], t, s)[0], a_s * mean + (a_s**2 * std**2 + s_s**2).sqrt())


def test_gaussian_flow_follows_the_ode():
    """dx/dt = x0 alpha' + eps sigma', by central differences."""
    schedule, flow = Cosine(), gaussian_flow(Cosine(), 0.7, 0.4)
    t, h = torch.tensor(0.5, dtype=F64), 1e-5
    x = torch.randn(5, 1, dtype=F64)
    (a, s), (a_up, s_up), (a_down, s_down) = schedule(t), schedule(t + h), schedule(t - h)
    x0 = gaussian_denoiser(schedule, 0.7, 0.4)(x, t)
    velocity = x0 * (a_up - a_down) / (2 * h) + (x - a * x0) / s * (s_up - s_down) / (2 * h)
    assert_close((flow(x, t, t + h) - flow(x, t, t - h)) / (2 * h), velocity, rtol=0, atol=1e-8)


@every_schedule
@every_time
def test_dataset_denoiser_is_the_weighted_mean_and_the_limit_of_a_mixture(schedule, t):
    data, (alpha, sigma) = torch.randn(6, 2, dtype=F64), schedule(t)
    x = alpha * data[:5] + sigma * torch.randn(5, 2, dtype=F64)
    density = torch.exp(-(x[:, None] - alpha * data).square().sum(-1) / (2 * sigma**2))
    out = dataset_denoiser(schedule, data)(x, t)
    assert_close(out, density @ data / density.sum(1, keepdim=True))
    assert_close(mixture_denoiser(schedule, data, 1e-7)(x, t), out, rtol=0, atol=1e-6)


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_memoriser_answers_the_nearest_datum_at_the_data_and_the_mean_at_the_noise(
        schedule, dtype):
    data = torch.randn(20, 5, 1, 32, 32, dtype=dtype)
    denoise, at = dataset_denoiser(schedule, data), torch.tensor([7, 3, 19])
    near = data[at] + 0.3 * torch.randn(3, 5, 1, 32, 32, dtype=dtype)
    for t in (0.0, 1e-9, 1e-4, 1e-2):
        assert_close(denoise(near, torch.tensor(t, dtype=F64)), data[at], rtol=0, atol=1e-5)
    if schedule(ONE)[0] == 0:
        assert_close(denoise(near, ONE), data.mean(0).expand_as(near), rtol=0, atol=1e-5)


def test_sampling_from_a_memoriser_gives_its_data_back():
    data = torch.randn(8, 3, 1, 4, 4, dtype=F64)
    x = torch.randn(16, 3, 1, 4, 4, dtype=F64)
    out = last(heun(dataset_denoiser(Cosine(), data), Cosine(), x, timesteps(40)))
    nearest, which = torch.cdist(out.flatten(1), data.flatten(1)).min(1)
    assert nearest.max() < 1e-6 and len(which.unique()) > 3


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95, 1.0])
def test_ar1_clips_are_stationary_with_their_correlation(rho):
    clips = ar1_clips((20_000, 6, 1, 1, 2), rho, 0.7, torch.Generator().manual_seed(0), F64)
    frames = clips.movedim(1, -1).flatten(0, -2)                                 # (40000, 6)
    k = torch.arange(6)
    expected = 0.49 * torch.tensor(rho, dtype=F64) ** (k[:, None] - k).abs()
    assert_close(frames.T @ frames / len(frames), expected, rtol=0, atol=0.02)
    assert (clips[..., 0] * clips[..., 1]).mean().abs() < 0.02                   # independent


def test_ar1_clips_come_from_the_generator():
    draw = [ar1_clips((2, 4, 1, 3, 3), 0.8, generator=torch.Generator().manual_seed(seed))
            for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert draw[0].dtype == torch.float32 and draw[0].shape == (2, 4, 1, 3, 3)


@every_schedule
@every_time
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.9, 0.999])
def test_ar1_denoiser_is_joint_conditioning(schedule, t, rho):
    """E[x0 | x] = C_0x C_xx^-1 x with the covariance of the whole clip written out."""
    x, k = torch.randn(3, 5, 2, 2, 1, dtype=F64), torch.arange(5)
    time = 0.36 * torch.tensor(rho, dtype=F64) ** (k[:, None] - k).abs()
    prior = torch.kron(time, torch.eye(4, dtype=F64))
    alpha, sigma = schedule(t)
    joint = alpha**2 * prior + sigma**2 * torch.eye(20, dtype=F64)
    expected = (alpha * prior @ torch.linalg.solve(joint, x.flatten(1).T)).T.view_as(x)
    assert_close(ar1_denoiser(schedule, rho, 0.6)(x, t), expected, rtol=0, atol=1e-9)


@every_schedule
def test_ar1_without_correlation_is_one_frame_at_a_time(schedule):
    x, t = torch.randn(3, 5, 1, 2, 2, dtype=F64), torch.tensor(0.5, dtype=F64)
    assert_close(ar1_denoiser(schedule, 0.0, 0.6)(x, t), gaussian_denoiser(schedule, 0, 0.6)(x, t))


def test_a_still_picture_is_the_mean_of_its_frames():
    """rho = 1: T noisy looks at one picture are one look with sigma / sqrt(T)."""
    x, t, c = torch.randn(3, 5, 1, 2, 2, dtype=F64), torch.tensor(0.6, dtype=F64), 0.8
    alpha, sigma = Flow()(t)
    expected = alpha * c**2 / (alpha**2 * c**2 + sigma**2 / 5) * x.mean(1, keepdim=True)
    assert_close(ar1_denoiser(Flow(), 1.0, c)(x, t), expected.expand_as(x))
    assert ar1_denoiser(Flow(), 1.0, c)(x, ZERO).isfinite().all()


TIMES = torch.tensor([0.0, 0.05, 0.3, 0.6, 0.9, 1.0], dtype=F64)


@every_schedule
def test_time_only_helps(schedule):
    alone = gaussian_mse(schedule, 0.7, TIMES)
    assert_close(ar1_mse(schedule, 8, 0.0, 0.7, TIMES), alone)
    assert_close(ar1_mse(schedule, 1, 0.9, 0.7, TIMES), alone)
    before = alone
    for rho in (0.3, 0.6, 0.9, 0.99):
        whole = ar1_mse(schedule, 8, rho, 0.7, TIMES)
        assert (whole[1:-1] < before[1:-1]).all() and whole[0] == alone[0] == 0
        before = whole
    few, many = (ar1_mse(schedule, frames, 0.9, 0.7, TIMES)[1:-1] for frames in (8, 16))
    assert (many < few).all()
    if schedule(ONE)[0] == 0:
        assert alone[-1].item() == pytest.approx(0.49) and before[-1].item() == pytest.approx(0.49)


@every_schedule
@pytest.mark.parametrize("t", [0.2, 0.5, 0.85])
def test_least_errors_are_the_errors_measured(schedule, t):
    rho, std, t = 0.9, 0.7, torch.tensor(t, dtype=F64)
    x0 = ar1_clips((1000, 8, 1, 4, 4), rho, std, torch.Generator().manual_seed(1), F64)
    x = add_noise(schedule, x0, torch.randn_like(x0), t)
    measured = (ar1_denoiser(schedule, rho, std)(x, t) - x0).square().mean().item()
    alone = (gaussian_denoiser(schedule, 0, std)(x, t) - x0).square().mean().item()
    assert measured == pytest.approx(ar1_mse(schedule, 8, rho, std, t).item(), rel=0.03)
    assert alone == pytest.approx(gaussian_mse(schedule, std, t).item(), rel=0.03)


def test_least_error_of_a_diagonal_gaussian_is_the_mean_over_its_elements():
    std = torch.tensor([[0.0, 0.5], [1.0, 2.0]], dtype=F64)
    each = torch.stack([gaussian_mse(Cosine(), c, TIMES) for c in std.flatten()])
    assert_close(gaussian_mse(Cosine(), std, TIMES), each.mean(0))
    assert gaussian_mse(Cosine(), std, TIMES[2]).shape == ()


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", (SCHEDULES | {"ve": VE(1.5, 2.0)}).values(), ids=SCHEDULES)
@pytest.mark.parametrize("t", [0.15, 0.5, 0.9])
def test_least_loss_is_the_loss_measured(prediction, schedule, t):
    """Denoiser.loss, with the exact denoiser's x0 turned into each prediction by its own (p, q)."""
    rho, std, t = 0.9, 0.7, torch.full((1000,), t, dtype=F64)
    exact, pair = ar1_denoiser(schedule, rho, std), PREDICTIONS[prediction]

    def net(x, t, cond):
        a, s = coefficients(schedule, t, x)
        (p, q), x0 = pair(a, s), exact(x, t)
        return p * x0 + q * (x - a * x0) / s
    x0 = ar1_clips((1000, 8, 1, 4, 4), rho, std, torch.Generator().manual_seed(1), F64)
    measured = Denoiser(net, schedule, prediction).loss(x0, t=t).mean().item()
    least = prediction_loss(schedule, pair, ar1_mse(schedule, 8, rho, std, t[0]), t[0])
    assert measured == pytest.approx(least.item(), rel=0.03)


@pytest.mark.parametrize("bad", [
    lambda: gaussian_denoiser(Flow(), 0, -1.0),
    lambda: gaussian_flow(Flow(), 0, torch.tensor([1.0, -1.0])),
    lambda: gaussian_mse(Flow(), -1.0, ONE),
    lambda: mixture_denoiser(Flow(), MEANS, -1.0),
    lambda: mixture_denoiser(Flow(), MEANS, torch.ones(2)),
    lambda: mixture_denoiser(Flow(), MEANS, 1.0, torch.ones(4)),
    lambda: mixture_denoiser(Flow(), MEANS, 1.0, torch.tensor([1.0, 0.0, 1.0])),
    lambda: dataset_denoiser(Flow(), torch.ones(3)),
    lambda: dataset_denoiser(Flow(), torch.ones(0, 3)),
    lambda: ar1_clips((2, 3, 1), 1.1),
    lambda: ar1_clips((2, 3, 1), 0.5, -1.0),
    lambda: ar1_denoiser(Flow(), -1.1),
    lambda: ar1_denoiser(Flow(), float("nan")),
    lambda: ar1_mse(Flow(), 4, 2.0, 1.0, ONE),
    lambda: prediction_loss(Flow(), PREDICTIONS["v"], ZERO, ZERO),
])
def test_bad_arguments_raise(bad):
    with pytest.raises(ValueError):
        bad()


@every_schedule
def test_one_time_per_frame_is_each_frame_at_its_time(schedule):
    x, t = torch.randn(2, 3, 1, 4, 4, dtype=F64), torch.rand(2, 3, dtype=F64)
    denoise, flow = gaussian_denoiser(schedule, 0.3, 0.6), gaussian_flow(schedule, 0.3, 0.6)
    frames, times = x.flatten(0, 1), t.flatten()
    assert_close(denoise(x, t), denoise(frames, times).view_as(x))
    assert_close(flow(x, t, t / 2), flow(frames, times, times / 2).view_as(x))


@pytest.mark.parametrize("name", ["mixture", "data", "ar1"])
def test_denoisers_that_mix_frames_refuse_one_time_per_frame(name):
    with pytest.raises(ValueError, match=r"not one per frame \(4, 5\)"):
        DENOISERS[name](Flow())(torch.zeros(4, 5, 3, 2, 4), torch.full((4, 5), 0.5))
