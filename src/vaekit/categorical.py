"""Categorical latents: several variables, each one of some categories, as vectors of zeros with a single one.

Jang et al. (2017), Categorical Reparameterization with Gumbel-Softmax, https://arxiv.org/abs/1611.01144; the same in the same
month: Maddison et al. (2017), https://arxiv.org/abs/1611.00712

Shapes: B images, G variables, C categories; D = G * C.
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.distributions.kl import register_kl

from . import world
from .distributions import Density, Space, full_precision, straight_through
from .errors import UsageError
from .part import Bounds, Positive
from .posteriors import Discrete
from .priors import Prior

Kinds = Annotated[int, Bounds(2)]


class OneHots(Density):
    """G independent choices among C categories with the logits (..., G, C); an event is (G * C,).

    A draw is one-hot, its gradient that of the relaxed one at `temperature` (straight-through: Jang et al., section 2.2).
    """

    has_rsample = True
    scales = False

    def __init__(self, logits: Tensor, temperature: float = 1.0):
        self.logits, self.temperature = logits.log_softmax(-1), temperature
        super().__init__(logits.flatten(-2), 1)

    def joined(self) -> "OneHots":
        return OneHots(self.logits.flatten(-3, -2), self.temperature)

    @property
    def mean(self) -> Tensor:
        return self.logits.exp().flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def rsample(self, sample_shape=()) -> Tensor:
        shape = (*sample_shape, *self.logits.shape)
        u = world.uniform(shape, len(sample_shape) - (not self.batch_shape), self.logits).clamp(1e-7, 1 - 1e-7)
        relaxed = ((self.logits - (-u.log()).log()) / self.temperature).softmax(-1)
        every = torch.arange(relaxed.shape[-1], device=relaxed.device)
        hard = (relaxed.argmax(-1, keepdim=True) == every).to(relaxed.dtype)
        return straight_through(hard, relaxed).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (value.unflatten(-1, self.logits.shape[-2:]) * self.logits).sum((-2, -1))


@register_kl(OneHots, OneHots)
def _(q: OneHots, p: OneHots) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).sum((-2, -1))


class CategoricalLatents(Discrete):
    """q(z | x) of latent / categories independent categorical variables."""

    space = Space.CATEGORIES

    categories: Kinds = 10
    temperature: Positive = 2 / 3  # Maddison et al., appendix C.3

    def __post_init__(self):
        check_categories(self)
        self.head = nn.Linear(self.features, self.latent)

    @property
    def levels(self):
        return (self.categories,)

    @property
    def entry(self):
        return self.categories

    def entries(self, codes):
        return (codes == torch.arange(self.categories, device=codes.device)).to(self.head.weight.dtype)

    def codes_of(self, q: OneHots):
        return q.sample().unflatten(-1, (-1, self.categories)).argmax(-1)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            return OneHots(self.head(full_precision(h)).unflatten(-1, (-1, self.categories)), self.temperature)


class UniformCategories(Prior):
    """p(z): every category as probable as any other."""

    space = Space.CATEGORIES

    categories: Kinds = 10

    def __post_init__(self):
        check_categories(self)
        self.register_buffer("zeros", torch.zeros(self.latent // self.categories, self.categories), persistent=False)

    def forward(self, model=None):
        return OneHots(self.zeros)  # pyright: ignore[reportArgumentType]


def check_categories(part: CategoricalLatents | UniformCategories) -> None:
    if part.latent % part.categories:
        given = f"latent={part.latent} with {part.categories} categories"
        raise UsageError(f"{type(part).__name__} got {given}; latent must be a multiple of the categories.")
