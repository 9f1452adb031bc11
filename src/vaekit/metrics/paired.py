"""Whether two models differ by more than the noise: the same images, seen by both.

Shapes: n images.
"""

from typing import Any

import numpy as np

from ..data import Dataset
from ..errors import UsageError
from ..latent import codes
from ..model import Model
from .evaluate import FINEST, errors_of, explained, seen_of

RESAMPLES = 2000


def per_image(model: Model, data: Dataset, rows: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Of every image, (n,): distortion, rate and elbo in nats where the model has them, and squared error, psnr in dB and
    ssim of the picture of mu."""
    told = explained(model, seen_of(model, data, rows), len(rows), seed)
    errors, ssim = errors_of(model, codes(model, data.pixels, rows).mu, data, rows)
    return told | {"squared error": errors, "psnr": -10 * np.log10(errors.clip(FINEST)), "ssim": ssim}


def difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The mean of b - a over the same images, with 95 % by bootstrap, and whether that leaves 0 out.

    Raises UsageError for fewer than 2 images.
    """
    rng, gaps = np.random.default_rng(seed), b - a
    if len(gaps) < 2:
        raise UsageError(
            f"Two models were to be compared on {len(gaps)} image; whether they differ by more than the noise can be seen on 2 "
            "or more. Train them on more pictures."
        )
    means = [gaps[rng.integers(len(gaps), size=len(gaps))].mean() for _ in range(RESAMPLES)]
    low, high = (float(value) for value in np.quantile(means, (0.025, 0.975)))
    return {"difference": float(gaps.mean()), "interval": [low, high], "beyond_noise": bool(low > 0 or high < 0)}
