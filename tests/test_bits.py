"""Bits a pixel value, and the intervals beside figures, where both can be worked out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

import tiny
from vaekit.data import binarized
from vaekit.levels import CategoricalLevels, LogisticLevels
from vaekit.likelihoods import BernoulliPixels, ContinuousBernoulliPixels, FixedGaussian, Likelihood
from vaekit.metrics import evaluate, likelihood
from vaekit.metrics.bounds import around, proportion
from vaekit.metrics.evaluate import explained, seen_of
from vaekit.model import VAE
from vaekit.objectives import ELBO, IWAE, Reconstruction
from vaekit.posteriors import Deterministic


def blank(likelihood: Likelihood) -> VAE:
    """A model whose codes carry nothing and whose decoder says 0 everywhere."""
    model = tiny.model(likelihood=likelihood).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    return model


@pytest.mark.parametrize(
    ("likelihood", "how"), [(ContinuousBernoulliPixels(), "uniform dequantisation"), (CategoricalLevels(), "256 levels")]
)
def test_what_knows_nothing_needs_all_eight_bits(likelihood, how):
    """A uniform density on [0, 1], and 256 levels of the same probability."""
    bits = evaluate(blank(likelihood), ELBO(), tiny.dataset())["bits_per_dim"]
    assert bits["value"] == pytest.approx(8, abs=1e-4)
    assert bits["interval"] == pytest.approx([8, 8], abs=1e-4)
    assert bits["unit"] == "bits per pixel value"
    assert how in bits["how"]


def test_black_and_white_needs_one_and_grey_has_none():
    assert evaluate(blank(BernoulliPixels()), ELBO(), binarized(tiny.dataset()))["bits_per_dim"]["value"] == pytest.approx(1)
    assert "bits_per_dim" not in evaluate(blank(BernoulliPixels()), ELBO(), tiny.dataset())


def test_a_density_gives_a_bound_on_the_bits_of_the_levels():
    """N(0.5, 0.1^2): the probability of a level is what the density has between k / 256 and (k + 1) / 256."""
    data = tiny.dataset(400)
    levels = data.take(data.splits["test"]).astype(float)
    edges = [norm.cdf((levels + end) / 256, 0.5, 0.1) for end in (0, 1)]
    upper = [norm.sf((levels + end) / 256, 0.5, 0.1) for end in (0, 1)]
    exact = -np.log2(np.where(levels < 128, edges[1] - edges[0], upper[0] - upper[1])).mean()
    found = evaluate(blank(FixedGaussian(scale=0.1)), ELBO(), data)["bits_per_dim"]["value"]
    assert exact - 0.01 < found < exact + 0.05


def test_the_same_draws_at_every_call():
    data = tiny.dataset()
    model = tiny.model().eval()
    assert evaluate(model, ELBO(), data)["bits_per_dim"] == evaluate(model, ELBO(), data)["bits_per_dim"]
    assert evaluate(model, ELBO(), data)["bits_per_dim"] != evaluate(model, ELBO(), data, seed=1)["bits_per_dim"]


@pytest.mark.parametrize("objective", [ELBO(), IWAE(samples=5)])
def test_a_likelihood_of_levels_sees_the_levels_as_they_are(objective):
    """And the bound is that of one z, however many the objective takes."""
    data = tiny.dataset()
    metrics = evaluate(tiny.model(likelihood=LogisticLevels(components=2)).eval(), objective, data)
    assert metrics["bits_per_dim"]["value"] == pytest.approx(-metrics["elbo"]["value"] / (64 * np.log(2)), rel=1e-5)


def test_a_plain_autoencoder_has_no_bits():
    model = tiny.model(posterior=Deterministic(features=16, latent=3), prior=None).eval()
    assert "bits_per_dim" not in evaluate(model, Reconstruction(), tiny.dataset())


def test_intervals_are_those_of_the_mean_over_images():
    data, model = tiny.dataset(400), tiny.model().eval()
    metrics, rows = evaluate(model, ELBO(), data), data.splits["test"]
    each = explained(model, seen_of(model, data, rows), len(rows))
    for name in ("distortion", "rate", "elbo"):
        low, high = metrics[name]["interval"]
        assert (low + high) / 2 == pytest.approx(metrics[name]["value"])
        assert high - low == pytest.approx(2 * 1.96 * each[name].std(ddof=1) / len(rows) ** 0.5)
    for name in ("rmse", "psnr", "ssim"):
        low, high = metrics[name]["interval"]
        assert low < metrics[name]["value"] < high


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [around(x.mean(), x) for x in rng.exponential(size=(2000, 100))]
    assert np.mean([low < 1 < high for low, high in held]) == pytest.approx(0.95, abs=0.025)
    shares = rng.binomial(60, 0.9, 2000) / 60
    assert np.mean([low < 0.9 < high for low, high in (proportion(share, 60) for share in shares)]) == pytest.approx(
        0.95, abs=0.025
    )
    assert proportion(1.0, 20)[1] == pytest.approx(1)
    assert proportion(1.0, 20)[0] < 0.9


def test_a_single_picture_tells_of_no_others():
    assert around(1.0, np.ones(1)) is None
    data, model = tiny.dataset(), tiny.model(likelihood=BernoulliPixels()).eval()
    data = replace(data, splits=data.splits | {"test": data.splits["test"][:1]})
    metrics = evaluate(model, ELBO(), data) | likelihood(model, data, 5)
    assert metrics["nll"]["count"] == 1
    assert not any("interval" in metric for metric in metrics.values())
