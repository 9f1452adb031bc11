"""Regularised autoencoders: a deterministic code, kept small, and a smooth decoder (Ghosh et al., 2020).

From Variational to Deterministic Autoencoders, https://arxiv.org/abs/1903.12436. New pictures come from a density fitted to the
codes afterwards.
"""

from dataclasses import replace

import torch

from ..terms import code_norm, jacobian_norm, squares
from ..trace import Trace
from .objective import Objective


class RAEL2(Objective):
    """|x - x'|^2 + beta * |z|^2 / 2, their eq. 11 with L_RAE of eq. 9; the decoder's L2 is the training's weight decay."""

    asks_density = False

    beta: float = 1e-2

    def forward(self, t, at):
        return {"squares": squares(t), "code": self.beta * code_norm(t)}


class RAEGP(RAEL2):
    """With |J|^2 instead, J the Jacobian of the decoder at z: their eq. 10. Its norm is estimated along one direction."""

    gamma: float = 1e-2

    pulls = True

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        (group,) = t.groups
        if group.z.requires_grad:
            return t
        with torch.enable_grad():  # in a validation, or with a frozen encoder: the penalty is the decoder's all the same
            z = group.z.detach().requires_grad_()
            return Trace(t.x, (replace(group, z=z),), model.decode(z, c))

    def forward(self, t, at):
        return {**super().forward(t, at), "jacobian": self.gamma * jacobian_norm(t)}
