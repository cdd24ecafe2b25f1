"""Training as a generator: one `Record` a step; the caller draws, saves, stops.

Each step draws its times, noise and dropped conditions from (seed, step) alone, so a run that was
stopped and resumed equals one that was not, bit for bit (on one machine, with one number of
threads). It imports no model: any `Denoiser` trains here, and by another `objective` anything else.

Papers: logit-normal times (Esser 2024 section 3.1), condition drop (Ho 2022 algorithm 1), EMA of
weights (Karras 2022 appendix F).
"""
import copy
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.runtime import files, muon
from minidiff.runtime.distributed import all_reduce_mean, sharded_draw
from minidiff.runtime.precision import autocast
from minidiff.runtime.seeds import generator
from minidiff.schedules import append_dims


class Record(NamedTuple):
    """What a step did: number from 1, mean loss, gradient norm before clipping, learning rate."""
    step: int
    loss: float
    grad_norm: float
    lr: float


class EMA:
    """An exponential moving average of a module's weights; `model` is the averaged copy.

    Ramped up: decay = min(decay, (1 + step) / (10 + step)). Buffers are copied, not averaged.
    """

    def __init__(self, module: nn.Module, decay: float = 0.998):
        self.decay, self.step = decay, 0
        self.model = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.step += 1
        new = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.model.parameters()), list(module.parameters()), new)
        for mine, its in zip(self.model.buffers(), module.buffers(), strict=True):
            mine.copy_(its)


class TrainState:
    """All that a training remembers between steps: model, EMA, optimisers, steps done.

    model: a `Denoiser`, or any module that the training's objective knows. `notes` (anything JSON
    can hold) travel with it on disk.
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
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
        for _, i, state in self.optimizer_states():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        about = {"step": self.step, "notes": self.notes, "threads": torch.get_num_threads()}
        files.save_tensors(path, tensors, about)

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote.

        Raises ValueError that names a damaged file, or one of another network.
        """
        tensors, saved = files.load_tensors(path)
        files.load_weights(self.model, strip_prefix("model", tensors), path)
        files.load_weights(self.ema.model, strip_prefix("ema", tensors), path)
        for p, i, state in self.optimizer_states():            # laid out in memory as the weight is
            for name, value in strip_prefix(f"optimizer.{i}", tensors).items():
                state[name] = torch.empty_like(p).copy_(value) if value.shape == p.shape else value
        if saved["threads"] != torch.get_num_threads():
            warnings.warn(f"{path} was trained with {saved['threads']} threads, now there are "
                          f"{torch.get_num_threads()}: the last bits will differ.", stacklevel=2)
        self.step = self.ema.step = saved["step"]
        self.notes = saved["notes"]

    def optimizer_states(self) -> Iterator[tuple[nn.Parameter, int, dict]]:
        """Every parameter with a number and what its optimiser remembers of it."""
        owned = [(p, o.state) for o in self.optimizers
                 for group in o.param_groups for p in group["params"]]
        return ((p, i, state[p]) for i, (p, state) in enumerate(owned))


def strip_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `name.`, without it."""
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


Objective = Callable[[nn.Module, Tensor, Tensor | None, torch.Generator], Tensor]


def denoising_objective(null=None, p_drop: float = 0.1, times: str = "logit-normal",
              shift: float = 1.0) -> Objective:
    """The objective of diffusion, `(denoiser, x0, cond, generator) -> losses (B,)`.

    null: the null condition; each sample's condition becomes it with probability p_drop.
    times, shift: as for `sample_timesteps`.
    """
    def objective(denoiser: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        cond = drop_conditions(cond, null, p_drop, g)
        t = sharded_draw(len(x0), lambda n: sample_timesteps(times, n, g, shift))
        noise = sharded_draw(len(x0), lambda n: torch.randn(n, *x0.shape[1:], generator=g,
                                                     device=x0.device))
        return denoiser.loss(x0, cond, t, noise)
    return objective


def train(state: TrainState, batches: Iterable[tuple[Tensor, Tensor | None]], steps: int,
          objective: Objective | None = None, *, seed: int = 0, max_grad_norm: float = 1.0,
          warmup_steps: int = 50, decay_fraction: float = 0.4) -> Iterator[Record]:
    """Train from step `run.step` to step `steps`.

    batches: yields (x0, cond), beginning with the one for `run.step`; of several processes
    (`distributed`) each gets its rows.
    objective: the loss of each sample, `denoising_objective()` unless given.
    The learning rate rises over `warmup` steps and falls to 2 % over the last share `decay` of
    them. Gradients are clipped to norm `clip`; autocast to bfloat16 where the device is made for
    it. Raises FloatingPointError, before the weights change, if the loss or its gradient is not
    finite, and ValueError for unknown times.
    """
    model, objective = state.model.train(), objective or denoising_objective()
    device = next(model.parameters()).device
    for x0, cond in batches:
        if state.step >= steps:
            break
        g = generator("times and noise", seed, state.step, device=device)
        lr = state.lr * lr_factor((state.step + 1) / steps, state.step + 1, warmup_steps, decay_fraction)
        for group in (group for optimizer in state.optimizers for group in optimizer.param_groups):
            group["lr"] = lr
        with autocast(device):
            loss = objective(model, x0.to(device), cond, g).mean()
        model.zero_grad()
        loss.backward()
        loss = loss.detach()
        all_reduce_mean([loss, *(p.grad for p in model.parameters() if p.grad is not None)])
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        value, norm = loss.item(), norm.item()
        if not (abs(value) < float("inf") and norm < float("inf")):
            raise FloatingPointError(
                f"Step {state.step + 1}: the loss is {value} and its gradient's norm {norm}. "
                f"The weights are still those of step {state.step}. "
                "Look for NaN in the data, or lower the learning rate.")
        with defer_interrupts() as pressed:
            for optimizer in state.optimizers:
                optimizer.step()
            state.ema.update(model)
            state.step += 1
        yield Record(state.step, value, norm, lr)
        if pressed:
            raise KeyboardInterrupt


@contextmanager
def defer_interrupts() -> Iterator[list]:
    """Ctrl-C waits: no step is ever half done. It is in the list afterwards if it was pressed."""
    pressed = []
    if threading.current_thread() is not threading.main_thread():                # gets no signals
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def lr_factor(progress: float, step: int, warmup_steps: int, decay_fraction: float) -> float:
    """The learning rate's factor: up over `warmup` steps, level, then straight down to 2 %.

    The way down is the last share `decay` of the steps.
    """
    return min(1.0, step / max(warmup_steps, 1)) * min(1.0, 0.02 + (1 - progress) / max(decay_fraction, 1e-9))


def sample_timesteps(kind: str, n: int, g: torch.Generator, shift: float = 1.0) -> Tensor:
    """(n,) times in (0, 1): "uniform", or "logit-normal", which spends more on the middle.

    That is the sigmoid of a normal variable (Esser 2024 eq. 19). shift > 1 moves them towards
    noise, as `schedules.timesteps` moves a sampler's: where much data shows one thing, it shows
    through strong noise. Raises ValueError for another kind.
    """
    if kind == "uniform":
        t = torch.rand(n, generator=g, device=g.device)
    elif kind == "logit-normal":
        t = torch.randn(n, generator=g, device=g.device).sigmoid()
    else:
        raise ValueError(f"Unknown times {kind!r}; choose logit-normal or uniform.")
    return shift * t / (1 + (shift - 1) * t)


def drop_conditions(cond: Tensor | None, null, p: float, g: torch.Generator) -> Tensor | None:
    """The conditions, each replaced by the null one with probability p, sample by sample."""
    if cond is None:
        return None
    cond = cond.to(g.device)
    if null is None or p == 0:
        return cond
    gone = sharded_draw(len(cond), lambda n: torch.rand(n, generator=g, device=g.device)) < p
    null = torch.as_tensor(null, dtype=cond.dtype, device=cond.device)
    return torch.where(append_dims(gone, cond), null, cond)


def steps_within(seconds: float, state: TrainState, batches: Iterable, objective: Objective | None = None,
                 timed_steps: int = 8, **settings) -> int:
    """How many training steps fit into `seconds` here, by the median of a few on a warm copy."""
    trial, took = copy.deepcopy(state), []
    began = time.perf_counter()
    for _ in train(trial, batches, state.step + 3 + timed_steps, objective, **settings):
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
    each = sorted(took[3:])[len(took[3:]) // 2]
    return max(1, round(seconds / each))
