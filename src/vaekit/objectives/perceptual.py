"""A reconstruction error in the features of a net that learned to see: deep feature consistency (Hou et al., 2017).

https://arxiv.org/abs/1610.00291
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..nets.judge import FeatureNet
from ..part import Weight
from ..terms import rate
from .objective import Objective


class Perceptual(Objective):
    """weight * sum_l |phi_l(x) - phi_l(x')|^2 / places + pixels * MSE + KL, phi_l the maps of a judge, as in their eq. 3 and 4.

    Every place's features have length 1 (Zhang et al., 2018, https://arxiv.org/abs/1801.03924), and pixels count beside them.
    The judge learns nothing more: see `vaekit judge`. It is no density of pixels.
    """

    asks_density = False

    judge: FeatureNet
    weight: Weight = 100.0
    pixels: Weight = 1000.0

    def __post_init__(self):
        if not isinstance(self.judge, FeatureNet):
            raise UsageError("There is no judge to ask. Teach one, vaekit judge DATA --out judge.safetensors, and give its file.")
        self.judge.requires_grad_(False)

    def forward(self, t, at):
        rebuilt = t.px.mean[0]
        return {
            "features": self.weight * seen_apart(self.judge, t.x, rebuilt),
            "pixels": self.pixels * (t.x - rebuilt).square().mean((1, 2, 3)),
            "rate": rate(t),
        }


def seen_apart(judge: FeatureNet, x: Tensor, other: Tensor) -> Tensor:
    """The squared distance of two pictures' feature maps, each map's mean over places, summed over maps, (B,)."""
    return apart(judge.maps(x), judge.maps(other))


def apart(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """The same of the maps themselves, (B, F, H', W') each."""
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in zip(maps, others, strict=True)]).sum(0)
