"""The label of a picture, as a model that was told labels says it."""

import numpy as np
import torch
from torch import Tensor

from ..conditional import Conditional, supposed
from ..errors import UsageError
from ..model import Model
from ..objectives import Objective, SemiSupervised
from ..terms import distortion, rate
from .encode import as_pictures

BATCH = 256  # pictures in one pass
SAMPLES = 16  # of z for each label


@torch.no_grad()
def label_probabilities(model: Model, objective: Objective, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """How probable each label is for each image (N, C, H, W): (N, Y).

    q(y | x), where the objective taught a classifier (Kingma et al., 2014, M2, section 2.2). Else p(y | x) by Bayes' rule with
    even labels, exp of the ELBO of log p(x | y) standing for p(x | y), by 16 samples of z from `seed` on. Raises UsageError for
    a model that was told anything but labels.
    """
    told = told_labels(model)
    like = next(model.parameters())
    parts = [as_pictures(images[start : start + BATCH]).to(like) for start in range(0, len(images), BATCH)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        said = [objective.log_q(x) if isinstance(objective, SemiSupervised) else log_shares(told, x) for x in parts]
    return torch.cat(said).exp().float().cpu().numpy()


def told_labels(model: Model) -> Conditional:
    """The model, which was told labels alone. Raises UsageError where it was not."""
    if isinstance(model, Conditional) and not model.condition.attributes:
        return model
    told = "attributes" if isinstance(model, Conditional) else "no labels"
    raise UsageError(
        f"This model was told {told}; one that says labels is told labels alone. Train it with subfolders as labels: "
        "--recipe semi-supervised, or --condition label."
    )


def log_shares(model: Conditional, x: Tensor) -> Tensor:
    """log p(y | x) of even labels, (B, Y)."""
    labels = len(model.condition.labels)
    t = supposed(model, x, SAMPLES, None, x.new_zeros(len(x), labels))
    return (-distortion(t.each) - rate(t.each)).unflatten(0, (len(x), labels)).log_softmax(-1)
