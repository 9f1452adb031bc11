"""Latents on a sphere: the von Mises-Fisher posterior and the uniform prior.

Davidson et al. (2018), Hyperspherical Variational Auto-Encoders, https://arxiv.org/abs/1804.00891

All that is to be known of the angle between z and the mean direction comes from its density on a fine grid: the normaliser, the
moments, and draws by the inverse of its distribution function, whose gradient is implicit (Figurnov et al., 2018,
https://arxiv.org/abs/1805.08498). Nothing is rejected, so every draw takes the same time.

Shapes: B images, D numbers in z, a point of the sphere S^(D-1); A angles in the grid, pi u^2 for even steps of u: dense where a
sharp density lies.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.distributions.kl import register_kl

from . import world
from .distributions import Density, Space, bounded, full_precision
from .errors import UsageError
from .part import Bounds
from .posteriors import Posterior
from .priors import Prior

ANGLES = 1024  # of the grid
LOG_SHARPEST = 8.0  # log of the largest concentration

Dimensions = Annotated[int, Bounds(2)]


def log_area(dimensions: int) -> float:
    """log of the surface of the unit sphere in so many dimensions."""
    return math.log(2) + dimensions / 2 * math.log(math.pi) - math.lgamma(dimensions / 2)


class VonMisesFisher(Density):
    """Density exp(kappa * m z) / Z of unit vectors z (..., D), with a unit vector m (..., D) and kappa (...,).

    Its `mean` is the mean direction m, which lies on the sphere as draws do; `variance` is that of draws, around their own mean.
    """

    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Tensor):
        self.direction, self.concentration = direction, concentration
        super().__init__(direction, 1)
        roots = (torch.arange(ANGLES, device=direction.device, dtype=direction.dtype) + 0.5) / ANGLES
        self.cosines, sines = (math.pi * roots.square()).cos(), (math.pi * roots.square()).sin()
        log_shares = concentration[..., None] * self.cosines + (direction.shape[-1] - 2) * sines.log() + roots.log()
        self.log_total = log_shares.logsumexp(-1) + math.log(2 * math.pi / ANGLES)  # of the density of the angle, (...,)
        self.shares = log_shares.softmax(-1)  # of all draws in each step of the grid, (..., A)

    @property
    def log_normalizer(self) -> Tensor:
        return log_area(self.direction.shape[-1] - 1) + self.log_total

    @property
    def mean(self) -> Tensor:
        return self.direction

    @property
    def mean_cosine(self) -> Tensor:
        return (self.shares * self.cosines).sum(-1)

    @property
    def variance(self) -> Tensor:
        squares = (self.shares * self.cosines.square()).sum(-1, keepdim=True)
        along = squares - self.mean_cosine[..., None].square()
        across = (1 - squares) / (self.direction.shape[-1] - 1)
        return along * self.direction.square() + across * (1 - self.direction.square())

    def angle(self, u: Tensor) -> Tensor:
        """The angle below which a share u (K, B) of all draws lies; its gradient by kappa is -dF/dkappa / density."""
        shares = self.shares.detach()
        below = shares.cumsum(-1)
        places = torch.searchsorted(below, u.movedim(0, -1).contiguous()).clamp_max(ANGLES - 1)  # (B, K)
        here = shares.gather(-1, places).clamp_min(1e-30)
        into = ((u.movedim(0, -1) - (below.gather(-1, places) - here)) / here).clamp(0, 1)
        pulls = shares * (self.cosines - (shares * self.cosines).sum(-1, keepdim=True))
        risen = pulls.cumsum(-1).gather(-1, places) - (1 - into) * pulls.gather(-1, places)
        moved = -risen / here * (self.concentration - self.concentration.detach())[..., None]
        root = (places + into + moved) / ANGLES
        return (math.pi * root.square()).movedim(-1, 0)

    def rsample(self, sample_shape=()) -> Tensor:
        (count,) = sample_shape or (1,)
        angle = self.angle(world.uniform((count, *self.concentration.shape), 1, self.concentration))[..., None]
        noise = self.normal((count,), self.direction)
        across = nn.functional.normalize(noise - (noise * self.direction).sum(-1, keepdim=True) * self.direction, dim=-1)
        z = angle.cos() * self.direction + angle.sin() * across
        return z if sample_shape else z[0]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.concentration * (value * self.direction).sum(-1) - self.log_normalizer


class EvenSphere(Density):
    """The uniform density on the sphere in D dimensions."""

    scales = False

    def __init__(self, like: Tensor):
        self.like = like
        super().__init__(like, 1)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.like)

    def sample(self, sample_shape=()) -> Tensor:
        return nn.functional.normalize(self.normal(sample_shape, self.like), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_full(value.shape[:-1], -log_area(value.shape[-1]))


@register_kl(VonMisesFisher, EvenSphere)
def _(q: VonMisesFisher, p: EvenSphere) -> Tensor:
    return q.concentration * q.mean_cosine - q.log_normalizer + log_area(q.direction.shape[-1])


class Spherical(Posterior):
    """q(z | x) = vMF(m, kappa) on the unit sphere in `latent` dimensions."""

    space = Space.SPHERE

    latent: Dimensions

    def __post_init__(self):
        self.head = nn.Linear(self.features, self.latent + 1)

    def forward(self, h):
        if h.dim() != 2:
            raise UsageError(
                "Spherical has one sphere for an image, not one for each place. Use nets with spatial=0: leave out --spatial."
            )
        with torch.autocast(h.device.type, enabled=False):
            direction, raw = self.head(full_precision(h)).split([self.latent, 1], -1)
            return VonMisesFisher(nn.functional.normalize(direction, dim=-1), bounded(raw[..., 0] + 1, LOG_SHARPEST).exp())


class UniformSphere(Prior):
    """p(z): uniform on the unit sphere."""

    space = Space.SPHERE

    latent: Dimensions

    def __post_init__(self):
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)

    def forward(self, model=None):
        return EvenSphere(self.zero)  # pyright: ignore[reportArgumentType]
