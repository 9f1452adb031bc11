"""Codes that a critic cannot tell from others: FactorVAE, adversarial autoencoder, WAE-GAN.

Each has a term for encoder and decoder, in which the critic is only asked, and one for the critic, in which codes are only shown.
"""

import torch
from torch.nn import functional as F

from .. import world
from ..nets.critic import Critic, frozen
from ..part import Count, Natural, Weight
from ..terms import distortion, rate, squares
from .objective import NATS, Objective


class Adversarial(Objective):
    """An objective with a critic of codes z (B, D), the first sample of each image."""

    betas = 0.5, 0.9  # Kim & Mnih's for the critic; with a longer memory codes and critic chase each other

    latent: Count
    width: Count = 512
    depth: Natural = 4

    comparable = False  # the critic changes

    def __post_init__(self):
        self.critic = Critic(latent=self.latent, width=self.width, depth=self.depth)

    def lesson(self, ones, zeros):
        """The critic's cross-entropy where it should say 1 and 0; no gradient reaches the codes."""
        return (F.softplus(-self.critic(ones.detach())) + F.softplus(self.critic(zeros.detach()))) / 2


class FactorVAE(Adversarial):
    """-log p(x | z) + KL + gamma * TC, the total correlation as the critic's log ratio: Kim & Mnih (2018), eq. 2 and 3.

    Disentangling by Factorising, https://arxiv.org/abs/1802.05983. The critic tells codes from the same ones whose latents were
    shuffled over the batch one by one; theirs is larger (6 layers of 1000) and shuffles a second batch.
    """

    gamma: Weight = 10.0

    measured = {"total_correlation": (NATS, "the critic's log ratio (Kim & Mnih, 2018, eq. 3), z drawn")}  # noqa: RUF012

    def total_correlation(self, t):
        """As the critic says it of each image's z, (B,)."""
        return frozen(self.critic, t.group.z[0])

    def forward(self, t, at):
        z = t.group.z[0]
        return {
            "distortion": distortion(t),
            "rate": rate(t),
            "tc": self.gamma * self.total_correlation(t),
            "critic": self.lesson(z, shuffled(z)),
        }

    def measures(self, t, at):
        return {"total_correlation": self.total_correlation(t)}


class Matched(Adversarial):
    """The codes of the batch are brought to the prior: the critic tells the prior's draws from them."""

    weight: Weight = 1.0

    @property
    def trains_prior(self):
        return False

    def matched(self, t):
        z = t.group.z[0]
        return {
            "fooling": self.weight * F.softplus(-frozen(self.critic, z)),  # -log D(z): it has a gradient where D is sure
            "critic": self.lesson(t.group.dream(), z),
        }


class AAE(Matched):
    """-log p(x | z) - weight * log D(z): Makhzani et al. (2016), Adversarial Autoencoders, https://arxiv.org/abs/1511.05644.

    Codes that are points, as in their experiments.
    """

    def forward(self, t, at):
        return {"distortion": distortion(t), **self.matched(t)}


class WAEGAN(Matched):
    """|x - x'|^2 - weight * log D(z): Tolstikhin et al. (2018), algorithm 1. https://arxiv.org/abs/1711.01558.

    Codes that are points, as in their code: a Gaussian's variance would meet the prior by itself.
    """

    asks_density = False

    def forward(self, t, at):
        return {"squares": squares(t), **self.matched(t)}


def shuffled(z):
    """Codes (B, D) in which every latent comes from another image of the whole batch: draws of prod q(z_d)."""
    everyone = world.united(z.detach())
    order = torch.rand(everyone.shape, device=z.device).argsort(0)
    return world.own(everyone.gather(0, order))
