"""Samplers against what they must be: Gaussians' exact flow, the papers' posteriors, generators."""
from itertools import pairwise
from math import log2

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minidiff import samplers
from minidiff.denoiser import Denoiser
from minidiff.gaussians import gaussian_denoiser, gaussian_flow
from minidiff.guidance import guided
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
    out = ddim_step(schedule, x, x0, 0.7, 0.6, 1.0)
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
def test_two_steps_with_the_same_guess_are_one(schedule):
    x, x0 = noise(2, 3, 4)
    t, s, r = torch.tensor([0.9, 0.4, 0.15], dtype=F64)
    twice = ddim_step(schedule, ddim_step(schedule, x, x0, t, s), x0, s, r)
    assert_close(twice, ddim_step(schedule, x, x0, t, r), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_step_to_the_data_is_the_guess_and_draws_nothing(eta):
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
    twice = [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert asked == (twice if sampler.calls_per_step == 2 else [1, 0.75, 0.5, 0.25])


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
    assert torch.equal(first, other) == (not sampler.stochastic)


def test_noise_can_be_passed_in():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)
    a, b, c = (last(ddpm(half, Cosine(), noise(2, 3), timesteps(5), draw(seed)))
               for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.isclose(a, c).any()
    d = last(ddim(half, Cosine(), noise(2, 3), timesteps(5), eta=1.0, randn_like=draw(0)))
    assert torch.equal(a, d)


def test_samplers_say_what_they_do():
    assert {n: (f.calls_per_step, f.stochastic) for n, f in SAMPLERS.items()} == {
        "ddpm": (1, True), "ddim": (1, False), "heun": (2, False), "dpmpp_2m": (1, False),
        "euler": (1, False), "euler_ancestral": (1, True), "consistency": (1, True)}


def test_the_public_names_are_all_there():
    assert set(samplers.__all__) == {*SAMPLERS, "SAMPLERS", "State", "ddim_guess", "ddim_step",
                                     "last", "sampler"}
    assert all(hasattr(samplers, name) for name in samplers.__all__)


def test_the_two_names():
    assert euler is ddim and euler_ancestral is ddpm
    assert set(SAMPLERS) == {"ddpm", "ddim", "heun", "dpmpp_2m", "consistency", "euler",
                             "euler_ancestral"}


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
    zero = {"randn_like": torch.zeros_like} if sampler.stochastic else {}
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
def test_a_step_away_from_the_data_raises(s):
    with pytest.raises(ValueError, match="must not exceed"):
        ddim_step(Flow(), noise(1, 3), noise(1, 3), 0.5, s)


@every_schedule
def test_a_step_takes_numbers(schedule):
    x, x0 = noise(2, 3, 4)
    t, s = torch.tensor([0.7, 0.3], dtype=F64)
    assert torch.equal(ddim_step(schedule, x, x0, 0.7, 0.3), ddim_step(schedule, x, x0, t, s))


def frame_times():
    """Times t >= s for 3 clips of 4 frames: frames that step, wait in noise, wait, and are done."""
    t = torch.tensor([[0.9, 1.0, 0.4, 0.0], [0.8, 1.0, 0.2, 0.0], [0.7, 0.6, 0.5, 0.3]], dtype=F64)
    s = torch.tensor([[0.5, 1.0, 0.4, 0.0], [0.0, 0.9, 0.1, 0.0], [0.1, 0.2, 0.3, 0.0]], dtype=F64)
    return t, s


@every_schedule
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_step_with_several_times_is_each_step_alone(schedule, eta, dtype):
    x, x0 = noise(2, 3, 4, 1, 2, 2, dtype=dtype)
    t, s = frame_times()
    out = ddim_step(schedule, x, x0, t, s, eta, torch.ones_like)
    assert out.dtype == dtype and torch.equal(out[t == s], x[t == s])
    close = dict(rtol=0, atol=1e-12 if dtype == F64 else 3e-5)
    for i in range(3):
        for k in range(4):
            alone = ddim_step(schedule, x[i, k], x0[i, k], t[i, k], s[i, k], eta, torch.ones_like)
            assert_close(out[i, k], alone, **close)
    out = ddim_step(schedule, x, x0, t[:, 2], s[:, 2], eta, torch.ones_like)              # (B,)
    rows = [ddim_step(schedule, *v, eta, torch.ones_like)
            for v in zip(x, x0, t[:, 2], s[:, 2], strict=True)]
    assert_close(out, torch.stack(rows), **close)
    mixed = ddim_step(schedule, x, x0, t[:, 0], 0.0 * s, eta, torch.ones_like)      # (B,) to (B, T)
    assert_close(mixed, x0, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 3), (3, 4, 1)])
def test_a_step_with_times_of_another_shape_raises(shape):
    x, t = torch.zeros(3, 4, 1, 2, 2), torch.full(shape, 0.5)
    for pair in ((t, 0.1), (0.9, t)):
        with pytest.raises(ValueError, match=r"time \(\), one per sample \(3,\) or one per frame"):
            ddim_step(Flow(), x, x, *pair)


def staggered(n, shape):
    """A grid on which each of several times falls from 1 to 0 in n steps, after 0 to 2 others."""
    delay = torch.arange(torch.Size(shape).numel()).view(shape) % 3
    step = torch.arange(n + 1 + delay.max()).view(-1, *[1] * len(shape)) - delay
    return timesteps(n)[step.clamp(0, n)]


@every_sampler
@every_schedule
@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_each_sample_or_frame_may_have_a_grid_of_its_own(sampler, schedule, shape):
    """A frame that waits, then steps, becomes what it becomes alone."""
    zero = {"randn_like": torch.zeros_like} if sampler.stochastic else {}
    x = schedule(torch.ones((), dtype=F64))[1] * noise(3, 4, 1, 2, 2)
    denoise, ts = gaussian_denoiser(schedule, 0.3, 0.6), staggered(5, shape)
    states = list(sampler(denoise, schedule, x, ts, **zero))
    assert len(states) == 8 and all(torch.equal(a.t, b) for a, b in zip(states, ts, strict=True))
    alone = last(sampler(denoise, schedule, x, timesteps(5), **zero))
    assert_close(states[-1].x, alone, rtol=1e-9, atol=1e-9)


@every_sampler
def test_times_may_be_a_list_an_array_or_in_float32(sampler):
    zero, x = {"randn_like": torch.zeros_like} if sampler.stochastic else {}, noise(2, 3)
    want = last(sampler(half, Flow(), x, timesteps(4), **zero))
    grid = timesteps(4)
    for ts in (grid.tolist(), grid.numpy(), grid.float(), list(grid)):
        states = list(sampler(half, Flow(), x, ts, **zero))
        assert torch.equal(states[-1].x, want) and states[0].t.dtype == F64
    with pytest.raises(ValueError, match="falling"):
        next(sampler(half, Flow(), x, 0.5))
    with pytest.raises(ValueError, match="one per sample"):
        next(sampler(half, Flow(), x, [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))


class Net(nn.Module):
    def forward(self, x, t, cond=None):
        return x * t[:, None]


class NetWithoutCondition(nn.Module):
    def forward(self, x, t):
        return x * t[:, None]


@every_sampler
def test_a_network_alone_is_refused_with_a_sentence(sampler):
    for denoise in (Net(), NetWithoutCondition(), lambda x, t: Net()(x, t), lambda x: x, None):
        with pytest.raises(ValueError, match="Denoiser"):
            next(sampler(denoise, Flow(), noise(2, 3), timesteps(2)))
    for wrong in (lambda x, t: x[:1], lambda x, t: None, lambda x, t: 0.0, lambda x, t: (x, x)):
        with pytest.raises(ValueError, match="must return a tensor like x"):
            next(sampler(wrong, Flow(), noise(2, 3), timesteps(2)))
    x = noise(2, 3)
    assert last(sampler(Denoiser(Net(), Flow(), "flow"), Flow(), x, timesteps(2))).shape == x.shape
    failing = guided(lambda x, t, cond: x.view(-1, 7), torch.zeros(2), torch.zeros(()), 2.0)
    with pytest.raises(RuntimeError, match="invalid"):                  # a denoiser's own error
        next(sampler(failing, Flow(), x, timesteps(2)))


@every_sampler
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_the_last_state_can_be_differentiated(sampler, shape):
    """Against finite differences in float64, for the noise and for a parameter of the denoiser."""
    given = noise(8, 2, 3, 1, 2, 2)
    ts = timesteps(3) if shape == () else staggered(3, shape)

    def sample(x, weight):
        draws = iter(given)
        fixed = {"randn_like": lambda x: next(draws)} if sampler.stochastic else {}
        steps = sampler(lambda x, t: (weight * x).tanh(), Cosine(), x, ts, differentiable=True,
                        **fixed)
        return last(steps)
    x = noise(2, 3, 1, 2, 2, seed=1).requires_grad_()
    weight = torch.tensor(0.7, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(sample, (x, weight), fast_mode=True)
    out = sample(x, weight)
    assert out.requires_grad and out.isfinite().all() and torch.is_grad_enabled()
    with torch.no_grad():
        assert not sample(x, weight).requires_grad
    assert torch.is_grad_enabled()
