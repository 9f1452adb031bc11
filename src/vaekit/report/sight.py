"""What the figures of a run look at."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..data import Dataset
from ..distributions import Space
from ..latent import CodeGaussian, Codes, Projection, codes, encode, fit_gaussian, kl_per_latent, project
from ..metrics.evaluate import NUMBERS, stand_ins
from ..run import Run

MOST_POINTS = 10_000  # in a scatter


class Picture(NamedTuple):
    """A figure with its words."""

    name: str
    figure: Figure
    caption: str
    alt: str


class Sight:
    """What the figures of a run look at, each thing computed once and only when a figure asks."""

    def __init__(self, run: Run, data: Dataset, seed: int = 0):
        self.run, self.data, self.seed = run, run.as_measured(data), seed
        self.model = run.load_model()
        self.split = "test" if len(data.splits["test"]) else "validation"
        self.rows = data.splits[self.split]

    @property
    def has_prior(self) -> bool:
        return self.model.has_prior

    @property
    def prior(self) -> str:
        """Where new codes come from."""
        return "the prior N(0, 1)" if self.model.is_standard else "the model's own prior"

    @property
    def anywhere(self) -> bool:
        """Whether any numbers are a code; entries of a codebook, choices and directions are not."""
        return self.model.space is Space.NUMBERS

    @cached_property
    def points(self) -> np.ndarray:
        """Rows of held-out images in the scatters."""
        most = min(MOST_POINTS, NUMBERS // self.model.latent)
        return np.sort(np.random.default_rng(self.seed).permutation(self.rows)[:most])

    @cached_property
    def codes(self) -> Codes:
        return codes(self.model, self.data.pixels, self.points)

    @cached_property
    def learnt(self) -> np.ndarray:
        """Rows of training images that stand for all of them."""
        return stand_ins(self.model, self.data, "train", self.seed)

    @cached_property
    def train_codes(self) -> Codes:
        return codes(self.model, self.data.pixels, self.learnt)

    @cached_property
    def projection(self) -> Projection:
        return project(self.codes.mu)

    @cached_property
    def gaussian(self) -> CodeGaussian:
        return fit_gaussian(self.train_codes)

    @cached_property
    def kl(self) -> np.ndarray:
        return kl_per_latent(self.model, self.codes)

    @cached_property
    def draws(self) -> np.ndarray:
        """One z for every image: together they follow the aggregate posterior, which is what the prior should look like."""
        return encode(self.model, self.data.pixels[self.points], "sample", self.seed)  # pyright: ignore[reportReturnType]

    @cached_property
    def labels(self) -> np.ndarray | None:
        return None if self.data.labels is None else self.data.labels[self.points]

    @property
    def held_out(self) -> str:
        return f"{len(self.rows):,} {self.split} images that training never saw"
