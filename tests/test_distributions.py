"""Densities integrate to one, closed forms agree with Monte Carlo, bounds hold at the edges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaekit.distributions import (
    LOG_VAR_LIMIT,
    ContinuousBernoulli,
    CorrelatedGaussian,
    Gaussian,
    Point,
    bounded,
    full_precision,
)
from vaekit.errors import UsageError
from vaekit.likelihoods import (
    FINEST,
    BernoulliPixels,
    ContinuousBernoulliPixels,
    FixedGaussian,
    LaplacePixels,
    LearnedGaussian,
    OptimalGaussian,
    PerPixelGaussian,
    StudentTPixels,
)
from vaekit.posteriors import Deterministic, DiagonalGaussian, FullGaussian, draw
from vaekit.priors import StandardNormal
from vaekit.trace import Trace
from vaekit.weighing import LIKELIHOODS

LOGITS = (0.0, 1e-3, -1e-3, 9.9e-3, 1.01e-2, -1.01e-2, 0.5, -3.0, 10.0, 30.0, -30.0, 200.0, -200.0)
F64 = torch.float64


def gaussian(seed: int = 0, batch: int = 4, latent: int = 3) -> Gaussian:
    rng = torch.Generator().manual_seed(seed)
    mean, log_var = torch.randn(2, batch, latent, generator=rng, dtype=F64)
    return Gaussian(mean, log_var)


def standard(latent: int = 3) -> Gaussian:
    return StandardNormal(latent=latent).double()()


# The Gaussian and its KL


@pytest.mark.parametrize("seed", range(3))
def test_the_kl_is_the_formula_and_torchs_own(seed):
    q, p = gaussian(seed), standard()
    formula = -0.5 * (1 + q.log_var - q.loc**2 - q.log_var.exp()).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), formula)
    torch_q, torch_p = Independent(Normal(q.loc, q.stddev), 1), Independent(Normal(p.loc, p.stddev), 1)
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(torch_q, torch_p))
    other = gaussian(seed + 10)
    torch_other = Independent(Normal(other.loc, other.stddev), 1)
    torch.testing.assert_close(kl_divergence(q, other), kl_divergence(torch_q, torch_other))
    torch.testing.assert_close(q.kl_per_latent(other).sum(-1), kl_divergence(q, other))
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(4, dtype=F64))


@pytest.mark.parametrize("seed", range(3))
def test_the_kl_is_the_monte_carlo_kl(seed):
    torch.manual_seed(seed)
    q, p = gaussian(seed), standard()
    z, log_q = draw(q, 20_000)
    estimates = log_q - p.log_prob(z)  # (K, B)
    off = (estimates.mean(0) - kl_divergence(q, p)).abs()
    assert (off < 5 * estimates.std(0) / math.sqrt(len(z))).all()


def test_the_gaussian_is_torchs_normal():
    torch.manual_seed(0)
    q = gaussian()
    same = Independent(Normal(q.loc, (q.log_var / 2).exp()), 1)
    z = q.rsample((50_000,))
    torch.testing.assert_close(q.log_prob(z), same.log_prob(z))
    torch.testing.assert_close(q.variance, same.variance)
    assert q.batch_shape == (4,)
    assert q.event_shape == (3,)
    assert ((z.mean(0) - q.mean).abs() < 5 * q.stddev / math.sqrt(len(z))).all()
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.05, atol=0)


def test_a_sample_is_mu_plus_sigma_times_noise():
    mean, log_var = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    torch.manual_seed(0)
    z = Gaussian(mean, log_var).rsample()
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones(2, 3))
    torch.testing.assert_close(log_var.grad, z.detach() / 2)  # dz / dlog_var = eps exp(log_var / 2) / 2


def test_a_point_draws_itself():
    point = Point(torch.arange(6.0).reshape(2, 3))
    z, log_q = draw(point, 4)
    assert torch.equal(z, point.z.expand(4, 2, 3))
    assert torch.equal(log_q, torch.zeros(4, 2))
    assert torch.equal(point.variance, torch.zeros(2, 3))


# The log-variance


@given(st.floats(-1e6, 1e6, width=32))
def test_the_log_variance_is_bounded_and_its_gradient_alive(value):
    raw = torch.tensor(value, requires_grad=True)
    log_var = bounded(raw)
    log_var.backward()
    assert abs(log_var.item()) <= LOG_VAR_LIMIT * (1 + 1e-6)
    assert 0 < raw.grad.item() <= 1
    assert math.copysign(1, log_var.item()) == math.copysign(1, value)


@given(st.floats(-0.1, 0.1))
def test_the_bound_is_the_identity_near_zero(value):
    assert bounded(torch.tensor(value, dtype=F64)).item() == pytest.approx(value, rel=1e-4, abs=1e-300)


@pytest.mark.parametrize("size", [1e10, 1e20, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_raw_log_variance_makes_the_loss_infinite(size, sign):
    posterior = DiagonalGaussian(features=2, latent=3)
    with torch.no_grad():
        posterior.head.weight.zero_()
        posterior.head.bias.copy_(torch.tensor([0.0] * 3 + [sign * size] * 3))
    q = posterior(torch.ones(2, 2))
    z, log_q = draw(q, 2)
    loss = kl_divergence(q, StandardNormal(latent=3)()).sum() + log_q.sum() + z.square().sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert q.log_var.abs().max() <= LOG_VAR_LIMIT * (1 + 1e-6)
    assert all(torch.isfinite(p.grad).all() for p in posterior.parameters())


@pytest.mark.parametrize("raw", [-1000.0, -100.0, 100.0, 1000.0])
def test_a_posterior_that_has_gone_too_far_is_called_back(raw):
    posterior = DiagonalGaussian(features=1, latent=1)
    with torch.no_grad():
        posterior.head.bias.fill_(raw)
    kl_divergence(posterior(torch.zeros(1, 1)), StandardNormal(latent=1)()).sum().backward()
    assert posterior.head.bias.grad[1] * raw > 0  # the rate falls on the way back


@pytest.mark.parametrize("kind", [Deterministic, DiagonalGaussian])
def test_a_posterior_keeps_full_precision_under_autocast(kind):
    with torch.autocast("cpu", torch.bfloat16):
        q = kind(features=4, latent=2)(torch.ones(3, 4, dtype=torch.bfloat16))
    assert q.mean.dtype == torch.float32
    assert full_precision(torch.ones(1, dtype=F64)).dtype == F64


# Pixels


def ask(likelihood, out: float, values: np.ndarray) -> np.ndarray:
    """log p(value | out) of single-pixel images, in float64."""
    grid = torch.as_tensor(values, dtype=F64).reshape(-1, 1, 1, 1)
    with torch.no_grad():
        return (
            likelihood.double().eval()(torch.full((1, 1, likelihood.per_pixel, 1, 1), out, dtype=F64)).log_prob(grid)[0].numpy()
        )


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of an integral over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    return (nodes + 1) / 2, weights / 2


@pytest.mark.parametrize("logit", LOGITS)
def test_the_continuous_bernoulli_integrates_to_one_and_its_mean_is_right(logit):
    x, weights = quadrature()
    density = np.exp(ask(ContinuousBernoulliPixels(), logit, x))
    assert weights @ density == pytest.approx(1, abs=1e-9)
    p = ContinuousBernoulli(torch.full((1, 1, 1), logit, dtype=F64))
    assert p.mean.item() == pytest.approx(weights @ (x * density), abs=1e-8)
    single = ContinuousBernoulli(torch.full((1, 1, 1), logit))
    assert single.mean.item() == pytest.approx(p.mean.item(), abs=1e-6)
    half = torch.full((1, 1, 1), 0.5)
    assert single.log_prob(half).item() == pytest.approx(p.log_prob(half.double()).item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_samples_of_the_continuous_bernoulli_have_its_mean(logit):
    torch.manual_seed(0)
    p = ContinuousBernoulli(torch.full((1, 1, 1), logit))
    x = p.sample((200_000,)).double()
    assert x.min() >= 0
    assert x.max() <= 1
    assert x.mean().item() == pytest.approx(p.mean.item(), abs=5 * x.std().item() / math.sqrt(len(x)) + 1e-6)


@pytest.mark.parametrize("logit", [-8.0, -2.0, -0.3, 0.3, 2.0, 8.0])
def test_the_continuous_bernoulli_is_torchs_where_that_is_accurate(logit):
    logits, x = torch.full((1, 1, 5), logit, dtype=F64), torch.linspace(0, 1, 5, dtype=F64).reshape(1, 1, 5)
    ours, theirs = ContinuousBernoulli(logits), torch.distributions.ContinuousBernoulli(logits=logits)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x).sum())
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("logit", [0.0, 1e-3, 1.1e-2, 0.04, -0.3, 0.49, 0.51, -1.0, 3.0])
def test_the_continuous_bernoulli_keeps_its_digits_in_single_precision(logit):
    """d log p / dl = x - mean and d mean / dl = variance, as for every exponential family in its natural parameter."""
    x, weights = quadrature()
    density = weights * np.exp(ask(ContinuousBernoulliPixels(), logit, x))
    mean = density @ x
    logits = torch.full((1, 1, 1), logit, requires_grad=True)
    p = ContinuousBernoulli(logits)
    by_log_prob = torch.autograd.grad(p.log_prob(torch.full((1, 1, 1), 0.75)).sum(), logits)[0].item()
    by_mean = torch.autograd.grad(p.mean.sum(), logits)[0].item()
    assert by_log_prob == pytest.approx(0.75 - mean, rel=1e-5)
    assert by_mean == pytest.approx(density @ (x - mean) ** 2, rel=2e-5)


@given(st.floats(-1e4, 1e4, width=32))
def test_the_continuous_bernoulli_has_finite_gradients_everywhere(logit):
    logits = torch.full((1, 1, 1), logit, requires_grad=True)
    p = ContinuousBernoulli(logits)
    (p.log_prob(torch.full((1, 1, 1), 0.25)) + p.mean.sum()).backward()
    assert torch.isfinite(logits.grad).all()
    assert 0 <= p.mean.item() <= 1


def test_bernoulli_probabilities_sum_to_one():
    for logit in (-30.0, -1.0, 0.0, 4.0):
        assert np.exp(ask(BernoulliPixels(), logit, np.array([0.0, 1.0]))).sum() == pytest.approx(1)


LINE = (
    LaplacePixels(scale=0.07),
    FixedGaussian(scale=0.02),
    LearnedGaussian(),
    OptimalGaussian(),
    PerPixelGaussian(),
    StudentTPixels(initial=0.07),
)


@pytest.mark.parametrize("likelihood", LINE, ids=lambda likelihood: type(likelihood).__name__)
@pytest.mark.parametrize("out", [-4.0, 0.0, 1.5])
def test_densities_over_the_line_integrate_to_one(likelihood, out):
    centre = 1 / (1 + math.exp(-out))
    halves = [
        quad(lambda x: math.exp(ask(likelihood, out, np.array([x]))[0]), *ends, limit=200)[0]
        for ends in ((centre - 6, centre - 0.3), (centre - 0.3, centre), (centre, centre + 0.3), (centre + 0.3, centre + 6))
    ]
    assert sum(halves) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_sums_over_an_image_and_keeps_samples_and_images_apart(name):
    torch.manual_seed(0)
    likelihood = LIKELIHOODS[name]().eval()
    out, x = torch.randn(2, 3, likelihood.per_pixel, 4, 5), torch.rand(3, 1, 4, 5)
    p = likelihood(out)
    assert p.batch_shape == (2, 3)
    assert p.event_shape == (1, 4, 5)
    pixels = [
        [likelihood(out[..., i : i + 1, j : j + 1]).log_prob(x[..., i : i + 1, j : j + 1]) for j in range(5)] for i in range(4)
    ]
    torch.testing.assert_close(p.log_prob(x), sum(sum(row) for row in pixels))
    torch.testing.assert_close(p.mean, p.mean.clamp(0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert likelihood(out.bfloat16()).log_prob(x).dtype == torch.float32


def test_the_optimal_gaussian_is_the_best_of_all_fixed_ones():
    torch.manual_seed(0)
    out, x = torch.randn(1, 6, 1, 4, 4, dtype=F64), torch.rand(6, 1, 4, 4, dtype=F64)
    optimal = OptimalGaussian().double().train()(out).log_prob(x).mean().item()

    def fixed(scale: float) -> float:
        return FixedGaussian(scale=scale)(out).log_prob(x).mean().item()

    best = (x - out.sigmoid()).square().mean().sqrt().item()
    assert optimal == pytest.approx(fixed(best), rel=1e-12)
    assert all(optimal >= fixed(best * factor) for factor in (0.5, 0.9, 0.99, 0.999, 1.001, 1.01, 1.1, 2))


def test_in_eval_mode_the_optimal_gaussian_uses_what_it_has_seen():
    torch.manual_seed(0)
    likelihood = OptimalGaussian(half_life=100.0)
    errors = []
    for _ in range(5):
        out, x = torch.randn(1, 4, 1, 2, 2), torch.rand(4, 1, 2, 2)
        likelihood.absorb(likelihood.observe(Trace(x, (), likelihood(out))), len(x))
        errors.append((x - out.sigmoid()).square().mean().item())
    assert min(errors) <= likelihood.variance.item() <= max(errors)  # nothing of the initial value
    likelihood.calibrate(Trace(x, (), likelihood(out)) for _ in range(3))
    assert likelihood.variance.item() == pytest.approx(errors[-1])
    likelihood.eval()
    torch.testing.assert_close(likelihood(out).log_prob(x), FixedGaussian(scale=likelihood.sigma)(out).log_prob(x))
    for _ in range(500):
        likelihood.absorb(likelihood.observe(Trace(x, (), likelihood(out))), len(x))
    assert likelihood.variance.item() == pytest.approx(errors[-1], rel=1e-4)


@pytest.mark.parametrize("kind", [LearnedGaussian, OptimalGaussian])
def test_a_perfect_reconstruction_stops_at_eight_bit_rounding(kind):
    out = torch.zeros(1, 2, 1, 3, 3)
    x = out.sigmoid()[0]
    likelihood = kind()
    if kind is LearnedGaussian:
        with torch.no_grad():
            likelihood.log_scale.fill_(-40.0)
        assert likelihood.sigma == pytest.approx(FINEST)
    expected = FixedGaussian(scale=FINEST)(out).log_prob(x)
    torch.testing.assert_close(likelihood.train()(out).log_prob(x), expected)


def test_a_learned_scale_below_the_finest_can_come_back():
    likelihood = LearnedGaussian(initial=FINEST / 4)
    (-likelihood(torch.zeros(1, 1, 1, 1, 1)).log_prob(torch.ones(1, 1, 1, 1))).sum().backward()
    assert likelihood.log_scale.grad.item() < 0  # the residual is 0.5: a larger scale has a smaller loss


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_must_be_a_positive_number(value):
    for make in (
        lambda: FixedGaussian(scale=value),
        lambda: LaplacePixels(scale=value),
        lambda: LearnedGaussian(initial=value),
        lambda: OptimalGaussian(half_life=value),
    ):
        with pytest.raises(UsageError, match="it must be a number, above 0"):
            make()


def test_a_correlated_gaussian_is_torchs():
    torch.manual_seed(0)
    factor = torch.randn(4, 3, 3, dtype=F64).tril(-1) + torch.diag_embed(torch.rand(4, 3, dtype=F64) + 0.2)
    q, p = CorrelatedGaussian(torch.randn(4, 3, dtype=F64), factor), gaussian(1)
    expected = MultivariateNormal(q.loc, scale_tril=factor)
    z, log_q = q.rsample_and_log_prob((5,))
    torch.testing.assert_close(log_q, expected.log_prob(z))
    torch.testing.assert_close(q.variance, expected.variance)
    diagonal = MultivariateNormal(p.loc, scale_tril=torch.diag_embed(p.stddev))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(expected, diagonal))
    drawn = q.rsample((200_000,))
    torch.testing.assert_close(torch.cov(drawn[:, 0].T), factor[0] @ factor[0].T, atol=0.03, rtol=0.03)


def test_a_full_gaussian_begins_as_a_diagonal_one_and_fills_its_triangle():
    posterior, h = FullGaussian(features=5, latent=4).double(), torch.randn(2, 5, dtype=F64)
    factor = posterior(h).factor
    assert torch.equal(factor, torch.diag_embed(factor.diagonal(dim1=1, dim2=2)))
    nn.init.normal_(posterior.head.weight)
    factor = posterior(h).factor
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()
    assert len(factor[0].unique()) == 11  # ten numbers of its own, and 0


def test_a_full_gaussian_learns_the_posterior_that_a_diagonal_one_cannot():
    """x = z W + noise: with log p(x) exact, and features that are x, the gap of a full q(z | x) closes."""
    torch.manual_seed(0)
    latent, noise = 3, 0.3
    weights = torch.randn(latent, 5, dtype=F64)
    x = torch.randn(128, latent, dtype=F64) @ weights + noise * torch.randn(128, 5, dtype=F64)
    exact = MultivariateNormal(torch.zeros(5, dtype=F64), weights.T @ weights + noise**2 * torch.eye(5)).log_prob(x).mean()
    gaps = {}
    for kind in (DiagonalGaussian, FullGaussian):
        posterior = kind(features=5, latent=latent).double()
        optimizer = torch.optim.Adam(posterior.parameters(), lr=0.05)
        for step in range(800):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - step / 800)
            z, log_q = draw(posterior(x), 1)
            log_p = Normal(z @ weights, noise).log_prob(x).sum(-1) + Normal(0, 1).log_prob(z).sum(-1)
            gap = exact - (log_p - log_q).mean()
            optimizer.zero_grad()
            gap.backward()
            optimizer.step()
        gaps[kind] = gap.item()
    assert gaps[FullGaussian] < 0.1
    assert gaps[DiagonalGaussian] > 0.5
