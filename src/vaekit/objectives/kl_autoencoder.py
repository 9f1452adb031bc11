"""The autoencoder in front of a latent diffusion: sharp pictures from latents at many places, of which next to nothing is asked.

Rombach et al. (2022), High-resolution image synthesis with latent diffusion models, section 3.1 and appendix G,
https://arxiv.org/abs/2112.10752; the critic of patches: Isola et al. (2017), https://arxiv.org/abs/1611.07004
"""

import torch

from ..nets.critic import PatchCritic, frozen
from ..nets.judge import FeatureNet
from ..part import Weight
from ..terms import rate
from .objective import Objective
from .perceptual import seen_apart


class KLAutoencoder(Objective):
    """sum |x - x'| + D * (features * |phi(x) - phi(x')|^2 - fooling * C(x')) + weight * KL, D pixel values, phi a judge's maps.

    The critic C learns to tell patches of pictures from those of reconstructions (hinge), both from `start` images on. Without
    a judge, see `vaekit judge`, no features are compared. No gradient of one reaches the other's weights. The
    critic's weight is fixed, where theirs follows the gradients of the decoder's last layer.
    """

    asks_density = False

    image: tuple[int, int, int]
    judge: FeatureNet | None = None
    features: Weight = 1.0
    fooling: Weight = 0.05
    weight: Weight = 1e-6
    start: Weight = 20_000

    comparable = False  # the critic changes

    def __post_init__(self):
        self.critic = PatchCritic(image=self.image)
        if self.judge:
            self.judge.requires_grad_(False)

    trains_prior = property(lambda self: self.weight > 0)

    def forward(self, t, at):
        size, rebuilt = t.x[0].numel(), t.px.mean[0]
        on = (torch.as_tensor(at.images, device=t.x.device) >= self.start).to(t.x.dtype)
        terms = {
            "pixels": size * (t.x - rebuilt).abs().mean((1, 2, 3)),
            "rate": self.weight * rate(t),
            "fooling": -on * size * self.fooling * frozen(self.critic, rebuilt).mean((1, 2, 3)),
            "critic": on * (self.critic.lesson(t.x, rebuilt)),
        }
        return terms | ({"features": size * self.features * seen_apart(self.judge, t.x, rebuilt)} if self.judge else {})
