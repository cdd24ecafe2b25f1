"""The U-Net and its layers: what starts as what, who sees whom, which inputs are refused."""
import pytest
import torch
from torch.testing import assert_close

from minidiff import Denoiser, UNet, layers
from minidiff.layers import (
    Attention,
    ResBlock,
    TemporalConv,
    TimeEmbedding,
    attention,
    fused_attention,
    position_embedding,
    prefers_fused,
    without_temporal_attention,
    written_attention,
)
from minidiff.runtime.files import load_into_larger
from minidiff.schedules import Flow
from minidiff.unet import TIME_MODES


def small(time="factorised", **settings) -> UNet:
    torch.manual_seed(0)
    return UNet((32, 32), time=time, classes=10, emb_dim=32, **settings)


def awake(net: UNet) -> UNet:
    """The network with its zero-initialised weights made random, so that every path counts."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.add_(torch.randn(p.shape, generator=g) / max(p[0].numel(), 8) ** 0.5)
    return net


@pytest.fixture
def clip():
    return torch.randn(2, 4, 1, 16, 16, generator=torch.Generator().manual_seed(2))


def test_the_output_is_zero_at_the_start(clip):
    assert small()(clip, torch.tensor([0.3, 0.6])).abs().max() == 0


def test_blocks_are_the_identity_at_the_start():
    x = torch.randn(8, 32, 4, 4)
    assert_close(ResBlock(32, 32, 16)(x, torch.randn(8, 16)), x)
    assert_close(TemporalConv(32)(x, 4), x)
    tokens = torch.randn(2, 5, 32)
    assert_close(Attention(32)(tokens, position_embedding((5,), 32)), tokens)


def test_a_row_alone_is_the_row_in_its_batch(clip):
    net, t, cond = awake(small()), torch.tensor([0.3, 0.6]), torch.tensor([1, 7])
    assert_close(net(clip, t, cond)[1:], net(clip[1:], t[1:], cond[1:]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("time", TIME_MODES)
def test_a_video_of_one_frame_is_an_image(clip, time):
    net, t = awake(small(time)), torch.tensor([0.3, 0.6])
    assert_close(net(clip[:, :1], t)[:, 0], net(clip[:, 0], t))


@pytest.mark.parametrize(("time", "seen"), [("none", "only itself"), ("causal", "the past"),
                                            ("factorised", "all"), ("full", "all")])
def test_which_frames_see_which(clip, time, seen):
    net, t = awake(small(time)), torch.tensor([0.3, 0.6])
    changed = clip.clone()
    changed[:, 2] += 1.0
    touched = (net(clip, t) - net(changed, t)).abs().amax((0, 2, 3, 4)) > 1e-6
    want = {"only itself": [0, 0, 1, 0], "the past": [0, 0, 1, 1], "all": [1, 1, 1, 1]}[seen]
    assert touched.tolist() == [bool(w) for w in want]


def test_factorised_attention_alone_reaches_every_frame(clip):
    """Three taps reach one frame a layer; the far ends of a long clip meet through attention."""
    net = awake(small())
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, TemporalConv):
                module.conv.weight.zero_()
    long, t = torch.randn(1, 24, 1, 16, 16), torch.tensor([0.5])
    changed = long.clone()
    changed[:, 0] += 1
    assert (net(long, t) - net(changed, t))[:, 23].abs().max() > 1e-6


@pytest.mark.parametrize("mix", [("conv",), ("attention",)])
def test_either_way_alone_lets_frames_meet(clip, mix):
    net, t = awake(small("full", temporal_layers=mix)), torch.tensor([0.3, 0.6])
    assert any(isinstance(m, TemporalConv) for m in net.modules()) == ("conv" in mix)
    changed = clip.clone()
    changed[:, 2] += 1.0
    touched = (net(clip, t) - net(changed, t)).abs().amax((0, 2, 3, 4)) > 1e-6
    assert touched[1:].all()


@pytest.mark.parametrize("time", TIME_MODES)
def test_with_frames_alone_only_convolutions_let_them_meet(clip, time):
    t, mix = torch.tensor([0.3, 0.6]), ("attention",)
    net = awake(small(time, temporal_layers=mix))
    alone, changed = without_temporal_attention(net), clip.clone()
    changed[:, 2] += 1.0
    touched = (alone(clip, t) - alone(changed, t)).abs().amax((0, 2, 3, 4)) > 1e-6
    assert touched.tolist() == [False, False, True, False]
    assert_close(alone(clip[:, :1], t), net(clip[:, :1], t))      # an image always is
    if time != "none":
        assert (net(clip, t) - alone(clip, t)).abs().max() > 1e-4
        taps = without_temporal_attention(awake(small(time)))
        assert (taps(clip, t) - taps(changed, t))[:, 3].any()


def test_frames_alone_shares_every_weight_and_leaves_the_network_as_it_is(clip):
    net, t = awake(small()), torch.tensor([0.3, 0.6])
    before, alone = net(clip, t), without_temporal_attention(net)
    assert all(a is b for a, b in zip(net.parameters(), alone.parameters(), strict=True))
    assert_close(net(clip, t), before, rtol=0, atol=0)


def test_reversing_time_is_not_the_same_for_attention(clip):
    net, t = awake(small()), torch.tensor([0.3, 0.6])
    assert (net(clip.flip(1), t).flip(1) - net(clip, t)).abs().max() > 1e-3


@pytest.mark.parametrize("time", TIME_MODES)
def test_every_parameter_learns(clip, time):
    torch.manual_seed(0)
    denoiser = Denoiser(small(time), Flow(), "flow")
    opt = torch.optim.SGD(denoiser.parameters(), 0.1)
    for _ in range(4):                                     # zeroed layers open one after another
        opt.zero_grad()
        denoiser.loss(clip, torch.tensor([3, 10])).mean().backward()
        opt.step()
    for name, p in denoiser.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_the_time_embedding_tells_near_times_apart():
    torch.manual_seed(0)
    a, b = TimeEmbedding(64)(torch.tensor([0.50, 0.51]))
    assert (a - b).norm() / a.norm() > 0.05


def test_class_and_null_are_different_conditions(clip):
    net, t = awake(small()), torch.tensor([0.3, 0.6])
    assert_close(net(clip, t), net(clip, t, torch.tensor([10, 10])))
    assert (net(clip, t, torch.tensor([3, 3])) - net(clip, t)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(6, 8), (3, 6, 8), (2, 4, 6, 8), (2, 3, 4, 6, 8)])
@pytest.mark.parametrize("way", [attention, fused_attention, written_attention])
def test_attention_is_its_formula(way, shape):
    q, k, v = torch.randn(3, *shape, dtype=torch.float64).unbind(0)
    for mask in (None, torch.ones(6, 6, dtype=torch.bool).tril()):
        scores = torch.einsum("...id,...jd->...ij", q, k) / 8**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        want = torch.einsum("...ij,...jd->...id", scores.softmax(-1), v)
        assert_close(way(q, k, v, mask), want)


@pytest.mark.parametrize(("tokens", "dtype", "gradients", "able", "threads", "fused"), [
    (8, torch.float32, False, False, 1, False), (8, torch.float32, True, False, 2, False),
    (64, torch.float32, False, False, 1, True), (64, torch.float32, True, False, 1, True),
    (64, torch.float32, False, False, 2, False), (64, torch.float32, True, False, 2, False),
    (256, torch.float32, False, False, 2, True), (256, torch.float32, True, False, 2, True),
    (8, torch.bfloat16, True, False, 2, True), (512, torch.bfloat16, True, False, 2, True),
    (8, torch.bfloat16, False, True, 1, False), (256, torch.bfloat16, False, True, 1, True),
    (512, torch.bfloat16, True, True, 1, False), (2048, torch.bfloat16, True, True, 1, True)])
def test_the_faster_attention_is_chosen(monkeypatch, tokens, dtype, gradients, able, threads,
                                        fused):
    monkeypatch.setattr(layers, "cpu_has_bf16", lambda: able)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    q = torch.zeros(1, 1, tokens, 8, dtype=dtype, requires_grad=gradients)
    assert prefers_fused(q, q, q) == fused
    with torch.no_grad():
        without = layers.FUSED_FROM[able, dtype.itemsize == 2, False][threads > 1]
        assert prefers_fused(q, q, q) == (tokens >= without)


def test_attention_in_parts_is_the_same(monkeypatch):
    q = torch.randn(3, 5, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    mask, looks = torch.ones(6, 6, dtype=torch.bool).tril(), torch.randn(5, 2, 6, 8).double()

    def answers() -> tuple[torch.Tensor, torch.Tensor]:
        out = written_attention(*q.unbind(0), mask)
        return out.detach(), torch.autograd.grad((out * looks).sum(), q)[0]
    whole, calls = answers(), []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim: calls.append(len(x)) or softmax(
        x, dim))
    for size, parts in ((1, [1] * 5), (2 * 2 * 36 * 8, [2, 2, 1]), (10**9, [5])):
        monkeypatch.setattr(layers, "CPU_CACHE_BYTES", size)
        calls.clear()
        assert_close(answers(), whole)
        assert calls == parts


def test_positions_on_a_grid_all_differ():
    pos = position_embedding((3, 4, 5), 32)
    distances = torch.cdist(pos, pos) + 1e9 * torch.eye(60)
    assert distances.min() > 0.1


def test_channels_last_survives_the_network():
    """One module that loses the memory format makes the fine levels several times slower."""
    net, lost = small().to(memory_format=torch.channels_last), []

    def hook(name):
        def check(module, args, out):
            if not args[0].is_contiguous(memory_format=torch.channels_last):
                lost.append(name)
        return check
    for name, module in net.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.GroupNorm)):
            module.register_forward_hook(hook(name))
    net(torch.randn(2, 4, 1, 16, 16), torch.rand(2))
    assert not lost


@pytest.mark.parametrize(("shape", "words"), [
    ((2, 4, 1, 18, 16), "multiples of 4"), ((2, 4, 3, 16, 16), r"\(B, 1, H, W\)"),
    ((4, 4), "must be")])
def test_unfit_frames_are_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        small()(torch.zeros(shape), torch.zeros(shape[0]))


@pytest.mark.parametrize("settings", [dict(time="sideways"), dict(channels=(30,)),
                                      dict(channels=()), dict(patch=0), dict(blocks=0),
                                      dict(emb_dim=33), dict(emb_dim=0), dict(classes=-1),
                                      dict(temporal_layers=["mlp"])])
def test_unfit_settings_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}|time mode"):
        UNet(**settings)


@pytest.mark.parametrize(("cond", "words"), [
    (torch.tensor([1, 11]), "0 to 10"), (torch.tensor([-1, 1]), "0 to 10"),
    (torch.tensor([1]), "one class id per sample"), (torch.tensor(1), "one class id per sample"),
    (torch.tensor([[1, 2]]), "one class id per sample"), (torch.tensor([1.0, 2.0]), "integer"),
    ([1, 2], "integer")])
def test_unfit_conditions_are_refused(clip, cond, words):
    with pytest.raises(ValueError, match=words):
        small()(clip, torch.rand(2), cond)


def test_an_unconditional_network_takes_no_condition(clip):
    with pytest.raises(ValueError, match="without classes"):
        UNet((32, 32), emb_dim=32)(clip, torch.rand(2), torch.tensor([1, 2]))


# Times, dtypes, growing

@pytest.mark.parametrize("time", TIME_MODES)
def test_one_time_for_each_frame(clip, time):
    net, t = awake(small(time)), torch.tensor([0.3, 0.6])
    per_frame, want = t[:, None].repeat(1, 4), net(clip, t)
    assert_close(net(clip, per_frame), want)
    one = torch.tensor(0.5, dtype=torch.float64)
    assert_close(net(clip, one), net(clip, one.float().expand(2)))
    per_frame[:, 2] = 0.9
    touched = (net(clip, per_frame) - want).abs().amax((0, 2, 3, 4)) > 1e-4
    seen = {"none": [0, 0, 1, 0], "causal": [0, 0, 1, 1]}.get(time, [1, 1, 1, 1])
    assert touched.tolist() == [bool(s) for s in seen]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 1), (4,)])
def test_unfit_times_are_refused(clip, shape):
    with pytest.raises(ValueError, match=r"one per sample \(2,\) or one per frame \(2, 4\)"):
        small()(clip, torch.zeros(shape))


@pytest.mark.parametrize("time", ["full", "causal"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_it_runs_in_any_floating_dtype(clip, dtype, time):
    net, t = awake(small(time)), torch.tensor([0.3, 0.6])
    want, out = net(clip, t), net.to(dtype)(clip.to(dtype), t)
    assert out.dtype == dtype
    assert_close(out.float(), want, rtol=0, atol=0.1 if dtype.itemsize == 2 else 1e-4)


def test_a_network_of_bfloat16_tells_near_times_apart(clip):
    net = awake(small()).bfloat16()
    x = clip.bfloat16()
    late = [net(x, torch.full((2,), t)) for t in (0.998, 0.9992)]          # one bfloat16 number
    assert (late[0] - late[1]).abs().max() > 0


def test_another_default_dtype_changes_no_embedding():
    want = layers.position_embedding((3, 4), 32), layers.rope_angles((2, 3, 4), 8)
    emb = layers.sinusoidal_embedding(torch.tensor([0.3]), 8)
    torch.set_default_dtype(torch.float64)
    try:
        got = layers.position_embedding((3, 4), 32), layers.rope_angles((2, 3, 4), 8)
        assert torch.equal(layers.sinusoidal_embedding(torch.tensor([0.3]).float(), 8), emb)
        net = awake(small()).eval()
        assert net(torch.zeros(1, 2, 1, 16, 16), torch.rand(1)).isfinite().all()
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(want, got, strict=True):
        assert torch.equal(a, b)


def test_a_network_grows_from_a_smaller_one(clip):
    old, t = awake(small()), torch.tensor([0.3, 0.6])
    net = small(in_channels=3, out_channels=1)
    new = load_into_larger(net, old.state_dict())
    assert new == ["conv_in.weight"]
    more = torch.cat([clip, torch.randn(2, 4, 2, 16, 16)], 2)
    assert_close(net(more, t), old(clip, t))


def test_what_cannot_grow_is_refused_by_name():
    old = small().state_dict()
    net = small(in_channels=3)                                  # more outputs too
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"conv_out\.weight"):
        load_into_larger(net, old)
    with pytest.raises(ValueError, match=r"no tensor elsewhere\.weight"):
        load_into_larger(small(), old | {"elsewhere.weight": torch.zeros(1)})
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_a_network_without_the_argument_cannot_leave_temporal_attention_out():
    with pytest.raises(ValueError, match="Linear cannot leave out"):
        without_temporal_attention(torch.nn.Linear(1, 1))
