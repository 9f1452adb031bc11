"""Every part that vaekit ships. Importing this module is what makes `build` know them all."""

from . import autoregressive, likelihoods, model, nets, objectives, posteriors, priors, schedules, training
from .part import Part, build, describe

SHELVES = (autoregressive, likelihoods, model, nets, objectives, posteriors, priors, schedules, training)

__all__ = ["SHELVES", "Part", "build", "describe"]
