"""What training minimises: a map from a trace to named terms in nats per image; the loss is their sum."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ..model import Model
from ..part import Part
from ..trace import At, Trace

NATS = "nats per image"


class Objective(Part):
    """One paper, one file."""

    samples = 1  # of z per image
    extra: ClassVar[int] = 0  # pictures of an image that are decoded beside those of the samples
    pulls: ClassVar[bool] = False  # whether it takes a gradient by z within the step, which sharded weights cannot give
    weighs: ClassVar[bool] = False  # whether it asks for the model's weights themselves, which sharded ones cannot give either
    asks_density: ClassVar[bool] = True  # whether a term is log p(x | z), to which a likelihood's scale belongs
    measured: ClassVar[Mapping[str, tuple[str, str]]] = {}  # what `measures` gives: in which unit, and how
    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)  # of AdamW's moments
    comparable: ClassVar[bool] = True  # whether its losses at two moments compare; else the last weights count as the best

    @property
    def decodings(self) -> int:
        """How many pictures of an image are decoded in one look."""
        return self.samples + self.extra

    @property
    def trains_prior(self) -> bool:
        """Whether a term is the rate or log p(z): draws of a learned prior pass no gradient, so nothing else trains it."""
        return True

    def visits(self, images: int, known: int) -> int:
        """How often training is to see, in an epoch of so many images, each of the `known` of them that it is told of."""
        return 1

    def look(self, model: Model, x: Tensor, c: Tensor | None = None) -> Trace:
        """What is to be known of the images x (B, C, H, W); c (B, Y) is what a conditional model is told of them."""
        return model(x, self.samples, c)

    def measures(self, t: Trace, at: At) -> dict[str, Tensor]:
        """What else a validation tells of a trace beside the loss and the bound: (B,), nan for an image that does not count."""
        return {}

    def forward(self, t: Trace, at: At) -> dict[str, Tensor]:
        """Terms (B,), weights applied; `at` says how many images training has seen."""
        raise NotImplementedError
