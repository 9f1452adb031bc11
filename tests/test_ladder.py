"""The hierarchical VAE: its groups are one joint density, and what it says of z does not depend on how z was come by."""

import pytest
import torch

from conformance import ladder
from vaekit.errors import UsageError
from vaekit.ladder import Ladder
from vaekit.likelihoods import BernoulliPixels
from vaekit.terms import rate

F64 = torch.float64


@pytest.fixture
def model():
    torch.manual_seed(0)
    found, _ = ladder()()
    for p in found.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return found.double().eval()


@pytest.fixture
def x():
    return torch.rand(3, 1, 8, 8, dtype=F64)


def test_the_groups_are_one_joint_density(model, x):
    t = model(x, 2)
    z = torch.cat([group.z for group in t.groups], -1)
    assert z.shape == (2, 3, model.latent)
    torch.testing.assert_close(model.encode(x).log_prob(z), sum(group.log_q for group in t.groups))
    torch.testing.assert_close(model.p_z().log_prob(z), sum(group.log_p for group in t.groups))
    torch.testing.assert_close(model.decode(z).log_prob(x), t.log_px)


def test_a_draw_says_its_own_density(model, x):
    q = model.encode(x)
    z, log_q = q.rsample_and_log_prob((4,))
    assert z.shape == (4, 3, model.latent)
    torch.testing.assert_close(log_q, q.log_prob(z))
    z, log_p = model.p_z().rsample_and_log_prob((5,))
    assert z.shape == (5, model.latent)
    torch.testing.assert_close(log_p, model.p_z().log_prob(z))


def test_the_rate_is_the_mean_log_ratio(model, x):
    torch.manual_seed(0)
    with torch.no_grad():
        t = model(x, 3000)
        ratios = sum(group.log_q - group.log_p for group in t.groups)
    torch.testing.assert_close(rate(t), ratios.mean(0), rtol=0.03, atol=0.05)


def test_mean_and_spread_have_the_shape_of_codes(model, x):
    q = model.encode(x)
    assert q.mean.shape == q.variance.shape == (3, model.latent)
    assert (q.variance > 0).all()
    assert model.p_z().mean.shape == (model.latent,)


def test_untrained_it_knows_nothing_of_the_image(x):
    """Posteriors begin as priors, so the rate of the first batch is 0."""
    found, _ = ladder()()
    torch.testing.assert_close(rate(found.double()(x)), torch.zeros(3, dtype=F64))


def test_a_picture_without_a_stair_is_refused():
    with pytest.raises(UsageError, match="Give a smaller one"):
        Ladder(image=(1, 4, 4), likelihood=BernoulliPixels())


def test_a_temperature_scales_every_group_around_its_own_mean(model):
    torch.manual_seed(0)
    torch.testing.assert_close(model.draw(3, 0.0), model.p_z().mean.expand(3, -1))
    torch.manual_seed(1)
    cold = model.draw(4000, 0.5)
    torch.manual_seed(1)
    warm = model.draw(4000)
    top = model.sizes[0]
    torch.testing.assert_close(cold[:, :top].std(0), 0.5 * warm[:, :top].std(0), rtol=1e-3, atol=1e-6)
