"""Exact denoisers: E[x0 | x_t] in closed form, for data whose distribution is known.

If x0 ~ N(mu, c^2) then x_t is Gaussian too. Its posterior mean and its least error are
(Bishop 2006 eq. 2.116)

    D(x, t) = mu + alpha c^2 / (alpha^2 c^2 + sigma^2) (x - alpha mu)
    mse(t)  = sigma^2 c^2 / (alpha^2 c^2 + sigma^2)

That serves per element, per component of a mixture, and per principal axis of a clip. A perfect
network would answer so: samplers get an exact sample to be held against, and trainings the loss
that no network can beat.
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn
from minidiff.schedules import Schedule, coefficients

MIN_VARIANCE = 1e-30  # a variance that still divides: data without spread, seen without noise, is 0 / 0


def gaussian_denoiser(schedule: Schedule, mean: Tensor | float = 0.0,
                      std: Tensor | float = 1.0) -> DenoiseFn:
    """The denoiser of x0 ~ N(mean, diag std^2).

    mean, std: numbers, or tensors that broadcast against x; std >= 0. Raises ValueError for a
    negative std.
    """
    check_std(std)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        (alpha, sigma), mu, c = coefficients(schedule, t, x), tensor_like(mean, x), tensor_like(std, x)
        return mu + gain(alpha, sigma, c**2) * (x - alpha * mu)
    return denoise


def gaussian_flow(schedule: Schedule, mean: Tensor | float = 0.0,
                  std: Tensor | float = 1.0) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The probability flow of x0 ~ N(mean, diag std^2), solved: `flow(x_t, t, s) -> x_s`, exact.

    x_t ~ N(alpha_t mean, alpha_t^2 std^2 + sigma_t^2), and the flow keeps how many standard
    deviations from the mean a point is. t, s: one time or (B,), in either order. Raises ValueError
    for a negative std.
    """
    check_std(std)

    def flow(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        (a_t, s_t), (a_s, s_s) = coefficients(schedule, t, x), coefficients(schedule, s, x)
        mu, var = tensor_like(mean, x), tensor_like(std, x) ** 2
        ratio = (a_s**2 * var + s_s**2) / (a_t**2 * var + s_t**2).clamp(min=MIN_VARIANCE)
        return a_s * mu + ratio.sqrt() * (x - a_t * mu)
    return flow


def gaussian_mse(schedule: Schedule, std: Tensor | float, t: Tensor) -> Tensor:
    """The least mean squared error of any x0 guessed from x_t, per element: like t.

    x0 ~ N(mean, diag std^2), whatever the mean; std: a number or any shape, averaged over. t: () or
    (B,). Raises ValueError for a negative std.
    """
    check_std(std)
    var = tensor_like(std, t).flatten() ** 2                                            # (D,)
    alpha, sigma = (c.unsqueeze(-1) for c in schedule(t))                        # (..., 1)
    return (sigma**2 * var / (alpha**2 * var + sigma**2).clamp(min=MIN_VARIANCE)).mean(-1)


def mixture_denoiser(schedule: Schedule, means: Tensor, std: Tensor | float,
                     weights: Tensor | None = None) -> DenoiseFn:
    """The denoiser of a mixture of K isotropic Gaussians: their guesses by posterior weight.

    means: (K, ...) with x (B, ...). std: a number or (K,), >= 0. weights: (K,) > 0, in any unit;
    equal unless given. The posterior is a softmax of logs, so both ends are right, std 0 too.
    Raises ValueError for bad shapes or signs.
    """
    check_std(std)
    std, weights = (torch.as_tensor(1.0 if c is None else c) for c in (std, weights))
    unfit = any(c.ndim and c.shape != means.shape[:1] for c in (std, weights))
    if means.ndim < 2 or not len(means) or unfit:
        raise ValueError("A mixture needs means (K, ...) with K >= 1, "
                         "and for std and weights one number or K.")
    if not (weights > 0).all():
        raise ValueError("Every weight of a mixture must be positive.")

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        flat, mu = x.flatten(1), tensor_like(means, x).flatten(1)                       # (B, D), (K, D)
        alpha, sigma = coefficients(schedule, t, flat)                           # () or (B, 1)
        c2, w = tensor_like(std, x) ** 2, tensor_like(weights, x)                              # () or (K,)
        var = (alpha**2 * c2 + sigma**2).clamp(min=MIN_VARIANCE)                     # up to (B, K)
        distance = (flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ mu.T
                    + alpha**2 * mu.square().sum(1))
        logs = -distance / (2 * var)                                             # (B, K)
        logs = logs - logs.amax(1, keepdim=True)                                 # were up to 1e30
        if c2.ndim:
            logs = logs - flat.shape[1] / 2 * (var / var.amin(-1, keepdim=True)).log()
        r, g = torch.softmax(logs + w.log(), 1), gain(alpha, sigma, c2)          # g: as var
        return ((r * (1 - alpha * g)) @ mu + (r * g).sum(1, keepdim=True) * flat).view_as(x)
    return denoise


def dataset_denoiser(schedule: Schedule, data: Tensor) -> DenoiseFn:
    """The denoiser of data (N, ...): their mean, softmax-weighted by nearness (Karras 2022 eq. 57).

    A network that fits its training set perfectly answers so: at t = 0 the nearest datum, at
    alpha = 0 the mean of all. Sampling with it gives the data back, so whatever makes new videos
    must differ from it.
    """
    return mixture_denoiser(schedule, data, 0.0)


def ar1_clips(shape: tuple[int, ...], rho: float, std: float = 1.0,
              generator: torch.Generator | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Gaussian clips (B, T, ...): each element a stationary AR(1) process over the frames, mean 0.

    f_{k+1} = rho f_k + sqrt(1 - rho^2) std w_k, so frames k apart correlate by rho^k: 0 is noise, 1
    a still picture. The clips lie on the generator's device. Raises ValueError unless
    -1 <= rho <= 1 and std >= 0.
    """
    check_correlation(rho), check_std(std)
    device = generator.device if generator else None
    clips = std * torch.randn(shape, generator=generator, dtype=dtype, device=device)
    for k in range(1, shape[1]):
        clips[:, k] = rho * clips[:, k - 1] + (1 - rho**2) ** 0.5 * clips[:, k]
    return clips


def ar1_axes(frames: int, rho: float, std: float = 1.0) -> tuple[Tensor, Tensor]:
    """The principal axes of std^2 rho^|i - j|: variances (T,), axes in columns (T, T), float64."""
    k = torch.arange(frames)
    covariance = std**2 * torch.tensor(rho, dtype=torch.float64) ** (k[:, None] - k).abs()
    variances, axes = torch.linalg.eigh(covariance)
    return variances.clamp(min=0), axes


def ar1_denoiser(schedule: Schedule, rho: float, std: float = 1.0) -> DenoiseFn:
    """The denoiser of `ar1_clips`, x (B, T, ...): Gaussian along each principal axis of a clip.

    The best denoiser that sees one frame at a time is `gaussian_denoiser(schedule, 0, std)`,
    whatever rho is; what this one gains over it is what time knows. Raises ValueError unless
    -1 <= rho <= 1 and std >= 0.
    """
    check_correlation(rho), check_std(std)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        variances, axes = (tensor_like(c, x) for c in ar1_axes(x.shape[1], rho, std))   # (T,), (T, T)
        clips = x.reshape(*x.shape[:2], -1)                                      # (B, T, N)
        g = gain(*coefficients(schedule, t, clips), variances[:, None])          # up to (B, T, 1)
        return (axes @ (g * (axes.T @ clips))).view_as(x)
    return denoise


def ar1_mse(schedule: Schedule, frames: int, rho: float, std: float, t: Tensor) -> Tensor:
    """The least mean squared error of any x0 guessed from a whole noisy AR(1) clip: like t.

    Per element, for clips of T frames. From one frame alone it is `gaussian_mse(schedule, std, t)`;
    the gap is 0 for rho = 0. Raises like `ar1_denoiser`.
    """
    check_correlation(rho), check_std(std)
    return gaussian_mse(schedule, ar1_axes(frames, rho, std)[0].sqrt(), t)


def prediction_loss(schedule: Schedule, prediction: Callable, mse: Tensor, t: Tensor) -> Tensor:
    """The loss on F = p x0 + q eps that an x0 error of `mse` amounts to: like t.

    x_t is given and eps = (x_t - alpha x0) / sigma, so
    `F = (p - q alpha / sigma) x0 + q x_t / sigma`: x0's error times (p - q alpha / sigma). The
    least error gives the least loss. prediction: an entry of `denoiser.PREDICTIONS`. Raises
    ValueError at sigma = 0 (0 / 0).
    """
    alpha, sigma = schedule(t)
    if not (sigma > 0).all():
        raise ValueError("The loss of a prediction needs noise: choose t > 0.")
    p, q = prediction(alpha, sigma)
    return (p - q * alpha / sigma) ** 2 * mse


def gain(alpha: Tensor, sigma: Tensor, var: Tensor) -> Tensor:
    """x0's regression on x_t, alpha c^2 / (alpha^2 c^2 + sigma^2): the trust in x_t - alpha mu."""
    return alpha * var / (alpha**2 * var + sigma**2).clamp(min=MIN_VARIANCE)


def tensor_like(value: Tensor | float, x: Tensor) -> Tensor:
    """value in x's dtype and device."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def check_std(std: Tensor | float) -> None:
    """Raises ValueError for a negative std."""
    if not (torch.as_tensor(std) >= 0).all():
        raise ValueError("A standard deviation must not be negative.")


def check_correlation(rho: float) -> None:
    """Raises ValueError for a rho that is no correlation."""
    if not -1 <= rho <= 1:
        raise ValueError(f"rho is a correlation, between -1 and 1, got {rho}.")
