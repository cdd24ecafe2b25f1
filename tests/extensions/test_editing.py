"""Editing and conditioning on pixels: masks, RePaint, SDEdit and a network that is told pixels."""
import pytest
import torch

from minidiff.data.media import NotebookVideo
from minidiff.denoiser import Denoiser
from minidiff.extensions.conditioning import KEPT, GivenUNet, draw_masks, given_objective, kept
from minidiff.extensions.editing import from_clip, noise_again, redraw, repaint
from minidiff.gaussians import ar1_denoiser, gaussian_denoiser
from minidiff.guidance import inpainted
from minidiff.pipeline import Pipeline
from minidiff.recipes import Recipe, build_model, build_training, get_recipe, tiny
from minidiff.runtime import files
from minidiff.samplers import ddpm, last
from minidiff.schedules import Cosine, Flow, timesteps
from minidiff.unet import UNet

SMALL = dict(channels=(32, 32), attention_levels=1, emb_dim=32, classes=10)
SHAPE = (8, 1, 32, 32)


def small_pipeline(network: str = "unet") -> Pipeline:
    """A tiny model with random weights."""
    recipe = tiny()
    net = recipe.model["net"] | {"channels": [32, 32]}
    recipe = recipe._replace(model=recipe.model | {"network": network, "net": net})
    torch.manual_seed(0)
    model = build_model(recipe.model)
    torch.nn.init.normal_(model.net.conv_out.weight, std=0.02)
    return Pipeline(model, {"recipe": recipe._asdict()})


@pytest.fixture(scope="module")
def plain() -> Pipeline:
    return small_pipeline()


@pytest.fixture(scope="module")
def aware() -> Pipeline:
    return small_pipeline("given")


# What is given

def test_given_pixels_are_kept_and_others_are_made(plain, aware):
    clip = 2 * torch.rand(2, *SHAPE) - 1
    where = kept("left", SHAPE)
    for model in (plain, aware):
        made = model(n=2, given=clip, where=where, steps=2).tensor
        assert torch.equal(made[..., :16], ((clip + 1) / 2)[..., :16])
        assert not torch.equal(made[..., 16:], ((clip + 1) / 2)[..., 16:])
        each = model(n=2, given=clip, where=where.expand(2, *SHAPE), steps=2).tensor
        assert torch.equal(made, each)


def test_a_video_may_be_given_and_batches_get_their_own_rows(aware):
    first = aware(n=3, steps=2)
    where = kept("first", SHAPE)
    whole = aware(n=3, given=first, where=where, steps=2, exact=True).tensor
    parts = aware(n=3, given=first, where=where, steps=2, exact=True, batch=2).tensor
    assert torch.allclose(whole, parts, atol=1e-3)
    assert torch.equal(whole[:, 0], first.tensor[:, 0])


def test_the_network_that_is_told_pixels_uses_them_and_their_mask():
    torch.manual_seed(0)
    net = GivenUNet(**SMALL)
    torch.nn.init.normal_(net.conv_out.weight, std=0.1)
    x, t, given = torch.randn(2, *SHAPE), torch.rand(2), torch.randn(2, *SHAPE)
    where = kept("ends", SHAPE).expand(2, -1, -1, -1, -1)
    out = net(x, t, given=given, where=where)
    hidden = given.masked_fill(~where.expand_as(given), 7.0)
    assert torch.equal(out, net(x, t, given=hidden, where=where))        # unknown pixels are hidden
    assert not torch.equal(out, net(x, t))
    assert not torch.equal(out, net(x, t, given=given, where=~where))
    with pytest.raises(ValueError, match="Give both, given and where"):
        net(x, t, given=given)


def test_it_grows_from_a_trained_network_without_a_jump():
    torch.manual_seed(0)
    small, large = UNet(**SMALL), GivenUNet(**SMALL)
    torch.nn.init.normal_(small.conv_out.weight, std=0.1)
    new = files.load_into_larger(large, files.module_weights(small))
    assert new == ["conv_in.weight"]
    x, t = torch.randn(2, *SHAPE), torch.rand(2)
    where = kept("top", SHAPE).expand(2, -1, -1, -1, -1)
    assert torch.allclose(small(x, t), large(x, t, given=torch.randn_like(x), where=where),
                          atol=1e-6)


def test_its_training_moves_the_new_weights():
    recipe = get_recipe("mmnist32-frames", batch=2)
    net = recipe.model["net"] | dict(channels=[32, 32], attention_levels=1, emb_dim=32)
    recipe = recipe._replace(model=recipe.model | {"net": net})
    training = build_training(recipe)
    before = training.state.model.net.conv_in.weight.detach().clone()
    clips = torch.randn(2, *SHAPE).clamp(-1, 1)
    list(training.loop(training.state, [(clips, torch.tensor([1, 2]))] * 2, 2))
    moved = (training.state.model.net.conv_in.weight - before).flatten(2).abs().sum((0, 2))
    assert moved.shape == (12,) and (moved > 0).all()                      # 3 channels, 2 x 2 each


def test_given_pixels_are_noised_and_hidden_ones_are_not_shown():
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x, t, cond=None, given=None, where=None):
            seen.append((given, where))
            return x
    x0 = torch.ones(64, 4, 1, 8, 8)
    given_objective()(Denoiser(Spy(), Flow(), "flow"), x0, None, torch.manual_seed(0))
    given, where = seen[0]
    assert 0 < (given - 1).std() < 0.2 and where.unique().tolist() == [0, 1]


def test_masks_of_all_kinds_are_drawn():
    masks = draw_masks(torch.zeros(3000, 4, 1, 8, 8), torch.manual_seed(0), p_nothing=0.1)
    frames = masks.flatten(2).mean(2)                                     # share known, each frame
    whole = ((frames == 0) | (frames == 1)).all(1)
    patterns = [tuple(row) for row in frames[whole].int().tolist()]
    for pattern in ((1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (0, 0, 0, 0)):
        assert patterns.count(pattern) > 5
    regions = frames[~whole]
    assert len(regions) == pytest.approx(900, abs=90) and (regions == regions[:, :1]).all()
    assert regions[:, 0].min() < 0.1 and regions[:, 0].max() > 0.9
    never = draw_masks(torch.zeros(300, 4, 1, 8, 8), torch.manual_seed(0), p_nothing=1.0)
    assert not never.any()


@pytest.mark.parametrize("name", KEPT)
def test_named_masks_leave_something_to_make(name):
    mask = kept(name, (8, 1, 32, 24))
    assert mask.shape == (8, 1, 32, 24) and mask.any() and not mask.all()


def test_named_masks_are_what_they_say():
    assert kept("ends", SHAPE).flatten(1).all(1).nonzero().flatten().tolist() == [0, 7]
    assert kept("right", SHAPE)[0, 0, 0].nonzero().min() == 16
    assert torch.equal(kept("margin", SHAPE), ~kept("centre", SHAPE))
    with pytest.raises(ValueError, match="Unknown region 'middle'; choose one of first"):
        kept("middle", SHAPE)


@pytest.mark.parametrize(("given", "where", "says"), [
    (torch.zeros(SHAPE), torch.zeros(8, 1, 32, 32, dtype=torch.bool), "Nothing is given"),
    (torch.zeros(SHAPE), torch.ones(8, 1, 32, 32, dtype=torch.bool), "Everything is given"),
    (torch.full(SHAPE, 255.0), kept("first", SHAPE), r"in \[-1, 1\]"),
    (torch.full(SHAPE, torch.nan), kept("first", SHAPE), r"in \[-1, 1\]"),
    (torch.zeros(8, 1, 16, 16), kept("first", SHAPE), "given must broadcast"),
    (torch.zeros(SHAPE), kept("first", (8, 1, 16, 16)), "where must broadcast"),
    (torch.zeros(SHAPE), torch.full((8, 1, 32, 32), 0.5), "true, or 1, at known pixels"),
    (torch.zeros(SHAPE), None, "Give both or none"),
    (None, kept("first", SHAPE), "Give both or none"),
])
def test_what_cannot_be_given_is_refused(plain, given, where, says):
    with pytest.raises(ValueError, match=says):
        plain(n=1, given=given, where=where, steps=1)


def test_a_value_outside_the_range_may_stand_where_nothing_is_kept(plain):
    where = kept("first", SHAPE)
    clip = torch.full(SHAPE, 9.0).masked_fill(where, 0.0)
    made = plain(n=1, given=clip, where=where, steps=2).tensor
    assert (made[:, 0] == 0.5).all() and made.max() <= 1 and (made[:, 1:] != 1).any()


# RePaint

@pytest.mark.parametrize("schedule", [Flow(), Cosine()])
def test_noise_again_gives_what_the_forward_process_gives(schedule):
    s, t = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    g = torch.manual_seed(0)
    x0 = torch.full((200_000, 1), 0.5)
    (a, sigma), (a_t, sigma_t) = schedule(s), schedule(t)
    x = noise_again(schedule, a * x0 + sigma * torch.randn(x0.shape, generator=g), s, t,
                    torch.randn(x0.shape, generator=g))
    assert x.mean().item() == pytest.approx(0.5 * a_t.item(), abs=0.01)
    assert x.std().item() == pytest.approx(sigma_t.item(), abs=0.01)


def test_one_repeat_is_ddpm():
    denoise, x, ts = gaussian_denoiser(Flow(), 0.0, 0.5), torch.randn(4, 3), timesteps(5)
    torch.manual_seed(3)
    expected = last(ddpm(denoise, Flow(), x, ts))
    torch.manual_seed(3)
    assert torch.equal(last(repaint(1)(denoise, Flow(), x, ts)), expected)


def test_repeats_bring_the_given_frame_s_neighbours_nearer_to_the_exact_answer():
    rho, known = 0.9, 1.5
    x = torch.randn(3000, 3, 1, generator=torch.manual_seed(0))
    mask = torch.tensor([True, False, False])[:, None]
    denoise = inpainted(ar1_denoiser(Flow(), rho), torch.full((3, 1), known), mask)

    def error(repeats: int) -> float:
        torch.manual_seed(1)
        made = last(repaint(repeats)(denoise, Flow(), x, timesteps(50, 3.0)))
        assert (made[:, 0] == known).all()
        return (made[:, 1].mean() - rho * known).abs().item()
    assert error(6) < 0.4 * error(1)


def test_a_step_has_its_number_of_calls():
    times = []

    def denoise(x, t):
        times.append(t.item())
        return 0 * x
    states = [*repaint(3)(denoise, Flow(), torch.randn(1, 2), [1.0, 0.5, 0.0])]
    assert times == [1, 1, 1, 0.5] and len(states) == 5
    assert repaint(3).calls_per_step == 3 and repaint(3).stochastic


@pytest.mark.parametrize("repeats", [0, 1.5, True])
def test_repeats_must_be_a_number(repeats):
    with pytest.raises(ValueError, match="repeats must be a whole number"):
        repaint(repeats)


# SDEdit

def test_the_start_decides_how_much_of_a_clip_is_kept():
    clip = torch.full((2000, 1), 2.0)
    denoise = gaussian_denoiser(Flow(), 0.0, 1.0)

    def mean(t0: float) -> float:
        torch.manual_seed(0)
        return last(from_clip(clip, t0)(denoise, Flow(), torch.randn(2000, 1),
                                        timesteps(20))).mean().item()
    assert mean(0.01) == pytest.approx(2, abs=0.05) and abs(mean(1.0)) < 0.1
    assert mean(0.01) > mean(0.3) > mean(0.6) > mean(1.0)


def test_it_begins_on_the_grid_below_its_start():
    states = [*from_clip(torch.zeros(1, 2), 0.5)(lambda x, t: x, Flow(), torch.randn(1, 2),
                                                 timesteps(4))]
    assert [s.t.item() for s in states] == [0.5, 0.25, 0.0]


def test_redraw_takes_videos_and_clips_and_refuses_others(plain):
    clip = torch.zeros(SHAPE)
    same = redraw(plain, clip, 0.5, 3, steps=2)
    assert torch.equal(same.tensor, redraw(
        plain, NotebookVideo((clip[None] + 1) / 2), 0.5, 3, steps=2).tensor)
    assert redraw(plain, clip.expand(2, *SHAPE), 0.5, labels=[1, 2], steps=2).labels.tolist() == [
        1, 2]
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\]"):
        redraw(plain, 255 * torch.ones(SHAPE), 0.5)
    with pytest.raises(ValueError, match="t0 must be a number above 0 to 1"):
        redraw(plain, clip, 0.0)
    with pytest.raises(ValueError, match="must have the shape"):
        redraw(plain, torch.zeros(4, 1, 32, 32), 0.5, 3, steps=2)


def test_a_pipeline_takes_a_sampler_of_ones_own(plain):
    assert torch.equal(plain(1, steps=2, sampler=ddpm).tensor,
                       plain(1, steps=2, sampler="ddpm").tensor)
    with pytest.raises(ValueError, match="Unknown sampler"):
        plain(1, sampler=lambda *args: None)


def test_a_recipe_names_its_network():
    recipe = get_recipe("mmnist32-frames")
    assert isinstance(recipe, Recipe) and recipe.shape == SHAPE
