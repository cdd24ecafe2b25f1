"""Low-rank adapters: nothing at first, merged the same, several at once, new classes."""
import pytest
import torch

from minidiff import pipeline
from minidiff.denoiser import Denoiser
from minidiff.evaluation.evaluate import evaluation_conditions
from minidiff.extensions.lora import AdaptedUNet, adapted_shapes
from minidiff.extensions.several_adapters import combined
from minidiff.recipes import build_model, build_training, get_recipe, tiny
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


# Files

def small_base(path, seed: int = 0):
    """A tiny class model's file."""
    recipe = tiny()
    recipe = recipe._replace(model=recipe.model | {"net": SMALL | {
        "channels": [32, 64], "classes": 10}})
    torch.manual_seed(seed)
    model = build_training(recipe).state.ema.model
    torch.nn.init.normal_(model.net.conv_out.weight, std=0.1)
    pipeline.save_model(path, model, {"recipe": recipe._asdict()})
    return path


def adapter_file(path, kind: str, base, seed: int = 3, **settings):
    """A file of an adapter that was not trained but filled with random numbers."""
    recipe = get_recipe(kind, base=str(base), **settings)
    net = recipe.model["net"] | SMALL | {"channels": [32, 64]}
    recipe = recipe._replace(model=recipe.model | {"net": net})
    denoiser = build_model(recipe.model)
    files.load_into_larger(denoiser, pipeline.base_weights(recipe, denoiser.net))
    fill(denoiser.net, kind, seed)
    metadata = {"recipe": recipe._asdict(), "base": pipeline.base_sha256(recipe), "digits": "mnist"}
    pipeline.save_model(path, denoiser, metadata)
    return path


@pytest.fixture
def folder(tmp_path):
    """A base, and a letter's and a style's adapter on it."""
    base = small_base(tmp_path / "base.safetensors")
    adapter_file(tmp_path / "letter.safetensors", "letter-a", base)
    adapter_file(tmp_path / "style.safetensors", "style-strokes", base, seed=4)
    return tmp_path


def one_call(model, label: int = 10) -> torch.Tensor:
    x = torch.randn(1, *model.sample_shape(), generator=torch.manual_seed(0))
    with torch.no_grad():
        return model.denoiser.net(x, torch.tensor([0.7]), torch.tensor([label]))


def test_files_of_several_adapters_make_one_model(folder):
    files_ = [folder / "letter.safetensors", folder / "style.safetensors"]
    both, letter = combined(files_), pipeline.load(files_[0])
    assert both.recipe.class_names == letter.recipe.class_names == [*"0123456789", "A"]
    assert torch.equal(one_call(combined(files_, [1, 0])), one_call(letter))
    assert not torch.allclose(one_call(both), one_call(letter), atol=1e-3)
    assert torch.allclose(both.denoiser.net.merged()(*inputs_of(both)), one_call(both), atol=1e-5)
    turned = combined(files_[::-1])                  # the letter's class is 10 in any order
    assert torch.allclose(one_call(turned), one_call(both), atol=1e-5)


def inputs_of(model) -> tuple:
    x = torch.randn(1, *model.sample_shape(), generator=torch.manual_seed(0))
    return x, torch.tensor([0.7]), torch.tensor([10])


def test_a_letter_s_model_is_judged_by_its_digits(folder):
    conditions = evaluation_conditions(pipeline.load(folder / "letter.safetensors"), 12)
    assert conditions.labels.tolist() == [*range(10), 0, 1]


def test_adapters_that_do_not_fit_each_other_are_refused(folder):
    letter, style = folder / "letter.safetensors", folder / "style.safetensors"
    other = small_base(folder / "other.safetensors", seed=1)
    strange = adapter_file(folder / "strange.safetensors", "style-strokes", other)
    wide = adapter_file(folder / "wide.safetensors", "style-strokes",
                        folder / "base.safetensors", rank=8)
    for names, weights, words in (
            ([letter, letter], None, "have one name: letter-a, letter-a"),
            ([letter, strange], None, "different bases: letter-a for .* style-strokes for"),
            ([letter, wide], None, "ranks 4, 8"),
            ([letter, folder / "base.safetensors"], None, "is no adapter"),
            ([letter, style], [1.0], "a list of 2 to 2 values"),
            ([], None, "one adapter or more")):
        with pytest.raises(ValueError, match=words):
            combined(names, weights)


def test_an_adapter_of_another_base_is_refused(folder):
    small_base(folder / "base.safetensors", seed=5)
    with pytest.raises(ValueError, match=r"was made for another .*base\.safetensors"):
        pipeline.load(folder / "letter.safetensors")
