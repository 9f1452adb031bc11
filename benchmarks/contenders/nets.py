"""pythae's benchmark networks, layer by layer, in torch: B images, D latents. Decoders end in logits, before the sigmoid."""

from itertools import pairwise
from math import prod

from torch import Tensor, nn


def down(*channels: int) -> list[nn.Module]:
    """Halvings: 4 x 4 convolution, batch normalisation, ReLU."""
    layers = []
    for i, o in pairwise(channels):
        layers += [nn.Conv2d(i, o, 4, 2, 1), nn.BatchNorm2d(o), nn.ReLU()]
    return layers


def up(i: int, o: int, kernel: int, padding: int, extra: int = 0) -> list[nn.Module]:
    """A doubling by transposed convolution, batch normalisation, ReLU."""
    return [nn.ConvTranspose2d(i, o, kernel, 2, padding, extra), nn.BatchNorm2d(o), nn.ReLU()]


def encoder(name: str, image: tuple[int, int, int]) -> tuple[nn.Sequential, int]:
    """(B, C, H, W) -> (B, features), and the number of features."""
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(image), 512), nn.ReLU()), 512
    side = image[1] // 16
    return nn.Sequential(*down(image[0], 128, 256, 512, 1024), nn.Flatten()), 1024 * side * side


def decoder(name: str, image: tuple[int, int, int], latent: int) -> nn.Sequential:
    """(B, D) -> (B, C, H, W)."""
    if name == "mlp":
        return nn.Sequential(nn.Linear(latent, 512), nn.ReLU(), nn.Linear(512, prod(image)), nn.Unflatten(1, image))
    side = image[1] // 8 if name == "conv64" else 4
    first = [nn.Linear(latent, 1024 * side * side), nn.Unflatten(1, (1024, side, side))]
    if name == "conv28":
        rest = [*up(1024, 512, 3, 1), *up(512, 256, 3, 1, 1), nn.ConvTranspose2d(256, 1, 3, 2, 1, 1)]
    else:
        rest = [*up(1024, 512, 5, 2), *up(512, 256, 5, 1), *up(256, 128, 5, 2, 1), nn.ConvTranspose2d(128, 3, 5, 1, 1)]
    return nn.Sequential(*first, *rest)


class Net(nn.Module):
    """Encoder, mean and log variance of z, decoder."""

    def __init__(self, name: str, image: tuple[int, int, int], latent: int):
        super().__init__()
        self.encoder, features = encoder(name, image)
        self.head = nn.Linear(features, 2 * latent)
        self.decoder = decoder(name, image, latent)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the reconstruction, mu and log_var, for noise (B, D)."""
        mu, log_var = self.head(self.encoder(x)).float().chunk(2, -1)
        return self.decoder(mu + (log_var / 2).exp() * noise), mu, log_var
