"""Recipes: typed functions from an image's shape to everything a training needs. What a run stores is the result, not the recipe,
so changing a default here never changes an old run."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .autoregressive import NeighbourBernoulli, NeighbourLogistic, Neighbours
from .conditional import Condition, Conditional
from .errors import UsageError
from .ladder import Ladder
from .likelihoods import Likelihood, check_weighed
from .model import VAE, Model
from .nets import NETS, SPATIAL, MixerDecoder, MixerEncoder, MLPEncoder
from .nets.judge import FeatureNet, judge_from
from .objectives import ELBO, BalancedELBO, Objective, Reconstruction
from .part import Count, Natural, Positive, Weight, check_number, fields_of, known
from .posteriors import DiagonalGaussian
from .priors import CouplingFlow
from .schedules import Linear
from .training import Training
from .variants import AUTOENCODER, VARIANTS, Shape, Sizes, Variant
from .weighing import WEIGHTS, weigh


class Recipe(NamedTuple):
    """What a training needs, apart from the data. `weights`: those that it begins with instead of random ones, by their names in
    `State.tensors`; `second`: densities that are fitted to its codes at its end, by their names in `latent.second_stage`."""

    model: Model
    objective: Objective
    training: Training
    weights: Mapping[str, Tensor] = {}
    second: tuple[str, ...] = ()


def compose(
    image: Shape,
    net: str,
    latent: int,
    likelihood: Likelihood,
    variant: Variant = VARIANTS["vae"],
    *,
    spatial: int | None = None,
    condition: Condition | None = None,
) -> VAE:
    """A VAE with one of the nets `mlp`, `conv`, `resnet`, `mixer`; posterior and prior are the variant's. `spatial`: latents at
    each of so many places a side at most, 0 for those of the whole picture, by default the variant's. With a `condition` it is
    conditional: `known.condition_of` makes one of what a data set knows."""
    spatial = variant.spatial if spatial is None else spatial
    if net not in NETS:
        raise UsageError(f"No net is named {net!r}. {known(net, NETS)}")
    if latent < 1:
        raise UsageError(f"A model with {latent} latents has nowhere to put an image; give at least 1.")
    if spatial and net not in SPATIAL:
        raise UsageError(f"The net {net!r} keeps no places for latents of their own; choose {' or '.join(SPATIAL)}.")
    encoder_kind, decoder_kind = NETS[net]
    places = {"spatial": spatial} if spatial else {}
    encoder = encoder_kind(image=image, **places)
    vectors = getattr(encoder, "vectors", 1)
    sizes = Sizes(image, encoder.features, latent, latent * vectors, told=condition.told if condition else 0)
    decoder = decoder_kind(image=image, latent=(latent + sizes.told) * vectors, per_pixel=likelihood.per_pixel, **places)
    parts = {"encoder": encoder, "posterior": variant.posterior(sizes), "decoder": decoder, "prior": variant.prior(sizes)}
    if condition:
        return Conditional(**parts, likelihood=likelihood, condition=deepcopy(condition))
    return VAE(**parts, likelihood=likelihood)


def default_net(image: Shape, spatial: int | None = None) -> str:
    return "mlp" if prod(image[1:]) <= 16 * 16 and not spatial else "conv"


def vae(
    image: Shape,
    *,
    net: str | None = None,
    latent: Count = 32,
    spatial: Natural | None = None,
    condition: Condition | None = None,
    **options: Any,
) -> Recipe:
    """A VAE with the optimal sigma: the place to start with pictures of your own."""
    weights, training = parted(options)
    density, objective = weigh(image, **weights)
    model = compose(image, net or default_net(image, spatial), latent, density, spatial=spatial, condition=condition)
    return Recipe(model, objective, settings(training))


def two_stage(
    image: Shape, *, net: str | None = None, latent: Count = 32, condition: Condition | None = None, **options: Any
) -> Recipe:
    """Dai & Wipf (2019): a VAE with the optimal sigma, then a second one over its codes, for `vaekit sample --prior vae`."""
    return vae(image, net=net, latent=latent, condition=condition, **options)._replace(second=("vae",))


def autoencoder(
    image: Shape, *, net: str | None = None, latent: Count = 32, likelihood: str | None = None, **training: Any
) -> Recipe:
    """A plain autoencoder: no prior, no noise; good reconstructions, and holes between the codes."""
    density, _ = weigh(image, likelihood)
    model = compose(image, net or default_net(image), latent, density, AUTOENCODER)
    return Recipe(model, Reconstruction(), settings(training))


def digits_2d(image: Shape, *, latent: Count = 2, net: str = "mlp", **options: Any) -> Recipe:
    """Two latents for digits or other small pictures: a latent space that can be seen as it is."""
    weights, training = parted(options)
    density, objective = weigh(image, **weights)
    chosen = {"learning_rate": 2e-3, "batch_size": 256} | training
    return Recipe(compose(image, net, latent, density), objective, settings(chosen, {"minutes": 5.0}))


def faces(
    image: Shape,
    *,
    latent: Count = 128,
    net: str = "conv",
    condition: Condition | None = None,
    **options: Any,
) -> Recipe:
    """Colour faces: many latents, mirrored pictures, and small batches, because a few thousand faces mean few steps."""
    weights, training = parted(options)
    density, objective = weigh(image, **weights)
    chosen = {"flip": True, "batch_size": 64, "learning_rate": 1.5e-3} | training
    model = compose(image, net, latent, density, condition=condition)
    return Recipe(model, objective, settings(chosen, {"minutes": 30.0}))


def book(
    image: Shape, *, latent: Count = 200, net: str = "conv", r_loss_factor: Positive = 10_000, error: str = "mse", **training: Any
) -> Recipe:
    """The well-known book's loss: r_loss_factor * error + KL, with the error an MSE (its code) or an RMSE (its text)."""
    density, objective = weigh(image, r_loss_factor=r_loss_factor, error=error)
    return Recipe(compose(image, net, latent, density), objective, settings(training))


def density(image: Shape, *, latent: Count = 40, **training: Any) -> Recipe:
    """The highest probability of small black-and-white pictures, drawn anew at every step: a bound on -log p(x) in nats.

    A decoder whose pixels see their neighbours, and a learned prior. Beta rises slowly: were it 1 from the start, the neighbours
    would learn to do without the latents. The minutes decide: from LARGE_MINUTES on the nets are larger, and beta rises over
    100,000 images for each minute, 200,000 at least and 400,000 at most.
    """
    chosen = {
        "binarize": "dynamic",
        "batch_size": 256,
        "learning_rate": 2e-3,
        "weight_decay": 1e-2,
        "validate_every": 500_000,
    } | training
    plan = settings(chosen, {"minutes": 12.0})
    minutes = plan.minutes or LARGE_MINUTES
    depth = 1 if minutes >= LARGE_MINUTES else 0
    model = among_neighbours(latent, NeighbourBernoulli(image=image, depth=depth), depth)
    return Recipe(model, ELBO(beta=Linear(images=100_000 * min(max(minutes, 2), 4))), plan)


def pixel_vae(image: Shape, *, latent: Count = 64, **training: Any) -> Recipe:
    """Gulrajani et al. (2017): a probability of grey or coloured pixels given the latents and the pixels around; bits/dim.

    The mixture of logistics is that of PixelCNN++, and pixels see each other in few parallel steps, as in `density`; so does beta
    rise slowly.
    """
    chosen = {"batch_size": 64, "learning_rate": 1e-3, "weight_decay": 1e-2} | training
    return Recipe(
        among_neighbours(latent, NeighbourLogistic(image=image, depth=1), 2),
        ELBO(beta=Linear(images=100_000)),
        settings(chosen, {"minutes": 30.0}),
    )


def among_neighbours(latent: int, likelihood: Neighbours, depth: int) -> VAE:
    """A VAE whose pixels see each other, with nets of so many mixing layers and a learned prior."""
    sizes = {"image": likelihood.image, "patch": likelihood.patch, "width": 64, "depth": depth}
    return VAE(
        encoder=MixerEncoder(**sizes) if depth else MLPEncoder(image=likelihood.image),
        posterior=DiagonalGaussian(features=512, latent=latent),
        decoder=MixerDecoder(latent=latent, per_patch=likelihood.values * likelihood.features, **sizes),
        likelihood=likelihood,
        prior=CouplingFlow(latent=latent),
    )


def ladder(image: Shape, *, likelihood: str | None = None, **options: Any) -> Recipe:
    """Vahdat & Kautz (2020), Child (2021): the hierarchical VAE, latents at every resolution; the best bound, and slow."""
    weights, training = parted(options)
    density, objective = weigh(image, likelihood, **weights)
    return hierarchy(image, density, objective, training)


def nvae(
    image: Shape,
    *,
    likelihood: str | None = None,
    sigma: Positive | None = None,
    beta: Weight = 1.0,
    beta_images: Positive = 60_000,
    **training: Any,
) -> Recipe:
    """Vahdat & Kautz (2020): the hierarchical VAE, its groups balanced while beta rises over `beta_images`."""
    density, _ = weigh(image, likelihood, sigma=sigma)
    return hierarchy(image, density, BalancedELBO(beta=Linear(images=beta_images, end=beta)), training)


def hierarchy(image: Shape, likelihood: Likelihood, objective: Objective, training: dict[str, Any]) -> Recipe:
    return Recipe(Ladder(image=image, likelihood=likelihood), objective, settings({"skip_above": 100.0} | training))


def varied(name: str, variant: Variant) -> Callable[..., Recipe]:
    """The recipe of a variant."""

    def recipe(
        image: Shape,
        *,
        net: str | None = None,
        latent: Count = variant.latent,
        spatial: Natural | None = None,
        condition: Condition | None = None,
        features: FeatureNet | str | Path | None = None,
        **options: Any,
    ) -> Recipe:
        if features and not variant.asks:
            raise UsageError(f"Recipe {name!r} asks no judge of pictures. Leave features out.")
        if variant.told and condition is None:
            raise UsageError(f"Recipe {name!r} is told something of every picture. Give it a condition, such as the label.")
        if variant.told == "labels" and condition and (condition.attributes or not condition.labels):
            given = "attributes beside them" if condition.labels else "attributes alone"
            raise UsageError(f"Recipe {name!r} is told labels, and got {given}. Condition it on the label: --condition label.")
        weights, training = parted(options)
        plan = settings(training)
        own: dict[str, Any] = {} if PIXELS & weights.keys() else dict(variant.pixels)
        if variant.warmup and not {"beta_schedule", "r_loss_factor"} & weights.keys():
            own |= {"beta_schedule": "linear", "beta_images": variant.warmup * (plan.images or DEFAULT_IMAGES)}
        density, objective = weigh(image, **own | weights)
        chosen = net or default_net(image, variant.spatial if spatial is None else spatial)
        model = compose(image, chosen, latent, density, variant, spatial=spatial, condition=condition)
        if variant.objective:
            made = learning(variant, model, features, plan)
            idle = sorted(weights.keys() - {"likelihood", *(["sigma"] if made.objective.asks_density else [])})
            if idle:
                told = f"Recipe {name!r} has an objective of its own, to which {', '.join(idle)} says nothing"
                raise UsageError(f"{told}. Leave it out; its own numbers: --set, see vaekit recipes {name}.")
            return made
        return Recipe(model, objective, plan, second=variant.second)

    recipe.__doc__ = f"{variant.paper}: {variant.purpose}."
    return recipe


def learning(variant: Variant, model: VAE, features: FeatureNet | str | Path | None, training: Training) -> Recipe:
    """A model that learns by the variant's own objective; `features`: a net that looks at pictures, or its file."""
    judge = judge_from(features, model.image) if isinstance(features, str | Path) else features
    if judge and tuple(judge.image) != tuple(model.image):
        raise UsageError(f"The judge is for images of shape {judge.image}, these have {model.image}. Teach one on these.")
    condition: Condition | None = getattr(model, "condition", None)
    told = {"labels": len(condition.labels), "told": condition.told} if condition else {}
    apart = {**told, "judge": judge, "budget": training.images or DEFAULT_IMAGES}
    sizes = Sizes(model.image, model.posterior.features, model.posterior.latent, model.latent, **apart)
    weights = {f"objective.judge.{name}": tensor for name, tensor in judge.state_dict().items()} if judge else {}
    objective: Any = variant.objective(sizes)  # pyright: ignore[reportOptionalCall]
    check_weighed(objective.samples, model.likelihood)
    return Recipe(model, objective, training, weights, variant.second)


RECIPES: dict[str, Callable[..., Recipe]] = {
    "vae": vae,
    "two-stage": two_stage,
    "autoencoder": autoencoder,
    "digits-2d": digits_2d,
    "faces": faces,
    "book": book,
    "density": density,
    "pixel-vae": pixel_vae,
    "ladder": ladder,
    "nvae": nvae,
    **{name: varied(name, variant) for name, variant in VARIANTS.items() if name != "vae"},
}


SETTINGS = {field.name: field.type for field in fields_of(Training) if field.name != "epoch"}  # that one is set from the data
PIXELS = {"likelihood", "sigma", "r_loss_factor"}  # what says how pixels are weighed
BUDGETS = ("epochs", "images", "minutes")
LARGE_MINUTES = 20  # from here on, `density` has time for larger nets
DEFAULT_IMAGES = 200_000  # seen: minutes at 64 x 64 on a laptop; in epochs a small folder would end before it learned a thing


def parted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of `weigh`, and the others."""
    weights = {name: value for name, value in options.items() if name in WEIGHTS}
    return weights, {name: value for name, value in options.items() if name not in WEIGHTS}


def settings(given: dict[str, Any], budget: dict[str, float] | None = None) -> Training:
    """Training from the options that a recipe passes on; the recipe's budget, or DEFAULT_IMAGES, where none is given."""
    for name in given.keys() - SETTINGS.keys():
        raise UsageError(f"Training has no option {name!r}. {known(name, SETTINGS)}")
    if all(given.get(name) is None for name in BUDGETS):
        given = given | (budget or {"images": DEFAULT_IMAGES})
    return Training(**given)


def cook(name: str, image: Shape, options: dict[str, Any]) -> Recipe:
    """The named recipe with options; raises UsageError on a name or an option that there is not, or a number out of bounds."""
    if name not in RECIPES:
        raise UsageError(f"No recipe is named {name!r}. {known(name, RECIPES)}")
    parameters = inspect.signature(RECIPES[name]).parameters
    own = {option: parameter.annotation for option, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    own |= (WEIGHTS if "options" in parameters else {}) | SETTINGS
    for option, value in options.items():
        if option not in own:
            raise UsageError(f"Recipe {name!r} has no option {option!r}. {known(option, own)}")
        check_number(option, value, own[option])
    return RECIPES[name](image, **options)


BROUGHT = ("net", "latent", "spatial", "likelihood", "sigma", "r_loss_factor", "error", "condition")  # by a model


def going_on(name: str, model: Model, options: dict[str, Any]) -> Recipe:
    """The named recipe for a model that is trained already, and whose weights it begins with.

    Raises UsageError on an option that such a model decides, and where the recipe is one for other parts.
    """
    brought = [option for option in BROUGHT if option in options]
    if brought:
        raise UsageError(f"A trained model brings its {', '.join(brought)} with it. Leave that out.")
    variant = VARIANTS.get(name)
    told = {"condition": getattr(model, "condition", None)} if variant and variant.told else {}
    if told and told["condition"] is None:
        raise UsageError(f"Recipe {name!r} is told something of every picture, the trained model is not. Begin with one that is.")
    made = cook(name, model.image, options | told)
    for part in ("posterior", "prior"):
        wanted, has = (type(getattr(each, part, None)).__name__ for each in (made.model, model))
        if wanted != has:
            raise UsageError(
                f"Recipe {name!r} has {wanted} as its {part}, the trained model {has}. Choose a recipe that fits it."
            )
    if variant and variant.objective and isinstance(model, VAE):
        made = learning(variant, model, options.get("features"), made.training)
    return made._replace(model=model, weights={**made.weights, **{f"model.{n}": t for n, t in model.state_dict().items()}})
