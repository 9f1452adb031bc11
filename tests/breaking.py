"""Parts and an objective that break on purpose."""

import math
from typing import ClassVar

import torch

import tiny
from vaekit.model import VAE
from vaekit.nets import MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO, Objective


class Chosen(Objective):
    """A test objective that is `bad` once `images` have been seen."""

    images: float = 16
    bad: str = "nan"

    def __post_init__(self):
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, t, at):
        terms = ELBO()(t, at)
        if at.images < self.images:
            return terms
        if self.bad == "gradient":
            return terms | {"odd": (0 * t.groups[0].z.sum()).sqrt().expand(len(t.x))}
        if self.bad == "own gradient":
            return terms | {"odd": self.weight.sqrt().expand(len(t.x))}
        return terms | {"odd": terms["rate"] * math.nan}


class CrackedEncoder(MLPEncoder):
    """A test encoder in which one layer fails at pictures whose first pixel is white."""

    def __post_init__(self):
        super().__post_init__()
        self.crack = Crack()

    def forward(self, x):
        return self.crack(super().forward(x), x)


class Crack(torch.nn.Module):
    def forward(self, h, x):
        return h.where(x[:, :1, 0, 0] < 1, math.nan)


class Ray(torch.nn.Module):
    """Fails once for every hit that is left, while training."""

    hits_left: ClassVar[int] = 0

    def forward(self, h):
        if not (self.training and Ray.hits_left):
            return h
        Ray.hits_left -= 1
        return h * math.nan


class HitDecoder(MLPDecoder):
    """A test decoder that a cosmic ray can hit."""

    def __post_init__(self):
        super().__post_init__()
        self.ray = Ray()

    def forward(self, z):
        return self.ray(super().forward(z))


def hit_model() -> VAE:
    return tiny.model(decoder=HitDecoder(image=(1, 8, 8), latent=3, width=16, depth=1))
