"""The evidence lower bound (Kingma & Welling, 2014), and with beta its weighted relative (Higgins et al., 2017).

https://arxiv.org/abs/1312.6114, https://openreview.net/forum?id=Sy2fzU9gl
"""

from .. import schedules
from ..errors import UsageError
from ..part import Weight
from ..schedules import Schedule
from ..terms import distortion, rate, rate_above
from .objective import Objective


class ELBO(Objective):
    """-log p(x | z) + beta * KL(q || p).

    `beta` is a number or a schedule over images seen. `free_bits` nats are free for every latent (`per="latent"`) or group of
    latents (`per="group"`), as Kingma et al. (2016), eq. 15.
    """

    beta: Weight | Schedule = 1.0
    free_bits: Weight = 0.0
    per: str = "latent"

    def __post_init__(self):
        if self.per not in ("latent", "group"):
            raise UsageError(f"ELBO counts free bits per {self.per!r}; choose per='latent' or per='group'.")

    @property
    def trains_prior(self):
        return any(self.beta.ends) if isinstance(self.beta, Schedule) else self.beta > 0

    def forward(self, t, at):
        kl = rate_above(t, self.free_bits, self.per) if self.free_bits else rate(t)
        return {"distortion": distortion(t), "rate": schedules.at(self.beta, at.images) * kl}
