"""The latent space: functions of a model and codes. They draw nothing on paper."""

from .attributes import AttributeVector, attribute_vectors, combine
from .encode import Codes, code_counts, codes, decode, edited, encode, kl_per_latent, reconstruct, sample
from .label import label_probabilities
from .paths import path
from .project import LAYOUTS, CodeGaussian, Projection, arrange, fit_gaussian, neighbour_accuracy, project
from .traverse import plane, traverse

__all__ = [
    "LAYOUTS",
    "AttributeVector",
    "CodeGaussian",
    "Codes",
    "Projection",
    "arrange",
    "attribute_vectors",
    "code_counts",
    "codes",
    "combine",
    "decode",
    "edited",
    "encode",
    "fit_gaussian",
    "kl_per_latent",
    "label_probabilities",
    "neighbour_accuracy",
    "path",
    "plane",
    "project",
    "reconstruct",
    "sample",
    "traverse",
]
