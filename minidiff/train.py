"""Training as a generator: it yields one `Record` a step; the caller plots, saves and stops.

Each step draws its times, noise and dropped conditions from (seed, step) alone. So a run that was
stopped and resumed equals one that was not, bit for bit (on one machine, with one number of
threads). This file imports no network: `train` takes any `Denoiser` or, with another `objective`,
any module.

Papers: logit-normal times (Esser 2024 section 3.1), condition drop (Ho 2022 algorithm 1), EMA of
weights (Karras 2022 appendix F).
"""
import copy
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.runtime import files, muon
from minidiff.runtime.distributed import all_reduce_mean, sharded_draw
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.schedules import append_dims, shift_times

MIN_SIGMA = 0.3                                     # errors at less noise weigh as much as here


class Record(NamedTuple):
    """One step: its number (from 1), mean loss, gradient norm before clipping, learning rate."""
    step: int
    loss: float
    grad_norm: float
    lr: float


class EMA:
    """An exponential moving average of a module's weights; `model` is the averaged copy.

    The decay is ramped up: min(decay, (1 + step) / (10 + step)), so that early weights, which are
    bad, are forgotten quickly. Buffers are copied, not averaged. Raises ValueError unless
    0 <= decay < 1.
    """

    def __init__(self, module: nn.Module, decay: float = 0.998):
        if not 0 <= decay < 1:
            raise ValueError(f"The decay of an average must be from 0 to below 1, got {decay!r}.")
        self.decay, self.step = decay, 0
        self.model = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        self.step += 1
        new = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.model.parameters()), list(module.parameters()), new)
        for averaged, buffer in zip(self.model.buffers(), module.buffers(), strict=True):
            averaged.copy_(buffer)


class TrainState:
    """Everything that a training keeps between steps: model, EMA, optimisers, number of steps done.

    model: a `Denoiser`, or any module that the objective can evaluate.
    lr: the largest learning rate; ema: the decay of the averaged weights.
    notes: anything that JSON can hold; it is saved with the rest.
    """

    def __init__(self, model: nn.Module, lr: float = 3e-3, ema: float = 0.998,
                 weight_decay: float = 0.01, **notes):
        self.model, self.ema = model, EMA(model, ema)
        self.lr, self.step, self.notes = lr, 0, notes
        model.to(memory_format=torch.channels_last)
        matrices, others = muon.split_parameters(model)
        adamw = dict(lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
        self.optimizers = [muon.Muon(matrices, lr, weight_decay=weight_decay)] if matrices else []
        self.optimizers += [torch.optim.AdamW(others, **adamw)] if others else []

    def save(self, path: Path) -> None:
        """Write everything to one file, whole or not at all."""
        metadata = {"step": self.step, "notes": self.notes, "threads": torch.get_num_threads()}
        files.save_tensors(path, self.tensors(), metadata)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises ValueError that names the file if it is damaged, of another network or no training.
        """
        tensors, saved = files.load_tensors(path)
        wrong = [k for k in ("step", "threads") if type(saved.get(k)) is not int or saved[k] < 0]
        if wrong or "notes" not in saved:
            raise ValueError(f"{path} holds no training that could be resumed: "
                             f"its {(wrong or ['notes'])[0]} is missing or no number.")
        self.restore(tensors, saved["step"], path)
        if saved["threads"] != torch.get_num_threads():
            warnings.warn(f"{path} was trained with {saved['threads']} threads, now there are "
                          f"{torch.get_num_threads()}: the last bits will differ from those of an "
                          "uninterrupted training.", stacklevel=2)
        self.notes = saved["notes"]

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs, by name: weights, averages and the optimisers' momenta."""
        tensors = {f"model.{k}": v for k, v in files.module_weights(self.model).items()}
        tensors |= {f"ema.{k}": v for k, v in files.module_weights(self.ema.model).items()}
        for _, i, state in self.optimizer_states():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        for name, part in self.parts().items():
            tensors |= {f"{name}.{k}": v for k, v in part.tensors().items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], step: int, path: Path) -> None:
        """Take over what `tensors` gave after so many steps. Raises ValueError as `load`."""
        files.load_weights(self.model, strip_prefix("model", tensors), path)
        files.load_weights(self.ema.model, strip_prefix("ema", tensors), path)
        for p, i, state in self.optimizer_states():            # laid out in memory as the weight is
            for name, value in strip_prefix(f"optimizer.{i}", tensors).items():
                if value.ndim and value.shape != p.shape:
                    raise ValueError(f"{path} holds another network: an optimiser's {name} has the "
                                     f"shape {tuple(value.shape)}, its weight {tuple(p.shape)}.")
                state[name] = torch.empty_like(p).copy_(value) if value.ndim else value
        for name, part in self.parts().items():
            part.restore(strip_prefix(name, tensors), step, path)
        self.step = self.ema.step = step

    def parts(self) -> dict[str, "TrainState"]:
        """States of other networks by name, which are saved with this one: none, here."""
        return {}

    def optimizer_states(self) -> Iterator[tuple[nn.Parameter, int, dict]]:
        """Every parameter with its number and its optimiser's state (momentum and the like)."""
        owned = [(p, o.state) for o in self.optimizers
                 for group in o.param_groups for p in group["params"]]
        return ((p, i, state[p]) for i, (p, state) in enumerate(owned))


def strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, under the rest of their names."""
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


Objective = Callable[[nn.Module, Tensor, Tensor | None, torch.Generator], Tensor]


def denoising_objective(null=None, p_drop: float = 0.1, times: str = "logit-normal",
                        shift: float = 1.0) -> Objective:
    """The objective of diffusion, `(denoiser, x0, cond, generator) -> losses (B,)`.

    null: the null condition; it replaces each sample's condition with probability p_drop.
    times, shift: as for `sample_timesteps`.
    """
    def objective(denoiser: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        cond = drop_conditions(cond, null, p_drop, g)
        t = draw_times(len(x0), g, times, shift)
        return denoiser.loss(x0, cond, t, draw_noise(x0, g))
    return objective


def weighted_error(student: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None,
                   goal: Tensor, **more) -> Tensor:
    """The mean squared error of the student's guess, over max(sigma_t, .3)^2: (B,).

    more: what else the student takes, a second time for example.
    """
    sigma = student.schedule(append_dims(t, x_t))[1].clamp(min=MIN_SIGMA).to(x_t)
    return ((student(x_t, t, cond, **more) - goal) / sigma).square().flatten(1).mean(1)


def draw_times(n: int, g: torch.Generator, kind: str = "logit-normal",
               shift: float = 1.0) -> Tensor:
    """`sample_timesteps` for a batch of n; of several processes, each gets its own rows."""
    return sharded_draw(n, lambda all_n: sample_timesteps(kind, all_n, g, shift))


def draw_noise(x0: Tensor, g: torch.Generator) -> Tensor:
    """Standard normal noise like x0, in float32; of several processes, each gets its own rows."""
    return sharded_draw(len(x0), lambda n: torch.randn(
        n, *x0.shape[1:], generator=g, device=x0.device, dtype=torch.float32))


def draw_integers(n: int, high: int, g: torch.Generator) -> Tensor:
    """(n,) whole numbers below high, on the CPU; of several processes, each gets its own."""
    draw = sharded_draw(n, lambda n: torch.randint(high, (n,), generator=g, device=g.device))
    return draw.cpu()


def train(state: TrainState, batches: Iterable[tuple[Tensor, Tensor | None]], steps: int,
          objective: Objective | None = None, *, seed: int = 0, max_grad_norm: float = 1.0,
          warmup_steps: int = 50, decay_fraction: float = 0.4) -> Iterator[Record]:
    """Train from step `state.step` to step `steps`: one loss, one step of the optimisers at a time.

    A training with two losses or two optimisers in turn, an adversarial one for example, writes its
    own loop in its own file.

    batches: yields (x0, cond), beginning with the batch for `state.step`; with several processes
    (`runtime.distributed`) each process gets its own rows.
    objective: gives the loss of each sample; `denoising_objective()` unless given.
    The learning rate rises over `warmup_steps` steps and falls to 2 % over the last share
    `decay_fraction` of all steps. Gradients are clipped to the norm `max_grad_norm`. Networks
    compute in bfloat16 if `runtime.precision.has_bf16`.
    Raises FloatingPointError, before the weights change, if the loss or its gradient is not finite,
    and ValueError for unknown times, or if the batches end before the last step.
    """
    model, objective = state.model.train(), objective or denoising_objective()
    device = next(model.parameters()).device
    for x0, cond in islice(batches, max(0, steps - state.step)):
        g = generator("times and noise", seed, state.step, device=device)
        progress = (state.step + 1) / steps
        lr = state.lr * lr_factor(progress, state.step + 1, warmup_steps, decay_fraction)
        x0, cond = x0.to(device), None if cond is None else cond.to(device)
        with autocast(device):
            loss = objective(model, x0, cond, g).mean()
        value, norm = backward(state, loss, max_grad_norm)
        with defer_interrupts() as pressed:
            optimizer_step(state, lr)
        yield Record(state.step, value, norm, lr)
        if pressed:
            signal.raise_signal(signal.SIGINT)
    check_all_steps_made(state, steps)


def check_all_steps_made(state: TrainState, steps: int) -> None:
    """Raises ValueError if a training loop's batches ended before its last step."""
    if state.step < steps:
        raise ValueError(f"The batches ended after step {state.step}, but {steps} steps were asked "
                         "for. Give batches that begin again: for example a generator "
                         "`while True: yield from loader`.")


def backward(state: TrainState, loss: Tensor, max_grad_norm: float = 1.0) -> tuple[float, float]:
    """The loss's gradients in the model, those of all processes averaged, then clipped.

    Returns the loss and the gradient's norm before clipping. Raises FloatingPointError unless both
    are finite.
    """
    parameters = list(state.model.parameters())
    state.model.zero_grad()
    loss.backward()
    loss = loss.detach()
    all_reduce_mean([loss, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    value, norm = loss.item(), norm.item()
    check_finite(state.step, value, norm)
    return value, norm


def optimizer_step(state: TrainState, lr: float) -> None:
    """Update weights and averages by the present gradients, and count the step."""
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    state.ema.update(state.model)
    state.step += 1


def check_finite(step: int, loss: float, norm: float) -> None:
    """Raise FloatingPointError if the loss, or its gradient's norm, of a step is not finite."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"Step {step + 1}: the loss is {loss} and its gradient's norm {norm}. "
            f"The weights are still those of step {step}. "
            "Look for NaN in the data, or lower the learning rate.")


@contextmanager
def defer_interrupts() -> Iterator[list]:
    """Ctrl-C waits until the block is done, so that no step or file is half done.

    Each Ctrl-C meanwhile adds an entry to the list that the block gets.
    """
    pressed = []
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def lr_factor(progress: float, step: int, warmup_steps: int = 50,
              decay_fraction: float = 0.4) -> float:
    """The factor of the learning rate: it rises for `warmup_steps` steps, stays at 1, falls to 2 %.

    progress: the share of all steps that is done, in [0, 1]; the factor falls, in a straight line,
    over the last share `decay_fraction`. step: counted from 1.
    """
    rise = min(1.0, step / max(warmup_steps, 1))
    fall = min(1.0, 0.02 + (1 - progress) / max(decay_fraction, 1e-9))
    return rise * fall


def sample_timesteps(kind: str, n: int, g: torch.Generator, shift: float = 1.0) -> Tensor:
    """(n,) times in (0, 1): "uniform", or "logit-normal", which has more times near 1/2.

    Logit-normal times are the sigmoid of a normal variable (Esser 2024 eq. 19). shift > 1 moves
    times towards noise, by the formula of `schedules.timesteps`: large images and latents need
    stronger noise to hide the same content. Raises ValueError for another kind.
    """
    if kind == "uniform":
        t = torch.rand(n, generator=g, device=g.device, dtype=torch.float32)
    elif kind == "logit-normal":
        t = torch.randn(n, generator=g, device=g.device, dtype=torch.float32).sigmoid()
    else:
        raise ValueError(f"Unknown times {kind!r}; choose logit-normal or uniform.")
    return shift_times(t, shift)


def drop_conditions(cond: Tensor | None, null, p: float, g: torch.Generator) -> Tensor | None:
    """The conditions, each replaced by the null condition with probability p, sample by sample."""
    if cond is None:
        return None
    cond = cond.to(g.device)
    if null is None or p == 0:
        return cond
    draws = sharded_draw(len(cond), lambda n: torch.rand(n, generator=g, device=g.device,
                                                         dtype=torch.float32))
    null = torch.as_tensor(null, dtype=cond.dtype, device=cond.device)
    return torch.where(append_dims(draws < p, cond), null, cond)


def steps_within(seconds: float, state: TrainState, batches: Iterable,
                 loop: Callable[..., Iterator[Record]] = train, timed_steps: int = 8,
                 **settings) -> int:
    """How many training steps fit into `seconds` on this machine.

    By the median duration of `timed_steps` steps, after three to warm up, on a copy of the state.
    loop: `train`, or another generator with its arguments; settings: what else it takes.
    """
    records = loop(copy.deepcopy(state), batches, state.step + 3 + timed_steps, **settings)
    return max(1, round(seconds / median_duration(records, warm_up=3)))


def median_duration(steps: Iterable, warm_up: int,
                    clock: Callable[[], float] | None = None) -> float:
    """The median time of an iterable's items, in seconds of the clock, but for the first few.

    clock: `time.process_time` counts the processor's time only. Raises ValueError if no item is
    left to be timed.
    """
    clock = clock or time.perf_counter
    durations, began = [], clock()
    for _ in steps:
        durations.append(clock() - began)
        began = clock()
    if len(durations) <= warm_up:
        raise ValueError(f"Timing needs more than {warm_up} steps: as many to warm up, "
                         f"and one to time; there were {len(durations)}.")
    return median(durations[warm_up:])
