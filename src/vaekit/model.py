"""A variational autoencoder, as a composition: x -> encoder -> q(z | x) -> z -> decoder -> p(x | z).

Shapes: K samples of z per image, B images, D latents; images are (C, H, W) in [0, 1].
"""

from torch import Tensor
from torch.distributions import Distribution

from .errors import UsageError
from .likelihoods import Likelihood
from .part import Part
from .posteriors import Posterior, draw
from .priors import Prior
from .trace import Group, Trace


class VAE(Part):
    """The composition of Kingma & Welling (2014); without a prior it is a plain autoencoder.

    Raises UsageError when two parts do not fit each other.
    """

    encoder: Part  # (B, C, H, W) -> (B, features)
    posterior: Posterior  # (B, features) -> q(z | x)
    decoder: Part  # (B, D) -> (B, C, H, W)
    likelihood: Likelihood  # -> p(x | z)
    prior: Prior | None = None

    def __post_init__(self):
        for this, that, field in (
            ("encoder", "posterior", "features"),
            ("posterior", "decoder", "latent"),
            ("posterior", "prior", "latent"),
            ("encoder", "decoder", "image"),
        ):
            a, b = (getattr(getattr(self, part), field, None) for part in (this, that))
            if a is not None and b is not None and tuple_of(a) != tuple_of(b):
                raise UsageError(f"The {this} has {field}={a} and the {that} {field}={b}. Give both the same {field}.")

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.encoder.image)  # pyright: ignore

    @property
    def latent(self) -> int:
        """D, the number of latents."""
        return self.posterior.latent

    def encode(self, x: Tensor) -> Distribution:
        """q(z | x) for images (B, C, H, W) in [0, 1]; batch (B,), event (D,). Nothing is drawn: its mean is mu."""
        if x.shape[1:] != self.image:
            raise UsageError(
                f"This model was made for images of shape {self.image}, got {tuple(x.shape[1:])}. Resize them first."
            )
        return self.posterior(self.encoder(x))

    def decode(self, z: Tensor) -> Distribution:
        """p(x | z) for z (K, B, D); batch (K, B), event (C, H, W). Its mean is the picture."""
        if z.dim() != 3 or z.shape[-1] != self.latent:
            raise UsageError(f"decode takes z of shape (K, B, {self.latent}), got {tuple(z.shape)}.")
        return self.likelihood(self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2]))

    def forward(self, x: Tensor, samples: int = 1) -> Trace:
        """One pass with `samples` draws of z per image."""
        q = self.encode(x)
        z, log_q = draw(q, samples)
        return Trace(x, (Group(q, None if self.prior is None else self.prior(), z, log_q),), self.decode(z))

    def draw(self, n: int, temperature: float = 1.0) -> Tensor:
        """n codes z ~ p(z), (n, D), scaled by `temperature` around the prior's mean.

        Raises UsageError for a plain autoencoder: nothing says where its codes lie.
        """
        if self.prior is None:
            raise UsageError(
                "A plain autoencoder has no prior to sample from. Train a VAE, or sample around its codes' Gaussian."
            )
        p = self.prior()
        return p.mean + temperature * (p.sample((n,)) - p.mean)

    def sample(self, n: int, temperature: float = 1.0) -> Tensor:
        """n pictures from the prior, (n, C, H, W): the mean of p(x | z) for z ~ p(z)."""
        return self.decode(self.draw(n, temperature)[None]).mean[0]


def tuple_of(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else value
