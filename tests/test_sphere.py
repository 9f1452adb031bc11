"""The von Mises-Fisher density: its normaliser by Bessel functions, its draws by their moments, its gradient by differences."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ive
from torch.distributions import kl_divergence

import tiny
from vaekit.errors import UsageError
from vaekit.metrics import evaluate
from vaekit.objectives import ELBO
from vaekit.recipes import cook
from vaekit.sphere import EvenSphere, Spherical, UniformSphere, VonMisesFisher, log_area

F64 = torch.float64
SHARPNESS = [0.01, 1.0, 20.0, 1500.0]


def vmf(concentration: float, latent: int, batch: int = 1) -> VonMisesFisher:
    direction = torch.nn.functional.normalize(torch.ones(batch, latent, dtype=F64), dim=-1)
    return VonMisesFisher(direction, torch.full((batch,), concentration, dtype=F64))


@pytest.mark.parametrize("concentration", SHARPNESS)
@pytest.mark.parametrize("latent", [2, 3, 10, 64])
def test_the_normaliser_and_the_mean_are_those_of_bessel_functions(concentration, latent):
    """Davidson et al., eq. 4, and A(kappa) = I_{D/2}(kappa) / I_{D/2 - 1}(kappa)."""
    order = latent / 2 - 1
    log_bessel = math.log(ive(order, concentration)) + concentration
    expected = latent / 2 * math.log(2 * math.pi) + log_bessel - order * math.log(concentration)
    q = vmf(concentration, latent)
    assert q.log_normalizer.item() == pytest.approx(expected, abs=1e-5)
    assert q.mean_cosine.item() == pytest.approx(ive(order + 1, concentration) / ive(order, concentration), abs=1e-6)


def test_the_area_of_spheres():
    assert [math.exp(log_area(d)) for d in (2, 3)] == pytest.approx([2 * math.pi, 4 * math.pi])


@pytest.mark.parametrize("concentration", SHARPNESS)
@pytest.mark.parametrize("latent", [2, 3, 16])
def test_draws_lie_on_the_sphere_and_follow_the_density(concentration, latent):
    torch.manual_seed(0)
    q = vmf(concentration, latent)
    z = q.rsample((40_000,))[:, 0]
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(len(z), dtype=F64))
    cosines = z @ q.direction[0]
    error = 5 * cosines.std().item() / math.sqrt(len(z))
    assert cosines.mean().item() == pytest.approx(q.mean_cosine.item(), abs=error + 1e-6)
    torch.testing.assert_close(z.var(0), q.variance[0], rtol=0.06, atol=1e-5)
    spread = math.sqrt(1 / len(z)) * (z - z.mean(0)).std().item() * 5
    assert (z.mean(0) - q.mean_cosine * q.direction[0]).abs().max() < spread


@pytest.mark.parametrize("concentration", SHARPNESS)
@pytest.mark.parametrize("latent", [2, 3, 16])
def test_the_kl_is_the_mean_log_ratio(concentration, latent):
    torch.manual_seed(0)
    q, p = vmf(concentration, latent), EvenSphere(torch.zeros(latent, dtype=F64))
    z, log_q = q.rsample_and_log_prob((20_000,))
    ratios = log_q - p.log_prob(z)
    error = 5 * ratios.std().item() / math.sqrt(len(z))
    assert kl_divergence(q, p).item() == pytest.approx(ratios.mean().item(), abs=error + 1e-5)


@pytest.mark.parametrize("concentration", [0.5, 20.0])
def test_the_gradient_of_a_draw_is_that_of_the_same_share_at_another_concentration(concentration):
    u = torch.linspace(0.05, 0.95, 7, dtype=F64)[:, None]

    def angles(at: torch.Tensor) -> torch.Tensor:
        return VonMisesFisher(torch.tensor([[0.0, 1.0, 0.0]], dtype=F64), at).angle(u)[:, 0]

    at, step = torch.tensor([concentration], dtype=F64), 0.05 * concentration
    found = torch.autograd.functional.jacobian(angles, at)[:, 0]
    with torch.no_grad():
        expected = (angles(at + step) - angles(at - step)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-4)


def test_the_uniform_prior_is_even():
    torch.manual_seed(0)
    p = UniformSphere(latent=5)()
    z = p.sample((20_000,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(len(z)))
    assert z.mean(0).abs().max() < 0.03
    np.testing.assert_allclose(np.cov(z.T), np.eye(5) / 5, atol=0.01)


def test_what_a_sphere_cannot_be():
    with pytest.raises(UsageError, match="latent is 1; it must be a whole number, 2 or more"):
        Spherical(features=3, latent=1)
    with pytest.raises(UsageError, match="spatial=0"):
        Spherical(features=3, latent=2)(torch.zeros(2, 4, 3))


def test_draws_on_the_sphere_know_no_temperature():
    model = cook("sphere", (1, 8, 8), {"net": "mlp", "latent": 4}).model
    torch.testing.assert_close(model.draw(5).norm(dim=1), torch.ones(5))
    with pytest.raises(UsageError, match="Leave it at 1"):
        model.draw(5, 0.5)


def test_a_direction_has_no_parts_that_carry_something_each():
    metrics = evaluate(cook("sphere", (1, 8, 8), {"net": "mlp", "latent": 4}).model.eval(), ELBO(), tiny.dataset())
    assert "rate" in metrics
    assert "active_latents" not in metrics
