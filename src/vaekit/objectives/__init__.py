"""Objectives: what training minimises. One paper, one file."""

from .classic import Classic
from .elbo import ELBO
from .objective import Objective
from .reconstruction import Reconstruction

__all__ = ["ELBO", "Classic", "Objective", "Reconstruction"]
