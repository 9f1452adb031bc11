"""VAE-GAN: a critic of pictures says how far a reconstruction is off, and what is no picture (Larsen et al., 2016).

Autoencoding beyond pixels using a learned similarity metric, https://arxiv.org/abs/1512.09300
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..nets.critic import frozen
from ..nets.judge import Judge
from ..terms import rate
from ..trace import Trace
from .objective import Objective


@dataclass(frozen=True)
class Staged(Trace):
    """A trace, and what the decoder makes of the same codes and of draws of the prior, no gradient reaching the encoder."""

    again: Tensor  # (B, C, H, W)
    dreamt: Tensor


class VAEGAN(Objective):
    """KL + likeness * |D_l(x) - D_l(x')|^2 / 2 + fooling, and the critic's own lesson: their eq. 6 to 8 and algorithm 1.

    D_l are the critic's features. Encoder and decoder learn from the first two terms, the decoder alone from the third, the
    critic from the last: it tells pictures from reconstructions and from dreams.
    """

    asks_density = False

    image: tuple[int, int, int]
    likeness: float = 1.0
    fooling: float = 1.0

    comparable = False  # the critic changes

    def __post_init__(self):
        self.judge = Judge(image=self.image)

    @property
    def decodings(self):
        return 3

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        dreamt = model.decode(t.group.dream()[None], c).mean[0]
        return Staged(t.x, t.groups, t.px, model.decode(t.group.z[:1].detach(), c).mean[0], dreamt)

    def forward(self, t: Staged, at):
        seen, rebuilt = (frozen(self.judge, pictures)[0] for pictures in (t.x, t.px.mean[0]))
        fakes = (t.again, t.dreamt)
        lesson = F.softplus(-self.judge(t.x)[1]) + sum(F.softplus(self.judge(fake.detach())[1]) for fake in fakes) / 2
        return {
            "rate": rate(t),
            "likeness": self.likeness * (rebuilt - seen.detach()).square().sum(1) / 2,
            "fooling": self.fooling * sum(F.softplus(-frozen(self.judge, fake)[1][:, 0]) for fake in fakes) / 2,
            "critic": lesson[:, 0],
        }
