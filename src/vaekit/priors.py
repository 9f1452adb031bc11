"""Priors: p(z)."""

import torch
from torch.distributions import Distribution

from .distributions import Gaussian
from .part import Part


class Prior(Part):
    """A distribution over z, event (D,); batch () or (B,)."""

    latent: int

    def forward(self) -> Distribution:
        raise NotImplementedError


class StandardNormal(Prior):
    """p(z) = N(0, I)."""

    def __post_init__(self):
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)

    def forward(self):
        zero: torch.Tensor = self.zero  # pyright: ignore[reportAssignmentType]
        return Gaussian(zero, zero)
