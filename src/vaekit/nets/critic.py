"""Critics: nets that tell two kinds of things apart, as one logit each."""

from itertools import pairwise

from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from ..part import Part


class Critic(Part):
    """z (..., D) to a logit (...): an MLP of leaky rectifiers, as in Kim & Mnih (2018), appendix A, and smaller."""

    latent: int
    width: int = 512
    depth: int = 4

    def __post_init__(self):
        sizes = [self.latent, *[self.width] * self.depth]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, z):
        return self.layers(z)[..., 0]


class PatchCritic(Part):
    """Pictures (B, C, H, W) to a logit for each patch, (B, 1, H', W') (Isola et al., 2017, section 3.2)."""

    image: tuple[int, int, int]
    width: int = 48

    def __post_init__(self):
        sizes = [self.image[0], self.width, 2 * self.width]
        halvings = [nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.LeakyReLU(0.2)) for a, b in pairwise(sizes)]
        middle = nn.Sequential(nn.Conv2d(sizes[-1], sizes[-1], 3, padding=1), nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*halvings, middle, nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, x):
        return self.layers(2 * x - 1)

    def lesson(self, real, fake):
        """The hinge loss, which wants more than 1 of real patches and less than -1 of others (Lim & Ye, 2017), (B,)."""
        return (F.relu(1 - self(real)) + F.relu(1 + self(fake.detach()))).mean((1, 2, 3))


def frozen(part: nn.Module, *given):
    """What a part says, without teaching it: the gradient reaches what is given alone."""
    return functional_call(part, {name: p.detach() for name, p in part.named_parameters()}, given)
