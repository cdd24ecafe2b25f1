"""Low-rank adapters: nothing at first, merged the same, several at once, new classes."""
import pytest
import torch

from minidiff.denoiser import Denoiser
from minidiff.extensions.lora import AdaptedUNet, adapted_shapes
from minidiff.runtime import files
from minidiff.schedules import Flow
from minidiff.train import TrainState, denoising_objective, train
from minidiff.unet import UNet

SMALL = dict(channels=(32, 64), attention_levels=1, emb_dim=32)
SHAPE = (4, 1, 16, 16)


@pytest.fixture
def base() -> UNet:
    """A network with random weights everywhere."""
    torch.manual_seed(0)
    net = UNet(**SMALL, classes=10)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.05)
    return net.eval()


def adapted(base: UNet, **adapters: int) -> AdaptedUNet:
    """The network with fresh adapters on it."""
    torch.manual_seed(1)
    net = AdaptedUNet(adapters, rank=2, classes=10 + sum(adapters.values()), **SMALL)
    weights = {f"net.{k}": v for k, v in net.from_base(files.module_weights(base)).items()}
    files.load_into_larger(Denoiser(net, Flow(), "flow"), weights)
    return net.eval()


def inputs(cond: list[int]) -> tuple:
    g = torch.manual_seed(2)
    return (torch.randn(len(cond), *SHAPE, generator=g), torch.rand(len(cond), generator=g),
            torch.tensor(cond))


def fill(net: AdaptedUNet, name: str, seed: int = 3) -> None:
    """Random numbers in place of an adapter's zeros."""
    g = torch.manual_seed(seed)
    for b in net.adapters[name].b.values():
        torch.nn.init.normal_(b, std=0.2, generator=g)


def test_at_first_it_is_the_base_and_the_null_condition_moves(base):
    net = adapted(base, letter=1)
    x, t, cond = inputs([0, 3, 9, 10])
    assert torch.equal(net(x, t, cond.where(cond < 10, 11)), base(x, t, cond))
    assert torch.equal(net(x, t), base(x, t))                         # without a condition
    assert not torch.equal(net(x, t, cond)[3], base(x, t, cond)[3])   # 10 is the new class


def test_only_the_adapter_learns(base):
    net = adapted(base, letter=1)
    state = TrainState(Denoiser(net, Flow(), "flow"), lr=1e-2, ema=0.0)
    before = {k: v.clone() for k, v in files.module_weights(net).items()}
    clips = torch.randn(4, *SHAPE).clamp(-1, 1), torch.full((4,), 10)
    list(train(state, [clips] * 3, 3, denoising_objective(11, 0.0), warmup_steps=1))
    after = files.module_weights(net)
    moved = {k for k, v in before.items() if not torch.equal(v, after[k])}
    assert moved and all(k.startswith("adapters.letter.") for k in moved)
    kinds = {k.split(".")[2] for k in moved}
    assert kinds == {"a", "b", "classes"}


def test_merged_is_the_same_and_the_base_stays(base):
    net = adapted(base, letter=1)
    fill(net, "letter")
    x, t, cond = inputs([1, 10, 11, 4])
    kept = {k: v.clone() for k, v in files.module_weights(net.base).items()}
    merged = net.merged()
    assert isinstance(merged, UNet) and merged.classes == 11
    assert torch.allclose(merged(x, t, cond), net(x, t, cond), atol=1e-5)
    assert not torch.allclose(merged(x, t, cond), net.base(x, t, cond), atol=1e-3)
    assert all(torch.equal(v, kept[k]) for k, v in files.module_weights(net.base).items())


def test_adapters_add_up_each_with_its_weight(base):
    net = adapted(base, one=0, two=0)
    fill(net, "one", 3), fill(net, "two", 4)
    args = inputs([1, 2])
    net.weights = {"one": 0.0, "two": 0.0}
    assert torch.equal(net(*args), base(*args))
    name = next(iter(net.adapters["one"].shapes))
    changes = [net.adapters[k].changes()[name] for k in ("one", "two")]
    net.weights = {"one": 0.5, "two": 2.0}
    own = dict(base.named_parameters())[name]
    assert torch.allclose(net.adapted_weights()[name], own + 0.5 * changes[0] + 2 * changes[1])


def test_new_classes_of_several_adapters_follow_each_other(base):
    net = adapted(base, one=1, two=2)
    rows = net.adapted_weights()["class_embedding.weight"]
    old = base.class_embedding.weight
    assert len(rows) == 14 and torch.equal(rows[:10], old[:10]) and torch.equal(rows[-1], old[-1])
    assert torch.equal(rows[10:11], net.adapters["one"].classes)
    assert torch.equal(rows[11:13], net.adapters["two"].classes)


def test_convolutions_are_adapted_and_small_matrices_are_not(base):
    shapes = adapted_shapes(base)
    assert {len(shape) for shape in shapes.values()} == {2, 4}
    assert "conv_out.weight" not in shapes and "down.0.blocks.0.conv2.weight" in shapes
    change = adapted(base, one=0).adapters["one"].changes()["down.0.blocks.0.conv2.weight"]
    assert change.shape == (32, 32, 3, 3) and not change.any()
