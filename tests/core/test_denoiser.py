"""Denoisers: one pair (p, q) per prediction, exact at both ends, for one time or several."""
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minidiff.denoiser import PREDICTIONS, Denoiser
from minidiff.guidance import clipped, guided
from minidiff.schedules import VE, Cosine, Discrete, Flow, add_noise, coefficients

F64 = torch.float64
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(1.5, 2.0),
             "ddpm": Discrete.linear(), "squared cosine": Discrete.cosine()}
IMAGES, VIDEOS = (4, 3, 8, 8), (4, 5, 3, 8, 8)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Oracle(nn.Module):
    """A network that knows x0 and eps, and answers F = p x0 + q eps."""

    def __init__(self, schedule, prediction, x0, eps):
        super().__init__()
        self.schedule, self.pair, self.x0, self.eps = schedule, PREDICTIONS[prediction], x0, eps

    def forward(self, x, t, cond=None):
        assert t.shape in (x.shape[:1], x.shape[:2]) and t.dtype == x.dtype
        p, q = self.pair(*coefficients(self.schedule, t, x))
        return p * self.x0 + q * self.eps


@every_schedule
@every_prediction
@pytest.mark.parametrize("shape", [IMAGES, VIDEOS], ids=["images", "videos"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_an_oracle_gives_x0_back_and_has_no_loss(schedule, prediction, shape, dtype):
    x0, eps = torch.randn(2, *shape, dtype=dtype)
    t = torch.tensor([0.25, 0.4, 0.6, 0.9], dtype=dtype)
    denoiser = Denoiser(Oracle(schedule, prediction, x0, eps), schedule, prediction)
    x = add_noise(schedule, x0, eps, t)
    tolerance = 1e-10 if dtype == F64 else 1e-3
    assert_close(denoiser(x, t), x0, rtol=0, atol=tolerance)
    third = Denoiser(Oracle(schedule, prediction, x0[2:3], eps[2:3]), schedule, prediction)
    assert_close(denoiser(x, t)[2:3], third(x[2:3], t[2]), rtol=0, atol=1e-5)    # one time for all
    assert torch.equal(denoiser.loss(x0, t=t, noise=eps), torch.zeros(4, dtype=dtype))


@every_schedule
@every_prediction
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore:eps-prediction")
def test_both_ends_are_finite_and_right(schedule, prediction, dtype, t):
    x0, eps = torch.randn(2, *VIDEOS, dtype=dtype)
    t = torch.tensor(t, dtype=F64)
    denoiser = Denoiser(Oracle(schedule, prediction, x0, eps), schedule, prediction)
    out = denoiser(add_noise(schedule, x0, eps, t), t)
    assert out.isfinite().all() and out.dtype == dtype
    if prediction == "eps" and schedule(t)[0] < (1e-2 if dtype == torch.float32 else 1e-9):
        return                                                   # x_t holds (nearly) nothing of x0
    assert_close(out, x0, rtol=0, atol=5e-5)


def test_eps_prediction_is_solved_where_alpha_is_small_but_known():
    """The squared-cosine table ends at alpha = 4.9e-5: small, but float64 still solves for x0."""
    schedule, t = Discrete.cosine(), torch.ones((), dtype=F64)
    x0, eps = torch.randn(2, *IMAGES, dtype=F64)
    denoiser = Denoiser(Oracle(schedule, "eps", x0, eps), schedule, "eps")
    assert_close(denoiser(add_noise(schedule, x0, eps, t), t), x0, rtol=0, atol=1e-9)


@every_prediction
def test_loss_is_the_squared_error_of_the_output_per_sample(prediction):
    x0, noise, off = torch.randn(3, *VIDEOS, dtype=F64)
    t = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=F64)
    oracle = Oracle(Cosine(), prediction, x0, noise)
    wrong = Denoiser(lambda x, t, cond: oracle(x, t) + off, Cosine(), prediction)
    assert_close(wrong.loss(x0, t=t, noise=noise), off.square().mean((1, 2, 3, 4)))


def test_loss_draws_times_and_noise_unless_given_and_passes_the_condition_on():
    seen = []
    denoiser = Denoiser(lambda x, t, cond: seen.append((t, cond)) or x, Flow(), "x0")
    cond = torch.arange(64)
    loss = denoiser.loss(torch.zeros(64, 1, 2, 2), cond)
    (t, passed), = seen
    assert loss.shape == (64,) and passed is cond and t.shape == (64,) and len(t.unique()) > 32
    assert t.min() >= 0 and t.max() <= 1 and (t < 0.5).any() and (t > 0.5).any()
    assert (loss > 0).all()


def test_unknown_prediction_raises_and_names_the_known():
    with pytest.raises(ValueError, match="eps, x0, v, flow"):
        Denoiser(nn.Identity(), Cosine(), "noise")


def test_times_that_are_step_numbers_raise():
    with pytest.raises(ValueError, match="between"):
        Denoiser(lambda x, t, cond: x, Cosine())(torch.zeros(2, 3), torch.tensor([500, 1]))


@every_schedule
@every_prediction
def test_one_time_per_frame_is_each_frame_at_its_time(schedule, prediction):
    """Diffusion Forcing: a clip with times (B, T) is B T images, each with its time."""
    x0, eps = torch.randn(2, *VIDEOS, dtype=F64)
    t = torch.rand(4, 5, dtype=F64) * 0.98 + 0.01
    oracle = Oracle(schedule, prediction, x0, eps)

    def per_frame(x, t, cond=None):
        frames = Oracle(schedule, prediction, x0.flatten(0, 1), eps.flatten(0, 1))
        return frames(x.flatten(0, 1), t.flatten()).view_as(x)
    x = add_noise(schedule, x0, eps, t)
    alpha, sigma = schedule(t[1, 3])
    assert_close(x[1, 3], alpha * x0[1, 3] + sigma * eps[1, 3])
    one, many = (Denoiser(net, schedule, prediction) for net in (oracle, per_frame))
    assert_close(one(x, t), x0, rtol=0, atol=1e-9)
    assert_close(one(x, t), many(x, t))
    assert torch.equal(one.loss(x0, t=t, noise=eps), torch.zeros(4, dtype=F64))


@pytest.mark.parametrize("shape", [(2,), (4, 3), (4, 1), (5,), (1, 5), (4, 5, 1)])
@pytest.mark.parametrize("x", [IMAGES, VIDEOS], ids=["images", "videos"])
def test_times_of_another_shape_raise_and_name_the_three(shape, x):
    denoiser, t = Denoiser(lambda x, t, cond: x, Cosine()), torch.full(shape, 0.5)
    for call in (lambda: denoiser(torch.zeros(x), t), lambda: denoiser.loss(torch.zeros(x), t=t)):
        with pytest.raises(ValueError, match=r"time \(\), one per sample \(4,\) or one per frame"):
            call()


def test_one_time_per_channel_of_an_image_is_refused():
    with pytest.raises(ValueError, match="one per frame"):
        Denoiser(lambda x, t, cond: x, Cosine())(torch.zeros(IMAGES), torch.zeros(4, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, F64])
@pytest.mark.parametrize("shape", [(), (4,), (4, 5)])
def test_a_network_gets_times_that_are_not_rounded(dtype, shape):
    seen = []
    denoiser = Denoiser(lambda x, t, cond: seen.append(t) or x, Flow(), "flow")
    t, x = torch.full(shape, 0.999, dtype=F64), torch.ones(VIDEOS, dtype=dtype)
    assert denoiser(x, t).dtype == dtype
    denoiser.loss(x, t=t)
    for got in seen:
        assert got.dtype == (F64 if dtype == F64 else torch.float32)
        assert got.shape == (shape or (4,)) and (got - 0.999).abs().max() < 1e-7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("t", [0.5, 0.95, torch.full((4,), 0.95)], ids=str)
def test_half_precision_is_solved_in_float32(dtype, t):
    x = torch.randn(IMAGES).to(dtype)
    out = Denoiser(lambda x, t, cond: 0.5 * x, Cosine(), "eps")(x, t)
    exact = Denoiser(lambda x, t, cond: 0.5 * x, Cosine(), "eps")(x.double(), t)
    assert_close(out.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_eps_prediction_at_alpha_0_warns_once_and_names_the_cure():
    x = torch.ones(1, 1, 4, 4)
    denoiser = Denoiser(lambda x, t, cond: 0 * x, Flow(), "eps")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        denoiser(x, torch.tensor(0.999))
        clipped(denoiser)(x, torch.tensor(1.0))
        clipped(guided(denoiser, torch.zeros(1), 0.0, 2.0))(x, torch.tensor(1.0))
        Denoiser(lambda x, t, cond: 0 * x, Flow(), "v")(x, torch.tensor(1.0))
        assert not caught
        for _ in range(2):
            denoiser(x, torch.tensor(1.0))
    assert len(caught) == 1 and "clipped" in str(caught[0].message)


@pytest.mark.parametrize("schedule", [VE(), VE(5.0), lambda t: (1 + 0 * t, 3 * t)])
def test_a_schedule_too_large_for_a_network_is_refused(schedule):
    with pytest.raises(ValueError, match="Cosine, Flow or Discrete"):
        Denoiser(nn.Identity(), schedule)


class Scaled(nn.Module):
    def forward(self, x, t, cond=None):
        return x * t.view(-1, *[1] * (x.ndim - 1))


def test_a_denoiser_can_be_traced_exported_compiled_and_mapped():
    denoiser, x, t = Denoiser(Scaled(), Flow(), "eps"), torch.randn(3, 1, 4, 4), torch.rand(3)
    want = denoiser(x, t)
    assert_close(torch.export.export(denoiser, (x, t / 2)).module()(x, t), want)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                            # deprecated, but ONNX uses it
        assert_close(torch.jit.trace(denoiser, (x, t / 2))(x, t), want)
    assert_close(torch.func.vmap(lambda x, t: denoiser(x[None], t)[0])(x, t), want)
    assert_close(torch.compile(denoiser, backend="eager", fullgraph=True)(x, t), want)
    guide = guided(denoiser, torch.zeros(3), 0.0, 2.0, interval=(0.2, 0.6))
    assert_close(torch.compile(guide, backend="eager", fullgraph=True)(x, t), guide(x, t))
