"""Priors: p(z)."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from . import world
from .distributions import Flow, Gaussian, Space, bounded, full_precision
from .errors import UsageError
from .part import Bounds, Count, Part
from .trace import Trace


class Prior(Part):
    """A distribution over z, event (D,); batch () or (B,)."""

    space: ClassVar[Space] = Space.NUMBERS  # of z

    latent: Count

    def forward(self, model: Any = None) -> Distribution:
        """p(z) in this VAE: some priors are made of its posteriors or its codebook."""
        raise NotImplementedError

    def without(self, x: Tensor, p: Distribution) -> Distribution:
        """p(z) as training asks it of codes of the images x (B, C, H, W): where it is made of images, not of these."""
        return p

    def nats(self, z: Tensor, model: Any = None) -> Tensor:
        """-log p(z) of codes z (N, D), (N,)."""
        return -self(model).log_prob(z)

    def loss(self, z: Tensor, model: Any = None) -> Tensor:
        """What is minimised where the prior alone is fitted to codes z (N, D): their nats, ()."""
        return self.nats(z, model).mean()

    def check_pictures(self, count: int) -> None:
        """Raises UsageError where a VAE with this prior cannot be trained on so many pictures."""


class StandardNormal(Prior):
    """p(z) = N(0, I)."""

    def __post_init__(self):
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)

    def forward(self, model=None):
        zero: torch.Tensor = self.zero  # pyright: ignore[reportAssignmentType]
        return Gaussian(zero, zero)


class Mixture(Prior):
    """p(z) = sum_c pi_c N(mu_c, diag exp(log_var_c)), learned with the model."""

    components: Count = 10

    def __post_init__(self):
        self.means = nn.Parameter(torch.randn(self.components, self.latent))
        self.log_vars = nn.Parameter(torch.zeros(self.components, self.latent))
        self.logits = nn.Parameter(torch.zeros(self.components))

    def forward(self, model=None):
        return mixture(self.logits, Gaussian(self.means, bounded(self.log_vars)))


class VampPrior(Prior):
    """p(z) = 1/C sum_c q(z | u_c), with pseudo-inputs u_c learned with the model (Tomczak & Welling, 2018, eq. 9).

    https://arxiv.org/abs/1705.07120
    """

    image: tuple[int, int, int]
    components: Count = 500

    def __post_init__(self):
        self.inputs = nn.Parameter(torch.randn(self.components, *self.image))  # before a sigmoid, which makes pixels of them
        self.register_buffer("logits", torch.zeros(self.components), persistent=False)

    @torch.no_grad()
    def begin_at(self, pictures: Tensor) -> None:
        """Let uint8 pictures (C, C', H, W) be the pseudo-inputs."""
        self.inputs.copy_((pictures / 255).logit(0.01))

    def forward(self, model=None):
        return mixture(self.logits, model.encode(self.inputs.sigmoid()))  # pyright: ignore[reportArgumentType]


class ExemplarPrior(Prior):
    """p(z) = 1/C sum_c N(z; mu(x_c), s^2 I) around the codes of images x_c, s learned (Norouzi et al., 2020, eq. 5).

    https://arxiv.org/abs/2004.04795. The exemplars are the last images that training saw before the step, at first noise. In
    training an image is asked of all others, its mirror image left out too: their leave-one-out. One that is drawn anew as black
    and white (`binarize="dynamic"`) is another image, so there an epoch should be much longer than the exemplars are many.
    """

    image: tuple[int, int, int]
    components: Count = 1000

    images: ClassVar[Tensor]  # buffers, (C, C', H, W) uint8
    seen: ClassVar[Tensor]  # (), how many images went by
    logits: ClassVar[Tensor]  # (C,)
    keys: ClassVar[Tensor]  # (C', H, W) int64, by whose products with their pixels images are told apart

    def __post_init__(self):
        self.log_var = nn.Parameter(torch.zeros(()))
        self.register_buffer("images", torch.randint(256, (self.components, *self.image), dtype=torch.uint8))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("logits", torch.zeros(self.components), persistent=False)
        keys = torch.randint(2**62, self.image, generator=torch.Generator().manual_seed(0), device="cpu")
        self.register_buffer("keys", keys, persistent=False)

    def forward(self, model=None):
        mean = model.encode(self.images.to(self.log_var.dtype) / 255).mean  # pyright: ignore[reportOptionalMemberAccess]
        return mixture(self.logits, Gaussian(mean, self.log_var.expand_as(mean)))

    def without(self, x, p):
        if not self.training:
            return p
        pictures, held = levels(x), self.marks(self.images)
        own = torch.stack([self.marks(its)[:, None] == held for its in (pictures, pictures.flip(-1))]).any(0)  # (B, C)
        own = own & ~own.all(1, keepdim=True)  # where there is no other, it is asked of itself
        parts: Any = p.component_distribution  # pyright: ignore[reportAttributeAccessIssue]
        each = (t.expand(len(x), *t.shape) for t in (parts.loc, parts.log_var))
        return mixture(self.logits.masked_fill(own, -torch.inf), Gaussian(*each))

    def marks(self, pictures: Tensor) -> Tensor:
        """A number for each of uint8 pictures (N, C', H, W), (N,), as good as never the same for two that differ."""
        return (pictures * self.keys).sum((1, 2, 3))

    def check_pictures(self, count):
        if self.components > count:
            raise UsageError(
                f"ExemplarPrior has {self.components:,} components, each a training picture, and there are {count:,} of these. "
                f"Expected at most as many, better half: --set model.prior.components={count // 2}"
            )

    @torch.no_grad()
    def observe(self, t: Trace) -> Tensor:
        """The images of the whole batch."""
        return world.united(levels(t.x))

    @torch.no_grad()
    def absorb(self, statistic: Tensor, images: int) -> None:
        """Put the batch in the place of the oldest."""
        newest = statistic[-self.components :]
        places = (self.seen + torch.arange(len(newest), device=self.seen.device)) % self.components
        self.images.index_copy_(0, places, newest)
        self.seen.add_(len(newest))


def levels(x: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8."""
    return (x * 255).round().to(torch.uint8)


class Choice(Categorical):
    """One of C parts with the logits (..., C), chosen for each image of the whole batch (Gumbel's maximum)."""

    def sample(self, sample_shape=()) -> Tensor:
        images = len(sample_shape) - (not self.batch_shape)
        u = world.uniform((*sample_shape, *self.logits.shape), images, self.logits).clamp(1e-7, 1 - 1e-7)
        return (self.logits - (-u.log()).log()).argmax(-1)


def mixture(logits: Tensor, parts: Distribution) -> Distribution:
    """Of distributions with the batch shape (C,), or (B, C) with logits (B, C)."""
    return MixtureSameFamily(Choice(logits=logits, validate_args=False), parts, validate_args=False)


class Coupling(nn.Module):
    """y = (a, b * exp(s(a)) + t(a)) with (a, b) = x (Dinh et al., 2017, eq. 7 and 8); starts as the identity.

    The scale stays within a factor e^2, so that no draw can leave fp32.
    """

    def __init__(self, latent: int, width: int):
        super().__init__()
        self.kept = latent // 2
        self.net = nn.Sequential(
            nn.Linear(self.kept, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * (latent - self.kept))
        )
        nn.init.zeros_(self.net[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.net[-1].bias)  # pyright: ignore[reportArgumentType]

    def terms(self, a: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(a).chunk(2, -1)
        return 2 * torch.tanh(log_scale / 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y, and log |det dy/dx|."""
        a, b = x[..., : self.kept], x[..., self.kept :]
        log_scale, shift = self.terms(a)
        return torch.cat([a, b * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x, and log |det dx/dy|."""
        a, b = y[..., : self.kept], y[..., self.kept :]
        log_scale, shift = self.terms(a)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], -1), -log_scale.sum(-1)


class CouplingFlow(Prior):
    """p(z) = N(u(z); 0, I) |det du/dz| with u a chain of affine couplings: RealNVP (Dinh et al., 2017), learned with the model.

    https://arxiv.org/abs/1605.08803; as a VAE's prior: Chen et al. (2017), https://arxiv.org/abs/1611.02731. Between couplings
    the latents are riffled like a deck of cards, so that all of them meet. In fp32 under autocast, for an exact inverse.
    """

    latent: Annotated[int, Bounds(2)]  # one half moves the other
    couplings: Count = 6
    width: Count = 128

    riffled: ClassVar[Tensor]  # buffers, (D,): the order after a riffle, and the way back
    restored: ClassVar[Tensor]

    def __post_init__(self):
        self.chain = nn.ModuleList(Coupling(self.latent, self.width) for _ in range(self.couplings))
        deck = torch.arange(self.latent)
        riffled = torch.cat([deck[1::2], deck[::2]])
        self.register_buffer("riffled", riffled, persistent=False)
        self.register_buffer("restored", riffled.argsort(), persistent=False)

    def to_base(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u and log |det du/dz|."""
        with torch.autocast(z.device.type, enabled=False):
            u = full_precision(z).reshape(-1, z.shape[-1])  # a part of rows is a matrix still, one of blocks of rows is none
            total = u.new_zeros(())
            for coupling in self.chain:
                u, log_det = coupling(u[:, self.riffled])
                total = total + log_det
            return u.reshape(z.shape), total.reshape(z.shape[:-1])

    def from_base(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """z and log |det dz/du|."""
        with torch.autocast(u.device.type, enabled=False):
            z = full_precision(u).reshape(-1, u.shape[-1])
            total = z.new_zeros(())
            for coupling in reversed(self.chain):
                z, log_det = coupling.inverse(z)  # pyright: ignore[reportCallIssue]
                z, total = z[:, self.restored], total + log_det
            return z.reshape(u.shape), total.reshape(u.shape[:-1])

    def forward(self, model=None):
        like: Tensor = self.chain[0].net[0].weight  # pyright: ignore  # its device and type
        zero = like.new_zeros(self.latent)
        return Flow(Gaussian(zero, zero), self.to_base, self.from_base)
