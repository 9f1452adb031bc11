"""The aggregate posterior brought to the prior by the maximum mean discrepancy (Gretton et al., 2012): InfoVAE and WAE-MMD."""

from ..errors import UsageError
from ..terms import KERNELS, distortion, mmd, rate, squares
from .objective import Objective


class Discrepancy(Objective):
    """What both have in common: how far codes are from the prior."""

    weight: float = 1000.0
    kernel: str = "imq"

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise UsageError(f"{type(self).__name__} knows no kernel {self.kernel!r}; choose {' or '.join(KERNELS)}.")

    def discrepancy(self, t):
        return self.weight * mmd(t, self.kernel).expand(len(t.x))


class InfoVAE(Discrepancy):
    """-log p(x | z) + (1 - alpha) * KL(q || p) + weight * MMD(q(z), p(z)), weight = alpha + lambda - 1.

    Zhao et al. (2019), InfoVAE, eq. 7. https://arxiv.org/abs/1706.02262. With alpha = 1 it is the MMD-VAE, with alpha = 0 and
    weight = 0 the ELBO.
    """

    alpha: float = 1.0
    kernel: str = "rbf"

    def forward(self, t, at):
        kl = {} if self.alpha == 1 else {"rate": (1 - self.alpha) * rate(t)}
        return {"distortion": distortion(t), **kl, "mmd": self.discrepancy(t)}


class WAEMMD(Discrepancy):
    """|x - x'|^2 + weight * MMD(q(z), p(z)), the square summed over the pixel values.

    Tolstikhin et al. (2018), Wasserstein Auto-Encoders, eq. 4. https://arxiv.org/abs/1711.01558. Nothing holds q's variance, so
    rate and bounds say little.
    """

    asks_density = False

    def forward(self, t, at):
        return {"squares": squares(t), "mmd": self.discrepancy(t)}
