"""Posteriors: from the encoder's features (B, features) to q(z | x)."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .distributions import Gaussian, Point, full_precision
from .part import Part

LOG_VAR_LIMIT = 20.0  # exp(20 / 2) = 22026: far beyond any latent's scale, far below overflow


class Posterior(Part):
    """Maps features to a distribution over z, batch (B,), event (D,)."""

    features: int
    latent: int

    def forward(self, h: Tensor) -> Distribution:
        raise NotImplementedError


def draw(q: Distribution, samples: int) -> tuple[Tensor, Tensor]:
    """K samples z (K, B, D) with their log q(z | x) (K, B)."""
    z = q.rsample((samples,))
    return z, q.log_prob(z)


def bounded(raw: Tensor, limit: float = LOG_VAR_LIMIT) -> Tensor:
    """A smooth map into (-limit, limit), the identity near 0.

    An arc tangent, because its gradient 1 / (1 + t^2) falls off as a power: tanh's is exactly 0 in fp32 from t = 10 on,
    and a clamp's is 0 at once.
    """
    half_pi = math.pi / 2
    return limit / half_pi * torch.atan(raw * (half_pi / limit))


class Deterministic(Posterior):
    """No posterior at all: the code of a plain autoencoder, one point z per image."""

    def __post_init__(self):
        self.head = nn.Linear(self.features, self.latent)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            return Point(self.head(full_precision(h)))


class DiagonalGaussian(Posterior):
    """q(z | x) = N(mu, diag exp(log_var)) (Kingma & Welling, 2014). https://arxiv.org/abs/1312.6114"""

    def __post_init__(self):
        self.head = nn.Linear(self.features, 2 * self.latent)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            mu, log_var = self.head(full_precision(h)).chunk(2, -1)
            return Gaussian(mu, bounded(log_var))
