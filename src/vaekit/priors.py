"""Priors: p(z)."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .distributions import Flow, Gaussian, full_precision
from .errors import UsageError
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


class Coupling(nn.Module):
    """y = (a, b * exp(s(a)) + t(a)) with (a, b) = x (Dinh et al., 2017, eq. 7 and 8); starts as the identity.

    The scale stays within a factor e^2, so that no draw can leave fp32.
    """

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.kept = latent // 2
        self.net = nn.Sequential(
            nn.Linear(self.kept, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * (latent - self.kept))
        )
        nn.init.zeros_(self.net[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.net[-1].bias)  # pyright: ignore[reportArgumentType]

    def terms(self, a: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(a).chunk(2, -1)
        return 2 * torch.tanh(log_scale / 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y, and log |det dy/dx|."""
        a, b = x[..., : self.kept], x[..., self.kept :]
        log_scale, shift = self.terms(a)
        return torch.cat([a, b * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        a, b = y[..., : self.kept], y[..., self.kept :]
        log_scale, shift = self.terms(a)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], -1)


class CouplingFlow(Prior):
    """p(z) = N(u(z); 0, I) |det du/dz| with u a chain of affine couplings: RealNVP (Dinh et al., 2017), learned with the model.

    https://arxiv.org/abs/1605.08803; as a VAE's prior: Chen et al. (2017), https://arxiv.org/abs/1611.02731. Between couplings
    the latents are riffled like a deck of cards, so that all of them meet. In fp32 under autocast, for an exact inverse.
    """

    couplings: int = 6
    width: int = 128

    riffled: ClassVar[Tensor]  # buffers, (D,): the order after a riffle, and the way back
    restored: ClassVar[Tensor]

    def __post_init__(self):
        if self.latent < 2 or min(self.couplings, self.width) < 1:
            given = f"{self.latent} latents, {self.couplings} couplings of width {self.width}"
            raise UsageError(
                f"CouplingFlow got {given}; it needs 2 latents, because one half moves the other, and 1 or more of the rest."
            )
        self.chain = nn.ModuleList(Coupling(self.latent, self.width) for _ in range(self.couplings))
        deck = torch.arange(self.latent)
        riffled = torch.cat([deck[1::2], deck[::2]])
        self.register_buffer("riffled", riffled, persistent=False)
        self.register_buffer("restored", riffled.argsort(), persistent=False)

    def to_base(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u and log |det du/dz|."""
        with torch.autocast(z.device.type, enabled=False):
            u = full_precision(z)
            total = u.new_zeros(())
            for coupling in self.chain:
                u, log_det = coupling(u[..., self.riffled])
                total = total + log_det
            return u, total

    def from_base(self, u: Tensor) -> Tensor:
        with torch.autocast(u.device.type, enabled=False):
            z = full_precision(u)
            for coupling in reversed(self.chain):
                z = coupling.inverse(z)[..., self.restored]  # pyright: ignore[reportCallIssue]
            return z

    def forward(self):
        like: Tensor = self.chain[0].net[0].weight  # pyright: ignore  # its device and type
        return Flow(like.new_zeros(self.latent), self.to_base, self.from_base)
