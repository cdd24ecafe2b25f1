"""Chapter 09, few calls: the student's exercises and the inputs of their checks."""
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, pairwise, product
from math import log

import torch
from torch import Tensor, nn

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.data.digits import Digits
from minidiff.data.moving_mnist import moving_mnist
from minidiff.gaussians import gaussian_denoiser, mixture_denoiser
from minidiff.runtime.seeds import generator
from minidiff.schedules import VE, Cosine, Flow, Schedule, timesteps
from minidiff.visual.figures import COLOURS, TEXT_COLOUR, NotebookFigure, new_figure

DTYPES = torch.float32, torch.float64
JUMPS = (1.0, 0.4), (0.9, 0.6), (0.2, 0.0)


# Points on a plane: the data of the chapter's small students

RING = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])          # (4, 2)
RING_STD = 0.15


def ring_denoiser(schedule: Schedule) -> Callable:
    """The exact denoiser of four clouds on a circle: points (B, 2), times () or (B, 1)."""
    denoise = mixture_denoiser(schedule, RING, RING_STD)
    return lambda x, t: denoise(x, t.flatten() if t.ndim else t)


def ring_points(n: int, g: torch.Generator) -> Tensor:
    """Points (n, 2) of the four clouds."""
    cloud = torch.randint(len(RING), (n,), generator=g)
    return RING[cloud] + RING_STD * torch.randn(n, 2, generator=g)


class PointNet(nn.Module):
    """A small network for points: (x (B, 2), times (B, 1) ...) -> the guess of x0, x at t = 0.

    times: how many it gets: t, or t and s.
    """

    def __init__(self, times: int = 1, width: int = 96):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 + 5 * times, width), nn.SiLU(),
                                    nn.Linear(width, width), nn.SiLU(),
                                    nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor, *times: Tensor) -> Tensor:
        times = [t.to(x).expand(len(x), 1) for t in times]
        waves = [f(k * torch.pi * t / 2) for t in times for k in (1, 3) for f in (torch.sin,
                                                                                 torch.cos)]
        return x - times[0] * self.layers(torch.cat([x, *times, *waves], 1))


def fit_points(net: nn.Module, loss: Callable, steps: int, lr: float = 3e-3,
               batch: int = 256) -> nn.Module:
    """Trains a network on loss(points, noise, generator), (B,), and returns it.

    The learning rate falls to 0.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr)
    for k in range(steps):
        g = generator("points", k)
        x0, noise = ring_points(batch, g), torch.randn(batch, 2, generator=g)
        optimizer.param_groups[0]["lr"] = lr * (1 - k / steps)
        optimizer.zero_grad()
        loss(x0, noise, g).mean().backward()
        optimizer.step()
    return net.requires_grad_(False)


def draw_points(made: dict[str, Tensor], noise: Tensor) -> NotebookFigure:
    """Points (n, 2) by name, side by side, each in the colour of the direction of its noise."""
    sector = ((torch.atan2(noise[:, 1], noise[:, 0]) / torch.pi + 1) * 4).long() % 8
    colours = [(*COLOURS, "#999999", TEXT_COLOUR)[k] for k in sector.tolist()]
    fig = small_multiples(made, 2.25 * len(made), 2.5)
    for axes, points in zip(fig.axes, made.values(), strict=True):
        axes.scatter(*points.T, s=2, c=colours, linewidths=0)
        axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=(), yticks=(), aspect="equal")
    return fig


def energy_distance(x: Tensor, y: Tensor) -> float:
    """How far two sets of points (n, 2) are apart as distributions; 0 if they are the same."""
    between, first, second = (torch.cdist(a, b).mean() for a, b in ((x, y), (x, x), (y, y)))
    n, m = len(x), len(y)
    return (2 * between - first * n / (n - 1) - second * m / (m - 1)).item()


# Other students of the points: each makes a loss (points, noise, generator) -> (B,)

def by_data(net: Callable, times: int = 1) -> Callable:
    """The usual loss of a denoiser; a network of two times gets t twice."""
    def losses(x0: Tensor, noise: Tensor, g: torch.Generator) -> Tensor:
        t = torch.rand(len(x0), 1, generator=g)
        x = (1 - t) * x0 + t * noise
        return ((net(x, *[t] * times) - x0) / t.clamp(min=0.3)).square().mean(1)
    return losses


def by_reflow(net: Callable, pairs: Tensor) -> Callable:
    """The usual loss on pairs (2, n, 2) of points and the noise that each was made from."""
    def losses(x0: Tensor, noise: Tensor, g: torch.Generator) -> Tensor:
        rows = torch.randint(pairs.shape[1], (len(x0),), generator=g)
        return by_data(net)(*pairs[:, rows], g)
    return losses


def by_shortcut(net: Callable, two_halves: Callable) -> Callable:
    """Half of the batch plain; of the rest, long steps (1 to 1 / 32) against their halves."""
    def losses(x0: Tensor, noise: Tensor, g: torch.Generator) -> Tensor:
        plain, few = by_data(net, 2)(x0[::2], noise[::2], g), len(x0[1::2])
        n = 2 ** torch.randint(6, (few, 1), generator=g)
        s = (n * torch.rand(few, 1, generator=g)).floor() / n
        t = s + 1 / n
        x = (1 - t) * x0[1::2] + t * noise[1::2]
        with torch.no_grad():
            goal = two_halves(net, Flow(), x, t, s)
        error = (net(x, t, s) - goal) / t.clamp(min=0.3)
        return torch.cat([plain, error.square().mean(1)])
    return losses


def match_points(base: nn.Module, matching_loss: Callable, steps: int) -> nn.Module:
    """A student of one call by distribution matching; it and its fake begin as `base`."""
    teacher, one = ring_denoiser(Flow()), torch.ones(1, 1)
    net, fake = (copy.deepcopy(base).requires_grad_(True) for _ in range(2))
    ours, theirs = (torch.optim.Adam(n.parameters(), lr) for n, lr in ((net, 5e-4), (fake, 2e-3)))
    for k in range(steps):
        g = generator("matching", k)
        z, noise, *others = torch.randn(5, 256, 2, generator=g)
        x, t = net(z, one), 0.02 + 0.96 * torch.rand(256, 1, generator=g)
        ours.zero_grad()
        matching_loss(fake, teacher, Flow(), x, noise, t).mean().backward()
        ours.step()
        for other in others:
            theirs.zero_grad()
            by_data(fake)(x.detach(), other, g).mean().backward()
            theirs.step()
    return net.requires_grad_(False)


def match_gaussian(matching_loss: Callable, steps: int, t_max: float = 1.0) -> Tensor:
    """(steps, 2): mean and width of a Gaussian student that is matched to two narrow peaks.

    Its fake denoiser is exact. t_max: the most noise at which the two are compared. A sample is a
    row of 16 independent numbers, as a size of a single number could be nearly 0.
    """
    peaks = mixture_denoiser(Flow(), torch.tensor([[-1.0], [1.0]]), 0.1)
    mean, log_width = (torch.tensor(v, requires_grad=True) for v in (0.1, log(0.4)))
    optimizer, seen = torch.optim.Adam([mean, log_width], 0.02), []

    def teacher(y: Tensor, t: Tensor) -> Tensor:
        return peaks(y.reshape(-1, 1), t.expand_as(y).flatten()).view_as(y)
    for k in range(steps):
        g = generator("peaks", k)
        z, noise = torch.randn(2, 64, 16, generator=g)
        fake = gaussian_denoiser(Flow(), mean.detach(), log_width.detach().exp())
        t = t_max * torch.rand(64, 1, generator=g)
        losses = matching_loss(lambda y, t: fake(y, t[:, 0]), teacher, Flow(),  # noqa: B023
                               mean + log_width.exp() * z, noise, t)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        seen.append([mean.item(), log_width.exp().item()])
    return torch.tensor(seen)


# Clips whose flow is known: a number along each principal axis

def without_teacher(variances: Tensor, n: int) -> Tensor:
    """What the perfect student of consistency training with n gaps multiplies noise by, (T,).

    Its answer from t is its answer from u, averaged over all data and noise that pass x_t.
    """
    answer = torch.ones_like(variances)
    for t, u in reversed([*pairwise(timesteps(n))]):
        together = (1 - t) * (1 - u) * variances + t * u
        answer = answer * together / ((1 - t)**2 * variances + t**2)
    return answer


def through_pairs(std: Tensor, n: int) -> Tensor:
    """The least-squares matrix (T, T) through n exact pairs of noise and clip."""
    z = torch.randn(n, len(std), generator=generator("pairs", n), dtype=std.dtype)
    return torch.linalg.lstsq(z, z * std, driver="gelsd").solution


def map_and_spread(answer: Tensor, std: Tensor) -> tuple[float, float]:
    """Two errors of a student that multiplies noise by numbers (T,) or by a matrix (T, T).

    The squared distance from the exact clip on the same noise, relative; and the largest relative
    error of a standard deviation. At least 1e-8.
    """
    answer = answer if answer.ndim == 2 else torch.diag(answer)
    distance = (answer - torch.diag(std)).square().sum() / std.square().sum()
    spread = (answer.square().sum(0).sqrt() / std - 1).abs().max()
    return max(1e-8, distance.item()), max(1e-8, spread.item())


def draw_errors(students: dict[str, Callable], budgets: Sequence[int],
                std: Tensor) -> NotebookFigure:
    """Both errors of each student over its budget: budget -> numbers or matrix."""
    fig = small_multiples(("map", "spread"), 9, 3)
    for k, (name, answer) in enumerate(students.items()):
        errors = zip(*(map_and_spread(answer(n), std) for n in budgets), strict=True)
        for axes, line in zip(fig.axes, errors, strict=True):
            axes.loglog(budgets, line, "os^D"[k] + ("-", "--", ":", "-.")[k], markersize=4,
                        label=name)
            axes.set_xlabel("steps of the teacher, gaps or pairs")
    fig.axes[1].legend(fontsize=8)
    return fig


# Clips that a student of the video model learns from

def labelled_clips(sheet: Digits, batch: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of clips of one digit, 32x32, with their labels (B,)."""
    for k in count():
        clips = moving_mnist(sheet, batch, seed=seed, step=k)
        yield clips.x, clips.labels[:, 0]


def segments(calls: int, substeps: int, i: Tensor) -> Tensor:
    """The times (m + 1, B, 1, 1, 1, 1) of the segments i (B,) of `calls`, each of m substeps."""
    parts = timesteps(calls * substeps, 3.0).float().unfold(0, substeps + 1, substeps)
    return parts.to(i.device)[i].T.reshape(substeps + 1, len(i), 1, 1, 1, 1)


def small_multiples(titles: Iterable[str], width: float = 9, height: float = 2) -> NotebookFigure:
    """A figure with a row of axes, a title above each."""
    titles, fig = [*titles], new_figure(width, height)
    for axes, title in zip(fig.subplots(1, len(titles)), titles, strict=True):
        axes.set_title(title)
    return fig


# The bug hunt's

def colleagues_loss(student: Callable, teacher: Callable, schedule: Schedule, x: Tensor, t: Tensor,
                    u: Tensor) -> Tensor:
    """The colleague's consistency loss (B,)."""
    with torch.no_grad():
        (a_t, s_t), (a_u, s_u) = schedule(t), schedule(u)
        x0 = teacher(x, t)
        std = s_u / s_t * (s_t**2 - (a_t / a_u * s_u)**2).clamp(min=0).sqrt()
        eps = (x - a_t * x0) / s_t
        x_u = a_u * x0 + (s_u**2 - std**2).clamp(min=0).sqrt() * eps + std * torch.randn_like(x)
        goal = student(x_u, u)
    return ((student(x, t) - goal) / s_t.clamp(min=0.3)).square().flatten(1).mean(1)


# Cases

class TimesFixed:
    """A schedule through which no gradients reach the times."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule(t.detach())


def bent(x: Tensor, t: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """A stand-in for a student: bent in x, and another function at every time."""
    t = t.detach().to(x)
    return weight * torch.tanh((2 - t) * x) + t / 3


def shrink(x: Tensor, t: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """A stand-in for a teacher: the noisier, the nearer to 0 is its guess."""
    return weight * (1 - t.detach().to(x) / 2) * x + 0.2 * torch.cos(3 * x)


def lean(x: Tensor, t: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """A stand-in for a second denoiser, unlike the first."""
    return torch.sin(x + t.detach().to(x)) + 0.4 * weight * x


def weighted(*stand_ins: Callable) -> list[Callable]:
    """Stand-ins with a weight of their own, so that a check sees whether gradients reach it."""
    return [partial(f, weight=torch.tensor(1.0)) for f in stand_ins]


def reach(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """A stand-in for a network with two times."""
    t, s = t.to(x), s.to(x)
    return torch.tanh((2 - t) * x) + s / 2 - (t - s) * x / 3 + 0.1 * t


def named(schedule: Schedule) -> str:
    """A schedule's name."""
    return type(getattr(schedule, "schedule", schedule)).__name__


def target_cases() -> list[Case]:
    """Three schedules and jumps, one time for all or one for each sample."""
    cases = []
    for seed, (schedule, (t, s), dtype) in enumerate(product(
            (Cosine(), Flow(), VE(5.0, 2.0)), JUMPS, DTYPES)):
        x, x_s = (seeded_randn(seed + k, 2, 1, 3, 3, dtype=dtype) for k in (0, 70))
        here, there = (torch.tensor(v, dtype=torch.float64) for v in (t, s))
        cases.append(Case(f"{named(schedule)}, from t = {t} to s = {s}, {dtype_name(dtype)}",
                          (schedule, x, x_s, here, there)))
    for schedule in (Cosine(), Flow()):
        x, x_s = (seeded_randn(k, 3, 4, 2, dtype=torch.float64) for k in (30, 90))
        t, s = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1)
                for v in ((1.0, 0.7, 0.5), (0.6, 0.1, 0.0)))
        cases.append(Case(f"{named(schedule)}, a time for each of 3 samples",
                          (schedule, x, x_s, t, s)))
    return cases


def bend_cases() -> list[Case]:
    """Random walks on even and uneven grids, a straight path and a straight one with a rest."""
    cases = []
    grids = {"even times": timesteps(5), "shifted times": timesteps(6, 3.0),
             "times from 0.9 to 0.2": 0.2 + 0.7 * timesteps(4, 2.0)}
    for seed, ((kind, ts), shape) in enumerate(product(grids.items(), ((3, 2), (2, 2, 1, 3, 3)))):
        steps = seeded_randn(seed, len(ts), *shape, dtype=torch.float64)
        cases.append(Case(f"{kind}, {shape[0]} paths of shape {shape[1:]}",
                          (ts, 1 + steps.cumsum(0))))
    ts = timesteps(4, 3.0).float()
    ends = seeded_randn(50, 2, 3, 4)
    straight = ts.view(-1, 1, 1) * ends[0] + (1 - ts.view(-1, 1, 1)) * ends[1]
    rest = torch.cat([straight[:1].expand(2, -1, -1), straight[2:]])
    return [*cases, Case("straight paths, float32", (ts, straight)),
            Case("straight paths with a rest at the beginning, float32", (ts, rest))]


def times_of(n: int, ndim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Times t and u of a batch of n, shaped to multiply x with so many axes."""
    t = torch.linspace(1.0, 0.15, n, dtype=dtype)
    return tuple(v.view(-1, *[1] * (ndim - 1)) for v in (t, t - 0.05 - 0.1 * t))


def consistency_cases() -> list[Case]:
    """Points and clips, times on both sides of the weight's limit, a step to u = 0 among them."""
    cases = []
    inputs = (Cosine(), (4, 2)), (Flow(), (3, 2, 1, 3, 2)), (Flow(), (5, 3))
    for seed, ((schedule, shape), dtype) in enumerate(product(inputs, DTYPES)):
        x = seeded_randn(seed, *shape, dtype=dtype)
        t, u = times_of(shape[0], len(shape), dtype)
        cases.append(Case(f"{named(schedule)}, x {shape}, {dtype_name(dtype)}",
                          (*weighted(bent, shrink), TimesFixed(schedule), x, t, u)))
    x = seeded_randn(40, 2, 2, dtype=torch.float64)
    t = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    cases.append(Case("Flow, steps that end at u = 0",
                      (*weighted(bent, shrink), TimesFixed(Flow()), x, t, 0 * t)))
    return cases


def matching_cases() -> list[Case]:
    """Points and clips, each sample with a time of its own."""
    cases = []
    inputs = (Cosine(), (4, 2)), (Flow(), (3, 2, 1, 3, 2)), (Flow(), (5, 3))
    for seed, ((schedule, shape), dtype) in enumerate(product(inputs, DTYPES)):
        x, noise = (seeded_randn(seed + k, *shape, dtype=dtype) for k in (0, 60))
        scale = 1 + torch.arange(shape[0]).to(dtype).view(-1, *[1] * (len(shape) - 1))
        t, _ = times_of(shape[0], len(shape), dtype)
        cases.append(Case(f"{named(schedule)}, x {shape}, {dtype_name(dtype)}",
                          (*weighted(lean, shrink), TimesFixed(schedule), scale * x, noise,
                           0.9 * t)))
    return cases


def halves_cases() -> list[Case]:
    """Jumps on two schedules, one time for all or one for each sample."""
    cases = []
    for seed, (schedule, (t, s), dtype) in enumerate(product((Cosine(), Flow()), JUMPS, DTYPES)):
        x = seeded_randn(seed, 2, 1, 3, 3, dtype=dtype)
        here, there = (torch.tensor(v, dtype=dtype) for v in (t, s))
        cases.append(Case(f"{named(schedule)}, from t = {t} to s = {s}, {dtype_name(dtype)}",
                          (reach, schedule, x, here, there)))
    t, s = (torch.tensor(v, dtype=torch.float64).view(3, 1) for v in ((1.0, 0.7, 0.5),
                                                                      (0.6, 0.1, 0.0)))
    return [*cases, Case("Cosine, a time for each of 3 samples",
                         (reach, Cosine(), seeded_randn(30, 3, 4, dtype=torch.float64), t, s))]


def fresh_noise(seed: int) -> Callable[[Tensor], Tensor]:
    """randn_like with a memory of its own: every call gives other numbers, always in this order."""
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g, dtype=x.dtype)


def sampled(f: Callable, schedule: Schedule, x: Tensor, ts: Tensor) -> list:
    """All states of the sampler f."""
    return list(f(bent, schedule, x, ts, fresh_noise(len(ts))))


def multistep_cases() -> list[Case]:
    """Whole loops of 1, 2 and 4 calls on three schedules, one that ends above 0 among them."""
    cases = []
    for seed, (schedule, n) in enumerate(product((Cosine(), Flow(), VE(5.0, 2.0)), (1, 2, 4))):
        x = seeded_randn(seed, 3, 2, dtype=DTYPES[seed % 2])
        cases.append(Case(f"{named(schedule)}, {n} call{'s' * (n > 1)}", (),
                          call=partial(sampled, schedule=schedule, x=x, ts=timesteps(n, 3.0))))
    x, ts = seeded_randn(20, 3, 2, dtype=torch.float64), 0.1 + 0.8 * timesteps(3)
    return [*cases, Case("Cosine, 3 calls from t = 0.9 to 0.1", (),
                         call=partial(sampled, schedule=Cosine(), x=x, ts=ts))]


EXERCISES = (
    Exercise(
        "c09-target", "segment_target", "The guess that lands", 1, 7, 1,
        ("DDIM's step is a straight line in x0: x_s = something * x + something else * x0. Which "
         "x0 gives this x_s?",
         "With r = sigma_s / sigma_t the step is x_s = r x + (alpha_s - r alpha_t) x0. Solve it "
         "for x0.",
         "(a_t, s_t), (a_s, s_s) = schedule(t), schedule(s); r = s_s / s_t; the guess is "
         "(x_s - r * x) / (a_s - r * a_t)."),
        target_cases, ("minidiff.samplers.ddim_guess",), gradients=False),
    Exercise(
        "c09-bend", "bend", "How bent is a path?", 2, 10, 2,
        ("A straight path, walked evenly, has the same velocity at every time. How far is each "
         "step's velocity from the mean one?",
         "A step's velocity is path.diff(dim=0) divided by its length in time, ts.diff(). The mean "
         "velocity is (last - first) / (last time - first time). Long steps count more: weigh by "
         "their length.",
         "dt = ts.diff(); v = path.diff(dim=0).flatten(2) / dt.view(-1, 1, 1); mean = (path[-1] - "
         "path[0]).flatten(1) / (ts[-1] - ts[0]); off = (v - mean).square().sum(-1); return "
         "(dt.view(-1, 1) * off).sum(0) / dt.sum() / mean.square().sum(-1)."),
        bend_cases, gradients=False),
    Exercise(
        "c09-consistency", "consistency_loss", "The consistency loss", 3, 14, 3,
        ("Two answers of the student are compared: at x, and at the point that one small step of "
         "the teacher leads to. Only the first may learn.",
         "Inside torch.no_grad(): x_u by ddim_step with the teacher's guess at t, then the "
         "student's guess at (x_u, u). Outside: the student's guess at (x, t), minus that goal, "
         "divided by max(sigma_t, 0.3).",
         "with torch.no_grad(): goal = student(ddim_step(schedule, x, teacher(x, t), t, u), u); "
         "then ((student(x, t) - goal) / schedule(t)[1].clamp(min=0.3)).square().flatten(1)"
         ".mean(1)."),
        consistency_cases),
    Exercise(
        "c09-multistep", "multistep", "Guess, noise anew, guess again", 2, 8, 1,
        ("It is the loop of a sampler. Between two calls the guess is mixed with noise of the next "
         "time, as in chapter 01.",
         "x = alpha_s x0 + sigma_s * randn_like(x), new noise in every step. At s = 0 that is the "
         "guess itself.",
         "for t, s in pairwise(ts): x0 = denoise(x, t); yield State(t, x, x0); a, sigma = "
         "schedule(s); x = a * x0 + sigma * randn_like(x); behind the loop yield State(s, x, x)."),
        multistep_cases, ("minidiff.samplers.consistency", "minidiff.schedules.add_noise"),
        gradients=False),
    Exercise(
        "c09-matching", "matching_loss", "The gradient of distribution matching", 3, 15, 3,
        ("You know the gradient that the clip should get, the push. A loss with exactly this "
         "gradient is half the squared distance from x to the fixed point x - push.",
         "Inside torch.no_grad(): y = alpha x + sigma noise; push = (fake(y, t) - teacher(y, t)) / "
         "size, where size is each sample's own mean of |x - teacher(y, t)|; goal = x - push. "
         "Outside: (x - goal).square() / 2, the mean of each sample.",
         "with torch.no_grad(): y = alpha * x + sigma * noise; made, wanted = fake(y, t), "
         "teacher(y, t); size = (x - wanted).abs().flatten(1).mean(1); goal = x - (made - wanted) "
         "/ append_dims(size, x); then (x - goal).square().flatten(1).mean(1) / 2."),
        matching_cases, ("minidiff.extensions.distribution_matching.matching_loss",)),
    Exercise(
        "c09-halves", "two_halves", "A long step from two halves", 2, 10, 2,
        ("The long step should land where two steps of half its length do. Where is that, and "
         "which guess leads there?",
         "u = (t + s) / 2. The first half aims at u, the second begins there and aims at s; both "
         "with ddim_step. segment_target turns the end into a guess.",
         "x_u = ddim_step(schedule, x, denoise(x, t, u), t, u); x_s = ddim_step(schedule, x_u, "
         "denoise(x_u, u, s), u, s); return segment_target(schedule, x, x_s, t, s)."),
        halves_cases, ("minidiff.samplers.ddim_guess", "minidiff.samplers.ddim_step"),
        gradients=False),
)

QUESTIONS = (
    Question("c09-cloud", "predict",
             "The shipped model, one call: DDIM from t = 1 to 0 in a single step, for two noises "
             "and the digits 3 and 7. What will the four clips show?",
             ("Four sharp clips, on other paths than with 20 calls",
              "Four faint clouds in which no digit can be seen",
              "Four clips that are still nearly pure noise")),
    Question("c09-peaks", "predict",
             "The teacher's data have two narrow peaks, at -1 and 1. The student is a single "
             "Gaussian, begins at 0.1 and moves against your push. Left, the two are compared "
             "after noise of any t up to 1; right, of t up to 0.3 only. Where does it end?",
             ("Over both peaks, in both cases",
              "On one peak, in both cases",
              "Left over both peaks, right on one",
              "Left on one peak, right over both")),
    Question("c09-alone", "predict",
             "Consistency *training*: the small step is not a teacher's but takes the same data "
             "and the same noise to the next time. With 16 gaps, on Gaussian clips, how far is the "
             "perfect student's one call from the exact clip?",
             ("0: without a teacher there is no error to inherit",
              "As far as DDIM with 16 steps",
              "Much farther: the steps are wrong one by one")),
    Question("c09-bug", "bughunt",
             "A student of one call, by a colleague's consistency distillation. Its points are on "
             "the wrong places, near the middle. Which of the four choices is wrong?",
             ("The goal has no gradient",
              "The weight 1 / max(sigma, 0.3)^2",
              "The step from t to u draws new noise",
              "16 times are too few"), 1, 4),
)
