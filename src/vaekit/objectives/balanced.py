"""The ELBO of a hierarchy whose groups of latents are balanced while the rate warms up.

NVAE (Vahdat & Kautz, 2020), appendix A, https://arxiv.org/abs/2007.03898
"""

from typing import Annotated

import torch
from torch import Tensor

from .. import schedules, world
from ..errors import UsageError
from ..part import Bounds
from ..schedules import Schedule
from ..terms import distortion, rate
from ..trace import Trace
from .objective import Objective


class BalancedELBO(Objective):
    """-log p(x | z) + beta * sum of gamma_l KL_l while beta rises to its end; from there on the ELBO with that beta.

    A group that carries little for its size is cheap at first, so that none is given up before it learned to carry anything.
    """

    beta: Annotated[Schedule, Bounds(0)]

    def __post_init__(self):
        if not isinstance(self.beta, Schedule):
            raise UsageError(
                f"BalancedELBO beta is {self.beta}; it balances while beta rises, so give a schedule. Else use ELBO."
            )

    def forward(self, t, at):
        rising = torch.as_tensor(at.images, device=t.x.device) < self.beta.images
        kl = torch.where(rising, balanced_rate(t), rate(t))
        return {"distortion": distortion(t), "rate": schedules.at(self.beta, at.images) * kl}


def balanced_rate(t: Trace) -> Tensor:
    """The sum over groups of gamma_l KL_l, (B,): gamma_l is proportional to the batch mean of KL_l / D_l, and 1 on average."""
    kl = torch.stack([group.kl for group in t.groups])  # (L, B)
    sizes = kl.new_tensor([group.z.shape[-1] for group in t.groups])
    each = (world.mean(kl.detach().mean(1)).abs() + 0.01) / sizes  # no group is free: 0.01 is that of their code
    return (each[:, None] / each.mean() * kl).sum(0)
