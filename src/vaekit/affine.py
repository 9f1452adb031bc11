"""Random affine maps of images: turned, shifted, made larger or smaller."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from . import world
from .distributions import exactly


def moved(x: Tensor, turn: float, shift: float, scale: float) -> Tensor:
    """Each image (B, C, H, W) under an affine map of its own; black and white pictures stay so.

    It is turned by up to `turn` degrees, shifted by up to `shift` of its size and made up to `scale` larger or smaller, each
    uniformly, bilinear; what comes in from outside repeats the border.
    """
    if not (turn or shift or scale):
        return x
    angle, along, across, size = (2 * world.uniform((len(x), 4), 0, x) - 1).unbind(1)
    angle, size = angle * math.radians(turn), 1 + size * scale
    cos, sin = size * angle.cos(), size * angle.sin()
    wide = x.shape[3] / x.shape[2]  # places count from -1 to 1 along both sides, whatever these are
    shifts = 2 * shift * along, 2 * shift * across
    affine = torch.stack([cos, sin * wide, -sin / wide, cos, *shifts], 1).unflatten(1, (3, 2))
    down, right = (torch.arange(n, dtype=x.dtype, device=x.device) * (2 / n) + 1 / n - 1 for n in x.shape[2:])
    places = torch.stack([*torch.meshgrid(right, down, indexing="xy"), x.new_ones(x.shape[2:])], -1)  # (H, W, 3)
    with exactly(x):  # else places would be half a pixel off
        grid = (places.flatten(0, 1) @ affine).unflatten(1, x.shape[2:])  # where each pixel is taken from, (B, H, W, 2)
    y = F.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)
    two = (x == x.round()).flatten(1).all(1)[:, None, None, None]
    return torch.where(two, y.round(), y)
