"""Strided convolutions down, sub-pixel convolutions up: the fast middle between mlp and resnet."""

from math import prod

from torch import Tensor, nn

from ..part import Part
from .pyramid import Climb, check_image, check_sizes, groups, stairs


def widths(width: int, widest: int, steps: int) -> list[int]:
    """Channels after each halving: doubled every time, up to `widest`."""
    return [min(width * 2**i, widest) for i in range(steps)]


def norm(channels: int) -> nn.Sequential:
    """GroupNorm sees one image at a time, so no image's code depends on its batch-mates (Wu & He, 2018)."""
    return nn.Sequential(nn.GroupNorm(groups(channels), channels), nn.SiLU())


class ConvEncoder(Part):
    """(B, C, H, W) -> (B, features)."""

    image: tuple[int, int, int]
    features: int = 256
    width: int = 32
    widest: int = 256

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(features=self.features, width=self.width, widest=self.widest)
        steps = stairs(height, width)
        sizes = [channels, *widths(self.width, self.widest, len(steps))]
        self.body = nn.Sequential()
        for before, after, stair in zip(sizes, sizes[1:], steps, strict=False):
            self.body.append(nn.Conv2d(before, after, 3, stride=stair.stride, padding=1)).append(norm(after))
        end = steps[-1].small if steps else (height, width)
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(sizes[-1] * prod(end), self.features), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(2 * x - 1))


class ConvDecoder(Part):
    """(B, D) -> (B, C, H, W)."""

    image: tuple[int, int, int]
    latent: int
    width: int = 32
    widest: int = 256

    def __post_init__(self):
        channels, height, width = check_image(self.image)
        check_sizes(latent=self.latent, width=self.width, widest=self.widest)
        steps = stairs(height, width)
        sizes = [channels, *widths(self.width, self.widest, len(steps))]
        end = steps[-1].small if steps else (height, width)
        self.first = nn.Sequential(nn.Linear(self.latent, sizes[-1] * prod(end)), nn.Unflatten(1, (sizes[-1], *end)))
        self.body = nn.Sequential()
        for i, stair in reversed(list(enumerate(steps))):
            self.body.append(norm(sizes[i + 1])).append(Climb(sizes[i + 1], sizes[i], stair))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.first(z))
