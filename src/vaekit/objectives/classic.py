"""The textbook VAE: a weighted reconstruction error plus KL (Foster, Generative Deep Learning, 2019, chapter 3).

Two forms go by the name r_loss_factor. The book's text has the root mean squared error of an image; the well-known Keras code has
the mean squared error. `sigma_of` and its inverse tell what the second one says about pixels.
"""

import math

from ..errors import UsageError
from ..part import Positive
from ..terms import mse, rate, rmse
from .objective import Objective

ERRORS = {"rmse": rmse, "mse": mse}


class Classic(Objective):
    """r_loss_factor * R + KL, with R the RMSE (`error="rmse"`) or the MSE (`error="mse"`) over the pixel values of an image.

    With "mse" it is, up to a constant, an ELBO whose Gaussian decoder has sigma^2 = D / (2 r_loss_factor), D pixel values.
    """

    asks_density = False

    r_loss_factor: Positive = 10_000  # 500 to 10000 is usual
    error: str = "mse"

    def __post_init__(self):
        if self.error not in ERRORS:
            raise UsageError(f"Classic knows no error {self.error!r}; choose 'rmse' or 'mse'.")

    def forward(self, t, at):
        return {"r_loss": self.r_loss_factor * ERRORS[self.error](t), "kl": rate(t)}


def sigma_of(r_loss_factor: float, values: int) -> float:
    """The standard deviation of a pixel that r_loss_factor * MSE + KL stands for, with `values` pixel values an image."""
    return math.sqrt(values / (2 * r_loss_factor))


def r_loss_factor_of(sigma: float, values: int) -> float:
    """The r_loss_factor (MSE form) of a Gaussian decoder with this standard deviation."""
    return values / (2 * sigma**2)
