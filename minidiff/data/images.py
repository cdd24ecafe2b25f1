"""Images turned, enlarged and bent."""
from math import pi

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def warp(images: Tensor, degrees: Tensor | float = 0., scale: Tensor | float = 1.,
         bend: Tensor | None = None) -> Tensor:
    """Images (*, h, w), turned and enlarged about their middle; degrees and scale fit (*).

    bend: (*, 2, h, w), where each pixel (x, y) is taken from instead, in units of half an image.
    """
    shape, flat = images.shape[:-2], images.reshape(-1, 1, *images.shape[-2:])
    angle, size = (torch.as_tensor(v, dtype=images.dtype).expand(shape).reshape(-1)
                   for v in (degrees, scale))
    cos, sin = (f(angle * pi / 180) / size for f in (torch.cos, torch.sin))
    rows = [torch.stack([cos, -sin, 0 * cos], -1), torch.stack([sin, cos, 0 * cos], -1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(flat.shape), align_corners=False)
    if bend is not None:
        grid = grid + rearrange(bend.reshape(-1, *bend.shape[-3:]), "n d h w -> n h w d")
    return F.grid_sample(flat, grid, align_corners=False).view(images.shape)
