"""Parity with diffusers: the same network, noise and grid give the same sample.

| here                            | diffusers                      | what corresponds              |
| ------------------------------- | ------------------------------ | ----------------------------- |
| Discrete(betas)                 | trained_betas=betas            | t = (i + 1) / N is timestep   |
|                                 |                                | i; N = 1000                   |
| timesteps(n), n divides N       | timestep_spacing="trailing"    | i = N - 1, N - 1 - N / n,     |
|                                 |                                | ..., N / n - 1                |
| t = 0 is (1, 0) exactly         | set_alpha_to_one=True,         | the step after the last i     |
|                                 | final_sigmas_type="zero"       | goes to alpha = 1             |
| ddim(eta)                       | DDIM, step(eta)                | Song 2021 eq. 16; noise from  |
|                                 |                                | one seed                      |
| ddpm                            | DDPM, "fixed_small"            | the posterior's variance;     |
|                                 |                                | noise from one seed           |
| dpmpp_2m                        | DPMSolverMultistep, "midpoint" | order 2; to a sigma of 0 both |
|                                 |                                | step first order              |
| euler on Flow, timesteps(shift) | FlowMatchEuler(shift)          | t = timestep / N; given the   |
|                                 |                                | unshifted sigmas              |
| heun on Flow                    | FlowMatchHeun                  | its own grid, 1 to 1 / N,     |
|                                 |                                | then 0 by Euler               |

diffusers is told never to clip. Its tables and its flow states are float32, so agreement ends near
1e-6 for samples of size 1 (a network that answers eps badly gives samples of size 400, and errors
to match). Its plain Heun integrates in sigma / alpha, not along (alpha, sigma), and agrees only in
the limit of many steps: left out.
"""
import pytest
import torch
from torch import nn

from minidiff.denoiser import Denoiser
from minidiff.samplers import ddim, ddpm, dpmpp_2m, euler, heun, last
from minidiff.schedules import Discrete, Flow, timesteps

diffusers = pytest.importorskip("diffusers")
F64 = torch.float64
N = 1000
TOLERANCE = 2e-5
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")   # their own
BETAS = {"linear": torch.linspace(1e-4, 0.02, N),
         "scaled linear": torch.linspace(0.00085**0.5, 0.012**0.5, N) ** 2}
NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}                  # ours -> theirs


class Net(nn.Module):
    """A little network whose answer depends on every input: neighbours, channels, time."""

    def __init__(self):
        super().__init__()
        self.first, self.final = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.time = nn.Linear(2, 16)

    def forward(self, x, t, cond=None):
        time = self.time(torch.stack([t, (5 * t).sin()], -1))[..., None, None]
        return x + 0.2 * self.final((self.first(x) + time).tanh())


def same_start(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net().to(F64), torch.randn(2, 3, 8, 8, dtype=F64)


@torch.no_grad()
def theirs(scheduler, net, x, time, **options):
    """diffusers' loop; time: their timestep -> our t."""
    for i in scheduler.timesteps:
        t = torch.as_tensor(time(i), dtype=F64).expand(len(x))
        x = scheduler.step(net(x, t).to(x), i, x, **options).prev_sample.to(F64)
    return x


def table_error(kind, sampler, n, prediction, betas="linear", ours=None, options=None, **config):
    """The largest difference between diffusers' sampler on a table of betas and one here."""
    net, x = same_start()
    scheduler = getattr(diffusers, kind)(
        N, trained_betas=BETAS[betas].tolist(), timestep_spacing="trailing",
        prediction_type=NAMES[prediction], **config)
    scheduler.set_timesteps(n)
    denoiser = Denoiser(net, Discrete(BETAS[betas]), prediction)
    sample = last(sampler(denoiser, denoiser.schedule, x, timesteps(n), **(ours or {})))
    other = theirs(scheduler, net, x, lambda i: (i + 1) / N, **(options or {}))
    return (other - sample).abs().max().item()


def drawn(seed=1):
    """A `randn_like` with a generator of its own."""
    draw = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=draw, dtype=F64)


def ddim_error(n, prediction="eps", betas="linear", eta=0.0):
    return table_error("DDIMScheduler", ddim, n, prediction, betas,
                       clip_sample=False, set_alpha_to_one=True,
                       options=dict(eta=eta, generator=torch.Generator().manual_seed(1)),
                       ours=dict(eta=eta, randn_like=drawn()))


def ddpm_error(n, prediction="eps", betas="linear"):
    return table_error("DDPMScheduler", ddpm, n, prediction, betas,
                       clip_sample=False, variance_type="fixed_small",
                       options=dict(generator=torch.Generator().manual_seed(1)),
                       ours=dict(randn_like=drawn()))


def dpmpp_2m_error(n, prediction="eps", betas="linear"):
    return table_error("DPMSolverMultistepScheduler", dpmpp_2m, n, prediction, betas,
                       algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
                       lower_order_final=True, final_sigmas_type="zero")


def flow_euler_error(n, shift=1.0):
    net, x = same_start()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(N, shift=shift)
    scheduler.set_timesteps(sigmas=timesteps(n)[:-1].tolist())
    sample = last(euler(Denoiser(net, Flow(), "flow"), Flow(), x, timesteps(n, shift)))
    return (theirs(scheduler, net, x, lambda i: i / N) - sample).abs().max().item()


def flow_heun_error(n):
    net, x = same_start()
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler(N)
    scheduler.set_timesteps(n)
    ts = torch.cat([scheduler.timesteps.unique().flip(0) / N, torch.zeros(1)]).to(F64)
    sample = last(heun(Denoiser(net, Flow(), "flow"), Flow(), x, ts))
    return (theirs(scheduler, net, x, lambda i: i / N) - sample).abs().max().item()


ERRORS = {"DDIM": ddim_error, "DDPM": ddpm_error, "DPMSolverMultistep": dpmpp_2m_error,
          "FlowMatchEuler": flow_euler_error, "FlowMatchHeun": flow_heun_error}
STEPS = (10, 20, 50)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("n", STEPS)
def test_same_sample(name, n):
    assert ERRORS[name](n) < TOLERANCE


@pytest.mark.parametrize("name", ["DDIM", "DDPM", "DPMSolverMultistep"])
@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("betas", BETAS)
def test_same_sample_for_every_prediction_and_table(name, prediction, betas):
    assert ERRORS[name](20, prediction, betas) < TOLERANCE


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_same_ddim_with_noise(eta):
    assert ddim_error(20, eta=eta) < TOLERANCE


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_same_shift(shift):
    assert flow_euler_error(20, shift) < TOLERANCE


def test_the_comparison_can_fail():
    """A sampler with a different answer is told apart: the tolerance means something."""
    net, x = same_start()
    denoiser = Denoiser(net, Discrete(BETAS["linear"]), "eps")
    a, b = (last(f(denoiser, denoiser.schedule, x, timesteps(20))) for f in (ddim, dpmpp_2m))
    assert (a - b).abs().max() > 20 * TOLERANCE
