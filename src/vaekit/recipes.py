"""Recipes: typed functions from an image's shape to everything a training needs. What a run stores is the result, not the recipe,
so changing a default here never changes an old run."""

import inspect
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from .autoregressive import NeighbourBernoulli
from .errors import UsageError
from .likelihoods import LIKELIHOODS, FixedGaussian, Likelihood, OptimalGaussian
from .model import VAE
from .nets import NETS, MixerDecoder, MixerEncoder, MLPEncoder
from .objectives import ELBO, Classic, Objective, Reconstruction
from .objectives.classic import sigma_of
from .part import fields_of, known
from .posteriors import Deterministic, DiagonalGaussian
from .priors import CouplingFlow, StandardNormal
from .schedules import Cosine, Cyclical, Linear, Schedule
from .training import Training

Shape = tuple[int, int, int]  # (C, H, W)
SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "cosine": Cosine, "cyclical": Cyclical}


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
    likelihood: str | None = None,
    *,
    beta: float | None = None,
    sigma: float | None = None,
    r_loss_factor: float | None = None,
    error: str = "mse",
    beta_schedule: str | None = None,
    beta_images: float | None = None,
    free_bits: float | None = None,
) -> tuple[Likelihood, Objective]:
    """One of the three ways to say how much reconstruction counts; by default the optimal sigma and beta = 1.

    `beta_schedule` (linear, cosine, cyclical) brings beta from 0 up over `beta_images`; `free_bits` are nats per latent.
    Raises UsageError where two options contradict each other.
    """
    ways = {"likelihood": likelihood, "beta": beta, "sigma": sigma, "free_bits": free_bits, "beta_schedule": beta_schedule}
    given = [f"{name}={value}" for name, value in ways.items() if value is not None]
    if r_loss_factor is not None:
        if given:
            both = ", ".join([*given, f"r_loss_factor={r_loss_factor}"])
            raise UsageError(f"{both} say the same thing in different ways. Give r_loss_factor alone, or leave it out.")
        density = FixedGaussian(scale=sigma_of(r_loss_factor, prod(image))) if error == "mse" else OptimalGaussian()
        return density, Classic(r_loss_factor=r_loss_factor, error=error)
    if likelihood not in (None, *LIKELIHOODS):
        raise UsageError(f"No likelihood is named {likelihood!r}. {known(likelihood, LIKELIHOODS)}")
    if sigma is not None and likelihood not in (None, "gaussian"):
        raise UsageError(f"likelihood={likelihood} has no sigma, and sigma={sigma} was given. Leave out one of them.")
    density = FixedGaussian(scale=sigma) if sigma is not None else LIKELIHOODS[likelihood or "gaussian"]()
    return density, ELBO(beta=rising(1.0 if beta is None else beta, beta_schedule, beta_images), free_bits=free_bits or 0.0)


def rising(beta: float, schedule: str | None, images: float | None) -> float | Schedule:
    """beta itself, or its schedule over so many images."""
    if schedule is None and images is None:
        return beta
    if schedule not in SCHEDULES or images is None:
        given = f"beta_schedule={schedule} with beta_images={images}"
        raise UsageError(f"{given}: a schedule has a name ({', '.join(SCHEDULES)}) and a length. Give both.")
    return SCHEDULES[schedule](images=images, end=beta)


def default_net(image: Shape) -> str:
    return "mlp" if prod(image[1:]) <= 16 * 16 else "conv"


def vae(
    image: Shape,
    *,
    net: str | None = None,
    latent: int = 32,
    **options: Any,
) -> Recipe:
    """A VAE with the optimal sigma: the place to start with pictures of your own."""
    weights, training = parted(options)
    density, objective = weigh(image, **weights)
    return Recipe(compose(image, net or default_net(image), latent, density), objective, settings(training))


def autoencoder(
    image: Shape, *, net: str | None = None, latent: int = 32, likelihood: str | None = None, **training: Any
) -> Recipe:
    """A plain autoencoder: no prior, no noise; good reconstructions, and holes between the codes."""
    density, _ = weigh(image, likelihood)
    return Recipe(compose(image, net or default_net(image), latent, density, plain=True), Reconstruction(), settings(training))


def digits_2d(image: Shape, *, latent: int = 2, net: str = "mlp", likelihood: str = "bernoulli", **options: Any) -> Recipe:
    """Two latents for digits or other small pictures: a latent space that can be seen as it is."""
    weights, training = parted(options)
    density, objective = weigh(image, likelihood, **weights)
    chosen = {"learning_rate": 2e-3, "batch_size": 256} | training
    return Recipe(compose(image, net, latent, density), objective, settings(chosen, {"minutes": 5.0}))


def faces(
    image: Shape,
    *,
    latent: int = 128,
    net: str = "conv",
    **options: Any,
) -> Recipe:
    """Colour faces: many latents, mirrored pictures, and small batches, because a few thousand faces mean few steps."""
    weights, training = parted(options)
    density, objective = weigh(image, **weights)
    chosen = {"flip": True, "batch_size": 64, "learning_rate": 1.5e-3} | training
    return Recipe(compose(image, net, latent, density), objective, settings(chosen, {"minutes": 30.0}))


def book(
    image: Shape, *, latent: int = 200, net: str = "conv", r_loss_factor: float = 10_000, error: str = "mse", **training: Any
) -> Recipe:
    """The well-known book's loss: r_loss_factor * error + KL, with the error an MSE (its code) or an RMSE (its text)."""
    density, objective = weigh(image, r_loss_factor=r_loss_factor, error=error)
    return Recipe(compose(image, net, latent, density), objective, settings(training))


def density(image: Shape, *, latent: int = 40, **training: Any) -> Recipe:
    """The highest probability of small black-and-white pictures, drawn anew at every step: a bound on -log p(x) in nats.

    A decoder whose pixels see their neighbours, and a learned prior. Beta rises slowly: were it 1 from the start, the neighbours
    would learn to do without the latents. The minutes decide: from LARGE_MINUTES on the nets are larger, and beta rises over
    100,000 images for each minute, 200,000 at least and 400,000 at most.
    """
    chosen = {
        "binarize": True,
        "batch_size": 256,
        "learning_rate": 2e-3,
        "weight_decay": 1e-2,
        "validate_every": 500_000,
    } | training
    plan = settings(chosen, {"minutes": 12.0})
    minutes = plan.minutes or LARGE_MINUTES
    large = minutes >= LARGE_MINUTES
    likelihood = NeighbourBernoulli(image=image, depth=1 if large else 0)
    sizes = {"image": image, "patch": likelihood.patch, "width": 64, "depth": 1 if large else 0}
    model = VAE(
        encoder=MixerEncoder(**sizes) if large else MLPEncoder(image=image),
        posterior=DiagonalGaussian(features=512, latent=latent),
        decoder=MixerDecoder(latent=latent, per_patch=likelihood.values * likelihood.features, **sizes),
        likelihood=likelihood,
        prior=CouplingFlow(latent=latent),
    )
    return Recipe(model, ELBO(beta=Linear(images=100_000 * min(max(minutes, 2), 4))), plan)


RECIPES: dict[str, Callable[..., Recipe]] = {
    "vae": vae,
    "autoencoder": autoencoder,
    "digits-2d": digits_2d,
    "faces": faces,
    "book": book,
    "density": density,
}


WEIGHTS = tuple(name for name in inspect.signature(weigh).parameters if name not in ("image", "error"))
SETTINGS = tuple(field.name for field in fields_of(Training) if field.name != "epoch")  # that one is set from the data
BUDGETS = ("epochs", "images", "minutes")
LARGE_MINUTES = 20  # from here on, `density` has time for larger nets
DEFAULT_IMAGES = (
    200_000  # seen: some minutes at 64 x 64 on a laptop; in epochs a small folder would end before it learned a thing
)


def parted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of `weigh`, and the others."""
    weights = {name: value for name, value in options.items() if name in WEIGHTS}
    return weights, {name: value for name, value in options.items() if name not in WEIGHTS}


def settings(given: dict[str, Any], budget: dict[str, float] | None = None) -> Training:
    """Training from the options that a recipe passes on; the recipe's budget, or DEFAULT_IMAGES, where none is given."""
    for name in given.keys() - set(SETTINGS):
        raise UsageError(f"Training has no option {name!r}. {known(name, SETTINGS)}")
    if all(given.get(name) is None for name in BUDGETS):
        given = given | (budget or {"images": DEFAULT_IMAGES})
    return Training(**given)


def cook(name: str, image: Shape, options: dict[str, Any]) -> Recipe:
    """The named recipe with options; raises UsageError on a name or an option that it does not have."""
    if name not in RECIPES:
        raise UsageError(f"No recipe is named {name!r}. {known(name, RECIPES)}")
    parameters = inspect.signature(RECIPES[name]).parameters
    own = {option for option, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY} | set(SETTINGS)
    own |= set(WEIGHTS) if "options" in parameters else set()
    for option in options.keys() - own:
        raise UsageError(f"Recipe {name!r} has no option {option!r}. {known(option, own)}")
    return RECIPES[name](image, **options)
