"""Priors for the second stage: fitted to the codes of a trained model, which stays as it is.

Two stages: Dai & Wipf (2019), https://arxiv.org/abs/1903.05789; a density fitted to an autoencoder's codes: Ghosh et al. (2020),
https://arxiv.org/abs/1903.12436. Any other prior can be fitted in the same way: `latent/second_stage.py`.

Shapes: N codes of D numbers; K samples.
"""

import math
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily

from .distributions import LOG_2PI, CorrelatedGaussian, Density, Flow, Gaussian, bounded
from .errors import UsageError
from .part import Count, Natural, known
from .priors import Prior


def mlp(inputs: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *[width] * depth]
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


class Standardized(Prior):
    """Another prior over codes that were brought to mean 0 and variance 1, latent by latent."""

    inner: Prior

    shift: ClassVar[Tensor]  # buffers, (D,)
    log_scale: ClassVar[Tensor]

    def __post_init__(self):
        self.register_buffer("shift", torch.zeros(self.latent))
        self.register_buffer("log_scale", torch.zeros(self.latent))

    def measure(self, codes: Tensor) -> None:
        """Take mean and variance from codes (N, D)."""
        self.shift.copy_(codes.mean(0))
        self.log_scale.copy_(codes.std(0).clamp_min(1e-6).log())

    def forward(self, model=None):
        def to_base(z: Tensor) -> tuple[Tensor, Tensor]:
            return (z - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum()

        def from_base(u: Tensor) -> tuple[Tensor, Tensor]:
            return u * self.log_scale.exp() + self.shift, self.log_scale.sum()

        return Flow(self.inner(model), to_base, from_base)

    def loss(self, z, model=None):
        return self.inner.loss((z - self.shift) * (-self.log_scale).exp(), model) + self.log_scale.sum()


class FullMixture(Prior):
    """A mixture of Gaussians with full covariances, as scikit-learn fits it by expectation-maximisation."""

    components: Count = 10

    logits: ClassVar[Tensor]  # buffers, (C,), (C, D) and (C, D, D)
    means: ClassVar[Tensor]
    factors: ClassVar[Tensor]

    def __post_init__(self):
        self.register_buffer("logits", torch.zeros(self.components))
        self.register_buffer("means", torch.zeros(self.components, self.latent))
        self.register_buffer("factors", torch.eye(self.latent).repeat(self.components, 1, 1))

    def fit(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """To codes (N, D), which may have labels (N,), -1 where nobody knows."""
        from sklearn.mixture import GaussianMixture

        count = min(self.components, len(codes))
        found = GaussianMixture(count, reg_covar=1e-5, random_state=seed, max_iter=200).fit(codes.cpu().double().numpy())
        self.logits.fill_(-torch.inf)
        self.logits[:count] = torch.from_numpy(found.weights_).log()
        self.means[:count] = torch.from_numpy(found.means_)
        self.factors[:count] = torch.linalg.cholesky(torch.from_numpy(found.covariances_))

    def forward(self, model=None):
        chosen = Categorical(logits=self.logits, validate_args=False)
        parts = CorrelatedGaussian(self.means, self.factors)
        return MixtureSameFamily(chosen, parts, validate_args=False)


class LabelMixture(FullMixture):
    """A Gaussian with a full covariance for the codes of each label, so that those of one label can be drawn.

    The covariances are shrunk as Ledoit & Wolf (2004) say, because a rare label has few codes.
    """

    names: tuple[str, ...] = ()

    def __post_init__(self):
        if len(self.names) != self.components:
            raise UsageError(f"LabelMixture got {self.components} components for {len(self.names)} labels. Give one for each.")
        super().__post_init__()

    def fit(self, codes, seed, labels=None):
        from sklearn.covariance import LedoitWolf

        if labels is None or not (torch.bincount(labels[labels >= 0], minlength=1) > 1).any():
            raise UsageError(
                "A density for each label needs a label that two codes or more have. Give the labels, or more images."
            )
        self.logits.fill_(-torch.inf)
        for number in range(self.components):
            own = codes[labels == number].cpu().double().numpy()
            if len(own) < 2:
                continue  # nothing is known of its spread: it is never drawn
            found = LedoitWolf().fit(own)
            self.logits[number] = math.log(len(own))
            self.means[number] = torch.from_numpy(found.location_)
            spread = torch.from_numpy(found.covariance_)
            self.factors[number] = torch.linalg.cholesky(spread + 1e-5 * torch.eye(self.latent, dtype=spread.dtype))

    def of(self, label: str) -> CorrelatedGaussian:
        """p(z | label). Raises UsageError on a label that had no codes."""
        if label not in self.names or not torch.isfinite(self.logits[self.names.index(label)]):
            have = [name for name, logit in zip(self.names, self.logits, strict=True) if torch.isfinite(logit)]
            raise UsageError(f"No codes of a label {label!r} were seen. {known(label, have)}")
        number = self.names.index(label)
        return CorrelatedGaussian(self.means[number], self.factors[number])


class CodeExemplars(Prior):
    """p(z) = 1/C sum_c N(z; z_c, diag s^2) around codes z_c of training images (Norouzi et al., 2020, eq. 5).

    The widths s are found by expectation-maximisation on other codes: on its own, every code would want s = 0.
    https://arxiv.org/abs/2004.04795
    """

    components: Count = 2000

    centres: ClassVar[Tensor]  # buffers, (C, D), (D,) and (C,)
    log_var: ClassVar[Tensor]
    logits: ClassVar[Tensor]

    def __post_init__(self):
        self.register_buffer("centres", torch.zeros(self.components, self.latent))
        self.register_buffer("log_var", torch.zeros(self.latent))
        self.register_buffer("logits", torch.zeros(self.components))

    def fit(self, codes: Tensor, seed: int, labels: Tensor | None = None, rounds: int = 20) -> None:
        """To codes (N, D): half of them at most become centres, as many others say how wide."""
        codes = codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))].cpu().double()
        count = min(self.components, len(codes) // 2)
        centres, others = codes[:count], codes[count : 2 * count]
        variance = (torch.cdist(others, centres).amin(1).square().mean() / self.latent).expand(self.latent).clamp_min(1e-8)
        for _ in range(rounds):
            share = (-torch.cdist(others * variance.rsqrt(), centres * variance.rsqrt()).square() / 2).softmax(1)
            off = others.square() - 2 * others * (share @ centres) + share @ centres.square()
            variance = off.mean(0).clamp_min(1e-8)
        self.log_var.copy_(variance.log())
        self.centres[:count] = centres
        self.logits.fill_(-torch.inf)
        self.logits[:count] = 0

    def forward(self, model=None):
        return Around(self.centres, self.log_var, self.logits)


class Around(Density):
    """A mixture of Gaussians around centres (C, D) with one variance for each latent, in memory for distances alone."""

    def __init__(self, centres: Tensor, log_var: Tensor, logits: Tensor):
        self.centres, self.log_var, self.weights = centres, log_var, logits.softmax(0)
        super().__init__(log_var, 1)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.centres

    def sample(self, sample_shape=()) -> Tensor:
        noise = self.normal(sample_shape, self.log_var)
        chosen = torch.multinomial(self.weights, math.prod(sample_shape), replacement=True)
        return self.centres[chosen].reshape(noise.shape) + (self.log_var / 2).exp() * noise

    def log_prob(self, value: Tensor) -> Tensor:
        at, scale = value.reshape(-1, value.shape[-1]), (-self.log_var / 2).exp()
        off = torch.cdist(at * scale, self.centres * scale, compute_mode="donot_use_mm_for_euclid_dist")
        each = self.weights.log() - 0.5 * (off.square() + (self.log_var + LOG_2PI).sum())
        return each.logsumexp(1).reshape(value.shape[:-1])


class SecondVAE(Prior):
    """A small VAE over the codes, whose own codes are as many and do follow N(0, I) (Dai & Wipf, 2019, section 4).

    log p(z) is a lower bound by `samples` importance samples.
    """

    width: Count = 512
    depth: Natural = 2
    samples: Count = 64

    def __post_init__(self):
        self.encoder = mlp(self.latent, self.width, self.depth, 2 * self.latent)
        self.decoder = mlp(self.latent, self.width, self.depth, self.latent)
        self.log_var = nn.Parameter(torch.full((self.latent,), -5.0))

    def posterior(self, z: Tensor) -> Gaussian:
        mu, log_var = self.encoder(z).chunk(2, -1)
        return Gaussian(mu, bounded(log_var))

    def decode(self, u: Tensor) -> Gaussian:
        return Gaussian(self.decoder(u), bounded(self.log_var))

    def joint(self, z: Tensor, u: Tensor) -> Tensor:
        """log p(z, u), (K, N)."""
        zero = torch.zeros_like(u[0])
        return self.decode(u).log_prob(z) + Gaussian(zero, zero).log_prob(u)

    def loss(self, z, model=None):
        u, log_q = self.posterior(z).rsample_and_log_prob((1,))
        return (log_q - self.joint(z, u)).mean()

    def forward(self, model=None):
        return Deep(self)


class Deep(Density):
    """p(z) = E p(z | u) of a second VAE."""

    def __init__(self, vae: SecondVAE):
        self.vae = vae
        super().__init__(vae.log_var, 1)

    @property
    def mean(self) -> Tensor:
        return self.vae.decode(torch.zeros_like(self.vae.log_var)).mean

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            u = self.normal(sample_shape, self.vae.log_var)
            return self.vae.decode(u).rsample()

    def log_prob(self, value: Tensor) -> Tensor:
        u, log_q = self.vae.posterior(value).rsample_and_log_prob((self.vae.samples,))
        return (self.vae.joint(value, u) - log_q).logsumexp(0) - math.log(self.vae.samples)


class FlowMatching(Prior):
    """A diffusion over the codes in its deterministic form: a net says which way a code moves from noise at time 0 to 1.

    Lipman et al. (2023), eq. 22 and 23, with straight paths x_t = (1 - t) noise + t z. https://arxiv.org/abs/2210.02747
    Draws follow the ordinary differential equation by `steps` steps of Runge and Kutta's fourth order. log p(z) goes back
    along it, with the divergence by `probes` random directions (Grathwohl et al., 2019, eq. 8): an estimate without bias.
    """

    width: Count = 512
    depth: Natural = 3
    steps: Count = 16
    probes: Count = 4

    frequencies = 3  # of the time, as the net sees it: a few steps follow no faster ones

    def __post_init__(self):
        self.net = mlp(self.latent + 2 * self.frequencies, self.width, self.depth, self.latent)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """At x (N, D) and times t (N, 1)."""
        angles = t * math.pi * 2 ** torch.arange(self.frequencies, device=x.device, dtype=x.dtype)
        return self.net(torch.cat([x, angles.sin(), angles.cos()], -1))

    def loss(self, z, model=None):
        noise, t = torch.randn_like(z), torch.rand(len(z), 1, dtype=z.dtype, device=z.device)
        aim = z - noise
        return (self.velocity(noise + t * aim, t) - aim).square().sum(-1).mean()

    def forward(self, model=None):
        return Transported(self)


class Transported(Density):
    """Noise, carried along a FlowMatching's velocity."""

    def __init__(self, part: FlowMatching):
        self.part, self.like = part, next(part.parameters())
        super().__init__(self.like.new_empty(()).expand(part.latent), 1)

    @property
    def mean(self) -> Tensor:
        return self.carry(self.like.new_zeros(1, self.part.latent))[0]

    def carry(self, x: Tensor) -> Tensor:
        """x (N, D) from time 0 to 1."""
        step = 1 / self.part.steps
        for number in range(self.part.steps):
            x = x + step * runge_kutta(self.part.velocity, x, number * step, step)
        return x

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            noise = self.normal(sample_shape, self.like.new_zeros(self.part.latent))
            return self.carry(noise.reshape(-1, self.part.latent)).reshape(noise.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.reshape(-1, value.shape[-1])
        signs = torch.randint(2, (self.part.probes, *x.shape), device=x.device).to(x.dtype) * 2 - 1

        def back(both: Tensor, t: Tensor) -> Tensor:
            """Velocity and its divergence, side by side."""
            at = both[:, :-1].detach().requires_grad_()
            with torch.enable_grad():
                v = self.part.velocity(at, t)
                pulled = [torch.autograd.grad(v, at, sign, retain_graph=True)[0] for sign in signs]
            traces = torch.stack([(pull * sign).sum(-1) for pull, sign in zip(pulled, signs, strict=True)]).mean(0)
            return torch.cat([v.detach(), traces[:, None]], -1)

        both, step = torch.cat([x, x.new_zeros(len(x), 1)], -1), 1 / self.part.steps
        for number in reversed(range(self.part.steps)):
            both = both - step * runge_kutta(back, both, (number + 1) * step, -step)
        base = Gaussian(torch.zeros_like(x), torch.zeros_like(x))
        return (base.log_prob(both[:, :-1]) + both[:, -1]).reshape(value.shape[:-1])


def runge_kutta(f, x: Tensor, time: float, step: float) -> Tensor:
    """The mean slope of dx/dt = f(x, t) over a step, which may be negative, of fourth order."""

    def at(moved: Tensor, t: float) -> Tensor:
        return f(moved, x.new_full((len(x), 1), t))

    a = at(x, time)
    b = at(x + step / 2 * a, time + step / 2)
    c = at(x + step / 2 * b, time + step / 2)
    d = at(x + step * c, time + step)
    return (a + 2 * b + 2 * c + d) / 6
