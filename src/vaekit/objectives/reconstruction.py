"""A plain autoencoder: reconstruction and nothing else."""

from ..terms import distortion
from .objective import Objective


class Reconstruction(Objective):
    """-log p(x | z)."""

    def forward(self, t, at):
        return {"distortion": distortion(t)}
