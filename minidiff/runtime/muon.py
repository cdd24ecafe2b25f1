"""Muon: momentum whose update is made orthogonal, matrix by matrix.

A gradient's matrix is mostly a few large directions; setting all its singular values to about 1
lets the small ones learn as fast. The nearest orthogonal matrix is found by five Newton-Schulz
steps `X <- a X + (b A + c A^2) X` with A = X X^T: products, no SVD. Scaled to the size of Adam's
updates it shares Adam's learning rate. Here it reaches a given loss in about half of Adam's steps
(benchmarks/studies/muon_vs_adamw.py).

Papers: Muon (Jordan 2024), its scaling (Liu 2025 eq. 4). torch.optim.Muon takes 2-D weights only;
convolutions are flattened here.
"""
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minidiff.runtime.precision import has_bf16


class Muon(torch.optim.Optimizer):
    """The optimiser for weights of two or more axes: rows are the first axis, columns the others.

    Biases, embeddings and other vectors are left to AdamW (see `split_parameters`).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 3e-3, momentum: float = 0.95,
                 weight_decay: float = 0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight that has a gradient; weights of one shape are updated together."""
        for group in self.param_groups:
            same_shape = defaultdict(list)          # one batched product instead of many small
            for p in group["params"]:
                if p.grad is not None:
                    same_shape[p.flatten(1).shape].append(p)
            for params in same_shape.values():
                self.update(params, group["lr"], group["momentum"], group["weight_decay"])

    def update(self, params: list[nn.Parameter], lr: float, momentum: float,
               weight_decay: float) -> None:
        """One step for weights of one shape."""
        gradients = []
        for p in params:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            mean = state["momentum"]
            mean.lerp_(p.grad, 1 - momentum)
            gradients.append(p.grad.lerp(mean, momentum).flatten(1))     # Nesterov momentum
        for p, update in zip(params, orthogonalise(torch.stack(gradients)), strict=True):
            size = 0.2 * max(update.shape) ** 0.5                                # as Adam's updates
            p.mul_(1 - lr * weight_decay).add_(update.view(p.shape), alpha=-lr * size)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """(k, m, n) -> (k, m, n): the same singular vectors, singular values of 0.7 to 1.2.

    Five Newton-Schulz steps with the coefficients of Jordan (2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    x = x.to(torch.bfloat16 if has_bf16(x.device) else torch.float32)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def split_parameters(module: nn.Module, min_channels: int = 16
                     ) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """A module's parameters as (matrices for Muon, all others for AdamW).

    Embeddings, and weights with fewer than `min_channels` channels in or out (a network's first
    and last layers), count among the others.
    """
    embeddings = (m for m in module.modules() if isinstance(m, nn.Embedding))
    tables = {id(p) for m in embeddings for p in m.parameters()}
    matrices, others = [], []
    for p in module.parameters():
        hidden = p.ndim >= 2 and min(p.shape[:2]) >= min_channels and id(p) not in tables
        (matrices if hidden else others).append(p)
    return matrices, others
