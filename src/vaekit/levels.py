"""Likelihoods of 8-bit pixels: a probability for each of their 256 levels, no density, so that -log2 p is a length in bits.

A density of pixel values in [0, 1] counts a level as 1 / 256 of it: it is log(256) nats a pixel value above such a probability.

Shapes: as in `likelihoods.py`; the decoder gives V numbers for every pixel value, (K, B, C * V, H, W).
"""

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F

from .distributions import Density, bounded, exactly, sum_events
from .likelihoods import Likelihood, apiece
from .part import Count

LEVELS = 256
HALF = 0.5 / (LEVELS - 1)  # of the distance between two levels


class LogisticLevels(Likelihood):
    """A mixture of logistics, its mass cut at the levels' borders (Salimans et al., 2017, eq. 1 and 2, channels independent).

    With one component it is the discretised logistic of Kingma et al. (2016). https://arxiv.org/abs/1701.05517
    """

    components: Count = 10

    support = "levels"

    @property
    def per_pixel(self):
        return 3 * self.components

    def forward(self, out):
        logits, means, scales = apiece(out, self.per_pixel).unflatten(-3, (3, -1)).unbind(-4)
        spread = torch.linspace(0, 1, self.components + 2, dtype=means.dtype, device=means.device)[1:-1, None, None]
        return DiscretizedLogistics(logits, spread + means, bounded(scales, 5.0) - 3.0)  # a tenth of a level to many pictures


class DiscretizedLogistics(Density):
    """Logits, means and log scales of M logistics for each pixel value, (..., C, M, H, W) each."""

    def __init__(self, logits: Tensor, means: Tensor, log_scales: Tensor):
        self.logits, self.means, self.log_scales = logits, means, log_scales
        super().__init__(means[..., 0, :, :], 3)

    @property
    def mean(self) -> Tensor:
        """Of the mixture on [0, 1], what lies outside at its ends: the integral of P(x > t) over t; levels are not rounded."""
        scales = self.log_scales.exp()
        each = scales * (F.softplus(self.means / scales) - F.softplus((self.means - 1) / scales))
        return (self.logits.softmax(-3) * each).sum(-3).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log(S(a) - S(b)) = log S(a) + log S(-b) + log(1 - exp(b - a)) of the logistic function S, exact at both ends."""
        x, sharp = value.unsqueeze(-3), (-self.log_scales).exp()
        a, b = (x - self.means + HALF) * sharp, (x - self.means - HALF) * sharp
        below, above = F.logsigmoid(a), F.logsigmoid(-b)
        between = below + above + torch.log(-torch.expm1(-2 * HALF * sharp))
        mass = torch.where(x < HALF, below, torch.where(x > 1 - HALF, above, between))
        return sum_events((self.logits.log_softmax(-3) + mass).logsumexp(-3), 3)

    def sample(self, sample_shape=()) -> Tensor:
        chosen = Categorical(logits=self.logits.movedim(-3, -1), validate_args=False).sample(sample_shape).unsqueeze(-3)
        both = (t.expand(*sample_shape, *t.shape).gather(-3, chosen)[..., 0, :, :] for t in (self.means, self.log_scales))
        mean, log_scale = both
        u = torch.rand_like(mean).clamp(1e-6, 1 - 1e-6)
        return as_level(mean + log_scale.exp() * (u.log() - (-u).log1p()))


class CategoricalLevels(Likelihood):
    """A free probability for each level: nothing is assumed of their order (van den Oord et al., 2016, section 3.3).

    https://arxiv.org/abs/1601.06759
    """

    support = "levels"

    @property
    def per_pixel(self):
        return LEVELS

    def forward(self, out):
        return Histogram(apiece(out, LEVELS))


class Histogram(Density):
    """Logits of the levels of each pixel value, (..., C, 256, H, W)."""

    def __init__(self, logits: Tensor):
        self.logits = logits
        super().__init__(logits[..., 0, :, :], 3)

    @property
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, dtype=self.logits.dtype, device=self.logits.device)
        with exactly(levels):
            return torch.einsum("...vhw,v->...hw", self.logits.softmax(-3), levels).clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        places = (value * (LEVELS - 1)).round().long().unsqueeze(-3)
        logits = self.logits.log_softmax(-3)
        shape = torch.broadcast_shapes(logits[..., :1, :, :].shape, places.shape)
        chosen = logits.expand(*shape[:-3], LEVELS, *shape[-2:]).gather(-3, places.expand(shape))
        return sum_events(chosen.squeeze(-3), 3)

    def sample(self, sample_shape=()) -> Tensor:
        drawn = Categorical(logits=self.logits.movedim(-3, -1), validate_args=False).sample(sample_shape)
        return drawn.to(self.logits.dtype) / (LEVELS - 1)


def as_level(x: Tensor) -> Tensor:
    """The nearest level of a pixel value, (0 ... 255) / 255."""
    return (x.clamp(0, 1) * (LEVELS - 1)).round() / (LEVELS - 1)
