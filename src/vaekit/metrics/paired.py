"""Whether two models differ by more than the noise: the same images, seen by both.

Shapes: n images.
"""

from typing import Any

import numpy as np
import torch

from ..data import Dataset
from ..latent import codes, decode
from ..model import Model
from ..terms import distortion, rate
from ..train import chunks, traces
from .evaluate import seen_of

RESAMPLES = 2000


@torch.no_grad()
def per_image(model: Model, data: Dataset, rows: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Of every image: distortion, rate and elbo in nats where the model has them, and the squared error of mu's picture, (n,)."""
    parts, found = chunks(len(rows)), []
    for trace in traces(lambda x, c: model(x, 1, c), seen_of(model, data, rows), parts, seed):
        values = {"distortion": distortion(trace)}
        if model.has_prior:
            values |= {"rate": rate(trace), "elbo": -distortion(trace) - rate(trace)}
        found.append({name: value.double().cpu().numpy() for name, value in values.items()})
    told = {name: np.concatenate([values[name] for values in found]) for name in found[0]}
    mu = codes(model, data.pixels, rows).mu
    error = [np.square(decode(model, mu[part]) - data.take(rows[part]) / 255.0).mean((1, 2, 3)) for part in parts]
    return told | {"squared error": np.concatenate(error)}


def difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The mean of b - a over the same images, with 95 % by bootstrap, and whether that leaves 0 out."""
    rng, gaps = np.random.default_rng(seed), b - a
    means = [gaps[rng.integers(len(gaps), size=len(gaps))].mean() for _ in range(RESAMPLES)]
    low, high = (float(value) for value in np.quantile(means, (0.025, 0.975)))
    return {"difference": float(gaps.mean()), "interval": [low, high], "beyond_noise": bool(low > 0 or high < 0)}
