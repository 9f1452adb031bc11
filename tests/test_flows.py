"""Flows invert, their determinant is the Jacobian's, and what they draw has the density that they say."""

import math

import numpy as np
import pytest
import torch

from vaekit.distributions import Flow
from vaekit.errors import UsageError
from vaekit.flows import InverseAutoregressive, SplineFlow

F64 = torch.float64


def densities(latent: int, seed: int = 0) -> dict[str, Flow]:
    torch.manual_seed(seed)
    h = torch.randn(1, 5, dtype=F64)
    return {
        "iaf": InverseAutoregressive(features=5, latent=latent, width=16).double()(h),
        "spline": InverseAutoregressive(features=5, latent=latent, width=16, spline=True).double()(h),
        "prior": SplineFlow(latent=latent, width=16).double()(),
    }


@pytest.mark.parametrize("name", ["iaf", "spline", "prior"])
@pytest.mark.parametrize("latent", [2, 5])
def test_it_inverts_and_the_determinant_is_the_jacobians(name, latent):
    flow = densities(latent)[name]
    u = torch.randn(4, *flow.batch_shape, latent, dtype=F64)
    z, log_det = flow.from_base(u)
    back, inverse_log_det = flow.to_base(z)
    torch.testing.assert_close(back, u, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-6, rtol=1e-6)
    for point, value in zip(u.reshape(-1, latent), log_det.reshape(-1), strict=True):
        shaped = point.reshape(*flow.batch_shape, latent)
        jacobian = torch.autograd.functional.jacobian(lambda at: flow.from_base(at)[0], shaped).reshape(latent, latent)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], value)


@pytest.mark.parametrize("name", ["iaf", "spline", "prior"])
def test_a_draw_says_its_own_density(name):
    flow = densities(3)[name]
    z, log_prob = flow.rsample_and_log_prob((6,))
    torch.testing.assert_close(log_prob, flow.log_prob(z), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["iaf", "spline", "prior"])
def test_the_density_integrates_to_one(name):
    flow = densities(2)[name]
    with torch.no_grad():
        centre, reach = flow.mean.reshape(2), 9 * flow.variance.sqrt().reshape(2) + 1
        steps = torch.linspace(-1, 1, 500, dtype=F64)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2) * reach + centre
        points = grid.reshape(-1, *flow.batch_shape, 2)
        total = flow.log_prob(points).exp().sum() * (steps[1] - steps[0]) ** 2 * reach.prod()
    assert total.item() == pytest.approx(1, abs=5e-3)


def test_mean_and_variance_are_about_those_of_draws():
    torch.manual_seed(0)
    flow = densities(3)["iaf"]
    with torch.no_grad():
        z = flow.rsample((40_000,))[:, 0]
    np.testing.assert_allclose(z.mean(0), flow.mean[0].detach(), atol=0.3 * math.sqrt(flow.variance.max().item()))
    np.testing.assert_allclose(z.var(0), flow.variance[0].detach(), rtol=0.5)


def test_sizes_that_make_no_flow_are_refused():
    with pytest.raises(UsageError, match="latent is 1; it must be a whole number, 2 or more"):
        SplineFlow(latent=1)
    with pytest.raises(UsageError, match="flows is 0; it must be a whole number, 1 or more"):
        InverseAutoregressive(features=2, latent=3, flows=0)
