"""Recipes: typed functions from an image's shape to everything a training needs. What a run stores is the result, not the recipe,
so changing a default here never changes an old run."""

import inspect
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from .errors import UsageError
from .likelihoods import LIKELIHOODS, FixedGaussian, Likelihood
from .model import VAE
from .nets import NETS
from .objectives import ELBO, Classic, Objective, Reconstruction
from .objectives.classic import sigma_of
from .part import known
from .posteriors import Deterministic, DiagonalGaussian
from .priors import StandardNormal
from .training import Training

Shape = tuple[int, int, int]  # (C, H, W)


class Recipe(NamedTuple):
    """What a training needs, apart from the data."""

    model: VAE
    objective: Objective
    training: Training


def compose(image: Shape, net: str, latent: int, likelihood: Likelihood, plain: bool = False, **sizes: int) -> VAE:
    """A VAE, or with `plain` an autoencoder, with one of the nets `mlp`, `conv`, `resnet`. `sizes` go to both nets."""
    if net not in NETS:
        raise UsageError(f"No net is named {net!r}. {known(net, NETS)}")
    if latent < 1:
        raise UsageError(f"A model with {latent} latents has nowhere to put an image; give at least 1.")
    encoder_kind, decoder_kind = NETS[net]
    encoder = encoder_kind(image=image, **sizes)
    posterior = (Deterministic if plain else DiagonalGaussian)(features=encoder.features, latent=latent)
    decoder = decoder_kind(image=image, latent=latent, **sizes)
    prior = None if plain else StandardNormal(latent=latent)
    return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=likelihood, prior=prior)


def weigh(
    image: Shape,
    likelihood: str = "gaussian",
    *,
    beta: float | None = None,
    sigma: float | None = None,
    r_loss_factor: float | None = None,
    error: str = "mse",
) -> tuple[Likelihood, Objective]:
    """One of the three ways to say how much reconstruction counts; by default the optimal sigma and beta = 1."""
    given = {"beta": beta, "sigma": sigma, "r_loss_factor": r_loss_factor}
    if r_loss_factor is not None:
        if beta is not None or sigma is not None:
            both = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
            raise UsageError(f"{both} say the same thing in different ways. Give r_loss_factor alone, or beta and sigma.")
        objective = Classic(r_loss_factor=r_loss_factor, error=error)
        return FixedGaussian(scale=sigma_of(r_loss_factor, prod(image))), objective
    if likelihood not in LIKELIHOODS:
        raise UsageError(f"No likelihood is named {likelihood!r}. {known(likelihood, LIKELIHOODS)}")
    chosen = FixedGaussian(scale=sigma) if sigma is not None else LIKELIHOODS[likelihood]()
    return chosen, ELBO(beta=1.0 if beta is None else beta)


def default_net(image: Shape) -> str:
    return "mlp" if prod(image[1:]) <= 16 * 16 else "conv"


def vae(
    image: Shape,
    *,
    net: str | None = None,
    latent: int = 32,
    likelihood: str = "gaussian",
    beta: float | None = None,
    sigma: float | None = None,
    r_loss_factor: float | None = None,
    **training: Any,
) -> Recipe:
    """A VAE with the optimal sigma: the place to start with pictures of your own."""
    density, objective = weigh(image, likelihood, beta=beta, sigma=sigma, r_loss_factor=r_loss_factor)
    return Recipe(compose(image, net or default_net(image), latent, density), objective, settings(training))


def autoencoder(
    image: Shape, *, net: str | None = None, latent: int = 32, likelihood: str = "gaussian", **training: Any
) -> Recipe:
    """A plain autoencoder: no prior, no noise; good reconstructions, and holes between the codes."""
    density, _ = weigh(image, likelihood)
    return Recipe(compose(image, net or default_net(image), latent, density, plain=True), Reconstruction(), settings(training))


def digits_2d(
    image: Shape, *, latent: int = 2, likelihood: str = "bernoulli", net: str = "mlp", beta: float | None = None, **training: Any
) -> Recipe:
    """Two latents for digits or other small pictures: a latent space that can be seen as it is."""
    density, objective = weigh(image, likelihood, beta=beta)
    model = compose(image, net, latent, density)
    return Recipe(model, objective, settings({"minutes": 5.0, "learning_rate": 2e-3, "batch_size": 256} | training))


def faces(
    image: Shape,
    *,
    latent: int = 128,
    net: str = "conv",
    likelihood: str = "gaussian",
    beta: float | None = None,
    sigma: float | None = None,
    r_loss_factor: float | None = None,
    flip: bool = True,
    **training: Any,
) -> Recipe:
    """Colour faces: many latents, mirrored pictures, and small batches, because a few thousand faces mean few steps."""
    density, objective = weigh(image, likelihood, beta=beta, sigma=sigma, r_loss_factor=r_loss_factor)
    chosen = {"minutes": 30.0, "flip": flip, "batch_size": 64, "learning_rate": 1.5e-3} | training
    return Recipe(compose(image, net, latent, density), objective, settings(chosen))


def book(
    image: Shape, *, latent: int = 200, net: str = "conv", r_loss_factor: float = 10_000, error: str = "mse", **training: Any
) -> Recipe:
    """The well-known book's loss: r_loss_factor * error + KL, with the error an MSE (its code) or an RMSE (its text)."""
    density, objective = weigh(image, r_loss_factor=r_loss_factor, error=error)
    return Recipe(compose(image, net, latent, density), objective, settings(training))


RECIPES: dict[str, Callable[..., Recipe]] = {
    "vae": vae,
    "autoencoder": autoencoder,
    "digits-2d": digits_2d,
    "faces": faces,
    "book": book,
}


def settings(given: dict[str, Any]) -> Training:
    """Training from the options that a recipe passes on; ten epochs where no budget is given."""
    fields = Training.__dataclass_fields__.keys() - {"epoch"}  # pyright: ignore[reportAttributeAccessIssue]
    for name in given.keys() - fields:
        raise UsageError(f"Training has no option {name!r}. {known(name, fields)}")
    if not {"epochs", "images", "minutes"} & {name for name, value in given.items() if value is not None}:
        given = given | {"epochs": 10.0}
    return Training(**given)


def cook(name: str, image: Shape, options: dict[str, Any]) -> Recipe:
    """The named recipe with options; raises UsageError on a name or an option that it does not have."""
    if name not in RECIPES:
        raise UsageError(f"No recipe is named {name!r}. {known(name, RECIPES)}")
    signature = inspect.signature(RECIPES[name]).parameters
    own = {option for option, parameter in signature.items() if parameter.kind is parameter.KEYWORD_ONLY}
    fields = set(Training.__dataclass_fields__) - {"epoch"}  # pyright: ignore[reportAttributeAccessIssue]
    for option in options.keys() - own - fields:
        raise UsageError(f"Recipe {name!r} has no option {option!r}. {known(option, own | fields)}")
    return RECIPES[name](image, **options)
