"""The Diffusion Transformer: shapes, who sees whom, where it starts, what it is told."""
import pytest
import torch
from torch.testing import assert_close

from minidiff.denoiser import Denoiser
from minidiff.dit import ATTENTION_PATTERNS, DepthwiseConv, DiT
from minidiff.layers import apply_rope, rope_angles, without_temporal_attention
from minidiff.runtime.files import load_into_larger
from minidiff.schedules import Flow

TIMES = torch.tensor([0.3, 0.6])


def small(time: str = "full", **settings) -> DiT:
    torch.manual_seed(0)
    usual = dict(dim=32, depth=2, patch=(1, 4, 4), head_dim=8, emb_dim=16, text_dim=32)
    return DiT(**(usual | {"time": time} | settings)).eval()


def awake(net: DiT) -> DiT:
    """The network with its zero-initialised parts woken up, so that it answers."""
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.normal_(std=0.1)
    return net


@pytest.fixture
def clip():
    return torch.randn(2, 4, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("time", ATTENTION_PATTERNS)
@pytest.mark.parametrize("patch", [(1, 4, 4), (2, 4, 4), (2, 2, 4)])
def test_clips_and_images_keep_their_shape(clip, time, patch):
    net = awake(small(time, patch=patch))
    assert net(clip, TIMES).shape == clip.shape
    assert net(clip[:, 0], TIMES).shape == clip[:, 0].shape
    longer = torch.randn(1, 12, 1, 24, 32)
    assert net(longer, TIMES[:1]).shape == longer.shape


@pytest.mark.parametrize("patch", [1, 2])
def test_an_image_is_a_video_of_one_frame(clip, patch):
    net = awake(small(patch=(patch, 4, 4)))
    assert_close(net(clip[:, 0], TIMES), net(clip[:, :1], TIMES)[:, 0])
    if patch == 2:
        pair = clip[:, :1].expand(-1, 2, -1, -1, -1)
        assert_close(net(clip[:, :1], TIMES), net(pair, TIMES).mean(1, keepdim=True))


def test_patches_come_back_where_they_were(clip):
    net = small(patch=(2, 4, 2))
    tokens, sizes = net.patchify(clip)
    assert tokens.shape == (2, 2, 32, 16) and sizes == (2, 4, 8)
    assert_close(net.unpatchify(tokens, 4), clip)


@pytest.mark.parametrize("time", ATTENTION_PATTERNS)
def test_it_starts_at_zero_with_blocks_that_do_nothing(clip, time):
    net = small(time, vocab_size=9)
    assert not net(clip, TIMES).any()
    x = torch.randn(2, 4, 16, 32)
    words = net.text_encoder(torch.tensor([[1, 2], [3, 0]]))
    places = rope_angles((4, 4, 4), 8)
    for block in net.blocks:
        assert_close(block(x, torch.randn(2, 16), places, words, 4), x)


def test_rows_do_not_see_each_other(clip):
    net = awake(small(classes=10))
    cond = torch.tensor([3, 7])
    assert_close(net(clip, TIMES, cond)[1:], net(clip[1:], TIMES[1:], cond[1:]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("time", "want"), [
    ("none", [0, 0, 1, 0]), ("causal", [0, 0, 1, 1]), ("factorised", [1, 1, 1, 1]),
    ("full", [1, 1, 1, 1])])
def test_which_frames_see_a_change(clip, time, want):
    net, changed = awake(small(time)), clip.clone()
    changed[:, 2] += 1.0
    touched = (net(clip, TIMES) - net(changed, TIMES)).abs().amax((0, 2, 3, 4)) > 1e-6
    assert touched.tolist() == [bool(w) for w in want]


def test_attention_alone_reaches_every_frame():
    net = awake(small("factorised"))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, DepthwiseConv):
                module.spatial.weight.zero_(), module.temporal.weight.zero_()
    long = torch.randn(1, 24, 1, 16, 16)
    changed = long.clone()
    changed[:, 0] += 1
    assert (net(long, TIMES[:1]) - net(changed, TIMES[:1]))[:, 23].abs().max() > 1e-6


@pytest.mark.parametrize("time", ATTENTION_PATTERNS)
def test_with_frames_alone_only_the_local_mix_lets_them_meet(clip, time):
    net = awake(small(time))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, DepthwiseConv) and module.temporal is not None:
                module.temporal.weight.zero_()
    alone, changed = without_temporal_attention(net), clip.clone()
    changed[:, 2] += 1.0
    touched = (alone(clip, TIMES) - alone(changed, TIMES)).abs().amax((0, 2, 3, 4)) > 1e-6
    assert touched.tolist() == [False, False, True, False]
    assert_close(alone(clip[:, :1], TIMES), net(clip[:, :1], TIMES))          # an image always is
    if time != "none":
        assert (net(clip, TIMES) - alone(clip, TIMES)).abs().max() > 1e-4


def test_walls_are_at_fixed_places_but_time_only_has_distances():
    """The same clip one patch to the right is another clip; one that begins later is not."""
    net = awake(small("full"))
    x = torch.zeros(1, 6, 1, 16, 16)
    x[:, 2:4, :, 4:8, 4:8] = 1
    right = torch.roll(x, 4, -1)
    a, b = net(x, TIMES[:1]), net(right, TIMES[:1])
    assert (torch.roll(a, 4, -1) - b).abs().max() > 1e-3
    one = torch.randn(1, 16, 1, 32).expand(1, 16, 5, 32).transpose(1, 2)         # equal frames
    places = rope_angles((8, 4, 4), 8)
    attention = net.blocks[0].attention
    assert_close(attention(one, places[:, :5]), attention(one, places[:, 3:]))


def test_rotated_products_depend_on_differences_alone():
    q, k = torch.randn(2, 8, dtype=torch.float64)
    places = rope_angles((3, 4, 5), 8).double().view(2, 3, 4, 5, 4)

    def product(a, b):
        return apply_rope(q, places[:, *a]) @ apply_rope(k, places[:, *b])
    assert_close(product((0, 1, 2), (1, 3, 3)), product((1, 0, 1), (2, 2, 2)), rtol=1e-5, atol=1e-5)
    assert abs(product((0, 0, 0), (0, 0, 0)) - product((0, 0, 0), (1, 0, 0))) > 1e-3
    assert_close(apply_rope(q, places[:, 2, 1, 4]).norm(), q.norm(), rtol=1e-6, atol=0)


def test_local_mix_adds_the_neighbours_and_nothing_else():
    x = torch.randn(1, 4, 30, 3)
    mix = DepthwiseConv(3, "full")
    assert_close(mix(x, 5), x)
    with torch.no_grad():
        mix.spatial.weight[:, 0, 1, 2], mix.temporal.weight[:, 0, 0, 0] = 2.0, 3.0
    got, grid = mix(x, 5).unflatten(2, (5, 6)), x.unflatten(2, (5, 6))
    want = grid.clone()
    want[:, :, :, :-1] += 2 * grid[:, :, :, 1:]
    want[:, 1:] += 3 * grid[:, :-1]
    assert_close(got, want)


@pytest.mark.parametrize("time", ATTENTION_PATTERNS)
@pytest.mark.parametrize("told", [dict(classes=10), dict(vocab_size=12), {}])
def test_every_parameter_learns(clip, time, told):
    torch.manual_seed(0)
    denoiser = Denoiser(small(time, **told), Flow(), "flow")
    cond = {"classes": torch.tensor([3, 10]), "vocab_size": torch.arange(12).view(2, 6)}
    opt = torch.optim.SGD(denoiser.parameters(), 0.3)
    for _ in range(5):                                     # zeroed layers open one after another
        opt.zero_grad()
        denoiser.loss(clip, cond.get(next(iter(told), None)), TIMES).mean().backward()
        opt.step()
    for name, p in denoiser.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


def test_images_and_clips_train_together(clip):
    denoiser = Denoiser(small(), Flow(), "flow")
    opt = torch.optim.Adam(denoiser.parameters(), 1e-2)
    losses = {1: [], 4: []}
    for k in range(60):
        x = clip[:, :1] if k % 2 else clip
        loss = denoiser.loss(x, t=TIMES, noise=torch.zeros_like(x)).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses[x.shape[1]].append(loss.item())
    assert all(kind[-1] < 0.5 * kind[0] for kind in losses.values())


def test_words_and_their_order_matter(clip):
    net = awake(small(vocab_size=9))
    ids = torch.tensor([[1, 2, 0], [1, 2, 0]])
    said = net(clip, TIMES, ids)
    assert (said - net(clip, TIMES, ids.flip(1))).abs().max() > 1e-4
    assert (said - net(clip, TIMES, ids + 1)).abs().max() > 1e-4
    assert_close(net(clip, TIMES), net(clip, TIMES, torch.zeros(2, 1, dtype=torch.long)))


def test_classes_and_null_are_different_conditions(clip):
    net = awake(small(classes=10))
    assert_close(net(clip, TIMES), net(clip, TIMES, torch.tensor([10, 10])))
    assert (net(clip, TIMES, torch.tensor([3, 3])) - net(clip, TIMES)).abs().max() > 1e-4


@pytest.mark.parametrize(("settings", "words"), [
    (dict(time="sometimes"), "full"), (dict(dim=30), "multiple of head_dim"),
    (dict(classes=3, vocab_size=4), "not both")])
def test_unfit_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        small(**settings)


@pytest.mark.parametrize(("shape", "cond", "words"), [
    ((2, 3, 1, 16, 16), None, "patches of 2x4x4"), ((2, 4, 1, 18, 16), None, "patches of 2x4x4"),
    ((2, 4, 3, 16, 16), None, r"\(B, 1, H, W\)"),
    ((2, 4, 1, 16, 16), torch.zeros(2, dtype=torch.long), "row of token ids"),
    ((2, 4, 1, 16, 16), torch.zeros(2, 3), "integer ids"),
    ((2, 4, 1, 16, 16), torch.full((2, 3), 9), "0 to 8")])
def test_unfit_inputs_are_refused(shape, cond, words):
    with pytest.raises(ValueError, match=words):
        small(patch=(2, 4, 4), vocab_size=9)(torch.zeros(shape), TIMES, cond)


# Times, dtypes, growing

@pytest.mark.parametrize("patch", [1, 2])
def test_one_time_for_each_frame(clip, patch):
    net = awake(small("none", patch=(patch, 4, 4)))
    per_frame, want = TIMES[:, None].repeat(1, 4), net(clip, TIMES)
    assert_close(net(clip, per_frame), want)
    one = torch.tensor(0.5, dtype=torch.float64)
    assert_close(net(clip, one), net(clip, one.float().expand(2)))
    per_frame[:, 2] = 0.9
    touched = (net(clip, per_frame) - want).abs().amax((0, 2, 3, 4)) > 1e-4
    assert touched.tolist() == [False, False, True, patch == 2]


def test_a_patch_of_several_frames_gets_the_mean_embedding_of_their_times(clip):
    net = awake(small(patch=(2, 4, 4)))
    t = torch.rand(2, 4, generator=torch.Generator().manual_seed(3))
    emb = net.embed_condition(t, None)[0]
    assert emb.shape == (2, 2, 16)
    mean = net.time_embedding(t).view(2, 2, 2, 16).mean(2)
    assert_close(emb, torch.nn.functional.silu(mean))
    assert net(clip, t).shape == clip.shape
    assert_close(net(clip[:, :1], t[:, :1]), net(clip[:, :1], t[:, 0]))


def test_unfit_times_are_refused(clip):
    with pytest.raises(ValueError, match=r"one per frame \(2, 4\)"):
        small()(clip, torch.zeros(2, 2))


@pytest.mark.parametrize("time", ATTENTION_PATTERNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_it_runs_in_any_floating_dtype(clip, dtype, time):
    net = awake(small(time))
    want, out = net(clip, TIMES), net.to(dtype)(clip.to(dtype), TIMES)
    assert out.dtype == dtype
    assert_close(out.float(), want, rtol=0, atol=0.1 if dtype.itemsize == 2 else 1e-4)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_network_grows_from_a_smaller_one(clip, patch):
    old = awake(small(patch=(patch, 4, 4)))
    net = small(patch=(patch, 4, 4), in_channels=3, out_channels=1)
    assert load_into_larger(net, old.state_dict()) == ["patch_embed.weight"]
    more = torch.cat([clip, torch.randn(2, 4, 2, 16, 16)], 2)
    assert_close(net(more, TIMES), old(clip, TIMES))
