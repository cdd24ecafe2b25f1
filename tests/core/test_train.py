"""Training: it learns, it repeats, it stops before harm, and what was killed goes on unharmed."""
import copy
import json
import os
import shutil
import signal
import subprocess
import sys
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
from minidiff.training.training_run import TrainingRun


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


def test_the_same_seed_trains_the_same_weights_and_another_does_not():
    def weights(seed):
        run = nudge_run()
        list(train(run, constant(), 5, seed=seed))
        return run.model.net.scale.item()
    assert weights(0) == weights(0) != weights(1)


def test_ctrl_c_waits_for_the_step_to_be_whole(monkeypatch):
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
    record = next(train(run, constant(100.0), 1, max_grad_norm=0.25, warmup_steps=1, decay_fraction=1e-9))
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
    rates = [lr_factor(s / 1000, s, warmup_steps=50, decay_fraction=0.4) for s in (1, 25, 50, 600, 800, 1000)]
    assert rates == pytest.approx([0.02, 0.5, 1, 1, 0.52, 0.02])


def test_muons_update_is_orthogonal():
    for shape in ((16, 64), (64, 16), (32, 32)):
        matrices = torch.randn(2, *shape, generator=generator("test", 0))
        values = torch.linalg.svdvals(orthogonalise(matrices).float())
        assert values.max() < 1.3 and values.median() > 0.6
    u, s, v = torch.linalg.svd(torch.randn(16, 64, generator=generator("test", 1)), full_matrices=False)
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


# In a folder, interrupted and resumed

def fit(folder, steps=8, **settings) -> TrainingRun:
    torch.manual_seed(99)                                                        # must not matter
    return TrainingRun(folder, get_recipe("tiny"), "builtin", steps=steps, seed=3, **settings)


def model_of(folder) -> dict:
    return files.load_tensors(folder / "training.safetensors")[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of eight steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run = fit(folder)
    list(run.steps())
    run.close()
    return folder


def test_interrupted_and_resumed_is_bit_for_bit_the_same(whole, tmp_path):
    first = fit(tmp_path)
    stopped = first.steps()
    for _ in range(3):
        next(stopped)
    stopped.close()
    first.close()
    again = TrainingRun(tmp_path, resume=True)
    assert again.state.step == 3
    list(again.steps())
    again.close()
    one, other = model_of(whole), model_of(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
    logs = [(folder / "log.csv").read_text().splitlines() for folder in (whole, tmp_path)]
    rows = [[line.split(",")[:-1] for line in lines] for lines in logs]
    assert rows[0] == rows[1]                                                    # but the seconds


def test_killed_and_resumed_is_bit_for_bit_the_same(whole, tmp_path):
    """kill -9 in mid-training, after some saves: the last is whole, and the rest trained again."""
    code = f"""
import torch; torch.set_num_threads({torch.get_num_threads()}); torch.manual_seed(99)
from pathlib import Path
from minidiff.training.training_run import TrainingRun
from minidiff.recipes import get_recipe
run = TrainingRun(Path({str(tmp_path)!r}), get_recipe("tiny"), "builtin", steps=8, seed=3)
for record in run.steps(save_every=0.0):
    print(record.step, flush=True)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 5:
                process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
                break
    again = TrainingRun(tmp_path, resume=True)
    assert 1 <= again.state.step <= 8
    list(again.steps())
    again.close()
    one, other = model_of(whole), model_of(tmp_path)
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_a_finished_training_can_be_made_longer(whole, tmp_path):
    """Its first steps stay; the learning rate is that of the longer budget."""
    for name in ("training.safetensors", "log.csv"):
        shutil.copy(whole / name, tmp_path / name)
    longer = TrainingRun(tmp_path, steps=12, resume=True)
    records = list(longer.steps())
    longer.close()
    assert [r.step for r in records] == [9, 10, 11, 12] and len(longer.read_log()) == 12
    assert records[0].lr == pytest.approx(3e-3 * lr_factor(9 / 12, 9, 50, 0.4))
    with pytest.raises(ValueError, match="already holds 12 steps"):
        TrainingRun(tmp_path, steps=11, resume=True)


def test_another_number_of_threads_is_told(whole):
    run = TrainState(build_model(get_recipe("tiny").model))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match="last bits"):
            run.load(whole / "training.safetensors")
    finally:
        torch.set_num_threads(before)


def test_nan_in_the_data_leaves_the_last_good_state(tmp_path):
    run = fit(tmp_path)
    steps = run.steps()
    next(steps)
    run.digits.images.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="NaN in the data"):
        list(steps)
    run.close()
    tensors, about = files.load_tensors(tmp_path / "training.safetensors")
    assert about["step"] == 1 and all(v.isfinite().all() for v in tensors.values())


def test_two_trainings_do_not_share_a_folder(tmp_path):
    run = fit(tmp_path)
    with pytest.raises(BlockingIOError, match="Another process"):
        fit(tmp_path)
    run.close()


def test_a_folder_with_a_training_is_not_overwritten(whole):
    with pytest.raises(FileExistsError, match="--resume"):
        fit(whole)


def test_the_model_that_is_sampled_is_the_average(whole):
    averaged = {k: v for k, v in model_of(whole).items() if k.startswith("ema.")}
    model = files.load_tensors(whole / "model.safetensors")[0]
    assert all(torch.equal(model[k[4:]], v.half()) for k, v in averaged.items())


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training to resume"):
        TrainingRun(tmp_path, resume=True)


@pytest.mark.parametrize("budget", [dict(), dict(steps=0), dict(minutes=0.0), dict(steps=-4)])
def test_a_budget_must_be_positive(tmp_path, budget):
    with pytest.raises(ValueError, match="more than 0"):
        TrainingRun(tmp_path, get_recipe("tiny"), **budget)


def test_another_networks_training_is_refused(whole, tmp_path):
    other = TrainState(build_model(get_recipe("tiny", channels=(32, 32)).model))
    with pytest.raises(ValueError, match="another network"):
        other.load(whole / "training.safetensors")


def test_recipes_are_named_and_fit_into_json():
    assert set(RECIPES) == {get_recipe(name).name for name in RECIPES}
    for name in RECIPES:
        plan = get_recipe(name)
        assert json.loads(json.dumps(plan._asdict())) == plan._asdict()
    with pytest.raises(ValueError, match="mmnist32"):
        get_recipe("mmnist33")


def test_mmnist32_is_small_enough():
    assert sum(p.numel() for p in build_model(get_recipe("mmnist32").model).parameters()) <= 3_000_000
