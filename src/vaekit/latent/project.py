"""Views of many latents: a plane to look at, and the Gaussian that the codes themselves follow."""

from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from .encode import Codes


class Projection(NamedTuple):
    """Codes on a plane: points (N, 2), what the two axes are called, and the share of variance they show."""

    points: np.ndarray
    axes: tuple[str, str]
    explained: float


def project(mu: np.ndarray) -> Projection:
    """The first two principal components of codes (N, D); with two latents the codes as they are, with one, beside zeros."""
    latents = mu.shape[1]
    if latents <= 2 or len(mu) < 2 or not np.ptp(mu, axis=0).any():  # no variance, no direction of most of it
        points = np.zeros((len(mu), 2), np.float32)
        points[:, : min(latents, 2)] = mu[:, :2]
        return Projection(points, ("z0", "z1" if latents > 1 else ""), 1.0 if latents <= 2 else float("nan"))
    from sklearn.decomposition import PCA  # sklearn takes longer to import than to work

    pca = PCA(2, svd_solver="full").fit(mu)
    shares = pca.explained_variance_ratio_
    names = tuple(f"principal component {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares))
    return Projection(pca.transform(mu).astype(np.float32), (names[0], names[1]), float(shares.sum()))


class CodeGaussian(NamedTuple):
    """N(mean, root root^T), fitted to codes; mean (D,), root (D, D)."""

    mean: np.ndarray
    root: np.ndarray

    def sample(self, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """(n, D)."""
        eps = np.random.default_rng(seed).standard_normal((n, len(self.mean)))
        return (self.mean + temperature * eps @ self.root.T).astype(np.float32)


def fit_gaussian(found: Codes) -> CodeGaussian:
    """The full-covariance Gaussian of the aggregate posterior, mean over images of q(z | x), by its first two moments.

    Its covariance is that of mu plus the mean of exp(log_var) on the diagonal. Sampling from it repairs what a mismatch in mean,
    scale and correlation between the codes and N(0, I) does to samples (Ghosh et al., 2020, fit a mixture in the same place,
    https://arxiv.org/abs/1903.12436).
    """
    mu, variance = found.mu.astype(np.float64), np.exp(found.log_var.astype(np.float64))
    if len(mu) < 2:
        raise UsageError(f"A Gaussian was to be fitted to {len(mu)} codes; it needs 2 or more.")
    covariance = np.atleast_2d(np.cov(mu, rowvar=False)) + np.diag(variance.mean(0))
    values, vectors = np.linalg.eigh(covariance)
    return CodeGaussian(mu.mean(0), vectors * np.sqrt(np.clip(values, 0, None)))


def neighbour_accuracy(mu: np.ndarray, labels: np.ndarray, other_mu: np.ndarray, other_labels: np.ndarray, k: int = 5) -> float:
    """Share of other codes (M, D) whose label the k nearest codes (N, D) vote for; unknown labels (-1) are left out."""
    known, other = labels >= 0, other_labels >= 0
    if known.sum() < k or not other.any():
        raise UsageError(f"{known.sum()} labelled codes to learn from and {other.sum()} to score; expected {k} and 1 or more.")
    from sklearn.neighbors import KNeighborsClassifier

    votes = KNeighborsClassifier(k).fit(mu[known], labels[known])
    return float(votes.score(other_mu[other], other_labels[other]))
