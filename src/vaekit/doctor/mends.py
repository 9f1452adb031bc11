"""What mends a run, in options that its own recipe takes: whatever that is, --set changes the numbers of its objective."""

import math
from math import prod

from ..distributions import Gaussian
from ..ladder import Ladder
from ..likelihoods import FixedGaussian, OptimalGaussian
from ..model import Model
from ..objectives import (
    AAE,
    ELBO,
    GECO,
    VAEGAN,
    WAEGAN,
    WAEMMD,
    BetaTCVAE,
    Capacity,
    Classic,
    FactorVAE,
    InfoVAE,
    KLAutoencoder,
    Objective,
    Perceptual,
    Structural,
)
from ..objectives.classic import r_loss_factor_of
from ..part import fields_of
from ..posteriors import DiagonalGaussian
from ..schedules import Schedule, at

STEP = 4.0  # times a number, or through it
FREE = {"latent": 0.1, "group": 2.0}  # nats
# The number of an objective on which hangs how much codes carry, and whether that rises with it.
CARRY: dict[type[Objective], tuple[str, bool]] = {
    ELBO: ("beta", False),
    Classic: ("r_loss_factor", True),
    Capacity: ("capacity", True),
    BetaTCVAE: ("beta", False),
    FactorVAE: ("gamma", False),
    InfoVAE: ("weight", False),
    WAEMMD: ("weight", False),
    WAEGAN: ("weight", False),
    AAE: ("weight", False),
    VAEGAN: ("likeness", True),
    Structural: ("weight", True),
    Perceptual: ("weight", True),
    GECO: ("rmse", False),
    KLAutoencoder: ("weight", False),
}


def carrying(objective: Objective, more: bool) -> str:
    """The option with which codes carry more, or less; "" where no number of the objective says how much.

    It goes to the usual value or by STEP, whichever is further.
    """
    name, rises = CARRY.get(type(objective), ("", False))
    if not name:
        return ""
    now = float(at(getattr(objective, name), math.inf))
    usual: float = next(field.default for field in fields_of(objective) if field.name == name)  # pyright: ignore
    return number(objective, name, max(now * STEP, usual) if rises == more else min(now / STEP, usual))


def number(objective: Objective, name: str, value: float) -> str:
    """The option that gives a number of the objective this value, a schedule at its end."""
    told = f"{float(f'{value:.3g}'):g}"
    if isinstance(objective, Classic):  # the density of its figures follows this option alone
        return f"--r-loss-factor {told}"
    return f"--set objective.{name}{'.end' * isinstance(getattr(objective, name), Schedule)}={told}"


def free(model: Model, objective: Objective) -> str:
    """The option that lets codes carry some nats for nothing; "" where the objective knows no such thing."""
    if not isinstance(objective, ELBO):
        return ""
    alone = isinstance(getattr(model, "posterior", None), DiagonalGaussian) and isinstance(model.p_z(), Gaussian)
    per = "latent" if alone or isinstance(model, Ladder) else "group"  # else no latent has a KL of its own
    return f"--set objective.free_bits={max(FREE[per], 2 * objective.free_bits):g} objective.per={per}"


def more_in_codes(model: Model, objective: Objective, residual: float) -> str:
    """What makes codes carry more; residual: the error of reconstructions, in pixel values."""
    ways = [way for way in (carrying(objective, more=True), free(model, objective)) if way]
    if not ways and objective.asks_density and isinstance(model.likelihood, OptimalGaussian | FixedGaussian):
        ways = [f"--sigma {residual / 2:.2g}"]
    return ", or ".join(ways) or "more --images"


def sharper(model: Model, objective: Objective, residual: float) -> str:
    """What weighs pixels as their residual says, where the loss is a weighted squared error and beta is 1."""
    if isinstance(objective, Classic):
        return number(objective, "r_loss_factor", r_loss_factor_of(residual, prod(model.image)))
    if isinstance(model.likelihood, FixedGaussian):
        return f"--sigma {residual:.2g}, or --likelihood gaussian, so that it is found"
    return "more --images"
