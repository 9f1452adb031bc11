"""Tighter bounds from K importance samples, and better gradients of them.

The bound: Burda et al. (2016), https://arxiv.org/abs/1509.00519. Multiple, combined and partial: Rainforth et al. (2018), Tighter
Variational Bounds are Not Necessarily Better, https://arxiv.org/abs/1802.04537. Sticking the landing: Roeder et al. (2017),
https://arxiv.org/abs/1703.09194. Doubly reparameterised: Tucker et al. (2019), https://arxiv.org/abs/1810.04152.

K samples, M groups of them; w = p(x, z) / q(z | x), (K, B).
"""

from ..errors import UsageError
from ..part import Count, Share
from ..terms import log_joint, log_weights, mean_of_weights, settled_log_q, through_z, valued
from .objective import Objective


class Importance(Objective):
    samples: Count = 8


class IWAE(Importance):
    """-log mean_k w_k, Burda et al. eq. 8; one sample is the ELBO."""

    def forward(self, t, at):
        return {"iwae": -mean_of_weights(log_weights(t))}


class CIWAE(Importance):
    """beta * ELBO + (1 - beta) * IWAE, negated: Rainforth et al. eq. 11."""

    beta: Share = 0.5

    def forward(self, t, at):
        w = log_weights(t)
        return {"elbo": -self.beta * w.mean(0), "iwae": -(1 - self.beta) * mean_of_weights(w)}


class Grouped(Importance):
    groups: Count = 4

    def __post_init__(self):
        if self.samples % self.groups:
            given = f"{self.samples} samples in {self.groups} groups"
            raise UsageError(f"{type(self).__name__} got {given}; it needs a multiple of the groups.")


class MIWAE(Grouped):
    """The mean over M groups of their IWAE bounds, negated: Rainforth et al. eq. 10."""

    def forward(self, t, at):
        return {"miwae": -mean_of_weights(log_weights(t).unflatten(0, (self.groups, -1)), 1).mean(0)}


class PIWAE(Grouped):
    """IWAE over all samples for decoder and prior, MIWAE for the encoder: Rainforth et al. eq. 12."""

    pulls = True

    def forward(self, t, at):
        w, p = log_weights(t), log_joint(t)
        decoder = w.detach().softmax(0)
        encoder = (w.detach().unflatten(0, (self.groups, -1)).softmax(1) / self.groups).flatten(0, 1)
        surrogate = (decoder * p + encoder * (w - p)).sum(0) + through_z((encoder - decoder) * p, t)
        return {"iwae": -valued(surrogate, mean_of_weights(w))}


class STL(Importance):
    """IWAE whose encoder learns through z alone: the score of q is left out (Roeder et al., eq. 7).

    With one sample, the ELBO's, it is 0 on average; with more the gradient is biased (Tucker et al., section 3), see DReG.
    """

    samples: Count = 1

    def forward(self, t, at):
        return {"iwae": -mean_of_weights(log_joint(t) - settled_log_q(t))}


class DReG(Importance):
    """IWAE with the doubly reparameterised gradient for the encoder, weighed by the squared weights: Tucker et al. eq. 6."""

    pulls = True

    def forward(self, t, at):
        w = log_joint(t) - settled_log_q(t)
        normed = w.detach().softmax(0)
        surrogate = (normed * w).sum(0) + through_z((normed.square() - normed) * w, t)
        return {"iwae": -valued(surrogate, mean_of_weights(w))}
