"""What one forward pass computed. Objectives, metrics and figures read a trace, and nothing else. What is asked for twice, by the
objective and by the log, is computed once.

Shapes: K samples of z per image, B images, D latents; images are (C, H, W).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from . import world
from .distributions import Gaussian
from .errors import UsageError


class once:
    """A property that is computed when it is first asked for; functools' own takes a lock, which a compiled step cannot."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        found = self.function(owner)
        object.__setattr__(owner, self.name, found)
        return found


@dataclass(frozen=True)
class Group:
    """One group of latents. A plain VAE has one; a hierarchical one has several, top first."""

    q: Distribution  # q(z | x), batch (B,), or (K, B) where it depends on the groups above
    p: Distribution | None  # p(z), batch (), (B,) or (K, B); None: a plain autoencoder has no prior
    z: Tensor  # (K, B, D), drawn from q
    log_q: Tensor  # (K, B), log q(z | x)

    @property
    def has_rate(self) -> bool:
        """Whether KL(q || p) is a number: without a prior there is none, nor of a point and a density."""
        return self.p is not None and getattr(self.q, "compares", True)

    @property
    def prior(self) -> Distribution:
        if self.p is None:
            raise UsageError("This model has no prior, so it has no rate: give VAE a prior, or train with Reconstruction.")
        return self.p

    def dream(self) -> Tensor:
        """A draw of the prior for every image, (B, D)."""
        return dreamt(self.prior, self.z.shape[1])

    @once
    def log_p(self) -> Tensor:
        """log p(z), (K, B)."""
        return self.prior.log_prob(self.z)

    @once
    def log_ratio(self) -> Tensor:
        """log q(z | x) - log p(z), (K, B). UsageError of points."""
        log_p = self.log_p
        if not self.has_rate:
            raise UsageError("Codes that are points have no KL to a density. Give VAE a posterior that is one: DiagonalGaussian.")
        return self.log_q - log_p

    @once
    def kl(self) -> Tensor:
        """KL(q || p) in nats, (B,): in closed form where one is known, else the K-sample estimate. UsageError of points."""
        kl = closed_kl(self.q, self.prior)
        return (self.log_ratio if kl is None else kl).expand(self.log_q.shape).mean(0)

    def kl_per_latent(self) -> Tensor:
        """KL(q || p) of every latent in nats, (B, D); only where both are diagonal Gaussians."""
        if not isinstance(self.q, Gaussian) or not isinstance(self.prior, Gaussian):
            given = f"{type(self.q).__name__} and {type(self.prior).__name__}"
            raise UsageError(
                f"KL per latent needs a diagonal Gaussian posterior and prior; this model has {given}. Use the group's KL."
            )
        kl = self.q.kl_per_latent(self.prior)
        return kl.expand(self.z.shape).mean(0)


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p); None where no closed form is known."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def dreamt(p: Distribution, n: int) -> Tensor:
    """n draws of a prior (n, D); where it is another one for each of n images, one for each. No gradient passes."""
    if p.batch_shape:  # a process knows the priors of its own images alone; the numbers of `world` are theirs
        return p.sample()
    if not world.here.dealt:
        return p.sample((n,))
    count = n * world.here.size
    with world.undealt():  # whatever it draws, every process draws it for the whole batch
        drawn = p.sample((count,))
    return world.own(drawn)


@dataclass(frozen=True)
class Trace:
    """One forward pass over B images."""

    x: Tensor  # (B, C, H, W), in [0, 1]
    groups: tuple[Group, ...]
    px: Distribution  # p(x | z), batch (K, B)

    @property
    def group(self) -> Group:
        """The only group of latents. Raises UsageError of a hierarchy's trace."""
        if len(self.groups) != 1:
            raise UsageError(
                f"This objective is for models with one group of latents; this one has {len(self.groups)}. Train a hierarchy "
                "with ELBO, BalancedELBO or IWAE."
            )
        return self.groups[0]

    @once
    def log_px(self) -> Tensor:
        """log p(x | z) in nats per image, (K, B)."""
        return self.px.log_prob(self.x)


@dataclass(frozen=True)
class At:
    """Where training is, for whatever depends on it."""

    images: float | Tensor  # images seen so far, in a step a tensor (); infinity where every schedule has ended
    epoch: int = 0  # images in the training split; 0: nobody said
    known: int = 0  # of how many of these anything is known
