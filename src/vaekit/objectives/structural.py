"""A reconstruction error that looks at structures, not at pixels one by one.

Snell et al. (2017), Learning to generate images with perceptual similarity metrics, https://arxiv.org/abs/1511.06409
"""

from ..part import Weight
from ..ssim import ms_ssim
from ..terms import rate
from .objective import Objective


class Structural(Objective):
    """weight * (1 - MS-SSIM(x, x')) + KL, their eq. 4, the mean over the K samples. It is no density of pixels."""

    asks_density = False

    weight: Weight = 1000.0

    def forward(self, t, at):
        error = 1 - ms_ssim(t.px.mean.flatten(0, 1), t.x.expand_as(t.px.mean).flatten(0, 1))
        return {"structure": self.weight * error.unflatten(0, (-1, len(t.x))).mean(0), "rate": rate(t)}
