"""Networks can be traced: export, compilation, torch.func; ONNX if its packages are there."""
import onnxruntime
import pytest
import torch
from torch.testing import assert_close

from minidiff import DiT, UNet, load
from minidiff.export.onnx import export_inputs, export_onnx

NETWORKS = {
    "unet": lambda: UNet((32, 32), emb_dim=32, classes=10),
    "unet causal": lambda: UNet((32, 32), emb_dim=32, classes=10, time="causal"),
    "unet text": lambda: UNet((32, 32), emb_dim=32, vocab_size=9, text_dim=32, time="full"),
    "dit": lambda: DiT(32, 2, (2, 4, 4), head_dim=8, emb_dim=16, classes=10),
    "dit text": lambda: DiT(32, 2, (1, 4, 4), head_dim=8, emb_dim=16, vocab_size=9, text_dim=32),
}


def network(name: str) -> torch.nn.Module:
    """A small network whose every path counts."""
    torch.manual_seed(0)
    net = NETWORKS[name]().eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.normal_(std=0.05)
    return net


def inputs(net: torch.nn.Module) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    cond = torch.tensor([3, 7]) if net.classes else torch.tensor([[1, 2, 0], [3, 0, 0]])
    return torch.randn(2, 4, 1, 16, 16, generator=g), torch.tensor([0.3, 0.6]), cond


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_exported(name):
    net = network(name)
    x, t, cond = inputs(net)
    program = torch.export.export(net, (x, t, cond))
    assert_close(program.module()(x.flip(0), t, cond), net(x.flip(0), t, cond), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_networks_compile_as_one_graph(name):
    net = network(name)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert_close(compiled(*inputs(net)), net(*inputs(net)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_forward_derivatives(name):
    """jvp of a channels_last network is the difference quotient in float64."""
    net = network(name).double()
    x, t, cond = inputs(net)
    x, v = x.double(), torch.randn_like(x, dtype=torch.float64)
    out, slope = torch.func.jvp(lambda x: net(x, t, cond), (x,), (v,))
    assert_close(out, net(x, t, cond))
    h = 1e-5
    want = (net(x + h * v, t, cond) - net(x - h * v, t, cond)) / (2 * h)
    assert_close(slope, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_networks_have_forward_derivatives_in_time(name):
    net = network(name)
    x, t, cond = inputs(net)
    slope = torch.func.jvp(lambda t: net(x, t, cond), (t,), (torch.ones_like(t),))[1]
    assert slope.abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_mapped(name):
    """vmap over clips, and over times and conditions too, is the loop."""
    net = network(name)
    x, t, cond = inputs(net)
    mapped = torch.func.vmap(lambda x, t, cond: net(x[None], t[None], cond[None])[0])
    assert_close(mapped(x, t, cond), net(x, t, cond), rtol=0, atol=1e-4)
    over_x = torch.func.vmap(lambda x: net(x[None], t[:1], cond[:1])[0])
    assert_close(over_x(x)[0], net(x, t, cond)[0], rtol=0, atol=1e-4)


def test_values_are_still_checked_outside_of_tracing():
    net = network("unet")
    x, t, _ = inputs(net)
    with pytest.raises(ValueError, match="0 to 10"):
        net(x, t, torch.tensor([3, 99]))


def test_without_its_packages_onnx_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("minidiff.export.onnx.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install minidiff\[onnx\]"):
        export_onnx(network("unet"), tmp_path / "net.onnx")


def test_object_slots_say_that_they_cannot_be_exported():
    with pytest.raises(ValueError, match="depends on the words"):
        export_inputs(load("mmnist64-text"))


def test_a_pipelines_inputs_are_those_of_its_recipe():
    module, (x, t, cond) = export_inputs(load("mmnist32"), frames=4)
    assert x.shape == (2, 4, 1, 32, 32) and t.shape == cond.shape == (2,)
    assert module(x, t, cond).shape == x.shape


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_an_onnx_file_computes_the_same(name, tmp_path):
    net = network(name)
    path = export_onnx(net, tmp_path / "net.onnx", frames=4, size=16)
    given = dict(zip(("x", "t", "cond"), (v.numpy() for v in inputs(net)), strict=True))
    out = onnxruntime.InferenceSession(path).run(None, given)[0]
    assert_close(torch.from_numpy(out), net(*inputs(net)), rtol=0, atol=1e-4)
