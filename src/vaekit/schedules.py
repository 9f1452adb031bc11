"""Numbers that change while training, as functions of the images seen. Each ends at `end`, and stays there.

A compiled step is one graph for all of training, so it gives the images seen as a tensor and gets one back.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from .part import Bounds, Count, Finite, Part, Positive


class Schedule(Part):
    """A number at `images` seen; infinity asks for its final value."""

    images: Positive
    start: Finite = 0.0
    end: Finite = 1.0

    @property
    def ends(self):
        return self.start, self.end

    def forward(self, images: float | Tensor) -> float | Tensor:
        seen = torch.as_tensor(images, dtype=None if isinstance(images, Tensor) else torch.float64)
        value = self.start + (self.end - self.start) * self.rise((seen / self.images).clamp_max(1))
        return value if isinstance(images, Tensor) else value.item()

    def rise(self, fraction: Tensor) -> Tensor:
        """From 0 at the beginning to 1 at the end."""
        raise NotImplementedError


class Linear(Schedule):
    """A straight line (KL warm-up; Bowman et al., 2016). https://arxiv.org/abs/1511.06349"""

    def rise(self, fraction):
        return fraction


class Cosine(Schedule):
    """Half a period of a cosine: slow, fast, slow."""

    def rise(self, fraction):
        return (1 - torch.cos(math.pi * fraction)) / 2


class Cyclical(Schedule):
    """`cycles` times a straight rise over `share` of the cycle and a plateau (Fu et al., 2019). https://arxiv.org/abs/1903.10145"""

    cycles: Count = 4
    share: Annotated[float, Bounds(0, 1, above=True)] = 0.5

    def rise(self, fraction):
        wave = ((fraction * self.cycles) % 1 / self.share).clamp_max(1)
        return torch.where(fraction < 1, wave, 1.0)


def at(value: float | Schedule, images: float | Tensor) -> float | Tensor:
    """A number, or a schedule's value at `images` seen."""
    return value(images) if isinstance(value, Schedule) else value
