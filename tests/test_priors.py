"""A learned prior is a density: its inverse inverts, its determinant is the Jacobian's, and its draws follow it."""

import pytest
import torch
from torch.distributions import Independent, Normal

import tiny
from vaekit.errors import UsageError
from vaekit.latent import codes, kl_per_latent
from vaekit.priors import CouplingFlow

F64 = torch.float64


def flow(latent: int, seed: int = 0, bend: float = 0.5) -> CouplingFlow:
    """A flow that is no longer the identity it starts as."""
    torch.manual_seed(seed)
    prior = CouplingFlow(latent=latent, couplings=4, width=16).double()
    with torch.no_grad():
        for coupling in prior.chain:
            coupling.net[-1].weight.normal_(0, bend)
            coupling.net[-1].bias.normal_(0, bend)
    return prior


@pytest.mark.parametrize("latent", [2, 3, 8, 41])
def test_it_starts_as_the_standard_normal(latent):
    prior = CouplingFlow(latent=latent).double()
    z = torch.randn(6, latent, dtype=F64)
    torch.testing.assert_close(prior().log_prob(z), Independent(Normal(torch.zeros_like(z), 1.0), 1).log_prob(z))


@pytest.mark.parametrize("latent", [2, 3, 8])
def test_the_inverse_inverts_and_the_determinant_is_the_jacobians(latent):
    prior = flow(latent)
    z = torch.randn(5, latent, dtype=F64)
    u, log_det = prior.to_base(z)
    torch.testing.assert_close(prior.from_base(u), z)
    for point, value in zip(z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda at: prior.to_base(at)[0], point)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], value)
        assert (jacobian.abs() > 0).float().mean() > 0.7  # the latents have met


def test_the_density_integrates_to_one():
    axis = torch.linspace(-12, 12, 1201, dtype=F64)
    with torch.no_grad():
        density = flow(2, bend=0.3)().log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


def test_draws_follow_the_density():
    p = flow(3, bend=0.3)()
    torch.manual_seed(0)
    with torch.no_grad():
        z = p.sample((50_000,))
        q = Independent(Normal(z.mean(0), 3 * z.std(0)), 1)  # wider, so that the weights stay bounded
        other = q.sample((50_000,))
        weights = (p.log_prob(other) - q.log_prob(other)).exp()
    assert weights.mean().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close((weights[:, None] * other).mean(0), z.mean(0), atol=0.1, rtol=0)


def test_bf16_autocast_does_not_touch_it():
    prior = flow(4).float()
    z = torch.randn(7, 4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(prior().log_prob(z), prior().log_prob(z.float()))
        assert prior().log_prob(z).dtype == torch.float32
    torch.testing.assert_close(prior().log_prob(z), flow(4)().log_prob(z.double()).float(), atol=1e-4, rtol=1e-4)


def test_what_each_latent_carries_is_told_under_a_learned_prior_too():
    model = tiny.model(prior=CouplingFlow(latent=3, width=8)).eval()
    found = codes(model, tiny.pictures(50))
    kl = kl_per_latent(model, found)
    assert kl.shape == (3,)
    assert (kl >= 0).all()
    silent = found._replace(mu=found.mu * 0, log_var=found.log_var * 0)
    assert kl_per_latent(model, silent) == pytest.approx(0, abs=1e-12)


def test_one_latent_has_nothing_to_be_moved_by():
    with pytest.raises(UsageError, match="needs 2 latents"):
        CouplingFlow(latent=1)
