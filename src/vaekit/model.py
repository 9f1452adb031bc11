"""A variational autoencoder, as a composition: x -> encoder -> q(z | x) -> z -> decoder -> p(x | z).

Shapes: K samples of z per image, B images, D latents; images are (C, H, W) in [0, 1]. c (B, Y) is what is known of each image,
nan where it is not; None: nothing. Only a conditional model makes use of it.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from .distributions import Density, Space
from .errors import UsageError
from .likelihoods import Likelihood
from .part import Part
from .posteriors import Deterministic, Posterior, draw
from .priors import Prior, StandardNormal
from .trace import Group, Trace, dreamt

MOST, NUMBERS = 256, 64_000_000  # images in one pass, at most, and numbers that describe all of their pixels
WIDE = 48  # such numbers of a pixel, where a likelihood wants fewer: layers of full resolution


class Model(Part):
    """What every model can: the joint density p(x, z) = p(x | z) p(z), and q(z | x)."""

    image: ClassVar[tuple[int, int, int]]  # (C, H, W)
    latent: ClassVar[int]  # D
    likelihood: ClassVar[Likelihood]

    @property
    def has_prior(self) -> bool:
        """Whether it can draw new codes."""
        return True

    @property
    def has_rate(self) -> bool:
        """Whether KL(q || p) is a number, and with it a bound on log p(x)."""
        return self.has_prior

    @property
    def space(self) -> Space:
        """Where codes lie."""
        return Space.NUMBERS

    @property
    def is_standard(self) -> bool:
        """Whether p(z) is N(0, I)."""
        return False

    @property
    def learns_prior(self) -> bool:
        """Whether p(z) has weights that are to be trained."""
        return False

    @property
    def at_once(self) -> int:
        """How many images are encoded, decoded or validated in one pass: fewer where one of them takes much memory."""
        channels, height, width = self.image
        numbers = height * width * max(channels * self.likelihood.per_pixel, WIDE)
        return max(1, min(MOST, NUMBERS // numbers))

    def encode(self, x: Tensor, c: Tensor | None = None) -> Density:
        """q(z | x) for images (B, C, H, W) in [0, 1]; batch (B,), event (D,). Nothing is drawn: its mean is mu."""
        raise NotImplementedError

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """p(x | z) for z (K, B, D); batch (K, B), event (C, H, W). Its mean is the picture."""
        raise NotImplementedError

    def p_z(self, c: Tensor | None = None) -> Distribution:
        """p(z), event (D,); batch (), or (B,) where c makes it another one for each image.

        Raises UsageError for a plain autoencoder: nothing says where its codes lie.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, samples: int = 1, c: Tensor | None = None) -> Trace:
        """One pass with `samples` draws of z per image."""
        raise NotImplementedError

    def withhold(self, c: Tensor | None) -> Tensor | None:
        """What a training step is told of c."""
        return c

    def draw(self, n: int, temperature: float = 1.0, c: Tensor | None = None) -> Tensor:
        """n codes z ~ p(z), (n, D), scaled by `temperature` around the prior's mean; c (n, Y).

        Raises UsageError for a plain autoencoder, and for a temperature where a draw cannot be scaled and stay a code.
        """
        p = self.p_z(c)
        drawn = dreamt(p, n)
        if temperature == 1:
            return drawn
        if not getattr(p, "scales", True):
            raise UsageError(f"Draws of {type(p).__name__} know no temperature: scaled, they are no codes. Leave it at 1.")
        return p.mean + temperature * (drawn - p.mean)

    def sample(self, n: int, temperature: float = 1.0, c: Tensor | None = None) -> Tensor:
        """n pictures from the prior, (n, C, H, W): the mean of p(x | z) for z ~ p(z); c (n, Y)."""
        return self.decode(self.draw(n, temperature, c)[None], c).mean[0]

    @property
    def layered(self) -> list[nn.Module]:
        """Nets whose layers do nothing but where they are called."""
        raise NotImplementedError

    @property
    def coding(self) -> tuple[str, ...]:
        """The parts that decide where an image's code lies; none where all of them do."""
        return ()

    def check_images(self, x: Tensor) -> None:
        if x.shape[1:] != tuple(self.image):
            raise UsageError(
                f"This model was made for images of shape {tuple(self.image)}, got {tuple(x.shape[1:])}. Resize them first."
            )

    def check_codes(self, z: Tensor) -> None:
        if z.dim() != 3 or z.shape[-1] != self.latent:
            raise UsageError(f"decode takes z of shape (K, B, {self.latent}), got {tuple(z.shape)}.")


class VAE(Model):
    """The composition of Kingma & Welling (2014); without a prior it is a plain autoencoder.

    Raises UsageError when two parts do not fit each other.
    """

    encoder: Part  # (B, C, H, W) -> (B, features)
    posterior: Posterior  # (B, features) -> q(z | x), or (B, N, features) at each of N places
    decoder: Part  # (B, D) -> (B, C, H, W)
    likelihood: Likelihood  # -> p(x | z)
    prior: Prior | None = None

    def __post_init__(self):
        for this, that, field in (
            ("encoder", "posterior", "features"),
            ("likelihood", "decoder", "per_pixel"),
            ("encoder", "decoder", "spatial"),
            ("encoder", "decoder", "image"),
            ("encoder", "prior", "image"),
            ("posterior", "prior", "categories"),
        ):
            a, b = (getattr(getattr(self, part), field, None) for part in (this, that))
            if a is not None and b is not None and tuple_of(a) != tuple_of(b):
                raise UsageError(f"The {this} has {field}={a} and the {that} {field}={b}. Give both the same {field}.")
        for that, wanted in (("decoder", self.decoded), ("prior", self.latent)):
            given = getattr(getattr(self, that), "latent", None)
            if given is not None and given != wanted:
                at = f" at each of {self.places} places" if self.places > 1 else ""
                raise UsageError(
                    f"The posterior has latent={self.posterior.latent}{at} and the {that} latent={given}. "
                    f"Give the {that} latent={wanted}."
                )
        if self.prior is not None and self.prior.space is not self.space:
            q, p = self.space, self.prior.space
            raise UsageError(
                f"The codes of {type(self.posterior).__name__} are {q.codes}, those of {type(self.prior).__name__} {p.codes}: "
                f"a density of one says nothing of the other. Give a prior of {q.codes}, such as {q.prior}."
            )

    @property
    def has_prior(self) -> bool:
        return self.prior is not None

    @property
    def has_rate(self) -> bool:
        return self.has_prior and not isinstance(self.posterior, Deterministic)

    @property
    def space(self) -> Space:
        return self.posterior.space

    @property
    def is_standard(self) -> bool:
        return isinstance(self.prior, StandardNormal)

    @property
    def learns_prior(self) -> bool:
        return self.prior is not None and any(p.requires_grad for p in self.prior.parameters())

    @property
    def layered(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]

    @property
    def coding(self) -> tuple[str, ...]:
        return ("encoder", "posterior")

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.encoder.image)  # pyright: ignore

    @property
    def latent(self) -> int:
        """D, the number of latents, of all places."""
        return self.posterior.latent * self.places

    @property
    def places(self) -> int:
        """N, how many places of an image have latents of their own; 1: the latents are those of the whole image."""
        return getattr(self.encoder, "vectors", 1)

    @property
    def decoded(self) -> int:
        """How many numbers the decoder takes."""
        return self.latent

    def features(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """What the encoder makes of images, (B, features) or (B, N, features)."""
        return self.encoder(x)

    def inputs(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """What the decoder takes for codes z (K, B, D), (K, B, decoded)."""
        return z

    def encode(self, x: Tensor, c: Tensor | None = None) -> Density:
        self.check_images(x)
        h = self.features(x, c)
        q = self.posterior(h)
        return q.joined() if h.dim() == 3 else q

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        self.check_codes(z)
        return self.likelihood(self.decoder(self.inputs(z, c).flatten(0, 1)).unflatten(0, z.shape[:2]))

    def forward(self, x: Tensor, samples: int = 1, c: Tensor | None = None) -> Trace:
        q = self.encode(x, c)
        z, log_q = draw(q, samples)
        p = None if self.prior is None else self.prior.without(x, self.p_z(c))
        return Trace(x, (Group(q, p, z, log_q),), self.decode(z, c))

    def p_z(self, c: Tensor | None = None) -> Distribution:
        if self.prior is None:
            raise UsageError(
                "A plain autoencoder has no prior to sample from. Train a VAE, or sample around its codes' Gaussian."
            )
        return self.prior(self)


def tuple_of(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else value
