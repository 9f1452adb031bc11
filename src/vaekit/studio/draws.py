"""Codes from a seed: of a model's own prior, or of a density that was fitted to its codes.

Shapes: n codes, D latents, Y columns of what a conditional model is told.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..conditional import Condition
from ..errors import UsageError
from ..latent.encode import prior_codes as drawn_codes
from ..latent.second_stage import draw_codes
from ..model import Model
from ..priors import Prior
from ..run import Run
from .bundle import SEEDED
from .kept import Stamp, stamp_of
from .lanes import Lane

DRAWS = Lane("draws", most=64)  # it waits while a bundle is made, and what is decoded need not
LARGEST = 1e6  # that a conditional model may be told


def told_of(model: Model, given: Sequence[str]) -> np.ndarray:
    """What a conditional model is told by "label=3" and the like, nan for the rest, (Y,); (0,) for any other model."""
    condition: Condition | None = getattr(model, "condition", None)
    if condition is None:
        if given:
            raise UsageError(f"{given[0]!r} was given, but this model was told nothing of its pictures. Leave it out.")
        return np.empty(0, np.float32)
    pairs = {name: value for name, _, value in (text.partition("=") for text in given)}
    for name, value in pairs.items():
        if name != "label" and not abs(number_in(value)) <= LARGEST:
            raise UsageError(f"{name}={value} was given. Expected a number up to {LARGEST:g}.")
    return condition.of(pairs).cpu().numpy()


def number_in(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def prior_codes(model: Model, n: int, seed: int, temperature: float, told: np.ndarray) -> np.ndarray:
    """z ~ p(z), or p(z | c) of a conditional model, (n, D), as `latent.sample` decodes them."""
    with SEEDED, torch.no_grad():
        return drawn_codes(model, n, seed, temperature, np.repeat(told[None], n, 0) if len(told) else None)


class Densities:
    """Those of a run; the last one that was drawn from stays in memory: a slider asks for it at each of its steps."""

    def __init__(self, run: Run):
        self.run = run
        self.kept: tuple[Stamp, str | None, Prior] | None = None

    def draw(self, name: str | None, model: Model, *, n: int, seed: int, temperature: float, given: Sequence[str]) -> np.ndarray:
        """Codes (n, D) of a density by its name, or of the best one."""
        with SEEDED:
            return draw_codes(self.density(name), model, n, seed, temperature, given=given)

    def density(self, name: str | None) -> Prior:
        stamp = stamp_of(self.run)
        if self.kept is None or self.kept[:2] != (stamp, name):
            self.kept = None  # one in memory is enough
            self.kept = stamp, name, self.run.load_prior(name)[1]
        return self.kept[2]
