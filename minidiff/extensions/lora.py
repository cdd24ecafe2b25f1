"""Low-rank adapters: what a trained model has yet to learn, in a file of its own.

A weight W of the frozen model, a matrix with a row for each output, gets a product of two thin
matrices (LoRA, Hu 2021 section 4.1):

    W + sum_i w_i B_i A_i / sqrt(r),      A_i (r, inputs), B_i (outputs, r), B_i = 0 at first

A convolution is such a matrix, too, with kernel x kernel x channels inputs. Several adapters are
added, each with a weight w_i of its own. Merged, the sum is computed once and the adapters cost
nothing; unmerged, the old weights are what they were.

A new class has a row of the class embedding of its own, so a model of digits learns a letter from a
few drawings. It must not forget the digits meanwhile: half of a batch are the frozen model's own
clips of the old classes (prior preservation, DreamBooth, Ruiz 2023 section 3.3).
"""
import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from minidiff.denoiser import Denoiser
from minidiff.pipeline import base_weights, load
from minidiff.recipes import Recipe, Training, training_by
from minidiff.runtime import files
from minidiff.train import Objective, denoising_objective, draw_integers
from minidiff.unet import UNet

PRIOR_CLIPS, PRIOR_STEPS = 128, 20  # of the base's own clips of old classes, and how they are made
MIN_SIDE = 32                   # matrices with fewer rows or columns are left as they are
EMBEDDING = "class_embedding.weight"


def adapter(recipe: Recipe, network: Denoiser, device="cpu") -> Training:
    """The training of a recipe's adapter on its frozen base."""
    plan = recipe.training
    files.load_into_larger(network, base_weights(recipe, network.net))
    objective = denoising_objective(recipe.null, plan["p_drop"], plan["times"])
    if any(recipe.model["net"]["adapters"].values()):                         # it has new classes
        old = load(recipe.model["base"], device)(n=PRIOR_CLIPS, steps=PRIOR_STEPS, seed=1)
        objective = with_prior(objective, 2 * old.tensor.to(device) - 1, old.labels)
    return training_by(objective, recipe, network)


def with_prior(objective: Objective, clips: Tensor, labels: Tensor) -> Objective:
    """An objective half of whose batch are given clips of old classes, (M, T, C, H, W)."""
    def mixed(denoiser: Denoiser, x0: Tensor, cond: Tensor, g: torch.Generator) -> Tensor:
        n = len(x0) // 2
        rows = draw_integers(n, len(clips), g)
        x0 = torch.cat([x0[n:], clips[rows.to(clips.device)]])
        return objective(denoiser, x0, torch.cat([cond[n:], labels[rows].to(cond)]), g)
    return mixed


class Adapter(nn.Module):
    """The thin matrices of one adapter, and the embeddings (k, E) of its new classes.

    shapes: the weights that it changes, by name, as (outputs, inputs, ...).
    """

    def __init__(self, shapes: dict[str, torch.Size], rank: int, new_classes: int, emb_dim: int):
        super().__init__()
        self.shapes, self.rank = shapes, rank
        self.a, self.b = (nn.ParameterDict() for _ in range(2))
        for name, shape in shapes.items():
            key, inputs = name.replace(".", "-"), shape[1:].numel()
            self.a[key] = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
            self.b[key] = nn.Parameter(torch.zeros(shape[0], rank))
        self.classes = nn.Parameter(0.02 * torch.randn(new_classes, emb_dim))

    def changes(self) -> dict[str, Tensor]:
        """What it adds to each weight, by name."""
        return {name: (self.b[key] @ self.a[key]).view(shape) / self.rank**0.5
                for name, shape in self.shapes.items() for key in [name.replace(".", "-")]}


class AdaptedUNet(nn.Module):
    """A frozen U-Net and its adapters: `net(x, t, cond) -> like x`.

    adapters: name -> how many new classes it has. Class ids are the base's, then those of the
    adapters in their order; `classes` counts all, and the null condition follows. weights: how much
    of each adapter counts, 1 unless changed. Other settings: those of `UNet`.
    """

    def __init__(self, adapters: dict[str, int], rank: int = 4, classes: int | None = None,
                 **settings):
        super().__init__()
        self.base = UNet(classes=classes, **settings).requires_grad_(False)
        self.classes, self.vocab_size = classes, self.base.vocab_size
        shapes = adapted_shapes(self.base)
        emb_dim = self.base.time_embedding(torch.zeros(1)).shape[-1]
        self.adapters = nn.ModuleDict({name: Adapter(shapes, rank, new, emb_dim)
                                       for name, new in adapters.items()})
        self.weights = dict.fromkeys(adapters, 1.0)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None,
                with_temporal_attention: bool = True) -> Tensor:
        return functional_call(self.base, self.adapted_weights(),
                               (x, t, cond, with_temporal_attention))

    def adapted_weights(self) -> dict[str, Tensor]:
        """The base's weights with all adapters, by name."""
        weights = dict(self.base.named_parameters())
        for name, adapter in self.adapters.items():
            for key, change in adapter.changes().items():
                weights[key] = weights[key] + self.weights[name] * change.to(weights[key])
        return self.with_new_classes(weights)

    def with_new_classes(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights, the rows of the new classes among them: behind the old, before the null."""
        new = torch.cat([adapter.classes for adapter in self.adapters.values()])
        if len(new):
            rows, old = weights[EMBEDDING], self.classes - len(new)
            weights[EMBEDDING] = torch.cat([rows[:old], new.to(rows), rows[-1:]])
        return weights

    def from_base(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The base's weights under their names in this network; rows of new classes are 0."""
        new = sum(len(adapter.classes) for adapter in self.adapters.values())
        if new:
            rows = weights[EMBEDDING]
            weights = weights | {EMBEDDING: torch.cat([
                rows[:-1], rows.new_zeros(new, rows.shape[1]), rows[-1:]])}
        return {f"base.{name}": value for name, value in weights.items()}

    def merged(self) -> UNet:
        """A plain U-Net with the weights of the base and all adapters."""
        net = copy.deepcopy(self.base)
        net.load_state_dict({k: v.detach() for k, v in self.adapted_weights().items()},
                            strict=False)
        return net


def adapted_shapes(net: nn.Module) -> dict[str, torch.Size]:
    """The weights of a network that adapters change: those of its convolutions and linear layers.

    Matrices with fewer than `MIN_SIDE` rows or columns are left out.
    """
    kinds = nn.Linear | nn.modules.conv._ConvNd
    shapes = {f"{name}.weight": module.weight.shape for name, module in net.named_modules()
              if isinstance(module, kinds)}
    return {name: shape for name, shape in shapes.items()
            if min(shape[0], shape[1:].numel()) >= MIN_SIDE}
