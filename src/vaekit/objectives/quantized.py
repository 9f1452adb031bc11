"""VQ-VAE and its relatives: reconstruct, and keep the encoder near its codes (van den Oord et al., 2017, eq. 3).

Neural Discrete Representation Learning, https://arxiv.org/abs/1711.00937
"""

from ..codebooks import Coded
from ..errors import UsageError
from ..terms import distortion, kinds
from .objective import Objective


class Quantized(Objective):
    """-log p(x | z) + the cost of the posterior's codes. The rate is a constant, and no part of it."""

    @property
    def trains_prior(self):
        return False

    def forward(self, t, at):
        found = [group.q for group in t.groups if isinstance(group.q, Coded)]
        if len(found) < len(t.groups):
            raise UsageError(f"Quantized needs a posterior of codes; this model has {kinds(t)}. Use VectorQuantized.")
        return {"distortion": distortion(t), "commitment": sum(q.cost for q in found)}
