"""Chapter 01, forward noising: the student's exercises and the inputs of their checks."""
from collections.abc import Callable
from itertools import product

import torch

from minidiff.course.checking.exercise import Case, Exercise, Question, dtype_name, seeded_randn
from minidiff.schedules import Cosine, Discrete, Flow

DTYPES = torch.float32, torch.float64


def chain_cases() -> list[Case]:
    """Data of three shapes with three betas and a noise for each."""
    cases = []
    for seed, (shape, dtype) in enumerate(product(((5,), (2, 1, 3, 3), (2, 3, 1, 2, 2)), DTYPES)):
        betas = torch.tensor([0.05, 0.3, 0.6], dtype=dtype)
        x0, noises = (
            seeded_randn(seed, *shape, dtype=dtype),
            seeded_randn(seed + 50, 3, *shape, dtype=dtype),
        )
        cases.append(Case(f"x0 {shape}, 3 betas, {dtype_name(dtype)}", (x0, betas, noises)))
    return cases


def noise_cases() -> list[Case]:
    """Images and clips on three schedules, with one time for all or a time for each."""
    cases = []
    shapes = ((4, 1, 6, 5), "images"), ((5, 1, 3, 5), "images, as many as pixels in a row"), \
        ((3, 5, 1, 4, 2), "clips"), ((4, 4, 1, 5, 3), "clips, as many as frames in each")
    schedules = (Cosine(), DTYPES[0]), (Flow(), DTYPES[1]), (Discrete.linear(), DTYPES[1])
    for seed, ((shape, what), (schedule, dtype)) in enumerate(product(shapes, schedules)):
        x0, noise = (
            seeded_randn(seed, *shape, dtype=dtype),
            seeded_randn(seed + 50, *shape, dtype=dtype),
        )
        each = torch.linspace(0.1, 0.8, shape[0], dtype=dtype)
        for t, times in ((each, "a time for each"), (each[1], "one time for all")):
            cases.append(Case(f"{type(schedule).__name__}, {what}, x0 {shape}, {times}, "
                              f"{dtype_name(dtype)}", (schedule, x0.clone(), noise.clone(), t)))
    return cases


def ends(dtype: torch.dtype) -> Callable:
    """A call of a schedule that returns the two values which must be exactly 0."""
    def use(schedule: Callable) -> str:
        (_, start), (end, _) = (schedule(torch.tensor(t, dtype=dtype)) for t in (0.0, 1.0))
        return f"sigma {abs(float(start)):.1g} at t = 0, alpha {abs(float(end)):.1g} at t = 1"
    return use


def cosine_cases() -> list[Case]:
    """One time, several times, and the two ends, t = 0 and t = 1."""
    times = torch.tensor(0.3), torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    cases = [
        Case(f"t {tuple(t.shape)}, {dtype_name(d)}", (t.to(d),)) for t in times for d in DTYPES
    ]
    return cases + [Case(f"both ends, {dtype_name(d)}", (), call=ends(d)) for d in DTYPES]


def same_noise_cases() -> list[Case]:
    """Pairs of schedules, with times of the first to translate to the second."""
    pairs = (Cosine(), Flow()), (Flow(), Cosine()), (Discrete.linear(), Cosine()), \
        (Flow(), Discrete.linear())
    one, several = torch.tensor(0.4), torch.tensor([0.15, 0.3, 0.45, 0.6, 0.8])
    calls = [(*pairs[0], one), *((*pair, several) for pair in pairs)]
    return [Case(f"{type(a).__name__} at t {tuple(t.shape)}, then {type(b).__name__}",
                 (a, b, t.clone())) for a, b, t in calls]


def clip_noise_cases() -> list[Case]:
    """Noise of clips with shares rho of common noise from 0 to 1."""
    cases = []
    for seed, (shape, rho, dtype) in enumerate(
            product(((2, 5, 1, 4, 3), (4, 4, 2, 3, 3)), (0.0, 0.2, 0.8, 1.0), DTYPES)):
        eps = seeded_randn(seed, *shape, dtype=dtype)
        shared = seeded_randn(seed + 50, shape[0], *shape[2:], dtype=dtype)
        cases.append(Case(f"eps {shape}, rho = {rho}, {dtype_name(dtype)}", (eps, shared, rho)))
    return cases


def gaussian_cases() -> list[Case]:
    """Noised samples of Gaussians: one mean and std for all axes, or one of each per axis."""
    spread = torch.tensor([2.0, 1.0, 0.5, 0.1, 0.0])
    known = ((0.0, 1.0), (0.5, 0.2), (-1.0, 2.0), (seeded_randn(3, 5), spread))
    cases = []
    for seed, (schedule, t, (mean, std), dtype) in enumerate(
            product((Cosine(), Flow()), (0.1, 0.8), known, DTYPES)):
        alpha, sigma = schedule(torch.tensor(t, dtype=dtype))
        mean, std = (v.to(dtype, copy=True) if isinstance(v, torch.Tensor) else v
                     for v in (mean, std))
        x0, eps = (
            mean + std * seeded_randn(seed, 3, 5, dtype=dtype),
            seeded_randn(seed + 50, 3, 5, dtype=dtype),
        )
        kind = f"mean {mean}, std {std}" if isinstance(mean, float) else "a std for each of 5 axes"
        cases.append(Case(f"{type(schedule).__name__}, t = {t}, {kind}, {dtype_name(dtype)}",
                          (alpha * x0 + sigma * eps, mean, std, alpha, sigma)))
    return cases


EXERCISES = (
    Exercise(
        "c01-one-step", "noising_chain", "A thousand small steps", 2, 8, 1,
        ("A loop: each step makes the new x from the last one. Keep every x on the way, x0 too.",
         "beta is the variance that a step adds. A sum of independent things has the sum of their "
         "variances, so 1 - beta is left for x.",
         "x = (1 - beta).sqrt() * x + beta.sqrt() * noise, a new tensor each time; append it to a "
         "list that begins with x0 and return torch.stack(list)."),
        chain_cases),
    Exercise(
        "c01-add-noise", "add_noise", "Any noise level in one jump", 2, 8, 1,
        ("Call the schedule to get alpha and sigma at t, then mix.",
         "With t (B,) both are (B,), and PyTorch lines axes up from the right: to multiply clips "
         "(B, T, C, H, W) they must become (B, 1, 1, 1, 1), for images (B, 1, 1, 1).",
         "`alpha.view(-1, *[1] * (x0.ndim - 1))` has as many axes as x0, for t () as well; then "
         "alpha * x0 + sigma * noise."),
        noise_cases, ("minidiff.schedules.add_noise", "minidiff.schedules.coefficients",
                      "minidiff.schedules.append_dims")),
    Exercise(
        "c01-cosine", "cosine", "A schedule with exact ends", 1, 6, 1,
        ("(alpha, sigma) walks a quarter circle, from (1, 0) to (0, 1), at constant speed.",
         "The angle is pi / 2 times t; sigma is its sine and alpha its cosine.",
         "float32 has no exact pi / 2, so torch.cos(pi / 2) is -4e-8. But sin(0) is 0: write the "
         "cosine as torch.sin(pi / 2 * (1 - t))."),
        cosine_cases, ("minidiff.schedules.Cosine.__call__",), gradients=False),
    Exercise(
        "c01-same-noise", "same_noise", "The same noise on another schedule", 2, 15, 3,
        ("Equally noisy means: the same ratio of alpha to sigma. On every schedule it only falls "
         "as t grows, so a time that is too clean is too early.",
         "Halve an interval that begins as [0, 1]: if `other` is still cleaner in its middle than "
         "wanted, the answer lies in the later half, else in the earlier one. 40 halvings are "
         "plenty.",
         "cleaner = a / s > alpha / sigma; low = torch.where(cleaner, middle, low); high = "
         "torch.where(cleaner, high, middle). Start from zeros_like(t) and ones_like(t)."),
        same_noise_cases, ("minidiff.schedules.log_snr_timesteps",), gradients=False),
    Exercise(
        "c01-clip-noise", "clip_noise", "Noise for the frames of a clip", 2, 10, 2,
        ("Two independent noises of variance 1 are mixed: their weights squared must sum to 1.",
         "Two frames have only the shared part in common, so the weight of `shared`, squared, is "
         "their correlation rho.",
         "rho**0.5 * shared[:, None] + (1 - rho)**0.5 * eps: the None makes room for the frames."),
        clip_noise_cases),
    Exercise(
        "c01-linear", "gaussian_guess", "The exact denoiser of a Gaussian", 2, 12, 2,
        ("x0 ~ N(mean, std^2) and x_t = alpha x0 + sigma eps are jointly Gaussian. The best guess "
         "is a line through x_t.",
         "E[x0 | x] = mean + gain (x - E[x]), with gain = Cov(x0, x) / Var(x). What are E[x], "
         "Var(x) and Cov(x0, x)?",
         "E[x] = alpha mean, Var(x) = alpha^2 std^2 + sigma^2, Cov(x0, x) = alpha std^2."),
        gaussian_cases, ("minidiff.gaussians.gaussian_denoiser", "minidiff.gaussians.gain"),
        gradients=False),
)

QUESTIONS = (
    Question("c01-thousand", "predict",
             "150 small steps on one side, one jump with the variance they add up to on "
             "the other. How do the two clouds of numbers compare?",
             ("The chain's is wider: 150 noises have piled up",
              "They are equally wide and of one shape, but the numbers differ",
              "The jump keeps the two peaks, which the chain has smeared out")),
    Question("c01-shared", "predict",
             "All eight frames of a clip are mixed with the same noise, at t = 0.85. From every "
             "frame you subtract the mean of the eight. What is left?",
             ("Noise, as strong as before", "The moving digit, nearly clean",
              "Nothing: the frames are equal")),
    Question("c01-bug", "bughunt",
             "The data had variance 1, and so must x_t at every t. Here is its standard deviation "
             "as a colleague's noising made it. Which bug is it?",
             ("t runs backwards, from noise to data",
              "The mixing uses alpha-bar and 1 - alpha-bar themselves, not their square roots",
              "Every sample of the batch gets the same noise",
              "The noise is added without shrinking the data"), 1, 3),
)
