"""Distribution matching: a student whose clips, not whose paths, are the teacher's.

The student's clips x have a density of their own. Its distance from the teacher's, the KL
divergence of both after noising, falls if each clip moves against (DMD, Yin 2024 eq. 7, with each
score written as a denoiser, s(y) = (alpha D(y) - y) / sigma^2)

    g = (D_fake(y, u) - D_teacher(y, u)) / mean |x - D_teacher(y, u)|,    y = alpha_u x + sigma_u e

D_fake is a second denoiser, trained all the time on what the student makes. The student is called
at its own times, on its own earlier guesses noised anew (`samplers.consistency`), so it learns to
go on from its own mistakes. Where both densities agree, g is 0 on average, whatever the path.
Trained for too long, clips become alike and hard-edged: watch COVER, and stop early. Inputs
that are the student's own guesses, and the critic, are DMD2's (Yin 2024b).
"""
import copy
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff import train
from minidiff.denoiser import Denoiser
from minidiff.pipeline import Teacher, load_teacher
from minidiff.recipes import Recipe, Training
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.schedules import Schedule, add_noise, append_dims, timesteps
from minidiff.train import Record, TrainState, draw_noise, optimizer_step
from minidiff.unet import UNet

FAKE_SPEED = 6                                                # learning rate, in the student's


def matching(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is distribution matching."""
    plan = recipe.training
    teacher, weight = load_teacher(plan["teacher"], recipe, device), plan.get("critic", 0.0)
    fake = Fake(copy.deepcopy(teacher.denoiser).requires_grad_(True), with_critic=weight > 0)
    state = MatchingState(student, fake, plan["lr"], plan["ema"])
    loop = partial(match, teacher=teacher.guided_denoiser, adversarial=weight,
                   ts=timesteps(plan["calls"], recipe.sampling["shift"]))
    return Training(state, loop, train.denoising_objective())


class Fake(nn.Module):
    """A denoiser of the student's clips and, if wanted, a critic that tells data from them.

    The critic reads the U-Net's middle features of a noised clip (Yin 2024b section 4.3): one
    number a clip (B,), positive for data. Raises ValueError for a critic of another network.
    """

    def __init__(self, denoiser: Denoiser, with_critic: bool):
        super().__init__()
        self.denoiser, self.critic, net = denoiser, None, denoiser.net
        if with_critic and type(net) is not UNet:      # object slots pass through it several times
            raise ValueError("The critic reads the middle of a plain U-Net, and the teacher is a "
                             f"{type(net).__name__}: leave out critic.")
        if with_critic:
            middle = net.middle.blocks[0].conv2
            self.critic = nn.Linear(middle.out_channels, 1, device=middle.weight.device)

    def judge(self, y: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        """The critic's number for each noised clip y: (B,)."""
        kept = []
        with self.denoiser.net.middle.register_forward_hook(lambda *call: kept.append(call[-1])):
            self.denoiser(y, t, cond)
        features = kept[0].unflatten(0, (len(y), -1)).float().mean((1, 3, 4))        # (B, C)
        return self.critic(F.layer_norm(features, features.shape[-1:]))[:, 0]


class MatchingState(TrainState):
    """A student and its fake, which begins as the teacher and learns `FAKE_SPEED` times as fast."""

    def __init__(self, model: Denoiser, fake: Fake, lr: float, ema: float, **notes):
        super().__init__(model, lr, ema, **notes)
        self.fake = TrainState(fake, FAKE_SPEED * lr, ema=0.0)

    def parts(self) -> dict[str, TrainState]:
        """The fake is saved with the student."""
        return {"fake": self.fake}


def match(state: MatchingState, batches: Iterable[tuple[Tensor, Tensor | None]], steps: int,
          teacher: Teacher, ts: Tensor, seed=0, adversarial: float = 0.0) -> Iterator[Record]:
    """Train as `train.train` does: the student is moved against g, its fake learns its clips.

    ts (k + 1,): the student's times, then 0. adversarial: the weight of the critic's part.
    """
    student, fake = state.model.train(), state.fake.model.train()
    device = next(student.parameters()).device
    for x0, cond in islice(batches, max(0, steps - state.step)):
        g = generator("matching", seed, state.step, device=device)
        factor = train.lr_factor((state.step + 1) / steps, state.step + 1)
        x0, cond = x0.to(device), None if cond is None else cond.to(device)
        with autocast(device):
            x = own_clips(student, x0, cond, ts, g)
            t, noise = train.draw_times(len(x0), g, "uniform"), draw_noise(x0, g)
            loss = matching_loss(student.schedule, x, cond, t, noise, teacher, fake.denoiser)
            fake_loss = fake.denoiser.loss(x.detach(), cond, t, noise).mean()
            if adversarial:
                fooled, caught = adversarial_losses(fake, x, x0, cond, t, noise)
                loss, fake_loss = loss + adversarial * fooled, fake_loss + caught
        value, norm = train.backward(state, loss)
        train.backward(state.fake, fake_loss)                   # also clears what `loss` left there
        with train.defer_interrupts() as pressed:
            optimizer_step(state, state.lr * factor)
            optimizer_step(state.fake, state.fake.lr * factor)
        yield Record(state.step, value, norm, state.lr * factor)
        if pressed:
            signal.raise_signal(signal.SIGINT)
    train.check_all_steps_made(state, steps)


def own_clips(student: Denoiser, x0: Tensor, cond: Tensor | None, ts: Tensor,
              g: torch.Generator) -> Tensor:
    """Clips like x0 as the student makes them in one to k calls; only the last has gradients."""
    calls = int(torch.randint(len(ts) - 1, (1,), generator=g, device=g.device))
    x = draw_noise(x0, g)
    with torch.no_grad():
        for t, s in pairwise(ts[:calls + 1]):
            x = add_noise(student.schedule, student(x, t, cond), draw_noise(x0, g), s)
    return student(x, ts[calls], cond)


def matching_loss(schedule: Schedule, x: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor,
                  teacher: Teacher, fake: Denoiser) -> Tensor:
    """A number whose gradient with respect to x (B, ...) is g / x.numel(), as in the text above."""
    with torch.no_grad():
        y = add_noise(schedule, x, noise, t)
        wanted, made = teacher(cond)(y, t), fake(y, t, cond)
        size = (x - wanted).abs().flatten(1).mean(1).clamp(min=1e-3)
        goal = x - (made - wanted) / append_dims(size, x)
    return (x - goal).square().mean() / 2


def adversarial_losses(fake: Fake, x: Tensor, x0: Tensor, cond: Tensor | None, t: Tensor,
                       noise: Tensor) -> tuple[Tensor, Tensor]:
    """What the student and the critic pay, when the critic sees x and data x0, noised alike."""
    of_student, of_clips, of_data = (
        fake.judge(add_noise(fake.denoiser.schedule, clips, noise, t), t, cond)
        for clips in (x, x.detach(), x0))
    return F.softplus(-of_student).mean(), (F.softplus(of_clips) + F.softplus(-of_data)).mean()

