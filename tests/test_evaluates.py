"""Every variant evaluates: figures, the bound by importance sampling and the one by annealing, or words why there is none."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import tiny
from conformance import VARIANTS
from vaekit.data import Dataset
from vaekit.distributions import CorrelatedGaussian, Gaussian
from vaekit.errors import UsageError
from vaekit.metrics.evaluate import annealing, evaluate, explained, likelihood, seen_of
from vaekit.model import Model
from vaekit.objectives import BetaTCVAE, FactorVAE
from vaekit.terms import decomposed_rate
from vaekit.train import picture, traces

NO_BOUND = "no bound on p"
PLAIN = ("distortion", "loss", "residual", "rmse", "psnr", "ssim", "neighbour_accuracy")


def known(model: Model, count: int = 120) -> Dataset:
    """Pictures with the labels and the attribute that the table's conditional models are told; some have no label."""
    rng, data = np.random.default_rng(0), tiny.dataset(count, model.image)
    labels, attributes = rng.integers(-1, 2, count), rng.normal(size=(count, 1)).astype(np.float32)
    return replace(data, labels=labels, label_names=("a", "b"), attributes=attributes, attribute_names=("x",))


@pytest.fixture(params=VARIANTS)
def variant(request):
    torch.manual_seed(0)
    model, objective = VARIANTS[request.param]()
    return model.eval(), objective, known(model)


def test_every_figure_is_a_number_and_the_elbo_is_there_where_the_model_has_one(variant):
    model, objective, data = variant
    found = evaluate(model, objective, data)
    assert {*PLAIN, *objective.measured} <= found.keys()
    assert [name for name, figure in found.items() if not math.isfinite(figure["value"])] == []
    assert {"rate", "elbo"} & found.keys() == ({"rate", "elbo"} if model.has_rate else set())
    if model.has_rate:
        assert found["elbo"]["value"] == pytest.approx(-found["distortion"]["value"] - found["rate"]["value"])


def test_the_bound_by_importance_sampling_is_the_elbo_of_one_draw_and_no_worse_with_more_or_refused(variant):
    model, _, data = variant
    if not model.has_rate:
        with pytest.raises(UsageError, match=NO_BOUND):
            likelihood(model, data, 8)
        return
    rows = data.splits["test"]
    elbo = explained(model, seen_of(model, data, rows), len(rows))["elbo"]
    one, many = (-np.array(likelihood(model, data, samples)["nll"]["per_image"]) - elbo for samples in (1, 64))
    assert abs(one.mean()) < noise(one)
    assert many.mean() > -noise(many)


def noise(each: np.ndarray) -> float:
    """How far from 0 the mean of these may be where that of all such is 0."""
    return 5 * each.std(ddof=1) / len(each) ** 0.5 + 1e-3


def test_a_model_is_annealed_where_its_posterior_is_a_gaussian_and_refused_elsewhere(variant):
    model, _, _ = variant
    data = known(model, 16)
    pixels, c = seen_of(model, data, data.splits["test"])(slice(None))
    if not model.has_rate or not isinstance(model.encode(picture(pixels), c), Gaussian | CorrelatedGaussian):
        with pytest.raises(UsageError, match=rf"{NO_BOUND}|Annealing follows gradients from a Gaussian"):
            annealing(model, data, 2)
        return
    assert all(math.isfinite(figure["value"]) for figure in annealing(model, data, 2).values())


TERMS = ("mutual_information", "total_correlation", "dimension_wise_kl")


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 6.0, 1.0), (0.5, 12.0, 3.0)])
def test_beta_tcvae_tells_the_parts_of_the_rate_without_their_weights(weights):
    """They are the same under any weights, over as many images as the loss is about, and with the weights they are the loss."""
    torch.manual_seed(0)
    model, data = tiny.model().eval(), tiny.dataset(80)
    objective = BetaTCVAE(**dict(zip(("alpha", "beta", "gamma"), weights, strict=True)))
    found = evaluate(model, objective, data)
    seen, rows = seen_of(model, data, data.splits["test"]), len(data.splits["test"])
    (trace,) = traces(partial(objective.look, model), seen, [slice(0, rows)], 0)
    expected = [part.mean().item() for part in decomposed_rate(trace, len(data.splits["train"]))]
    told = [found[name]["value"] for name in TERMS]
    assert told == pytest.approx(expected, rel=1e-4, abs=1e-5)
    weighed = sum(weight * value for weight, value in zip(weights, told, strict=True))
    assert found["loss"]["value"] == pytest.approx(found["distortion"]["value"] + weighed, rel=1e-5)
    assert {found[name]["unit"] for name in TERMS} == {"nats per image"}


def test_factor_vae_tells_the_total_correlation_without_its_weight():
    def told(gamma: float) -> tuple[float, float]:
        torch.manual_seed(0)
        model, objective = tiny.model().eval(), FactorVAE(latent=3, width=8, depth=1, gamma=gamma)
        found = evaluate(model, objective, tiny.dataset(80))
        assert found["total_correlation"]["unit"] == "nats per image"
        return found["loss"]["value"], found["total_correlation"]["value"]

    (one, tc), (ten, same) = told(1.0), told(10.0)
    assert tc == same != 0
    assert ten - one == pytest.approx(9 * tc, rel=1e-2)
