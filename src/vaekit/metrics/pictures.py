"""New pictures beside real ones, in the features of a net: how far apart, how true, how various, how much only remembered.

Every figure's name says whose features, and of how many pictures: fd_labels@5000. It is never called FID: that is one net's.

Shapes: N real and M drawn pictures, features (N, F), (M, F).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from .quality import check, frechet_distance, kernel_distance

NEAREST = 5  # neighbours that span a picture's surroundings (Naeem et al., 2020)
DIRECTIONS = 200  # of the sliced distance
RESAMPLES = 40
REMEMBERED = 0.01  # of held-out pictures, whose nearest training picture is nearer: a drawn one that near is a copy


class Truth(NamedTuple):
    """Shares of pictures, or more than 1 for density."""

    precision: float  # of drawn ones, inside the surroundings of a real one
    recall: float  # of real ones, inside the surroundings of a drawn one
    density: float  # real surroundings that a drawn one lies in, over NEAREST
    coverage: float  # of real ones, with a drawn one in their surroundings


def surroundings(real: np.ndarray, drawn: np.ndarray, k: int = NEAREST) -> Truth:
    """Precision and recall (Kynkäänniemi et al., 2019), density and coverage (Naeem et al., 2020), https://arxiv.org/abs/2002.09797.

    Raises UsageError for fewer than k + 1 pictures on a side.
    """
    check(real, drawn, k + 1)
    between = cdist(real, drawn)  # (N, M)
    around_real, around_drawn = (np.partition(cdist(heap, heap), k, axis=1)[:, k] for heap in (real, drawn))
    inside = between < around_real[:, None]
    return Truth(
        float(inside.any(0).mean()),
        float((between < around_drawn[None]).any(1).mean()),
        float(inside.sum(0).mean() / k),
        float((between.min(1) < around_real).mean()),
    )


def sliced_distance(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """The mean over directions of the squared Wasserstein-2 distance of projections (Bonneel et al., 2015).

    Of a few thousand pictures it is nearly free of the bias that Frechet's distance has there.
    """
    check(a, b)
    lines = np.random.default_rng(seed).standard_normal((a.shape[1], DIRECTIONS))
    lines /= np.linalg.norm(lines, axis=0)
    grid = (np.arange(min(len(a), len(b))) + 0.5) / min(len(a), len(b))
    one, other = (np.quantile(heap @ lines, grid, axis=0, method="hazen") for heap in (a, b))
    return float(np.square(one - other).mean())


def remembered(drawn: np.ndarray, held: np.ndarray, train: np.ndarray) -> tuple[float, float]:
    """The share of drawn pictures that lie nearer to a training picture than all but 1 % of held-out ones do, and how near they
    are: the median distance to the nearest, over that of held-out ones."""
    near, usual = (nearest(heap, train) for heap in (drawn, held))
    return float((near < np.quantile(usual, REMEMBERED)).mean()), float(np.median(near) / max(np.median(usual), 1e-12))


def nearest(heap: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The distance of each to its nearest training picture, (N,)."""
    return np.concatenate([cdist(heap[start : start + 500], train).min(1) for start in range(0, len(heap), 500)])


def resampled(measure: Callable[[np.ndarray, np.ndarray], float], real: np.ndarray, drawn: np.ndarray, seed: int) -> list[float]:
    """95 % of a distance, by bootstrap over the drawn pictures; doubled ones make a distance larger, which is taken out."""
    rng, value = np.random.default_rng(seed), measure(real, drawn)
    found = np.array([measure(real, drawn[rng.integers(len(drawn), size=len(drawn))]) for _ in range(RESAMPLES)])
    low, high = np.quantile(found - found.mean() + value, (0.025, 0.975))
    return [float(low), float(high)]


DISTANCES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], float], str]] = {
    "fd": (frechet_distance, "Frechet distance (Heusel et al., 2017, eq. 6)"),
    "kd": (kernel_distance, "kernel distance (Binkowski et al., 2018, section 4)"),
    "sd": (sliced_distance, f"sliced Wasserstein distance, squared, {DIRECTIONS} directions"),
}


def beside_real(
    drawn: np.ndarray, held: np.ndarray, train: np.ndarray, rebuilt: np.ndarray, *, name: str, how: str, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Metrics by name from features of drawn, held-out, training and reconstructed held-out pictures; `name` is the net's, `how`
    what it is.

    "reference" holds the same figure for as many training pictures, and for reconstructions: what a perfect generator, and one as
    good as the decoder, would have.
    """
    count = len(drawn)
    real = train[np.random.default_rng(seed).permutation(len(train))[:count]]
    found: dict[str, dict[str, Any]] = {}

    def add(key: str, value: float, unit: str, told: str, reference: dict[str, float], **more: Any) -> None:
        about = f"{told}, features of {how}, {len(held):,} held-out pictures, seed {seed}"
        found[f"{key}_{name}@{count}"] = {
            "value": value,
            "unit": unit,
            "count": count,
            "how": about,
            "reference": reference,
            **more,
        }

    for key, (measure, told) in DISTANCES.items():
        reference = {"training pictures": measure(held, real), "reconstructions": measure(held, rebuilt)}
        add(key, measure(held, drawn), "", told, reference, interval=resampled(measure, held, drawn, seed))
    truth, best, decoder = (surroundings(held, heap) for heap in (drawn, real, rebuilt))
    for key in Truth._fields:
        reference = {"training pictures": getattr(best, key), "reconstructions": getattr(decoder, key)}
        add(
            key,
            getattr(truth, key),
            "" if key == "density" else "share",
            f"{NEAREST} nearest neighbours (Naeem et al., 2020)",
            reference,
        )
    share, near = remembered(drawn, held, train)
    told = "drawn pictures nearer to a training picture than 99 % of held-out ones are"
    add("copies", share, "share", told, {"held-out pictures": REMEMBERED}, nearness=near)
    return found
