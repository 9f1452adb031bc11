"""The label of a picture, as a model that was trained with few of them says it."""

import numpy as np
import torch

from ..errors import UsageError
from ..objectives import Objective, SemiSupervised
from .encode import as_pictures

BATCH = 256  # pictures in one pass


@torch.no_grad()
def label_probabilities(objective: Objective, images: np.ndarray) -> np.ndarray:
    """q(y | x) of each image (N, C, H, W), (N, Y); Kingma et al. (2014), M2, section 2.2.

    Raises UsageError where the objective taught no classifier.
    """
    taught = classifier(objective)
    like = next(taught.parameters())
    parts = [as_pictures(images[start : start + BATCH]).to(like) for start in range(0, len(images), BATCH)]
    return torch.cat([taught.log_q(part).exp().float().cpu() for part in parts]).numpy()


def classifier(objective: Objective) -> SemiSupervised:
    """The objective, which is one that teaches a classifier. Raises UsageError where it is not."""
    if not isinstance(objective, SemiSupervised):
        kind = type(objective).__name__
        raise UsageError(f"{kind} teaches no classifier. Train one: --recipe semi-supervised, with subfolders as labels.")
    return objective
