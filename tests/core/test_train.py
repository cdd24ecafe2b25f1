"""Training: it learns, it repeats, and it stops before harm."""
import copy
import json
import signal
import time
from itertools import islice

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from minidiff import Denoiser, UNet
from minidiff.recipes import RECIPES, build_model, get_recipe
from minidiff.runtime import files
from minidiff.runtime.muon import Muon, orthogonalise, split_parameters
from minidiff.runtime.seeds import generator
from minidiff.schedules import Flow, timesteps
from minidiff.train import (
    EMA,
    TrainState,
    denoising_objective,
    drop_conditions,
    lr_factor,
    sample_timesteps,
    steps_within,
    train,
)


class Nudge(nn.Module):
    """The smallest trainable network there is: x times a number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x, t, cond=None):
        return x * self.scale


def nudge_run(**settings) -> TrainState:
    return TrainState(Denoiser(Nudge(), Flow(), "flow"), **settings)


def constant(value=1.0, cond=None):
    while True:
        yield torch.full((4, 1, 4, 4), value), cond


def test_it_overfits_eight_clips():
    torch.manual_seed(0)
    run = TrainState(Denoiser(UNet((32, 32), emb_dim=64), Flow(), "flow"), lr=1e-2)
    clips = torch.randn(8, 2, 1, 8, 8).sign()
    g = torch.Generator().manual_seed(0)
    t, noise = torch.rand(8, generator=g), torch.randn(clips.shape, generator=g)
    loss = Denoiser.loss                                                 # the same noise every time
    run.model.loss = lambda x0, cond, *_: loss(run.model, x0, cond, t, noise)
    same = iter(lambda: (clips, None), 0)
    losses = [r.loss for r in train(run, same, 300, denoising_objective(times="uniform"))]
    assert losses[-1] < 0.01 * losses[0]


def test_it_is_a_generator_and_its_records_count():
    run = nudge_run()
    steps = train(run, constant(), 5)
    assert run.step == 0
    records = list(steps)
    assert [r.step for r in records] == [1, 2, 3, 4, 5] == [*range(1, run.step + 1)]


def test_batches_that_run_out_are_told():
    run = nudge_run()
    with pytest.raises(ValueError, match=r"after step 3, but 10 steps.*begin again"):
        list(train(run, islice(constant(), 3), 10))
    assert run.step == 3
    assert len(list(train(run, islice(constant(), 2), 5))) == 2       # exactly enough is enough


def test_no_batch_is_taken_that_is_not_trained_on():
    taken = iter([(torch.ones(4, 1, 4, 4), None)] * 3)
    assert len(list(train(nudge_run(), taken, 2))) == 2 and len(list(taken)) == 1


@pytest.mark.parametrize("decay", [-1, 1, 2, float("nan")])
def test_an_average_needs_a_decay_below_one(decay):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        EMA(Nudge(), decay)


def test_a_compiled_network_is_saved_under_its_own_names_and_loads_both_ways(tmp_path):
    path, names = tmp_path / "x.safetensors", {"model.net.scale", "ema.net.scale"}
    compiled = nudge_run()
    compiled.model.net = torch.compile(compiled.model.net, backend="eager")
    list(train(compiled, constant(), 2))
    compiled.save(path)
    assert names <= files.load_tensors(path)[0].keys()
    plain = nudge_run()
    plain.load(path)
    assert plain.step == 2 and torch.equal(plain.model.net.scale, compiled.model.net.scale)
    again = nudge_run()
    again.model.net = torch.compile(again.model.net, backend="eager")
    again.load(path)
    assert torch.equal(again.model.net.scale, plain.model.net.scale)


@pytest.mark.parametrize("facts", [{}, {"step": 1}, {"step": "1", "threads": 1, "notes": {}},
                                   {"step": -1, "threads": 1, "notes": {}}])
def test_a_state_whose_facts_are_missing_or_nonsense_is_refused(tmp_path, facts):
    run = nudge_run()
    run.save(tmp_path / "x.safetensors")
    tensors = files.load_tensors(tmp_path / "x.safetensors")[0]
    files.save_tensors(tmp_path / "y.safetensors", tensors, facts)
    with pytest.raises(ValueError, match=r"y\.safetensors holds no training"):
        run.load(tmp_path / "y.safetensors")


def test_the_same_seed_trains_the_same_weights_and_another_does_not():
    def weights(seed):
        run = nudge_run()
        list(train(run, constant(), 5, seed=seed))
        return run.model.net.scale.item()
    assert weights(0) == weights(0) != weights(1)


@pytest.fixture
def usual_ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, also where a shell in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_step_to_be_whole(monkeypatch, usual_ctrl_c):
    """Pressed between the weights and their average, it still leaves both at the same step."""
    run, update, before = nudge_run(), EMA.update, signal.getsignal(signal.SIGINT)

    def pressed(self, module):
        signal.raise_signal(signal.SIGINT)
        update(self, module)
    steps = train(run, constant(), 5)
    next(steps)
    monkeypatch.setattr(EMA, "update", pressed)
    assert next(steps).step == 2
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    assert run.step == run.ema.step == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_gradients_are_clipped():
    run = nudge_run()
    run.optimizers = [torch.optim.SGD(run.model.parameters(), 1.0)]
    record = next(train(run, constant(100.0), 1, max_grad_norm=0.25, warmup_steps=1,
                        decay_fraction=1e-9))
    assert record.grad_norm > 1
    assert abs(run.model.net.scale.item()) == pytest.approx(0.25 * record.lr, rel=1e-3)


def test_training_drops_conditions():
    seen = []

    class Noted(Nudge):
        def forward(self, x, t, cond=None):
            seen.append(cond)
            return super().forward(x, t, cond)
    run = TrainState(Denoiser(Noted(), Flow(), "flow"))
    list(train(run, constant(cond=torch.tensor([1, 2, 3, 4])), 100, denoising_objective(10, 0.3)))
    assert (torch.stack(seen) == 10).float().mean().item() == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_it_with_the_weights_untouched(bad):
    run = nudge_run()
    batches = (b for b in (*islice(constant(), 2), *islice(constant(bad), 2)))
    with pytest.raises(FloatingPointError, match=r"Step 3.*step 2"):
        list(train(run, batches, 4))
    assert run.step == 2 and run.model.net.scale.isfinite()


def test_the_average_ramps_up_and_copies_buffers():
    module = Nudge()
    ema = EMA(module, decay=0.9)
    with torch.no_grad():
        module.scale.fill_(1.0)
        module.count.fill_(7.0)
    ema.update(module)
    assert ema.model.scale.item() == pytest.approx(1 - 2 / 11)                   # not .9 yet
    assert ema.model.count == 7
    for _ in range(500):
        ema.update(module)
    assert ema.model.scale.item() == pytest.approx(1, abs=1e-6)
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_conditions_are_dropped_sample_by_sample_at_the_rate():
    cond = torch.arange(20_000) % 10
    dropped = drop_conditions(cond, 10, 0.1, generator("test", 0)) == 10
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.01)
    kept = drop_conditions(cond, 10, 0.1, generator("test", 0))[~dropped]
    assert torch.equal(kept, cond[~dropped])
    ones, zeros = torch.ones(1000, 5, dtype=torch.long), torch.zeros(5, dtype=torch.long)
    tokens = drop_conditions(ones, zeros, 0.5, generator("test", 1))
    assert set(tokens.sum(1).tolist()) == {0, 5}                                 # all or none
    assert drop_conditions(None, 10, 0.1, generator("test", 0)) is None


def test_times():
    uniform, normal = (sample_timesteps(kind, 20_000, generator("test", 0))
                       for kind in ("uniform", "logit-normal"))
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert uniform.std().item() == pytest.approx(12**-0.5, abs=0.01)
    normal = normal.logit()
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.03)
    with pytest.raises(ValueError, match="logit-normal or uniform"):
        sample_timesteps("often", 3, generator("test", 0))


def test_shifted_times_are_spread_as_a_shifted_grid_is():
    t = sample_timesteps("uniform", 20_000, generator("test", 0), shift=3)
    grid = timesteps(20_000, shift=3).flip(0)[1:]
    assert (t.sort()[0] - grid).abs().max() < 0.02
    assert abs((t > 0.95).float().mean() - 0.136) < 0.01              # 1 - .95 / (3 - 2 * .95)


def test_the_learning_rate_rises_stays_and_falls():
    rates = [lr_factor(s / 1000, s, warmup_steps=50, decay_fraction=0.4)
             for s in (1, 25, 50, 600, 800, 1000)]
    assert rates == pytest.approx([0.02, 0.5, 1, 1, 0.52, 0.02])


def test_muons_update_is_orthogonal():
    for shape in ((16, 64), (64, 16), (32, 32)):
        matrices = torch.randn(2, *shape, generator=generator("test", 0))
        values = torch.linalg.svdvals(orthogonalise(matrices).float())
        assert values.max() < 1.3 and values.median() > 0.6
    matrix = torch.randn(16, 64, generator=generator("test", 1))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    towards = u.T @ orthogonalise((u @ torch.diag(s) @ v)[None])[0] @ v.T   # diagonal: same vectors
    assert (towards - torch.diag(towards.diagonal())).abs().max() < 0.1


def test_muon_goes_downhill_and_decays_weights():
    goal = torch.randn(16, 16, generator=generator("test", 0))
    p = nn.Parameter(torch.zeros(16, 16))
    opt = Muon([p], lr=0.02, weight_decay=0.0)
    for _ in range(500):
        opt.zero_grad()
        (p - goal).square().sum().backward()
        opt.step()
    assert (p - goal).square().mean() < 0.01
    for group in opt.param_groups:
        group["weight_decay"] = 0.5
    p.grad.zero_()
    opt.state[p]["momentum"].zero_()
    before = p.detach().clone()
    opt.step()
    assert_close(p.detach(), before * (1 - 0.02 * 0.5))


def test_muon_makes_its_momentum_once(monkeypatch):
    p, made, zeros_like = nn.Parameter(torch.ones(16, 16)), [], torch.zeros_like
    monkeypatch.setattr(torch, "zeros_like", lambda *a, **k: made.append(1) or zeros_like(*a, **k))
    opt = Muon([p])
    for _ in range(3):
        p.grad = torch.ones(16, 16)
        opt.step()
    assert len(made) == 1


def test_what_muon_gets():
    net = UNet((32, 32), classes=10, emb_dim=32)
    matrices, others = split_parameters(net)
    assert len(matrices) + len(others) == len(list(net.parameters()))
    mine = {id(p) for p in matrices}
    assert not mine & {id(m.weight) for m in (net.class_embedding, net.conv_in, net.conv_out)}
    assert id(net.middle.blocks[0].conv1.weight) in mine and all(p.ndim >= 2 for p in matrices)


def test_a_budget_in_minutes_becomes_steps_without_touching_the_run():
    class Slow(Nudge):
        def forward(self, x, t, cond=None):
            time.sleep(0.02)
            return super().forward(x, t, cond)
    run = TrainState(Denoiser(Slow(), Flow(), "flow"))
    before = copy.deepcopy(run.model.state_dict())
    assert 10 <= steps_within(1.0, run, constant()) <= 50
    assert run.step == 0
    assert_close(run.model.state_dict(), before)


def test_recipes_are_named_and_fit_into_json():
    assert set(RECIPES) == {get_recipe(name).name for name in RECIPES}
    for name in RECIPES:
        plan = get_recipe(name)
        assert json.loads(json.dumps(plan._asdict())) == plan._asdict()
    with pytest.raises(ValueError, match="mmnist32"):
        get_recipe("mmnist33")


def test_mmnist32_is_small_enough():
    model = build_model(get_recipe("mmnist32").model)
    assert sum(p.numel() for p in model.parameters()) <= 3_000_000
