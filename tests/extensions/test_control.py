"""Control: a branch that begins as nothing, its hints, and a file that names its base."""
import pytest
import torch

from minidiff import pipeline
from minidiff.denoiser import Denoiser
from minidiff.extensions.control import (
    ControlUNet,
    centres_of_ink,
    control_objective,
    dots,
    path_hint,
)
from minidiff.recipes import build_training, get_recipe, tiny
from minidiff.runtime import files
from minidiff.schedules import Flow
from minidiff.unet import UNet

SMALL = dict(channels=(32, 32), attention_levels=1, emb_dim=32, classes=10)
SHAPE = (8, 1, 32, 32)


@pytest.fixture
def base(tmp_path):
    """A tiny trained model's file."""
    recipe = tiny()
    recipe = recipe._replace(model=recipe.model | {"net": SMALL | {"channels": [32, 32]}})
    torch.manual_seed(0)
    model = build_training(recipe).state.ema.model
    torch.nn.init.normal_(model.net.conv_out.weight, std=0.1)
    path = tmp_path / "base.safetensors"
    pipeline.save_model(path, model, {"recipe": recipe._asdict()})
    return path


def path_recipe(base):
    recipe = get_recipe("mmnist32-path", base=str(base), batch=2)
    return recipe._replace(model=recipe.model | {"net": SMALL | {"channels": [32, 32]}})


def clips(n: int = 2) -> torch.Tensor:
    return torch.randn(n, *SHAPE, generator=torch.manual_seed(0)).clamp(-1, 1)


def trained(base, steps: int = 2):
    training = build_training(path_recipe(base))
    batch = clips(), torch.tensor([1, 2])
    list(training.loop(training.state, [batch] * steps, steps))
    return training.state


def test_before_training_it_is_the_base_bit_by_bit(base):
    alone = pipeline.load(base).denoiser.net
    net = build_training(path_recipe(base)).state.model.net.eval()
    x, t, cond = clips(), torch.rand(2), torch.tensor([1, 2])
    hint = torch.rand(2, *SHAPE)
    assert torch.equal(net(x, t, cond, hint=hint), alone(x, t, cond))
    ours, theirs = (part.middle.blocks[0].conv1.weight for part in (net.branch, alone))
    assert torch.equal(ours, theirs)


def test_training_moves_the_branch_and_never_the_base(base):
    before = files.module_weights(pipeline.load(base).denoiser)
    state = trained(base, 3)
    after = files.module_weights(state.model)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    own = files.module_weights(build_training(path_recipe(base)).state.model)
    moved = {name for name in own if not torch.equal(own[name], after[name])}
    assert moved and all(name.startswith("net.branch.") for name in moved)
    assert "net.branch.hint_in.weight" in moved and "net.branch.to_skips.0.weight" in moved


def test_strength_is_a_factor_and_without_a_hint_it_is_the_base(base):
    net = trained(base, 3).model.net.eval()
    x, t, hint = clips(), torch.rand(2), torch.rand(2, *SHAPE)
    plain, full = net(x, t), net(x, t, hint=hint)
    assert not torch.equal(plain, full)
    assert torch.allclose(net(x, t, hint=hint, strength=torch.zeros(2)), plain, atol=1e-6)
    assert torch.equal(net(x, t, hint=hint, strength=torch.ones(2)), full)
    one = net(x, t, hint=hint, strength=torch.tensor([0.0, 1.0]))
    assert torch.allclose(one[0], plain[0], atol=1e-6) and torch.allclose(one[1], full[1])


def test_its_file_holds_the_branch_alone_and_names_its_base(base, tmp_path):
    recipe, path = path_recipe(base), tmp_path / "path.safetensors"
    model = trained(base).ema.model
    metadata = {"recipe": recipe._asdict(), "base": pipeline.base_sha256(recipe)}
    pipeline.save_model(path, model, metadata)
    kept = files.load_tensors(path)[0]
    assert kept and all(name.startswith("net.branch.") for name in kept)
    loaded = pipeline.load(path)
    hint = path_hint(torch.full((8, 2), 16.0))
    assert loaded(3, hint=hint, steps=2).tensor.shape == (1, *SHAPE)
    assert torch.equal(loaded(3, steps=2).tensor, pipeline.load(base)(
        3, steps=2, autoguidance=0.5).tensor)
    other = pipeline.load(base)
    with torch.no_grad():
        other.denoiser.net.conv_out.bias += 1
    pipeline.save_model(base, other.denoiser, other.metadata)
    with pytest.raises(ValueError, match="than the present one"):
        pipeline.load(path)


def test_a_dot_is_where_the_path_is():
    path = torch.tensor([[8.0, 20.0], [16.5, 3.25]])
    hint = dots(path, (32, 24))
    assert hint.shape == (2, 1, 32, 24) and hint.max() <= 1
    assert torch.allclose(centres_of_ink(2 * hint[None] - 1)[0], path, atol=0.1)


def test_the_objective_s_hint_is_the_centre_of_each_frame_s_ink():
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x, t, cond=None, hint=None):
            seen.append(hint)
            return x
    x0 = 2 * dots(torch.tensor([[10.0, 12.0], [14.0, 9.0]]), (32, 32))[None].expand(
        200, -1, -1, -1, -1) - 1
    control_objective()(Denoiser(Spy(), Flow(), "flow"), x0, None, torch.manual_seed(0))
    given = seen[0].flatten(1).any(1)
    assert given.float().mean().item() == pytest.approx(0.9, abs=0.07)
    hinted, real = centres_of_ink(2 * seen[0][given] - 1), centres_of_ink(x0[given])
    assert torch.allclose(hinted, real, atol=0.1)


def test_a_path_that_digits_cannot_fly_is_said():
    with pytest.warns(UserWarning, match="leaves the frame"):
        path_hint(torch.tensor([[5.0, -2.0], [5.0, 0.5]]))
    with pytest.warns(UserWarning, match=r"jumps 15\.0 px"):
        path_hint(torch.tensor([[5.0, 5.0], [5.0, 20.0]]))
    with pytest.raises(ValueError, match="one point"):
        path_hint(torch.zeros(8, 3))
    with pytest.raises(ValueError, match="finite"):
        path_hint(torch.full((8, 2), torch.nan))


def test_hints_that_do_not_fit_are_refused(base, tmp_path):
    plain = pipeline.load(base)
    with pytest.raises(ValueError, match="takes no hint"):
        plain(1, hint=torch.zeros(SHAPE), steps=1)
    state, path = trained(base), tmp_path / "path.safetensors"
    pipeline.save_model(path, state.ema.model, {"recipe": path_recipe(base)._asdict()})
    model = pipeline.load(path)
    with pytest.raises(ValueError, match=r"hint must have the shape \(8, 1, 32, 32\)"):
        model(1, hint=torch.zeros(8, 1, 16, 16), steps=1)
    with pytest.raises(ValueError, match=r"hint must lie in \[0, 1\]"):
        model(1, hint=2 * torch.ones(SHAPE), steps=1)
    with pytest.raises(ValueError, match="strength must be a number"):
        model(1, hint=torch.zeros(SHAPE), strength=-1, steps=1)
    with pytest.raises(ValueError, match="strength belongs to a hint"):
        model(1, strength=0.5, steps=1)


def test_a_control_network_s_names_are_those_of_a_unet():
    ours, theirs = (files.module_weights(kind(**SMALL)) for kind in (ControlUNet, UNet))
    assert theirs.keys() < ours.keys()
