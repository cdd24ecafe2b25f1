"""Denoisers: `denoise(x, t) -> x0`, the best guess of the clean data, from a network or otherwise.

A network's output is F = p x0 + q eps; with x_t = alpha x0 + sigma eps these are two lines in two
unknowns, so x0 = (q x_t - sigma F) / (q alpha - sigma p). What changes sampling maps
denoise -> denoise: guidance, clipping, inpainting.

Papers: DDPM (Ho 2020), v-prediction (Salimans 2022), rectified flow (Liu 2023), classifier-free
guidance (Ho 2022), autoguidance (Karras 2024).
"""
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minidiff.schedules import Schedule, add_noise, as_times, coefficients

DenoiseFn = Callable[[Tensor, Tensor], Tensor]

PREDICTIONS = {  # name -> (p, q) of the network's output F = p x0 + q eps, given (alpha, sigma)
    "eps": lambda a, s: (0 * a, 1 + 0 * s),
    "x0": lambda a, s: (1 + 0 * a, 0 * s),
    "v": lambda a, s: (-s, a),
    "flow": lambda a, s: (-1 + 0 * a, 1 + 0 * s),
}
MIN_COEFFICIENT = 1e-6  # of alpha and sigma where x0 is solved for: x0 at t = 0, eps at t = 1 stay finite


class Denoiser(nn.Module):
    """A network, its schedule and what it predicts: together, the posterior mean E[x0 | x_t].

    net: `net(x, t, cond) -> like x` with x (B, C, H, W) or (B, T, C, H, W), t (B,) in [0, 1], cond
    (B, ...) or None.
    prediction: "eps" (Ho 2020), "x0", "v" (Salimans 2022 eq. 9) or "flow" (eps - x0, Liu 2023).
    Raises ValueError for another.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, prediction: str = "v"):
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(
                f"Unknown prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}.")
        self.net, self.schedule, self.prediction = net, schedule, prediction

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t -> x0, like x. t: one time or (B,), in [0, 1].

        Where x0 is not determined (eps-prediction at alpha = 0) the answer is finite, but as wrong
        as the network makes it.
        """
        t = as_times(t)
        a, s = (c.clamp(min=MIN_COEFFICIENT) for c in coefficients(self.schedule, t, x))
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(x, t.to(x).expand(len(x)), cond)
        return (q * x - s * out) / (q * a - s * p)

    def loss(self, x0: Tensor, cond: Tensor | None = None, t: Tensor | None = None,
             noise: Tensor | None = None) -> Tensor:
        """The network's mean squared error, one per sample: (B,). t: (B,), uniform unless given.

        For eps this is DDPM's simple loss (Ho 2020 eq. 14); for flow it is conditional flow
        matching (Lipman 2023 eq. 23).
        """
        t = torch.rand(len(x0), device=x0.device) if t is None else as_times(t)
        noise = torch.randn_like(x0) if noise is None else noise
        a, s = coefficients(self.schedule, t, x0)
        p, q = PREDICTIONS[self.prediction](a, s)
        out = self.net(add_noise(self.schedule, x0, noise, t), t.to(x0).expand(len(x0)), cond)
        return (out - (p * x0 + q * noise)).square().flatten(1).mean(1)
