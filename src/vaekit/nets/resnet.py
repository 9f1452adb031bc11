"""Residual blocks with GroupNorm (He et al., 2016), as in the first stage of latent diffusion, without attention.

https://arxiv.org/abs/1603.05027, https://arxiv.org/abs/2112.10752
"""

from math import prod

from torch import Tensor, nn

from ..part import Part
from .conv import norm, widths
from .pyramid import SMALLEST, Climb, beginning, check_image, check_sizes, ending, foot, stairs


class Block(nn.Module):
    """h + f(h), with f two normalised 3x3 convolutions that start at 0."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            norm(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            norm(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        nn.init.zeros_(self.body[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.body[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, h: Tensor) -> Tensor:
        return h + self.body(h)


class ResNetEncoder(Part):
    """(B, C, H, W) -> (B, features), or with `spatial` (B, H' W', features): a vector for each of at most spatial^2 places."""

    image: tuple[int, int, int]
    features: int = 512
    width: int = 32
    widest: int = 256
    blocks: int = 1
    spatial: int = 0

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(features=self.features, width=self.width, widest=self.widest)
        steps = stairs(height, width, self.spatial or SMALLEST)
        sizes = widths(self.width, self.widest, len(steps) + 1)
        self.first = nn.Conv2d(channels, sizes[0], 3, padding=1)
        self.body = nn.Sequential()
        for before, after, stair in zip(sizes, sizes[1:], steps, strict=False):
            self.body.append(nn.Conv2d(before, after, 3, stride=stair.stride, padding=1))
            self.body.extend(Block(after) for _ in range(self.blocks))
        end = foot(self.image, self.spatial or SMALLEST)
        self.vectors = prod(end) if self.spatial else 1  # of features for an image
        self.last = nn.Sequential(norm(sizes[-1]), *ending(sizes[-1], end, self.features, self.spatial))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(self.first(2 * x - 1)))


class ResNetDecoder(Part):
    """(B, D) -> (B, C * per_pixel, H, W); with `spatial` the latents are those of H' W' places, one place after another."""

    image: tuple[int, int, int]
    latent: int
    width: int = 32
    widest: int = 256
    blocks: int = 1
    spatial: int = 0
    per_pixel: int = 1  # numbers for every pixel value, as the likelihood wants them

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(latent=self.latent, width=self.width, widest=self.widest, per_pixel=self.per_pixel)
        steps = stairs(height, width, self.spatial or SMALLEST)
        sizes = widths(self.width, self.widest, len(steps) + 1)
        end = foot(self.image, self.spatial or SMALLEST)
        self.first = beginning(self.latent, end, sizes[-1], self.spatial)
        self.body = nn.Sequential()
        for i, stair in reversed(list(enumerate(steps))):
            self.body.extend(Block(sizes[i + 1]) for _ in range(self.blocks))
            self.body.append(Climb(sizes[i + 1], sizes[i], stair))
        self.last = nn.Sequential(norm(sizes[0]), nn.Conv2d(sizes[0], channels * self.per_pixel, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.body(self.first(z)))
