"""A decoder whose pixels know their neighbours: p(x | z) = prod_i p(x_i | x_<i, z), in few parallel steps.

The chain rule holds in any order. Here the picture is cut into patches of n x n pixels, and all pixels at the same place of
their patch are drawn at once, places in the order of Bayer's dither matrix (1973): a coarse grid first, then the pixels between.
So a picture is drawn in n^2 steps instead of one for every pixel, in 3 n^2 with colours, whose channels come one after another,
and late pixels see neighbours on all sides. The latents say what the picture is, the neighbours how it is drawn (Gulrajani et
al., 2017, https://arxiv.org/abs/1611.05013; in parallel groups: Reed et al., 2017, https://arxiv.org/abs/1703.03664).

Shapes: K samples of z, B images, (H', W') patches, V values in a patch in their order, F features for each value.
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from .distributions import Density, exactly, full_precision
from .errors import UsageError
from .levels import LogisticLevels
from .likelihoods import BernoulliPixels, Likelihood
from .part import Count, Natural


def bayer(n: int) -> Tensor:
    """Bayer's dither matrix for a power of two: (n, n), each of 0 ... n^2 - 1 once, neighbours in rank far apart in place."""
    if n == 1:
        return torch.zeros(1, 1, dtype=torch.long)
    quarter = 4 * bayer(n // 2)
    return torch.cat([torch.cat([quarter, quarter + 2], 1), torch.cat([quarter + 3, quarter + 1], 1)], 0)


class Masked(nn.Module):
    """A linear map from the features of each value to those of itself and later ones, or of later ones alone (`strict`).

    (N, H', W', V * features) to (N, H', W', V * out), over a window of patches. MADE (Germain et al., 2015, eq. 9), as a
    convolution: the order of the values is the same in every patch. https://arxiv.org/abs/1502.03509
    """

    allowed: Tensor  # a buffer

    def __init__(self, values: int, features: int, out: int, window: int = 1, strict: bool = False):
        super().__init__()
        self.features, self.out, self.window = features, out, window
        bound = 1 / math.sqrt(window**2 * values * features / 2)
        self.weight = nn.Parameter(torch.empty(values * out, values * features, window, window).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(values * out))
        allowed = torch.ones(values, values).tril(-1 if strict else 0).repeat_interleave(out, 0).repeat_interleave(features, 1)
        self.register_buffer("allowed", allowed[..., None, None], persistent=False)

    def forward(self, h: Tensor, i: int | None = None) -> Tensor:
        """All of it, or the features of value i from those of the values 0 ... i."""
        rows = slice(None) if i is None else slice(i * self.out, (i + 1) * self.out)
        weight = (self.weight * self.allowed)[rows, : h.shape[-1]]
        if self.window == 1:
            return F.linear(h, weight.flatten(1), self.bias[rows])
        return F.conv2d(h.permute(0, 3, 1, 2), weight, self.bias[rows], padding="same").permute(0, 2, 3, 1)


class Neighbours(Likelihood):
    """Pixels whose numbers, those of another likelihood, come from the decoder's features there and from the pixels drawn before.

    The decoder gives `features` numbers for every value of every patch: out is (K, B, H', W', V * F). The pixels pass `depth`
    residual layers that see the patches up to `reach` away, computed once for all K samples; then one layer sees both.
    """

    image: tuple[int, int, int]
    features: Count = 8
    patch: Count = 4
    reach: Natural = 1
    depth: Natural = 0

    drawn = True

    ordering: ClassVar[Tensor]  # buffers: the pixels of a patch in the order they are drawn, as a matrix (V, V) of 0 and 1,
    restored: ClassVar[Tensor]  # and the way back, (V,)

    def __post_init__(self):
        channels, height, width = self.image
        if self.patch & (self.patch - 1):
            raise UsageError(f"{type(self).__name__} patch is {self.patch}; it must be a power of two: 1, 2, 4, 8.")
        self.each = self.kind()  # the likelihood of each value, given its numbers
        self.values, window = channels * self.patch**2, 2 * self.reach + 1
        self.grid = -(-height // self.patch), -(-width // self.patch)
        self.missing = (0, -width % self.patch, 0, -height % self.patch)  # to whole patches
        ranks = bayer(self.patch).flatten() * channels + torch.arange(channels)[:, None]  # (C, patch^2)
        self.register_buffer("ordering", torch.eye(self.values)[:, ranks.flatten().argsort()], persistent=False)
        self.register_buffer("restored", ranks.flatten(), persistent=False)
        self.first = Masked(self.values, 1, self.features, window, strict=True)
        self.body = nn.ModuleList(Masked(self.values, self.features, self.features, window) for _ in range(self.depth))
        self.hidden = Masked(self.values, self.features, self.features)
        self.last = Masked(self.values, self.features, self.each.per_pixel)
        # Modules, one for each place, so that whoever watches activations sees these.
        self.relus = nn.ModuleList(nn.ReLU() for _ in self.body)
        self.relu_both, self.relu_hidden = nn.ReLU(), nn.ReLU()

    def kind(self) -> Likelihood:
        """The likelihood of each value."""
        raise NotImplementedError

    def forward(self, out):
        expected = (*self.grid, self.values * self.features)
        if out.shape[-3:] != expected:
            raise UsageError(
                f"The decoder gives {tuple(out.shape[-3:])}; {type(self).__name__} takes {expected}: patches high, patches wide, "
                f"{self.values} values x {self.features} features. "
                f"Give a MixerDecoder patch={self.patch}, per_patch={expected[-1]}."
            )
        return NeighbourPixels(self, out)

    def fold(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) to values in their order, (N, H', W', V); what is missing to whole patches is 0."""
        values = F.pixel_unshuffle(F.pad(x, self.missing), self.patch).permute(0, 2, 3, 1)
        with exactly(x):  # a product of 0 and 1, because compilers gather by indices anew for each of K samples
            return values @ self.ordering.to(x.dtype)

    def unfold(self, values: Tensor) -> Tensor:
        """Undoes `fold`: (N, H', W', V) to (N, C, H, W)."""
        x = F.pixel_shuffle(values[..., self.restored].permute(0, 3, 1, 2), self.patch)
        return x[..., : self.image[1], : self.image[2]]

    def context(self, values: Tensor) -> Tensor:
        """What the values in their order, (N, H', W', V), tell the later ones: (N, H', W', V * F)."""
        h = self.first(values.to(self.first.weight.dtype))
        for relu, layer in zip(self.relus, self.body, strict=True):
            h = h + layer(relu(h))
        return h

    def numbers(self, context: Tensor, out: Tensor) -> Tensor:
        """(..., H', W', V * F) twice to the P numbers of each value, (..., H', W', V * P)."""
        h = self.relu_both(context + out)
        return full_precision(self.last(h + self.relu_hidden(self.hidden(h))))

    def log_prob(self, numbers: Tensor, x: Tensor) -> Tensor:
        """Of pictures (..., C, H, W), given the numbers of their values (..., H', W', V * P)."""
        lead = numbers.shape[:-3]
        apart = numbers.unflatten(-1, (self.values, -1)).movedim(-1, -4)  # (..., P, H', W', V)
        pictures = self.unfold(apart.flatten(0, -4)).unflatten(0, (*lead, -1))  # (..., P, C, H, W)
        return self.each(pictures.transpose(-4, -3).flatten(-4, -3)).log_prob(x)


class NeighbourBernoulli(Neighbours):
    """Black or white pixels; each one's logit comes from the decoder's features there and from the pixels drawn before it."""

    support = "bits"

    def kind(self):
        return BernoulliPixels()

    def log_prob(self, numbers, x):
        """In the order of the patches: no picture is put together."""
        lead = x.shape[:-3]
        bits = self.fold(x.flatten(0, -4)).unflatten(0, lead)
        wrong, doubt = F.relu(numbers) - bits * numbers, 1 + (-numbers.abs()).exp()  # -log p = wrong + log(doubt), the softplus
        if any(self.missing):
            there = self.fold(torch.ones_like(x.flatten(0, -4)[:1]))[0]
            wrong, doubt = wrong * there, torch.where(there > 0, doubt, 1)
        return -(wrong.sum((-3, -2, -1)) + summed_logs(doubt.unbind(-3)).sum((-2, -1)))


def summed_logs(factors: Sequence[Tensor]) -> Tensor:
    """The sum of the logarithms of factors in [1, 2], by those of their products: one costs many times what a product does."""
    products = [math.prod(factors[start : start + 16]) for start in range(0, len(factors), 16)]  # 2^16 at most
    return sum(product.log() for product in products)  # pyright: ignore


class NeighbourLogistic(Neighbours):
    """Grey or coloured pixels of 256 levels, a mixture of `components` logistics each: a channel sees those before it too."""

    components: Count = 5

    support = "levels"

    def kind(self):
        return LogisticLevels(components=self.components)


class NeighbourPixels(Density):
    """prod_i p(x_i; x_<i, z) over the pixel values of a picture, batch (K, B), event (C, H, W)."""

    def __init__(self, net: Neighbours, out: Tensor):
        self.net, self.out = net, out
        super().__init__(out.new_empty(()).expand(*out.shape[:-3], *net.image), 3)

    def log_prob(self, value: Tensor) -> Tensor:
        net, lead = self.net, value.shape[:-3]
        context = net.context(net.fold(value.flatten(0, -4))).unflatten(0, lead)
        return net.log_prob(net.numbers(context, self.out), value)

    @torch.no_grad()
    def drawn(self, choose: Callable[[Distribution], Tensor]) -> Tensor:
        """Value after value, each chosen by its distribution given the earlier ones. Without gradient.

        The features of earlier values stay as they are, so that all steps together cost one pass.
        """
        net, out = self.net, full_precision(self.out.flatten(0, -4))
        there = net.fold(out.new_ones(1, *net.image))[0]  # 0 where the picture was filled up to whole patches, as in log_prob
        x = out.new_zeros(*out.shape[:-1], net.values)
        context, last, second = out.new_empty((net.depth + 1, *out.shape)), out.new_empty(out.shape), out.new_empty(out.shape)
        for i in range(net.values):
            here, until = slice(i * net.features, (i + 1) * net.features), slice((i + 1) * net.features)
            context[0][..., here] = net.first(x[..., : i + 1], i)
            for layer, before, after in zip(net.body, context, context[1:], strict=False):
                after[..., here] = before[..., here] + layer(F.relu(before[..., until]), i)
            last[..., here] = F.relu(context[-1][..., here] + out[..., here])
            second[..., here] = last[..., here] + F.relu(net.hidden(last[..., until], i))
            px = net.each(net.last(second[..., until], i).movedim(-1, -3))  # as pictures of one channel, a pixel for each patch
            x[..., i] = choose(px)[:, 0] * there[..., i]
        return net.unfold(x).unflatten(0, self.batch_shape)

    def sample(self, sample_shape=()) -> Tensor:
        if sample_shape:
            return torch.stack([self.sample() for _ in range(math.prod(sample_shape))]).unflatten(0, sample_shape)
        return self.drawn(lambda px: px.sample())

    @property
    def mean(self) -> Tensor:
        """Nothing drawn: each pixel's mean, given those of the earlier pixels for their values; of black and white a grey."""
        return self.drawn(lambda px: px.mean)
