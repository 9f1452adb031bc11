"""The sizes a convolutional net passes through, for any height and width.

Each axis is halved, rounding up, while it is longer than `smallest`; a decoder climbs the same stairs and cuts off what
rounding up added. Pixels leave the decoder by sub-pixel convolution (Shi et al., 2016, https://arxiv.org/abs/1609.05158):
unlike a transposed convolution it needs no output_padding, which browsers' engines have got wrong.
"""

from math import prod
from typing import NamedTuple

from torch import Tensor, nn

from ..errors import UsageError


class Stair(NamedTuple):
    """One halving: from `big` (H, W) to `small`, by `stride` along each axis."""

    big: tuple[int, int]
    small: tuple[int, int]
    stride: tuple[int, int]


SMALLEST = 4  # where a net that gives one vector for an image ends its halvings


def stairs(height: int, width: int, smallest: int = SMALLEST) -> list[Stair]:
    """The halvings from an image down to at most `smallest` in each axis, big ones first. Raises UsageError below 1."""
    check_sizes(spatial=smallest)
    steps, size = [], (height, width)
    while max(size) > smallest:
        stride = (2 if size[0] > smallest else 1, 2 if size[1] > smallest else 1)
        small = (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
        steps.append(Stair(size, small, stride))
        size = small
    return steps


def foot(image: tuple[int, int, int], smallest: int) -> tuple[int, int]:
    """(H', W') at the end of the stairs."""
    steps = stairs(*image[1:], smallest)
    return steps[-1].small if steps else tuple(image[1:])  # pyright: ignore[reportReturnType]


def ending(channels: int, size: tuple[int, int], features: int, spatial: int) -> nn.Sequential:
    """The end of an encoder: one vector (B, features) for an image, or one for each place, (B, H' W', features)."""
    if spatial:
        return nn.Sequential(nn.Conv2d(channels, features, 1), nn.SiLU(), nn.Flatten(2), Transposed())
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * prod(size), features), nn.SiLU())


def beginning(latent: int, size: tuple[int, int], channels: int, spatial: int) -> nn.Sequential:
    """The begin of a decoder: (B, D) to (B, channels, H', W'); with `spatial`, D / (H' W') of the latents belong to each place.

    Raises UsageError where they cannot be dealt to the places.
    """
    if not spatial:
        return nn.Sequential(nn.Linear(latent, channels * prod(size)), nn.Unflatten(1, (channels, *size)))
    if latent % prod(size):
        raise UsageError(
            f"A spatial decoder of {size[0]} x {size[1]} places was given {latent} latents. Give a multiple of {prod(size)}."
        )
    each = latent // prod(size)
    places = nn.Sequential(nn.Unflatten(1, (prod(size), each)), Transposed(), nn.Unflatten(2, size))
    return places.append(nn.Conv2d(each, channels, 3, padding=1))


class Transposed(nn.Module):
    """(B, M, N) -> (B, N, M)."""

    def forward(self, h: Tensor) -> Tensor:
        return h.transpose(1, 2)


def check_image(image: tuple[int, int, int]) -> tuple[int, int, int]:
    """Raises UsageError unless it is (channels, height, width), all 1 or more."""
    if len(image) != 3 or min(image) < 1:
        raise UsageError(f"A net was given the image shape {image}; expected (channels, height, width), each 1 or more.")
    return image


def check_sizes(**sizes: int) -> None:
    """Raises UsageError unless each is 1 or more."""
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"A net was given {name}={size}; it must be 1 or more.")


def groups(channels: int) -> int:
    """How many groups GroupNorm gets: at most 8, at least 4 channels in each where the width allows it."""
    return max(g for g in (1, 2, 4, 8) if channels % g == 0 and (g == 1 or channels // g >= 4))


class Climb(nn.Module):
    """Undoes one halving: (B, channels, small) -> (B, out, big)."""

    def __init__(self, channels: int, out: int, stair: Stair):
        super().__init__()
        self.stair, self.out = stair, out
        sy, sx = stair.stride
        self.conv = nn.Conv2d(channels, out * sy * sx, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        (sy, sx), (height, width) = self.stair.stride, self.stair.big
        h = self.conv(h)  # (B, out * sy * sx, h, w)
        h = h.unflatten(1, (self.out, sy, sx)).permute(0, 1, 4, 2, 5, 3)  # (B, out, h, sy, w, sx)
        h = h.flatten(4, 5).flatten(2, 3)
        return h[..., :height, :width]
