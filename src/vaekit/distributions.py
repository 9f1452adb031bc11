"""The distributions whose parameters a VAE computes itself; everything else comes from torch.distributions.

Shapes: a distribution has a batch shape, (B,) or (K, B), and an event shape, (D,) for latents, (C, H, W) for images.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import kl_divergence, register_kl
from torch.nn import functional as F

from . import world

LOG_2PI = math.log(2 * math.pi)
LOG_VAR_LIMIT = 20.0  # exp(20 / 2) = 22026: far beyond any latent's scale, far below overflow


class Space(Enum):
    """Where codes lie, and the plainest prior there. A mass, a density on a surface and one over numbers have no ratio."""

    NUMBERS = "any numbers", "StandardNormal"
    SPHERE = "points of a sphere", "UniformSphere"
    CATEGORIES = "choices among categories", "UniformCategories"
    CODES = "entries of a codebook", "UniformCodes"

    def __init__(self, codes: str, prior: str):
        self.codes, self.prior = codes, prior


def full_precision(t: Tensor) -> Tensor:
    """At least fp32: under bf16 autocast a density would lose the digits that a KL of a few nats is made of."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def exactly(like: Tensor) -> torch.autocast:
    """Within it products are not rounded to bf16: sums of squares whose difference counts would lose it."""
    return torch.autocast(like.device.type, enabled=False)


def bounded(raw: Tensor, limit: float = LOG_VAR_LIMIT) -> Tensor:
    """A smooth map into (-limit, limit), the identity near 0.

    An arc tangent, because its gradient 1 / (1 + t^2) falls off as a power: tanh's is exactly 0 in fp32 from t = 10 on,
    and a clamp's is 0 at once.
    """
    half_pi = math.pi / 2
    return limit / half_pi * torch.atan(raw * (half_pi / limit))


def straight_through(chosen: Tensor, before: Tensor) -> Tensor:
    """The chosen value with the gradient of what it was chosen for (Bengio et al., 2013). https://arxiv.org/abs/1308.3432"""
    return before + (chosen - before).detach()


def sum_events(t: Tensor, dims: int) -> Tensor:
    return t.sum(tuple(range(-dims, 0)))


class Density(Distribution):
    """A distribution whose parameters have the shape of a draw; the last `dims` of its dimensions are one event."""

    arg_constraints = {}  # noqa: RUF012  # pyright: ignore[reportAssignmentType] - torch's convention for "nothing to check"

    def __init__(self, like: Tensor, dims: int):
        self.dims = dims
        split = like.dim() - dims
        super().__init__(like.shape[:split], like.shape[split:], validate_args=False)

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """A draw and its log-density, together where that is cheaper."""
        drawn = self.rsample(torch.Size(sample_shape))
        return drawn, self.log_prob(drawn)

    def normal(self, sample_shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal numbers for every event; the first dimension of a batch counts images, else the last one of draws."""
        return world.normal((*sample_shape, *like.shape), len(sample_shape) - (not self.batch_shape), like)

    def joined(self) -> "Density":
        """With batch (B, N) and event (D,), one for each place: the same with batch (B,) and event (N * D,)."""
        return Joined(self)


class Gaussian(Density):
    """N(mean, exp(log_var)) with independent coordinates; the last `dims` dimensions are one event."""

    has_rsample = True

    def __init__(self, mean: Tensor, log_var: Tensor, dims: int = 1):
        self.loc, self.log_var = mean, log_var
        super().__init__(mean, dims)

    def joined(self) -> "Gaussian":
        return Gaussian(self.loc.flatten(-2), self.log_var.expand_as(self.loc).flatten(-2))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.log_var.exp().expand_as(self.loc)

    @property
    def stddev(self) -> Tensor:
        return (self.log_var / 2).exp().expand_as(self.loc)

    def rsample(self, sample_shape=()) -> Tensor:
        """z = mu + exp(log_var / 2) * eps (Kingma & Welling, 2014, section 2.4)."""
        return self.loc + (self.log_var / 2).exp() * self.normal(sample_shape, self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        squares = (value - self.loc).square() * (-self.log_var).exp()
        return -0.5 * sum_events(squares + self.log_var + LOG_2PI, self.dims)

    def kl_per_latent(self, p: "Gaussian") -> Tensor:
        """KL(self || p) of every coordinate, in nats, (B, D).

        Against N(0, 1) it is the closed form -0.5 * (1 + log_var - mu^2 - exp(log_var)) (Kingma & Welling, 2014, appendix B).
        """
        ratio = self.log_var - p.log_var
        return 0.5 * (ratio.exp() - 1 - ratio + (self.loc - p.loc).square() * (-p.log_var).exp())


@register_kl(Gaussian, Gaussian)
def _(q: Gaussian, p: Gaussian) -> Tensor:
    return sum_events(q.kl_per_latent(p), q.dims)


class CorrelatedGaussian(Density):
    """N(mean, L L^T), with a lower triangle L (..., D, D)."""

    has_rsample = True

    def __init__(self, mean: Tensor, factor: Tensor):
        self.loc, self.factor = mean, factor
        super().__init__(mean, 1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.factor.square().sum(-1)

    @property
    def log_det(self) -> Tensor:
        """log |L|."""
        one = torch.eye(self.factor.shape[-1], dtype=self.factor.dtype, device=self.factor.device)
        return (self.factor * one).sum(-1).log().sum(-1)  # not .diagonal(), of which torch's compiler warns

    def rsample(self, sample_shape=()) -> Tensor:
        with exactly(self.loc):
            return self.loc + torch.einsum("...ij,...j->...i", self.factor, self.normal(sample_shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        off = value - self.loc
        if off.shape[-self.loc.dim() :] == self.loc.shape:
            # Values are columns of one system: a factor copied for each of them would take D^2 numbers apiece.
            columns = off.reshape(-1, *self.loc.shape).movedim(0, -1)
            eps = torch.linalg.solve_triangular(self.factor, columns, upper=False).movedim(-1, 0).reshape(off.shape)
        else:
            factor = self.factor.expand(*off.shape[:-1], *self.factor.shape[-2:])
            eps = torch.linalg.solve_triangular(factor, off[..., None], upper=False)[..., 0]
        return -0.5 * (eps.square() + LOG_2PI).sum(-1) - self.log_det


@register_kl(CorrelatedGaussian, Gaussian)
def _(q: CorrelatedGaussian, p: Gaussian) -> Tensor:
    precision = (-p.log_var).exp()
    spread = (q.variance * precision - 1 + p.log_var).sum(-1) - 2 * q.log_det
    return 0.5 * (spread + ((q.loc - p.loc).square() * precision).sum(-1))


class Point(Density):
    """All mass on one z: what a plain autoencoder calls its posterior. Its density is counted as 1."""

    has_rsample = True
    compares = False  # with a density, from which a point is infinitely far

    def __init__(self, z: Tensor, dims: int = 1):
        self.z = z
        super().__init__(z, dims)

    def joined(self) -> "Point":
        return Point(self.z.flatten(-2))

    @property
    def mean(self) -> Tensor:
        return self.z

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.z)

    def rsample(self, sample_shape=()) -> Tensor:
        return self.z.expand(*sample_shape, *self.z.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_zeros(value.shape[: value.dim() - len(self.event_shape)])


class ContinuousBernoulli(Density):
    """Independent continuous Bernoulli values in [0, 1] (Loaiza-Ganem & Cunningham, 2019). https://arxiv.org/abs/1907.06845

    In the logit l, the normaliser of their eq. 7 is log C = log(l / tanh(l / 2)) and the mean 1 / (1 - exp(-l)) - 1 / l.
    Around l = 0, where these differences and their gradients would lose their digits, both are the Taylor series.
    """

    NEAR = 0.5  # |l| below which the series, as long as they are here, are exact to 1e-10
    MEAN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)  # of l, l**3, ...
    LOG_C = (1 / 12, -7 / 1440, 31 / 90720, -127 / 4838400, 73 / 34214400)  # of l**2, l**4, ...

    def __init__(self, logits: Tensor, dims: int = 3):
        self.logits = logits
        super().__init__(logits, dims)

    @property
    def mean(self) -> Tensor:
        small, near, safe = self.split()
        safe = safe.abs()
        of_size = 1 / -torch.expm1(-safe) - 1 / safe  # of |l|: exp(-l) would overflow, and its gradient be NaN, below l = -88
        return torch.where(small, 0.5 + near * series(self.MEAN, near), torch.where(self.logits < 0, 1 - of_size, of_size))

    def sample(self, sample_shape=()) -> Tensor:
        """By the inverse of the distribution function, log(1 + u * (exp(l) - 1)) / l."""
        u = torch.rand(*sample_shape, *self.logits.shape, dtype=self.logits.dtype, device=self.logits.device)
        small, _, safe = self.split(1e-2)
        safe = safe.abs()
        drawn = 1 + torch.log(u + (1 - u) * (-safe).exp()) / safe  # of |l|; the density of -l is mirrored
        drawn = torch.where(self.logits < 0, 1 - drawn, drawn)
        return torch.where(small, u, drawn).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        small, near, safe = self.split()
        around = math.log(2) + near.square() * series(self.LOG_C, near)
        log_c = torch.where(small, around, (safe / torch.tanh(safe / 2)).log())
        return sum_events(value * self.logits - F.softplus(self.logits) + log_c, self.dims)

    def split(self, near: float = NEAR) -> tuple[Tensor, Tensor, Tensor]:
        """Which logits are near 0; the logits, 0 where they are not near; the logits, 1 where they are."""
        small = self.logits.abs() < near
        return small, self.logits.where(small, 0.0), self.logits.where(~small, 1.0)


def series(coefficients: Sequence[float], t: Tensor) -> Tensor:
    """c_0 + c_1 t^2 + c_2 t^4 + ..."""
    square, total = t.square(), torch.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * square + coefficient
    return total


Map = Callable[[Tensor], tuple[Tensor, Tensor]]  # of (..., D), with log |det| of its Jacobian, (...,)


class Flow(Density):
    """x = f(u) with u from a base density: log p(x) = log p(u) + log |det du/dx|. `to_base` maps x to u, `from_base` u to x.

    Its `mean` is the image of the base's mean, where temperature 0 would draw; mean and variance have no closed form.
    """

    has_rsample = True

    def __init__(self, base: Any, to_base: Map, from_base: Map):
        self.base, self.to_base, self.from_base, self.dims = base, to_base, from_base, 1
        Distribution.__init__(self, base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.from_base(self.base.mean)[0]

    @property
    def variance(self) -> Tensor:
        """By the unscented transform (Julier & Uhlmann, 1997): of the images of 2 D points; exact where the map is affine."""
        root = (self.base.variance * self.base.mean.shape[-1]).sqrt()
        offsets = torch.diag_embed(root).movedim(-1, 0)  # (D, ..., D)
        points = torch.cat([self.base.mean + offsets, self.base.mean - offsets])
        return self.from_base(points)[0].var(0, correction=0)

    def rsample(self, sample_shape=()) -> Tensor:
        return self.from_base(self.base.rsample(sample_shape))[0]

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.from_base(self.base.sample(sample_shape))[0]

    def rsample_and_log_prob(self, sample_shape=()):
        """The way back is not gone: for some maps it takes D steps."""
        u, log_prob = self.base.rsample_and_log_prob(sample_shape)
        x, log_det = self.from_base(u)
        return x, log_prob - log_det

    def log_prob(self, value: Tensor) -> Tensor:
        u, log_det = self.to_base(value)
        return self.base.log_prob(u) + log_det


class Joined(Density):
    """Independent densities at N places, batch (B, N) and event (D,), as one of batch (B,) and event (N * D,)."""

    has_rsample = True

    def __init__(self, each: Density):
        self.each = each
        super().__init__(each.mean.flatten(-2), 1)

    @property
    def mean(self) -> Tensor:
        return self.each.mean.flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.each.variance.flatten(-2)

    def apart(self, t: Tensor) -> Tensor:
        """(..., N * D) to (..., N, D)."""
        return t.unflatten(-1, (self.each.batch_shape[-1], -1))

    def rsample(self, sample_shape=()) -> Tensor:
        return self.each.rsample(sample_shape).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.each.log_prob(self.apart(value)).sum(-1)

    def rsample_and_log_prob(self, sample_shape=()):
        drawn, log_prob = self.each.rsample_and_log_prob(sample_shape)
        return drawn.flatten(-2), log_prob.sum(-1)


@register_kl(Joined, Gaussian)
def _(q: Joined, p: Gaussian) -> Tensor:
    there = Gaussian(q.apart(p.loc), q.apart(p.log_var.expand_as(p.loc)))
    return kl_divergence(q.each, there).sum(-1)
