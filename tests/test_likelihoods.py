"""A density is the one that its parameters mean, and what a step asks of a likelihood beside; more in test_distributions.py."""

import math

import numpy as np
import pytest
import torch
from torch import distributions as torchs

import tiny
from conformance import LIKELIHOODS
from tiny import CPU, pictures
from vaekit import likelihoods
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.levels import CategoricalLevels, LogisticLevels
from vaekit.likelihoods import (
    FINEST,
    BernoulliPixels,
    ContinuousBernoulliPixels,
    FixedGaussian,
    LaplacePixels,
    LearnedGaussian,
    OptimalGaussian,
    PerPixelGaussian,
    StudentTPixels,
    residual,
)
from vaekit.trace import Trace
from vaekit.train import train

F64 = torch.float64


def optimal(scale: float) -> OptimalGaussian:
    likelihood = OptimalGaussian().eval()
    likelihood.variance.fill_(scale**2)
    return likelihood


def wide(scale: float) -> float:
    """A standard deviation with that of rounding beside it."""
    return math.hypot(scale, FINEST)


def logistics(x, logits, shifts, log_scales):
    """The mass of a mixture of two logistics, around 1/3 and 2/3, within half a level of x, and beyond at the ends."""
    centres, scales = shifts + torch.tensor([1 / 3, 2 / 3], dtype=F64)[:, None, None, None, None, None], (log_scales - 3).exp()
    below, above = (((x + half - centres) / scales).sigmoid() for half in (-0.5 / 255, 0.5 / 255))
    mass = torch.where(x == 1, 1, above) - torch.where(x == 0, 0, below)
    return (logits.softmax(0) * mass).sum(0).log()


MEANT = {  # a likelihood, and log p(x) of a pixel value whose numbers (V, ...) the decoder gives
    "bernoulli": (BernoulliPixels(), lambda x, n: torchs.Bernoulli(logits=n[0]).log_prob(x.round())),
    "continuous-bernoulli": (ContinuousBernoulliPixels(), lambda x, n: torchs.ContinuousBernoulli(logits=n[0]).log_prob(x)),
    "laplace": (LaplacePixels(scale=0.3), lambda x, n: torchs.Laplace(n[0].sigmoid(), 0.3).log_prob(x)),
    "fixed-gaussian": (FixedGaussian(scale=0.3), lambda x, n: torchs.Normal(n[0].sigmoid(), 0.3).log_prob(x)),
    "learned-gaussian": (LearnedGaussian(initial=0.3), lambda x, n: torchs.Normal(n[0].sigmoid(), wide(0.3)).log_prob(x)),
    "optimal-gaussian": (optimal(0.3), lambda x, n: torchs.Normal(n[0].sigmoid(), 0.3).log_prob(x)),
    "per-pixel-gaussian": (
        PerPixelGaussian(),
        lambda x, n: torchs.Normal(n[0].sigmoid(), ((n[1] / 2 - 2).exp() ** 2 + FINEST**2).sqrt()).log_prob(x),
    ),
    "student-t": (
        StudentTPixels(df=3.0, initial=0.3),
        lambda x, n: torchs.StudentT(3.0, n[0].sigmoid(), wide(0.3)).log_prob(x),
    ),
    "logistic-levels": (LogisticLevels(components=2), lambda x, n: logistics(x, *n.unflatten(0, (3, 2)))),
    "categorical-levels": (
        CategoricalLevels(),
        lambda x, n: torchs.Categorical(logits=n.movedim(0, -1)).log_prob((255 * x).round()),
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_a_density_is_the_one_that_its_parameters_mean(name):
    """Of two channels, whose numbers come one channel after the other."""
    torch.manual_seed(0)
    likelihood, log_p = MEANT[name]
    numbers = 0.3 * torch.randn(2, 3, 2, likelihood.per_pixel, 4, 5, dtype=F64)
    x = (255 * torch.rand(3, 2, 4, 5, dtype=F64)).round() / 255
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 1
    x = x.round() if likelihood.support == "bits" else x
    found = likelihood.double()(numbers.flatten(2, 3)).log_prob(x)
    expected = log_p(x, numbers.movedim(3, 0)).sum((-3, -2, -1))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)  # far from 0 a log-variance is bent


@pytest.mark.parametrize("df", [1e4, 1e6, 1e8])
def test_students_t_of_many_degrees_of_freedom_is_gausss_in_fp32(df):
    x, numbers = torch.rand(2, 1, 4, 5), torch.zeros(1, 2, 1, 4, 5)
    found = StudentTPixels(df=df, initial=0.2)(numbers).log_prob(x)
    torch.testing.assert_close(
        found, torchs.Normal(0.5, wide(0.2)).log_prob(x[None]).sum((-3, -2, -1)).float(), rtol=1e-3, atol=1e-3
    )


def test_every_likelihood_is_held_to_what_its_parameters_mean():
    assert {type(make()) for make in LIKELIHOODS.values()} == {type(likelihood) for likelihood, _ in MEANT.values()}


def test_a_step_finds_the_optimal_sigma_once(monkeypatch):
    """Several processes meet for it, every time."""
    asked = []

    def noting(mean, x):
        asked.append(x)
        return residual(mean, x)

    monkeypatch.setattr(likelihoods, "residual", noting)
    state, settings = tiny.state()
    next(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, Execution(CPU)))
    assert len(asked) == 1


def test_the_optimal_sigma_is_that_of_the_batch_that_is_asked_about():
    torch.manual_seed(0)
    likelihood, out = OptimalGaussian().train(), torch.randn(1, 4, 1, 2, 2)
    x, other = torch.rand(2, 4, 1, 2, 2)
    p = likelihood(out)
    p.log_prob(other)
    torch.testing.assert_close(likelihood.observe(Trace(x, (), p)), residual(p.mean, x))
    torch.testing.assert_close(p.log_prob(other), likelihood(out).log_prob(other))
