"""beta-TCVAE: the KL in three parts, of which one is weighed (Chen et al., 2018, Isolating Sources of Disentanglement in VAEs).

https://arxiv.org/abs/1802.04942
"""

from ..part import Weight
from ..terms import decomposed_rate, distortion
from .objective import NATS, Objective

ESTIMATE = "log q(z) by minibatch stratified sampling (Chen et al., 2018, appendix C.2), z drawn"


class BetaTCVAE(Objective):
    """-log p(x | z) + alpha * MI + beta * TC + gamma * dimension-wise KL, their eq. 4.

    MI is I(z; n), how much a code says about its image; TC the total correlation KL(q(z) || prod q(z_d)). log q(z) is estimated
    by minibatch stratified sampling (their appendix C.2). With all weights 1 it is the ELBO, estimated at the drawn z.
    """

    alpha: Weight = 1.0
    beta: Weight = 6.0
    gamma: Weight = 1.0

    measured = {  # noqa: RUF012
        "mutual_information": (NATS, f"I(z; n), {ESTIMATE}"),
        "total_correlation": (NATS, f"KL(q(z) || prod q(z_d)), {ESTIMATE}"),
        "dimension_wise_kl": (NATS, f"sum of KL(q(z_d) || p(z_d)), {ESTIMATE}"),
    }

    trains_prior = property(lambda self: self.gamma > 0)

    def forward(self, t, at):
        mi, tc, kl = decomposed_rate(t, at.epoch)
        return {"distortion": distortion(t), "mi": self.alpha * mi, "tc": self.beta * tc, "dimension_kl": self.gamma * kl}

    def measures(self, t, at):
        return dict(zip(self.measured, decomposed_rate(t, at.epoch), strict=True))
