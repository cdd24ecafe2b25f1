"""Shortcut models: one network for steps of every length (Frans 2024).

The network gets a second time s <= t, where the step is to end: D(x_t, t, s) is the guess with
which `ddim_step` leads from t to s. It is learnt from both ends. For s = t it is E[x0 | x_t], the
usual one. For any other s, one long step must lead where two of half its length do:

    x_m = ddim_step(x_t, D(x_t, t, m)),   x_s = ddim_step(x_m, D(x_m, m, s))
    |D(x_t, t, s) - ddim_guess(x_t, x_s)|^2,    m between: t, m, s follow each other on a grid

So no teacher is needed, and the number of calls is chosen when sampling: 1, 2, 4, ... or 64.
"""
import torch
from torch import Tensor

from minidiff.denoiser import Denoiser
from minidiff.pipeline import Teacher, load_teacher
from minidiff.recipes import Recipe, Training, training_by
from minidiff.runtime.distributed import sharded_draw, world_size
from minidiff.samplers import ddim_guess, ddim_step
from minidiff.schedules import add_noise, append_dims, next_times, shift_times, timesteps
from minidiff.train import Objective, draw_noise, draw_times, weighted_error
from minidiff.unet import UNet

DOUBLINGS = 6                               # the shortest steps are 1 / 64 of the way


def shortcut(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is a shortcut, with its teacher's guesses.

    Raises ValueError for a batch of one clip: it would hold a long step and nothing else.
    """
    plan = recipe.training
    if plan["batch"] < 2 * world_size():
        raise ValueError("A shortcut learns long steps from some clips of a batch and the usual "
                         f"guess from the others: set batch={2 * world_size()} or more.")
    teacher = load_teacher(plan["teacher"], recipe, device).guided_denoiser
    return training_by(shortcut_objective(teacher, shift=recipe.sampling["shift"]), recipe, student)


class ShortcutUNet(UNet):
    """A U-Net with one more input, t - s in every pixel: `net(x, t, cond, s=s) -> like x`.

    s: as t. Unless given it is the next time of `schedules.timesteps(calls, shift)`, so that
    samplers, which know one time only, take the model as it is. Its weights start at 0 when a
    network grows from a trained one (`runtime.files.load_into_larger`). Other settings: `UNet`'s.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 96), in_channels: int = 1,
                 calls: int = 4, shift: float = 3.0, **settings):
        super().__init__(channels, in_channels=in_channels + 1, out_channels=in_channels,
                         **settings)
        self.ts = timesteps(calls, shift)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True, s: Tensor | None = None) -> Tensor:
        if x.ndim == 4:                                        # an image is a video of one frame
            return self(x[:, None], t, cond, with_temporal_attention, s)[:, 0]
        s = next_times(self.ts, t) if s is None else s
        length = append_dims(t - s, x).expand_as(x[..., :1, :, :]).to(x)
        return super().forward(torch.cat([x, length], -3), t, cond, with_temporal_attention)


def shortcut_objective(teacher: Teacher | None = None,
                       share: float = 0.25, times: str = "logit-normal",
                       shift: float = 3.0) -> Objective:
    """The usual guess for most of a batch and, for a share of it, one step against its two halves.

    teacher: a model's `guided_denoiser`. Its guess then takes the place of the data as the goal of
    the usual guess, so its guidance is folded in. shift: of the grids on which the steps lie, 1 to
    64 of them from noise to data; also of the other times.
    """
    def objective(student: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        n, schedule = max(1, round(share * len(x0))), student.schedule
        t = draw_times(len(x0), g, times, shift)
        t[:n], s, m, finest = (v.to(t) for v in draw_steps(n, g, shift))
        x_t = add_noise(schedule, x0, draw_noise(x0, g), t)
        few, rest = (None, None) if cond is None else (cond[:n], cond[n:])
        with torch.no_grad():
            usual = x0[n:]
            if teacher is not None and len(usual):
                usual = teacher(rest)(x_t[n:], t[n:])
            x = x_t[:n]
            for a, b in ((t[:n], m), (m, s)):
                length = torch.where(finest > 0, a, b)              # the shortest are not learnt
                x = ddim_step(schedule, x, student(x, a, few, s=length), a, b)
            goal = torch.cat([ddim_guess(schedule, x_t[:n], x, t[:n], s), usual])
        return weighted_error(student, x_t, t, cond, goal, s=torch.cat([s, t[n:]]))
    return objective


def draw_steps(n: int, g: torch.Generator, shift: float) -> tuple[Tensor, ...]:
    """n steps (t, s), each one of 1, 2, 4, ... or 64 from noise to data, and the times m between.

    Also 1 for each of the shortest steps, 0 for the others. All (n,).
    """
    steps = 2 ** sharded_draw(n, lambda n: torch.randint(
        DOUBLINGS + 1, (n,), generator=g, device=g.device))
    k = (steps * draw_times(n, g, "uniform")).long()                            # 0 to steps - 1
    t, s, m = (shift_times((k + part) / steps, shift) for part in (1, 0, 0.5))
    return t, s, m, (steps == 2**DOUBLINGS).float()
