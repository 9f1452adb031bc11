"""The variants of the field: of each what differs from the plain VAE, whose idea it is, what it is for and what it costs.

`recipes.py` makes a recipe of every line.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from . import objectives
from .categorical import CategoricalLatents, UniformCategories
from .codebooks import FiniteScalar, LookupFree, UniformCodes, VectorQuantized
from .conditional import ConditionalNormal
from .flows import InverseAutoregressive, SplineFlow
from .nets.judge import FeatureNet
from .posteriors import Deterministic, DiagonalGaussian, FullGaussian, Posterior
from .priors import CouplingFlow, ExemplarPrior, Mixture, Prior, StandardNormal, VampPrior
from .schedules import Linear
from .sphere import Spherical, UniformSphere

Shape = tuple[int, int, int]


class Sizes(NamedTuple):
    """Of the model that a variant becomes part of."""

    image: Shape
    features: int  # of the encoder
    latent: int  # of the posterior: all of them, or those of a place
    latents: int  # of all places
    labels: int = 0  # that a conditional model is told of
    told: int = 0  # numbers
    judge: FeatureNet | None = None  # where the objective may ask one
    budget: float = 0.0  # images that training sees, or so many as by default where it ends by another measure


class Variant(NamedTuple):
    """One idea. What is not given is the plain VAE's."""

    paper: str
    link: str
    purpose: str
    cost: str = "none"  # beside a step of the plain VAE
    objective: Callable[[Sizes], objectives.Objective] | None = None
    posterior: Callable[[Sizes], Posterior] = lambda s: DiagonalGaussian(features=s.features, latent=s.latent)
    prior: Callable[[Sizes], Prior | None] = lambda s: StandardNormal(latent=s.latents)
    pixels: Mapping[str, str | float] = MappingProxyType({})  # options of `weighing.weigh`, where none of them is given
    warmup: float = 0.0  # share of the training in which beta rises, where no schedule is given: latents have to be in use first
    latent: int = 32
    spatial: int = 0  # latents at each of so many places a side; 0: of the whole image
    told: str = ""  # what it has to be told: "labels", or "labels or attributes"; any other may be
    asks: bool = False  # whether its objective may ask a judge of pictures
    second: tuple[str, ...] = ()  # densities that are fitted to its codes at the end


BERNOULLI_LIKE = MappingProxyType({"sigma": 0.5})  # which curves as a Bernoulli at grey: weights of rates were found for that
FOR_BOUNDS = MappingProxyType({"likelihood": "learned-gaussian"})  # the optimal sigma in closed form is that of the ELBO


def codes(
    kind: type[Posterior], latent: int, purpose: str, paper: str, link: str, *, cost: str = "none", **given: int
) -> Variant:
    """A model of discrete codes at 8 x 8 places."""
    return Variant(
        paper,
        link,
        purpose,
        cost,
        objective=lambda _: objectives.Quantized(),
        posterior=lambda s: kind(features=s.features, latent=s.latent, **given),
        prior=lambda s: UniformCodes(latent=s.latents),
        latent=latent,
        spatial=8,
        second=("transformer",),
    )


def point(s: Sizes) -> Posterior:
    return Deterministic(features=s.features, latent=s.latent)


def importance(
    kind: Callable[..., objectives.Objective],
    purpose: str,
    paper: str = "Rainforth et al. (2018)",
    link: str = "https://arxiv.org/abs/1802.04537",
    *,
    cost: str = "8 decodings",
) -> Variant:
    """A tighter bound, of weighed samples."""
    return Variant(paper, link, purpose, cost, objective=lambda _: kind(samples=8), pixels=FOR_BOUNDS)


def plain(objective: type[objectives.Objective], purpose: str, cost: str) -> Variant:
    """A deterministic autoencoder."""
    return Variant(
        "Ghosh et al. (2020)",
        "https://arxiv.org/abs/1903.12436",
        purpose,
        cost,
        objective=lambda _: objective(),
        posterior=point,
        prior=lambda _: None,
        second=("mixture",),  # their section 4: ten Gaussians
    )


AUTOENCODER = plain(objectives.RAEL2, "", "none")

VARIANTS: dict[str, Variant] = {
    "vae": Variant("Kingma & Welling (2014)", "https://arxiv.org/abs/1312.6114", "the VAE itself: the place to start"),
    "beta-vae": Variant(
        "Higgins et al. (2017)",
        "https://openreview.net/forum?id=Sy2fzU9gl",
        "fewer, more independent latents, for blurrier pictures",
        objective=lambda _: objectives.ELBO(beta=4.0),
        pixels=BERNOULLI_LIKE,
    ),
    "annealed-capacity": Variant(
        "Burgess et al. (2018)",
        "https://arxiv.org/abs/1804.03599",
        "latents that take up what matters most first, then the rest",
        objective=lambda s: objectives.Capacity(capacity=Linear(images=0.75 * s.budget, end=25.0), gamma=2.0),
        pixels=BERNOULLI_LIKE,
    ),
    "beta-tcvae": Variant(
        "Chen et al. (2018)",
        "https://arxiv.org/abs/1802.04942",
        "independent latents, without paying for what they carry",
        "a batch x batch matrix for each latent",
        objective=lambda _: objectives.BetaTCVAE(),
        pixels=BERNOULLI_LIKE,
    ),
    "factor-vae": Variant(
        "Kim & Mnih (2018)",
        "https://arxiv.org/abs/1802.05983",
        "independent latents, by a critic",
        "a critic of 0.8 M weights",
        objective=lambda s: objectives.FactorVAE(latent=s.latents),
        pixels=BERNOULLI_LIKE,
    ),
    "dip-vae-1": Variant(
        "Kumar et al. (2018)",
        "https://arxiv.org/abs/1711.00848",
        "uncorrelated means of the codes",
        objective=lambda _: objectives.DIPVAE(kind=1),
        pixels=BERNOULLI_LIKE,
    ),
    "dip-vae-2": Variant(
        "Kumar et al. (2018)",
        "https://arxiv.org/abs/1711.00848",
        "uncorrelated codes",
        objective=lambda _: objectives.DIPVAE(kind=2),
        pixels=BERNOULLI_LIKE,
    ),
    "info-vae": Variant(
        "Zhao et al. (2019)",
        "https://arxiv.org/abs/1706.02262",
        "codes that keep their information and together follow the prior",
        "a batch x batch matrix",
        objective=lambda _: objectives.InfoVAE(),
        pixels=BERNOULLI_LIKE,
        latent=8,  # as in `wae-mmd`
    ),
    "wae-mmd": Variant(
        "Tolstikhin et al. (2018)",
        "https://arxiv.org/abs/1711.01558",
        "sharper pictures, codes that together follow the prior",
        "a batch x batch matrix",
        objective=lambda _: objectives.WAEMMD(),
        posterior=point,
        latent=8,  # as they have on MNIST: of more, the kernel of a batch does not see where no codes are
    ),
    "wae-gan": Variant(
        "Tolstikhin et al. (2018)",
        "https://arxiv.org/abs/1711.01558",
        "the same by a critic",
        "a critic of 0.8 M weights",
        objective=lambda s: objectives.WAEGAN(latent=s.latents),
        posterior=point,
        latent=8,  # as they have on MNIST: of more, a critic learns faster than the codes
    ),
    "adversarial-autoencoder": Variant(
        "Makhzani et al. (2016)",
        "https://arxiv.org/abs/1511.05644",
        "codes that a critic cannot tell from the prior",
        "a critic of 0.8 M weights",
        objective=lambda s: objectives.AAE(latent=s.latents),
        posterior=point,
        pixels=BERNOULLI_LIKE,
        latent=8,  # as they have on MNIST: of more, a critic learns faster than the codes
    ),
    "iwae": importance(
        objectives.IWAE,
        "higher probability of the pictures: a tighter bound",
        "Burda et al. (2016)",
        "https://arxiv.org/abs/1509.00519",
    ),
    "miwae": importance(objectives.MIWAE, "between ELBO and IWAE: a better trained encoder"),
    "ciwae": importance(objectives.CIWAE, "a mixture of ELBO and IWAE"),
    "piwae": importance(objectives.PIWAE, "IWAE for the decoder, MIWAE for the encoder"),
    "sticking-the-landing": Variant(
        "Roeder et al. (2017)",
        "https://arxiv.org/abs/1703.09194",
        "a quieter gradient of the ELBO near the optimum",
        objective=lambda _: objectives.STL(),
    ),
    "dreg": importance(
        objectives.DReG,
        "IWAE whose encoder gradient gets better with samples, not worse",
        "Tucker et al. (2019)",
        "https://arxiv.org/abs/1810.04152",
        cost="8 decodings, and their gradient by z",
    ),
    "vae-gan": Variant(
        "Larsen et al. (2016)",
        "https://arxiv.org/abs/1512.09300",
        "sharp pictures, by a critic's features instead of pixels",
        "a convolutional critic over four batches, and two more decodings",
        objective=lambda s: objectives.VAEGAN(image=s.image),
    ),
    "ms-ssim": Variant(
        "Snell et al. (2017)",
        "https://arxiv.org/abs/1511.06409",
        "structures that look right, for exact pixels",
        "five convolutions a scale",
        objective=lambda _: objectives.Structural(),
    ),
    "perceptual": Variant(
        "Hou et al. (2017)",
        "https://arxiv.org/abs/1610.00291",
        "reconstructions that look right to a net that learned your labels, or to one of your own (--features FILE)",
        "the judge's convolutions, twice",
        objective=lambda s: objectives.Perceptual(judge=s.judge),  # pyright: ignore[reportArgumentType] - it says what is missing
        asks=True,
    ),
    "geco": Variant(
        "Rezende & Viola (2018)",
        "https://arxiv.org/abs/1810.00597",
        "a reconstruction error is asked for, and the rate made as small as it allows",
        objective=lambda _: objectives.GECO(),
    ),
    "cr-vae": Variant(
        "Sinha & Dieng (2021)",
        "https://arxiv.org/abs/2105.14859",
        "codes that do not feel small shifts, turns and zooms; few pictures go further",
        "every image twice",
        objective=lambda _: objectives.Consistency(),
    ),
    "rae-l2": plain(objectives.RAEL2, "an autoencoder with small codes; new pictures from a density fitted to them", "none"),
    "rae-gp": plain(objectives.RAEGP, "the same with a smooth decoder", "a gradient by z"),
    "full-covariance": Variant(
        "Kingma & Welling (2019)",
        "https://arxiv.org/abs/1906.02691",
        "latents that vary together in q(z | x)",
        "a D x D matrix for each image",
        posterior=lambda s: FullGaussian(features=s.features, latent=s.latent),
    ),
    "iaf": Variant(
        "Kingma et al. (2016)",
        "https://arxiv.org/abs/1606.04934",
        "a posterior of any shape: a tighter bound",
        "two masked nets",
        posterior=lambda s: InverseAutoregressive(features=s.features, latent=s.latent),
    ),
    "spline-posterior": Variant(
        "Durkan et al. (2019)",
        "https://arxiv.org/abs/1906.04032",
        "the same by splines, which bend further",
        "two masked nets, and splines",
        posterior=lambda s: InverseAutoregressive(features=s.features, latent=s.latent, spline=True),
    ),
    "sphere": Variant(
        "Davidson et al. (2018)",
        "https://arxiv.org/abs/1804.00891",
        "codes on a sphere: directions, clusters without a centre",
        "a grid of 1,024 angles for each image",
        posterior=lambda s: Spherical(features=s.features, latent=s.latent),
        prior=lambda s: UniformSphere(latent=s.latents),
        latent=10,
    ),
    "categorical": Variant(
        "Jang et al. (2017)",
        "https://arxiv.org/abs/1611.01144",
        "latents that are choices, such as kinds",
        posterior=lambda s: CategoricalLatents(features=s.features, latent=s.latent),
        prior=lambda s: UniformCategories(latent=s.latents),
        latent=200,
    ),
    "vq-vae": codes(
        VectorQuantized,
        32,
        "discrete codes for a second model: sharp reconstructions",
        "van den Oord et al. (2017)",
        "https://arxiv.org/abs/1711.00937",
        cost="a distance to 512 entries at each place",
    ),
    "rvq-vae": codes(
        VectorQuantized,
        32,
        "the same with four codes a place, coarse ones first",
        "Lee et al. (2022)",
        "https://arxiv.org/abs/2203.01941",
        cost="four times a distance to 256 entries at each place",
        size=256,
        depth=4,
    ),
    "fsq": codes(
        FiniteScalar,
        4,
        "discrete codes without a codebook, all of them used",
        "Mentzer et al. (2024)",
        "https://arxiv.org/abs/2309.15505",
    ),
    "lfq": codes(
        LookupFree,
        10,
        "discrete codes of bits, for large vocabularies",
        "Yu et al. (2024)",
        "https://arxiv.org/abs/2310.05737",
        cost="the probabilities of 1,024 codes at each place",
    ),
    "mixture-prior": Variant(
        "Jiang et al. (2017)",
        "https://arxiv.org/abs/1611.05148",
        "codes that may form clusters",
        prior=lambda s: Mixture(latent=s.latents, components=20),
    ),
    "vamp-prior": Variant(
        "Tomczak & Welling (2018)",
        "https://arxiv.org/abs/1705.07120",
        "a prior where the codes are: higher probability, better samples",
        "the encoder over 500 pseudo-inputs",
        warmup=0.25,  # theirs: 100 epochs
        prior=lambda s: VampPrior(latent=s.latents, image=s.image),
    ),
    "flow-prior": Variant(
        "Chen et al. (2017)",
        "https://arxiv.org/abs/1611.02731",
        "the same by a flow of affine couplings",
        "six small nets",
        prior=lambda s: CouplingFlow(latent=s.latents),
    ),
    "spline-prior": Variant(
        "Durkan et al. (2019)",
        "https://arxiv.org/abs/1906.04032",
        "the same by spline couplings",
        "three masked nets, and splines",
        prior=lambda s: SplineFlow(latent=s.latents),
    ),
    "exemplar-prior": Variant(
        "Norouzi et al. (2020)",
        "https://arxiv.org/abs/2004.04795",
        "a prior around the codes of training images, which then come back in new pictures",
        "the encoder over 500 images",
        warmup=0.25,  # theirs: 100 epochs
        prior=lambda s: ExemplarPrior(latent=s.latents, image=s.image, components=500),
    ),
    "conditional": Variant(
        "Sohn et al. (2015), with p(z) for all c",
        "https://papers.nips.cc/paper/5775",
        "told labels or attributes, latents for all the rest: new pictures of a kind, the same picture as another kind",
        told="labels or attributes",
    ),
    "label-prior": Variant(
        "Sohn et al. (2015), with p(z | c)",
        "https://papers.nips.cc/paper/5775",
        "the same with a Gaussian of its own for each label in the latent space",
        prior=lambda s: ConditionalNormal(latent=s.latents, told=s.told),
        told="labels or attributes",
    ),
    "semi-supervised": Variant(
        "Kingma et al. (2014), M2",
        "https://arxiv.org/abs/1406.5298",
        "a classifier from few labels (--shown 1000) and many pictures without",
        "a pass for each label",
        objective=lambda s: objectives.SemiSupervised(image=s.image, labels=s.labels),
        pixels=BERNOULLI_LIKE,
        told="labels",
    ),
    "kl-autoencoder": Variant(
        "Rombach et al. (2022)",
        "https://arxiv.org/abs/2112.10752",
        "sharp pictures from small maps of latents, for a diffusion over them",
        "a critic of patches over three batches",
        objective=lambda s: objectives.KLAutoencoder(image=s.image, judge=s.judge, start=min(20_000, s.budget / 2)),
        asks=True,
        latent=4,
        spatial=8,
    ),
    "spatial": Variant(
        "Rombach et al. (2022), the first stage",
        "https://arxiv.org/abs/2112.10752",
        "latents at each of 8 x 8 places: fine reconstructions, codes that are small pictures",
        latent=4,
        spatial=8,
    ),
}
