"""CR-VAE: a picture and a moved copy of it are to have the same code.

Sinha & Dieng (2021), Consistency Regularization for Variational Auto-Encoders, https://arxiv.org/abs/2105.14859
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn import functional as F

from .. import world
from ..distributions import exactly
from ..terms import distortion, rate
from ..trace import Trace
from .objective import Objective


@dataclass(frozen=True)
class Pair(Trace):
    """A trace, and that of the same images moved."""

    moved: Trace


class Consistency(Objective):
    """(L(x) + L(x~)) / 2 + weight * KL(q(z | x~) || q(z | x)), L the negative ELBO and x~ = x moved: half of their eq. 3.

    x~ is turned by up to `turn` degrees, shifted by up to `shift` of its size and made up to `scale` larger or smaller; black and
    white pictures stay so. `weight`: half of their lambda, which is 0.1.
    """

    weight: float = 0.05
    turn: float = 15.0
    shift: float = 0.1
    scale: float = 0.1

    @property
    def decodings(self):
        return 2

    def look(self, model, x, c=None):
        t, moved = super().look(model, x, c), self.moved(x)
        two = (x == x.round()).flatten(1).all(1)[:, None, None, None]
        moved = torch.where(two, moved.round(), moved)
        return Pair(t.x, t.groups, t.px, super().look(model, moved, c))

    def moved(self, x: Tensor) -> Tensor:
        """Each image under an affine map of its own."""
        if not (self.turn or self.shift or self.scale):
            return x
        angle, along, across, size = (2 * world.uniform((len(x), 4), 0, x) - 1).unbind(1)
        angle, size = angle * math.radians(self.turn), 1 + size * self.scale
        cos, sin = size * angle.cos(), size * angle.sin()
        wide = x.shape[3] / x.shape[2]  # places count from -1 to 1 along both sides, whatever these are
        shifts = 2 * self.shift * along, 2 * self.shift * across
        affine = torch.stack([cos, sin * wide, -sin / wide, cos, *shifts], 1).unflatten(1, (3, 2))
        down, right = (torch.arange(n, dtype=x.dtype, device=x.device) * (2 / n) + 1 / n - 1 for n in x.shape[2:])
        places = torch.stack([*torch.meshgrid(right, down, indexing="xy"), x.new_ones(x.shape[2:])], -1)  # (H, W, 3)
        with exactly(x):  # else places would be half a pixel off
            grid = (places.flatten(0, 1) @ affine).unflatten(1, x.shape[2:])  # where each pixel is taken from, (B, H, W, 2)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)

    def forward(self, t: Pair, at):
        both = {"distortion": (distortion(t) + distortion(t.moved)) / 2, "rate": (rate(t) + rate(t.moved)) / 2}
        apart = sum(kl_divergence(b.q, a.q) for a, b in zip(t.groups, t.moved.groups, strict=True))
        return both | {"consistency": self.weight * apart}
