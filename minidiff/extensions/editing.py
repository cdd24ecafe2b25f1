"""Editing by sampling: what any denoiser can do with a given clip, without a training.

Two samplers, to be handed to a model like a name of one, `model(7, sampler=from_clip(clip, 0.8))`:

    repaint     a step t -> s, new noise s -> t, and again: what was made learns of what is given,
                and has R chances to fit (Lugmayr 2022, with `given` and `where` of the call)
    from_clip   begin at time t0 < 1 from a noised clip: x_t0 = alpha clip + sigma eps. A small t0
                keeps the clip, a large one only its rough layout (SDEdit, Meng 2022)

Noise from s back to t is the forward process between two times (Ho 2020 eq. 2):

    x_t = r x_s + sqrt(sigma_t^2 - r^2 sigma_s^2) eps,     r = alpha_t / alpha_s
"""
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from minidiff.data.media import NotebookVideo
from minidiff.denoiser import DenoiseFn
from minidiff.pipeline import GeneratedVideo, Pipeline
from minidiff.runtime.checks import check, number, whole
from minidiff.runtime.precision import autocast
from minidiff.samplers import SAMPLERS, State, check_inputs, ddim_step, sampler
from minidiff.schedules import Schedule, add_noise, append_dims


def noise_again(schedule: Schedule, x: Tensor, s: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """From x_s back to x_t, t >= s, with new noise like x: the forward process from s on."""
    (a_t, s_t), (a_s, s_s) = schedule(append_dims(t, x)), schedule(append_dims(s, x))
    ratio = a_t / a_s
    std = (s_t**2 - (ratio * s_s)**2).clamp(min=0).sqrt()
    return (ratio.to(x) * x + std.to(x) * noise).to(x.dtype)


def repaint(repeats: int = 5) -> Callable[..., Iterator[State]]:
    """A sampler that makes every step of `ddpm` `repeats` times, with new noise between.

    Lugmayr 2022 algorithm 1 with jumps of one step. Its effect is on given pixels' surroundings:
    in one pass they are decided before the network saw what they should fit. The last step is made
    once. Raises ValueError unless repeats is a whole number from 1 up.
    """
    check("repeats", repeats, whole(1, 1000))

    @sampler(calls_per_step=repeats)
    def back_and_forth(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor,
                       randn_like: Callable[[Tensor], Tensor] = torch.randn_like,
                       ) -> Iterator[State]:
        denoise, ts = check_inputs(denoise, x, ts)
        for t, s in pairwise(ts):
            for again in reversed(range(repeats if s > 0 else 1)):
                x0 = denoise(x, t)
                yield State(t, x, x0)
                x = ddim_step(schedule, x, x0, t, s, 1.0, randn_like)
                if again:
                    x = noise_again(schedule, x, s, t, randn_like(x))
        yield State(s, x, x)
    back_and_forth.stochastic = True
    return back_and_forth


def from_clip(clip: Tensor, t0: float, then: str = "ddpm") -> Callable[..., Iterator[State]]:
    """A sampler that begins at t0 with a noised clip, in place of noise at t = 1, and goes on.

    clip: (T, C, H, W), or one for each sample, as the model works on them: in [-1, 1], or latents.
    then: the sampler's name, which makes the steps below t0. Raises ValueError for a t0 outside
    (0, 1] or, when called, for a clip of another shape.
    """
    check("t0", t0, number(0, 1, without_low=True))
    go_on = SAMPLERS[then]

    @sampler(calls_per_step=go_on.calls_per_step)
    def edit_steps(denoise: DenoiseFn, schedule: Schedule, x: Tensor, ts: Tensor,
                   **options) -> Iterator[State]:
        denoise, ts = check_inputs(denoise, x, ts)
        try:
            start = torch.as_tensor(clip, device=x.device, dtype=x.dtype).expand_as(x)
        except RuntimeError:
            raise ValueError(f"The clip to begin with must have the shape {tuple(x.shape[1:])}, "
                             f"got {tuple(clip.shape)}.") from None
        x = add_noise(schedule, start, x, t0)
        below = torch.cat([torch.tensor([t0], dtype=ts.dtype), ts[ts < t0]])
        yield from go_on(denoise, schedule, x, below, **options)
    edit_steps.stochastic = go_on.stochastic
    return edit_steps


def redraw(model: Pipeline, clip: Tensor | NotebookVideo, t0: float, prompt=None,
           **settings) -> GeneratedVideo:
    """SDEdit: the model's version of clips, with another class, prompt or style (Meng 2022).

    clip: a video, or clips (N, T, C, H, W) in [-1, 1]; a latent model encodes them first. prompt
    and settings: as for the pipeline. t0: how much is made anew, in (0, 1]; of built-in
    digits that mmnist32 redraws as others, half are lost at about .45, half are new at .62 and half
    of the paths are lost at .73 (chapter 10). Raises ValueError as the pipeline, and for clips that
    do not fit.
    """
    x = 2 * clip.clips - 1 if isinstance(clip, NotebookVideo) else torch.as_tensor(clip)
    x = x[None] if x.ndim == 4 else x
    if x.ndim != 5 or not x.is_floating_point() or not (x.abs() <= 1).all():
        raise ValueError("Give clips (N, T, C, H, W), floats in [-1, 1], or a video; got "
                         f"{tuple(x.shape)} of {x.dtype}.")
    n = len(x)
    if model.vae is not None:
        with torch.no_grad(), autocast(model.device):
            x = model.vae.encode(x.to(model.device)).float()
    then = settings.pop("sampler", None) or model.sampling["sampler"]
    chosen = {} if "labels" in settings or isinstance(prompt, list | tuple) else {"n": n}
    return model(prompt, sampler=from_clip(x, t0, then), batch=n, **chosen, **settings)
