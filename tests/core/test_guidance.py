"""What guidance, autoguidance, clipping and inpainting promise, for one time or several."""
from math import log2

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minidiff.denoiser import PREDICTIONS, Denoiser
from minidiff.gaussians import gaussian_denoiser
from minidiff.guidance import autoguided, clipped, guided, inpainted, with_interval_ends
from minidiff.samplers import SAMPLERS, dpmpp_2m, heun, last
from minidiff.schedules import Cosine, Discrete, Flow, coefficients, log_snr_timesteps, timesteps

F64 = torch.float64
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Classes(nn.Module):
    """A network that believes in its own x0 for each class, and answers as `prediction` asks."""

    def __init__(self, schedule, prediction, x0s):
        super().__init__()
        self.schedule, self.pair, self.x0s, self.calls = schedule, PREDICTIONS[prediction], x0s, 0

    def forward(self, x, t, cond):
        self.calls += 1
        a, s = coefficients(self.schedule, t, x)
        p, q = self.pair(a, s)
        x0 = self.x0s[cond] + 0.1 * x.tanh()
        return p * x0 + q * (x - a * x0) / s


X0S = torch.linspace(-2, 2, 4 * 3 * 8 * 8, dtype=F64).view(4, 3, 8, 8).sin()     # class 3: the null
COND, NULL = torch.tensor([0, 1, 2]), torch.tensor(3)


def three_images():
    g = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, 8, 8, dtype=F64, generator=g), torch.tensor(0.6, dtype=F64)


@every_prediction
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0, -1.0])
def test_guidance_is_one_line_in_x0_whatever_the_network_predicts(prediction, scale):
    (x, t), schedule = three_images(), Cosine()
    denoiser = Denoiser(Classes(schedule, prediction, X0S), schedule, prediction)
    null, cond = X0S[3] + 0.1 * x.tanh(), X0S[:3] + 0.1 * x.tanh()
    assert_close(guided(denoiser, COND, NULL, scale)(x, t), null + scale * (cond - null))


@every_prediction
def test_guiding_x0_is_guiding_the_network_output(prediction):
    (x, t), schedule = three_images(), Flow()
    net = Classes(schedule, prediction, X0S)
    full = t.expand(3)

    def mix(x, t, cond):
        return torch.lerp(net(x, t, NULL), net(x, t, cond), 5.0)
    mixed = Denoiser(mix, schedule, prediction)
    guide = guided(Denoiser(net, schedule, prediction), COND, NULL, 5.0)
    assert_close(guide(x, t), mixed(x, full, COND))


def test_guidance_is_one_network_call_a_step():
    (x, _), net = three_images(), Classes(Cosine(), "v", X0S)
    denoise = guided(Denoiser(net, Cosine()), COND, NULL, 3.0)
    last(SAMPLERS["ddim"](denoise, Cosine(), x, timesteps(7)))
    assert net.calls == 7


def test_guidance_takes_one_time_per_sample():
    (x, _), denoiser = three_images(), Denoiser(Classes(Cosine(), "v", X0S), Cosine())
    t = torch.tensor([0.2, 0.5, 0.8], dtype=F64)
    each = [guided(denoiser, COND[i:i + 1], NULL, 3.0)(x[i:i + 1], t[i]) for i in range(3)]
    assert_close(guided(denoiser, COND, NULL, 3.0)(x, t), torch.cat(each))


@pytest.mark.parametrize("null", [NULL, torch.full((3,), 3), torch.tensor([3]), 3],
                         ids=["()", "(B,)", "(1,)", "int"])
def test_null_may_be_one_value_for_all(null):
    x, t = three_images()
    denoiser = Denoiser(Classes(Cosine(), "v", X0S), Cosine())
    assert_close(guided(denoiser, COND, null, 0.0)(x, t), denoiser(x, t, torch.full((3,), 3)))


def test_null_may_be_one_row_of_tokens():
    tokens, seen = torch.ones(3, 7, dtype=torch.long), []
    null = torch.zeros(7, dtype=torch.long)
    guided(lambda x, t, cond: seen.append(cond) or x, tokens, null, 2.0)(*three_images())
    assert torch.equal(seen[0], torch.cat([tokens, 0 * tokens]))


@pytest.mark.parametrize("t, inside", [(0.1, False), (0.2, True), (0.5, True), (0.7, True),
                                       (0.71, False)])
def test_interval_guides_inside_and_is_conditional_outside(t, inside):
    (x, _), t = three_images(), torch.tensor(t, dtype=F64)
    denoiser = Denoiser(Classes(Cosine(), "v", X0S), Cosine())
    expected = guided(denoiser, COND, NULL, 3.0) if inside else guided(denoiser, COND, NULL, 1.0)
    assert_close(guided(denoiser, COND, NULL, 3.0, interval=(0.2, 0.7))(x, t), expected(x, t))


def test_rescale_brings_the_spread_back_to_the_conditional_one():
    x, t = three_images()
    denoiser = Denoiser(Classes(Cosine(), "v", X0S), Cosine())
    std = {r: guided(denoiser, COND, NULL, 6.0, rescale=r)(x, t).std((1, 2, 3))
           for r in (0.0, 0.7, 1.0)}
    conditional = denoiser(x, t, COND).std((1, 2, 3))
    assert not torch.isclose(std[0.0], conditional, rtol=0.1).any()
    assert_close(std[1.0], conditional)
    assert_close(std[0.7], 0.3 * std[0.0] + 0.7 * conditional)                   # only a new scale


@pytest.mark.parametrize("bad", [dict(rescale=1.5), dict(rescale=-0.1), dict(interval=(0.8, 0.2)),
                                 dict(interval=(2.0, 3.0)), dict(interval=(-1.0, 0.5))])
def test_bad_guidance_raises(bad):
    with pytest.raises(ValueError, match="must be"):
        guided(nn.Identity(), COND, NULL, 3.0, **bad)


def weak(x, t):
    return 0.9 * x.cos()


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_autoguidance_leads_away_from_the_weak_denoiser(weight):
    x, t = three_images()
    led = autoguided(lambda x, t: x.sin(), weak, weight)(x, t)
    assert_close(led, x.sin() + weight * (x.sin() - weak(x, t)))


def test_autoguidance_keeps_to_its_interval_sample_by_sample():
    (x, _), calls = three_images(), []
    led = autoguided(lambda x, t: x.sin(), lambda x, t: calls.append(t) or weak(x, t), 2.0,
                     (0.5, 0.8))
    assert_close(led(x, torch.tensor(0.4)), x.sin())
    assert not calls                                              # outside it costs nothing
    out = led(x, torch.tensor([0.4, 0.5, 0.9]))
    assert_close(out[[0, 2]], x[[0, 2]].sin())
    assert_close(out[1], 3 * x[1].sin() - 2 * weak(x[1], None))


@pytest.mark.parametrize(("weight", "interval", "words"), [
    (-1.0, None, "0 or more"), (float("nan"), None, "0 or more"), (1.0, (0.8, 0.2), "low <= high")])
def test_bad_autoguidance_raises(weight, interval, words):
    with pytest.raises(ValueError, match=words):
        autoguided(weak, weak, weight, interval)


def test_clipped():
    x = torch.tensor([-3.0, -0.5, 0.5, 3.0])
    assert clipped(lambda x, t: x)(x, 0).tolist() == [-1, -0.5, 0.5, 1]
    assert clipped(lambda x, t: x, 0.0, 2.0)(x, 0).tolist() == [0, 0, 0.5, 2]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", [Cosine(), Flow(), Discrete.linear()],
                         ids=["cosine", "flow", "ddpm"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_inpainting_keeps_the_known_and_moves_the_rest(sampler, schedule, dtype):
    """The first two of five frames are known: they come out bit for bit, the others are sampled."""
    x, known = torch.randn(2, 2, 5, 1, 4, 4, dtype=dtype)
    mask = (torch.arange(5) < 2).view(5, 1, 1, 1)
    denoise = inpainted(lambda x, t: 0.5 * x.tanh() + 0.1, known, mask)
    out = last(SAMPLERS[sampler](denoise, schedule, x, timesteps(6)))
    assert torch.equal(out[:, :2], known[:, :2])
    assert out.isfinite().all() and ((out[:, 2:] - x[:, 2:]).abs() > 1e-3).float().mean() > 0.9


def test_inpainting_takes_any_mask_that_broadcasts():
    x = torch.zeros(2, 3, 4, 4)
    out = inpainted(lambda x, t: x, torch.ones(4, 4), torch.eye(4, dtype=torch.long))(x, 0)
    assert torch.equal(out, torch.eye(4).expand(2, 3, 4, 4))


def test_the_scale_is_exact_in_the_precision_of_x():
    x, t = torch.zeros(2, 1, dtype=F64), torch.tensor(0.5, dtype=F64)
    denoise = guided(lambda x, t, cond: cond[:, None].to(x), torch.ones(2), torch.zeros(()), 0.1)
    assert denoise(x, t).tolist() == [[0.1], [0.1]]


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_rescale_leaves_a_constant_guess_as_it_is(level):
    x = torch.randn(2, 1, 4, 4)

    def denoiser(x, t, cond):                          # guided with scale 2: the level, everywhere
        return torch.where(cond.view(-1, 1, 1, 1) == 1, level / 2 + x, 2 * x)
    out = guided(denoiser, torch.ones(2), torch.zeros(()), 2.0, rescale=0.5)(x, torch.tensor(0.5))
    assert_close(out, torch.full_like(x, level))


def test_a_condition_that_is_no_tensor_raises():
    for cond in (None, 3, [1, 2]):
        with pytest.raises(ValueError, match="cond must be a tensor"):
            guided(nn.Identity(), cond, NULL, 3.0)


def test_an_empty_range_to_clip_to_raises():
    for low, high in ((1.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="low <= high"):
            clipped(lambda x, t: x, low, high)


@pytest.mark.parametrize(("known", "mask", "name"), [
    ((2, 5), (2, 3), "known"), ((2, 3), (4, 3), "mask"), ((4, 2, 3), (2, 3), "known"),
    ((2, 3), (1, 2, 3), "mask")])
def test_inpainting_that_does_not_fit_raises(known, mask, name):
    denoise = inpainted(lambda x, t: x, torch.zeros(known), torch.ones(mask))
    with pytest.raises(ValueError, match=f"{name} must broadcast"):
        denoise(torch.zeros(2, 3), 0.5)


def clip_and_times():
    t = torch.linspace(0.05, 0.95, 12, dtype=F64).view(3, 4)
    return torch.randn(3, 4, 1, 4, 4, dtype=F64), t


def conditional(x, t, cond):
    """A denoiser whose answer depends on every frame's time and on the condition."""
    alpha, _ = coefficients(Cosine(), t, x)
    return alpha * x.sin() + cond.view(-1, *[1] * (x.ndim - 1)) * x.cos()


@pytest.mark.parametrize("rescale", [0.0, 0.7])
@pytest.mark.parametrize("interval", [None, (0.3, 0.6), (0.97, 1.0)])
def test_guidance_with_one_time_per_frame_is_guidance_of_each_frame(interval, rescale):
    (x, t), cond = clip_and_times(), torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    out = guided(conditional, cond, torch.zeros(()), 2.5, interval, rescale)(x, t)
    frames = guided(conditional, cond.repeat_interleave(4), torch.zeros(()), 2.5, interval, rescale)
    assert_close(out, frames(x.flatten(0, 1), t.flatten()).view_as(x))


def test_autoguidance_clipping_and_inpainting_take_one_time_per_frame():
    x, t = clip_and_times()

    def strong(x, t):
        return conditional(x, t, torch.ones(len(x), dtype=F64))
    out = autoguided(strong, weak, 2.0, (0.3, 0.6))(x, t)
    frames = autoguided(strong, weak, 2.0, (0.3, 0.6))(x.flatten(0, 1), t.flatten())
    assert_close(out, frames.view_as(x))
    assert_close(clipped(strong, -0.5, 0.5)(x, t), strong(x, t).clamp(-0.5, 0.5))
    mask = torch.arange(4).view(4, 1, 1, 1) < 2
    out = inpainted(strong, torch.zeros(()), mask)(x, t)
    assert (out[:, :2] == 0).all() and torch.equal(out[:, 2:], strong(x, t)[:, 2:])


@pytest.mark.parametrize("shape", [(2,), (3, 3), (3, 4, 1)])
@pytest.mark.parametrize("interval", [None, (0.8, 0.9)])
def test_guidance_refuses_times_of_another_shape(shape, interval):
    x, t = torch.zeros(3, 4, 1, 4, 4), torch.full(shape, 0.5)
    for denoise in (guided(conditional, torch.zeros(3), torch.zeros(()), 2.0, interval),
                    autoguided(lambda x, t: x, lambda x, t: x, 2.0, interval)):
        with pytest.raises(ValueError, match="one per frame"):
            denoise(x, t)


INTERVAL = 0.2, 0.7


def guided_gaussians(schedule):
    """Exact guidance from N(0, 1) towards N(0.8, 0.3^2), in an interval."""
    narrow, wide = gaussian_denoiser(schedule, 0.8, 0.3), gaussian_denoiser(schedule, 0.0, 1.0)

    def denoiser(x, t, cond):
        return torch.where(cond[:, None] == 1, narrow(x, t), wide(x, t))
    return guided(denoiser, torch.ones(8), torch.zeros(()), 2.5, INTERVAL)


def interval_order(sampler, schedule, grid, number):
    """The order between n = 80 and 160, by the state of that number: without and with the ends."""
    x, denoise = torch.randn(8, 3, dtype=F64), guided_gaussians(schedule)
    fine = list(heun(denoise, schedule, x, with_interval_ends(grid(1000), INTERVAL)))[number].x
    for ends in (False, True):
        errors = []
        for n in (80, 160):
            ts = with_interval_ends(grid(n), INTERVAL) if ends else grid(n)
            errors.append((list(sampler(denoise, schedule, x, ts))[number].x - fine).abs().max())
        yield log2(errors[0] / errors[1])


@pytest.mark.parametrize("schedule", [Cosine(), Flow()], ids=["cosine", "flow"])
def test_an_interval_breaks_heuns_order_and_its_ends_in_the_grid_restore_it(schedule):
    broken, restored = interval_order(heun, schedule, timesteps, -1)
    assert broken < 1.3 and restored == pytest.approx(2, abs=0.15)


def test_the_interval_ends_restore_the_order_of_dpmpp_2m_too():
    def grid(n):
        return log_snr_timesteps(Cosine(), n, 0.01, 0.99)
    broken, restored = interval_order(dpmpp_2m, Cosine(), grid, -2)
    assert broken < 1.5 and restored > 1.7


def test_interval_ends_are_in_the_grid_from_both_sides():
    ts = with_interval_ends(timesteps(4), (0.2, 0.5))
    assert ts.dtype == F64 and (ts[1:] < ts[:-1]).all()
    assert_close(ts, torch.tensor([1, 0.75, 0.5, 0.5, 0.25, 0.2, 0.2, 0], dtype=F64))
    assert ((ts >= 0.2) & (ts <= 0.5)).tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert torch.equal(with_interval_ends(timesteps(4), (0.0, 1.0)), timesteps(4))
    with pytest.raises(ValueError, match="low <= high"):
        with_interval_ends(timesteps(4), (0.7, 0.2))
