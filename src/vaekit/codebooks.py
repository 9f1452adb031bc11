"""Posteriors without chance: each place of an image gets an entry of a codebook, its code.

The gradient passes from the entry to the encoder as if nothing had been chosen (van den Oord et al., 2017, section 3.2). What
keeps encoder and entries together is the posterior's own business, and comes as the cost of its density, nats per image.

Shapes: B images, N places, L codes a place, D numbers in an entry; a codebook has C entries.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import world
from .distributions import Density, Point, Space, full_precision, straight_through
from .errors import UsageError
from .part import Bounds, Count, Positive, Weight
from .posteriors import Discrete
from .priors import Prior
from .trace import Trace


class Coded(Point):
    """All mass on the entry z (..., D) of some codes (..., L): a probability of 1. `cost`: (...,), see above.

    `before`: what the encoder said (..., D).
    """

    compares = True

    def __init__(self, z: Tensor, codes: Tensor, before: Tensor, cost: Tensor):
        super().__init__(z)
        self.codes, self.before, self.cost = codes, before, cost

    def joined(self) -> "Coded":
        return Coded(self.z.flatten(-2), self.codes.flatten(-2), self.before.flatten(-2), self.cost.sum(-1))


class Coder(Discrete):
    """A posterior of codes."""

    space = Space.CODES

    def codes_of(self, q: Coded):
        return q.codes.flatten(1)

    def forward(self, h: Tensor) -> Coded:
        raise NotImplementedError


def nearest(entries: Tensor, to: Tensor) -> Tensor:
    """The index of the entry (C, D) that is nearest to each of (..., D)."""
    return (entries.square().sum(1) - 2 * to @ entries.T).argmin(-1)


class VectorQuantized(Coder):
    """VQ-VAE with a codebook that follows the encoder by moving averages (van den Oord et al., 2017, eq. 2 and appendix A.1).

    https://arxiv.org/abs/1711.00937. `depth` above 1: each codebook after the first has the rest that the ones before left, a
    residual VQ (Lee et al., 2022, https://arxiv.org/abs/2203.01941). The averages' half-life grows from nothing to `half_life`
    images, so that the first steps are those of k-means on the codes themselves; an entry that was chosen less than `dead` times
    as often as the mean one is taken from the batch instead. The cost is commitment * |e(x) - z_d|^2, z_d the sum of the first d
    entries, the mean over d: the first codebooks alone come near, too (Lee et al., eq. 7).
    """

    size: Annotated[int, Bounds(2)] = 512
    depth: Count = 1
    commitment: Weight = 0.25
    half_life: Positive = 10_000
    dead: Annotated[float, Bounds(0, 1, below=True)] = 0.03

    books: ClassVar[Tensor]  # buffers: (L, C, D)
    used: ClassVar[Tensor]  # (L, C), moving average of how often each was chosen in a batch
    sums: ClassVar[Tensor]  # (L, C, D), of the sums of what it was chosen for
    images_seen: ClassVar[Tensor]  # ()

    def __post_init__(self):
        self.head = nn.Linear(self.features, self.latent)
        shape = (self.depth, self.size, self.latent)
        self.register_buffer("books", torch.randn(shape) / math.sqrt(self.latent))
        self.register_buffer("used", torch.zeros(shape[:2]))
        self.register_buffer("sums", torch.zeros(shape))
        self.register_buffer("images_seen", torch.tensor(0.0))

    @property
    def levels(self):
        return (self.size,) * self.depth

    def entries(self, codes):
        return sum(book[code] for book, code in zip(self.books, codes.unbind(-1), strict=True))  # pyright: ignore[reportReturnType]

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            before = self.head(full_precision(h))
            codes, chosen, off = [], torch.zeros_like(before), torch.zeros_like(before[..., 0])
            for book in self.books:
                codes.append(nearest(book, before.detach() - chosen))
                chosen = chosen + book[codes[-1]]
                off = off + (before - chosen).square().sum(-1)
            cost = self.commitment / self.depth * off
            return Coded(straight_through(chosen, before), torch.stack(codes, -1), before, cost)

    @torch.no_grad()
    def observe(self, t: Trace) -> Tensor:
        """Of each entry: how often it was chosen, the sum of what for, and a candidate in its place, (L, C, 2 D + 1)."""
        q: Coded = t.group.q  # pyright: ignore[reportAssignmentType]
        rest, codes = q.before.reshape(-1, self.latent), q.codes.reshape(-1, self.depth)
        everyone, found = world.united(rest), []
        for book, code in zip(self.books, codes.unbind(1), strict=True):
            chosen = (code[:, None] == torch.arange(self.size, device=code.device)).to(rest.dtype)  # (B N, C)
            candidates = everyone[torch.randint(len(everyone), (self.size,), device=rest.device)]
            count, total = world.mean(chosen.sum(0)), world.mean(chosen.T @ rest)
            found.append(torch.cat([count[:, None], total, candidates], 1))
            rest = rest - book[code]
            everyone = everyone - book[nearest(book, everyone)]
        return torch.stack(found)

    @torch.no_grad()
    def absorb(self, statistic: Tensor, images: int) -> None:
        """Move the averages towards those of a batch of `images`, and every entry to its mean; revive the dead."""
        self.images_seen.add_(images)
        forget = 1 - 0.5 ** (images / (0.05 * self.images_seen).clamp_max(self.half_life))
        count, total, candidates = statistic.split([1, self.latent, self.latent], -1)
        self.used.lerp_(count[..., 0], forget)
        self.sums.lerp_(total, forget)
        alive = self.used > self.dead * self.used.mean(1, keepdim=True)
        self.books.copy_(torch.where(alive[..., None], self.sums / self.used[..., None].clamp_min(1e-12), candidates))
        fresh = self.used.mean(1, keepdim=True).expand_as(self.used)  # as if it had been chosen as often as the mean one
        self.used.copy_(torch.where(alive, self.used, fresh))
        self.sums.copy_(torch.where(alive[..., None], self.sums, fresh[..., None] * candidates))


class FiniteScalar(Coder):
    """FSQ: every number of a place is rounded to one of a few levels; no codebook, no cost (Mentzer et al., 2024, section 3.1).

    https://arxiv.org/abs/2309.15505. `sizes`: the levels of each number, as many as `latent`.
    """

    sizes: tuple[int, ...] = (8, 5, 5, 5)

    half_width: ClassVar[Tensor]  # buffers, (D,): half the width that is rounded, and where its middle lies
    shift: ClassVar[Tensor]
    count: ClassVar[Tensor]

    def __post_init__(self):
        if len(self.sizes) != self.latent or min(self.sizes) < 2:
            given = f"sizes={self.sizes} for latent={self.latent}"
            raise UsageError(f"FiniteScalar got {given}; give one size of 2 or more for each.")
        self.head = nn.Linear(self.features, self.latent)
        count = torch.tensor(self.sizes)
        half = (count - 1) * (1 + 1e-3) / 2
        self.register_buffer("count", count, persistent=False)
        self.register_buffer("half_width", half, persistent=False)
        self.register_buffer("shift", torch.where(count % 2 == 1, 0.0, 0.5), persistent=False)

    @property
    def levels(self):
        return tuple(self.sizes)

    def entries(self, codes):
        middle = self.count // 2
        return (codes - middle).to(self.half_width.dtype) / middle

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            before = self.head(full_precision(h))
            inside = self.half_width * torch.tanh(before + torch.atanh(self.shift / self.half_width)) - self.shift
            middle, rounded = self.count // 2, inside.round()
            z = straight_through(rounded, inside) / middle
            return Coded(z, (rounded.long() + middle), before, before.new_zeros(before.shape[:-1]))


class LookupFree(Coder):
    """LFQ: every number of a place becomes a bit, +1 or -1 (Yu et al., 2024, section 3.1).

    https://arxiv.org/abs/2310.05737. The cost is commitment * |e(x) - z|^2 + entropy * (mean entropy of a place's bits - entropy
    of all codes together), so that each place is sure and all codes are used. The second entropy is over 2^latent codes.
    """

    latent: Annotated[int, Bounds(1, 14)]  # bits of a place: 2^latent codes are counted
    commitment: Weight = 0.25
    entropy: Weight = 0.1
    sharpness: Positive = 100.0

    bits: ClassVar[Tensor]  # a buffer, (2^D, D): every code

    def __post_init__(self):
        self.head = nn.Linear(self.features, self.latent)
        every = torch.arange(2**self.latent)[:, None] >> torch.arange(self.latent)
        self.register_buffer("bits", 2.0 * (every & 1) - 1, persistent=False)

    @property
    def levels(self):
        return (2,) * self.latent

    def entries(self, codes):
        return (2 * codes - 1).to(self.bits.dtype)

    def forward(self, h):
        with torch.autocast(h.device.type, enabled=False):
            before = self.head(full_precision(h))
            chosen = torch.where(before > 0, 1.0, -1.0)
            cost = self.commitment * (before - chosen).square().sum(-1)
            if self.entropy:
                cost = cost + self.entropy * self.uncertainty(before)
            return Coded(straight_through(chosen, before), (before > 0).long(), before, cost)

    def uncertainty(self, before: Tensor) -> Tensor:
        """Entropy of a place's code minus that of all, in nats, (...,): code c has logit -sharpness * |e(x) - c|^2."""
        logits = 4 * self.sharpness * before  # of +1 against -1, independent bits
        sure = F.softplus(-logits.abs()) + logits.abs() * torch.sigmoid(-logits.abs())  # entropy of each bit
        ones = (self.bits > 0).to(before.dtype)  # (2^D, D)
        log_p = F.logsigmoid(logits) @ ones.T + F.logsigmoid(-logits) @ (1 - ones).T
        mean = world.mean(log_p.exp().flatten(0, -2).mean(0))
        return sure.sum(-1) + (mean * mean.clamp_min(1e-12).log()).sum()


class UniformCodes(Prior):
    """p(z) of a model of codes before anything is known of them: all are as probable (van den Oord et al., 2017)."""

    space = Space.CODES

    def forward(self, model: Any = None):
        return EvenCodes(model.posterior, model.places)


class EvenCodes(Density):
    """Codes (N, L) drawn evenly; an event is what they stand for, (N * D,)."""

    def __init__(self, coder: Coder, places: int):
        self.coder, self.places = coder, places
        super().__init__(next(coder.parameters()).new_empty(()).expand(places * coder.latent), 1)

    @property
    def mean(self) -> Tensor:
        raise UsageError("Codes have no mean to draw around: leave the temperature at 1.")

    def log_prob(self, value: Tensor) -> Tensor:
        nats = self.places * sum(math.log(size) for size in self.coder.levels)
        kind = torch.promote_types(value.dtype, torch.float32)  # codes may come as whole numbers, their nats are none
        return value.new_full(value.shape[:-1], -nats, dtype=kind)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        like = next(self.coder.parameters())
        drawn = [torch.randint(size, (*sample_shape, self.places), device=like.device) for size in self.coder.levels]
        return self.coder.entries(torch.stack(drawn, -1)).flatten(-2)
