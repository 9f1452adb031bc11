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

    pca = PCA(2, random_state=0).fit(mu)
    shares = pca.explained_variance_ratio_
    names = tuple(f"principal component {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares))
    return Projection(pca.transform(mu).astype(np.float32), (names[0], names[1]), float(shares.sum()))


LAYOUTS = ("pca", "tsne", "umap")


def arrange(mu: np.ndarray, layout: str = "pca", seed: int = 0) -> Projection:
    """Codes (N, D) on a plane that one looks at: as `project`, or so that neighbours stay neighbours, by t-SNE (van der Maaten &
    Hinton, 2008) or UMAP (McInnes et al., 2018), whose distances mean little. Two latents stay as they are.

    Raises UsageError on another layout, and where the package for UMAP is missing.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"No layout is named {layout!r}. Choose one of {', '.join(LAYOUTS)}.")
    if layout == "pca" or mu.shape[1] <= 2 or len(mu) < 5:
        return project(mu)
    if layout == "tsne":
        from sklearn.manifold import TSNE

        made = TSNE(2, init="pca", perplexity=min(30.0, (len(mu) - 1) / 3), random_state=seed)
    else:
        try:
            from umap import UMAP  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UsageError("UMAP is a package of its own: pip install umap-learn") from error
        made = UMAP(random_state=seed)
    points = np.asarray(made.fit_transform(mu), np.float32)
    name = "t-SNE" if layout == "tsne" else "UMAP"
    return Projection(points, (f"{name} 1", f"{name} 2"), float("nan"))


class CodeGaussian(NamedTuple):
    """N(mean, root^T root + diag(scale^2)), fitted to codes; mean and scale (D,), root (R, D) with R <= D."""

    mean: np.ndarray
    root: np.ndarray
    scale: np.ndarray

    def sample(self, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """(n, D)."""
        rng = np.random.default_rng(seed)
        together, apart = rng.standard_normal((n, len(self.root))), rng.standard_normal((n, len(self.mean)))
        return (self.mean + temperature * (together @ self.root + apart * self.scale)).astype(np.float32)


def fit_gaussian(found: Codes) -> CodeGaussian:
    """The full-covariance Gaussian of the aggregate posterior, mean over images of q(z | x), by its first two moments.

    Its covariance is that of mu plus the mean of exp(log_var) on the diagonal. Sampling from it repairs what a mismatch in mean,
    scale and correlation between the codes and N(0, I) does to samples (Ghosh et al., 2020, fit a mixture in the same place,
    https://arxiv.org/abs/1903.12436).
    """
    if len(found.mu) < 2:
        raise UsageError(f"A Gaussian was to be fitted to {len(found.mu)} codes; it needs 2 or more.")
    mean = found.mu.mean(0, dtype=np.float64)
    root = (found.mu - mean) / np.sqrt(len(found.mu) - 1)  # of few codes with many latents as they are: no D x D matrix
    if len(root) > len(mean):
        root = np.asarray(np.linalg.qr(root, mode="r"))
    return CodeGaussian(mean, root, np.sqrt(np.exp(found.log_var).mean(0, dtype=np.float64)))


def neighbour_accuracy(mu: np.ndarray, labels: np.ndarray, other_mu: np.ndarray, other_labels: np.ndarray, k: int = 5) -> float:
    """Share of other codes (M, D) whose label the k nearest codes (N, D) vote for; unknown labels (-1) are left out."""
    known, other = labels >= 0, other_labels >= 0
    if known.sum() < k or not other.any():
        raise UsageError(f"{known.sum()} labelled codes to learn from and {other.sum()} to score; expected {k} and 1 or more.")
    from sklearn.neighbors import KNeighborsClassifier

    votes = KNeighborsClassifier(k).fit(mu[known], labels[known])
    return float(votes.score(other_mu[other], other_labels[other]))
