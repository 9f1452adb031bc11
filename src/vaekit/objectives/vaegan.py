"""VAE-GAN: a critic of pictures says how far a reconstruction is off, and what is no picture (Larsen et al., 2016).

Autoencoding beyond pixels using a learned similarity metric, https://arxiv.org/abs/1512.09300
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from .. import world
from ..nets.critic import frozen
from ..nets.judge import Judge
from ..part import Weight
from ..terms import rate
from ..trace import Trace
from .objective import Objective
from .perceptual import apart


@dataclass(frozen=True)
class Staged(Trace):
    """A trace, and what the decoder makes of the same codes and of draws of the prior, no gradient reaching the encoder."""

    fakes: tuple[Tensor, ...]  # (B, C, H, W) each


class VAEGAN(Objective):
    """KL + likeness * D * |D_l(x) - D_l(x')|^2 + fooling, and the critic's own lesson: their eq. 6 to 8 and algorithm 1.

    D_l are the critic's maps, every place's features of length 1, so that it cannot make them larger; D pixel values. Encoder and
    decoder learn from the first two terms, the decoder alone from the third, the critic from the last: it tells pictures from
    reconstructions and from dreams, and rests while its cross-entropy is below `margin`, as in their code.
    """

    asks_density = comparable = False  # it compares pictures, and the critic changes
    extra = 2
    betas = 0.5, 0.9  # a longer memory lets decoder and critic chase each other

    image: tuple[int, int, int]
    likeness: Weight = 1.0
    fooling: Weight = 1.0
    margin: Weight = 1.0

    def __post_init__(self):
        self.judge = Judge(image=self.image)

    def look(self, model, x, c=None):
        t = super().look(model, x, c)
        fakes = (model.decode(z, c).mean[0] for z in (t.group.z[:1].detach(), t.group.dream()[None]))
        return Staged(t.x, t.groups, t.px, tuple(fakes))

    def forward(self, t: Staged, at):
        lesson = F.softplus(-self.judge(t.x)[1]) + sum(F.softplus(self.judge(fake.detach())[1]) for fake in t.fakes) / 2
        return {
            "rate": rate(t),
            "likeness": self.likeness * t.x[0].numel() * apart(*(frozen(self.judge, its, True) for its in (t.x, t.px.mean[0]))),
            "fooling": self.fooling * sum(F.softplus(-frozen(self.judge, fake)[1][:, 0]) for fake in t.fakes) / 2,
            "critic": lesson[:, 0] * (world.mean(lesson.detach().mean()) > self.margin),
        }
