"""DIP-VAE: codes whose covariance is the prior's (Kumar et al., 2018, Variational Inference of Disentangled Latent Concepts).

https://arxiv.org/abs/1711.00848
"""

from typing import Annotated

import torch

from .. import world
from ..distributions import exactly
from ..part import Bounds, Weight
from ..terms import distortion, gaussian, rate
from .objective import Objective


class DIPVAE(Objective):
    """ELBO + off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2, their eq. 6 and 7.

    `kind` 1: C is the covariance of mu over the batch; 2: that of z, Cov(mu) + E[Var(z | x)]. `diagonal`: None is ten times
    `off_diagonal` for kind 1 and as much as that for kind 2, as theirs.
    """

    kind: Annotated[int, Bounds(1, 2)] = 2
    off_diagonal: Weight = 10.0
    diagonal: Weight | None = None

    def forward(self, t, at):
        q = gaussian(t, "DIPVAE")
        with exactly(q.mean):
            apart = world.united(q.mean)
            apart = apart - apart.mean(0)
            covariance = apart.T @ apart / len(apart)
        one = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        if self.kind == 2:
            covariance = covariance + one * world.mean(q.variance.mean(0))
        on, off = (covariance * one).sum(0), covariance * (1 - one)
        diagonal = (10 if self.kind == 1 else 1) * self.off_diagonal if self.diagonal is None else self.diagonal
        penalty = self.off_diagonal * off.square().sum() + diagonal * (on - 1).square().sum()
        return {"distortion": distortion(t), "rate": rate(t), "covariance": penalty.expand(len(t.x))}
