"""Annealed capacity: how much the latents carry is set, and rises.

Burgess et al. (2018), Understanding disentangling in beta-VAE, https://arxiv.org/abs/1804.03599
"""

from .. import schedules
from ..schedules import Schedule
from ..terms import distortion, rate
from .objective import Objective


class Capacity(Objective):
    """-log p(x | z) + gamma * |KL(q || p) - C|, their eq. 8, with C nats after the images seen so far."""

    capacity: float | Schedule = 25.0
    gamma: float = 1000.0

    def forward(self, t, at):
        return {"distortion": distortion(t), "capacity": self.gamma * (rate(t) - schedules.at(self.capacity, at.images)).abs()}
