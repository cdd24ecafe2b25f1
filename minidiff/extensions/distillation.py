"""Distillation: a student that needs few network calls, made from a teacher that needs many.

A step of `ddim_step` needs a guess of x0. E[x0 | x_t] is the right one for a short step only; for a
long one there is another, which lands where the teacher's path leads (`samplers.ddim_guess`). A
student learns those guesses, at the few times t_0 = 1 > t_1 > ... > t_k = 0 at which it is called:

    progressive   the teacher walks from t_i to t_{i+1} in m small steps; where it arrives is the
                  goal of the student's one step (Salimans 2022)
    consistency   the teacher makes one small step, t -> u; from there on the student's own present
                  answer is the goal (Song 2023; for k > 1 within segments, Heek 2024)

Guidance is part of the teacher, so the student has it folded in: one call is one network pass. A
student is a `Denoiser` like any other; it is sampled with `ddim`, or `consistency`, on its times.
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import Denoiser
from minidiff.pipeline import Teacher, load_teacher
from minidiff.recipes import Recipe, Training, training_by
from minidiff.samplers import ddim, ddim_guess, ddim_step, last
from minidiff.schedules import add_noise, timesteps
from minidiff.train import Objective, draw_integers, draw_noise, weighted_error


def progressive(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is progressive distillation."""
    return regression(recipe, student, progressive_objective, device)


def consistency(recipe: Recipe, student: Denoiser, device="cpu") -> Training:
    """The training of a student recipe whose method is consistency distillation."""
    return regression(recipe, student, consistency_objective, device)


def regression(recipe: Recipe, student: Denoiser, make_objective: Callable, device) -> Training:
    """The training of a student on the teacher's paths: make_objective(teacher, segment times)."""
    plan = recipe.training
    teacher = load_teacher(plan["teacher"], recipe, device).guided_denoiser
    times = segment_times(plan["calls"], plan["substeps"], recipe.sampling["shift"])
    return training_by(make_objective(teacher, times), recipe, student)


def segment_times(calls: int, substeps: int, shift: float = 3.0) -> Tensor:
    """(calls, substeps + 1) times: row i leads from the student's time t_i to t_{i+1}, 0 at last.

    All of them together are `schedules.timesteps(calls * substeps, shift)`, so the student's times
    are those of `timesteps(calls, shift)`. float64, on the CPU.
    """
    ts = timesteps(calls * substeps, shift)
    return ts.unfold(0, substeps + 1, substeps)


def progressive_objective(teacher: Teacher, times: Tensor) -> Objective:
    """One step of the student for all steps of a segment: |D(x_t, t) - goal|^2, weighted.

    goal: the guess with which one step leads from x_t to the end of the teacher's path. times
    (k, m + 1): the segments, as `segment_times` gives them. With m = 2, and the student as the next
    teacher, half as many calls every time: progressive distillation (Salimans 2022 algorithm 2).
    """
    def objective(student: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        path = times[draw_integers(len(x0), len(times), g)].T                    # (m + 1, B)
        x_t = add_noise(student.schedule, x0, draw_noise(x0, g), path[0])
        x_s = last(ddim(teacher(cond), student.schedule, x_t, path))
        goal = ddim_guess(student.schedule, x_t, x_s, path[0], path[-1])
        return weighted_error(student, x_t, path[0], cond, goal)
    return objective


def consistency_objective(teacher: Teacher | None, times: Tensor) -> Objective:
    """The student's answers along one path agree: D at t, and D one small step further, at u.

    The small step is the teacher's (consistency distillation, Song 2023 algorithm 2) or, without a
    teacher, leads to the same data with the same noise (consistency training, algorithm 3). times:
    as in `progressive_objective`; t is any but the last of a segment, and both answers are
    compared where they lead at the segment's end. The answer at u has no gradient.
    """
    def objective(student: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        segment = times[draw_integers(len(x0), len(times), g)]                   # (B, m + 1)
        i = draw_integers(len(x0), times.shape[1] - 1, g)[:, None]
        t, u, end = segment.gather(1, i)[:, 0], segment.gather(1, i + 1)[:, 0], segment[:, -1]
        schedule, noise = student.schedule, draw_noise(x0, g)
        x_t = add_noise(schedule, x0, noise, t)
        with torch.no_grad():
            x_u = (add_noise(schedule, x0, noise, u) if teacher is None else
                   ddim_step(schedule, x_t, teacher(cond)(x_t, t), t, u))
            x_end = ddim_step(schedule, x_u, student(x_u, u, cond), u, end)
            goal = ddim_guess(schedule, x_t, x_end, t, end)
        return weighted_error(student, x_t, t, cond, goal)
    return objective
