"""Chapter 02, noise prediction: the student's exercises and the inputs of their checks."""
from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.schedules import Cosine, Flow, timesteps

DTYPES = torch.float32, torch.float64


COLLEAGUES_LOSS = "x0"                                                     # of the bug hunt


def mixtures(shape: tuple[int, ...], times: tuple[float, ...]) -> Iterator[tuple]:
    """Noised data to try a formula on: (label, x0, eps, x_t, alpha, sigma), both schedules."""
    for seed, (schedule, t, dtype) in enumerate(
            (s, t, d) for s in (Cosine(), Flow()) for t in times for d in DTYPES):
        alpha, sigma = schedule(torch.tensor(t, dtype=dtype))
        x0, eps = (
            seeded_randn(seed, *shape, dtype=dtype),
            seeded_randn(seed + 100, *shape, dtype=dtype),
        )
        label = f"{type(schedule).__name__}, t = {t}, shape {shape}, {dtype_name(dtype)}"
        yield label, x0, eps, alpha * x0 + sigma * eps, alpha, sigma


def half(x: Tensor, t: Tensor) -> Tensor:
    """A stand-in for a network: it halves x_t and adds the time."""
    return x / 2 + t.view(-1, *[1] * (x.ndim - 1))


def loss_cases() -> list[Case]:
    """Images and clips at several times, with a network that is easy to follow."""
    cases, inputs = [], ((Cosine(), (4, 1, 6, 5)), (Flow(), (3, 5, 1, 4, 2)))
    for seed, ((schedule, shape), dtype) in enumerate((i, d) for i in inputs for d in DTYPES):
        x0, noise = (
            seeded_randn(seed, *shape, dtype=dtype),
            seeded_randn(seed + 9, *shape, dtype=dtype),
        )
        t = torch.linspace(0.1, 0.9, shape[0], dtype=dtype)
        cases.append(Case(f"{type(schedule).__name__}, x0 {shape}, {dtype_name(dtype)}",
                          (half, schedule, x0, t, noise)))
    return cases


def target_cases() -> list[Case]:
    """Each of the four targets, "eps", "x0", "v" and "flow", for noised data."""
    return [Case(f"{kind}: {label}", (kind, x0, eps, alpha, sigma))
            for kind in ("eps", "x0", "v", "flow")
            for label, x0, eps, _, alpha, sigma in mixtures((2, 3), (0.2, 0.7))]


def x0_cases() -> list[Case]:
    """Noised data with a slightly wrong guess of its noise."""
    return [Case(label, (x, eps - 0.1 * x0, alpha, sigma))
            for label, x0, eps, x, alpha, sigma in mixtures((2, 1, 4, 4), (0.1, 0.5, 0.9))]


def handful_cases() -> list[Case]:
    """Noised data with five clips to choose from, and data far away from all clips."""
    cases = []
    for label, x0, _, x, alpha, sigma in mixtures((4, 1, 3, 3), (0.15, 0.6, 0.95)):
        cases.append(Case(f"{label}, 5 clips to choose from",
                          (x, seeded_randn(7, 5, 1, 3, 3).to(x0), alpha, sigma)))
    far = torch.full((2, 6), 40.0, dtype=torch.float64)                  # weights underflow here
    far_data = torch.stack([torch.zeros(6), torch.ones(6)]).double()
    cases.append(Case("x far from all the data, float64",
                      (far, far_data, torch.tensor(1.0).double(), torch.tensor(0.05).double())))
    return cases


def step_cases() -> list[Case]:
    """DDPM steps on two schedules, the last step to t = 0 among them."""
    cases, steps = [], ((0.9, 0.6), (0.5, 0.4), (0.2, 0.0))
    for seed, (schedule, t, s, dtype) in enumerate(
            (f, t, s, d) for f in (Cosine(), Flow()) for t, s in steps for d in DTYPES):
        x, x0, noise = (seeded_randn(seed + k, 2, 1, 4, 4, dtype=dtype) for k in (0, 50, 100))
        here, there = (torch.tensor(v, dtype=torch.float64) for v in (t, s))
        cases.append(
            Case(
                f"{type(schedule).__name__}, from t = {t} to s = {s}, {dtype_name(dtype)}",
                (schedule, x, x0, here, there, noise),
            )
        )
    return cases


def shrink(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser that is easy to follow: the noisier, the nearer to 0 is its guess."""
    return (1 - t).to(x) * x


def loop_cases() -> list[Case]:
    """DDPM loops of 1, 2 and 5 steps on two schedules: to 0, and to a time before it."""
    cases = []
    for seed, (schedule, n) in enumerate((s, n) for s in (Cosine(), Flow()) for n in (1, 2, 5)):
        x, noises = seeded_randn(seed, 2, 1, 3, 3), seeded_randn(seed + 9, n, 2, 1, 3, 3)
        ts = timesteps(n, t_max=0.98)
        if isinstance(schedule, Flow):
            ts = 0.2 + 0.7 * ts
        cases.append(Case(f"{type(schedule).__name__}, {n} steps from {ts[0]:.2g} to {ts[-1]:.2g}",
                          (shrink, schedule, x, ts, noises)))
    return cases


EXERCISES = (
    Exercise(
        "c02-loss", "noise_loss", "The loss of noise prediction", 2, 8, 1,
        ("Three lines: mix, call the network, compare. What is the network's input, and what "
         "should its output be?",
         "t is (B,), so alpha and sigma are, too. To multiply clips (B, T, C, H, W) or images "
         "(B, C, H, W) they need as many axes: `alpha.view(-1, *[1] * (x0.ndim - 1))`.",
         "x = alpha * x0 + sigma * noise; then the square of `net(x, t) - noise`, flattened from "
         "axis 1 on and averaged there: one number per sample."),
        loss_cases, ("minidiff.denoiser.Denoiser.loss", "minidiff.schedules.add_noise")),
    Exercise(
        "c02-target", "target", "Four things to predict", 2, 8, 1,
        ("Each is a straight mixture of x0 and eps: F = p x0 + q eps. Find (p, q) of each.",
         "eps is (0, 1) and x0 is (1, 0). flow is the velocity of a straight line from data to "
         "noise: where does x_t = (1 - t) x0 + t eps move as t grows?",
         "v is (-sigma, alpha): a quarter turn of (alpha, sigma). flow is (-1, 1)."),
        target_cases),
    Exercise(
        "c02-x0", "x0_from_eps", "From noise to the clean clip", 1, 5, 1,
        ("x_t = alpha x0 + sigma eps is a line in x0. Solve it.",
         "Subtract the noise first, then undo the scaling.",
         "(x - sigma * eps) / alpha"),
        x0_cases),
    Exercise(
        "c02-handful", "handful_guess", "The exact denoiser of a handful of clips", 3, 15, 3,
        ("If only N clips exist, the best guess is their mean, weighted by how likely each of them "
         "is to have become x.",
         "Clip i becomes x with a density proportional to exp(-|x - alpha clip_i|^2 / (2 "
         "sigma^2)), the square summed over all pixels. Weights are these, divided by their sum.",
         "A softmax over the clips of -|x - alpha clip_i|^2 / (2 sigma^2); torch.softmax takes the "
         "largest out first, so nothing becomes 0 / 0. Flatten, then `weights @ data.flatten(1)`."),
        handful_cases, ("minidiff.gaussians.dataset_denoiser",
                        "minidiff.gaussians.mixture_denoiser"), gradients=False),
    Exercise(
        "c02-step", "ddpm_step", "One step back: DDPM's posterior", 3, 15, 3,
        ("Believe x0 for a moment. Then x_s is Gaussian given x_t and x0: its mean lies on the "
         "line to x0, its spread is known.",
         "Write eps for the noise that x_t and x0 imply. std = sigma_s / sigma_t * sqrt(sigma_t^2 "
         "- (alpha_t / alpha_s)^2 sigma_s^2); the rest of sigma_s^2 is carried by eps.",
         "x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) eps + std noise. At s = 0 std is 0 by "
         "itself."),
        step_cases, ("minidiff.samplers.ddim_step",)),
    Exercise(
        "c02-reverse", "reverse", "The reverse loop", 2, 10, 2,
        ("A guess, a step, a guess, a step: as many steps as there are pairs of neighbours in ts.",
         "`itertools.pairwise(ts)` gives (t, s). In step k the noise is noises[k].",
         "for k, (t, s) in enumerate(pairwise(ts)): x = ddpm_step(schedule, x, denoise(x, t), t, "
         "s, noises[k]). Return x."),
        loop_cases, ("minidiff.samplers.ddpm", "minidiff.samplers.ddim",
                     "minidiff.samplers.ddim_step"), gradients=False),
)

QUESTIONS = (
    Question("c02-early", "predict",
             "A denoiser sees almost pure noise (t = 0.98). What will its best guess x0-hat of a "
             "clip of one digit look like?",
             ("A sharp digit, chosen at random", "A blur: the mean of all clips",
              "Grey noise, weaker than the input")),
    Question("c02-copies", "predict",
             "Sixteen noises go through the exact denoiser of 16 training clips, 50 steps. What "
             "comes out?",
             ("New digits, mixtures of the sixteen", "Training clips, copied exactly",
              "The mean of the sixteen, every time")),
    Question("c02-bug", "bughunt",
             "The loss of this training falls, but no digit comes out: its samples are white, with "
             "specks. Which of its four choices is wrong?",
             ("The loss compares with x0, while the sampler reads the output as eps",
              "The learning rate is ten times too large",
              "The batch is too small for the number of digits",
              "The schedule runs from noise to data instead of from data to noise"), 1, 3),
)
