"""Every part that vaekit ships. Importing this module is what makes `build` know them all."""

from . import (
    autoregressive,
    categorical,
    code_priors,
    code_transformer,
    codebooks,
    conditional,
    flows,
    ladder,
    levels,
    likelihoods,
    model,
    nets,
    objectives,
    posteriors,
    priors,
    schedules,
    sphere,
    training,
)
from .part import Part, build, describe

SHELVES = (
    autoregressive,
    categorical,
    code_priors,
    code_transformer,
    codebooks,
    conditional,
    flows,
    ladder,
    levels,
    likelihoods,
    model,
    nets,
    objectives,
    posteriors,
    priors,
    schedules,
    sphere,
    training,
)

__all__ = ["SHELVES", "Part", "build", "describe"]
