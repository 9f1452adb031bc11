"""What training minimises: a map from a trace to named terms in nats per image; the loss is their sum."""

from torch import Tensor

from ..part import Part
from ..trace import At, Trace


class Objective(Part):
    """One paper, one file."""

    samples = 1  # of z per image

    def forward(self, t: Trace, at: At) -> dict[str, Tensor]:
        """Terms (B,), weights applied; `at` says how many images training has seen."""
        raise NotImplementedError
