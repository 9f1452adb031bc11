"""Regularised autoencoders: a deterministic code, kept small, and a smooth decoder (Ghosh et al., 2020).

From Variational to Deterministic Autoencoders, https://arxiv.org/abs/1903.12436. New pictures come from a density fitted to the
codes afterwards.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..part import Weight
from ..terms import code_norm, jacobian_norm, squares
from ..trace import Trace
from .objective import Objective


@dataclass(frozen=True)
class Weighed(Trace):
    """A trace, and how large the decoder's weights are."""

    weights: Tensor  # (), the sum of their squares


class Regularised(Objective):
    """|x - x'|^2 + beta * |z|^2 / 2, and what keeps the decoder smooth: their eq. 11 with L_RAE of eq. 9."""

    asks_density = False

    beta: Weight = 1e-2

    @property
    def trains_prior(self):
        return False

    def forward(self, t, at):
        return {"squares": squares(t), "code": self.beta * code_norm(t)}


class RAEL2(Regularised):
    """With shrink * |theta|^2 of the decoder's weights."""

    shrink: Weight = 1e-6

    weighs = True

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        decoder: Any = t.group and model.decoder  # a hierarchy has none, and more than one group
        return Weighed(t.x, t.groups, t.px, torch.stack([p.square().sum() for p in decoder.parameters()]).sum())

    def forward(self, t: Weighed, at):
        return {**super().forward(t, at), "weights": self.shrink * t.weights.expand(len(t.x))}


class RAEGP(Regularised):
    """With gamma * |J|^2, J the Jacobian of the decoder at z: their eq. 10. Its norm is estimated along one direction."""

    gamma: Weight = 1e-2

    pulls = True

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        if t.group.z.requires_grad:
            return t
        with torch.enable_grad():  # in a validation, or with a frozen encoder: the penalty is the decoder's all the same
            z = t.group.z.detach().requires_grad_()
            return Trace(t.x, (replace(t.group, z=z),), model.decode(z, c))

    def forward(self, t, at):
        return {**super().forward(t, at), "jacobian": self.gamma * jacobian_norm(t)}
