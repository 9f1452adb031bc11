"""Objectives: what training minimises. One paper, one file."""

from .adversarial import AAE, WAEGAN, FactorVAE
from .balanced import BalancedELBO
from .capacity import Capacity
from .classic import Classic
from .consistency import Consistency
from .dip import DIPVAE
from .elbo import ELBO
from .geco import GECO
from .iwae import CIWAE, IWAE, MIWAE, PIWAE, STL, DReG
from .kl_autoencoder import KLAutoencoder
from .mmd import WAEMMD, InfoVAE
from .objective import Objective
from .perceptual import Perceptual
from .quantized import Quantized
from .rae import RAEGP, RAEL2
from .reconstruction import Reconstruction
from .semi_supervised import SemiSupervised
from .structural import Structural
from .tcvae import BetaTCVAE
from .vaegan import VAEGAN

__all__ = [
    "AAE",
    "CIWAE",
    "DIPVAE",
    "ELBO",
    "GECO",
    "IWAE",
    "MIWAE",
    "PIWAE",
    "RAEGP",
    "RAEL2",
    "STL",
    "VAEGAN",
    "WAEGAN",
    "WAEMMD",
    "BalancedELBO",
    "BetaTCVAE",
    "Capacity",
    "Classic",
    "Consistency",
    "DReG",
    "FactorVAE",
    "InfoVAE",
    "KLAutoencoder",
    "Objective",
    "Perceptual",
    "Quantized",
    "Reconstruction",
    "SemiSupervised",
    "Structural",
]
