"""log p(x) by annealing: a bound from below that needs no good q(z | x), and for pictures of the model's own one from above too.

Codes are led from q(z | x) to p(z | x) through q^(1 - t) (p(x | z) p(z))^t, t from 0 to 1, by Hamiltonian Monte Carlo, and the
ratios on the way multiply to a weight whose mean is p(x) (Neal, 2001; for decoders Wu et al., 2017). Led back from the code that
a picture was drawn from, an exact draw of p(z | x), the mean of the inverse is 1 / p(x): the gap between the two says how far
either can be off (Grosse et al., 2015). https://arxiv.org/abs/1611.04273 https://arxiv.org/abs/1511.02543

Shapes: K chains, B images, D latents.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .. import world
from ..batches import mix
from ..distributions import CorrelatedGaussian, Gaussian
from ..errors import UsageError
from ..model import Model
from ..train import Images, shown
from .bounds import noise

IMAGES = 16  # led together
CHAINS = 16
LEAPS = 10  # of a Hamiltonian trajectory
ACCEPTED = 0.65  # share of trajectories that a step size is tuned to (Wu et al., 2017, section 4.1)
STEEPNESS = 4.0  # of the sigmoid along which t rises (Wu et al., 2017)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Annealed:
    """log p(x) in nats of every image, (N,)."""

    below: Tensor  # the bound from below, in expectation
    above: Tensor | None  # from above; only for pictures whose code is known
    accepted: float  # share of trajectories
    seconds: float


class Sides(NamedTuple):
    """What a path is between."""

    log_q: Tensor  # log q(z | x), (K, B)
    log_p: Tensor  # log p(x | z) + log p(z), (K, B)

    def at(self, t: float) -> Tensor:
        return (1 - t) * self.log_q + t * self.log_p


class AnnealingPath:
    """From q(z | x) to p(x, z), for some images (B, C, H, W).

    Raises UsageError where q(z | x) is no Gaussian: elsewhere there may be no gradient to follow.
    """

    def __init__(self, model: Model, x: Tensor, c: Tensor | None):
        if not model.has_rate:
            raise UsageError("An autoencoder of points has no bound on p(x): q(z | x) is no density. Train a VAE.")
        self.model, self.x, self.c, self.q = model, x, c, model.encode(x, c)
        if not isinstance(self.q, Gaussian | CorrelatedGaussian):
            raise UsageError(
                f"Annealing follows gradients from a Gaussian q(z | x), and this model's is a {type(self.q).__name__}. "
                f"Use --samples, the importance-sampled bound."
            )
        self.scale = self.q.variance.sqrt()  # (B, D), the lengths in which steps are counted

    def sides(self, z: Tensor) -> Sides:
        log_px = self.model.decode(z, self.c).log_prob(self.x)
        return Sides(self.q.log_prob(z), log_px + self.model.p_z(self.c).log_prob(z))

    def slope(self, t: float, z: Tensor) -> tuple[Tensor, Tensor]:
        """log q^(1 - t) (p(x | z) p(z))^t, (K, B), and its gradient in units of `scale`, (K, B, D)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.sides(z).at(t)
            (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), slope * self.scale

    def move(self, t: float, z: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """One Hamiltonian trajectory with steps of `size` (B,): the moved z, and which chains were; the others stay."""
        step, force = size[:, None], torch.randn_like(z)
        value, slope = self.slope(t, z)
        before = value - force.square().sum(-1) / 2
        there, force = z, force + step / 2 * slope
        for leap in range(1, LEAPS + 1):
            there = there + step * self.scale * force
            value, slope = self.slope(t, there)
            force = force + (step if leap < LEAPS else step / 2) * slope
        gain = value - force.square().sum(-1) / 2 - before
        accepted = torch.rand_like(gain).log() < gain  # False for what is not finite
        return torch.where(accepted[..., None], there, z), accepted


def times_of(steps: int) -> list[float]:
    """t from 0 to 1, slowly at both ends."""
    rise = torch.sigmoid(STEEPNESS * torch.linspace(-1, 1, steps + 1, dtype=torch.float64))
    return ((rise - rise[0]) / (rise[-1] - rise[0])).tolist()


def tuned(path: AnnealingPath, times: list[float], chains: int) -> list[Tensor]:
    """A step size (B,) for every t between 0 and 1, from chains thrown away: those that count must not choose theirs."""
    z = path.q.rsample(torch.Size((chains,)))
    size, found = torch.full(z.shape[1:2], 0.5, device=z.device), []
    for t in times[1:-1]:
        z, accepted = path.move(t, z, size)
        found.append(size)
        size = torch.where(accepted.float().mean(0) > ACCEPTED, size * 1.1, size / 1.1)
    return found


def led(path: AnnealingPath, z: Tensor, times: list[float], sizes: list[Tensor], *, back: bool = False) -> tuple[Tensor, float]:
    """The log-weights (K, B) of chains led from z to the other end of the path, in float64, and the share of accepted moves."""
    total = torch.zeros(z.shape[:2], dtype=torch.float64, device=z.device)
    moves, rises = list(zip(times[1:-1], sizes, strict=True)), [b - a for a, b in pairwise(times)]
    accepted = []
    if back:
        moves, rises = moves[::-1], rises[::-1]
    for i, rise in enumerate(rises):
        if i:
            z, moved = path.move(moves[i - 1][0], z, moves[i - 1][1])
            accepted.append(moved.float().mean().item())
        sides = path.sides(z)
        total += rise * (sides.log_p.double() - sides.log_q.double())
    return total, sum(accepted) / max(1, len(accepted))


def mean_of(log_weights: Tensor) -> Tensor:
    """The log of the mean over chains, (B,)."""
    return (log_weights.logsumexp(0) - torch.tensor(len(log_weights)).log()).cpu()


@torch.no_grad()
def annealed(
    model: Model, images: Images, count: int, steps: int, *, chains: int = CHAINS, seed: int = 0, progress: Progress | None = None
) -> Annealed:
    """The bound from below for `count` images; one step is the ELBO's ratio alone. Several processes share the images."""

    def block_of(part: slice) -> tuple[Tensor, Tensor | None, None]:
        return (*shown(images(part)), None)

    return over_blocks(model, block_of, count, steps, chains=chains, seed=seed, progress=progress)


@torch.no_grad()
def both_sides(
    model: Model,
    count: int,
    steps: int,
    *,
    c: Tensor | None = None,
    chains: int = CHAINS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Annealed:
    """Bounds from below and above for `count` pictures x ~ p(x | z), z ~ p(z), of the model itself; c (count, Y)."""

    def block_of(part: slice) -> tuple[Tensor, Tensor | None, Tensor]:
        told = None if c is None else c[part]
        with noise(mix(seed, 5, part.start), next(model.parameters()).device):
            z = model.draw(part.stop - part.start, c=told)
            return model.decode(z[None], told).sample()[0], told, z

    return over_blocks(model, block_of, count, steps, chains=chains, seed=seed, progress=progress)


def over_blocks(
    model: Model,
    block_of: Callable[[slice], tuple[Tensor, Tensor | None, Tensor | None]],
    count: int,
    steps: int,
    *,
    chains: int,
    seed: int,
    progress: Progress | None,
) -> Annealed:
    if min(count, steps, chains) < 1:
        raise UsageError(f"Annealing needs 1 or more of each: {count} images, {steps} steps, {chains} chains.")
    began, times = time.monotonic(), times_of(steps)
    blocks = [slice(start, min(start + IMAGES, count)) for start in range(0, count, IMAGES)]
    found: dict[int, tuple[Tensor, Tensor | None, float]] = {}
    for block in blocks[world.here.rank :: world.here.size]:
        x, c, code = block_of(block)
        with noise(mix(seed, 6, block.start), x.device):
            path = AnnealingPath(model, x, c)
            sizes = tuned(path, times, chains)
            forth, accepted = led(path, path.q.rsample(torch.Size((chains,))), times, sizes)
            above = None
            if code is not None:
                back, _ = led(path, code.expand(chains, *code.shape), times, sizes, back=True)
                above = -mean_of(-back)
        found[block.start] = mean_of(forth), above, accepted
        if progress:
            progress(block.stop, count)
    shared = dict(item for part in world.gathered(found) for item in part.items())
    below, above, accepted = zip(*(shared[block.start] for block in blocks), strict=True)
    uppers = [each for each in above if each is not None]
    return Annealed(
        torch.cat(below), torch.cat(uppers) if uppers else None, sum(accepted) / len(accepted), time.monotonic() - began
    )
