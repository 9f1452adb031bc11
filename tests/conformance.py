"""Every variant that vaekit can train, on tiny pictures: name -> () -> (model, objective).

`test_conformance.py` holds what must be true of all of them. A new part or objective is one line here.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch

from vaekit.autoregressive import NeighbourBernoulli, NeighbourLogistic, Neighbours
from vaekit.categorical import CategoricalLatents, UniformCategories
from vaekit.codebooks import FiniteScalar, LookupFree, UniformCodes, VectorQuantized
from vaekit.conditional import Condition, Conditional, ConditionalNormal
from vaekit.flows import InverseAutoregressive, SplineFlow
from vaekit.known import STAND_IN
from vaekit.ladder import Ladder
from vaekit.levels import CategoricalLevels, LogisticLevels
from vaekit.likelihoods import (
    BernoulliPixels,
    ContinuousBernoulliPixels,
    FixedGaussian,
    LaplacePixels,
    LearnedGaussian,
    Likelihood,
    OptimalGaussian,
    PerPixelGaussian,
    StudentTPixels,
)
from vaekit.model import VAE, Model
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
from vaekit.nets.judge import Judge
from vaekit.objectives import (
    AAE,
    CIWAE,
    DIPVAE,
    ELBO,
    GECO,
    IWAE,
    MIWAE,
    PIWAE,
    RAEGP,
    RAEL2,
    STL,
    VAEGAN,
    WAEGAN,
    WAEMMD,
    BalancedELBO,
    BetaTCVAE,
    Capacity,
    Classic,
    Consistency,
    DReG,
    FactorVAE,
    InfoVAE,
    KLAutoencoder,
    Objective,
    Perceptual,
    Quantized,
    Reconstruction,
    SemiSupervised,
    Structural,
)
from vaekit.posteriors import Deterministic, DiagonalGaussian, FullGaussian, Posterior
from vaekit.priors import CouplingFlow, ExemplarPrior, Mixture, Prior, StandardNormal, VampPrior
from vaekit.schedules import Cosine, Cyclical, Linear
from vaekit.sphere import Spherical, UniformSphere
from vaekit.variants import VARIANTS as RECIPE_VARIANTS

FEATURES, LATENT = 24, 3

Image = tuple[int, int, int]

NETS: dict[str, Callable[[Image, int], tuple]] = {  # of an image's shape and the numbers for each of its pixel values
    "mlp": lambda image, per_pixel: (
        MLPEncoder(image=image, features=FEATURES, depth=1),
        MLPDecoder(image=image, latent=LATENT, width=FEATURES, depth=1, per_pixel=per_pixel),
    ),
    "conv": lambda image, per_pixel: (
        ConvEncoder(image=image, features=FEATURES, width=8, widest=16),
        ConvDecoder(image=image, latent=LATENT, width=8, widest=16, per_pixel=per_pixel),
    ),
    "resnet": lambda image, per_pixel: (
        ResNetEncoder(image=image, features=FEATURES, width=8, widest=16),
        ResNetDecoder(image=image, latent=LATENT, width=8, widest=16, per_pixel=per_pixel),
    ),
    "mixer": lambda image, per_pixel: (
        MixerEncoder(image=image, features=FEATURES, patch=2, width=16, depth=1),
        MixerDecoder(image=image, latent=LATENT, features=FEATURES, patch=2, width=16, depth=1, per_pixel=per_pixel),
    ),
    "conv-places": lambda image, per_pixel: places(ConvEncoder, ConvDecoder, image, per_pixel),
    "resnet-places": lambda image, per_pixel: places(ResNetEncoder, ResNetDecoder, image, per_pixel),
}
WHOLE = tuple(net for net in NETS if not net.endswith("-places"))
SPATIAL = tuple(net for net in NETS if net.endswith("-places"))


def places(encoder: type, decoder: type, image: Image, per_pixel: int) -> tuple:
    """Nets with latents at each of 2 x 2 places."""
    sizes = {"image": image, "width": 8, "widest": 16, "spatial": 2}
    return encoder(features=FEATURES, **sizes), decoder(latent=4 * LATENT, per_pixel=per_pixel, **sizes)


POSTERIORS: dict[str, Callable[..., Posterior]] = {
    "point": Deterministic,
    "diagonal": DiagonalGaussian,
    "full": FullGaussian,
    "iaf": partial(InverseAutoregressive, width=16),
    "spline": partial(InverseAutoregressive, width=16, spline=True),
    "sphere": Spherical,
    "categorical": partial(CategoricalLatents, categories=LATENT),
    "vector-quantized": partial(VectorQuantized, size=16),
    "residual-quantized": partial(VectorQuantized, size=8, depth=2),
    "finite-scalar": partial(FiniteScalar, sizes=(5, 4, 3)),
    "lookup-free": LookupFree,
}

PRIORS: dict[str, Callable[[Image, int], Prior | None]] = {  # of an image's shape and the number of latents
    "none": lambda *_: None,
    "normal": lambda _, latent: StandardNormal(latent=latent),
    "flow": lambda _, latent: CouplingFlow(latent=latent, couplings=3, width=8),
    "spline": lambda _, latent: SplineFlow(latent=latent, width=16),
    "mixture": lambda _, latent: Mixture(latent=latent, components=4),
    "vamp": lambda image, latent: VampPrior(latent=latent, image=image, components=4),
    "exemplar": lambda image, latent: ExemplarPrior(latent=latent, image=image, components=12),
    "sphere": lambda _, latent: UniformSphere(latent=latent),
    "categories": lambda _, latent: UniformCategories(latent=latent, categories=LATENT),
    "codes": lambda _, latent: UniformCodes(latent=latent),
}
OF_GAUSSIANS = ("normal", "flow", "spline", "mixture", "vamp", "exemplar")
FULL = ("diagonal", "full")
CODES = ("vector-quantized", "residual-quantized", "finite-scalar", "lookup-free")
FITTING: dict[str, tuple[str, ...]] = {  # the priors that lie where a posterior's codes do
    **dict.fromkeys(("point", "diagonal", "full", "iaf", "spline"), OF_GAUSSIANS),
    "sphere": ("sphere",),
    "categorical": ("categories",),
    **dict.fromkeys(CODES, ("codes",)),
}

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliPixels,
    "continuous-bernoulli": ContinuousBernoulliPixels,
    "laplace": LaplacePixels,
    "fixed-gaussian": lambda: FixedGaussian(scale=0.2),
    "learned-gaussian": LearnedGaussian,
    "optimal-gaussian": OptimalGaussian,
    "per-pixel-gaussian": PerPixelGaussian,
    "student-t": StudentTPixels,
    "logistic-levels": lambda: LogisticLevels(components=3),
    "logistic-levels-1": lambda: LogisticLevels(components=1),
    "categorical-levels": CategoricalLevels,
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
    "balanced": lambda: BalancedELBO(beta=Linear(images=16)),
    "capacity": lambda: Capacity(capacity=Linear(images=16, end=2.0), gamma=5.0),
    "beta-tcvae": lambda: BetaTCVAE(beta=2.0),
    "dip-vae-1": lambda: DIPVAE(kind=1),
    "dip-vae-2": lambda: DIPVAE(kind=2),
    "info-vae": lambda: InfoVAE(weight=20.0, alpha=0.5),
    "wae-mmd": lambda: WAEMMD(weight=20.0),
    "iwae": lambda: IWAE(samples=4),
    "ciwae": lambda: CIWAE(samples=4),
    "miwae": lambda: MIWAE(samples=4, groups=2),
    "piwae": lambda: PIWAE(samples=4, groups=2),
    "stl": lambda: STL(samples=4),
    "dreg": lambda: DReG(samples=4),
    "factor-vae": lambda: FactorVAE(latent=LATENT, width=FEATURES, depth=2),
    "adversarial-autoencoder": lambda: AAE(latent=LATENT, width=FEATURES, depth=2),
    "wae-gan": lambda: WAEGAN(latent=LATENT, width=FEATURES, depth=2, weight=10.0),
    "geco": GECO,
    "structural": Structural,
    "consistency": Consistency,
    "rae-l2": RAEL2,
    "rae-gp": RAEGP,
}  # Quantized takes posteriors of codes alone: see `coded`

MATCHED = ("wae-mmd", "wae-gan", "adversarial-autoencoder")  # of codes that are points, and follow a prior

Make = Callable[[], tuple[Model, Objective]]


def vae(
    likelihood: str = "optimal-gaussian",
    objective: str = "elbo",
    net: str = "mlp",
    *,
    prior: str = "normal",
    posterior: str = "diagonal",
    image: Image = (1, 8, 8),
) -> Make:
    """Parts and an objective by their names above."""

    def make() -> tuple[VAE, Objective]:
        density = LIKELIHOODS[likelihood]()
        encoder, decoder = NETS[net](image, density.per_pixel)
        q, p = POSTERIORS[posterior](features=FEATURES, latent=LATENT), PRIORS[prior](image, decoder.latent)
        return VAE(encoder=encoder, posterior=q, decoder=decoder, likelihood=density, prior=p), OBJECTIVES[objective]()

    return make


def plain(objective: str = "reconstruction", **given) -> Make:
    """A plain autoencoder."""
    return vae(objective=objective, posterior="point", prior="none", **given)


def vae_gan(image: Image = (1, 8, 8)) -> Make:
    def make() -> tuple[VAE, Objective]:
        return vae("bernoulli", image=image)()[0], VAEGAN(image=image)

    return make


def exemplars() -> Make:
    """Draws of a prior that is another one for each image in training; they weigh little, being noise to losses of 8 images."""
    return lambda: (vae("bernoulli", prior="exemplar")()[0], InfoVAE(weight=1.0, alpha=0.5))


def perceptual() -> Make:
    return lambda: (vae("bernoulli")()[0], Perceptual(judge=a_judge()))


def kl_autoencoder() -> Make:
    def make() -> tuple[VAE, Objective]:
        model, _ = vae("bernoulli", net="conv-places")()
        return model, KLAutoencoder(image=(1, 8, 8), judge=a_judge(), start=8, weight=1e-2)

    return make


def a_judge(image: Image = (1, 8, 8)) -> Judge:
    """One that learned nothing, always the same; whoever asks has the random numbers that it would have had."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Judge(image=image, features=8, width=8)


def needs(recipe: str, image: Image) -> dict[str, object]:
    """What a variant's recipe cannot do without."""
    variant = RECIPE_VARIANTS.get(recipe)
    told = {"condition": STAND_IN} if variant and variant.told else {}
    return told | ({"features": a_judge(image)} if recipe == "perceptual" else {})


def coded(posterior: str, net: str = "conv-places", **given) -> Make:
    """A model of codes."""

    def make() -> tuple[VAE, Objective]:
        model, _ = vae("bernoulli", posterior=posterior, net=net, prior="codes", **given)()
        return model, Quantized()

    return make


def ladder(image: Image = (1, 8, 8), objective: str = "elbo", likelihood: str = "bernoulli") -> Make:
    def make() -> tuple[Model, Objective]:
        model = Ladder(image=image, likelihood=LIKELIHOODS[likelihood](), width=8, latents=2, blocks=1, smallest=2)
        return model, OBJECTIVES[objective]()

    return make


LABELS = Condition(labels=("a", "b"))
BOTH = Condition(labels=("a", "b"), attributes=("x",), centre=(0.5,), spread=(2.0,))


def conditional(condition: Condition, net: str = "mlp", prior: str = "normal", objective: str = "elbo") -> Make:
    """A model that is told something."""

    def make() -> tuple[VAE, Objective]:
        encoder, _ = NETS[net]((1, 8, 8), 1)
        sizes = {"image": encoder.image, "latent": (LATENT + condition.told) * getattr(encoder, "vectors", 1)}
        spatial = {"width": 8, "widest": 16, "spatial": 2}
        decoder = MLPDecoder(width=FEATURES, depth=1, **sizes) if net == "mlp" else ConvDecoder(**sizes, **spatial)
        latents = LATENT * getattr(encoder, "vectors", 1)
        p = ConditionalNormal(latent=latents, told=condition.told) if prior == "label" else PRIORS[prior]((1, 8, 8), latents)
        posterior = DiagonalGaussian(features=FEATURES, latent=LATENT)
        model = Conditional(
            encoder=encoder,
            posterior=posterior,
            decoder=decoder,
            likelihood=BernoulliPixels(),
            prior=p,
            condition=deepcopy(condition),
        )
        return model, SemiSupervised(image=(1, 8, 8), labels=2) if objective == "semi" else OBJECTIVES[objective]()

    return make


def neighbours(image: Image, patch: int = 4, reach: int = 1, kind: type[Neighbours] = NeighbourBernoulli) -> Make:
    """Autoregressive pixels over a mixer, with a learned prior."""

    def make() -> tuple[VAE, Objective]:
        likelihood = kind(image=image, features=4, patch=patch, reach=reach)
        sizes = {"image": image, "features": FEATURES, "patch": patch, "width": 8, "depth": 1}
        decoder = MixerDecoder(latent=LATENT, per_patch=4 * likelihood.values, **sizes)
        posterior, prior = DiagonalGaussian(features=FEATURES, latent=LATENT), CouplingFlow(latent=LATENT, couplings=3, width=8)
        encoder = MixerEncoder(**sizes)
        return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=likelihood, prior=prior), ELBO()

    return make


VARIANTS: dict[str, Make] = (  # every part and every objective; what only some tests ask of all pairs is in test_conformance.py
    {f"vae {likelihood} elbo": vae(likelihood) for likelihood in LIKELIHOODS}
    | {f"vae bernoulli {objective}": vae("bernoulli", objective) for objective in OBJECTIVES}
    | {"vae-gan": vae_gan(), "perceptual": perceptual()}
    | {"kl-autoencoder": kl_autoencoder()}
    | {f"prior {prior}": vae("bernoulli", prior=prior) for prior in OF_GAUSSIANS}
    | {f"posterior {posterior}": vae("bernoulli", posterior=posterior) for posterior in ("full", "iaf", "spline")}
    | {"posterior sphere": vae("bernoulli", posterior="sphere", prior="sphere")}
    | {"posterior categorical": vae("bernoulli", posterior="categorical", prior="categories")}
    | {f"{net} {posterior}": vae("bernoulli", net=net, posterior=posterior) for net in SPATIAL for posterior in FULL}
    | {f"conv-places {posterior}": vae("bernoulli", net="conv-places", posterior=posterior) for posterior in ("iaf", "spline")}
    | {"conv-places categorical": vae("bernoulli", net="conv-places", posterior="categorical", prior="categories")}
    | {posterior: coded(posterior) for posterior in CODES}
    | {f"{posterior}, one place": coded(posterior, net="mlp") for posterior in CODES}
    | {f"autoencoder {likelihood}": plain(likelihood=likelihood) for likelihood in LIKELIHOODS}
    | {f"autoencoder {objective}": plain(objective) for objective in ("rae-l2", "rae-gp")}
    | {f"points {objective}": vae("bernoulli", objective, posterior="point") for objective in MATCHED}
    | {f"autoencoder {net}": plain(net=net, image=(3, 9, 7)) for net in WHOLE}
    | {f"vae {net} classic-mse": vae("fixed-gaussian", "classic-mse", net) for net in WHOLE}
    | {f"vae {net} colour, not square": vae(net=net, image=(3, 7, 10)) for net in WHOLE}
    | {"conditional": conditional(BOTH), "conditional conv-places": conditional(BOTH, "conv-places")}
    | {"conditional label prior": conditional(LABELS, prior="label")}
    | {"conditional label prior info-vae": conditional(LABELS, prior="label", objective="info-vae")}
    | {"semi-supervised": conditional(LABELS, objective="semi")}
    | {"ladder": ladder(), "ladder colour, not square": ladder((3, 7, 10), "elbo-free-group", "optimal-gaussian")}
    | {"vae info-vae mixture prior": vae("bernoulli", "info-vae", prior="mixture"), "vae info-vae exemplar prior": exemplars()}
    | {f"ladder {objective}": ladder(objective=objective) for objective in ("iwae", "balanced")}
    | {"neighbours": neighbours((1, 8, 8)), "neighbours colour, not square": neighbours((3, 7, 10), patch=2, reach=2)}
    | {"neighbours of levels": neighbours((3, 7, 10), patch=2, kind=NeighbourLogistic)}
    | {f"vae {net} with transparency": vae("continuous-bernoulli", "elbo-linear", net, image=(4, 5, 6)) for net in WHOLE}
    | {"vae continuous-bernoulli classic-rmse": vae("continuous-bernoulli", "classic-rmse")}
)
