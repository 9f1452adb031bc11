"""The losses say what their papers say, term by term."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Laplace

import tiny
from conformance import needs
from vaekit.adjusting import adjusted
from vaekit.distributions import Gaussian
from vaekit.errors import UsageError
from vaekit.likelihoods import BernoulliPixels, FixedGaussian, LaplacePixels, LearnedGaussian, OptimalGaussian
from vaekit.objectives import ELBO, BalancedELBO, Classic, Reconstruction
from vaekit.objectives.classic import r_loss_factor_of, sigma_of
from vaekit.recipes import RECIPES, cook, weigh
from vaekit.schedules import Cosine, Cyclical, Linear, at
from vaekit.terms import rate, rate_above
from vaekit.trace import At, Group, Trace

F64 = torch.float64
NOW, END = At(0), At(math.inf)


def standard(latent: int) -> Gaussian:
    return Gaussian(torch.zeros(latent, dtype=F64), torch.zeros(latent, dtype=F64))


def group(mu: torch.Tensor, log_var: torch.Tensor) -> Group:
    q = Gaussian(mu, log_var)
    z = q.rsample((1,))
    return Group(q, standard(mu.shape[-1]), z, q.log_prob(z))


def random_trace(seed: int = 0, batch: int = 5, latents: tuple[int, ...] = (3, 2), leaf: bool = False) -> Trace:
    """Random codes and pictures; two groups of latents."""
    torch.manual_seed(seed)
    parts = [torch.randn(2, batch, latent, dtype=F64).requires_grad_(leaf) for latent in latents]
    x = torch.rand(batch, 1, 2, 2, dtype=F64)
    return Trace(x, tuple(group(*part) for part in parts), FixedGaussian(scale=0.3)(torch.randn(1, batch, 1, 2, 2, dtype=F64)))


# The classic losses


@pytest.mark.parametrize("image", [(1, 8, 8), (3, 5, 4)])
def test_classic_with_mse_is_the_elbo_with_the_implied_sigma(image):
    torch.manual_seed(0)
    factor, values = 700.0, math.prod(image)
    sigma = sigma_of(factor, values)
    model = tiny.model(image, likelihood=FixedGaussian(scale=sigma)).double()
    x = torch.rand(6, *image, dtype=F64)
    gradients, totals = [], []
    for objective in (Classic(r_loss_factor=factor, error="mse"), ELBO()):
        torch.manual_seed(1)
        total = sum(objective(model(x), NOW).values())
        model.zero_grad()
        total.sum().backward()
        totals.append(total.detach())
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    constant = -0.5 * values * math.log(2 * math.pi * sigma**2)
    torch.testing.assert_close(totals[0] - totals[1], torch.full((6,), constant, dtype=F64))
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


@pytest.mark.parametrize("error", ["mse", "rmse"])
def test_classic_is_the_books_formula(error):
    torch.manual_seed(0)
    model = tiny.model().double()
    x = torch.rand(4, 1, 8, 8, dtype=F64)
    t = model(x)
    terms = Classic(r_loss_factor=1000, error=error)(t, NOW)
    mu, log_var = t.groups[0].q.loc, t.groups[0].q.log_var
    r = (x - t.px.mean[0]).square().mean((1, 2, 3))
    torch.testing.assert_close(terms["r_loss"], 1000 * (r if error == "mse" else r.sqrt()))
    torch.testing.assert_close(terms["kl"], -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(1))


def test_the_rmse_of_a_perfect_picture_has_a_finite_gradient():
    x = torch.full((2, 1, 2, 2), 0.5, dtype=F64)
    out = torch.zeros(1, 2, 1, 2, 2, dtype=F64, requires_grad=True)
    t = Trace(x, (group(torch.zeros(2, 1, dtype=F64), torch.zeros(2, 1, dtype=F64)),), FixedGaussian()(out))
    Classic(error="rmse")(t, NOW)["r_loss"].sum().backward()
    assert torch.isfinite(out.grad).all()


@pytest.mark.parametrize(("factor", "values", "sigma"), [(10_000, 128 * 128 * 3, 1.57), (1000, 28 * 28, 0.63)])
def test_the_hidden_sigma_of_a_well_known_weight(factor, values, sigma):
    assert round(sigma_of(factor, values), 2) == sigma


def test_a_sum_of_squares_alone_hides_a_sigma_of_its_own():
    assert sigma_of(0.00025 * 784 * 784, 784) == pytest.approx(math.sqrt(1 / (2 * 0.00025 * 784)))
    assert FixedGaussian(scale=sigma_of(784, 784)).sigma == pytest.approx(1 / math.sqrt(2))  # factor D: the plain sum


@given(st.floats(1e-3, 1e3), st.integers(1, 10**7))
def test_sigma_and_r_loss_factor_are_inverses(sigma, values):
    assert sigma_of(r_loss_factor_of(sigma, values), values) == pytest.approx(sigma)


# The ELBO


def test_the_elbo_is_distortion_plus_weighted_rate():
    t = random_trace()
    one, four = ELBO()(t, NOW), ELBO(beta=4.0)(t, NOW)
    torch.testing.assert_close(one["distortion"], -t.log_px[0])
    torch.testing.assert_close(one["rate"], t.groups[0].kl + t.groups[1].kl)
    torch.testing.assert_close(four["rate"], 4 * one["rate"])
    torch.testing.assert_close(Reconstruction()(t, NOW)["distortion"], one["distortion"])


@pytest.mark.parametrize("k", [1, 4])
def test_the_distortion_is_the_mean_over_samples(k):
    torch.manual_seed(0)
    model = tiny.model()
    t = model(torch.rand(3, 1, 8, 8), k)
    torch.testing.assert_close(ELBO()(t, NOW)["distortion"], -t.log_px.mean(0))


def test_a_scheduled_beta_weighs_the_rate_and_nothing_else():
    t, objective = random_trace(), ELBO(beta=Linear(images=100, start=0.0, end=2.0))
    full = rate(t)
    for images, beta in ((0, 0.0), (25, 0.5), (100, 2.0), (1e9, 2.0), (math.inf, 2.0)):
        terms = objective(t, At(images))
        torch.testing.assert_close(terms["rate"], beta * full)
        torch.testing.assert_close(terms["distortion"], -t.log_px[0])


def test_the_rate_falls_back_to_samples_where_no_closed_form_is_known():
    torch.manual_seed(0)
    q, p = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3)), Independent(Laplace(torch.zeros(3), torch.ones(3)), 1)
    z = q.rsample((7,))
    found = Group(q, p, z, q.log_prob(z))
    torch.testing.assert_close(found.kl, (q.log_prob(z) - p.log_prob(z)).mean(0))
    with pytest.raises(UsageError, match="diagonal Gaussian posterior and prior"):
        found.kl_per_latent()


# Balanced groups


def test_groups_are_balanced_by_what_a_latent_of_them_carries_until_beta_has_risen():
    """Vahdat & Kautz (2020), appendix A: gamma_l is proportional to KL_l / D_l and 1 on average; then the ELBO."""
    t, objective = random_trace(latents=(3, 2, 8)), BalancedELBO(beta=Linear(images=100, end=0.5))
    each = [(g.kl.mean() + 0.01) / g.z.shape[-1] for g in t.groups]
    gammas = [3 * one / sum(each) for one in each]
    torch.testing.assert_close(
        objective(t, At(50))["rate"], 0.25 * sum(gamma * g.kl for gamma, g in zip(gammas, t.groups, strict=True))
    )
    for images in (100, 1e9, math.inf):
        torch.testing.assert_close(objective(t, At(images)), ELBO(beta=0.5)(t, NOW))
    alone = random_trace(latents=(3,))
    torch.testing.assert_close(objective(alone, At(50)), ELBO(beta=0.25)(alone, NOW))


def test_balancing_weighs_a_group_and_sends_no_gradient_through_its_weight():
    t = random_trace(latents=(3, 2), leaf=True)
    means = [g.q.mean for g in t.groups]
    gradients = torch.autograd.grad(BalancedELBO(beta=Linear(images=100))(t, At(50))["rate"].sum(), means, retain_graph=True)
    plain = torch.autograd.grad(rate(t).sum(), means)
    shares = [(found / own).mean() for found, own in zip(gradients, plain, strict=True)]
    for found, own, its in zip(gradients, plain, shares, strict=True):
        torch.testing.assert_close(found, its * own)
    torch.testing.assert_close(sum(shares), torch.tensor(0.5 * 2, dtype=F64))


def test_a_beta_that_does_not_rise_balances_nothing():
    with pytest.raises(UsageError, match="give a schedule"):
        BalancedELBO(beta=1.0)


# Free bits


@given(st.floats(0, 3), st.integers(0, 20))
def test_free_bits_only_ever_raise_the_rate(free, seed):
    t = random_trace(seed)
    mean = rate(t).mean().item()
    per_latent, per_group = (rate_above(t, free, per) for per in ("latent", "group"))
    for raised, units in ((per_latent, 5), (per_group, 2)):
        assert raised.shape == (5,)
        assert raised[0].item() >= max(mean, units * free) - 1e-9
        assert raised[0].item() <= mean + units * free + 1e-9
    for per in ("latent", "group"):
        torch.testing.assert_close(rate_above(t, 0.0, per)[0].item(), mean)
        assert rate_above(t, free + 0.1, per)[0] >= rate_above(t, free, per)[0]


@pytest.mark.parametrize("per", ["latent", "group"])
def test_what_is_below_its_free_bits_gets_no_gradient(per):
    near, far = torch.tensor([[0.1, 0.0]] * 4, dtype=F64), torch.tensor([[3.0, 0.1]] * 4, dtype=F64)
    mus = [near.requires_grad_(), far.requires_grad_()]
    t = Trace(
        torch.rand(4, 1, 2, 2, dtype=F64), tuple(group(mu, torch.zeros(4, 2, dtype=F64)) for mu in mus), random_trace(batch=4).px
    )
    rate_above(t, 0.5, per).mean().backward()
    assert not mus[0].grad.any()
    assert mus[1].grad[:, 0].all()
    assert mus[1].grad[:, 1].any() == (per == "group")  # the whole group is above, that one latent alone is not


# Schedules


@pytest.mark.parametrize("make", [Linear, Cosine, Cyclical])
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (3.0, 0.5)])
def test_a_schedule_starts_at_its_start_and_stays_at_its_end(make, start, end):
    schedule = make(images=1000, start=start, end=end)
    assert schedule(0) == start
    assert schedule(1000) == schedule(1e12) == schedule(math.inf) == pytest.approx(end)
    low, high = sorted((start, end))
    assert all(low <= schedule(images) <= high for images in range(0, 1100, 7))


def test_schedules_at_known_places():
    assert Linear(images=100)(25) == 0.25
    assert Cosine(images=100)(50) == pytest.approx(0.5)
    assert Cosine(images=100)(25) == pytest.approx((1 - math.sqrt(0.5)) / 2)
    cyclical = Cyclical(images=400, cycles=4, share=0.5)
    assert [cyclical(i) for i in (0, 25, 50, 99, 100, 125, 150, 399)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1]
    assert at(0.25, 7) == 0.25
    assert at(Linear(images=100), 7) == 0.07


# Recipes choose among them


def test_three_ways_to_weigh_reconstruction():
    image = (3, 128, 128)
    likelihood, objective = weigh(image)
    assert isinstance(likelihood, OptimalGaussian)
    assert objective.beta == 1.0
    likelihood, objective = weigh(image, r_loss_factor=10_000)
    assert isinstance(objective, Classic)
    assert round(likelihood.sigma, 2) == 1.57
    likelihood, objective = weigh(image, sigma=0.1, beta=2.0)
    assert (likelihood.sigma, objective.beta) == (0.1, 2.0)
    assert isinstance(weigh(image, "laplace")[0], LaplacePixels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r_loss_factor": 10.0, "beta": 1.0}, "in different ways"),
        ({"r_loss_factor": 10.0, "sigma": 1.0}, "in different ways"),
        ({"likelihood": "gausian"}, "Did you mean 'gaussian'"),
        ({"net": "transformer"}, "Known: conv, mixer, mlp, resnet"),
        ({"latent": 0}, "1 or more"),
        ({"learning_rat": 1.0}, "Did you mean 'learning_rate'"),
        ({"epoch": 3}, "no option 'epoch'"),
        ({"learning_rate": -1.0}, "above 0"),
    ],
)
def test_a_recipe_refuses_what_it_cannot_do(options, words):
    with pytest.raises(UsageError, match=words):
        cook("vae", (1, 8, 8), options)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("image", [(1, 8, 8), (3, 21, 30)])
def test_every_recipe_makes_a_model_for_any_image(name, image):
    model, objective, training, *_ = cook(name, image, {"epochs": 1.0} | needs(name, image))
    terms = objective(objective.look(model, torch.rand(2, *image)), END)
    assert all(torch.isfinite(term).all() for term in terms.values())
    assert model.image == image
    assert training.epochs == 1.0


def test_weights_of_a_paper_come_with_the_pixels_that_they_were_found_for():
    """Unless somebody says how pixels are weighed."""
    shape = (1, 8, 8)
    assert cook("beta-vae", shape, {}).model.likelihood.sigma == 0.5
    assert isinstance(cook("iwae", shape, {}).model.likelihood, LearnedGaussian)
    assert isinstance(cook("vae", shape, {}).model.likelihood, OptimalGaussian)
    for name in ("beta-vae", "iwae"):
        assert isinstance(cook(name, shape, {"likelihood": "bernoulli"}).model.likelihood, BernoulliPixels)
        assert cook(name, shape, {"sigma": 0.2}).model.likelihood.sigma == 0.2


def test_an_unknown_recipe_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'faces'"):
        cook("face", (1, 8, 8), {})


def test_numbers_of_a_recipe_can_be_others():
    made = adjusted(
        cook("factor-vae", (1, 32, 32), {}), ["objective.gamma=3", "model.posterior.latent=32", "model.encoder.width=64"]
    )
    assert made.objective.gamma == 3
    assert made.model.encoder.width == 64
    ended = adjusted(cook("vae", (1, 8, 8), {"beta_schedule": "linear", "beta_images": 10.0}), ["objective.beta.end=4.0"])
    assert ended.objective.beta.end == 4.0
    quantized = adjusted(cook("fsq", (1, 16, 16), {"net": "conv"}), ["model.posterior.sizes=[7,5,5,5]"])
    assert quantized.model.posterior.levels == (7, 5, 5, 5)
    kept = adjusted(cook("vamp-prior", (1, 8, 8), {}), ["model.prior.components=50", "training.half_life=1e5"])
    assert (kept.model.prior.components, kept.training.half_life) == (50, 100_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("objective.gama=3", "Did you mean 'objective.gamma'"),
        ("gamma=3", "changes nothing"),
        ("objective.part=ELBO", "changes nothing"),
        ("objective.gamma=much", "does not fit"),
        ("objective.gamma=true", "does not fit"),
        ("objective.latent=2.5", "does not fit"),
        ("model.encoder=3", "does not fit"),
    ],
)
def test_numbers_that_fit_nowhere_are_refused(change, words):
    with pytest.raises(UsageError, match=words):
        adjusted(cook("factor-vae", (1, 8, 8), {}), [change])
