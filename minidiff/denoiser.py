"""Denoisers: `denoise(x, t) -> x0`, the best guess of the clean data, from a network or otherwise.

A network's output is F = p x0 + q eps; with x_t = alpha x0 + sigma eps these are two lines in two
unknowns, so x0 = (q x_t - sigma F) / (q alpha - sigma p). Everything that changes sampling maps
denoise -> denoise: guidance, clipping, inpainting.

Papers: DDPM (Ho 2020), v-prediction (Salimans 2022), EDM (Karras 2022), rectified flow (Liu 2023),
Diffusion Forcing (Chen 2024).
"""
import warnings
from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from minidiff.runtime.tracing import values_can_be_checked
from minidiff.schedules import Schedule, add_noise, as_times, check_times_fit, coefficients

DenoiseFn = Callable[[Tensor, Tensor], Tensor]

PREDICTIONS = {  # name -> (p, q) of the network's output F = p x0 + q eps, given (alpha, sigma)
    "eps": lambda a, s: (0 * a, 1 + 0 * s),
    "x0": lambda a, s: (1 + 0 * a, 0 * s),
    "v": lambda a, s: (-s, a),
    "flow": lambda a, s: (-1 + 0 * a, 1 + 0 * s),
}
MIN_COEFFICIENT = 1e-6  # of alpha and sigma when solving for x0, which is then finite at both ends
MAX_INPUT_SCALE = 2.0   # of x_t at t = 1, for data and noise of size 1: all schedules but VE have 1

x0_is_clipped = ContextVar("x0_is_clipped", default=False)      # set by `guidance.clipped`


class Denoiser(nn.Module):
    """A network, its schedule and what it predicts: together, the posterior mean E[x0 | x_t].

    net: `net(x, t, cond) -> like x` with x (B, C, H, W) or (B, T, C, H, W), t (B,) or (B, T) in
    [0, 1], cond (B, ...) or None. t is float32, or float64 if x is; it is never rounded to half
    precision.
    prediction: "eps" (Ho 2020), "x0", "v" (Salimans 2022 eq. 9) or "flow" (eps - x0, Liu 2023).
    Raises ValueError for another prediction, or for a schedule that makes x_t too large to be a
    network's input (`VE` with a sigma_max of 2 or more).
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str = "v"):
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"Unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}.")
        check_input_scale(schedule)
        self.net, self.schedule, self.prediction = net, schedule, prediction
        self.has_warned = False

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None, **more) -> Tensor:
        """x_t -> x0, like x. t: (), (B,) or (B, T), in [0, 1], as in `schedules.coefficients`.

        more: what else the network takes, by name, for example a second time.

        Half-precision inputs are solved for x0 in float32. eps-prediction at alpha = 0 does not
        determine x0: the result is finite, but the network's error is multiplied by 1e6. This
        warns once; the cure is `guidance.clipped`, or a grid that starts below t = 1.
        """
        t, wide = as_times(t), x.to(at_least_float32(x))
        a, s = (c.clamp(min=MIN_COEFFICIENT) for c in coefficients(self.schedule, t, wide))
        self.warn_if_undetermined(t)
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(x, network_times(t, x), cond, **more).to(wide.dtype)
        return ((q * wide - s * out) / (q * a - s * p)).to(x.dtype)

    def loss(self, x0: Tensor, cond: Tensor | None = None, t: Tensor | None = None,
             noise: Tensor | None = None, **more) -> Tensor:
        """The network's mean squared error, one per sample: (B,).

        t: (), (B,) or, for one time per frame, (B, T); uniform (B,) unless given. For eps this is
        DDPM's simple loss (Ho 2020 eq. 14); for flow it is conditional flow matching (Lipman 2023
        eq. 23). more: as in `forward`.
        """
        t = torch.rand(len(x0), device=x0.device) if t is None else as_times(t)
        noise = torch.randn_like(x0) if noise is None else noise
        a, s = coefficients(self.schedule, t, x0)
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(add_noise(self.schedule, x0, noise, t), network_times(t, x0), cond, **more)
        return (out - (p * x0 + q * noise)).square().flatten(1).mean(1)

    def warn_if_undetermined(self, t: Tensor) -> None:
        """Warns, once, if eps-prediction must give x0 at alpha = 0 without clipping."""
        if self.prediction != "eps" or not values_can_be_checked(t) or self.has_warned:
            return
        if (self.schedule(t)[0] < MIN_COEFFICIENT).any() and not x0_is_clipped.get():
            self.has_warned = True
            warnings.warn(
                "eps-prediction does not determine x0 at alpha = 0 (t = 1 of this schedule): the "
                "network's error is multiplied by 1e6. Wrap the denoiser, "
                "guidance.clipped(denoise), or start below t = 1, timesteps(n, t_max=0.999).",
                stacklevel=2)


def network_times(t: Tensor, x: Tensor) -> Tensor:
    """t as a network takes it: (B,) or (B, T) on x's device, in float32, or float64 if x is."""
    check_times_fit(t, x)
    return t.to(x.device, at_least_float32(x)).expand(t.shape or x.shape[:1])


def at_least_float32(x: Tensor) -> torch.dtype:
    """x's dtype, but float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)


def check_input_scale(schedule: Schedule) -> None:
    """Raises ValueError if x_1, for data and noise of size 1, is too large for a network."""
    alpha, sigma = schedule(torch.ones((), dtype=torch.float64, device="cpu"))
    scale = (alpha**2 + sigma**2).sqrt()
    if values_can_be_checked(scale) and scale > MAX_INPUT_SCALE:
        raise ValueError(
            f"This schedule makes x_t {scale.item():.3g} times as large as the data at t = 1, and "
            "Denoiser does not scale its network's input: choose Cosine, Flow or Discrete. VE is "
            "for the exact denoisers in minidiff.gaussians.")
