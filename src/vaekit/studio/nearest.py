"""The pictures of the map whose codes are nearest.

Shapes: N codes of the map, n codes that are asked about, D latents, k neighbours.
"""

from typing import Any

import numpy as np

from .bundle import Bundle
from .lanes import Lane

NEAR = Lane("near", most=8)
AT_ONCE = 4_000_000  # distances in memory, at most, or numbers of neighbours' codes


def neighbours_of(bundle: Bundle, z: np.ndarray, k: int) -> list[list[dict[str, Any]]]:
    """Of each code (n, D) the nearest pictures, near ones first: place on the map, distance, split."""
    split = np.frombuffer(bundle.blobs["split"], np.uint8)
    names = bundle.manifest["splits"]
    return [
        [{"place": int(i), "distance": float(d), "split": names[split[i]]} for i, d in zip(*each, strict=True)]
        for each in zip(*nearest(bundle.mu, z, k), strict=True)
    ]


def nearest(mu: np.ndarray, z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of mu (N, D) to each of z (n, D), near ones first: places and distances, (n, k)."""
    k = min(k, len(mu))
    mu, z = mu.astype(np.float64), z.astype(np.float64)  # in float32 nothing is left of the difference of codes far from 0
    squares = np.einsum("nd,nd->n", mu, mu)
    rows = max(1, AT_ONCE // max(len(mu), k * mu.shape[1]))
    found = [near_to(z[start : start + rows], mu, squares, k) for start in range(0, len(z), rows)]
    places, distances = zip(*found, strict=True)
    return np.concatenate(places), np.concatenate(distances)


def near_to(z: np.ndarray, mu: np.ndarray, squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, all at once. squares: |mu|^2, (N,)."""
    ranks = z @ mu.T  # |z - mu|^2 without |z|^2, which is the same for all of a row
    ranks *= -2
    ranks += squares
    some = np.argpartition(ranks, k - 1, axis=1)[:, :k]
    distances = np.linalg.norm(mu[some] - z[:, None], axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(some, order, 1), np.take_along_axis(distances, order, 1)
