"""Walks along single latents, and the decoded plane."""

import numpy as np

from ..errors import UsageError
from ..model import Model
from .encode import decode


def traverse(model: Model, start: np.ndarray, latents: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Pictures with one latent of `start` (D,) set to each value: (R, S, C, H, W) for R latents and S values.

    values (S,) for all of them, or (R, S).
    """
    values = np.broadcast_to(values, (len(latents), np.shape(values)[-1]))
    z = np.repeat(np.asarray(start, np.float32)[None], values.size, 0).reshape(*values.shape, -1)
    for row, latent in enumerate(latents):
        z[row, :, latent] = values[row]
    return decode(model, z.reshape(-1, z.shape[-1])).reshape(*values.shape, *model.image)


def plane(model: Model, steps: int, start: np.ndarray, axes: tuple[int, int] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
    """The decoded plane of two latents, top row the highest second latent: (steps, steps, C, H, W), and the values (steps,).

    The values are quantiles of N(0, 1), so that every picture stands for an equal share of the prior (Kingma & Welling, 2014,
    appendix A).
    """
    from scipy.special import ndtri

    latents = len(start)
    if axes[0] == axes[1] or not all(0 <= axis < latents for axis in axes):
        raise UsageError(f"A plane needs two different latents out of {latents}, numbered from 0; got {axes[0]} and {axes[1]}.")
    values = ndtri((np.arange(steps) + 0.5) / steps).astype(np.float32)
    z = np.repeat(np.asarray(start, np.float32)[None], steps * steps, 0).reshape(steps, steps, -1)
    z[..., axes[0]] = values[None, :]
    z[..., axes[1]] = values[::-1, None]
    return decode(model, z.reshape(steps * steps, -1)).reshape(steps, steps, *model.image), values
