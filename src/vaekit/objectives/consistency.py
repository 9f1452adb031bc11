"""CR-VAE: a picture and a moved copy of it are to have the same code.

Sinha & Dieng (2021), Consistency Regularization for Variational Auto-Encoders, https://arxiv.org/abs/2105.14859
"""

from dataclasses import dataclass, replace
from typing import Annotated

from ..affine import moved
from ..errors import UsageError
from ..part import Bounds, Weight
from ..terms import distortion, kinds, rate
from ..trace import Trace, closed_kl
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

    extra = 1

    weight: Weight = 0.05
    turn: Annotated[float, Bounds(0, 180)] = 15.0
    shift: Weight = 0.1
    scale: Annotated[float, Bounds(0, 1, below=True)] = 0.1

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        copy = super().look(model, moved(x, self.turn, self.shift, self.scale), c)
        same = replace(copy.group, p=t.group.p)  # where p(z) is made of other images than x, it is of others than its copy
        return Pair(t.x, t.groups, t.px, replace(copy, groups=(same,)))

    def forward(self, t: Pair, at):
        both = {"distortion": (distortion(t) + distortion(t.moved)) / 2, "rate": (rate(t) + rate(t.moved)) / 2}
        apart = closed_kl(t.moved.group.q, t.group.q)
        if apart is None:
            raise UsageError(f"Consistency needs a closed KL of two posteriors; {kinds(t)} has none. Use DiagonalGaussian.")
        return both | {"consistency": self.weight * apart}
