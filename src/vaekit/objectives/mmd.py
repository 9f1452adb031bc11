"""The aggregate posterior brought to the prior by the maximum mean discrepancy (Gretton et al., 2012): InfoVAE and WAE-MMD."""

from typing import Annotated

from ..errors import UsageError
from ..part import Bounds, Weight
from ..terms import KERNELS, distortion, mmd, rate, squares
from .objective import Objective


class Discrepancy(Objective):
    """What both have in common: how far codes are from the prior."""

    weight: Weight = 200.0
    kernel: str = "imq"

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise UsageError(f"{type(self).__name__} knows no kernel {self.kernel!r}; choose {' or '.join(KERNELS)}.")

    def discrepancy(self, t):
        return self.weight * mmd(t, self.kernel).expand(len(t.x))


class InfoVAE(Discrepancy):
    """-log p(x | z) + (1 - alpha) * KL(q || p) + weight * MMD(q(z), p(z)), weight = alpha + lambda - 1.

    Zhao et al. (2019), InfoVAE, eq. 7. https://arxiv.org/abs/1706.02262. With alpha = 1 it is the MMD-VAE, with alpha = 0 and
    weight = 0 the ELBO. `kernel`: their code has "rbf", which sees little where latents are many. With a much larger weight codes
    say nothing: their variance alone meets the prior.
    """

    weight: Weight = 20.0
    alpha: Annotated[float, Bounds(most=1)] = 1.0

    @property
    def trains_prior(self):
        return self.alpha < 1

    def forward(self, t, at):
        kl = {} if self.alpha == 1 else {"rate": (1 - self.alpha) * rate(t)}
        return {"distortion": distortion(t), **kl, "mmd": self.discrepancy(t)}


class WAEMMD(Discrepancy):
    """|x - x'|^2 + weight * MMD(q(z), p(z)), the square summed over the pixel values.

    Tolstikhin et al. (2018), Wasserstein Auto-Encoders, eq. 4. https://arxiv.org/abs/1711.01558. Their code has a weight of 10
    beside a twentieth of the square, and codes that are points: a Gaussian's variance would meet the prior by itself.
    """

    asks_density = False

    @property
    def trains_prior(self):
        return False

    def forward(self, t, at):
        return {"squares": squares(t), "mmd": self.discrepancy(t)}
