"""What a step asks of a likelihood beside its density, which test_distributions.py holds."""

import numpy as np
import torch

import tiny
from tiny import CPU, pictures
from vaekit import likelihoods
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.likelihoods import OptimalGaussian, residual
from vaekit.trace import Trace
from vaekit.train import train


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
