"""A learned prior is a density: its inverse inverts, its determinant is the Jacobian's, and its draws follow it."""

from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal

import tiny
from vaekit.distributions import Gaussian
from vaekit.errors import UsageError
from vaekit.latent import codes, kl_per_latent
from vaekit.planning import start
from vaekit.priors import CouplingFlow, ExemplarPrior, Mixture, VampPrior

F64 = torch.float64


def no_images(x: torch.Tensor):
    raise AssertionError("this prior is not made of posteriors")


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
    torch.testing.assert_close(prior(no_images).log_prob(z), Independent(Normal(torch.zeros_like(z), 1.0), 1).log_prob(z))


@pytest.mark.parametrize("latent", [2, 3, 8])
def test_the_inverse_inverts_and_the_determinant_is_the_jacobians(latent):
    prior = flow(latent)
    z = torch.randn(5, latent, dtype=F64)
    u, log_det = prior.to_base(z)
    back, inverse_log_det = prior.from_base(u)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(inverse_log_det, -log_det)
    for point, value in zip(z, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda at: prior.to_base(at)[0], point)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], value)
        assert (jacobian.abs() > 0).float().mean() > 0.7  # the latents have met


def test_the_density_integrates_to_one():
    axis = torch.linspace(-12, 12, 1201, dtype=F64)
    with torch.no_grad():
        density = flow(2, bend=0.3)(no_images).log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


def test_draws_follow_the_density():
    p = flow(3, bend=0.3)(no_images)
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
        torch.testing.assert_close(prior(no_images).log_prob(z), prior(no_images).log_prob(z.float()))
        assert prior(no_images).log_prob(z).dtype == torch.float32
    torch.testing.assert_close(
        prior(no_images).log_prob(z), flow(4)(no_images).log_prob(z.double()).float(), atol=1e-4, rtol=1e-4
    )


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


def test_a_mixture_of_one_is_its_part():
    torch.manual_seed(0)
    prior = Mixture(latent=3, components=1).double()
    z = torch.randn(5, 3, dtype=F64)
    part = Gaussian(prior.means[0], prior.log_vars[0])
    torch.testing.assert_close(prior(no_images).log_prob(z), part.log_prob(z))


def test_a_mixture_integrates_to_one_and_is_drawn_as_it_says():
    torch.manual_seed(0)
    prior = Mixture(latent=1, components=4).double()
    with torch.no_grad():
        prior.logits.normal_()
        p = prior(no_images)
        axis = torch.linspace(-12, 12, 4001, dtype=F64)
        assert torch.trapezoid(p.log_prob(axis[:, None]).exp(), axis).item() == pytest.approx(1, abs=1e-6)
        drawn = p.sample((40_000,))
    assert drawn.mean().item() == pytest.approx(p.mean.item(), abs=0.05)
    assert drawn.var().item() == pytest.approx(p.variance.item(), rel=0.05)


def test_a_vamp_prior_is_the_aggregate_posterior_of_its_pseudo_inputs():
    model = tiny.model(prior=VampPrior(latent=3, image=(1, 8, 8), components=7)).double()
    z = torch.randn(4, 3, dtype=F64)
    q = model.encode(model.prior.inputs.sigmoid())
    expected = (
        torch.stack([Gaussian(q.mean[i], q.log_var[i]).log_prob(z) for i in range(7)]).logsumexp(0) - torch.tensor(7.0).log()
    )
    torch.testing.assert_close(model.p_z().log_prob(z), expected)
    assert model.sample(2).shape == (2, 1, 8, 8)


def test_exemplars_are_the_last_images_that_went_by():
    model = tiny.model(prior=ExemplarPrior(latent=3, image=(1, 8, 8), components=5)).double()
    prior, x = model.prior, torch.rand(12, 1, 8, 8, dtype=F64)
    for first in range(0, 12, 4):
        prior.absorb(prior.observe(model(x[first : first + 4])), 4)
    held = (prior.images.double() / 255).flatten(1)
    expected = x[-5:].flatten(1)
    assert torch.cdist(held, expected).min(0).values.max() < 0.02  # rounded to 8 bits
    z = torch.randn(4, 3, dtype=F64)
    mean = model.encode(prior.images.double() / 255).mean
    each = torch.stack([Gaussian(mu, prior.log_var.expand(3)).log_prob(z) for mu in mean])
    torch.testing.assert_close(model.p_z().log_prob(z), each.logsumexp(0) - torch.tensor(5.0).log())
    prior.absorb(prior.observe(model(x)), 12)  # a batch with more images than exemplars
    assert torch.cdist((prior.images.double() / 255).flatten(1), expected).min(0).values.max() < 0.02


def test_more_exemplars_than_pictures_are_refused(tmp_path):
    data = tiny.dataset(40)  # 30 to train on

    def begin(name: str, components: int):
        prior = ExemplarPrior(latent=3, image=(1, 8, 8), components=components)
        return start(tmp_path / name, data, tiny.recipe(make=lambda: tiny.model(prior=prior), images=80))

    assert begin("few", 30).exists
    with pytest.raises(UsageError, match=r"31 components.* there are 30 of these.*--set model\.prior\.components=15$"):
        begin("many", 31)
    assert not (tmp_path / "many" / "run.json").exists()


@pytest.mark.parametrize("kind", [Mixture, partial(VampPrior, image=(1, 8, 8)), partial(ExemplarPrior, image=(1, 8, 8))])
def test_a_mixture_of_nothing_is_refused(kind):
    with pytest.raises(UsageError, match="0 components"):
        kind(latent=2, components=0)
