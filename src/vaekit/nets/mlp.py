"""Fully connected nets. They see an image as a row of numbers: right for small ones.

With depth 0 there is no hidden layer: with both, the linear VAE, whose optimum is known (Lucas et al., 2019), see
https://arxiv.org/abs/1911.02469.
"""

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ..errors import UsageError
from ..part import Part
from .pyramid import check_image, check_sizes


def layers(inputs: int, width: int, depth: int) -> nn.Sequential:
    sizes = [inputs, *[width] * depth]
    return nn.Sequential(*(layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.LayerNorm(o), nn.SiLU())))


def check_depth(depth: int, name: str, size: int, inputs: int) -> None:
    """Raises UsageError where there is no hidden layer to make `size` numbers of the inputs."""
    if depth < 0 or (depth == 0 and size != inputs):
        raise UsageError(f"A net was given depth={depth} and {name}={size}; give a depth of 1 or more, or 0 and {name}={inputs}.")


class MLPEncoder(Part):
    """(B, C, H, W) -> (B, features)."""

    image: tuple[int, int, int]
    features: int = 512
    depth: int = 2

    def __post_init__(self):
        values = prod(check_image(self.image))
        check_sizes(features=self.features)
        check_depth(self.depth, "features", self.features, values)
        self.body = layers(values, self.features, self.depth)

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
        check_sizes(latent=self.latent, width=self.width, per_pixel=self.per_pixel)
        check_depth(self.depth, "width", self.width, self.latent)
        channels, *size = check_image(self.image)
        self.out = (channels * self.per_pixel, *size)
        self.body = layers(self.latent, self.width, self.depth)
        self.last = nn.Linear(self.width, prod(self.out))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.body(z)).unflatten(1, self.out)
