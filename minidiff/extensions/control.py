"""Control: a picture for each frame that steers a trained model, whose own weights stay.

A copy of the U-Net's way down reads the features of x_t plus those of the hint. What it finds is
added to the frozen network's skips through convolutions that begin at 0 (ControlNet, Zhang 2023
section 3.1):

    skip_i + Z_i(copy_i(h + Z(hint))),     Z = 0 at first: the model is then the base, bit by bit

The hint here is a bright dot where the digit's centre is to be. In training it is the centre of
each frame's ink; a tenth of the clips has no hint.
"""
import copy
import warnings

import torch
from torch import Tensor, nn

from minidiff.denoiser import Denoiser
from minidiff.layers import zero_module
from minidiff.pipeline import base_weights
from minidiff.recipes import Recipe, Training, training_by
from minidiff.runtime import files
from minidiff.schedules import append_dims
from minidiff.train import Objective, draw_noise, draw_times, drop_conditions
from minidiff.unet import UNet, per_frame, walk_down

DOT = 1.5                               # the standard deviation of a dot in pixels
FASTEST = 3 / 32                        # of digits, in sides of a frame per frame


def control(recipe: Recipe, network: Denoiser, device="cpu") -> Training:
    """The training of a recipe's branch on its frozen base."""
    plan = recipe.training
    files.load_into_larger(network, base_weights(recipe, network.net))
    network.net.begin_from_base()
    objective = control_objective(recipe.null, plan["p_drop"], plan["times"], plan["shift"])
    return training_by(objective, recipe, network)


class Branch(nn.Module):
    """A copy of a U-Net's way down, the hint's way in and the ways out, which begin at 0."""

    def __init__(self, net: UNet, channels: tuple[int, ...], hint_channels: int):
        super().__init__()
        self.down, self.downsample, self.middle = map(
            copy.deepcopy, (net.down, net.downsample, net.middle))
        self.hint_in = zero_module(nn.Conv2d(hint_channels * net.patch**2, channels[0], 3,
                                             padding=1))
        self.to_skips = nn.ModuleList(zero_module(nn.Conv2d(c, c, 1)) for c in channels)
        self.to_middle = zero_module(nn.Conv2d(channels[-1], channels[-1], 1))


class ControlUNet(UNet):
    """A U-Net with a branch that reads a hint: `net(x, t, cond, hint=picture) -> like x`.

    hint: (B, T, hint_channels, H, W) in [0, 1]; without one it is the U-Net alone. strength: (B,),
    a factor of what the branch adds, 1 unless given. Other settings: those of `UNet`.
    """

    inputs = "hint", "strength"         # what a pipeline may pass on, besides the condition

    def __init__(self, channels: tuple[int, ...] = (64, 96), hint_channels: int = 1, **settings):
        super().__init__(channels, **settings)
        self.branch = Branch(self, tuple(channels), hint_channels)

    def from_base(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The base's weights under their names in this network: the same."""
        return weights

    def begin_from_base(self) -> None:
        """Copy the base's way down into the branch, and freeze the base."""
        self.requires_grad_(False)
        self.branch.requires_grad_(True)
        for name in ("down", "downsample", "middle"):
            getattr(self.branch, name).load_state_dict(getattr(self, name).state_dict())

    def features(self, x: Tensor, emb: Tensor, hint: Tensor | None = None,
                 strength: Tensor | None = None, **context) -> Tensor:
        """The U-Net's features, with what the branch adds for a hint: as `UNet.features`."""
        if hint is None:
            return super().features(x, emb, **context)
        T, emb, h = x.shape[1], per_frame(emb, x.shape[1]), self.conv_in(self.fold(x))
        middle, skips = walk_down(self, h, emb, T, **context)
        own = h + self.branch.hint_in(self.fold(hint))
        own_middle, own_skips = walk_down(self.branch, own, emb, T, **context)
        skips = [self.add(skip, found, zero, strength) for skip, found, zero in zip(
            skips, own_skips, self.branch.to_skips, strict=True)]
        middle = self.add(middle, own_middle, self.branch.to_middle, strength)
        return self.walk_up(middle, skips, emb, T, **context)

    def add(self, h: Tensor, found: Tensor, zero: nn.Conv2d, strength: Tensor | None) -> Tensor:
        """Features (B T, C, H, W) of the base, and what the branch adds to them."""
        if strength is None:
            return h + zero(found)
        factor = strength.repeat_interleave(len(h) // len(strength)).to(h)
        return h + append_dims(factor, h) * zero(found)


def control_objective(null=None, p_drop: float = 0.1, times: str = "logit-normal",
                      shift: float = 3.0) -> Objective:
    """The usual loss of a network whose hint is a dot at the centre of each frame's ink."""
    def objective(denoiser: Denoiser, x0: Tensor, cond: Tensor | None,
                  g: torch.Generator) -> Tensor:
        cond = drop_conditions(cond, null, p_drop, g)
        t, noise = draw_times(len(x0), g, times, shift), draw_noise(x0, g)
        shown = draw_times(len(x0), g, "uniform") >= p_drop
        hint = dots(centres_of_ink(x0), x0.shape[-2:]) * append_dims(shown, x0)
        return denoiser.loss(x0, cond, t, noise, hint=hint)
    return objective


def centres_of_ink(x: Tensor) -> Tensor:
    """The ink's centre in each frame of clips (B, T, C, H, W) in [-1, 1]: (B, T, 2), (y, x) in px.

    A frame without ink has its middle.
    """
    ink = (x.mean(2) + 1) / 2                                                     # (B, T, H, W)
    ink = ink * (ink > 0.1) + 1e-6
    rows, columns = ink.sum(3), ink.sum(2)
    places = (torch.arange(n, device=x.device, dtype=ink.dtype) + 0.5 for n in x.shape[-2:])
    return torch.stack([(v * p).sum(-1) / v.sum(-1)
                        for v, p in zip((rows, columns), places, strict=True)], -1)


def dots(path: Tensor, size: tuple[int, int]) -> Tensor:
    """A round bright dot in each frame: path (..., T, 2), (y, x) in pixels -> (..., T, 1, H, W).

    Pixel (i, j) has its centre at (i + .5, j + .5); values are in [0, 1].
    """
    rows, columns = (torch.exp(-(torch.arange(n, device=path.device) + 0.5 - p[..., None]).square()
                               / (2 * DOT**2)) for n, p in zip(size, path.unbind(-1), strict=True))
    return (rows[..., None] * columns[..., None, :])[..., None, :, :]


def path_hint(path: Tensor, size: tuple[int, int] = (32, 32)) -> Tensor:
    """The hint for a path (T, 2), or one for each clip (N, T, 2), of (y, x) in pixels.

    Warns of a path that leaves the frame, or is faster than digits in training ever were. Raises
    ValueError for anything that is no path.
    """
    path = torch.as_tensor(path, dtype=torch.float32)
    if path.ndim not in (2, 3) or path.shape[-1] != 2 or not path.isfinite().all():
        raise ValueError("A path is one point (y, x) in pixels for each frame, (T, 2), or one path "
                         f"for each clip, (N, T, 2), of finite numbers; got {tuple(path.shape)}.")
    if not ((path >= 0) & (path <= torch.tensor(size))).all():
        warnings.warn("The path leaves the frame; the digit cannot follow it there.", stacklevel=2)
    speed = path.diff(dim=-2).norm(dim=-1)
    if speed.numel() and speed.max() > 1.2 * FASTEST * min(size):
        warnings.warn(f"The path jumps {speed.max():.1f} px from one frame to the next, and digits "
                      f"never flew faster than {FASTEST * min(size):g}; they may not follow.",
                      stacklevel=2)
    return dots(path, size)
