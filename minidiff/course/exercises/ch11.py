"""Chapter 11, control and adapters: the student's exercises and the inputs of their checks."""
import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, product

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.course.exercises.ch09 import shrink
from minidiff.data import digits
from minidiff.data.digits import Digits
from minidiff.data.media import to_unit
from minidiff.data.moving_mnist import moving_mnist
from minidiff.data.strokes import strokes
from minidiff.denoiser import Denoiser
from minidiff.evaluation.digit_classifier import classifier_batch, load_digit_classifier
from minidiff.evaluation.tracking import crop_windows, ink_centres
from minidiff.extensions.control import ControlUNet
from minidiff.extensions.lora import AdaptedUNet
from minidiff.pipeline import Pipeline
from minidiff.runtime import files
from minidiff.runtime.seeds import generator

DTYPES = torch.float32, torch.float64
LETTER, READER_LETTER = 10, 11              # the letter's class in a model, and in the reader


# The student's functions inside the package's networks

class YourControl(ControlUNet):
    """The package's branch, whose features are added by the student's function."""

    def add(self, h: Tensor, found: Tensor, zero: nn.Conv2d, strength: Tensor | None) -> Tensor:
        """What the branch adds, by the student's function `yours`."""
        strength = torch.ones(1, device=h.device) if strength is None else strength
        return self.yours(h, found, zero.weight, zero.bias, strength)


def branch_on(base: Pipeline, add_control: Callable) -> Denoiser:
    """A new branch on a frozen base; what it finds is added by the student's function."""
    net = YourControl(**base.recipe.model["net"])
    net.yours = add_control
    files.load_into_larger(net, files.module_weights(base.denoiser.net))
    net.begin_from_base()
    return Denoiser(net, base.denoiser.schedule, base.denoiser.prediction).to(base.device)


def open_zeros(denoiser: Denoiser, std: float) -> Denoiser:
    """A copy of a denoiser with a branch whose zero convolutions hold random numbers instead."""
    opened, g = copy.deepcopy(denoiser), torch.Generator().manual_seed(0)
    branch = opened.net.branch
    for conv in (branch.hint_in, branch.to_middle, *branch.to_skips):
        with torch.no_grad():
            conv.weight.copy_(std * torch.randn(conv.weight.shape, generator=g))
    return opened


class YourAdapters(AdaptedUNet):
    """The package's adapters on a frozen U-Net, merged by the student's function."""

    def adapted_weights(self) -> dict[str, Tensor]:
        """The base's weights with all adapters, by the student's function `yours`."""
        weights = dict(self.base.named_parameters())
        for name in next(iter(self.adapters.values())).shapes:
            key = name.replace(".", "-")
            weights[name] = self.yours(weights[name], [
                (self.weights[n], adapter.a[key], adapter.b[key])
                for n, adapter in self.adapters.items()])
        return self.with_new_classes(weights)


def adapter_on(base: Pipeline, merged: Callable, rank: int) -> Denoiser:
    """A new adapter of this rank on a frozen base, with one class more, for the letter."""
    settings = base.recipe.model["net"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = YourAdapters({"letter": 1}, rank, **settings | {"classes": settings["classes"] + 1})
    net.yours = merged
    files.load_into_larger(net, net.from_base(files.module_weights(base.denoiser.net)))
    return Denoiser(net, base.denoiser.schedule, base.denoiser.prediction).to(base.device)


def all_weights_on(base: Pipeline) -> Denoiser:
    """A copy of the base with one class more, all of whose weights learn: the control."""
    net = copy.deepcopy(adapter_on(base, AdaptedUNet, 1).net.base).requires_grad_(True)
    with torch.no_grad():                            # a new row as an adapter begins it: small
        net.class_embedding.weight[LETTER].normal_(
            0, 0.02, generator=torch.Generator().manual_seed(0))
    return Denoiser(net, base.denoiser.schedule, base.denoiser.prediction).to(base.device)


def with_adapters(models: Sequence[Pipeline], scales: Sequence[float],
                  merged: Callable) -> Pipeline:
    """One plain network with the adapters of several models of one base, by the student's function.

    Its classes are those of the first model.
    """
    first = models[0].denoiser
    net, old = first.net.merged(), dict(first.net.base.named_parameters())
    adapters = [(scale, adapter) for scale, model in zip(scales, models, strict=True)
                for adapter in model.denoiser.net.adapters.values()]
    for name in adapters[0][1].shapes:
        key = name.replace(".", "-")
        new = merged(old[name], [(scale, a.a[key], a.b[key]) for scale, a in adapters])
        net.get_parameter(name).data.copy_(new.detach())
    return Pipeline(Denoiser(net, first.schedule, first.prediction), models[0].metadata)


def trainable(denoiser: nn.Module) -> int:
    """How many numbers a training may change."""
    return sum(p.numel() for p in denoiser.parameters() if p.requires_grad)


def gradient_norms(denoiser: Denoiser) -> dict[str, float]:
    """The norm of the loss's gradient in each part of a branch."""
    parts = {"the ways out (zero)": ("to_skips", "to_middle"), "the copied way down": (
        "down", "downsample", "middle"), "the hint's way in (zero)": ("hint_in",)}
    norms = {}
    for name, modules in parts.items():
        grads = [p.grad for m in modules for p in getattr(denoiser.net.branch, m).parameters()]
        norms[name] = sum(g.square().sum().item() for g in grads if g is not None)**0.5
    return norms


# Clips of the chapter

def new_clips(sheet: Digits, batch: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of clips of the new shape, 32x32, with its class (B,)."""
    for k in count():
        clips = moving_mnist(sheet, batch, seed=seed, step=k, pairs="all")
        yield clips.x, clips.labels[:, 0]


def flights(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Paths (n, 8, 2) as digits of the training fly, and labels (n,) 0, 1, 2, ... in turn."""
    labels = torch.arange(n) % 10
    clips = moving_mnist(digits.load("builtin", "test", 500), n, labels=labels, pairs="all",
                         seed=seed)
    return clips.positions[:, :, 0], labels


def shapes() -> dict[str, Tensor]:
    """Paths (8, 2), (y, x) in pixels of 32, as one could draw them."""
    k = torch.arange(8.0)
    angle = 2 * torch.pi * k / 8
    return {"circle": torch.stack([16 - 3.9 * angle.cos(), 16 + 3.9 * angle.sin()], -1),
            "zigzag": torch.stack([14 + 1.8 * (k % 4 - 2).abs(), 7.5 + 2.4 * k], -1),
            "turn": torch.stack([8 + 2.6 * k.clamp(max=4), 9 + 2.6 * (k - 4).clamp(min=0)], -1),
            "stand": torch.tensor([[20.0, 10.0]]).expand(8, 2),
            "down": torch.stack([8 + 2.2 * k, 22 + 0 * k], -1),
            "there and back": torch.stack([20 + 0 * k, 9 + 2.8 * (4 - (k - 4).abs())], -1)}


# A reader of the letter

def drawings(table: str, n: int, seed: int = 0, label: int = LETTER) -> Digits:
    """n drawings of one new shape from its table of pen paths, as in `strokes.LETTERS`."""
    images, _ = strokes(n, seed=2000 + seed, table=table)
    return Digits(images, torch.full((n,), label), "a new shape")


def reader_of(table: str, steps: int) -> nn.Module:
    """The scoreboard's digit classifier with one class more, trained on drawings by other hands.

    table: the new shape's. Classes: ten digits, 10 junk, 11 the new shape.
    """
    old, new = digits.built_in("val", 1600), drawings(table, 400, 1, READER_LETTER)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    sheet = Digits(torch.cat([old.images, new.images])[order],
                   torch.cat([old.labels, new.labels])[order])
    net = copy.deepcopy(load_digit_classifier()[0])
    weight, bias = net.read.weight, net.read.bias
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net.read = nn.Linear(weight.shape[1], READER_LETTER + 1)
    with torch.no_grad():
        net.read.weight[:-1], net.read.bias[:-1] = weight, bias
    optimizer, g = torch.optim.AdamW(net.requires_grad_(True).parameters(), 1e-3), generator(
        "reader", 0)
    for _ in range(steps):
        windows, labels = classifier_batch(sheet, g, 64)
        optimizer.zero_grad()
        cross_entropy(net(windows)[0], labels).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
def read_as(reader: nn.Module, clips: Tensor, labels: Tensor) -> Tensor:
    """The share of frames that are read as the class asked for, (n,): clips (n, T, 1, H, W) in
    [-1, 1], classes of the model, 0 to 10.
    """
    frames = to_unit(clips).float().cpu().mean(2).flatten(0, 1)
    read = reader(crop_windows(frames, ink_centres(frames, 14)[0], 14))[0].argmax(-1)
    wanted = labels.cpu() + (labels.cpu() == LETTER)                             # 10 is junk there
    return (read.unflatten(0, clips.shape[:2]) == wanted[:, None]).float().mean(1)


# The exact change of a linear denoiser

def clip_covariance(frames: int, rho: float, brightness: float = 0.0) -> Tensor:
    """The covariance (T, T) of AR(1) clips, perhaps of varying brightness: the same in all frames.
    """
    k = torch.arange(frames, dtype=torch.float64)
    return rho ** (k[:, None] - k).abs() + brightness * torch.ones(frames, frames).double()


def best_guess(covariance: Tensor, t: float) -> Tensor:
    """The matrix (T, T) of the exact denoiser of Gaussian clips at time t of Flow: x_t -> x0."""
    noisy = (1 - t)**2 * covariance + t**2 * torch.eye(len(covariance)).double()
    return torch.linalg.solve(noisy, (1 - t) * covariance).T


def inputs_of(covariance: Tensor, t: float) -> Tensor:
    """Rows (T, T) with exactly the covariance of noised clips: a batch that has no chance in it."""
    noisy = (1 - t)**2 * covariance + t**2 * torch.eye(len(covariance)).double()
    variances, axes = torch.linalg.eigh(noisy)
    return len(noisy)**0.5 * (axes * variances.sqrt()) @ axes.T


def strengths_of_change(old: Tensor, new: Tensor, t: float) -> Tensor:
    """The singular values (T,) of what a linear denoiser has to change, as its error weighs it."""
    change = best_guess(new, t) - best_guess(old, t)
    return torch.linalg.svdvals(change @ inputs_of(new, t) / len(new)**0.5)


def left_by_adapter(lora_forward: Callable, old: Tensor, new: Tensor, t: float, rank: int,
                    steps: int) -> float:
    """The share of the excess error that a trained adapter of this rank leaves."""
    x, weight = inputs_of(new, t), best_guess(old, t)
    goal, g = x @ best_guess(new, t).T, torch.Generator().manual_seed(rank)
    a = (torch.randn(rank, len(new), generator=g, dtype=torch.float64) / len(new)**0.5)
    a, b = a.requires_grad_(), torch.zeros(len(new), rank, dtype=torch.float64, requires_grad=True)
    excess = (x @ weight.T - goal).square().mean()
    optimizer = torch.optim.Adam([a, b], 0.03)
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - k / steps)
        loss = (lora_forward(x, weight, a, b, 1.0) - goal).square().mean() / excess
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


# The bug hunt's

def colleagues_hint(path: Tensor) -> Tensor:
    """The colleague's hint for paths (N, T, 2) in frames of 32 pixels."""
    at = torch.arange(32) + 0.5
    x, y = (torch.exp(-(at - p[..., None]).square() / 4.5) for p in path.unbind(-1))
    return (y[..., :, None] * x[..., None, :]).unsqueeze(-3)


# Cases

def branch_cases() -> list[Case]:
    """Folded frames of several clips, each with a strength of its own."""
    cases = []
    for seed, ((B, T, C, H, W), dtype) in enumerate(product(
            ((2, 3, 4, 2, 3), (3, 2, 2, 3, 1), (1, 4, 3, 2, 2)), DTYPES)):
        skip, found = (seeded_randn(seed + k, B * T, C, H, W, dtype=dtype) for k in (0, 20))
        weight, bias = (seeded_randn(seed + 40, C, C, 1, 1, dtype=dtype),
                        seeded_randn(seed + 60, C, dtype=dtype))
        strength = torch.linspace(0, 1.5, B, dtype=dtype) + 0.3 * (B == 1)
        cases.append(Case(f"{B} clips of {T} frames, {C} channels, {H}x{W}, {dtype_name(dtype)}",
                          (skip, found, weight, bias, strength)))
    skip, found = (seeded_randn(k, 4, 2, 2, 2) for k in (7, 8))
    return [*cases, Case("a convolution of zeros", (skip, found, torch.zeros(2, 2, 1, 1),
                                                    torch.zeros(2), torch.ones(2)))]


def dots_cases() -> list[Case]:
    """Paths inside and outside of frames that are wider than high, one path or several."""
    cases = []
    for seed, ((shape, size, width), dtype) in enumerate(product(
            (((4,), (7, 5), 1.5), ((2, 3), (4, 6), 0.8), ((2, 1, 2), (5, 8), 2.0)), DTYPES)):
        path = 3 + 2 * seeded_randn(seed, *shape, 2, dtype=dtype)
        cases.append(Case(f"path {(*shape, 2)}, frames of {size[0]}x{size[1]}, width {width}, "
                          f"{dtype_name(dtype)}", (path, size, width)))
    return [*cases, Case("a dot in the middle of a pixel", (torch.tensor([[2.5, 1.5]]), (4, 3),
                                                            1.5))]


def centres_cases() -> list[Case]:
    """Clips with much, little and no ink, of one and of three channels."""
    cases = []
    for seed, (shape, dtype) in enumerate(product(
            ((2, 3, 1, 5, 7), (1, 2, 3, 6, 4), (3, 1, 1, 4, 4)), DTYPES)):
        x = seeded_randn(seed, *shape, dtype=dtype).clamp(-1, 1)
        cases.append(Case(f"clips {shape}, {dtype_name(dtype)}", (x,)))
    faint = torch.full((1, 2, 1, 4, 6), -0.9, dtype=torch.float64)
    faint[0, 0, 0, 1, 4], faint[0, 0, 0, 2, 3] = 0.6, -0.4
    return [*cases, Case("two inked pixels on a faint background, and a frame without ink",
                         (faint,))]


def lora_cases() -> list[Case]:
    """Rows, or rows in clips, through a layer with another number of outputs than inputs."""
    cases = []
    for seed, ((shape, inputs, outputs, rank), dtype) in enumerate(product(
            (((3,), 5, 4, 2), ((2, 3), 4, 6, 1), ((2,), 6, 3, 4)), DTYPES)):
        x, weight, a, b = (seeded_randn(seed + 20 * k, *size, dtype=dtype) for k, size in enumerate(
            ((*shape, inputs), (outputs, inputs), (rank, inputs), (outputs, rank))))
        scale = (0.7, 1.0, -0.5)[seed // 2]
        cases.append(Case(f"x {tuple(x.shape)}, {inputs} to {outputs}, rank {rank}, scale {scale}, "
                          f"{dtype_name(dtype)}", (x, weight, a, b, scale)))
    return cases


def merge_cases() -> list[Case]:
    """Linear layers and convolutions with none, one and several adapters of different ranks."""
    cases = []
    sets = ((0.7, 2),), ((1.0, 1), (-0.6, 3)), ((0.5, 4), (0.0, 1), (2.0, 2))
    shapes = (4, 5), (3, 2, 3, 3), (5, 2, 3)
    for seed, ((shape, adapters), dtype) in enumerate(product(zip(shapes, sets, strict=True),
                                                              DTYPES)):
        inputs = torch.Size(shape[1:]).numel()
        given = [(scale, seeded_randn(seed + 30 + k, rank, inputs, dtype=dtype),
                  seeded_randn(seed + 60 + k, shape[0], rank, dtype=dtype))
                 for k, (scale, rank) in enumerate(adapters)]
        cases.append(Case(f"a weight {shape}, {len(given)} adapter{'s' * (len(given) > 1)}, "
                          f"{dtype_name(dtype)}", (seeded_randn(seed, *shape, dtype=dtype), given)))
    return [*cases, Case("no adapter", (seeded_randn(9, 3, 4), []))]


def stand_in_losses(x0: Tensor, cond: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """A stand-in for a model's loss of each clip, which depends on its condition."""
    t = 0.1 + cond.to(x0).view(-1, *[1] * (x0.ndim - 1)) / 20
    return (shrink(x0, t, weight) - 0.3 * t).square().flatten(1).mean(1)


def prior_cases() -> list[Case]:
    """More new clips than old ones, fewer, and as many."""
    cases = []
    for seed, ((n, m, shape, weight), dtype) in enumerate(product(
            ((3, 2, (4,), 1.0), (2, 4, (2, 1, 3, 2), 0.5), (2, 2, (3, 2), 2.0)), DTYPES)):
        new, old = (seeded_randn(seed + k, size, *shape, dtype=dtype)
                    for k, size in ((0, n), (40, m)))
        cases.append(Case(f"{n} new clips, {m} old ones, weight {weight}, {dtype_name(dtype)}",
                          (partial(stand_in_losses, weight=torch.tensor(1.0)),
                           (new, torch.full((n,), LETTER)), (2 * old, torch.arange(m)), weight)))
    return cases


EXERCISES = (
    Exercise(
        "c11-branch", "add_control", "A branch that begins as nothing", 2, 10, 2,
        ("The base's features stay as they are. What the branch found goes through the "
         "convolution, times the strength of its clip, and is added.",
         "F.conv2d(found, weight, bias) is the convolution. Frames are folded: the T frames of "
         "clip 0, then those of clip 1; so each strength is repeated T times, and T = len(skip) // "
         "len(strength).",
         "factor = strength.repeat_interleave(len(skip) // len(strength)).view(-1, 1, 1, 1); "
         "return skip + factor * F.conv2d(found, weight, bias)."),
        branch_cases, ("minidiff.extensions.control.ControlUNet.add",)),
    Exercise(
        "c11-dots", "dots", "A dot for each frame", 2, 10, 2,
        ("How bright a pixel is depends on how far its middle is from the place: exp(-distance^2 / "
         "(2 width^2)).",
         "The middles of the rows are at torch.arange(H) + 0.5. Their distances from path[..., :1] "
         "are (..., T, H), those of the columns from path[..., 1:] are (..., T, W). Squared and "
         "added, with one new axis each, they are (..., T, H, W).",
         "y = torch.arange(size[0]) + 0.5 - path[..., :1]; x = torch.arange(size[1]) + 0.5 - "
         "path[..., 1:]; far = y.square()[..., :, None] + x.square()[..., None, :]; return "
         "torch.exp(-far / (2 * width**2)).unsqueeze(-3). On a GPU, arange needs "
         "device=path.device."),
        dots_cases, ("minidiff.extensions.control.dots",), gradients=False),
    Exercise(
        "c11-centres", "centres_of_ink", "Where is the ink?", 2, 10, 2,
        ("A centre is a mean of places, weighted by the ink: the sum of ink times place, divided "
         "by the sum of ink.",
         "Channels averaged, ink = (x + 1) / 2 is (B, T, H, W); set what is not above 0.1 to 0, "
         "then add 1e-6 everywhere. ink.sum(-1) is the ink of each row; rows lie at "
         "torch.arange(H) + 0.5.",
         "ink = (x.mean(2) + 1) / 2; ink = ink * (ink > 0.1) + 1e-6; y, x = (torch.arange(n, "
         "device=ink.device) + 0.5 for n in ink.shape[-2:]); return torch.stack([(ink.sum(-1) * "
         "y).sum(-1), (ink.sum(-2) * x).sum(-1)], -1) / ink.sum((-2, -1)).unsqueeze(-1)."),
        centres_cases, ("minidiff.extensions.control.centres_of_ink",), gradients=False),
    Exercise(
        "c11-lora", "lora_forward", "A layer with a low-rank change", 2, 8, 1,
        ("The frozen layer gives x W^T. Beside it, x goes down to r numbers and up to the outputs.",
         "Down is x @ a.T, up is @ b.T. This part is multiplied by the scale and divided by the "
         "root of r, and r = len(a).",
         "return x @ weight.T + scale * (x @ a.T) @ b.T / len(a)**0.5."),
        lora_cases),
    Exercise(
        "c11-merge", "merged", "Adapters become the weight", 2, 8, 1,
        ("Each adapter adds its change to the weight, times its own scale. A change is one "
         "product, b @ a, in the weight's shape.",
         "In a loop over (scale, a, b): the change is (b @ a).view_as(weight) / len(a)**0.5. Do "
         "not change the given weight in place.",
         "for scale, a, b in adapters: weight = weight + scale * (b @ a).view_as(weight) / "
         "len(a)**0.5; then return weight."),
        merge_cases),
    Exercise(
        "c11-prior", "prior_loss", "Learn the new, keep the old", 2, 10, 2,
        ("One batch holds both kinds of clips, each with its own condition. The losses come back "
         "one a clip: which of them are whose?",
         "torch.cat the clips, new ones first, and the conditions likewise; call losses once. The "
         "first len(new[0]) losses are those of the new clips. A mean for each kind.",
         "x0, cond = (torch.cat(pair) for pair in zip(new, old)); each, n = losses(x0, cond), "
         "len(new[0]); return each[:n].mean() + weight * each[n:].mean()."),
        prior_cases, ("minidiff.extensions.lora.with_prior",)),
)

QUESTIONS = (
    Question("c11-first", "predict",
             "A new branch: its ways out and the hint's way in are 0. One batch goes forward and "
             "back. Which parts of the branch have a gradient that is not 0?",
             ("None: behind a weight of 0 nothing arrives",
              "The ways out, and nothing else",
              "All of them: the loss depends on every weight")),
    Question("c11-other", "predict",
             "Clips from fixed noises and labels. Each gets the hint of *another* clip, whose "
             "digit flew elsewhere. Where will the digits be?",
             ("On their own paths, where this noise put them without a hint",
              "On the other clip's path, about as near to it as to their own with its own hint",
              "In between, as noise and hint disagree")),
    Question("c11-rank", "predict",
             "Gaussian clips of eight frames. New ones vary in one more way: each clip has a "
             "brightness, the same in all frames. Which rank must an adapter of the best linear "
             "denoiser have to become the new best one, exactly?",
             ("1: one new way of varying is one direction",
              "8: the covariance changes in every entry",
              "No rank below 8 is exact, but 4 comes near")),
    Question("c11-bug", "bughunt",
             "A colleague's digits follow some path, but not the one that was drawn (orange). "
             "Which line of the call is wrong?",
             ("Something in the colleague's hint", "strength=0.8 in place of 1",
              "Half as many steps", "guidance=1.0: no guidance"), 1, 4),
)
