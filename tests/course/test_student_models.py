"""A fresh student edition is not attempted, and the student's code becomes the model: what a
chapter trains with is what was picked, so another function makes other weights."""
import ast
import json
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import FunctionType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import minidiff
from minidiff import course
from minidiff.course import answers, exercises
from minidiff.course.exercises.ch09 import labelled_clips
from minidiff.data.digits import built_in
from minidiff.data.moving_mnist import moving_mnist
from minidiff.denoiser import Denoiser
from minidiff.guidance import clipped
from minidiff.samplers import ddpm, last
from minidiff.schedules import Cosine, Flow, timesteps
from minidiff.train import denoising_objective, train
from minidiff.unet import UNet
from minidiff.visual.widgets import playground

SOLUTIONS = Path(__file__).parents[2] / "solutions"
KEPT = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef


def is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)


def is_from_before(node: ast.stmt) -> bool:
    """f = course.pick("c01-f"), or several such pairs: what earlier chapters made."""
    if not isinstance(node, ast.Assign):
        return False
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(isinstance(v, ast.Call) and ast.unparse(v.func) == "course.pick"
               and all(isinstance(a, ast.Constant) for a in v.args) for v in values)


def definitions(name: str, folder: Path = SOLUTIONS, **given) -> dict:
    """What a chapter's notebook defines, without running its demonstrations."""
    space = {"__name__": "chapter", **given}
    for cell in json.loads((folder / name).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("%pip", "pass  # %pip")
            for node in ast.parse(source).body:
                if isinstance(node, KEPT) or is_constant(node) or is_from_before(node):
                    with suppress(NameError):              # a default that a demonstration makes
                        exec(compile(ast.Module([node], []), name, "exec"), space)
    return space


@pytest.mark.parametrize("name", [p.name for p in sorted(SOLUTIONS.glob("*.ipynb"))])
def test_in_a_fresh_student_edition_every_check_is_not_attempted(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path))
    space = definitions(name, SOLUTIONS.parent / "notebooks")
    for exercise in exercises.exercises_of(name[:2]):
        assert course.check(exercise.id, space[exercise.entry]).status == "not attempted"
        assert course.check(exercise.id, definitions(name)[exercise.entry]).status == "passed"


def size(**sizes) -> SimpleNamespace:
    return SimpleNamespace(device="cpu", seed=0, size=SimpleNamespace(**sizes))


def weights(run, batches, objective=None) -> torch.Tensor:
    list(train(run, islice(batches, 4), 4, objective))
    return torch.cat([p.detach().flatten() for p in run.ema.model.parameters()])


def noise_predictor(kind: str, **changed) -> torch.Tensor:
    space = definitions("02_noise_prediction.ipynb", ch=size(batch=4), schedule=Cosine(),
                        frames=torch.randn(16, 1, 24, 24, generator=torch.manual_seed(0)))
    space.update(changed)
    return weights(space["fresh"](kind), space["batches"](), space["objective"](kind))


def unet(**changed) -> torch.Tensor:
    x = torch.randn(4, 1, 32, 32, generator=torch.manual_seed(0))
    space = definitions("03_unet.ipynb", ch=size(batch=4), schedule=Flow())
    space.update(changed)
    return weights(space["fresh"](), iter([(x, None)] * 4), space["objective"])


def halved(x: torch.Tensor, t: torch.Tensor, cond=None) -> torch.Tensor:
    return x / 2


def drawn_frames(**changed) -> torch.Tensor:
    space = definitions("03_unet.ipynb", ch=size(sampling_steps=3), schedule=Flow(),
                        SHAPE=(1, 8, 8))
    space.update(changed)
    return space["draw"](halved, 2)[-1].x


def guessed_frames(**changed) -> torch.Tensor:
    test = torch.randn(4, 1, 8, 8, generator=torch.manual_seed(0))
    space = definitions("03_unet.ipynb", ch=size(), schedule=Flow(), test=test)
    space.update(changed)
    return space["guesses"](halved, torch.tensor(0.3))


def transformer(**changed) -> torch.Tensor:
    small = dict(batch=2, dim=32, depth=1)
    space = definitions("04_dit.ipynb", ch=size(**small), sprites=built_in(n=50), PATCH=(2, 4, 4),
                        GRID=(4, 8, 8), N=256, SHARES=(4, 6, 6), WIDTH=32, schedule=Flow(),
                        norm=lambda h: F.layer_norm(h, h.shape[-1:]),
                        time_embedding=answers.find("c03-time").reference,
                        scale_and_shift=answers.find("c03-modulate").reference)
    space.update(changed)
    space["phi"] = space["grid_angles"](space["GRID"], space["SHARES"])
    return weights(space["fresh"](), space["clips"](), space["objective"])


def drawn_clips(**changed) -> torch.Tensor:
    space = definitions("04_dit.ipynb", ch=size(dim=32, depth=1, sampling_steps=3),
                        schedule=Flow(), test=SimpleNamespace(x=torch.zeros(1, 2, 1, 8, 8)))
    space.update(changed)
    return last(space["draw"](halved, 2))


def small_vae(**changed) -> torch.Tensor:
    space = definitions("05_latents.ipynb", ch=size(batch=2), sprites=built_in(n=50), LATENT=2,
                        BETA=1e-4)
    space.update(changed)
    return weights(space["fresh_vae"](), space["clips"](), space["rebuilding"])


def flying_ball(**changed) -> torch.Tensor:
    space = definitions("07_time.ipynb", ch=size(batch=2), schedule=Flow())
    space.update(changed)
    return weights(space["fresh"](), space["ball_clips"]())


def conditioned_model(**changed) -> torch.Tensor:
    torch.manual_seed(0)
    net = UNet((32, 32), attention_levels=0, emb_dim=32, classes=10)
    torch.nn.init.normal_(net.conv_out.weight, std=0.02)
    base = SimpleNamespace(denoiser=Denoiser(net, Flow(), "flow"))
    space = definitions("10_first_frame_and_editing.ipynb", schedule=Flow(), base=base, null=10)
    space.update(changed)
    return weights(space["fresh"](), labelled_clips(built_in(n=50), 2), space["objective"])


def branch(**changed) -> torch.Tensor:
    space = definitions("11_control_and_adapters.ipynb", ch=size(),
                        base=minidiff.load("time-factorised"))
    space.update(changed)
    clips = moving_mnist(built_in(n=50), 2)
    return weights(space["new_branch"](), iter([(clips.x, clips.labels[:, 0])] * 4),
                   space["follows"])


def adapter(**changed) -> torch.Tensor:
    own = moving_mnist(built_in(n=50), 3, step=1)
    space = definitions("11_control_and_adapters.ipynb", ch=size(),
                        base=minidiff.load("time-factorised"), own=own.x,
                        old_labels=own.labels[:, 0], new_usual=denoising_objective(11))
    space.update(changed)
    clips = moving_mnist(built_in(n=50), 2).x
    return weights(space["begun"](2), iter([(clips, torch.full((2,), 10))] * 4),
                   space["learns"](0.5))


def others(id: str) -> list:
    return [w.function for w in answers.find(id).wrong_answers]


def differs(make, entry: str, functions: list) -> bool:
    """Whether the same function leads to the same weights, and one of the others to others."""
    ours = make()
    assert torch.equal(ours, make())
    for f in functions:
        with suppress(Exception):                                 # whatever a wrong function raises
            if not torch.equal(make(**{entry: f}), ours):
                return True
    return False


@pytest.mark.parametrize("id, kind", [("c02-loss", "eps"), ("c02-target", "v")])
def test_another_loss_or_target_trains_another_noise_predictor(id, kind):
    entry = exercises.find(id).entry
    assert differs(lambda **changed: noise_predictor(kind, **changed), entry, others(id))


@pytest.mark.parametrize("id", ["c03-time", "c03-modulate", "c03-residual", "c03-attention",
                                "c03-unet", "c02-loss", "c02-target"])
def test_another_part_trains_another_unet(id):
    assert differs(unet, exercises.find(id).entry, others(id))


@pytest.mark.parametrize("id", ["c04-cut", "c04-join", "c04-heads", "c04-rotate", "c04-angles",
                                "c04-block", "c01-add-noise", "c02-target"])
def test_another_part_trains_another_transformer(id):
    assert differs(transformer, exercises.find(id).entry, others(id))


@pytest.mark.parametrize("make, theirs", [(unet, None), (transformer, denoising_objective(10))])
def test_the_students_objective_trains_what_the_packages_does(make, theirs):
    torch.testing.assert_close(make(), make(objective=theirs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [drawn_frames, drawn_clips])
def test_the_students_loop_draws_what_the_packages_does(make):
    ours = make()
    torch.manual_seed(4)
    steps = ddpm(clipped(halved), Flow(), torch.randn(ours.shape), timesteps(3, 3.0))
    torch.testing.assert_close(ours, last(steps))


def loop_around(step) -> FunctionType:
    """The reverse loop of chapter 02 with another step."""
    loop = answers.find("c02-reverse").reference
    return FunctionType(loop.__code__, loop.__globals__ | {"ddpm_step": step})


def test_another_loop_or_step_or_mixture_makes_other_frames_and_clips():
    assert differs(drawn_frames, "reverse", others("c02-reverse"))
    assert differs(drawn_frames, "reverse", [loop_around(f) for f in others("c02-step")])
    assert differs(drawn_clips, "ddpm_step", others("c02-step"))
    assert differs(guessed_frames, "add_noise", others("c01-add-noise"))


@pytest.mark.parametrize("id", ["c05-draw", "c05-kl", "c05-loss", "c05-pairs"])
def test_another_part_trains_another_vae(id):
    assert differs(small_vae, exercises.find(id).entry, others(id))


@pytest.mark.parametrize("id", ["c07-temporal-attention", "c07-temporal-conv"])
def test_another_way_through_time_trains_another_ball(id):
    assert differs(flying_ball, exercises.find(id).entry, others(id))


@pytest.mark.parametrize("id", ["c10-input", "c10-grow", "c10-masks"])
def test_another_way_to_tell_pixels_trains_another_model(id):
    assert differs(conditioned_model, exercises.find(id).entry, others(id))


@pytest.mark.parametrize("make, id", [(branch, "c11-branch"), (branch, "c11-dots"),
                                      (branch, "c11-centres"), (adapter, "c11-merge"),
                                      (adapter, "c11-prior")])
def test_another_part_trains_another_branch_or_adapter(make, id):
    assert differs(make, exercises.find(id).entry, others(id))


def test_the_welcomes_playground_answers_over_the_whole_range_of_its_controls():
    model = minidiff.load("mmnist32")
    space = definitions("00_welcome.ipynb", model=model, ch=size(steps=1))
    tried = playground(space["sample"], digit=(0, 9, 1), guidance=(0.0, 6.0, 0.5)).try_all()
    assert {v["digit"] for v in tried} >= {0, 9} and {v["guidance"] for v in tried} >= {0.0, 6.0}
