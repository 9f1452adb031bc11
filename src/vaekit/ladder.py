"""The hierarchical VAE: latents on a ladder of resolutions, each step's prior and posterior conditioned on the steps above.

Top-down inference: Sønderby et al. (2016), https://arxiv.org/abs/1602.02282; residual blocks and many groups: NVAE (Vahdat &
Kautz, 2020), https://arxiv.org/abs/2007.03898, and VDVAE (Child, 2021), https://arxiv.org/abs/2011.10650

Shapes: K samples, B images, M = K B of both; groups of latents, top first, each (d, H', W') flattened to D'; D of all groups.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from . import world
from .distributions import Density, Gaussian, bounded, full_precision
from .errors import UsageError
from .likelihoods import Likelihood
from .model import Model
from .nets.conv import norm
from .nets.pyramid import Climb, check_image, check_sizes, stairs
from .nets.resnet import Block
from .trace import Group, Trace

TIGHT = 6.0  # log-variances lie within (-6, 6): a prior that collapses would make the rate of one image explode


Choose = Callable[[Any, Gaussian, int], Tensor]  # q or None, p, which group: its z (M, D')


class Rung(NamedTuple):
    """What one step of the ladder computed."""

    q: Any  # Gaussian, batch (M,); None where there is no image
    p: Gaussian
    z: Tensor  # (M, D')


class Step(nn.Module):
    """One group of latents: its prior from the way down, its posterior from there and from the image, both Gaussian.

    The posterior is relative to the prior (NVAE, section 3.2), and begins as the prior.
    """

    def __init__(self, width: int, latents: int, size: tuple[int, int]):
        super().__init__()
        self.width, self.latents, self.size = width, latents, size
        self.prior = nn.Sequential(norm(width), nn.Conv2d(width, 2 * latents + width, 3, padding=1))
        self.posterior = nn.Sequential(norm(2 * width), nn.Conv2d(2 * width, 2 * latents, 3, padding=1))
        self.merge = nn.Conv2d(latents, width, 1)
        self.block = Block(width)
        for start in (self.prior[-1], self.posterior[-1]):
            nn.init.zeros_(start.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(start.bias)  # pyright: ignore[reportArgumentType]

    def gaussians(self, h: Tensor, seen: Tensor | None) -> tuple[Gaussian | None, Gaussian, Tensor]:
        """q, p, and what the prior passes on beside z."""
        *numbers, passed = self.prior(h).split([self.latents, self.latents, self.width], 1)
        mean, log_var = (full_precision(t.flatten(1)) for t in numbers)
        p = Gaussian(mean, bounded(log_var, TIGHT))
        if seen is None:
            return None, p, passed
        moved = self.posterior(torch.cat([h, seen], 1)).chunk(2, 1)
        move, widen = (full_precision(t.flatten(1)) for t in moved)
        return Gaussian(mean + move, bounded(log_var + widen, TIGHT)), p, passed

    def forward(self, h: Tensor, passed: Tensor, z: Tensor) -> Tensor:
        """The way down after z (M, D')."""
        return self.block(h + passed + self.merge(z.unflatten(1, (self.latents, *self.size))))


class Ladder(Model):
    """A residual top-down VAE over `image`, with `latents` numbers at each place of each of `blocks` groups a resolution.

    The resolutions are those of the convolutional nets, from at most `smallest` up to half the picture's. The top prior is
    learned too.
    """

    image: tuple[int, int, int]
    likelihood: Likelihood
    width: int = 48
    latents: int = 4
    blocks: int = 2
    smallest: int = 4

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(width=self.width, latents=self.latents, blocks=self.blocks)
        stages = stairs(height, width, self.smallest)
        if not stages:
            given = f"smallest={self.smallest}, got {self.image}"
            raise UsageError(f"A Ladder needs pictures larger than {given}. Give a smaller one.")
        self.first = nn.Conv2d(channels, self.width, 3, padding=1)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(self.width, self.width, 3, stride=stair.stride, padding=1), *self.several())
            for stair in stages
        )
        self.start = nn.Parameter(torch.zeros(self.width, *stages[-1].small))
        self.steps = nn.ModuleList(
            nn.ModuleList(Step(self.width, self.latents, stair.small) for _ in range(self.blocks)) for stair in reversed(stages)
        )
        self.climbs = nn.ModuleList(Climb(self.width, self.width, stair) for stair in reversed(stages))
        self.last = nn.Sequential(norm(self.width), nn.Conv2d(self.width, channels * self.likelihood.per_pixel, 3, padding=1))
        self.sizes = [self.latents * prod(stair.small) for stair in reversed(stages) for _ in range(self.blocks)]

    def several(self) -> list[Block]:
        return [Block(self.width) for _ in range(self.blocks)]

    @property
    def latent(self) -> int:
        return sum(self.sizes)

    @property
    def learns_prior(self) -> bool:
        return any(p.requires_grad for p in self.steps.parameters())

    @property
    def layered(self) -> list[nn.Module]:
        within = [part for steps in self.steps for step in steps for part in (step.prior, step.posterior, step.block)]  # pyright: ignore
        return [self.up, self.climbs, *within]

    def seen(self, x: Tensor) -> list[Tensor]:
        """What the way up makes of images (B, C, H, W), top first."""
        h, found = self.first(2 * x - 1), []
        for stage in self.up:
            h = stage(h)
            found.append(h)
        return found[::-1]

    def descend(self, count: int, choose: Choose, seen: list[Tensor] | None = None) -> tuple[list[Rung], Tensor]:
        """The way down for `count` pictures: every group, and the decoder's output. `choose(q, p, number)` gives a group's z."""
        h, rungs = self.start.expand(count, -1, -1, -1), []
        for stage, (steps, climb) in enumerate(zip(self.steps, self.climbs, strict=True)):
            for step in steps:  # pyright: ignore[reportGeneralTypeIssues]
                q, p, passed = step.gaussians(h, seen and seen[stage])
                rungs.append(Rung(q, p, choose(q, p, len(rungs))))
                h = step(h, passed, rungs[-1].z)
            h = climb(h)
        return rungs, self.last(h)

    def infer(self, x: Tensor, samples: int, choose: Choose) -> tuple[list[Rung], Tensor]:
        """The way down beside what was seen of x, for K samples each; M = K B, the samples of one number side by side."""
        seen = [h.expand(samples, *h.shape).flatten(0, 1) for h in self.seen(x)]
        return self.descend(samples * len(x), choose, seen)

    def draw(self, n, temperature=1.0, c=None):
        """As any model's; the temperature scales every group around its own mean given those above (Vahdat & Kautz, 2020)."""
        with torch.no_grad():
            rungs, _ = self.descend(n, lambda q, p, number: p.loc + temperature * (p.rsample() - p.loc))
        return torch.cat([rung.z for rung in rungs], -1)

    def forward(self, x: Tensor, samples: int = 1, c: Tensor | None = None) -> Trace:
        self.check_images(x)

        rungs, out = self.infer(x, samples, lambda q, p, number: drawn(q, samples))
        groups = []
        for rung in rungs:
            q, p, z = split(rung.q, samples), split(rung.p, samples), rung.z.unflatten(0, (samples, -1))
            groups.append(Group(q, p, z, q.log_prob(z)))
        return Trace(x, tuple(groups), self.likelihood(out.unflatten(0, (samples, -1))))

    def encode(self, x: Tensor, c: Tensor | None = None) -> "Chained":
        self.check_images(x)
        return Chained(self, x)

    def p_z(self, c: Tensor | None = None) -> "Chained":
        return Chained(self)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        self.check_codes(z)
        given = z.flatten(0, 1).split(self.sizes, -1)
        _, out = self.descend(len(given[0]), lambda q, p, number: given[number])
        return self.likelihood(out.unflatten(0, z.shape[:2]))


def split(p: Gaussian, samples: int) -> Gaussian:
    """Batch (M,) to (K, B)."""
    return Gaussian(p.loc.unflatten(0, (samples, -1)), p.log_var.unflatten(0, (samples, -1)))


def drawn(q: Gaussian, samples: int) -> Tensor:
    """z (M, D') from batch (M,)."""
    q = split(q, samples)
    return (q.loc + q.stddev * world.normal(q.loc.shape, 1, q.loc)).flatten(0, 1)


class Chained(Density):
    """The joint density of all groups of a ladder, as one of (D,): q(z | x) of images x (B, C, H, W), or without them p(z).

    Its mean follows the means of all groups down; its variance is theirs along that way.
    """

    has_rsample = True

    def __init__(self, ladder: Ladder, x: Tensor | None = None):
        self.ladder, self.x = ladder, x
        like = ladder.start.new_empty(())
        super().__init__(like.expand(*() if x is None else (len(x),), ladder.latent), 1)

    def walk(self, samples: int, choose: Choose) -> list[Rung]:
        if self.x is None:
            return self.ladder.descend(samples, choose)[0]
        return self.ladder.infer(self.x, samples, choose)[0]

    def own(self, rung: Rung) -> Gaussian:
        return rung.p if self.x is None else rung.q  # pyright: ignore[reportReturnType]

    def along(self) -> Iterator[Gaussian]:
        rungs = self.walk(1, lambda q, p, number: (p if q is None else q).loc)
        return map(self.own, rungs)

    @property
    def mean(self) -> Tensor:
        return torch.cat([p.loc for p in self.along()], -1).reshape(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([p.variance for p in self.along()], -1).reshape(*self.batch_shape, -1)

    def rsample(self, sample_shape=()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(self, sample_shape=()):
        samples = prod(sample_shape)

        rungs = self.walk(samples, lambda q, p, number: p.rsample() if q is None else drawn(q, samples))
        shape = (*sample_shape, *self.batch_shape)
        z = torch.cat([rung.z for rung in rungs], -1).reshape(*shape, -1)
        log_prob = torch.stack([self.own(rung).log_prob(rung.z) for rung in rungs]).sum(0)
        return z, log_prob.reshape(shape)

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of z (..., D); with images, (K, B, D)."""
        lead = value.shape[:-1]
        given = value.reshape(-1, value.shape[-1]).split(self.ladder.sizes, -1)
        rungs = self.walk(len(given[0]) // (1 if self.x is None else len(self.x)), lambda q, p, number: given[number])
        return torch.stack([self.own(rung).log_prob(rung.z) for rung in rungs]).sum(0).reshape(lead)
