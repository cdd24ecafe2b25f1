"""A curved step: the network's one call gives a whole arc of the path (after ArcFlow, 2026).

A flow network's output is a velocity F, and a step follows it in a straight line. Here one call
gives K velocities u_k, each of which grows or fades at its own learnt rate g_k along the way, so
the step can be integrated in closed form:

    velocity at time w:   sum_k u_k exp(g_k (t - w))
    x_s = x_t - sum_k u_k (exp(g_k (t - s)) - 1) / g_k,     g_0 = 0, whose term is u_0 (t - s)

A sampler needs no change: the network returns the mean velocity from t to s, with which a straight
step arrives at the same place. Flow matching only (`Flow`, prediction "flow").
"""

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.layers import check_condition, times_per_sample, zero_module
from minidiff.pipeline import Teacher, load_teacher
from minidiff.recipes import Recipe, Training, training_by
from minidiff.samplers import ddim, ddim_guess
from minidiff.schedules import add_noise, append_dims, next_times, timesteps
from minidiff.train import Objective, draw_integers, draw_noise, weighted_error
from minidiff.unet import UNet


def arc(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is an arc along its teacher's path."""
    plan = recipe.training
    teacher = load_teacher(plan["teacher"], recipe, device).guided_denoiser
    ts = timesteps(plan["calls"] * plan["substeps"], recipe.sampling["shift"])
    segments = ts.unfold(0, plan["substeps"] + 1, plan["substeps"])
    return training_by(arc_objective(teacher, segments), recipe, student)


class ArcUNet(UNet):
    """A U-Net whose output is a curve: `net(x, t, cond, s=s) -> like x`, the mean velocity to s.

    s <= t: as t; unless given, the next time of `schedules.timesteps(calls, shift)`. curves: how
    many velocities beside the constant one; their part of the output starts at 0, so that a network
    that grows from a trained one (`runtime.files.load_into_larger`) goes straight at first.
    """

    def __init__(self, channels: tuple[int, ...] = (64, 96), in_channels: int = 1,
                 calls: int = 4, shift: float = 3.0, curves: int = 2, **settings):
        super().__init__(channels, in_channels=in_channels, **settings)
        self.ts = timesteps(calls, shift)
        self.rates = nn.Parameter(torch.linspace(-2, 2, curves))
        self.curved = nn.ModuleList(
            zero_module(nn.Conv2d(channels[0], in_channels * self.patch**2, 3, padding=1))
            for _ in range(curves))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True, s: Tensor | None = None) -> Tensor:
        if x.ndim == 4:                                        # an image is a video of one frame
            return self(x[:, None], t, cond, with_temporal_attention, s)[:, 0]
        self.check_input(x)
        check_condition(cond, len(x), self.classes, self.vocab_size)
        s = next_times(self.ts, t) if s is None else s
        emb, words = self.embed_condition(times_per_sample(t, x), cond)
        h = self.features(x, emb, text_emb=words, with_temporal_attention=with_temporal_attention)
        velocity = self.to_frames(self.conv_out(h), x)
        for rate, head in zip(self.rates, self.curved, strict=True):
            mean = append_dims(mean_growth(rate, t - s), x).to(x)
            velocity = velocity + mean * self.to_frames(head(h), x)
        return velocity


def mean_growth(rate: Tensor, length: Tensor) -> Tensor:
    """The mean of exp(rate w) for w from 0 to length, (exp(rate length) - 1) / (rate length)."""
    z = rate * length
    small = z.abs() < 1e-3
    return torch.where(small, 1 + z / 2, torch.expm1(z) / torch.where(small, 1, z))


def arc_objective(teacher: Teacher, times: Tensor) -> Objective:
    """The arc from a segment's start passes through the teacher's path, at any of its points.

    times (k, m + 1): the student's segments, as `distillation.segment_times` gives them.
    """
    def objective(student: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        path = times[draw_integers(len(x0), len(times), g)].T                    # (m + 1, B)
        x_t = add_noise(student.schedule, x0, draw_noise(x0, g), path[0])
        states = [state.x for state in ddim(teacher(cond), student.schedule, x_t, path)]
        j = int(torch.randint(1, len(states), (1,), generator=g, device=g.device))
        goal = ddim_guess(student.schedule, x_t, states[j], path[0], path[j])
        return weighted_error(student, x_t, path[0], cond, goal, s=path[j].to(x_t))
    return objective
