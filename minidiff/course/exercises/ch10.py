"""Chapter 10, first frame and editing: the student's exercises and the inputs of their checks."""
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.course.exercises.ch07 import look_at
from minidiff.course.exercises.ch09 import fresh_noise, named
from minidiff.evaluation.digit_classifier import CONFIDENCE_THRESHOLD
from minidiff.evaluation.metrics import frame_features
from minidiff.gaussians import gaussian_denoiser
from minidiff.runtime.seeds import generator
from minidiff.schedules import VE, Cosine, Flow, Schedule, timesteps

DTYPES = torch.float32, torch.float64
SCHEDULES = Cosine(), Flow(), VE(5.0, 2.0)


# Gaussian clips of which some frames are known

def conditional_gaussian(cov: Tensor, known: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the other frames, given some (Bishop 2006, eq. 2.81 and 2.82).

    cov: (T, T), of frames with mean 0. known: (T,), true where a frame is known; values: its
    frames.
    """
    across = torch.linalg.solve(cov[known][:, known], cov[known][:, ~known]).T
    return across @ values, cov[~known][:, ~known] - across @ cov[known][:, ~known]


def conditional_denoiser(schedule: Schedule, cov: Tensor, known: Tensor,
                         values: Tensor) -> Callable:
    """The exact denoiser of clips (B, T) that is told the known frames: what a network can learn.

    The known frames of its guess are the values.
    """
    mean, rest = conditional_gaussian(cov, known, values)
    variances, axes = torch.linalg.eigh(rest)
    along = gaussian_denoiser(schedule, 0.0, variances.clamp(min=0).sqrt())

    def guess(x: Tensor, t: Tensor) -> Tensor:
        out = torch.empty_like(x)
        moved = x[:, ~known] - schedule(torch.as_tensor(t))[0].to(x) * mean
        out[:, known], out[:, ~known] = values, mean + along(moved @ axes, t) @ axes.T
        return out
    return guess


def conditional_errors(x: Tensor, cov: Tensor, known: Tensor, values: Tensor) -> tuple[float,
                                                                                        float]:
    """How far samples (n, T) are from the exact mean and covariance of the unknown frames.

    Both are relative, in the norm of the exact ones.
    """
    mean, rest = conditional_gaussian(cov, known, values)
    made = x[:, ~known]
    return (((made.mean(0) - mean).norm() / mean.norm()).item(),
            ((made.T.cov() - rest).norm() / rest.norm()).item())


# A network that is told pixels by the student's functions

class ConditionedNet(nn.Module):
    """A video network whose first layer has grown: `net(x, t, cond, given, where)`.

    network_input: (x, given, where) -> what the network sees. Without given it is told nothing.
    """

    def __init__(self, net: nn.Module, network_input: Callable, grow: Callable):
        super().__init__()
        pixels = net.patch**2
        net.conv_in = grow(net.conv_in, (net.in_channels + 1) * pixels)
        net.in_channels = 2 * net.in_channels + 1
        self.net, self.network_input = net, network_input

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                given: Tensor | None = None, where: Tensor | None = None) -> Tensor:
        if given is None:
            given, where = torch.zeros_like(x), torch.zeros_like(x[:, :, :1], dtype=torch.bool)
        return self.net(self.network_input(x, given, where), t, cond)


# The chapter's measurements

class Judged(NamedTuple):
    """Measurements of clips that should show one digit of 14 px each."""
    path: Tensor      # (n, T, 2), where the ink is, in pixels
    kept: Tensor      # (n, T), 1 if the classifier reads the wanted digit with confidence


@torch.no_grad()
def judge(clips: Tensor, labels: Tensor) -> Judged:
    """Measures clips (n, T, 1, 32, 32) in [0, 1] that should show the digits `labels`."""
    x = clips.float().cpu()
    p = frame_features(x.mean(2)[:, :, None], 14).probabilities[:, :, 0]        # (n, T, 11)
    read = p[torch.arange(len(x)), :, labels.cpu()]
    return Judged(look_at(x).path, (read >= CONFIDENCE_THRESHOLD).float())


def speeds(path: Tensor) -> Tensor:
    """Pixels from frame to frame of paths (n, T, 2): (n, T - 1)."""
    return path.diff(dim=1).norm(dim=-1)


def near(path: Tensor, original: Tensor, pixels: float = 2.0) -> Tensor:
    """(n,): the share of frames in which two paths (n, T, 2) are so near to each other."""
    return ((path - original).norm(dim=-1) < pixels).float().mean(1)


def crossing(ts: Tensor, rising: Tensor, falling: Tensor, draws: int = 1000) -> tuple[float, float]:
    """Where two curves cross: the time, and half its 95 % interval, by a bootstrap over clips.

    ts: (k,), rising; rising, falling: (k, n), a value of each clip at each time.
    """
    g, n = generator("crossing", 0), rising.shape[1]
    rows = torch.randint(n, (draws, n), generator=g)
    rows[0] = torch.arange(n)
    gap = (rising - falling)[:, rows].mean(-1)                                  # (k, draws)
    at = (gap > 0).float().argmax(0).clamp(min=1)
    low, high = gap.gather(0, at[None] - 1)[0], gap.gather(0, at[None])[0]
    share = (-low / (high - low).clamp(min=1e-9)).clamp(0, 1)
    found = ts[at - 1] + share * (ts[at] - ts[at - 1])
    return found[0].item(), 1.96 * found.std().item()


# The bug hunt's

def colleagues_masks(where: Tensor) -> tuple[Tensor, Tensor]:
    """What the colleague's network is told, and where the colleague's guess is fixed."""
    return ~where, where


# Cases

def again_cases() -> list[Case]:
    """Three schedules, steps back of several lengths, one from the data and one of no length."""
    cases = []
    steps = (0.3, 0.7), (0.0, 0.4), (0.6, 1.0)
    for seed, (schedule, (s, t), dtype) in enumerate(product(SCHEDULES, steps, DTYPES)):
        x, noise = (seeded_randn(seed + k, 2, 3, 1, 2, dtype=dtype) for k in (0, 70))
        s_t = (torch.tensor(v, dtype=dtype) for v in (s, t))
        cases.append(Case(f"{named(schedule)}, from s = {s} back to t = {t}, {dtype_name(dtype)}",
                          (schedule, x, *s_t, noise)))
    x, noise = (seeded_randn(k, 3, 2, dtype=torch.float64) for k in (30, 90))
    times = (torch.tensor(v, dtype=torch.float64)[:, None] for v in ((0.1, 0.5, 0.0),
                                                                     (0.2, 0.9, 1.0)))
    return [*cases, Case("Cosine, times of their own for 3 samples", (Cosine(), x, *times, noise))]


def bent(x: Tensor, t: Tensor) -> Tensor:
    """A stand-in for a denoiser: another function at every time."""
    return torch.tanh((2 - t.to(x)) * x) + t.to(x) / 3


def states_of(f: Callable, schedule: Schedule, x: Tensor, ts: Tensor, repeats: int) -> list:
    """All states of a sampler with repeats."""
    return list(f(bent, schedule, x, ts, repeats, fresh_noise(len(ts))))


def repaint_cases() -> list[Case]:
    """Whole loops with 1, 2 and 3 repeats, and one whose grid ends above 0."""
    cases = []
    for seed, (schedule, (n, repeats)) in enumerate(product(SCHEDULES, ((3, 1), (2, 3), (1, 4)))):
        x, ts = seeded_randn(seed, 3, 2, dtype=DTYPES[seed % 2]), 0.98 * timesteps(n, 3.0)
        cases.append(Case(f"{named(schedule)}, {n} step{'s' * (n > 1)}, repeats {repeats}", (),
                          call=partial(states_of, schedule=schedule, x=x, ts=ts,
                                       repeats=repeats)))
    x, ts = seeded_randn(20, 2, 3, dtype=torch.float64), 0.1 + 0.8 * timesteps(2)
    return [*cases, Case("Cosine, from t = 0.9 to 0.1, repeats 2", (),
                         call=partial(states_of, schedule=Cosine(), x=x, ts=ts, repeats=2))]


def convolution(seed: int, own: int, out: int, dtype: torch.dtype, **settings) -> nn.Conv2d:
    """A convolution with seeded weights."""
    conv = nn.Conv2d(own, out, dtype=dtype, **settings)
    with torch.no_grad():
        conv.weight.copy_(seeded_randn(seed, *conv.weight.shape, dtype=dtype))
        conv.bias.copy_(seeded_randn(seed + 1, out, dtype=dtype))
    return conv


def grown(f: Callable, seed: int, own: int, out: int, more: int, dtype: torch.dtype,
          **settings) -> tuple:
    """What can be seen of a grown convolution: output, weights, gradients, and the old one."""
    conv = convolution(seed, own, out, dtype, **settings)
    larger = f(conv, more)
    x = seeded_randn(seed + 2, 2, own + more, 7, 5, dtype=dtype)
    y = larger(x)
    learns = [p.requires_grad for p in (larger.weight, larger.bias)]
    grads = (torch.autograd.grad(y.square().sum(), [larger.weight, larger.bias])
             if all(learns) else ())
    return (y.detach(), larger.weight.detach().clone(), larger.bias.detach().clone(), *grads,
            torch.tensor(larger.in_channels), conv.weight.detach().clone(),
            torch.tensor(larger is conv))


def grow_cases() -> list[Case]:
    """Convolutions whose sizes, strides and paddings differ, and one of a single pixel."""
    kinds = {"3x3": dict(kernel_size=3, padding=1), "1x1": dict(kernel_size=1),
             "3x2, stride (2, 1)": dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0))}
    sizes = (4, 6, 8), (3, 5, 1), (2, 3, 4)
    return [Case(f"a convolution {kind} from {own} to {out} channels, {more} more, "
                 f"{dtype_name(dtype)}", (),
                 call=partial(grown, seed=10 * k, own=own, out=out, more=more, dtype=dtype, **s))
            for k, ((kind, s), (own, out, more)) in enumerate(zip(kinds.items(), sizes,
                                                                  strict=True))
            for dtype in DTYPES]


def mask_cases() -> list[Case]:
    """Uniform numbers that reach each kind of mask, and shapes that differ on every axis."""
    cases = []
    for seed, (B, T, H, W) in enumerate(((9, 8, 4, 6), (12, 3, 5, 7), (7, 1, 2, 3), (24, 5, 3, 8))):
        u = torch.rand(B, 3 + T, generator=torch.Generator().manual_seed(seed))
        cases.append(Case(f"{B} clips of {T} frames of {H}x{W}", (u, (T, H, W))))
    for kind, name in ((0.1, "the first frame"), (0.3, "both ends"), (0.6, "any frames"),
                       (0.9, "a left part")):
        u = torch.rand(4, 3 + 6, generator=torch.Generator().manual_seed(int(100 * kind)))
        u[:, 0], u[:, 1] = torch.tensor([0.05, 0.2, 0.6, 0.95]), kind
        cases.append(Case(f"four masks of the kind: {name}, one of them dropped",
                          (u, (6, 3, 8))))
    edge = torch.rand(6, 3 + 4, generator=torch.Generator().manual_seed(9))
    edge[:, 0] = torch.tensor([0.0, 0.1, 0.5, 0.5, 0.5, 0.5])
    edge[:, 1] = torch.tensor([0.2, 0.2, 0.25, 0.5, 0.75, 0.999])
    edge[:, 2:4] = 0.5
    return [*cases, Case("numbers on the limits of the kinds", (edge, (4, 2, 8)))]


def input_cases() -> list[Case]:
    """Clips with masks of frames and of pixels; what is hidden is large, so that it would show."""
    cases = []
    shapes = (2, 3, 1, 4, 5), (3, 2, 3, 5, 2), (1, 4, 2, 3, 3)
    for seed, (shape, dtype) in enumerate(product(shapes, DTYPES)):
        x, given = (seeded_randn(seed + k, *shape, dtype=dtype) for k in (0, 60))
        where = seeded_randn(seed + 30, *shape[:2], 1, *shape[3:]) > 0.3
        cases.append(Case(f"x {shape}, pixels of any kind, {dtype_name(dtype)}",
                          (x, given, where)))
    x, given = (seeded_randn(k, 2, 3, 1, 4, 4) for k in (90, 91))
    where = torch.zeros(2, 3, 1, 4, 4, dtype=torch.bool)
    first, hidden = where.clone(), given.clone()
    first[:, 0] = True
    hidden[:, 1:] = torch.nan
    return [*cases, Case("the first frame, the others are NaN", (x, hidden, first)),
            Case("nothing is given", (x, given, where))]


def start_cases() -> list[Case]:
    """Three schedules, starts on the grid, between its times, and at both of its ends."""
    cases = []
    for seed, (schedule, (t0, n)) in enumerate(product(
            SCHEDULES, ((0.6, 4), (0.5, 4), (1.0, 3), (0.02, 2)))):
        dtype = DTYPES[seed % 2]
        clip, noise = (seeded_randn(seed + k, 2, 3, 1, 2, dtype=dtype) for k in (0, 60))
        cases.append(Case(f"{named(schedule)}, t0 = {t0:g}, {n} steps, {dtype_name(dtype)}",
                          (schedule, clip, noise, timesteps(n),
                           torch.tensor(t0, dtype=torch.float64))))
    clip, noise = (seeded_randn(k, 3, 2, dtype=torch.float64) for k in (80, 81))
    return [*cases, Case("Cosine, t0 = 0.8, shifted times",
                         (Cosine(), clip, noise, timesteps(5, 3.0),
                          torch.tensor(0.8, dtype=torch.float64)))]


EXERCISES = (
    Exercise(
        "c10-again", "noise_again", "Noise, from s back to t", 2, 10, 2,
        ("x_s holds alpha_s x0 and noise of size sigma_s. Which factor makes the data alpha_t x0? "
         "It scales the old noise, too; how much is missing up to sigma_t?",
         "With r = alpha_t / alpha_s the old noise has size r sigma_s. Independent noises add "
         "their variances: new noise of variance sigma_t^2 - (r sigma_s)^2.",
         "(a_t, s_t), (a_s, s_s) = schedule(t), schedule(s); r = a_t / a_s; return r * x + "
         "(s_t**2 - (r * s_s)**2).sqrt() * noise."),
        again_cases, ("minidiff.extensions.editing.noise_again",), gradients=False),
    Exercise(
        "c10-repaint", "repaint", "RePaint's loop", 3, 14, 3,
        ("It is the loop of DDPM, and inside of it a second loop that makes the same step several "
         "times. Between two of them x must be at time t again.",
         "for k in range(repeats): guess, yield, step to s with eta_step and eta = 1; unless it "
         "was the last time, noise_again from s to t. The step that ends at s = 0 is made once.",
         "for t, s in pairwise(ts): m = repeats if s > 0 else 1; for k in range(m): x0 = "
         "denoise(x, t); yield State(t, x, x0); x = eta_step(schedule, x, x0, t, s, 1.0, "
         "randn_like(x)); if k < m - 1: x = noise_again(schedule, x, s, t, randn_like(x)). Behind "
         "both loops yield State(s, x, x)."),
        repaint_cases, ("minidiff.extensions.editing.repaint", "minidiff.samplers.ddim_step"),
        gradients=False),
    Exercise(
        "c10-grow", "grow", "A larger first layer that changes nothing", 2, 10, 2,
        ("A convolution's weight is (channels out, channels in, height, width). Which axis grows, "
         "and which numbers make the new channels silent?",
         "copy.deepcopy(conv) keeps stride, padding and bias. Its weight becomes an nn.Parameter: "
         "the old weight and zeros (out, more, height, width), joined along axis 1.",
         "larger = copy.deepcopy(conv); extra = conv.weight.new_zeros(len(conv.weight), more, "
         "*conv.kernel_size); larger.weight = nn.Parameter(torch.cat([conv.weight, extra], 1)); "
         "larger.in_channels += more; return larger."),
        grow_cases, ("minidiff.runtime.files.load_into_larger",), gradients=False),
    Exercise(
        "c10-masks", "draw_masks", "Masks of all kinds", 3, 14, 2,
        ("Make each kind of mask so that it broadcasts to (B, T, 1, H, W), then choose by the "
         "numbers u with torch.where.",
         "Numbers per clip: u[:, k].view(-1, 1, 1, 1, 1). Frames: torch.arange(T).view(-1, 1, 1, "
         "1). Columns: torch.arange(W). A number per frame: u[:, 3:, None, None, None].",
         "drop, kind, share = (u[:, k].view(-1, 1, 1, 1, 1) for k in range(3)); frame = "
         "torch.arange(T).view(-1, 1, 1, 1); first = frame == 0; ends = torch.where(kind < 0.25, "
         "first, first | (frame == T - 1)); parts = torch.where(kind < 0.75, u[:, 3:, None, None, "
         "None] < share, torch.arange(W) < share * W); return (torch.where(kind < 0.5, ends, "
         "parts) & (drop >= 0.1)).expand(-1, T, 1, H, W)."),
        mask_cases, ("minidiff.extensions.conditioning.draw_masks",), gradients=False),
    Exercise(
        "c10-input", "network_input", "What the network is told", 1, 6, 1,
        ("Three things side by side in the channels: x, the given pixels, and the mask. What "
         "should stand where nothing is given?",
         "torch.where(where, given, 0) hides the unknown pixels, whatever they are. torch.cat "
         "turns true into 1. The channels are axis 2, or -3.",
         "return torch.cat([x, torch.where(where, given, 0), where], -3)."),
        input_cases, gradients=False),
    Exercise(
        "c10-start", "edit_start", "SDEdit's start", 1, 6, 1,
        ("A sampler needs two things: x at its first time, and a falling grid that begins there.",
         "x is the clip, noised to t0 as in chapter 01. The grid is t0, then all times of ts that "
         "are below it.",
         "alpha, sigma = schedule(t0); return alpha * clip + sigma * noise, torch.cat([t0[None], "
         "ts[ts < t0]])."),
        start_cases, ("minidiff.extensions.editing.from_clip", "minidiff.schedules.add_noise"),
        gradients=False),
)

QUESTIONS = (
    Question("c10-jump", "predict",
             "The shipped mmnist32 was never told a pixel. Its guess is replaced by the known "
             "picture in frame 0, in all 20 steps. What do frames 1 to 7 show?",
             ("The same digit, which moves on from where it is",
              "A steady clip of that class, but of another hand, or at another place",
              "The picture of frame 0, again and again",
              "Blurred digits, without a clear path")),
    Question("c10-steps", "predict",
             "Given 1.5 in frame 0, the mean of frame 1 should be 1.35. With 20 steps of "
             "replacement it is about 0.7. And with 400?",
             ("Nearly 1.35: the error comes from long steps",
              "Still below 0.9: the error hardly depends on the steps",
              "Below 0.3: each replacement adds an error")),
    Question("c10-turn", "predict",
             "Clips of one digit are redrawn by mmnist32 as another digit, beginning at t0. As t0 "
             "grows, what is lost first, the digit or its path?",
             ("The path: the digit is there until nearly t0 = 1",
              "The digit: between two times it is a new digit on the old path",
              "Both at once: where the one goes, the other goes, too")),
    Question("c10-bug", "bughunt",
             "The clips begin with the picture, and hardly anything moves. Which of the four "
             "choices is wrong?",
             ("The guidance of 1.5",
              "The guess is fixed in frame 0",
              "The picture is repeated in all frames of `given`",
              "The mask that the network is told"), 1, 4),
)
