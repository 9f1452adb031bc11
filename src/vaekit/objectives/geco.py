"""GECO: the rate is made as small as a wanted quality allows (Rezende & Viola, 2018, Taming VAEs).

https://arxiv.org/abs/1810.00597
"""

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from .. import world
from ..part import Bounds, Positive
from ..terms import mse, rate
from .objective import Objective

MOST = 5.0  # excess that a batch counts for: early on it is anything


class GECO(Objective):
    """KL + lambda * C, C = D * (MSE - rmse^2) over the D pixel values; lambda grows while C is above 0: their algorithm 1.

    `rmse`: the reconstruction error to be reached, in pixel values from 0 to 1. `speed`: of log lambda, per image, times by how
    much MSE exceeds rmse^2 as a share of it, which means the same for pictures of any size. That excess is a moving average over
    batches with a half-life of `half_life` images: their alpha, 0.99 a step, at 128 images a step.
    """

    asks_density = False

    rmse: Annotated[float, Bounds(0, 1, above=True, below=True)] = 0.1
    half_life: Positive = 8_800
    speed: Positive = 1e-4

    comparable = False  # lambda changes

    log_weight: ClassVar[Tensor]  # buffers, ()
    moving: ClassVar[Tensor]
    steps: ClassVar[Tensor]

    def __post_init__(self):
        self.register_buffer("log_weight", torch.zeros(()))
        self.register_buffer("moving", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def constraint(self, t):
        return (mse(t) - self.rmse**2) * t.x[0].numel()

    def observe(self, t):
        return world.mean((mse(t) / self.rmse**2 - 1).detach().mean()).clamp_max(MOST)

    def absorb(self, statistic, images):
        self.steps.add_(1)
        forget = 1 - 0.5 ** (images / self.half_life)
        self.moving.lerp_(statistic, (1 / self.steps).clamp_min(forget))  # the plain mean of the first ones
        self.log_weight.add_(self.speed * images * self.moving).clamp_(-10, 15)

    def forward(self, t, at):
        return {"rate": rate(t), "constraint": self.log_weight.exp() * self.constraint(t)}
