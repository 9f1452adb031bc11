"""A decoder whose pixels know their neighbours: p(x | z) = prod_i p(x_i | x_<i, z), in few parallel steps.

The chain rule holds in any order. Here the picture is cut into patches of n x n pixels, and all pixels at the same place of
their patch are drawn at once, places in the order of Bayer's dither matrix (1973): a coarse grid first, then the pixels between.
So a picture is drawn in n^2 steps instead of one for every pixel, and late pixels see neighbours on all sides. The latents say
what the picture is, the neighbours how it is drawn (Gulrajani et al., 2017, https://arxiv.org/abs/1611.05013; in parallel groups:
Reed et al., 2017, https://arxiv.org/abs/1703.03664).

Shapes: K samples of z, B images, (H', W') patches, V values in a patch in their order, F features for each value.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributions import Density, full_precision
from .errors import UsageError
from .likelihoods import Likelihood


def bayer(n: int) -> Tensor:
    """Bayer's dither matrix for a power of two: (n, n), each of 0 ... n^2 - 1 once, neighbours in rank far apart in place."""
    if n == 1:
        return torch.zeros(1, 1, dtype=torch.long)
    quarter = 4 * bayer(n // 2)
    return torch.cat([torch.cat([quarter, quarter + 2], 1), torch.cat([quarter + 3, quarter + 1], 1)], 0)


class Masked(nn.Module):
    """A linear map from the features of each value to those of itself and of later ones (MADE: Germain et al., 2015, eq. 9).

    https://arxiv.org/abs/1502.03509
    """

    def __init__(self, values: int, features: int, out: int):
        super().__init__()
        self.features, self.out = features, out
        bound = 1 / math.sqrt(values * features / 2)
        self.weight = nn.Parameter(torch.empty(values * out, values * features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(values * out))
        allowed = torch.ones(values, values).tril().repeat_interleave(out, 0).repeat_interleave(features, 1)
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """(..., V * features) to (..., V * out)."""
        return F.linear(h, self.weight * self.allowed, self.bias)

    def at(self, i: int, h: Tensor) -> Tensor:
        """The part of value i, from the features of the values 0 ... i."""
        rows = slice(i * self.out, (i + 1) * self.out)
        return F.linear(h, self.weight[rows, : h.shape[-1]], self.bias[rows])


class NeighbourBernoulli(Likelihood):
    """Black or white pixels; each one's logit is a small net of the decoder's features there and of the pixels drawn before it.

    The decoder gives `features` numbers for every value of every patch: out is (K, B, H', W', V * F). A pixel sees the earlier
    pixels of its own patch and of the patches up to `reach` away.
    """

    image: tuple[int, int, int]
    features: int = 16
    patch: int = 4
    reach: int = 1

    def __post_init__(self):
        channels, height, width = self.image
        if self.patch < 1 or self.patch & (self.patch - 1):
            raise UsageError(f"NeighbourBernoulli patch is {self.patch}; it must be a power of two: 1, 2, 4, 8.")
        if self.features < 1 or self.reach < 0:
            given = f"{self.features} features, reach {self.reach}"
            raise UsageError(f"NeighbourBernoulli got {given}; it needs 1 feature or more, and a reach of 0 or more.")
        self.values, window = channels * self.patch**2, 2 * self.reach + 1
        self.grid = -(-height // self.patch), -(-width // self.patch)
        self.missing = (0, -width % self.patch, 0, -height % self.patch)  # to whole patches
        ranks = bayer(self.patch).flatten() * channels + torch.arange(channels)[:, None]  # (C, patch^2)
        self.register_buffer("order", ranks.flatten().argsort(), persistent=False)
        self.register_buffer("restored", ranks.flatten(), persistent=False)
        earlier = torch.ones(self.values, self.values).tril(-1).repeat_interleave(self.features, 0)
        self.register_buffer("earlier", earlier[..., None, None], persistent=False)
        bound = 1 / math.sqrt(window**2 * self.values / 2)
        self.weight = nn.Parameter(torch.empty(self.values * self.features, self.values, window, window).uniform_(-bound, bound))
        self.hidden = Masked(self.values, self.features, self.features)
        self.last = Masked(self.values, self.features, 1)

    def forward(self, out):
        expected = (*self.grid, self.values * self.features)
        if out.shape[-3:] != expected:
            raise UsageError(
                f"The decoder gives {tuple(out.shape[-3:])}; NeighbourBernoulli takes {expected}: patches high, patches wide, "
                f"{self.values} values x {self.features} features. "
                f"Give a MixerDecoder patch={self.patch}, per_patch={expected[-1]}."
            )
        return NeighbourPixels(self, out)

    def fold(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) to values in their order, (N, V, H', W'); what is missing to whole patches is 0."""
        return F.pixel_unshuffle(F.pad(x, self.missing), self.patch)[:, self.order]

    def unfold(self, values: Tensor) -> Tensor:
        """Undoes `fold`: (N, V, H', W') to (N, C, H, W)."""
        return F.pixel_shuffle(values[:, self.restored], self.patch)[..., : self.image[1], : self.image[2]]

    def context(self, values: Tensor, which: slice = slice(None)) -> Tensor:
        """What values in their order, (N, V, H', W'), tell the later ones: (N, H', W', V * F), or `which` of these features."""
        weight = (self.weight * self.earlier)[which]
        values = values.to(weight.dtype).contiguous(memory_format=torch.channels_last)
        return F.conv2d(values, weight, padding=self.reach).permute(0, 2, 3, 1)

    def logits(self, context: Tensor, out: Tensor) -> Tensor:
        """(..., H', W', V * F) twice to (..., H', W', V)."""
        h = F.relu(context + out)
        return full_precision(self.last(h + F.relu(self.hidden(h))))


class NeighbourPixels(Density):
    """prod_i Bernoulli(x_i; x_<i, z) over the pixels of a picture, batch (K, B), event (C, H, W)."""

    def __init__(self, net: NeighbourBernoulli, out: Tensor):
        self.net, self.out = net, out
        super().__init__(out.new_empty(()).expand(*out.shape[:-3], *net.image), 3)

    def log_prob(self, value: Tensor) -> Tensor:
        net, lead = self.net, value.shape[:-3]
        x = net.fold(value.flatten(0, -4))
        logits = net.logits(net.context(x).unflatten(0, lead), self.out)
        x = x.permute(0, 2, 3, 1).unflatten(0, lead)  # (..., H', W', V)
        nats = F.softplus(logits) - logits * x
        if any(net.missing):
            nats = nats * net.fold(torch.ones_like(value.flatten(0, -4)[:1]))[0].permute(1, 2, 0)
        return -nats.sum((-3, -2, -1))

    @torch.no_grad()
    def drawn(self, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Value after value, each chosen by its probability given the earlier ones. Without gradient.

        The features of earlier values stay as they are, so that all steps together cost one pass.
        """
        net, out = self.net, self.out.flatten(0, -4)
        x = out.new_zeros(len(out), net.values, *net.grid, dtype=torch.promote_types(out.dtype, torch.float32))
        first, second = out.new_empty((2, *out.shape), dtype=x.dtype)
        for i in range(net.values):
            here, until = slice(i * net.features, (i + 1) * net.features), slice((i + 1) * net.features)
            first[..., here] = F.relu(net.context(x, here) + out[..., here])
            second[..., here] = first[..., here] + F.relu(net.hidden.at(i, first[..., until]))
            x[:, i] = choose(full_precision(net.last.at(i, second[..., until])).sigmoid()).squeeze(-1)
        return net.unfold(x).unflatten(0, self.batch_shape)

    def sample(self, sample_shape=()) -> Tensor:
        if sample_shape:
            return torch.stack([self.sample() for _ in range(math.prod(sample_shape))]).unflatten(0, sample_shape)
        return self.drawn(torch.bernoulli)

    @property
    def mean(self) -> Tensor:
        """The picture in grey, nothing drawn: each pixel's probability, given those of the earlier pixels for their values."""
        return self.drawn(lambda probability: probability)
