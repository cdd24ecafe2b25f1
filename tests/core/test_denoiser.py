"""Denoisers: one pair (p, q) per prediction, and what guidance, clipping and inpainting promise."""
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minidiff.denoiser import PREDICTIONS, Denoiser
from minidiff.guidance import autoguided, clipped, guided, inpainted
from minidiff.samplers import SAMPLERS, last
from minidiff.schedules import VE, Cosine, Discrete, Flow, add_noise, coefficients, timesteps

F64 = torch.float64
SCHEDULES = {"cosine": Cosine(), "flow": Flow(), "ve": VE(),
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
        assert t.shape == x.shape[:1] and t.dtype == x.dtype
        p, q = self.pair(*coefficients(self.schedule, t, x))
        return p * self.x0 + q * self.eps


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


def worse(x, t):
    return 0.9 * x.cos()


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_autoguidance_leads_away_from_the_worse_denoiser(weight):
    x, t = three_images()
    led = autoguided(lambda x, t: x.sin(), worse, weight)(x, t)
    assert_close(led, x.sin() + weight * (x.sin() - worse(x, t)))


def test_autoguidance_keeps_to_its_interval_sample_by_sample():
    (x, _), calls = three_images(), []
    led = autoguided(lambda x, t: x.sin(), lambda x, t: calls.append(t) or worse(x, t), 2.0,
                     (0.5, 0.8))
    assert_close(led(x, torch.tensor(0.4)), x.sin())
    assert not calls                                              # outside it costs nothing
    out = led(x, torch.tensor([0.4, 0.5, 0.9]))
    assert_close(out[[0, 2]], x[[0, 2]].sin())
    assert_close(out[1], 3 * x[1].sin() - 2 * worse(x[1], None))


@pytest.mark.parametrize(("weight", "interval", "words"), [
    (-1.0, None, "0 or more"), (float("nan"), None, "0 or more"), (1.0, (0.8, 0.2), "low <= high")])
def test_bad_autoguidance_raises(weight, interval, words):
    with pytest.raises(ValueError, match=words):
        autoguided(worse, worse, weight, interval)


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


def test_times_that_are_step_numbers_raise():
    with pytest.raises(ValueError, match="between"):
        Denoiser(lambda x, t, cond: x, Cosine())(torch.zeros(2, 3), torch.tensor([500, 1]))
