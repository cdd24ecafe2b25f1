"""Students against exact answers: for Gaussian data each method's fixed point is known."""
import copy
import itertools
from functools import lru_cache, partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from minidiff import pipeline
from minidiff.cli import commands
from minidiff.data.batches import MovingMNIST
from minidiff.data.digits import built_in
from minidiff.denoiser import Denoiser
from minidiff.extensions import arcflow, distillation, distribution_matching, reflow, shortcut
from minidiff.gaussians import gaussian_denoiser, gaussian_flow
from minidiff.recipes import (
    METHODS,
    build_model,
    build_training,
    get_recipe,
    mmnist32_dit,
    student_recipe,
    tiny,
    training_batches,
)
from minidiff.runtime import distributed, files
from minidiff.samplers import consistency, ddim, ddim_guess, ddim_step, last
from minidiff.schedules import Cosine, Flow, next_times, timesteps
from minidiff.train import TrainState, train
from minidiff.training.training_run import TrainingRun
from minidiff.unet import UNet

pytestmark = pytest.mark.usefixtures("cached_digits")
STD = 0.4
SMALL = dict(channels=(32, 32), attention_levels=1, emb_dim=32)


def teacher(cond):
    return gaussian_denoiser(Flow(), 0.0, STD)


def data(n: int = 64) -> torch.Tensor:
    return STD * torch.randn(n, 2, 1, 1, 1, generator=torch.manual_seed(1))


class Linear(nn.Module):
    """A student of one factor a time: x0 = w(t) x. factors: times -> w."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.error = factor, nn.Parameter(torch.zeros(()))

    def forward(self, x, t, cond=None):
        return (self.factor(t.double()) + self.error).to(x).view(-1, *[1] * (x.ndim - 1)) * x


def student(factor) -> Denoiser:
    return Denoiser(Linear(factor), Flow(), "x0")


def landing_factor(times: torch.Tensor):
    """t -> the guess, as a factor of x_t, that lands where the teacher's own steps lead."""
    @lru_cache
    def at(time: float) -> float:
        if time == 0:
            return 1.0                                          # there is no noise, and no step
        row = next(r for r in times if r[-1] < time - 1e-6 <= r[0])
        path, one = row[row <= time + 1e-6], torch.ones(1, 1, dtype=torch.float64)
        end = last(ddim(teacher(None), Flow(), one, path))
        return ddim_guess(Flow(), one, end, path[0], path[-1]).item()
    return lambda t: torch.tensor([at(round(time, 6)) for time in t.tolist()], dtype=torch.float64)


def losses(objective, model, x0=None, seed: int = 0) -> torch.Tensor:
    x0 = data() if x0 is None else x0
    return objective(model, x0, None, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("calls", [1, 2, 4])
@pytest.mark.parametrize("make", [distillation.progressive_objective,
                                  distillation.consistency_objective])
def test_the_fixed_point_is_the_teachers_path_with_its_error(make, calls):
    """Both methods end where the teacher's small steps end, not where the exact flow does."""
    times = distillation.segment_times(calls, 8)
    model = student(landing_factor(times))
    assert losses(make(teacher, times), model).max() < 1e-9
    off = copy.deepcopy(model)
    off.net.error.data += 0.1
    assert losses(make(teacher, times), off).min() > 1e-8
    noise = torch.randn(256, 2, 1, 1, 1, generator=torch.manual_seed(0))
    made = last(ddim(model, Flow(), noise, timesteps(calls, 3.0)))
    walked = last(ddim(teacher(None), Flow(), noise, timesteps(8 * calls, 3.0)))
    assert torch.allclose(made, walked, atol=1e-5)
    exact = gaussian_flow(Flow(), 0.0, STD)(noise, torch.tensor(1.0), torch.tensor(0.0))
    assert (made - exact).abs().max() > 1e-3


def test_the_error_of_the_path_halves_with_twice_as_many_substeps():
    errors = []
    for substeps in (8, 16, 32):
        factor = landing_factor(distillation.segment_times(1, substeps))(torch.ones(1))
        errors.append((factor - STD).abs().item())
    assert 1.7 < errors[0] / errors[1] < 2.3 and 1.7 < errors[1] / errors[2] < 2.3


def test_consistency_training_without_a_teacher_errs_by_its_gap():
    """One noise at t and u: the landing factors follow a regression, whose limit is the flow."""
    def one_call(substeps: int) -> tuple[float, dict]:
        ts = distillation.segment_times(1, substeps)[0].flip(0)
        lands, guesses = 1.0, {}                                # x_0 = lands x_u
        for u, t in itertools.pairwise(ts):
            together = (1 - t) * (1 - u) * STD**2 + t * u
            lands = lands * together / ((1 - t)**2 * STD**2 + t**2)
            guesses[round(t.item(), 5)] = lands.item()          # x_0 is the guess at s = 0
        return lands.item(), guesses
    errors = [abs(one_call(n)[0] - STD) for n in (16, 32, 64)]
    assert 1.6 < errors[0] / errors[1] < 2.4 and 1.6 < errors[1] / errors[2] < 2.4
    guesses = one_call(16)[1] | {0.0: 1.0}
    model = student(lambda t: torch.tensor([guesses[round(v, 5)] for v in t.tolist()]))
    objective = distillation.consistency_objective(None, distillation.segment_times(1, 16))
    def slope(error: float) -> float:
        model.net.error.data.fill_(error)
        model.zero_grad()
        few = torch.cat([losses(objective, model, data(4096), seed) for seed in range(4)])
        return torch.autograd.grad(few.mean(), model.net.error)[0].item()
    assert abs(slope(0.0)) < 0.02 * abs(slope(0.1))


def test_reflow_on_the_exact_pairs_is_exact_in_one_call():
    noise = torch.randn(64, 2, 1, 1, 1, generator=torch.manual_seed(0))
    model = student(lambda t: STD / ((1 - t) * STD + t))
    pairs = torch.stack([STD * noise, noise], 1)
    assert losses(reflow.reflow_objective(), model, pairs).max() < 1e-9
    assert torch.allclose(last(ddim(model, Flow(), noise, [1.0, 0.0])), STD * noise, atol=1e-6)


def test_reflow_pairs_are_the_teachers_ends_of_their_noise():
    ts = timesteps(8, 3.0)
    batches = reflow.reflow_pairs(teacher, Flow(), iter([(data(), None)] * 2), ts, seed=0)
    (pairs, cond), (others, _) = batches
    assert cond is None and not torch.equal(pairs, others)
    clip, noise = pairs.unbind(1)
    assert torch.allclose(clip, last(ddim(teacher(None), Flow(), noise, ts)))


@pytest.mark.parametrize("std", [0.2, 0.8])
def test_matching_moves_clips_to_the_teachers_spread_and_rests_there(std):
    x = std * torch.randn(4096, 2, 1, 1, 1, generator=torch.manual_seed(0))
    t, noise = torch.rand(4096), torch.randn(x.shape)

    def gradient(of: float) -> torch.Tensor:
        clips = (of / std * x).requires_grad_()
        fake = Denoiser(Exact(of), Flow(), "x0")
        loss = distribution_matching.matching_loss(Flow(), clips, None, t, noise, teacher, fake)
        return (torch.autograd.grad(loss, clips)[0] * clips.detach()).sum()
    assert gradient(STD).abs() < 1e-6
    assert gradient(std).sign() == (1 if std > STD else -1)     # falling, the spread nears STD


class Exact(nn.Module):
    def __init__(self, std: float):
        super().__init__()
        self.denoise = gaussian_denoiser(Flow(), 0.0, std)

    def forward(self, x, t, cond=None):
        return self.denoise(x, t)


def test_the_shortcut_of_the_exact_flow_pays_nothing_for_its_long_steps():
    flow = gaussian_flow(Flow(), 0.0, STD)

    class TwoTimes(nn.Module):
        error = 0.0

        def forward(self, x, t, cond=None, s=None):
            s = torch.minimum(s, t - 1e-4)                      # the limit of a short step
            x, t, s = x.double(), t.double(), s.double()
            return (ddim_guess(Flow(), x, flow(x, t, s), t, s) * (1 + self.error)).float()
    model = Denoiser(TwoTimes(), Flow(), "x0")
    objective = shortcut.shortcut_objective(teacher, share=0.5)
    assert losses(objective, model).max() < 2e-5
    model.net.error = 0.5
    assert losses(objective, model).mean() > 1e-4


def test_draw_steps_are_on_the_grids_of_the_samplers():
    t, s, m, finest = shortcut.draw_steps(500, torch.Generator().manual_seed(0), 3.0)
    assert (s < m).all() and (m < t).all() and (t <= 1).all() and (s >= 0).all()
    assert 0 < finest.mean() < 0.3
    grids = torch.cat([timesteps(2**k, 3.0) for k in range(8)])
    for times in (t, s, m):
        assert (times[:, None] - grids).abs().min(1).values.max() < 1e-6
    assert torch.equal(next_times(timesteps(4, 3.0), torch.tensor([1.0, 0.9, 0.6, 0.1])),
                       torch.tensor([0.9, 0.75, 0.5, 0.0]))


@pytest.mark.parametrize("network", [shortcut.ShortcutUNet, arcflow.ArcUNet])
def test_a_network_with_a_second_time_grows_from_a_trained_one(network):
    torch.manual_seed(0)
    small, large = UNet(**SMALL, classes=3), network(**SMALL, classes=3)
    nn.init.normal_(small.conv_out.weight)
    files.load_into_larger(large, files.module_weights(small))
    x, t, cond = torch.randn(2, 4, 1, 16, 16), torch.tensor([1.0, 0.5]), torch.tensor([0, 2])
    assert torch.allclose(large(x, t, cond, s=t / 2), small(x, t, cond), atol=1e-5)
    for p in large.parameters():
        nn.init.normal_(p, std=0.1)
    assert not torch.allclose(large(x, t, cond, s=t / 2), large(x, t, cond, s=t / 4))
    assert torch.equal(large(x, t, cond), large(x, t, cond, s=next_times(large.ts, t)))
    image = x[:, 0]
    assert torch.equal(large(image, t, cond, s=t / 2), large(x[:, :1], t, cond, s=t / 2)[:, 0])
    with pytest.raises(ValueError):
        large(x, t, cond[:1])


def test_conditions_reach_an_objective_on_the_models_device():
    """Token ids are made on the CPU; a student's network gets what its objective got."""
    class Conditions:
        def to(self, device):
            return f"on {device}"
    given = []

    def objective(model, x0, cond, g):
        given.append(cond)
        return model(x0).square().flatten(1).mean(1)
    state = TrainState(nn.Linear(1, 1))
    list(train(state, [(torch.zeros(2, 1), Conditions())], 1, objective))
    assert given == ["on cpu"]
    recipe = get_recipe("mmnist64-text", batch=2)

    class OnTheCpu(MovingMNIST):
        def batches(self, batch, seed=0, start=0, device="cpu"):
            return super().batches(batch, seed, start)
    source = OnTheCpu(built_in("train", 20), "text", size=64, frames=2)
    assert next(training_batches(recipe, source, 0, device="meta"))[1].is_meta


def test_several_processes_draw_the_rows_of_one(monkeypatch):
    def draws(n: int) -> list[torch.Tensor]:
        g = torch.Generator().manual_seed(0)
        return [*shortcut.draw_steps(n, g, 3.0), distillation.draw_integers(n, 100, g),
                reflow.pair_noise(torch.zeros(n, 2, 1, 4, 4), 0, 3)]
    whole = draws(8)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        for mine, all_rows in zip(draws(4), whole, strict=True):
            assert torch.equal(mine, all_rows[4 * rank:4 * rank + 4])


def test_arcs_start_at_other_times_in_each_process(monkeypatch):
    """Each process draws for the whole batch, so its own rows are other ones."""
    class Times(nn.Module):
        def forward(self, x, t, cond=None, s=None):
            seen.append(t)
            return x
    seen, times = [], distillation.segment_times(4, 2)
    objective, model = arcflow.arc_objective(teacher, times), Denoiser(Times(), Flow(), "x0")
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        losses(objective, model)
    assert not torch.equal(*seen)


@pytest.mark.parametrize("rate", [-3.0, 0.0, 1e-5, 2.0])
def test_mean_growth_is_the_mean_over_the_step(rate):
    rate, length = torch.tensor(rate), torch.tensor([0.1, 1.0])
    w = (torch.arange(1000) + 0.5) / 1000
    want = torch.stack([(rate * w * n).exp().mean() for n in length])
    assert torch.allclose(arcflow.mean_growth(rate, length), want, rtol=1e-4)


def test_an_arc_student_learns_from_the_teachers_path():
    torch.manual_seed(0)
    model = Denoiser(arcflow.ArcUNet(**SMALL), Flow(), "flow")
    x0 = torch.randn(4, 2, 1, 8, 8)
    few = arcflow.arc_objective(teacher, distillation.segment_times(2, 4))(
        model, x0, None, torch.Generator().manual_seed(0))
    few.mean().backward()
    assert few.shape == (4,) and all(h.weight.grad.abs().sum() > 0 for h in model.net.curved)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()])
@pytest.mark.parametrize("times", [(1.0, 0.4), ([0.9, 0.5], [0.2, 0.0])])
def test_ddim_guess_undoes_a_step(schedule, times):
    t, s = (torch.tensor(v, dtype=torch.float64) for v in times)
    x, x0 = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    x_s = ddim_step(schedule, x, x0, t, s)
    assert torch.allclose(ddim_guess(schedule, x, x_s, t, s), x0, atol=1e-4)
    with pytest.raises(ValueError, match="towards data"):
        ddim_guess(schedule, x, x_s, t, t)


def test_consistency_sampling_noises_each_guess_anew():
    noise = torch.randn(4096, 1, 1, 1)
    flow = gaussian_flow(Flow(), 0.0, STD)
    states = list(consistency(lambda x, t: flow(x, t, torch.tensor(0.0)), Flow(), noise,
                              [1.0, 0.6, 0.0]))
    assert abs(states[-1].x.std() - STD) < 0.02                 # the exact map keeps the density
    left = states[1].x - (1 - 0.6) * states[0].x0
    assert abs(left.std() - 0.6) < 0.03
    assert abs((left * states[0].x0).mean()) < 0.02             # the noise is new


# --- trainings in a folder -------------------------------------------------------------------

def tiny_student(teacher: str, method: str):
    return student_recipe("tiny-2", tiny(), teacher, method, calls=2, substeps=2, batch=2, lr=1e-3,
                          ema=0.9, pool=2, steps=3, critic=0.1 * (method == "matching"))


def untrained(recipe, denoiser=None) -> pipeline.Pipeline:
    return pipeline.Pipeline(denoiser or build_model(recipe.model), {"recipe": recipe._asdict()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    """A tiny model with conditions, as the teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    run = TrainingRun(folder, get_recipe("tiny"), "builtin", steps=2)
    list(run.steps())
    run.close()
    return str(folder / "model.safetensors")


def train_for(folder, steps: int, recipe=None) -> dict:
    run = TrainingRun(folder, recipe, "builtin", steps=steps, resume=recipe is None)
    list(run.steps())
    run.close()
    return files.load_tensors(folder / "training.safetensors")[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_student_that_was_stopped_goes_on_as_if_it_was_not(method, trained, tmp_path):
    recipe = tiny_student(trained, method)
    whole = TrainingRun(tmp_path / "a", recipe, "builtin", steps=3)
    list(whole.steps())
    whole.close()
    stopped = TrainingRun(tmp_path / "b", recipe, "builtin", steps=3)
    steps = stopped.steps()
    next(steps), steps.close()
    stopped.close()
    train_for(tmp_path / "b", 3)
    a, b = (files.load_tensors(tmp_path / f / "training.safetensors")[0] for f in "ab")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    if method == "matching":
        assert any(k.startswith("fake.model.denoiser") for k in a)


@pytest.fixture(scope="module")
def few_calls(trained, tmp_path_factory) -> pipeline.Pipeline:
    folder = tmp_path_factory.mktemp("student")
    train_for(folder, 1, tiny_student(trained, "progressive"))
    return pipeline.load(folder / "model.safetensors")


def test_a_student_begins_as_its_teacher_and_is_one_pass_a_call(few_calls, trained):
    assert few_calls.metadata["begun"]["model"] == trained
    passes = []
    few_calls.denoiser.net.register_forward_hook(lambda net, args, out: passes.append(len(args[0])))
    assert few_calls(3, n=2).tensor.shape == (2, 8, 1, 32, 32)
    assert passes == [2, 2]


def test_what_a_student_refuses_and_what_it_warns_of(few_calls):
    for settings in (dict(guidance=2.0), dict(autoguidance=0.5), dict(interval=(0.5, 1.0)),
                     dict(rescale=0.5)):
        with pytest.raises(ValueError, match="folded in"):
            few_calls(3, **settings)
    for steps in (1, 5):
        with pytest.warns(UserWarning, match="made for 2 calls") as warned:
            few_calls(3, steps=steps, guidance=1.0, interval=None)
        assert len(warned) == 1


def test_a_student_that_reads_has_no_negative_prompt():
    model = untrained(get_recipe("mmnist64-text-4"), student(torch.sin))
    with pytest.raises(ValueError, match="Leave out the negative prompt"):
        model.make_request("a 3 moving left", 1, None, None, "a 7")


@pytest.mark.parametrize("method", ["shortcut", "arc"])
def test_a_network_with_a_second_time_is_told_the_steps_that_it_is_sampled_in(method):
    model, seen = untrained(tiny_student("mmnist32", method)), []
    model.denoiser.net.register_forward_pre_hook(
        lambda net, args, more: seen.append((args[1], more["s"])), with_kwargs=True)
    list(model.run_sampler(torch.tensor([3]), steps=4))
    assert torch.allclose(torch.tensor(seen), torch.stack([*timesteps(4, 3.0).unfold(0, 2, 1)])
                          .float(), atol=1e-6)


@pytest.mark.parametrize("method, own", [("progressive", "ddim"), ("matching", "consistency")])
def test_the_command_line_samples_a_student_with_its_own_sampler(method, own):
    args = SimpleNamespace(sampler=None, steps=None, guidance=None, interval=None,
                           autoguidance=None)
    model = SimpleNamespace(recipe=tiny_student("mmnist32", method))
    assert commands.sampling_settings(args, model, "ddpm") == {"sampler": own}
    model.recipe, args.sampler = tiny(), None
    assert commands.sampling_settings(args, model, "ddpm") == {"sampler": "ddpm"}


@pytest.mark.parametrize("theirs, ours, calls, why", [
    ("progressive", "progressive", 2, None), ("arc", "reflow", 2, None),
    ("progressive", "progressive", 4, "calls times substeps must be 4"),
    ("progressive", "matching", 2, "itself a student"),
    ("consistency", "progressive", 2, "itself a student")])
def test_a_student_teaches_only_what_follows_its_own_steps(theirs, ours, calls, why):
    first = student_recipe("first", tiny(), "mmnist32", theirs, 4, 5)
    second = student_recipe("second", tiny(), "file", ours, calls, 2)
    if why is None:
        pipeline.check_student_as_teacher("file", first, second)
    else:
        with pytest.raises(ValueError, match=why):
            pipeline.check_student_as_teacher("file", first, second)


def test_a_missing_teacher_gets_a_sentence(tmp_path):
    gone = tmp_path / "gone.safetensors"
    with pytest.raises(FileNotFoundError, match="teacher of tiny-2"):
        pipeline.load_teacher(gone, tiny_student(str(gone), "progressive"))


def test_one_call_of_a_student_made_for_one_gives_no_warning(trained, tmp_path, recwarn):
    recipe = tiny_student(trained, "progressive")
    one = recipe._replace(training=recipe.training | {"calls": 1},
                          sampling=recipe.sampling | {"steps": 1})
    train_for(tmp_path, 1, one)
    pipeline.load(tmp_path / "model.safetensors")(3)
    assert not [w for w in recwarn if "mean of all clips" in str(w.message)]


@pytest.mark.parametrize("name, why", [
    ("mmnist64-vae", "makes no clips"), ("mmnist64-text", "cannot teach"),
    ("nothing", "no checkpoint")])
def test_unfit_teachers_get_a_sentence_and_leave_nothing(name, why, tmp_path):
    with pytest.raises(ValueError, match=why):
        TrainingRun(tmp_path / "run", tiny_student(name, "progressive"), "builtin", steps=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["shortcut", "arc"])
def test_a_network_of_object_slots_has_no_second_time(method):
    with pytest.raises(ValueError, match="plain U-Net"):
        get_recipe("mmnist64-text-4", method=method)


def test_a_critic_is_for_matching_and_a_plain_unet_and_on_its_device():
    with pytest.raises(ValueError, match="Only the method matching"):
        get_recipe("mmnist32-4", critic=0.1)
    for recipe in (mmnist32_dit(dim=64, depth=1), get_recipe("mmnist64-text")):
        with pytest.raises(ValueError, match="plain U-Net"):
            distribution_matching.Fake(build_model(recipe.model), with_critic=True)
    denoiser = build_model(tiny().model).to("meta")
    assert distribution_matching.Fake(denoiser, with_critic=True).critic.weight.is_meta


def test_a_shortcut_needs_two_clips(trained):
    recipe = tiny_student(trained, "shortcut")
    with pytest.raises(ValueError, match="batch=2 or more"):
        build_training(recipe._replace(training=recipe.training | {"batch": 1}))


def test_a_teacher_without_conditions_is_refused(tmp_path):
    plain = get_recipe("tiny")
    net = {k: v for k, v in plain.model["net"].items() if k != "classes"}
    plain = plain._replace(model=plain.model | {"net": net})
    train_for(tmp_path, 1, plain)
    with pytest.raises(ValueError, match="has no conditions"):
        pipeline.load_teacher(tmp_path / "model.safetensors", plain)


def test_the_critic_tells_data_from_clips_and_the_fake_keeps_no_gradient_of_the_student(trained):
    recipe = tiny_student(trained, "matching")
    training = build_training(recipe)
    fake = distribution_matching.Fake(copy.deepcopy(training.state.model), with_critic=True)
    x0 = torch.randn(2, 8, 1, 32, 32)
    state = distribution_matching.MatchingState(training.state.model, fake, 1e-3, 0.9)
    loop = partial(training.loop, adversarial=0.1)
    records = list(loop(state, iter([(x0, torch.tensor([1, 2]))] * 2), 2, seed=0))
    assert len(records) == 2 and state.fake.step == 2
    with pytest.raises(ValueError, match="batches ended"):
        list(loop(state, iter([]), 3, seed=0))
    assert fake.critic.weight.grad.abs().sum() > 0
