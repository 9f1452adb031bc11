"""A VAE whose log p(x) is known: probabilistic PCA (Tipping & Bishop, 1999), x = W z + b + sigma eps with z ~ N(0, I).

Its posterior is N(M^-1 W^T (x - b), sigma^2 M^-1) with M = W^T W + sigma^2 I: diagonal where the columns of W are orthogonal.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

import tiny
from vaekit.batches import Batches
from vaekit.distributions import LOG_VAR_LIMIT, Gaussian
from vaekit.execution import Execution
from vaekit.likelihoods import Likelihood
from vaekit.model import VAE
from vaekit.objectives import ELBO
from vaekit.part import Part
from vaekit.posteriors import DiagonalGaussian
from vaekit.priors import StandardNormal
from vaekit.trace import At
from vaekit.train import picture, train, validate

IMAGE, VALUES, LATENT = (1, 2, 3), 6, 2
F64 = torch.float64


class RowEncoder(Part):
    """The image as a row, (x - centre) * gain: the posterior's head is the linear encoder."""

    image: tuple[int, int, int] = IMAGE
    features: int = VALUES
    centre: float = 0.0
    gain: float = 1.0

    def forward(self, x):
        return (x.flatten(1) - self.centre) * self.gain


class LinearDecoder(Part):
    """W z + b."""

    image: tuple[int, int, int] = IMAGE
    latent: int = LATENT

    def __post_init__(self):
        self.linear = nn.Linear(self.latent, math.prod(self.image))

    def forward(self, z):
        return self.linear(z).unflatten(1, self.image)


class UnboundedGaussian(Likelihood):
    """N(out, sigma^2) over the whole line."""

    def __post_init__(self):
        self.log_scale = nn.Parameter(torch.tensor(math.log(0.3)))

    def forward(self, out):
        return Gaussian(out, 2 * self.log_scale, 3)


def linear_vae(**encoder: float) -> VAE:
    posterior, prior = DiagonalGaussian(features=VALUES, latent=LATENT), StandardNormal(latent=LATENT)
    likelihood = UnboundedGaussian()
    return VAE(encoder=RowEncoder(**encoder), posterior=posterior, decoder=LinearDecoder(), likelihood=likelihood, prior=prior)


def truth(model: VAE) -> tuple[MultivariateNormal, torch.Tensor, torch.Tensor]:
    """p(x) of the model as it stands, and of its true posterior the matrix M^-1 W^T and the covariance."""
    linear, variance = model.decoder.linear, (2 * model.likelihood.log_scale).exp()
    w, b = linear.weight, linear.bias  # (VALUES, LATENT), (VALUES,)
    px = MultivariateNormal(b, w @ w.T + variance * torch.eye(VALUES, dtype=w.dtype))
    inverse = torch.linalg.inv(w.T @ w + variance * torch.eye(LATENT, dtype=w.dtype))
    return px, inverse @ w.T, variance * inverse


def with_orthogonal_columns(model: VAE) -> None:
    w = model.decoder.linear.weight
    w.copy_(torch.linalg.qr(w)[0] * torch.tensor([1.5, 0.4], dtype=w.dtype))


def with_exact_posterior(model: VAE) -> None:
    """Set the posterior's head to the true posterior."""
    _, project, covariance = truth(model)
    half_pi = math.pi / 2
    raw = torch.tan(covariance.diagonal().log() * half_pi / LOG_VAR_LIMIT) * LOG_VAR_LIMIT / half_pi  # the bound, undone
    head = model.posterior.head
    head.weight.copy_(torch.cat([project, torch.zeros_like(project)]))
    head.bias.copy_(torch.cat([-project @ model.decoder.linear.bias, raw]))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_at_the_exact_posterior_every_draw_gives_log_px(seed):
    torch.manual_seed(seed)
    model = linear_vae().double()
    with_orthogonal_columns(model)
    with_exact_posterior(model)
    x = torch.randn(7, *IMAGE, dtype=F64)
    log_px = truth(model)[0].log_prob(x.flatten(1))
    t = model(x, samples=50)
    weights = t.log_px + t.groups[0].log_p - t.groups[0].log_q  # (K, B)
    torch.testing.assert_close(weights, log_px.expand(50, 7))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(6))
def test_the_elbo_is_below_log_px_by_the_kl_to_the_true_posterior(seed):
    torch.manual_seed(seed)
    model = linear_vae().double()
    if seed % 2:  # from the exact posterior, a little away
        with_orthogonal_columns(model)
        with_exact_posterior(model)
        model.posterior.head.bias.add_(0.3 * torch.randn(2 * LATENT, dtype=F64))
    x = torch.randn(5, *IMAGE, dtype=F64)
    px, project, covariance = truth(model)
    log_px = px.log_prob(x.flatten(1))
    samples = 20_000
    t = model(x, samples)
    elbo = -sum(ELBO()(t, At(0)).values())
    error = t.log_px.std(0) / math.sqrt(samples)
    q = t.groups[0].q
    means = (x.flatten(1) - model.decoder.linear.bias) @ project.T
    gap = kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), MultivariateNormal(means, covariance))
    assert (elbo <= log_px + 5 * error).all()
    assert ((log_px - elbo - gap).abs() <= 5 * error).all()


def test_training_reaches_the_maximum_likelihood_that_pca_has_in_closed_form():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((VALUES, LATENT)))[0] * np.array([0.12, 0.06])
    points = 0.5 + rng.standard_normal((512, LATENT)) @ directions.T + 0.03 * rng.standard_normal((512, VALUES))
    pixels = (255 * points).round().clip(0, 255).astype(np.uint8).reshape(-1, *IMAGE)

    x = picture(torch.from_numpy(pixels)).double().flatten(1)
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    noise = values[LATENT:].mean()  # Tipping & Bishop, eq. 8; the rest is their eq. 4 at the maximum
    best = -0.5 * (VALUES * math.log(2 * math.pi) + values[:LATENT].log().sum() + (VALUES - LATENT) * noise.log() + VALUES).item()

    given = {"images": 128 * 1500, "batch_size": 128, "learning_rate": 2e-2, "weight_decay": 0.0, "half_life": 5000, "epoch": 512}
    state, settings = tiny.state(make=lambda: (linear_vae(centre=0.5, gain=10.0), ELBO()), **given)
    list(train(state, Batches(pixels, np.arange(512), 128, 0, tiny.CPU), settings, Execution(tiny.CPU)))

    model = state.average.double()
    log_px = truth(model)[0].log_prob(x).mean().item()
    assert best - 0.02 < log_px <= best + 1e-9
    assert model.likelihood.log_scale.exp().item() == pytest.approx(noise.sqrt().item(), rel=0.02)
    with torch.no_grad():
        elbo = -sum(term.mean() for term in ELBO()(model(x.reshape(-1, *IMAGE), 200), At(0)).values()).item()
    assert best - 0.05 < elbo < best + 0.01
    validated = validate(model.float(), state.objective, lambda part: torch.from_numpy(pixels)[part], 512)
    assert validated["elbo"] == pytest.approx(best, abs=0.2)  # one draw of z for each of 512 images
