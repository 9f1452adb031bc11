"""New pictures beside real ones, in the features of a net: how far apart, how true, how various, how much only remembered.

Every figure's name says whose features, and of how many pictures: fd_labels@5000. It is never called FID: that is one net's.

Shapes: N real and M drawn pictures, features (N, F), (M, F).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from .bounds import proportion
from .quality import BLOCK, check, frechet_distance, kernel_distance

NEAREST = 5  # neighbours that span a picture's surroundings (Naeem et al., 2020)
DIRECTIONS = 200  # of the sliced distance
RESAMPLES, MOST_RESAMPLED = 40, 5000
REMEMBERED = 0.01  # of held-out pictures, whose nearest training picture is nearer: a drawn one that near is a copy
SAME = 1e-3  # of the usual distance, up to which a held-out picture is one of the training pictures
REAL, REBUILT = "other real pictures", "their reconstructions"


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
    around_real, around_drawn = (radii(heap, k) for heap in (real, drawn))
    hits, found, covered = np.zeros(len(drawn), int), [], []  # of each drawn one: in how many real ones' surroundings it lies
    for part in parts(len(real)):
        between = cdist(real[part], drawn)
        inside = between < around_real[part, None]
        hits += inside.sum(0)
        found.append((between < around_drawn[None]).any(1))
        covered.append(inside.any(1))
    recall, coverage = (float(np.concatenate(each).mean()) for each in (found, covered))
    return Truth(float((hits > 0).mean()), recall, float(hits.mean() / k), coverage)


def radii(heap: np.ndarray, k: int) -> np.ndarray:
    """The distance of each to its k-th nearest of the others, (N,)."""
    return np.concatenate([np.partition(cdist(heap[part], heap), k, axis=1)[:, k] for part in parts(len(heap))])


def parts(count: int) -> list[slice]:
    """Some rows at a time: all distances of 50,000 pictures to each other would be 20 GB."""
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


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


class Remembered(NamedTuple):
    """What drawn pictures owe to single training pictures."""

    copies: float  # share of drawn ones that lie nearer to a training picture than all but REMEMBERED of the held-out ones
    nearness: float  # the median distance to the nearest training picture, over that of held-out ones
    doubles: float  # share of held-out pictures that stand in the training split too; the others set the measure


def remembered(drawn: np.ndarray, held: np.ndarray, train: np.ndarray) -> Remembered:
    """Of features of drawn, held-out and training pictures."""
    near, usual = (nearest(heap, train) for heap in (drawn, held))
    apart = usual[usual > SAME * np.median(usual)]
    limit = np.quantile(apart, REMEMBERED) if len(apart) else 0.0
    return Remembered(
        float((near <= limit).mean()), float(np.median(near) / max(np.median(usual), 1e-12)), 1 - len(apart) / len(usual)
    )


def nearest(heap: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The distance of each to its nearest training picture, (N,)."""
    return np.concatenate([cdist(heap[part], train).min(1) for part in parts(len(heap))])


def resampled(measure: Callable[[np.ndarray, np.ndarray], float], real: np.ndarray, drawn: np.ndarray, seed: int) -> list[float]:
    """95 % of a distance over both heaps of pictures: the spread of a bootstrap, around the value.

    Doubled pictures make a distance larger, so that of the bootstrap is not taken, only its spread; of large heaps over
    MOST_RESAMPLED pictures, and as much smaller as the root of their number says.
    """
    rng, value = np.random.default_rng(seed), measure(real, drawn)

    def some(heap: np.ndarray) -> np.ndarray:
        return heap[rng.integers(len(heap), size=min(len(heap), MOST_RESAMPLED))]

    spread = float(np.std([measure(some(real), some(drawn)) for _ in range(RESAMPLES)], ddof=1))
    least = min(len(real), len(drawn))
    error = 1.96 * spread * (min(least, MOST_RESAMPLED) / least) ** 0.5
    return [value - error, value + error]


DISTANCES: dict[str, tuple[Callable[[np.ndarray, np.ndarray], float], str]] = {
    "fd": (frechet_distance, "Frechet distance (Heusel et al., 2017, eq. 6)"),
    "kd": (kernel_distance, "kernel distance (Binkowski et al., 2018, section 4)"),
    "sd": (sliced_distance, f"sliced Wasserstein distance, squared, {DIRECTIONS} directions"),
}


class Heaps(NamedTuple):
    """Features of pictures, (N, F) each but `train`, which may have more rows."""

    drawn: np.ndarray
    held: np.ndarray  # real ones, beside which all others are put
    others: np.ndarray  # other real ones
    rebuilt: np.ndarray  # what the model makes of those
    train: np.ndarray


def beside_real(its: Heaps, *, name: str, how: str, density: str = "", seed: int = 0) -> dict[str, dict[str, Any]]:
    """Metrics of new pictures by name; `name` is the net's, `how` what it is and what the heaps are, `density` what was fitted to
    the codes and drawn from, where that was not the model's own prior.

    "reference" holds the same figure of other real pictures, which a perfect generator would have, and of their reconstructions:
    of one as good as the decoder.
    """
    count = len(its.drawn)
    suffix, source = (f"_{density}", f", drawn from the fitted density {density!r}") if density else ("", "")
    found: dict[str, dict[str, Any]] = {}

    def add(key: str, value: float, unit: str, told: str, **more: Any) -> None:
        about = {"value": value, "unit": unit, "count": count, "how": f"{told}, features of {how}{source}, seed {seed}"}
        found[f"{key}_{name}@{count}{suffix}"] = about | more

    for key, (measure, told) in DISTANCES.items():
        reference = {REAL: measure(its.held, its.others), REBUILT: measure(its.held, its.rebuilt)}
        add(
            key,
            measure(its.held, its.drawn),
            "",
            told,
            reference=reference,
            interval=resampled(measure, its.held, its.drawn, seed),
        )
    truth, best, decoder = (surroundings(its.held, heap) for heap in (its.drawn, its.others, its.rebuilt))
    for key in Truth._fields:
        value, share = getattr(truth, key), key != "density"
        reference = {REAL: getattr(best, key), REBUILT: getattr(decoder, key)}
        interval = {"interval": proportion(value, count)} if share else {}
        told = f"{NEAREST} nearest neighbours (Naeem et al., 2020)"
        add(key, value, "share" if share else "", told, reference=reference, **interval)
    known = remembered(its.drawn, its.held, its.train)
    told = f"drawn pictures nearer to one of {len(its.train):,} training pictures than 99 % of held-out ones are"
    reference = {"held-out pictures": REMEMBERED, "held-out pictures that stand in training too": known.doubles}
    more = {"reference": reference, "nearness": known.nearness, "interval": proportion(known.copies, count)}
    add("copies", known.copies, "share", told, **more)
    return found
