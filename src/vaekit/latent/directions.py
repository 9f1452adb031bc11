"""The direction of an attribute in codes, by several methods, and what else a step along it moves.

Each method answers for all attributes at once, and its sign is kept: a step adds the attribute even where those with it lie the
other way because of what comes along (Simpson, 1951). The mean difference has its own length. Any other vector is as long as the
groups' means lie apart along it, or as the attribute itself goes along it where that is further: that is alpha 1.

Shapes: codes mu (N, D); has (N, A): 1 has it, 0 has it not, -1 unknown; vectors (A, D).
"""

import warnings
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..part import known

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

RARE = 0.02  # a picture whose group was less probable than that weighs as much as one with this probability
MOST_JUDGED = 20_000  # codes that leaks are measured on


def mean_difference(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """mean(mu | has it) - mean(mu | has it not) (White, 2016): whatever comes along with the attribute comes along here too."""
    return np.stack([mu[column == 1].mean(0) - mu[column == 0].mean(0) for column in has.T])


def balanced_difference(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The same, each picture weighed by how improbable its group was given its other attributes: both groups have the same mix.

    Inverse propensity weights (Rosenbaum & Rubin, 1983).
    """
    found = []
    for k, column in enumerate(has.T):
        rows = column >= 0
        others = np.delete(shares(has), k, axis=1)[rows]
        if others.shape[1] == 0:
            return mean_difference(mu, has)
        likely = linear(others, column[rows]).predict_proba(others)[:, 1].clip(RARE, 1 - RARE)
        groups = [(column[rows] == 1) / likely, (column[rows] == 0) / (1 - likely)]
        with_it, without = (np.average(mu[rows], axis=0, weights=weights) for weights in groups)
        found.append(with_it - without)
    return np.stack(found)


def partial_effect(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The coefficients of a ridge regression of mu on all attributes: what one adds where the others stay as they are."""
    from sklearn.linear_model import Ridge  # sklearn, here and below, takes longer to import than a training has to wait

    return Ridge(alpha=1.0).fit(shares(has), mu).coef_.T.reshape(has.shape[1], -1)


def shrunk_effect(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The partial effect, each latent's share shrunk to 0 where it is within two standard errors (Breiman, 1995, garrote)."""
    told = shares(has) - shares(has).mean(0)
    effects = partial_effect(mu, has)
    noise = (mu - mu.mean(0) - told @ effects).var(0)
    error = np.outer(np.diag(np.linalg.inv(told.T @ told + np.eye(told.shape[1]))), noise)  # (A, D), squared
    return effects * np.maximum(0, 1 - 4 * error / np.maximum(np.square(effects), np.finfo(float).tiny))


def logistic_normal(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The normal of the plane that parts the codes (InterFaceGAN; Shen et al., 2020)."""
    spread = np.maximum(mu.std(0), np.finfo(np.float32).tiny)
    normals = [linear(mu[column >= 0] / spread, column[column >= 0], 0.1).coef_[0] / spread for column in has.T]
    return np.stack(normals)


def discriminant(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Fisher's linear discriminant: the mean difference, through the inverse of the covariance within the groups."""
    from sklearn.covariance import ledoit_wolf

    found = []
    for column, difference in zip(has.T, mean_difference(mu, has), strict=True):
        within = np.concatenate([mu[column == group] - mu[column == group].mean(0) for group in (0, 1)])
        found.append(np.linalg.solve(ledoit_wolf(within, assume_centered=True)[0], difference))
    return np.stack(found)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": mean_difference,
    "balanced": balanced_difference,
    "ridge": partial_effect,
    "shrunk": shrunk_effect,
    "logistic": logistic_normal,
    "lda": discriminant,
}


def directions(mu: np.ndarray, has: np.ndarray, method: str = "mean") -> np.ndarray:
    """The vectors (A, D) by one of METHODS. Raises UsageError on any other."""
    if method not in METHODS:
        raise UsageError(f"No method is named {method!r}. {known(method, METHODS)}")
    mu = mu.astype(np.float64)
    found = METHODS[method](mu, has)
    return found if method == "mean" else along(found, mean_difference(mu, has), partial_effect(mu, has))


def along(found: np.ndarray, *steps: np.ndarray) -> np.ndarray:
    """Vectors (A, D) in their own direction, as long as the one of some steps (A, D) that goes furthest along it, either way."""
    unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(float).tiny)
    return unit * np.max([np.abs((unit * step).sum(1, keepdims=True)) for step in steps], axis=0)


def orthogonal(vector: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What of a vector (D,) is orthogonal to others (K, D)."""
    basis, _ = np.linalg.qr(np.asarray(others, np.float64).T)
    return vector - basis @ (basis.T @ vector)


def own_effect(mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The partial effect, with the balanced difference of what that leaves: right where either of the two methods is.

    Augmented inverse propensity weights (Robins, Rotnitzky & Zhao, 1994).
    """
    effects = partial_effect(mu, has)
    return effects + balanced_difference(mu - shares(has) @ effects, has)


def leaks(vectors: np.ndarray, mu: np.ndarray, has: np.ndarray) -> np.ndarray:
    """How many of its standard deviations alpha = 1 of each vector moves each attribute's score, (A, A).

    The score reads an attribute's own effect out of a code, beside those of all others: the generalised least squares of
    mu = sum of effects + noise. A classifier's would rise wherever attributes come together. The codes are not those that gave
    the vectors: to scores of the same ones, a ridge regression leaks nothing whatever it is worth.
    """
    from sklearn.covariance import ledoit_wolf

    effects, known_of = own_effect(mu, has), shares(has)
    noise = mu - mu.mean(0) - (known_of - known_of.mean(0)) @ effects
    weighed = np.linalg.solve(ledoit_wolf(noise, assume_centered=True)[0], effects.T).T
    readouts = np.linalg.pinv(weighed @ effects.T, hermitian=True) @ weighed
    return vectors @ readouts.T / np.maximum((mu @ readouts.T).std(0), np.finfo(float).tiny)


def held_out_leaks(mu: np.ndarray, has: np.ndarray, found: Sequence[tuple[str, np.ndarray]], seed: int = 0) -> np.ndarray:
    """Leaks (A, A) of the vectors that one half of the codes gives, to the scores that the other half gives.

    found: of each attribute the method, and the vector (D,), which is taken as it is where that is none of METHODS. nan of
    attributes that a half has fewer than 2 with or without.
    """
    # not the other way round as well: the errors of two halves are opposite, and the mean of both leaks would hide them
    halves = np.array_split(np.random.default_rng(seed).permutation(len(mu))[:MOST_JUDGED], 2)
    told = np.all([(has[half] == group).sum(0) >= 2 for half in halves for group in (0, 1)], axis=0)
    moved = np.full((len(told), len(told)), np.nan)
    if told.any():
        (mu, has), held_out = ((mu[half], has[half][:, told]) for half in halves)
        by = {method: directions(mu, has, method) for method in METHODS.keys() & {method for method, _ in compress(found, told)}}
        mine = [by[method][k] if method in by else vector for k, (method, vector) in enumerate(compress(found, told))]
        moved[np.ix_(told, told)] = leaks(np.stack(mine), *held_out)
    return moved


def shares(has: np.ndarray) -> np.ndarray:
    """(N, A) float, an unknown one as the share of those who have it."""
    values = np.where(has < 0, np.nan, has.astype(float))
    return np.where(has < 0, np.nanmean(values, axis=0), values)


def linear(features: np.ndarray, has: np.ndarray, strength: float = 1.0) -> "LogisticRegression":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # near enough to the optimum for a direction
        return LogisticRegression(C=strength, max_iter=500).fit(features, has)
