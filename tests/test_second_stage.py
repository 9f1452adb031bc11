"""Densities fitted to codes: what they say is a density, and they are ranked by codes that they never saw."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch.distributions import Independent, Normal

import tiny
from conformance import VARIANTS
from vaekit.categorical import CategoricalLatents, UniformCategories
from vaekit.code_priors import CodeExemplars, FlowMatching, FullMixture, SecondVAE, Standardized
from vaekit.code_transformer import CodeTransformer
from vaekit.errors import UsageError
from vaekit.latent.encode import code_numbers
from vaekit.latent.second_stage import KINDS, draw_codes, fit_prior, fit_priors, kinds_for
from vaekit.part import build, describe
from vaekit.priors import Mixture, StandardNormal

rng = np.random.default_rng(0)


def rings(count: int) -> np.ndarray:
    """Codes that no Gaussian describes."""
    angle = rng.uniform(0, 2 * math.pi, count)
    radius = rng.choice([1.0, 3.0], count) + 0.1 * rng.standard_normal(count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)


def test_a_mixture_is_scikit_learns():
    codes = rings(500)
    part = FullMixture(latent=2, components=4)
    part.fit(torch.from_numpy(codes), seed=0)
    oracle = GaussianMixture(4, reg_covar=1e-5, random_state=0, max_iter=200).fit(codes.astype(np.float64))
    found = part().log_prob(torch.from_numpy(codes))
    np.testing.assert_allclose(found, oracle.score_samples(codes), atol=1e-3)


def test_fewer_codes_than_components_do():
    part = FullMixture(latent=2, components=10)
    part.fit(torch.from_numpy(rings(3)), seed=0)
    assert torch.isfinite(part().log_prob(torch.zeros(1, 2))).all()
    assert part().sample((5,)).shape == (5, 2)


def test_standardised_it_is_the_same_density_elsewhere():
    part = Standardized(latent=2, inner=StandardNormal(latent=2))
    codes = torch.randn(2000, 2) * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0])
    part.measure(codes)
    expected = Independent(Normal(codes.mean(0), codes.std(0)), 1)
    torch.testing.assert_close(part().log_prob(codes), expected.log_prob(codes))
    torch.testing.assert_close(part.loss(codes), -expected.log_prob(codes).mean())
    np.testing.assert_allclose(part().sample((20_000,)).std(0), [3.0, 0.2], rtol=0.1)


@pytest.mark.parametrize(
    "prior",
    [SecondVAE(latent=2, width=16, depth=1), FlowMatching(latent=2, width=16, depth=1, steps=32, probes=64)],
    ids=lambda prior: type(prior).__name__,
)
def test_the_density_integrates_to_one(prior):
    """A bound by importance samples does so in the mean over its draws."""
    torch.manual_seed(0)
    if isinstance(prior, SecondVAE):
        torch.nn.init.constant_(prior.log_var, -1.0)  # wide enough for the grid
    steps = torch.linspace(-7, 7, 81)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    total = prior().log_prob(grid).exp().sum().item() * (14 / 80) ** 2
    assert total == pytest.approx(1, abs=0.05)


def test_around_codes_lies_a_mixture_of_gaussians_as_wide_as_other_codes_say():
    codes = torch.from_numpy(rings(1000)) * torch.tensor([1.0, 10.0])
    part = CodeExemplars(latent=2, components=200)
    part.fit(codes, seed=0)
    at = codes[:50] + 0.1
    widths = (part.log_var / 2).exp()
    each = Independent(Normal(part.centres, widths.expand(200, 2)), 1).log_prob(at[:, None])
    torch.testing.assert_close(part().log_prob(at), each.logsumexp(1) - math.log(200))
    held = torch.from_numpy(rings(2000)) * torch.tensor([1.0, 10.0])
    found = part.nats(held).mean()
    for wrong in (0.3, 3.0):
        part.log_var.copy_((widths * wrong).square().log())
        assert part.nats(held).mean() > found + 0.1
    assert widths[1] > 3 * widths[0]


def test_the_flow_goes_back_the_way_it_came():
    torch.manual_seed(0)
    prior = FlowMatching(latent=3, width=16, depth=1, steps=32).double()
    noise = torch.randn(5, 3, dtype=torch.float64)
    carried = prior().carry(noise)
    jacobians = [torch.autograd.functional.jacobian(lambda at: prior().carry(at[None])[0], row) for row in noise]
    log_det = torch.stack([torch.linalg.slogdet(j)[1] for j in jacobians])
    expected = Independent(Normal(torch.zeros(3, dtype=torch.float64), 1.0), 1).log_prob(noise) - log_det
    many = prior().log_prob(carried.repeat(200, 1)).unflatten(0, (200, 5)).mean(0)
    torch.testing.assert_close(many, expected, atol=0.02, rtol=0.01)


def test_those_that_can_bend_say_more_of_rings_than_a_gaussian():
    ranked = fit_priors(rings(4000), rings(1000), ["gaussian", "mixture", "flow", "spline"], steps=200)
    assert [fitted.nats for fitted in ranked] == sorted(fitted.nats for fitted in ranked)
    assert ranked[-1].name == "gaussian"
    for fitted in ranked[:-1]:
        assert fitted.nats < ranked[-1].nats - 0.1, fitted.name
    best = ranked[0].prior().sample((500,)).norm(dim=1).numpy()
    assert (np.abs(best[:, None] - [1.0, 3.0]).min(1) < 0.5).mean() > 0.8


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_fits_and_is_built_again(name):
    (fitted,) = fit_priors(rings(200), rings(50), [name], steps=4)
    assert math.isfinite(fitted.nats)
    again = build(describe(fitted.prior))
    again.load_state_dict(fitted.prior.state_dict())
    assert again(None).sample((3,)).shape == (3, 2)


def test_each_code_is_judged_by_those_before_it_alone():
    torch.manual_seed(0)
    prior = CodeTransformer(latent=12, levels=(3, 5), places=4, width=16, depth=2, heads=2).double()
    codes = torch.stack([torch.randint(size, (6,)) for size in (3, 5) * 4], 1)
    before = prior.log_p(codes)
    assert before.shape == (6, 8)
    for place in range(8):
        other = codes.clone()
        other[:, place:] = (other[:, place:] + 1) % 3
        after = prior.log_p(other)
        torch.testing.assert_close(after[:, :place], before[:, :place])
        assert (after[:, place] != before[:, place]).all()
    torch.testing.assert_close(prior.nats(codes), -before.sum(1))


def test_codes_are_drawn_as_often_as_they_are_probable():
    torch.manual_seed(0)
    prior = CodeTransformer(latent=3, levels=(2,), places=3, width=8, depth=2, heads=2)
    for p in prior.parameters():  # far from even
        p.data += torch.randn_like(p)
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)
    expected = (-prior.nats(every)).exp()
    torch.testing.assert_close(expected.sum(), torch.tensor(1.0))
    drawn = (prior.drawn(40_000) * torch.tensor([4, 2, 1])).sum(1)
    np.testing.assert_allclose(np.bincount(drawn, minlength=8) / 40_000, expected.detach(), atol=0.01)


def test_codes_that_follow_each_other_are_learned():
    torch.manual_seed(0)
    model, _ = VARIANTS["finite-scalar"]()
    levels, places = tuple(model.posterior.levels), model.places
    start = rng.integers(0, 3, (600, 1))
    sequences = np.tile(start, (1, places * len(levels)))  # one of three sequences: log 3 nats
    (fitted,) = fit_priors(sequences[:500], sequences[500:], kinds=kinds_for(model), steps=60)
    assert fitted.name == "transformer"
    assert fitted.nats == pytest.approx(math.log(3), abs=0.1)
    z = draw_codes(fitted.prior, model, 20)
    expected = {tuple(model.posterior.entries(torch.full((places, len(levels)), i)).flatten().tolist()) for i in range(3)}
    assert sum(tuple(row) in expected for row in z.tolist()) >= 18
    with pytest.raises(UsageError, match="no such codes"):
        fitted.prior(VARIANTS["lookup-free"]()[0])
    with pytest.raises(UsageError, match="'gaussian' for these codes"):
        fit_priors(sequences, sequences, ["gaussian"], kinds=kinds_for(model))


def test_choices_among_categories_that_go_together_are_learned():
    """Their own prior draws each variable by itself."""
    torch.manual_seed(0)
    posterior = CategoricalLatents(features=16, latent=12, categories=3)
    model = tiny.model(latent=12, posterior=posterior, prior=UniformCategories(latent=12, categories=3))
    start = rng.integers(0, 3, (600, 1))
    (fitted,) = fit_priors(
        np.tile(start, (1, 4))[:500], np.tile(start, (1, 4))[500:], kinds=kinds_for(model), model=model, steps=60
    )
    assert fitted.nats == pytest.approx(math.log(3), abs=0.1)
    z = draw_codes(fitted.prior, model, 20).reshape(20, 4, 3)
    assert np.array_equal(np.unique(z), [0, 1])
    assert (z.sum(2) == 1).all()
    assert (z == z[:, :1]).all((1, 2)).sum() >= 18


def test_categories_are_fitted_as_they_are_drawn():
    """Of a posterior that is not sure its draws, not its likeliest choices."""
    torch.manual_seed(0)
    posterior = CategoricalLatents(features=16, latent=6, categories=3)
    with torch.no_grad():
        posterior.head.weight.zero_()
        posterior.head.bias.copy_(torch.tensor([0.5, 0.3, 0.2, 0.1, 0.8, 0.1]).log())
    model = tiny.model(latent=6, posterior=posterior, prior=UniformCategories(latent=6, categories=3))
    numbers = code_numbers(model, tiny.pictures(4000), np.arange(4000), seed=1)
    for column, shares in zip(numbers.T, ([0.5, 0.3, 0.2], [0.1, 0.8, 0.1]), strict=True):
        np.testing.assert_allclose(np.bincount(column, minlength=3) / 4000, shares, atol=0.03)
    fitted = fit_prior(model, "transformer", tiny.pictures(200), steps=2)
    assert draw_codes(fitted.prior, model, 3).shape == (3, 6)
    with pytest.raises(UsageError, match=r"choices among categories\); for this model give one over 6 \(entries of a codebook"):
        fit_prior(model, UniformCategories(latent=6, categories=3), tiny.pictures(20))


def test_a_vamp_prior_of_a_trained_encoder_is_fitted_where_it_is_named():
    model = tiny.model().eval().requires_grad_(False)
    pictures = tiny.pictures(20)
    with torch.no_grad():
        q = model.encode(torch.from_numpy(tiny.pictures(1200, seed=1)) / 255)
        codes = q.rsample((1,))[0]
    kinds = kinds_for(model, pictures=pictures)
    about = {"kinds": kinds, "model": model, "steps": 150}
    assert {its.name for its in fit_priors(codes.numpy(), codes.numpy(), **about | {"steps": 1})} == set(KINDS)
    (fitted,) = fit_priors(codes[:800].numpy(), codes[800:].numpy(), ["vamp"], **about)
    u = fitted.prior.inputs.sigmoid()
    each = model.encode(u).log_prob(codes[801::2, None])
    assert fitted.nats == pytest.approx(-(each.logsumexp(1) - math.log(20)).mean().item(), abs=1e-3)
    first = kinds["vamp"](model.latent)
    torch.testing.assert_close(first.inputs.sigmoid(), torch.from_numpy(pictures) / 255, atol=0.011, rtol=0)
    assert fitted.nats < first.nats(codes[801::2], model).mean()
    assert draw_codes(fitted.prior, model, 5).shape == (5, model.latent)


def test_the_same_seed_fits_the_same_density():
    train, held = rings(300), rings(50)
    first, again = (fit_priors(train, held, ["flow"], steps=5, seed=3)[0].nats for _ in range(2))
    assert first == again
    assert first != fit_priors(train, held, ["flow"], steps=5, seed=4)[0].nats


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(UsageError, match="Did you mean 'mixture'"):
        fit_priors(rings(5), rings(5), ["mixtures"])
    with pytest.raises(UsageError, match="it needs 2 of both"):
        fit_priors(rings(5), rings(1))


def test_codes_of_one_label_can_be_drawn():
    """Two heaps with names: each is drawn by its own, and together they are the mixture."""
    labels = rng.integers(0, 2, 3000)
    codes = (rng.standard_normal((3000, 2)) * np.where(labels, 0.3, 1.0)[:, None] + 6.0 * labels[:, None]).astype(np.float32)
    model = tiny.model().eval()
    kinds = kinds_for(model, ["a", "b", "never"])
    (fitted,) = fit_priors(codes, codes, ["labels"], kinds=kinds, labels=labels)
    for label, middle, spread in (("a", 0.0, 1.0), ("b", 6.0, 0.3)):
        drawn = draw_codes(fitted.prior, model, 2000, given=[f"label={label}"])
        np.testing.assert_allclose(drawn.mean(0), middle, atol=0.1)
        np.testing.assert_allclose(drawn.std(0), spread, rtol=0.1)
    both = draw_codes(fitted.prior, model, 4000)
    assert (both[:, 0] > 3).mean() == pytest.approx(labels.mean(), abs=0.03)
    assert fitted.nats < fit_priors(codes, codes, ["gaussian"])[0].nats
    for given, told in ((["label=never"], "No codes of a label"), (["Smiling=1"], "one label"), (["label=c"], "No codes")):
        with pytest.raises(UsageError, match=told):
            draw_codes(fitted.prior, model, 5, given=given)
    with pytest.raises(UsageError, match="--prior labels"):
        draw_codes(fit_priors(codes, codes, ["gaussian"])[0].prior, model, 5, given=["label=a"])
    again = build(describe(fitted.prior))
    again.load_state_dict(fitted.prior.state_dict())
    found, expected = (draw_codes(its, model, 5, given=["label=b"]) for its in (again, fitted.prior))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", [*KINDS, "labels", "vamp"])
def test_every_kind_is_fitted_to_a_models_codes_of_images(name):
    model, labels = tiny.model().eval(), ["even", "odd"] * 30
    fitted = fit_prior(model, name, tiny.pictures(60), labels=labels, steps=4)
    assert fitted.name == name
    assert math.isfinite(fitted.nats)
    assert draw_codes(fitted.prior, model, 5).shape == (5, model.latent)


def test_one_fit_is_judged_by_images_that_it_never_saw():
    heard: dict[str, set] = {"loss": set(), "nats": set()}

    class Hearing(StandardNormal):
        def __post_init__(self):
            super().__post_init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def loss(self, codes, model=None):
            if torch.is_grad_enabled():
                heard["loss"].update(map(tuple, codes.tolist()))
            return super().loss(codes, model) + self.weight

        def nats(self, codes, model=None):
            heard["nats"] = set(map(tuple, codes.tolist()))  # the last ones that were asked about
            return super().nats(codes, model)

    model = tiny.model().eval()
    fit_prior(model, Hearing(latent=model.latent), tiny.pictures(100), steps=3)
    assert len(heard["loss"]) == 90
    assert len(heard["nats"]) == 5  # the other half of those held out says when to stop
    assert not heard["loss"] & heard["nats"]


def test_a_prior_of_ones_own_is_fitted_in_place():
    torch.manual_seed(0)
    model, prior = tiny.model().eval(), Mixture(latent=tiny.model().latent, components=3)
    before = prior.means.clone()
    fitted = fit_prior(model, prior, tiny.pictures(60), steps=20)
    assert fitted.prior is prior
    assert not prior.means.equal(before)
    assert all(weight.grad is None for weight in model.parameters())
    plain = fit_prior(model, StandardNormal(latent=model.latent), tiny.pictures(60))  # there is nothing to fit
    assert math.isfinite(plain.nats)
    vamp = fit_prior(model, "vamp", tiny.pictures(60), steps=2)
    assert math.isfinite(vamp.nats)
    assert all(weight.grad is None for weight in model.parameters())
    told = (
        (Mixture(latent=99), 60, "density over 99 latents"),
        ("flows", 60, "Did you mean 'flow'"),
        ("flow", 3, "give 4 at least"),
    )
    for asked, count, words in told:
        with pytest.raises(UsageError, match=words):
            fit_prior(model, asked, tiny.pictures(count))
    for labels, words in (
        (["a"] * 59, "59 labels were given for 60"),
        (list(map(str, range(60))), "two codes or more"),
        (None, "label"),
    ):
        with pytest.raises(UsageError, match=words):
            fit_prior(model, "labels", tiny.pictures(60), labels=labels)
    quantized, _ = VARIANTS["vector-quantized"]()
    with pytest.raises(UsageError, match=r"any numbers\); for this model give one over .*entries of a codebook"):
        fit_prior(quantized, Mixture(latent=quantized.latent), tiny.pictures(60))


def test_kinds_are_for_as_many_latents_as_they_bear():
    assert {"flow", "spline"}.isdisjoint(kinds_for(tiny.model(latent=1)))
    one = tiny.model(latent=1).eval()
    for name in kinds_for(one):
        assert math.isfinite(fit_prior(one, name, tiny.pictures(60), steps=2).nats)
    assert kinds_for(tiny.model(latent=600)).keys() & {"gaussian", "mixture", "spline", "diagonal"} == {"diagonal"}
