"""Object slots: each object of a prompt gets its own pass; masks mix them; equals are numbered."""
import pytest
import torch
from torch.testing import assert_close

from minidiff import UNet, load
from minidiff.data import prompts
from minidiff.extensions.object_slots import (
    ObjectExchange,
    ObjectSlots,
    mix_by_alpha,
    number_among_equals,
    split_prompt,
    sum_of_others,
)

AND = prompts.TOKEN_IDS["and"]
TWO = "a 3 moving left and a 7 moving up"


SETTINGS = dict(patch=1, emb_dim=32, vocab_size=len(prompts.VOCABULARY), text_dim=32)


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The network with its zero-initialised weights made random, so that every path counts."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            if not p.any():
                p.add_(torch.randn(p.shape, generator=g) / max(p[0].numel(), 8) ** 0.5)
    return net


def reader() -> ObjectSlots:
    torch.manual_seed(0)
    return awake(ObjectSlots((32, 32), separator=AND, **SETTINGS))


@pytest.fixture
def clip():
    return torch.randn(2, 4, 1, 16, 16, generator=torch.Generator().manual_seed(2))


def test_objects_are_prompts_of_their_own():
    ids = prompts.encode([TWO, "a 3", None, "a 3"])
    ids[3, :4] = torch.tensor([AND, *ids[3, :2], AND])               # separators around one phrase
    rows, prompt_index = split_prompt(ids, AND)
    assert [prompts.decode(row) for row in rows] == ["a 3 moving left", "a 7 moving up", "a 3", "",
                                                  "a 3"]
    assert prompt_index.tolist() == [0, 0, 1, 2, 3]


def test_masks_are_shares():
    prompt_index = torch.tensor([0, 0, 1])
    outputs, alpha_logits = torch.randn(3, 4, 1, 2, 2), torch.randn(3, 4, 1, 2, 2)
    mixed = mix_by_alpha(outputs, alpha_logits, prompt_index)
    weights = alpha_logits[:2].softmax(0)
    assert_close(mixed, torch.stack([(weights * outputs[:2]).sum(0), outputs[2]]))
    huge = torch.tensor([1e4, -1e4, -1e4]).view(3, 1, 1, 1, 1).expand_as(alpha_logits)
    assert_close(mix_by_alpha(outputs, huge, prompt_index), outputs[[0, 2]])


def test_one_object_is_a_pass_of_the_plain_network(clip):
    apart, at_once = reader(), UNet((32, 32), **SETTINGS)
    at_once.load_state_dict({k: v for k, v in apart.state_dict().items()
                             if k in at_once.state_dict()})
    torch.nn.init.zeros_(apart.number_embedding.weight)
    t, cond = torch.tensor([0.3, 0.6]), prompts.encode(["a 3 moving left", None])
    assert_close(apart(clip, t, cond), at_once(clip, t, cond))
    two = prompts.encode([TWO, TWO])
    assert (apart(clip, t, two) - at_once(clip, t, two)).abs().max() > 1e-3


def test_the_order_of_objects_does_not_matter_and_who_does_what_does(clip):
    net, t = reader(), torch.tensor([0.3, 0.6])
    one, same, other = (net(clip, t, prompts.encode([p] * 2)) for p in (
        TWO, "a 7 moving up and a 3 moving left", "a 7 moving left and a 3 moving up"))
    assert_close(one, same)
    assert (one - other).abs().max() > 1e-3


def test_a_pass_depends_on_the_words_of_the_other_object(clip):
    """Its own output, before the masks mix, changes with the other phrase."""
    net, t = reader(), torch.tensor([0.5])
    outputs = []
    net.conv_out.register_forward_hook(lambda layer, given, answer: outputs.append(answer))
    for rest in ("a 7", "a 4"):
        net(clip[:1], t, prompts.encode([f"a 3 and {rest}"]))
    first, second = (a.unflatten(0, (2, -1))[0] for a in outputs)
    assert (first - second).abs().max() > 1e-4


def test_the_sum_of_others_stays_inside_a_prompt():
    prompt_index = torch.tensor([0, 0, 0, 1, 2, 2])
    x = torch.randn(6, 4, 5)
    a, b, c, d, e, f = x
    assert_close(sum_of_others(x, prompt_index), torch.stack([b + c, a + c, a + b, 0 * d, f, e]))


def test_the_exchange_starts_as_the_identity_and_a_single_object_sees_nothing():
    torch.manual_seed(0)
    layer, prompt_index = ObjectExchange(32), torch.tensor([0, 0, 1])
    x = torch.randn(6, 32, 4, 4)                                         # two frames of each pass
    assert_close(layer(x, prompt_index), x)
    seen = awake(layer)(x, prompt_index) - x
    assert_close(seen[4:], torch.zeros_like(seen[4:]))
    other = x.clone()
    other[2] += torch.randn(32, 4, 4)                          # the second object's first frame
    change = (layer(other, prompt_index) - other - seen).abs().amax((1, 2, 3))
    assert change[0] > 1e-3 and not change[[1, 3, 4, 5]].any()


def test_a_pass_sees_the_features_of_the_other(clip):
    net, t = reader(), torch.tensor([0.5])
    layers = [m for m in net.modules() if isinstance(m, ObjectExchange)]
    assert len(layers) == 5                                    # two down, one in the middle, two up
    two = prompts.encode([TWO])
    seeing = net(clip[:1], t, two)
    for layer in layers:
        torch.nn.init.zeros_(layer.out.weight)
    assert (net(clip[:1], t, two) - seeing).abs().max() > 1e-3
    alone = prompts.encode(["a 3 moving left"])
    assert_close(net(clip[:1], t, alone), reader()(clip[:1], t, alone))


def test_every_parameter_learns_from_two_objects(clip):
    net = reader()
    net(clip, torch.tensor([0.3, 0.6]), prompts.encode([TWO, "a 5"])).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


# Equal phrases

TWICE = "a 3 moving left and a 3 moving left"


def test_equal_phrases_of_a_prompt_are_numbered():
    ids = [[prompts.TOKEN_IDS[word] for word in text.split()] for text in (
        "a 3 and a 3 and a 7 and a 3", "a 3 and a 7 and a 7 and a 1")]
    phrases, prompt_index = split_prompt(torch.tensor(ids), AND)
    assert number_among_equals(phrases, prompt_index).tolist() == [0, 1, 0, 2, 0, 0, 1, 0]


def test_only_the_number_tells_equal_phrases_apart(clip):
    net, t = reader(), torch.tensor([0.5])
    passes = []
    net.conv_out.register_forward_hook(lambda layer, given, out: passes.append(out))

    def apart() -> float:
        net(clip[:1], t, prompts.encode([TWICE]))
        first, second = passes.pop().unflatten(0, (2, -1))
        return (first - second).abs().max().item()
    assert apart() > 1e-4
    torch.nn.init.zeros_(net.number_embedding.weight)
    assert apart() == 0


def test_more_equal_phrases_than_numbers_still_run(clip):
    net = reader()
    many = torch.tensor([[prompts.TOKEN_IDS["three"], AND] * 10])
    assert net(clip[:1], torch.tensor([0.5]), many).isfinite().all()


def test_the_number_begins_at_zero_and_is_learnt():
    torch.manual_seed(0)
    net = ObjectSlots((32, 32), separator=AND, **SETTINGS)
    assert not net.number_embedding.weight.any()
    x, cond = torch.randn(1, 2, 1, 8, 8), prompts.encode([TWICE])
    awake(net)
    net(x, torch.tensor([0.5]), cond).square().mean().backward()
    assert net.number_embedding.weight.grad[:2].abs().amax(1).min() > 0


def test_old_weights_load_with_a_number_of_zero():
    net = load("mmnist64-text").denoiser.net
    assert isinstance(net, ObjectSlots) and not net.number_embedding.weight.any()


def test_one_time_for_each_frame(clip):
    net, cond = reader(), prompts.encode([TWO, "a 5"])
    t = torch.tensor([0.3, 0.6])
    per_frame = t[:, None].expand(2, 4)
    assert_close(net(clip, per_frame, cond), net(clip, t, cond))
    assert (net(clip, per_frame * torch.tensor([1, 1, 1, 0.0]), cond)
            - net(clip, t, cond)).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_it_runs_in_any_floating_dtype(clip, dtype):
    net, t, cond = reader(), torch.tensor([0.3, 0.6]), prompts.encode([TWO, "a 5"])
    want, out = net(clip, t, cond), net.to(dtype)(clip.to(dtype), t, cond)
    assert out.dtype == dtype
    assert_close(out.float(), want, rtol=0, atol=0.1 if dtype.itemsize == 2 else 1e-4)


def test_it_needs_words():
    with pytest.raises(ValueError, match="vocab_size"):
        ObjectSlots((32, 32), separator=AND)
