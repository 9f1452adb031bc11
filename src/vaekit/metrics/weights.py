"""What a loss weight means: r_loss_factor, beta and sigma are one number said three ways, for a given count of pixel values."""

import math
from math import prod
from typing import NamedTuple

from ..likelihoods import Likelihood
from ..objectives import ELBO, Classic, Objective
from ..objectives.classic import r_loss_factor_of, sigma_of
from ..schedules import at


class Weights(NamedTuple):
    """The same trade between reconstruction and KL in the three usual ways of saying it, in pixel units [0, 1]."""

    r_loss_factor: float  # of r_loss_factor * MSE + KL
    beta: float  # of SSE + beta * KL, the squared errors summed over pixel values
    sigma: float  # the standard deviation of a Gaussian decoder in -log p(x|z) + KL


def weights_of(image: tuple[int, int, int], objective: Objective, likelihood: Likelihood) -> Weights | None:
    """What the loss of a Gaussian (or MSE) model says; None where the loss is no weighted squared error.

    With -log N(x; mean, s^2) + beta * KL the trade is that of sigma = s * sqrt(beta). An optimal sigma is known once trained.
    """
    values, sigma = prod(image), 0.0  # 0 stands for a loss without squared error, or without KL beside it
    if isinstance(objective, Classic) and objective.error == "mse":
        sigma = sigma_of(objective.r_loss_factor, values)
    elif isinstance(objective, ELBO) and likelihood.sigma is not None:
        sigma = likelihood.sigma * math.sqrt(at(objective.beta, math.inf))
    if sigma == 0:
        return None
    return Weights(r_loss_factor_of(sigma, values), 2 * sigma**2, sigma)
