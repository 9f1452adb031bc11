"""MLP-Mixer (Tolstikhin et al., 2021): patches as tokens, mixed over places and over channels by turns. https://arxiv.org/abs/2105.01601

Every layer is a matrix product, which is what a processor does fastest; the patches make it aware of place and shape.

Shapes: B images, T = H' W' patches, D numbers in each.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..part import Part
from .pyramid import check_image, check_sizes


class Mixing(nn.Module):
    """h + f(norm(h)) over places, then over channels; both start at 0. (B, T, D) -> (B, T, D)."""

    def __init__(self, places: int, width: int, widen: int):
        super().__init__()
        self.over_places = nn.Sequential(nn.Linear(places, widen * places), nn.SiLU(), nn.Linear(widen * places, places))
        self.over_channels = nn.Sequential(nn.Linear(width, widen * width), nn.SiLU(), nn.Linear(widen * width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        for mixing in (self.over_places, self.over_channels):
            nn.init.zeros_(mixing[-1].weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(mixing[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.over_places(self.norms[0](h).transpose(1, 2)).transpose(1, 2)
        return h + self.over_channels(self.norms[1](h))


def grid(image: tuple[int, int, int], patch: int) -> tuple[int, int]:
    """How many patches high and wide a picture is, the last ones perhaps filled up."""
    return -(-image[1] // patch), -(-image[2] // patch)


class MixerEncoder(Part):
    """(B, C, H, W) -> (B, features)."""

    image: tuple[int, int, int]
    features: int = 512
    patch: int = 4
    width: int = 64
    depth: int = 2
    widen: int = 2

    def __post_init__(self):
        check_sizes(features=self.features, patch=self.patch, width=self.width, widen=self.widen)
        height, width = grid(check_image(self.image), self.patch)
        self.first = nn.Linear(self.image[0] * self.patch**2, self.width)
        self.places = nn.Parameter(0.1 * torch.randn(height * width, self.width))
        self.body = nn.Sequential(*(Mixing(height * width, self.width, self.widen) for _ in range(self.depth)))
        self.last = nn.Sequential(
            nn.LayerNorm(self.width),
            nn.Flatten(),
            nn.Linear(height * width * self.width, self.features),
            nn.LayerNorm(self.features),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(2 * x - 1, (0, -x.shape[-1] % self.patch, 0, -x.shape[-2] % self.patch))
        h = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)  # (B, T, C * patch^2)
        return self.last(self.body(self.first(h) + self.places))


class MixerDecoder(Part):
    """(B, D) -> (B, C * per_pixel, H, W); or, with `per_patch`, so many numbers for every patch, (B, H', W', per_patch)."""

    image: tuple[int, int, int]
    latent: int
    per_patch: int | None = None
    features: int = 512
    patch: int = 4
    width: int = 64
    depth: int = 2
    widen: int = 2
    per_pixel: int = 1  # numbers for every pixel value, as the likelihood wants them

    def __post_init__(self):
        check_sizes(per_pixel=self.per_pixel)
        check_sizes(latent=self.latent, features=self.features, patch=self.patch, width=self.width, widen=self.widen)
        self.grid = grid(check_image(self.image), self.patch)
        places = self.grid[0] * self.grid[1]
        self.first = nn.Sequential(
            nn.Linear(self.latent, self.features),
            nn.LayerNorm(self.features),
            nn.SiLU(),
            nn.Linear(self.features, places * self.width),
        )
        self.body = nn.Sequential(*(Mixing(places, self.width, self.widen) for _ in range(self.depth)))
        self.last = nn.Sequential(
            nn.LayerNorm(self.width),
            nn.SiLU(),
            nn.Linear(self.width, self.per_patch or self.image[0] * self.per_pixel * self.patch**2),
        )

    def forward(self, z: Tensor) -> Tensor:
        h = self.first(z).unflatten(1, (-1, self.width))  # (B, T, width)
        h = self.last(self.body(h))
        if self.per_patch:
            return h.unflatten(1, self.grid)
        h = h.transpose(1, 2).unflatten(2, self.grid)
        return F.pixel_shuffle(h, self.patch)[..., : self.image[1], : self.image[2]]
