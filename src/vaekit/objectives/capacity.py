"""Annealed capacity: how much the latents carry is set, and rises.

Burgess et al. (2018), Understanding disentangling in beta-VAE, https://arxiv.org/abs/1804.03599
"""

from .. import schedules
from ..part import Weight
from ..schedules import Schedule
from ..terms import distortion, rate
from .objective import Objective


class Capacity(Objective):
    """-log p(x | z) + gamma * |KL(q || p) - C|, their eq. 8, with C nats after the images seen so far.

    `gamma`: theirs, which wants a capacity that rises over millions of images: a code that says nothing of its image, and is no
    draw of the prior either, has a KL too.
    """

    capacity: Weight | Schedule = 25.0
    gamma: Weight = 1000.0

    @property
    def trains_prior(self):
        return self.gamma > 0

    def forward(self, t, at):
        return {"distortion": distortion(t), "capacity": self.gamma * (rate(t) - schedules.at(self.capacity, at.images)).abs()}
