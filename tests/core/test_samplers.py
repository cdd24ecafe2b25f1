"""Samplers against what they must be: Gaussians' exact flow, the papers' posteriors, generators."""
from itertools import pairwise
from math import log2

import pytest
import torch
from torch.testing import assert_close

from minidiff.gaussians import gaussian_denoiser, gaussian_flow
from minidiff.samplers import (
    SAMPLERS,
    State,
    ddim,
    ddim_step,
    ddpm,
    dpmpp_2m,
    euler,
    euler_ancestral,
    heun,
    last,
)
from minidiff.schedules import VE, Cosine, Discrete, Flow, log_snr_timesteps, timesteps

F64 = torch.float64
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(), "ddpm": Discrete.linear()}
MEAN = torch.linspace(-1, 1, 20, dtype=F64).view(4, 5)
STD = torch.linspace(0.2, 1.2, 20, dtype=F64).view(5, 4).T.contiguous()
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def noise(*shape, seed=0, dtype=F64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# name -> (schedule, n) -> (ts, which state is compared): the last, or the one before it where the
# log-SNR must be finite.
GRIDS = {
    "uniform": lambda schedule, n: (timesteps(n), -1),
    "log-SNR": lambda schedule, n: (log_snr_timesteps(schedule, n, 0.01, 0.99), -2),
}


def flow_error(sampler, schedule, grid, n):
    """The largest error of a sampler after n steps on Gaussian data, against the exact flow."""
    ts, which = GRIDS[grid](schedule, n)
    x = schedule(ts[0])[1] * noise(3, 4, 5)                       # VE starts from sigma_max * noise
    state = list(sampler(gaussian_denoiser(schedule, MEAN, STD), schedule, x, ts))[which]
    return (state.x - gaussian_flow(schedule, MEAN, STD)(x, ts[0], state.t)).abs().max().item()


ORDERS = [  # sampler, schedule, grid, order, within
    *[(ddim, name, grid, 1, 0.05) for name in SCHEDULES for grid in GRIDS],
    *[(heun, name, "uniform", 2, 0.1) for name in ("cosine", "flow", "ve")],
    *[(heun, name, "log-SNR", 2, 0.1) for name in SCHEDULES],
    *[(dpmpp_2m, name, "log-SNR", 2, 0.1) for name in SCHEDULES],
]


@pytest.mark.parametrize("sampler, schedule, grid, order, within", ORDERS,
                         ids=lambda it: getattr(it, "__name__", None))
def test_order_of_convergence(sampler, schedule, grid, order, within):
    coarse, fine = (flow_error(sampler, SCHEDULES[schedule], grid, n) for n in (128, 256))
    assert log2(coarse / fine) == pytest.approx(order, abs=within)
    assert fine < (0.1 if order == 1 else 0.01)


@pytest.mark.parametrize("sampler", [ddim, heun])
@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Discrete.linear(), VE()],
                         ids=["cosine", "flow", "ddpm", "ve"])
def test_many_steps_reach_the_exact_flow(sampler, schedule):
    assert flow_error(sampler, schedule, "uniform", 2000) < (1e-2 if sampler is ddim else 2e-4)


@every_sampler
@every_schedule
def test_a_single_datum_is_reached_exactly_in_any_number_of_steps(sampler, schedule):
    """Of data without spread the guess never changes, so every solver's step is exact."""
    x = schedule(torch.ones((), dtype=F64))[1] * noise(2, 4, 5)
    denoise = gaussian_denoiser(schedule, MEAN, 0.0)
    for n in (1, 2, 9):
        assert_close(last(sampler(denoise, schedule, x, timesteps(n))), MEAN.expand(2, 4, 5))


@every_schedule
def test_deterministic_samplers_stay_on_the_flow_of_a_single_datum(schedule):
    ts = timesteps(8)
    x = schedule(ts[0])[1] * noise(2, 4, 5)
    exact = gaussian_flow(schedule, MEAN, 1e-12)
    for sampler in (ddim, heun, dpmpp_2m):
        for state in sampler(gaussian_denoiser(schedule, MEAN, 0.0), schedule, x, ts):
            assert_close(state.x, exact(x, ts[0], state.t), rtol=0, atol=1e-9)


PAIRS = [(0.9, 0.5), (0.5, 0.1), (0.31, 0.3), (0.7, 0.0)]
every_pair = pytest.mark.parametrize("t, s", [torch.tensor(pair, dtype=F64) for pair in PAIRS],
                                     ids=str)


@every_pair
def test_ddim_on_flow_is_eulers_step_on_the_velocity(t, s):
    x, x0 = noise(2, 3, 4)
    assert_close(ddim_step(Flow(), x, x0, t, s), x + (s - t) * (x - x0) / t, rtol=0, atol=1e-14)


@every_pair
def test_ddim_on_ve_is_edms_euler_step_in_sigma(t, s):
    x, x0 = noise(2, 3, 4)
    sigma, final = VE()(t)[1], VE()(s)[1]
    euler_step = x + (final - sigma) * (x - x0) / sigma
    assert_close(ddim_step(VE(), x, x0, t, s), euler_step, rtol=0, atol=1e-12)


@every_pair
@every_schedule
def test_eta_one_is_the_posterior(schedule, t, s):
    """q(x_s | x_t, x0), by Bayes from N(x_s; a_s x0, s_s^2) N(x_t; r x_s, s_t^2 - r^2 s_s^2)."""
    x, x0 = noise(2, 3, 4)
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    r = a_t / a_s
    seen = s_t**2 - r**2 * s_s**2
    mean = (seen * a_s * x0 + s_s**2 * r * x) / (seen + r**2 * s_s**2)
    std = (seen * s_s**2 / (seen + r**2 * s_s**2)).sqrt()
    assert_close(ddim_step(schedule, x, x0, t, s, 1.0, torch.zeros_like), mean)
    moved = ddim_step(schedule, x, x0, t, s, 1.0, torch.ones_like) - mean
    assert_close(moved, std.expand_as(mean), rtol=1e-7, atol=1e-12)


def test_eta_one_by_drawing():
    """The same without injected noise: 200,000 draws have Ho 2020 eq. 7's mean and variance."""
    torch.manual_seed(0)
    schedule = Discrete.linear(10, 0.05, 0.4)
    x, x0 = torch.tensor([[0.7], [-0.4]], dtype=F64).expand(2, 200_000)
    betas = torch.linspace(0.05, 0.4, 10, dtype=F64)
    bar = torch.cumprod(1 - betas, 0)
    beta, bar_t, bar_s = betas[6], bar[6], bar[5]
    out = ddim_step(schedule, x, x0, torch.tensor(0.7, dtype=F64), torch.tensor(0.6, dtype=F64), 1.0)
    mean = (bar_s.sqrt() * beta / (1 - bar_t) * x0
            + (1 - beta).sqrt() * (1 - bar_s) / (1 - bar_t) * x)
    assert out.mean().item() == pytest.approx(mean[0].item(), abs=5e-3)
    assert out.var().item() == pytest.approx(((1 - bar_s) / (1 - bar_t) * beta).item(), rel=1e-2)


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
@every_schedule
def test_any_eta_lands_on_the_right_noise_level(schedule, eta):
    """From alpha_t x0 + sigma_t eps to mean alpha_s x0, variance sigma_s^2 (Song 2021 lemma 1)."""
    t, s, x0 = *torch.tensor([0.8, 0.3], dtype=F64), noise(3, 4)
    (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
    zero, one = torch.zeros_like, torch.ones_like
    mean = ddim_step(schedule, a_t * x0, x0, t, s, eta, zero)
    by_eps = ddim_step(schedule, a_t * x0 + s_t, x0, t, s, eta, zero) - mean
    by_new = ddim_step(schedule, a_t * x0, x0, t, s, eta, one) - mean
    assert_close(mean, a_s * x0)
    assert_close(by_eps**2 + by_new**2, (s_s**2).expand(3, 4))
    assert (by_new.abs().max() == 0) == (eta == 0)


@every_schedule
def test_two_jumps_with_the_same_guess_are_one(schedule):
    x, x0 = noise(2, 3, 4)
    t, s, r = torch.tensor([0.9, 0.4, 0.15], dtype=F64)
    twice = ddim_step(schedule, ddim_step(schedule, x, x0, t, s), x0, s, r)
    assert_close(twice, ddim_step(schedule, x, x0, t, r), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_jump_to_the_data_is_the_guess_and_draws_nothing(eta):
    x, x0 = noise(2, 3, 4)
    t, s = torch.tensor([0.4, 0.0], dtype=F64)
    assert torch.equal(ddim_step(Cosine(), x, x0, t, s, eta, randn_like=None), x0)


def ddpm_variance(schedule, n, std):
    """The exact variance of DDPM's samples on N(m, std^2): linear steps, each noise felt alone."""
    ts = timesteps(n)
    x = torch.zeros(n + 1, 1, dtype=F64)                         # row k feels the k-th noise alone
    x[0] = schedule(ts[0])[1]
    steps = iter(range(1, n + 1))

    def unit(x):
        one = torch.zeros_like(x)
        one[next(steps)] = 1
        return one
    denoise = gaussian_denoiser(schedule, 0.0, std)
    return last(ddpm(denoise, schedule, x, ts, unit)).square().sum().item()


@pytest.mark.parametrize("name", ["cosine", "flow", "ddpm"])
@pytest.mark.parametrize("std", [0.3, 1.0, 1.4])
def test_ddpm_has_the_closed_form_variance(name, std):
    """By recursion: V_s = A^2 V_t + posterior variance, A from Ho 2020 eq. 7 with x0 = g x_t.

    It tends to std^2.
    """
    schedule, n = SCHEDULES[name], 40
    ts = timesteps(n)
    (a_t, s_t) = schedule(ts[0])
    variance = s_t**2
    for t, s in pairwise(ts):
        (a_t, s_t), (a_s, s_s) = schedule(t), schedule(s)
        seen = s_t**2 - (a_t / a_s * s_s) ** 2                                   # this beta_t
        by_x0, by_x = a_s * seen / s_t**2, a_t / a_s * s_s**2 / s_t**2
        slope = by_x + by_x0 * a_t * std**2 / (a_t**2 * std**2 + s_t**2)
        variance = slope**2 * variance + seen * s_s**2 / s_t**2
    assert ddpm_variance(schedule, n, std) == pytest.approx(variance.item(), rel=1e-9)
    assert ddpm_variance(schedule, 400, std) == pytest.approx(std**2, rel=0.07)


@every_schedule
def test_ddpm_keeps_the_mean(schedule):
    """From the mean of x_1, without noise, DDPM stays on the mean of x_t and ends on the data's."""
    denoise, ts = gaussian_denoiser(schedule, MEAN, STD), timesteps(10)
    for state in ddpm(denoise, schedule, schedule(ts[0])[0] * MEAN[None], ts, torch.zeros_like):
        assert_close(state.x, schedule(state.t)[0] * MEAN[None])


def half(x, t):
    return 0.5 * x.tanh()


@every_sampler
@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_n_steps_give_n_plus_one_states_from_the_noise_to_the_data(sampler, n, dtype):
    x, ts = noise(2, 3, 1, 4, 4, dtype=dtype), timesteps(n)
    states = list(sampler(half, Cosine(), x, ts))
    assert [s.t.item() for s in states] == ts.tolist()
    assert all(isinstance(s, State) and s.x.shape == x.shape for s in states)
    assert all(s.x.dtype == s.x0.dtype == dtype for s in states)
    assert states[0].x is x and torch.equal(states[0].x0, half(x, None))
    assert torch.equal(states[-1].x, states[-2].x0), "the last guess is the sample"
    assert torch.equal(states[-1].x0, states[-1].x)
    assert torch.equal(x, noise(2, 3, 1, 4, 4, dtype=dtype)), "the noise was changed in place"


@every_sampler
def test_guesses_are_asked_for_as_often_as_promised(sampler):
    asked = []
    last(sampler(lambda x, t: asked.append(t.item()) or x, Flow(), noise(1, 3), timesteps(4)))
    heuns = [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert asked == (heuns if sampler is heun else [1, 0.75, 0.5, 0.25])


@every_sampler
def test_nothing_runs_before_next_and_no_step_before_its_turn(sampler):
    asked = []
    steps = sampler(lambda x, t: asked.append(t.item()) or x, Flow(), noise(1, 3), timesteps(3))
    assert asked == []
    next(steps)
    assert asked == [1]


@every_sampler
def test_grad_mode_is_off_inside_and_the_callers_between_and_after(sampler):
    inside, weight = [], torch.ones((), requires_grad=True)

    def denoise(x, t):
        inside.append(torch.is_grad_enabled())
        return weight * x
    for state in sampler(denoise, Flow(), noise(1, 3), timesteps(3)):
        assert torch.is_grad_enabled() and not state.x.requires_grad and not state.x0.requires_grad
    assert torch.is_grad_enabled() and not any(inside)
    with torch.no_grad():
        steps = sampler(half, Flow(), noise(1, 3), timesteps(3))
        next(steps)
    next(steps)
    assert torch.is_grad_enabled()
    steps.close()
    assert torch.is_grad_enabled()


@every_sampler
def test_same_seed_same_trajectory(sampler):
    def run(seed):
        torch.manual_seed(seed)
        return torch.stack([s.x for s in sampler(half, Cosine(), noise(2, 3), timesteps(5))])
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (sampler not in (ddpm, euler_ancestral))


def test_noise_can_be_passed_in():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)
    a, b, c = (last(ddpm(half, Cosine(), noise(2, 3), timesteps(5), draw(seed)))
               for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.isclose(a, c).any()
    d = last(ddim(half, Cosine(), noise(2, 3), timesteps(5), eta=1.0, randn_like=draw(0)))
    assert torch.equal(a, d)


def test_the_two_names():
    assert euler is ddim and euler_ancestral is ddpm
    assert set(SAMPLERS) == {"ddpm", "ddim", "heun", "dpmpp_2m", "euler", "euler_ancestral"}


def test_dpmpp_2m_forgets_the_batch_before():
    x, y = noise(2, 2, 3)
    alone = last(dpmpp_2m(half, Cosine(), y, timesteps(5)))
    last(dpmpp_2m(half, Cosine(), x, timesteps(5)))
    steps = dpmpp_2m(half, Cosine(), x, timesteps(5))
    next(steps), next(steps)                                                     # left half-way
    assert torch.equal(last(dpmpp_2m(half, Cosine(), y, timesteps(5))), alone)


@every_sampler
def test_each_sample_goes_its_own_way(sampler):
    x = noise(3, 4, 5)
    zero = {"randn_like": torch.zeros_like} if sampler is ddpm else {}
    together = last(sampler(half, Cosine(), x, timesteps(6), **zero))
    alone = torch.cat([last(sampler(half, Cosine(), row[None], timesteps(6), **zero)) for row in x])
    assert_close(together, alone, rtol=0, atol=1e-14)


@every_sampler
@pytest.mark.parametrize("ts", [
    [1.0], [0.0, 1.0], [1.0, 0.5, 0.5, 0.0], [1.1, 0.0], [1.0, -0.1], [[1.0, 0.0]],
    [1.0, float("nan"), 0.0]], ids=str)
def test_unsuitable_grids_raise(sampler, ts):
    with pytest.raises(ValueError, match="falling"):
        next(sampler(half, Flow(), noise(1, 3), torch.tensor(ts, dtype=F64)))


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_unsuitable_etas_raise(eta):
    steps = ddim(half, Flow(), noise(1, 3), timesteps(3), eta)
    with pytest.raises(ValueError, match="eta must be"):
        next(steps)
    with pytest.raises(ValueError, match="eta must be"):
        ddim_step(Flow(), noise(1, 3), noise(1, 3), 0.5, 0.2, eta)


@pytest.mark.parametrize("s", [0.6, float("nan")])
def test_a_jump_away_from_the_data_raises(s):
    with pytest.raises(ValueError, match="must not exceed"):
        ddim_step(Flow(), noise(1, 3), noise(1, 3), 0.5, s)


@every_schedule
def test_a_jump_takes_numbers(schedule):
    x, x0 = noise(2, 3, 4)
    t, s = torch.tensor([0.7, 0.3], dtype=F64)
    assert torch.equal(ddim_step(schedule, x, x0, 0.7, 0.3), ddim_step(schedule, x, x0, t, s))
