"""Strided convolutions down, sub-pixel convolutions up: the fast middle between mlp and resnet."""

from math import prod

from torch import Tensor, nn

from ..part import Part
from .pyramid import SMALLEST, Climb, beginning, check_image, check_sizes, ending, foot, groups, stairs


def widths(width: int, widest: int, steps: int) -> list[int]:
    """Channels after each halving: doubled every time, up to `widest`."""
    return [min(width * 2**i, widest) for i in range(steps)]


def norm(channels: int) -> nn.Sequential:
    """GroupNorm sees one image at a time, so no image's code depends on its batch-mates (Wu & He, 2018)."""
    return nn.Sequential(nn.GroupNorm(groups(channels), channels), nn.SiLU())


class ConvEncoder(Part):
    """(B, C, H, W) -> (B, features), or with `spatial` (B, H' W', features): a vector for each of at most spatial^2 places."""

    image: tuple[int, int, int]
    features: int = 256
    width: int = 32
    widest: int = 256
    spatial: int = 0

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(features=self.features, width=self.width, widest=self.widest)
        steps = stairs(height, width, self.spatial or SMALLEST)
        sizes = [channels, *widths(self.width, self.widest, len(steps))]
        self.body = nn.Sequential()
        for before, after, stair in zip(sizes, sizes[1:], steps, strict=False):
            self.body.append(nn.Conv2d(before, after, 3, stride=stair.stride, padding=1)).append(norm(after))
        end = foot(self.image, self.spatial or SMALLEST)
        self.vectors = prod(end) if self.spatial else 1  # of features for an image
        self.last = ending(sizes[-1], end, self.features, self.spatial)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(2 * x - 1))


class ConvDecoder(Part):
    """(B, D) -> (B, C * per_pixel, H, W); with `spatial` the latents are those of H' W' places, one place after another."""

    image: tuple[int, int, int]
    latent: int
    width: int = 32
    widest: int = 256
    spatial: int = 0
    per_pixel: int = 1  # numbers for every pixel value, as the likelihood wants them

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(latent=self.latent, width=self.width, widest=self.widest, per_pixel=self.per_pixel)
        steps = stairs(height, width, self.spatial or SMALLEST)
        sizes = [channels * self.per_pixel, *widths(self.width, self.widest, len(steps))]
        end = foot(self.image, self.spatial or SMALLEST)
        self.first = beginning(self.latent, end, sizes[-1], self.spatial)
        self.body = nn.Sequential()
        for i, stair in reversed(list(enumerate(steps))):
            self.body.append(norm(sizes[i + 1])).append(Climb(sizes[i + 1], sizes[i], stair))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.first(z))
