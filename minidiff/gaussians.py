"""Exact denoisers: E[x0 | x_t] in closed form, for data whose distribution is known.

If x0 ~ N(mu, c^2) then x_t is Gaussian too. Its posterior mean and its least error are
(Bishop 2006 eq. 2.116)

    D(x, t) = mu + alpha c^2 / (alpha^2 c^2 + sigma^2) (x - alpha mu)
    mse(t)  = sigma^2 c^2 / (alpha^2 c^2 + sigma^2)

The same formulas hold per element, per component of a mixture, and per principal axis of a clip.
A perfect network would give these answers, so samplers can be compared with an exact sample, and
trainings with the least loss that is possible.
"""
from collections.abc import Callable

import torch
from torch import Tensor

from minidiff.denoiser import DenoiseFn
from minidiff.schedules import Schedule, as_times, coefficients

MIN_VARIANCE = 1e-30                # data without spread and without noise would be 0 / 0


def gaussian_denoiser(schedule: Schedule, mean: Tensor | float = 0.0,
                      std: Tensor | float = 1.0) -> DenoiseFn:
    """The denoiser of x0 ~ N(mean, diag std^2).

    mean, std: numbers, or tensors that broadcast against x; std >= 0. It takes all times that
    `coefficients` takes. Raises ValueError for a negative std.
    """
    check_std(std)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = coefficients(schedule, t, x)
        mu, c = tensor_like(mean, x), tensor_like(std, x)
        return mu + gain(alpha, sigma, c**2) * (x - alpha * mu)
    return denoise


def gaussian_flow(schedule: Schedule, mean: Tensor | float = 0.0,
                  std: Tensor | float = 1.0) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The probability flow of x0 ~ N(mean, diag std^2), solved: `flow(x_t, t, s) -> x_s`, exact.

    x_t ~ N(alpha_t mean, alpha_t^2 std^2 + sigma_t^2), and the flow keeps each point's distance
    from the mean in standard deviations. t, s: as in `coefficients`, in either order. Raises
    ValueError for a negative std.
    """
    check_std(std)

    def flow(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        (a_t, s_t), (a_s, s_s) = coefficients(schedule, t, x), coefficients(schedule, s, x)
        mu, var = tensor_like(mean, x), tensor_like(std, x) ** 2
        ratio = (a_s**2 * var + s_s**2) / (a_t**2 * var + s_t**2).clamp(min=MIN_VARIANCE)
        return a_s * mu + ratio.sqrt() * (x - a_t * mu)
    return flow


def gaussian_mse(schedule: Schedule, std: Tensor | float, t: Tensor) -> Tensor:
    """The least mean squared error of any guess of x0 from x_t, per element: like t.

    x0 ~ N(mean, diag std^2), for any mean; std: a number, or any shape, which is averaged over. t:
    any shape. Raises ValueError for a negative std.
    """
    check_std(std)
    var = tensor_like(std, t).flatten() ** 2                                            # (D,)
    alpha, sigma = (c.unsqueeze(-1) for c in schedule(t))                        # (..., 1)
    return (sigma**2 * var / (alpha**2 * var + sigma**2).clamp(min=MIN_VARIANCE)).mean(-1)


def mixture_denoiser(schedule: Schedule, means: Tensor, std: Tensor | float,
                     weights: Tensor | None = None) -> DenoiseFn:
    """The denoiser of a mixture of K isotropic Gaussians: their guesses, by posterior weight.

    means: (K, ...) with x (B, ...). std: a number or (K,), >= 0. weights: (K,) > 0, in any unit;
    equal unless given. t: () or (B,). The posterior is a softmax of logs, so it is right at both
    ends and for std = 0. Raises ValueError for bad shapes or signs.
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
        flat, mu = x.flatten(1), tensor_like(means, x).flatten(1)                # (B, D), (K, D)
        alpha, sigma = coefficients(schedule, one_time_per_sample(t), flat)      # () or (B, 1)
        c2, w = tensor_like(std, x) ** 2, tensor_like(weights, x)                # () or (K,)
        var = (alpha**2 * c2 + sigma**2).clamp(min=MIN_VARIANCE)                 # up to (B, K)
        distance = (flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ mu.T
                    + alpha**2 * mu.square().sum(1))
        logs = -distance / (2 * var)                                             # (B, K)
        logs = logs - logs.amax(1, keepdim=True)                                 # they reach 1e30
        if c2.ndim:
            logs = logs - flat.shape[1] / 2 * (var / var.amin(-1, keepdim=True)).log()
        r, g = torch.softmax(logs + w.log(), 1), gain(alpha, sigma, c2)          # g: as var
        return ((r * (1 - alpha * g)) @ mu + (r * g).sum(1, keepdim=True) * flat).view_as(x)
    return denoise


def dataset_denoiser(schedule: Schedule, data: Tensor) -> DenoiseFn:
    """The denoiser of data (N, ...): their mean, weighted by distance (Karras 2022 eq. 57).

    A network that fits its training set perfectly gives this: at t = 0 the nearest datum, at
    alpha = 0 the mean of all. Samples of it are the data themselves, so a network that makes new
    videos must differ from it. Times and errors as for `mixture_denoiser`.
    """
    return mixture_denoiser(schedule, data, 0.0)


def ar1_clips(shape: tuple[int, ...], rho: float, std: float = 1.0,
              generator: torch.Generator | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Gaussian clips (B, T, ...): each element a stationary AR(1) process over the frames, mean 0.

    f_{k+1} = rho f_k + sqrt(1 - rho^2) std w_k, so frames k apart have correlation rho^k: rho = 0
    is noise, 1 a still picture. The clips are on the generator's device. Raises ValueError unless
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

    t: () or (B,). The best denoiser of single frames is `gaussian_denoiser(schedule, 0, std)`,
    for any rho; the difference to it is the use of the other frames. Raises ValueError unless
    -1 <= rho <= 1 and std >= 0, or for one time per frame.
    """
    check_correlation(rho), check_std(std)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        variances, axes = (tensor_like(c, x) for c in ar1_axes(x.shape[1], rho, std))
        clips = x.reshape(*x.shape[:2], -1)                                      # (B, T, N)
        alpha, sigma = coefficients(schedule, one_time_per_sample(t), clips)     # () or (B, 1, 1)
        g = gain(alpha, sigma, variances[:, None])                               # up to (B, T, 1)
        return (axes @ (g * (axes.T @ clips))).view_as(x)
    return denoise


def ar1_mse(schedule: Schedule, frames: int, rho: float, std: float, t: Tensor) -> Tensor:
    """The least mean squared error of any guess of x0 from a whole noisy AR(1) clip: like t.

    Per element, for clips of T frames. For a guess from a single frame it is
    `gaussian_mse(schedule, std, t)`; both are equal for rho = 0. Raises ValueError unless
    -1 <= rho <= 1 and std >= 0.
    """
    check_correlation(rho), check_std(std)
    return gaussian_mse(schedule, ar1_axes(frames, rho, std)[0].sqrt(), t)


def prediction_loss(schedule: Schedule, prediction: Callable, mse: Tensor, t: Tensor) -> Tensor:
    """The loss on F = p x0 + q eps that belongs to a mean squared error `mse` of x0: like t.

    x_t is given and eps = (x_t - alpha x0) / sigma, so
    `F = (p - q alpha / sigma) x0 + q x_t / sigma`: F's error is x0's times (p - q alpha / sigma).
    The least error gives the least loss. prediction: an entry of `denoiser.PREDICTIONS`. Raises
    ValueError at sigma = 0 (0 / 0).
    """
    alpha, sigma = schedule(t)
    if not (sigma > 0).all():
        raise ValueError("The loss of a prediction needs noise: choose t > 0.")
    p, q = prediction(alpha, sigma)
    return (p - q * alpha / sigma) ** 2 * mse


def gain(alpha: Tensor, sigma: Tensor, var: Tensor) -> Tensor:
    """x0's regression on x_t, alpha c^2 / (alpha^2 c^2 + sigma^2): the factor of x_t - alpha mu."""
    return alpha * var / (alpha**2 * var + sigma**2).clamp(min=MIN_VARIANCE)


def tensor_like(value: Tensor | float, x: Tensor) -> Tensor:
    """value in x's dtype and device."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def one_time_per_sample(t: Tensor) -> Tensor:
    """t, or a ValueError for one time per frame, for which these formulas do not hold."""
    t = as_times(t)
    if t.ndim > 1:
        raise ValueError("This exact denoiser mixes the frames of a clip, so it takes one time () "
                         f"or one per sample (B,), not one per frame {tuple(t.shape)}.")
    return t


def check_std(std: Tensor | float) -> None:
    """Raises ValueError for a negative std."""
    if not (torch.as_tensor(std) >= 0).all():
        raise ValueError("A standard deviation must not be negative.")


def check_correlation(rho: float) -> None:
    """Raises ValueError unless rho is in [-1, 1]."""
    if not -1 <= rho <= 1:
        raise ValueError(f"rho is a correlation, between -1 and 1, got {rho}.")
