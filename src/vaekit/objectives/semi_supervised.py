"""Semi-supervised learning: a few images come with their label, and teach a classifier together with all the others.

Kingma et al. (2014), Semi-supervised learning with deep generative models, their M2, https://arxiv.org/abs/1406.5298
"""

import math

import torch
from torch import Tensor

from ..conditional import Supposed, supposed
from ..distributions import full_precision
from ..nets.judge import Judge
from ..part import Count, Weight
from ..terms import distortion, rate
from .objective import Objective


class SemiSupervised(Objective):
    """With a label L(x, y) - weight * log q(y | x), without one sum_y q(y | x) (L(x, y) + log q(y | x)): their eq. 6 to 9.

    L(x, y) = -log p(x | y, z) + KL(q(z | x, y) || p(z)) + log Y. A share `withheld` of the model's is the loss of the image with
    what is known of it, be it nothing, so that the model can do without labels; one that is withheld counts as
    one that is not known. `weight` is their alpha for each image of all, 0.1 there, for likelihoods of few nats: where labels of
    `shown` training images alone are told, each of those stands for as many as there are to one of them.
    """

    image: tuple[int, int, int]
    labels: Count
    shown: Count | None = None
    weight: Weight = 1.0

    measured = {"label_accuracy": ("share", "the likeliest label under q(y|x)")}  # noqa: RUF012

    def __post_init__(self):
        self.judge = Judge(image=self.image, kinds=self.labels)

    @property
    def decodings(self) -> int:
        return self.samples * (1 + self.labels)

    def log_q(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, Y)."""
        return full_precision(self.judge(x)[1]).log_softmax(-1)

    def look(self, model, x, c=None):
        return supposed(model, x, self.samples, c, self.log_q(x))

    def forward(self, t: Supposed, at):
        every = (distortion(t.each) + rate(t.each) + math.log(self.labels)).unflatten(0, t.log_q.shape)
        with_label, without = (t.y * every).sum(1), (t.log_q.exp() * (every + t.log_q)).sum(1)
        rarity = max(1.0, at.epoch / (self.shown or at.epoch or 1))  # images to each that is shown with its label
        share = 1.0 if torch.is_grad_enabled() else 1 / rarity  # validation knows every label: each image is of both kinds there
        bound = torch.where(t.labelled, share * with_label + (1 - share) * without, without)
        known, told = distortion(t) + rate(t), (t.y * t.log_q).sum(1)
        return {"bound": (1 - t.share) * bound, "known": t.share * known, "classification": -self.weight * rarity * share * told}

    def measures(self, t: Supposed, at):
        right = (t.log_q.argmax(1) == t.y.argmax(1)).to(t.log_q.dtype)
        return {"label_accuracy": right.where(t.labelled, torch.nan)}
