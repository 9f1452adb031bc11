"""Fully connected nets. They see an image as a row of numbers: right for small ones."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ..part import Part
from .pyramid import check_image, check_sizes


def layers(inputs: int, width: int, depth: int) -> nn.Sequential:
    sizes = [inputs, *[width] * depth]
    return nn.Sequential(*(layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.LayerNorm(o), nn.SiLU())))


class MLPEncoder(Part):
    """(B, C, H, W) -> (B, features)."""

    image: tuple[int, int, int]
    features: int = 512
    depth: int = 2

    def __post_init__(self):
        check_sizes(features=self.features, depth=self.depth)
        self.body = layers(prod(check_image(self.image)), self.features, self.depth)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(2 * x.flatten(1) - 1)


class MLPDecoder(Part):
    """(B, D) -> (B, C * per_pixel, H, W)."""

    image: tuple[int, int, int]
    latent: int
    width: int = 512
    depth: int = 2
    per_pixel: int = 1  # numbers for every pixel value, as the likelihood wants them

    def __post_init__(self):
        check_sizes(latent=self.latent, width=self.width, depth=self.depth, per_pixel=self.per_pixel)
        channels, *size = check_image(self.image)
        self.out = (channels * self.per_pixel, *size)
        self.body = layers(self.latent, self.width, self.depth)
        self.last = nn.Linear(self.width, prod(self.out))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.body(z)).unflatten(1, self.out)
