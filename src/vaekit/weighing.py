"""How much of a reconstruction's error counts beside the rate: the likelihood and beta, by their names and numbers."""

import inspect
from collections.abc import Callable
from math import isfinite, prod

from .errors import UsageError
from .levels import CategoricalLevels, LogisticLevels
from .likelihoods import (
    BernoulliPixels,
    ContinuousBernoulliPixels,
    FixedGaussian,
    LaplacePixels,
    LearnedGaussian,
    Likelihood,
    OptimalGaussian,
    PerPixelGaussian,
    StudentTPixels,
)
from .objectives import ELBO, Classic, Objective
from .objectives.classic import sigma_of
from .part import Positive, Weight, known
from .schedules import Cosine, Cyclical, Linear, Schedule
from .variants import Shape

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliPixels,
    "continuous-bernoulli": ContinuousBernoulliPixels,
    "gaussian": OptimalGaussian,
    "learned-gaussian": LearnedGaussian,
    "per-pixel-gaussian": PerPixelGaussian,
    "laplace": LaplacePixels,
    "student-t": StudentTPixels,
    "logistic": LogisticLevels,
    "categorical": CategoricalLevels,
}
SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "cosine": Cosine, "cyclical": Cyclical}


def weigh(
    image: Shape,
    likelihood: str | None = None,
    *,
    beta: Weight | None = None,
    sigma: Positive | None = None,
    r_loss_factor: Positive | None = None,
    error: str = "mse",
    beta_schedule: str | None = None,
    beta_images: Positive | None = None,
    free_bits: Weight | None = None,
) -> tuple[Likelihood, Objective]:
    """One of the three ways to say how much reconstruction counts; by default the optimal sigma and beta = 1.

    `beta_schedule` (linear, cosine, cyclical) brings beta from 0 up over `beta_images`; `free_bits` are nats per latent.
    Raises UsageError where two options contradict each other.
    """
    ways = {"likelihood": likelihood, "beta": beta, "sigma": sigma, "free_bits": free_bits}
    ways |= {"beta_schedule": beta_schedule, "beta_images": beta_images}
    given = [f"{name}={value}" for name, value in ways.items() if value is not None]
    if r_loss_factor is not None:
        if given:
            both = ", ".join([*given, f"r_loss_factor={r_loss_factor}"])
            raise UsageError(
                f"{both} say in different ways what the loss is: r_loss_factor decides likelihood and beta as well. "
                "Give r_loss_factor alone, or leave it out."
            )
        objective = Classic(r_loss_factor=r_loss_factor, error=error)  # which says what is wrong with a factor that is none
        density = FixedGaussian(scale=sigma_of(r_loss_factor, prod(image))) if error == "mse" else OptimalGaussian()
        return density, objective
    if likelihood not in (None, *LIKELIHOODS):
        raise UsageError(f"No likelihood is named {likelihood!r}. {known(likelihood, LIKELIHOODS)}")
    if sigma is not None and likelihood not in (None, "gaussian"):
        raise UsageError(f"likelihood={likelihood} has no sigma, and sigma={sigma} was given. Leave out one of them.")
    if isinstance(sigma, int | float) and not (sigma > 0 and isfinite(sigma)):
        raise UsageError(f"sigma is {sigma}; it must be a number, above 0.")
    density = FixedGaussian(scale=sigma) if sigma is not None else LIKELIHOODS[likelihood or "gaussian"]()
    return density, ELBO(beta=rising(1.0 if beta is None else beta, beta_schedule, beta_images), free_bits=free_bits or 0.0)


def rising(beta: float, schedule: str | None, images: float | None) -> float | Schedule:
    """beta itself, or its schedule over so many images."""
    if schedule is None and images is None:
        return beta
    if schedule not in SCHEDULES or images is None:
        given = f"beta_schedule={schedule} with beta_images={images}"
        raise UsageError(f"{given}: a schedule has a name ({', '.join(SCHEDULES)}) and a length. Give both.")
    return SCHEDULES[schedule](images=images, end=beta)


WEIGHTS = {  # the options of `weigh`, and what each takes
    name: parameter.annotation
    for name, parameter in inspect.signature(weigh).parameters.items()
    if name not in ("image", "error")
}
