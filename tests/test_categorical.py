"""Categorical latents: draws are one-hot, as often as they are probable, and the closed form is the mean log ratio."""

import json

import numpy as np
import pytest
import torch
from torch.distributions import kl_divergence

import tiny
from vaekit.categorical import CategoricalLatents, OneHots, UniformCategories
from vaekit.errors import UsageError
from vaekit.latent import codes, decode, kl_per_latent, reconstruct
from vaekit.metrics import evaluate
from vaekit.objectives import ELBO
from vaekit.terms import rate

F64 = torch.float64


def logits(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_draws_are_one_hot_and_as_often_as_probable():
    torch.manual_seed(0)
    q = OneHots(logits(0))
    z = q.rsample((20_000,))
    torch.testing.assert_close(z, z.round())
    each = z.unflatten(-1, (3, 4))
    assert torch.equal(each.round().sum(-1), torch.ones(20_000, 2, 3, dtype=F64))
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), q.variance, atol=0.02, rtol=0)


def test_probabilities_add_up_to_one():
    q = OneHots(logits(0)[:, :1])
    torch.testing.assert_close(q.log_prob(torch.eye(4, dtype=F64)[:, None]).exp().sum(0), torch.ones(2, dtype=F64))


def test_the_kl_is_the_mean_log_ratio():
    torch.manual_seed(0)
    q, p = OneHots(logits(0)), OneHots(logits(1)[0])
    z, log_q = q.rsample_and_log_prob((40_000,))
    torch.testing.assert_close(kl_divergence(q, p), (log_q - p.log_prob(z)).mean(0), atol=0.03, rtol=0)


def test_the_gradient_is_that_of_the_relaxed_draw():
    torch.manual_seed(0)
    raw = logits(0).requires_grad_()
    (OneHots(raw, 0.5).rsample((50,)) * torch.randn(24, dtype=F64)[:12]).sum().backward()
    assert raw.grad.abs().sum() > 0
    torch.testing.assert_close(raw.grad.sum(-1), torch.zeros(2, 3, dtype=F64))  # a softmax does not feel a shift


def test_what_cannot_be_dealt_is_said():
    with pytest.raises(UsageError, match="must be a multiple"):
        CategoricalLatents(features=2, latent=10, categories=3)
    with pytest.raises(UsageError, match="2 or more"):
        UniformCategories(latent=4, categories=1)
    with pytest.raises(UsageError, match="above 0"):
        CategoricalLatents(features=2, latent=4, categories=2, temperature=0.0)


def test_a_reconstruction_is_of_the_likeliest_categories():
    """The decoder never saw anything but one-hot codes: not their mean."""
    model = tiny.model(
        latent=6,
        posterior=CategoricalLatents(features=16, latent=6, categories=3),
        prior=UniformCategories(latent=6, categories=3),
    )
    pictures = tiny.pictures(5)
    mu = codes(model, pictures).mu
    assert ((mu > 0) & (mu < 1)).any()
    hard = (mu.reshape(5, 2, 3) == mu.reshape(5, 2, 3).max(-1, keepdims=True)).reshape(5, 6)
    np.testing.assert_array_equal(reconstruct(model, pictures), decode(model, hard.astype(np.float32)))


def test_what_each_choice_carries_adds_up_to_the_rate_and_can_be_kept():
    """Of the first choice the model is so sure that its variance is 0 in fp32."""
    torch.manual_seed(0)
    q, p = CategoricalLatents(features=16, latent=6, categories=3), UniformCategories(latent=6, categories=3)
    model, data = tiny.model(latent=6, posterior=q, prior=p).eval(), tiny.dataset()
    with torch.no_grad():
        model.posterior.head.weight[:3].mul_(1e6)
    found = codes(model, data.pixels)
    assert np.isneginf(found.log_var).any()
    kl = kl_per_latent(model, found)
    np.testing.assert_array_equal(kl, kl[::3].repeat(3))
    assert kl[0] == pytest.approx(np.log(3), rel=1e-3)
    expected = rate(model(torch.from_numpy(data.pixels) / 255)).mean().item()
    assert kl[::3].sum() == pytest.approx(expected, rel=1e-4)
    metrics = evaluate(model, ELBO(), data)
    json.dumps(metrics, allow_nan=False)
    active = metrics["active_latents"]
    assert (active["unit"], len(active["kl_per_latent"])) == ("choices", 2)
