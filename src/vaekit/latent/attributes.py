"""Attribute vectors: the direction from pictures without an attribute to pictures with it (White, 2016; Larsen et al., 2016).

https://arxiv.org/abs/1609.04468, https://arxiv.org/abs/1512.09300
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from ..part import known
from .directions import directions, held_out_leaks


@dataclass(frozen=True)
class AttributeVector:
    """From codes without it to codes with it, with what is known of it."""

    name: str
    vector: np.ndarray  # (D,), not normalised: alpha = 1 is the distance between the two groups along it, see directions.py
    count_with: int
    count_without: int
    norm: float
    interval: tuple[float, float]  # 95 %, of the mean difference: along a direction that other images gave, whatever the method
    method: str  # such as one of directions.METHODS
    sigmas: float  # how many standard deviations of the codes along it alpha = 1 is
    leak: dict[str, float]  # how many of its standard deviations alpha = 1 moves every attribute's score, on other images

    def about(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "vector"}


def attribute_vectors(
    mu: np.ndarray,
    attributes: np.ndarray,
    names: tuple[str, ...],
    seed: int = 0,
    method: str = "mean",
    *,
    instead: Mapping[str, tuple[str, np.ndarray]] | None = None,
) -> list[AttributeVector]:
    """One vector for every binary attribute that some images have and some have not, by one of `directions.METHODS`; mu (N, D).

    `instead`: by name, a method and its vector in the place of that.

    attributes is (N, A) of 0, 1 or nan; unknown ones are left out. Of two other values the higher one is "has it"; an attribute
    with more is split at its median; one that does not split the images into two groups of 4 or more has no vector.
    The norm grows with noise: even random groups have one. So the interval takes the direction from one half of the
    images and the distance along it from the other: it holds 0 when the direction is an accident. The leak is of the direction
    from one half too, but where a vector is given; attributes that a half has fewer than 2 with or without have none.
    """
    columns = [presence(column) for column in attributes.T]
    split = {name: has for name, has in zip(names, columns, strict=True) if min((has == 1).sum(), (has == 0).sum()) >= 4}
    if not split:  # two of each group in each half
        return []
    has, mu = np.stack(list(split.values()), 1), mu.astype(np.float64)
    found = dict(zip(split, ((method, vector) for vector in directions(mu, has, method)), strict=True)) | dict(instead or {})
    vectors = np.stack([found[name][1] for name in split])
    moved = held_out_leaks(mu, has, [found[name] for name in split], seed)
    described = []
    for name, column, vector, its in zip(split, has.T, vectors, moved, strict=True):
        with_it, without = mu[column == 1], mu[column == 0]
        length = float(np.linalg.norm(vector))
        along = float((mu @ vector).std()) / max(length, np.finfo(float).tiny)
        about = {
            "norm": length,
            "interval": held_out_interval(with_it, without, seed),
            "method": found[name][0],
            "sigmas": length / max(along, np.finfo(float).tiny),
            "leak": {other: by for other, by in zip(split, its.tolist(), strict=True) if not np.isnan(by)},
        }
        described.append(AttributeVector(name, vector.astype(np.float32), len(with_it), len(without), **about))
    return described


def presence(values: np.ndarray) -> np.ndarray:
    """1 has it, 0 has it not, -1 unknown."""
    known_values = values[~np.isnan(values)]
    distinct = np.unique(known_values)
    threshold = float(distinct.sum() / 2)  # of two values, half way
    if len(distinct) > 2:
        median = float(np.median(known_values))
        threshold = median if median < distinct[-1] else float(known_values.mean())  # above the highest there is nothing
    return np.where(np.isnan(values), -1, values > threshold).astype(int)


def held_out_interval(with_it: np.ndarray, without: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % interval, by Welch's t (1947) over the second halves of two groups of 4 or more codes (N, D), of their distance
    along the direction that the first halves give."""
    from scipy.special import stdtrit

    rng = np.random.default_rng(seed)
    (a, more_a), (b, more_b) = (np.array_split(rng.permutation(group), 2) for group in (with_it, without))
    direction = a.mean(0) - b.mean(0)
    direction /= max(np.linalg.norm(direction), 1e-12)
    a, b = more_a @ direction, more_b @ direction
    gap, parts = float(a.mean() - b.mean()), [(x.var(ddof=1) / len(x), len(x) - 1) for x in (a, b)]
    error = sum(part for part, _ in parts)
    freedom = error**2 / max(sum(part**2 / n for part, n in parts), np.finfo(float).tiny)
    reach = float(stdtrit(max(freedom, 1.0), 0.975) * np.sqrt(error))  # it is never below 1, but where all codes are the same
    return gap - reach, gap + reach


def combine(vectors: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """The sum of weight * vector, (D,). Raises UsageError on an attribute without a vector."""
    for name in weights.keys() - vectors.keys():
        raise UsageError(f"No attribute is named {name!r}. {known(name, vectors)}")
    return sum((weight * np.asarray(vectors[name]) for name, weight in weights.items()), np.zeros(()))
