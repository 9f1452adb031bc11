"""Semi-supervised learning: a few images come with their label, and teach a classifier together with all the others.

Kingma et al. (2014), Semi-supervised learning with deep generative models, their M2, https://arxiv.org/abs/1406.5298
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from .. import world
from ..conditional import Supposed, supposed
from ..distributions import full_precision
from ..nets.judge import Judge
from ..part import Bounds, Count, Weight
from ..terms import distortion, rate
from .objective import Objective

TINY = 1e-6


class SemiSupervised(Objective):
    """With a label L(x, y) - weight * log q(y | x), without one sum_y q(y | x) (L(x, y) + log q(y | x)): their eq. 6 to 9.

    L(x, y) = -log p(x | y, z) + KL(q(z | x, y) || p(z)) + log Y. A share `withheld` of the model's is the loss of the image with
    what is known of it, be it nothing, so that the model can do without labels; one that is withheld counts as one that is not
    known. `weight` is their alpha / N, 0.1 there, for likelihoods of few nats: it weighs the mean over the images with a label.
    These come so often that they are a `share` of each batch, as theirs are, and count as if they had not.
    """

    image: tuple[int, int, int]
    labels: Count
    weight: Weight = 10.0
    share: Annotated[float, Bounds(0, 1, below=True)] = 0.25

    measured = {"label_accuracy": ("share", "the likeliest label under q(y|x)")}  # noqa: RUF012

    def __post_init__(self):
        self.judge = Judge(image=self.image, kinds=self.labels)

    @property
    def decodings(self) -> int:
        return self.samples * (1 + self.labels)

    def visits(self, images, known):
        return max(1, round(self.share / (1 - self.share) * (images - known) / max(known, 1)))

    def log_q(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, Y)."""
        return full_precision(self.judge(x)[1]).log_softmax(-1)

    def look(self, model, x, c=None):
        return supposed(model, x, self.samples, c, self.log_q(x))

    def forward(self, t: Supposed, at):
        every = (distortion(t.each) + rate(t.each) + math.log(self.labels)).unflatten(0, t.log_q.shape)
        with_label, without = (t.y * every).sum(1), (t.log_q.exp() * (every + t.log_q)).sum(1)
        learns, labelled = torch.is_grad_enabled(), t.labelled.to(every.dtype)
        here = world.mean(labelled.mean()).clamp(TINY, 1 - TINY) if learns else 1.0  # the share of the batch with a label,
        rare = (1 - t.share) * at.known / at.epoch if at.epoch else here  # and of all images, as withheld ones have none
        often = torch.where(t.labelled, rare / here, (1 - rare) / (1 - here)) if learns else 1.0
        share = labelled if learns else labelled * rare  # validation knows every label: each image is of both kinds there
        return {
            "bound": (1 - t.share) * often * (share * with_label + (1 - share) * without),
            "known": t.share * often * (distortion(t) + rate(t)),
            "classification": -self.weight / here * (t.y * t.log_q).sum(1),
        }

    def measures(self, t: Supposed, at):
        right = (t.log_q.argmax(1) == t.y.argmax(1)).to(t.log_q.dtype)
        return {"label_accuracy": right.where(t.labelled, torch.nan)}
