"""What cannot be is refused in words: numbers out of their bounds, and models that an objective cannot train."""

import dataclasses
import math
import re

import pytest
import torch

import tiny
from conformance import FITTING, LABELS, OBJECTIVES, POSTERIORS, PRIORS, coded, conditional, ladder, vae, vae_gan
from test_objectives import END, F64, NOW, random_trace, standard
from vaekit.categorical import CategoricalLatents, UniformCategories
from vaekit.codebooks import LookupFree, VectorQuantized
from vaekit.distributions import Point
from vaekit.errors import UsageError
from vaekit.likelihoods import BernoulliPixels, Likelihood
from vaekit.nets.judge import Judge
from vaekit.objectives import (
    AAE,
    CIWAE,
    DIPVAE,
    ELBO,
    GECO,
    IWAE,
    MIWAE,
    RAEGP,
    RAEL2,
    VAEGAN,
    BalancedELBO,
    BetaTCVAE,
    Capacity,
    Classic,
    Consistency,
    FactorVAE,
    InfoVAE,
    KLAutoencoder,
    Objective,
    Perceptual,
    Reconstruction,
    SemiSupervised,
    Structural,
)
from vaekit.part import Part, check_bounds, kinds_of
from vaekit.planning import start
from vaekit.posteriors import Deterministic, DiagonalGaussian, Posterior
from vaekit.priors import Mixture, Prior
from vaekit.recipes import cook, going_on
from vaekit.schedules import Cyclical, Linear, Schedule
from vaekit.sphere import UniformSphere
from vaekit.state import State
from vaekit.trace import At, Group, Trace
from vaekit.training import Training

NUMBERS = [
    pytest.param(kind, field, id=f"{name}.{field.name}")
    for name, kind in sorted(Part.kinds.items())
    if issubclass(kind, Objective | Posterior | Prior | Likelihood | Schedule | Training)
    and kind.__module__.startswith("vaekit.")
    for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    if {int, float} & set(kinds_of(field.type)[0])
]


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_every_number_has_bounds_and_is_refused_beyond_them(kind, field):
    kinds, bounds = kinds_of(field.type)
    assert bounds is not None
    beyond = [math.nan, math.inf, -math.inf]
    beyond += [bounds.least if bounds.above else bounds.least - 1] if math.isfinite(bounds.least) else []
    beyond += [bounds.most if bounds.below else bounds.most + 1] if math.isfinite(bounds.most) else []
    beyond += [1.5] if float not in kinds else []
    for value in [*beyond, "many"]:
        with pytest.raises(UsageError) as refused:
            kind(**{field.name: value})
        said = str(refused.value)
        number = "a number" if float in kinds else "a whole number"
        assert said.startswith(f"{kind.__name__} {field.name} is {value}; it must be {number}")
        assert str(bounds) in said
    if field.default is not dataclasses.MISSING:
        check_bounds(kind, {field.name: field.default})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Classic(error="mae"), "'mae'; choose 'rmse' or 'mse'"),
        (lambda: Classic(r_loss_factor=0), "above 0"),
        (lambda: Classic(r_loss_factor=math.nan), "above 0"),
        (lambda: Classic(r_loss_factor=math.inf), "above 0"),
        (lambda: ELBO(per="pixel"), "per='latent' or per='group'"),
        (lambda: ELBO(free_bits=-1), "0 or more"),
        (lambda: ELBO(beta=math.nan), "ELBO beta is nan; it must be a number, 0 or more, or a Schedule"),
        (lambda: ELBO(beta="much"), "ELBO beta is much; it must be a number"),
        (lambda: ELBO(beta=Linear(images=10, start=1, end=-1)), "ELBO beta is -1; it must be a number, 0 or more"),
        (lambda: BalancedELBO(beta=Linear(images=10, end=-1)), "BalancedELBO beta is -1; it must be a number, 0 or more"),
        (lambda: Linear(images=0), "above 0"),
        (lambda: Linear(images=math.inf), "above 0"),
        (lambda: Cyclical(images=10, cycles=0), "1 or more"),
        (lambda: Cyclical(images=10, share=0), "share is 0; it must be a number, above 0 and 1 or less"),
        (lambda: CIWAE(beta=7), "CIWAE beta is 7; it must be a number, from 0 to 1"),
        (lambda: IWAE(samples=0), "IWAE samples is 0; it must be a whole number, 1 or more"),
        (lambda: IWAE(samples=2.5), "IWAE samples is 2.5; it must be a whole number"),
        (lambda: MIWAE(samples=8, groups=3), "multiple of the groups"),
        (lambda: Capacity(gamma=math.nan), "Capacity gamma is nan"),
        (lambda: BetaTCVAE(beta=math.nan), "BetaTCVAE beta is nan"),
        (lambda: DIPVAE(kind=3), "DIPVAE kind is 3; it must be a whole number, from 1 to 2"),
        (lambda: DIPVAE(off_diagonal=-5), "DIPVAE off_diagonal is -5; it must be a number, 0 or more"),
        (lambda: FactorVAE(latent=0), "FactorVAE latent is 0; it must be a whole number, 1 or more"),
        (lambda: FactorVAE(latent=2, gamma=-1), "FactorVAE gamma is -1"),
        (lambda: GECO(rmse=1.0), "GECO rmse is 1.0; it must be a number, above 0 and below 1"),
        (lambda: GECO(half_life=0), "GECO half_life is 0; it must be a number, above 0"),
        (lambda: GECO(speed=-1), "GECO speed is -1"),
        (lambda: InfoVAE(alpha=-math.inf), "InfoVAE alpha is -inf; it must be a number, 1 or less"),
        (lambda: RAEL2(beta=-1), "RAEL2 beta is -1"),
        (lambda: Structural(weight=math.nan), "Structural weight is nan"),
        (lambda: KLAutoencoder(image=(1, 8, 8), weight=-1), "KLAutoencoder weight is -1"),
        (lambda: SemiSupervised(image=(1, 8, 8), labels=0), "SemiSupervised labels is 0"),
        (lambda: VectorQuantized(features=2, latent=2, commitment=-1), "VectorQuantized commitment is -1"),
        (lambda: VectorQuantized(features=2, latent=2, half_life=0), "VectorQuantized half_life is 0"),
        (lambda: LookupFree(features=2, latent=2, sharpness=-1), "LookupFree sharpness is -1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize("objective", [ELBO(), Classic(), ELBO(free_bits=0.1), ELBO(free_bits=0.1, per="group")])
def test_a_plain_autoencoder_has_no_rate(objective):
    model = tiny.model(posterior=Deterministic(features=16, latent=3), prior=None)
    with pytest.raises(UsageError, match="no prior, so it has no rate"):
        objective(model(torch.rand(2, 1, 8, 8)), END)


@pytest.mark.parametrize("objective", [RAEL2(), RAEGP(), Consistency()])
def test_a_hierarchy_is_refused_by_what_is_of_one_group(objective):
    model, _ = ladder()()
    with pytest.raises(UsageError, match="for models with one group of latents; this one has 2"):
        objective(objective.look(model, torch.rand(2, 1, 8, 8)), END)


@pytest.mark.parametrize(
    "make",
    [
        vae(posterior="full"),
        vae(posterior="iaf"),
        vae(posterior="sphere", prior="sphere"),
        vae(posterior="point"),
        coded("vector-quantized"),
    ],
)
def test_consistency_needs_a_closed_kl_between_posteriors(make):
    (model, _), objective = make(), Consistency()
    with pytest.raises(
        UsageError, match=r"(closed KL of two posteriors; \w+ has none|have no KL to a density).*DiagonalGaussian"
    ):
        objective(objective.look(model, torch.rand(2, 1, 8, 8)), END)


def test_consistency_takes_categories():
    (model, _), objective = vae("bernoulli", posterior="categorical", prior="categories")(), Consistency()
    assert (objective(objective.look(model, torch.rand(2, 1, 8, 8)), END)["consistency"] >= 0).all()


IMPORTANCE = [name for name, make in OBJECTIVES.items() if make().samples > 1]


@pytest.mark.parametrize("name", IMPORTANCE)
def test_importance_weights_refuse_the_sigma_that_is_best_for_equal_ones(name):
    model, objective = vae("optimal-gaussian", name)()
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(UsageError, match=r"4 samples differ.*--likelihood learned-gaussian"):
        objective(objective.look(model, x), END)
    objective(objective.look(model.eval(), x), END)  # a sigma that is kept, whoever found it, weighs any samples
    one = IWAE(samples=1)
    torch.testing.assert_close(one(one.look(model.train(), x), END)["iwae"].isfinite(), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("name", ["iwae", "miwae", "ciwae", "piwae", "dreg"])
def test_recipes_of_importance_weights_refuse_it_too(name):
    with pytest.raises(UsageError, match="8 samples differ"):
        cook(name, (1, 8, 8), {"likelihood": "gaussian"})
    with pytest.raises(UsageError, match="8 samples differ"):
        going_on(name, cook("vae", (1, 8, 8), {}).model, {})
    cook("sticking-the-landing", (1, 8, 8), {"likelihood": "gaussian"})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vae", {"latent": "ten"}, "latent is ten; it must be a whole number, 1 or more"),
        ("vae", {"latent": 2.5}, "latent is 2.5; it must be a whole number"),
        ("vq-vae", {"spatial": -1}, "spatial is -1; it must be a whole number, 0 or more"),
        ("vae", {"beta": math.nan}, "beta is nan; it must be a number, 0 or more"),
        ("vae", {"sigma": 0}, "sigma is 0; it must be a number, above 0"),
        ("book", {"r_loss_factor": "10,000"}, "r_loss_factor is 10,000; it must be a number, above 0"),
        ("nvae", {"beta_images": None}, "beta_images is None; it must be a number, above 0"),
        ("ladder", {"batch_size": "many"}, "batch_size is many; it must be a whole number, 0 or more"),
        ("ladder", {"latent": 4}, "Recipe 'ladder' has no option 'latent'"),
    ],
)
def test_recipes_refuse_options_that_cannot_be(name, options, words):
    with pytest.raises(UsageError, match=words):
        cook(name, (1, 8, 8), options)


def test_free_bits_per_latent_need_gaussians():
    x = torch.rand(2, 1, 2, 2, dtype=F64)
    point = Point(torch.zeros(2, 3, dtype=F64))
    t = Trace(x, (Group(point, standard(3), point.rsample((1,)), torch.zeros(1, 2)),), random_trace(batch=2).px)
    with pytest.raises(UsageError, match="Point and Gaussian"):
        ELBO(free_bits=0.1)(t, NOW)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_posterior_and_prior_lie_in_one_space(posterior, prior):
    make = vae("bernoulli", posterior=posterior, prior=prior)
    if prior in ("none", *FITTING[posterior]):
        model, _ = make()
        t = model(torch.rand(2, 1, 8, 8))
        assert prior == "none" or torch.isfinite(t.group.log_p).all()
        return
    with pytest.raises(UsageError) as refused:
        make()
    kind = getattr(POSTERIORS[posterior], "func", POSTERIORS[posterior])
    names = [kind.__name__, *(type(PRIORS[its]((1, 8, 8), 3)).__name__ for its in (prior, FITTING[posterior][0]))]
    words = r"The codes of {} are (.*), those of {} .*: a density of one says .* Give a prior of \1, such as {}."
    assert re.fullmatch(words.format(*names), str(refused.value))


@pytest.mark.parametrize("prior", [UniformSphere(latent=6), UniformCategories(latent=6, categories=3)])
def test_no_probability_of_black_and_white_pictures_is_above_1(prior):
    """Nor a bound on it: by a density on a sphere, or the probability of choices, numbers were good for any nats."""
    with pytest.raises(UsageError, match=r"are any numbers, .* such as StandardNormal"):
        tiny.model(posterior=DiagonalGaussian(features=16, latent=6), latent=6, likelihood=BernoulliPixels(), prior=prior)


def test_choices_are_among_as_many_categories_in_the_prior():
    posterior, prior = CategoricalLatents(features=16, latent=6, categories=3), UniformCategories(latent=6, categories=2)
    with pytest.raises(UsageError, match=r"The posterior has categories=3 and the prior categories=2. Give both the same"):
        tiny.model(latent=6, posterior=posterior, prior=prior)


TRAINED = {name: conditional(LABELS, prior="label", objective=name) for name in OBJECTIVES}
TRAINED |= {
    name: lambda objective=objective: (TRAINED["elbo"]()[0], objective)
    for name, objective in {
        "info-vae by default": InfoVAE(),
        "elbo of no rate": ELBO(beta=0),
        "elbo that comes to no rate": ELBO(beta=Linear(images=100, start=1, end=0)),
        "elbo that never has one": ELBO(beta=Linear(images=100, end=0)),
        "capacity of no weight": Capacity(gamma=0),
        "kl-autoencoder": KLAutoencoder(image=(1, 8, 8)),
        "kl-autoencoder of no rate": KLAutoencoder(image=(1, 8, 8), weight=0),
        "vae-gan": vae_gan()()[1],
        "semi-supervised": SemiSupervised(image=(1, 8, 8), labels=2),
    }.items()
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_learned_prior_is_trained_or_refused(name):
    torch.manual_seed(0)
    model, objective = TRAINED[name]()
    with torch.no_grad():
        model.posterior.head.bias += 5  # above all that is free
    x, c = torch.rand(4, 1, 8, 8), torch.eye(2).repeat(2, 1)
    torch.stack([term.mean() for term in objective(objective.look(model, x, c), At(8)).values()]).sum().backward()
    trained = all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.prior.parameters())
    assert trained == objective.trains_prior
    model.zero_grad()
    if trained:
        State.start(model, objective, tiny.training(images=8), tiny.CPU)
        return
    with pytest.raises(UsageError, match=rf"^{type(objective).__name__} .* ConditionalNormal learns.* freeze the prior"):
        State.start(model, objective, tiny.training(images=8), tiny.CPU)
    State.start(model, objective, tiny.training(images=8, freeze=("prior",)), tiny.CPU)


@pytest.mark.parametrize("name", PRIORS)
def test_any_prior_with_weights_is_refused_by_what_trains_none(name):
    posterior = next(posterior for posterior, fitting in FITTING.items() if posterior != "point" and name in ("none", *fitting))
    model, _ = vae("bernoulli", posterior=posterior, prior=name)()
    if model.prior is None or not list(model.prior.parameters()):
        State.start(model, Reconstruction(), tiny.training(images=8), tiny.CPU)
        return
    with pytest.raises(UsageError, match=f"Reconstruction .* {type(model.prior).__name__} learns"):
        State.start(model, Reconstruction(), tiny.training(images=8), tiny.CPU)


def test_a_ladder_is_refused_by_what_trains_no_prior():
    with pytest.raises(UsageError, match=r"Reconstruction .* Ladder learns"):
        State.start(ladder()()[0], Reconstruction(), tiny.training(images=8), tiny.CPU)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FactorVAE(latent=5), "FactorVAE has latent=5, and the model latent=3"),
        (lambda: AAE(latent=2), "AAE has latent=2"),
        (lambda: VAEGAN(image=(1, 16, 16)), r"VAEGAN has image=\(1, 16, 16\), and the model image=\(1, 8, 8\)"),
        (lambda: KLAutoencoder(image=(1, 32, 32)), "KLAutoencoder has image="),
        (lambda: SemiSupervised(image=(3, 8, 8), labels=2), "SemiSupervised has image="),
        (lambda: Perceptual(judge=Judge(image=(1, 16, 16))), "The Judge of Perceptual has image="),
    ],
)
def test_an_objective_of_other_images_or_latents_is_refused(make, words):
    with pytest.raises(UsageError, match=rf"^{words}.* Give both the same (image|latent)\.$"):
        State.start(tiny.model(), make(), tiny.training(images=8), tiny.CPU)


def test_a_prior_that_nothing_trains_is_refused_before_there_is_a_run(tmp_path):
    recipe = tiny.recipe(InfoVAE(), lambda: tiny.model(prior=Mixture(latent=3)), images=80)
    with pytest.raises(UsageError, match=r"InfoVAE .* Mixture learns"):
        start(tmp_path / "run", tiny.dataset(), recipe)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_points_are_refused_by_whatever_asks_for_their_density(name):
    model, objective = vae("bernoulli", name, posterior="point")()
    x = torch.rand(2, 1, 8, 8)
    if not objective.trains_prior:
        assert all(torch.isfinite(term).all() for term in objective(objective.look(model, x), END).values())
        return
    with pytest.raises(UsageError, match=r"[Pp]oint.*DiagonalGaussian|Point and Gaussian"):
        objective(objective.look(model, x), END)
