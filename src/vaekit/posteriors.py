"""Posteriors: from the encoder's features (B, features) to q(z | x)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributions import CorrelatedGaussian, Density, Gaussian, Point, Space, bounded, full_precision
from .part import Count, Part


class Posterior(Part):
    """Maps features to a density over z, batch (B,), event (D,)."""

    space: ClassVar[Space] = Space.NUMBERS  # of z

    features: Count
    latent: Count

    def forward(self, h: Tensor) -> Density:
        raise NotImplementedError


class Discrete(Posterior):
    """One whose z stand for whole numbers, L codes at each of several places, and a place's codes for its entry in z."""

    @property
    def levels(self) -> tuple[int, ...]:
        """How many values each of the L codes of a place has."""
        raise NotImplementedError

    @property
    def entry(self) -> int:
        """How many numbers of z an entry has."""
        return self.latent

    def entries(self, codes: Tensor) -> Tensor:
        """What the codes (..., L) stand for, (..., entry)."""
        raise NotImplementedError

    def codes_of(self, q: Any) -> Tensor:
        """Those of a draw of q(z | x), place after place, (B, T)."""
        raise NotImplementedError


def draw(q: Density, samples: int) -> tuple[Tensor, Tensor]:
    """K samples z (K, B, D) with their log q(z | x) (K, B)."""
    return q.rsample_and_log_prob((samples,))


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


class FullGaussian(Posterior):
    """q(z | x) = N(mu, L L^T), L a lower triangle: latents that vary together (Kingma & Welling, 2019, section 2.5.1).

    The head gives mu, the log-variances of L's diagonal, and D times what is below it, which begins with 0, a diagonal Gaussian:
    moved as fast as the others, its D (D - 1) / 2 numbers would drown them in noise. https://arxiv.org/abs/1906.02691
    """

    places: ClassVar[Tensor]  # a buffer, (D, D): where each entry of L is among the head's numbers, 0 for none

    def __post_init__(self):
        self.below = self.latent * (self.latent - 1) // 2
        self.head = nn.Linear(self.features, 2 * self.latent + self.below)
        nn.init.zeros_(self.head.weight[2 * self.latent :])
        nn.init.zeros_(self.head.bias[2 * self.latent :])
        places = torch.zeros(self.latent, self.latent, dtype=torch.long)
        row, column = torch.tril_indices(self.latent, self.latent, -1)
        places[row, column] = 1 + torch.arange(self.below)
        places.diagonal().copy_(1 + self.below + torch.arange(self.latent))
        self.register_buffer("places", places, persistent=False)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            mu, log_var, below = self.head(full_precision(h)).split([self.latent, self.latent, self.below], -1)
            entries = torch.cat([below / self.latent, (bounded(log_var) / 2).exp()], -1)
            return CorrelatedGaussian(mu, F.pad(entries, (1, 0))[..., self.places])
