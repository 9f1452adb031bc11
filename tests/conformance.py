"""Every variant that vaekit can train, on tiny pictures: name -> () -> (model, objective).

`test_conformance.py` holds what must be true of all of them. A new part or objective is one line here.
"""

from collections.abc import Callable

from vaekit.autoregressive import NeighbourBernoulli
from vaekit.likelihoods import (
    BernoulliPixels,
    ContinuousBernoulliPixels,
    FixedGaussian,
    LaplacePixels,
    LearnedGaussian,
    Likelihood,
    OptimalGaussian,
)
from vaekit.model import VAE
from vaekit.nets import (
    ConvDecoder,
    ConvEncoder,
    MixerDecoder,
    MixerEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from vaekit.objectives import ELBO, Classic, Objective, Reconstruction
from vaekit.posteriors import Deterministic, DiagonalGaussian
from vaekit.priors import CouplingFlow, StandardNormal
from vaekit.schedules import Cosine, Cyclical, Linear

FEATURES, LATENT = 24, 3

Image = tuple[int, int, int]

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliPixels,
    "continuous-bernoulli": ContinuousBernoulliPixels,
    "laplace": LaplacePixels,
    "fixed-gaussian": lambda: FixedGaussian(scale=0.2),
    "learned-gaussian": LearnedGaussian,
    "optimal-gaussian": OptimalGaussian,
}

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "reconstruction": Reconstruction,
    "classic-mse": lambda: Classic(r_loss_factor=500, error="mse"),
    "classic-rmse": lambda: Classic(r_loss_factor=200, error="rmse"),
    "elbo": ELBO,
    "elbo-beta": lambda: ELBO(beta=4.0),
    "elbo-linear": lambda: ELBO(beta=Linear(images=16)),
    "elbo-cosine": lambda: ELBO(beta=Cosine(images=16, start=0.1, end=2.0)),
    "elbo-cyclical": lambda: ELBO(beta=Cyclical(images=24, cycles=2)),
    "elbo-free-latent": lambda: ELBO(free_bits=0.2),
    "elbo-free-group": lambda: ELBO(free_bits=1.0, per="group"),
}

NETS: dict[str, Callable[[Image], tuple]] = {
    "mlp": lambda image: (
        MLPEncoder(image=image, features=FEATURES, depth=1),
        MLPDecoder(image=image, latent=LATENT, width=FEATURES, depth=1),
    ),
    "conv": lambda image: (
        ConvEncoder(image=image, features=FEATURES, width=8, widest=16),
        ConvDecoder(image=image, latent=LATENT, width=8, widest=16),
    ),
    "resnet": lambda image: (
        ResNetEncoder(image=image, features=FEATURES, width=8, widest=16),
        ResNetDecoder(image=image, latent=LATENT, width=8, widest=16),
    ),
    "mixer": lambda image: (
        MixerEncoder(image=image, features=FEATURES, patch=2, width=16, depth=1),
        MixerDecoder(image=image, latent=LATENT, features=FEATURES, patch=2, width=16, depth=1),
    ),
}


def variational(likelihood: str = "optimal-gaussian", objective: str = "elbo", net: str = "mlp", image: Image = (1, 8, 8)):
    def make() -> tuple[VAE, Objective]:
        encoder, decoder = NETS[net](image)
        posterior, prior = DiagonalGaussian(features=FEATURES, latent=LATENT), StandardNormal(latent=LATENT)
        model = VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=LIKELIHOODS[likelihood](), prior=prior)
        return model, OBJECTIVES[objective]()

    return make


def neighbours(image: Image, patch: int = 4, reach: int = 1):
    """Autoregressive pixels over a mixer, with a learned prior."""

    def make() -> tuple[VAE, Objective]:
        likelihood = NeighbourBernoulli(image=image, features=4, patch=patch, reach=reach)
        sizes = {"image": image, "features": FEATURES, "patch": patch, "width": 8, "depth": 1}
        decoder = MixerDecoder(latent=LATENT, per_patch=4 * likelihood.values, **sizes)
        posterior, prior = DiagonalGaussian(features=FEATURES, latent=LATENT), CouplingFlow(latent=LATENT, couplings=3, width=8)
        encoder = MixerEncoder(**sizes)
        return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=likelihood, prior=prior), ELBO()

    return make


def plain(likelihood: str = "optimal-gaussian", net: str = "mlp", image: Image = (1, 8, 8)):
    def make() -> tuple[VAE, Objective]:
        encoder, decoder = NETS[net](image)
        posterior = Deterministic(features=FEATURES, latent=LATENT)
        return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=LIKELIHOODS[likelihood]()), Reconstruction()

    return make


VARIANTS: dict[str, Callable[[], tuple[VAE, Objective]]] = (
    {
        f"vae {likelihood} {objective}": variational(likelihood, objective)
        for likelihood in LIKELIHOODS
        for objective in OBJECTIVES
    }
    | {f"autoencoder {likelihood}": plain(likelihood) for likelihood in LIKELIHOODS}
    | {f"autoencoder {net}": plain(net=net, image=(3, 9, 7)) for net in NETS}
    | {f"vae {net} classic-mse": variational("fixed-gaussian", "classic-mse", net) for net in NETS}
    | {f"vae {net} colour, not square": variational(net=net, image=(3, 7, 10)) for net in NETS}
    | {"neighbours": neighbours((1, 8, 8)), "neighbours colour, not square": neighbours((3, 7, 10), patch=2, reach=2)}
    | {f"vae {net} with transparency": variational("continuous-bernoulli", "elbo-linear", net, (4, 5, 6)) for net in NETS}
)
