"""A learned prior is a density: its inverse inverts, its determinant is the Jacobian's, and its draws follow it."""

from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal

import tiny
from vaekit.distributions import Gaussian
from vaekit.errors import UsageError
from vaekit.latent import codes, kl_per_latent
from vaekit.objectives import Consistency
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
    with pytest.raises(UsageError, match="latent is 1; it must be a whole number, 2 or more"):
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


def holding(pictures: torch.Tensor):
    """A model in training, whose exemplars are these."""
    model = tiny.model(prior=ExemplarPrior(latent=3, image=(1, 8, 8), components=len(pictures))).double()
    model.prior.images.copy_(pictures)
    return model


def test_an_image_in_training_does_not_stand_beside_its_own_code():
    """Norouzi et al. (2020): leave-one-out, the mirror image too."""
    torch.manual_seed(0)
    held = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    model = holding(held)
    means = model.encode(held.double() / 255).mean
    halves = torch.cat([held[2, :, :4].flip(-1), held[2, :, 4:]], 1)  # the upper half alone is mirrored
    x = torch.stack([held[3], held[1].flip(-1), 255 - held[0], halves]).double() / 255  # its own, its own mirrored, none, none
    t = model(x, 2)
    each = torch.stack([Gaussian(mu, model.prior.log_var.expand(3)).log_prob(t.group.z) for mu in means])  # (C, K, B)
    for image, own in enumerate((3, 1, None, None)):
        others = [number for number in range(5) if number != own]
        expected = each[others, :, image].logsumexp(0) - torch.tensor(float(len(others))).log()
        torch.testing.assert_close(t.group.log_p[:, image], expected)
    assert t.group.dream().shape == (4, 3)
    t.group.kl.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    again = model.eval()(x, 2)  # a density of pictures does not depend on which one is asked about
    torch.testing.assert_close(again.group.log_p, model.p_z().log_prob(again.group.z))


def test_a_moved_copy_does_not_stand_beside_the_code_of_its_image():
    torch.manual_seed(0)
    held = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    t = Consistency().look(holding(held), held[:2].double() / 255)
    own = torch.eye(2, 5, dtype=torch.bool)
    assert torch.equal(t.moved.group.p.mixture_distribution.probs == 0, own)
    assert not torch.equal(t.moved.group.z, t.group.z)


def test_pseudo_inputs_are_of_the_models_size():
    for kind in (VampPrior, ExemplarPrior):
        with pytest.raises(UsageError, match=r"The encoder has image=.* and the prior image=\(1, 16, 16\)"):
            tiny.model(prior=kind(latent=3, image=(1, 16, 16)))


def test_an_image_that_is_all_exemplars_is_asked_of_itself():
    held = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    t = holding(held)(held.double() / 255)
    assert torch.isfinite(t.group.kl).all()


def test_no_image_of_a_training_finds_its_own_exemplar():
    """As many exemplars as there are pictures, and a new order in every epoch: without care most would."""
    torch.manual_seed(0)
    pictures = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    model, met = holding(torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)), 0
    for _ in range(4):
        for rows in torch.randperm(20).split(5):
            x = pictures[rows].double() / 255
            t = model(x)
            same = (pictures[rows][:, None] == model.prior.images).flatten(2).all(2)
            met += same.any(1).sum().item()
            assert torch.equal(t.group.p.mixture_distribution.probs == 0, same)
            model.prior.absorb(model.prior.observe(t), 5)
    assert met > 20


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
    with pytest.raises(UsageError, match="components is 0; it must be a whole number, 1 or more"):
        kind(latent=2, components=0)
