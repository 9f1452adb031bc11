"""A plain autoencoder: reconstruction and nothing else."""

from ..terms import distortion
from .objective import Objective


class Reconstruction(Objective):
    """-log p(x | z)."""

    @property
    def trains_prior(self):
        return False

    def forward(self, t, at):
        return {"distortion": distortion(t)}
