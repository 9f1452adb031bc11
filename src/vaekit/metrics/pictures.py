"""New pictures beside real ones, in the features of a net: how far apart, how true, how various, how much only remembered.

Every figure's name says whose features, and of how many pictures: fd_labels@5000. It is never called FID: that is one net's.

Shapes: N real and M drawn pictures, features (N, F), (M, F).
"""

from collections.abc import Callable, Iterable, Sequence
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
    between = (cdist(real[part], drawn) for part in parts(len(real)))
    return truth_of(radii(real, k), radii(drawn, k), between, k)


def truth_of(around_real: np.ndarray, around_drawn: np.ndarray, between: Iterable[np.ndarray], k: int) -> Truth:
    """Of radii (N,), (M,) and distances between real and drawn pictures (N, M), some rows at a time."""
    hits = np.zeros(len(around_drawn), int)  # of each drawn one: in how many real ones' surroundings it lies
    found, covered = [], []
    for part, rows in zip(parts(len(around_real)), between, strict=True):
        inside = rows < around_real[part, None]
        hits += inside.sum(0)
        found.append((rows < around_drawn[None]).any(1))
        covered.append(inside.any(1))
    recall, coverage = (float(np.concatenate(each).mean()) for each in (found, covered))
    return Truth(float((hits > 0).mean()), recall, float(hits.mean() / k), coverage)


def radii(heap: np.ndarray, k: int) -> np.ndarray:
    """The distance of each to its k-th nearest of the others, (N,)."""
    return np.concatenate([np.partition(cdist(heap[part], heap), k, axis=1)[:, k] for part in parts(len(heap))])


def errors_of_truth(real: np.ndarray, drawn: np.ndarray, seed: int, k: int = NEAREST) -> Truth:
    """The standard errors of `surroundings` over both heaps, of large ones as `resampled` takes them."""
    rng, least = np.random.default_rng(seed), min(len(real), len(drawn))
    a, b = (heap[rng.permutation(len(heap))[:MOST_RESAMPLED]] for heap in (real, drawn))
    among_real, among_drawn, between = (distances(one, other) for one, other in ((a, a), (b, b), (a, b)))

    def measure(i: np.ndarray, j: np.ndarray) -> Truth:
        around_real, around_drawn = (
            np.partition(among[np.ix_(some, some)], k, axis=1)[:, k] for among, some in ((among_real, i), (among_drawn, j))
        )
        return truth_of(around_real, around_drawn, (between[np.ix_(i[part], j)] for part in parts(len(i))), k)

    return Truth(*halved(measure, (len(a), len(b)), rng) * (min(least, MOST_RESAMPLED) / least) ** 0.5)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between all pairs of rows, (N, M) float32."""
    return np.concatenate([cdist(a[part], b).astype(np.float32) for part in parts(len(a))])


def halved(
    measure: Callable[[np.ndarray, np.ndarray], Sequence[float]], counts: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Standard errors of figures of two heaps, which `measure` has of some places in each: their spread over random halves.

    Halves of the same pictures differ as whole heaps of other ones do (the jackknife that leaves out half: Shao & Wu, 1989), or
    somewhat more where figures hang on a few neighbours. A bootstrap's doubles would be their own nearest neighbours.
    """
    some = [measure(*(rng.permutation(count)[: count // 2] for count in counts)) for _ in range(RESAMPLES)]
    return np.std(some, axis=0, ddof=1)


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
    error: float  # of copies, its standard error


def remembered(drawn: np.ndarray, held: np.ndarray, train: np.ndarray, seed: int = 0) -> Remembered:
    """Of features of drawn, held-out and training pictures."""
    near, usual = (nearest(heap, train) for heap in (drawn, held))
    apart = usual[usual > SAME * np.median(usual)]

    def copies(i: np.ndarray, j: np.ndarray) -> list[float]:
        limit = np.quantile(apart[j], REMEMBERED) if len(j) else 0.0
        return [float((near[i] <= limit).mean())]

    (share,) = copies(np.arange(len(near)), np.arange(len(apart)))
    (error,) = halved(copies, (len(near), len(apart)), np.random.default_rng(seed))
    nearness = float(np.median(near) / max(np.median(usual), 1e-12))
    return Remembered(share, nearness, 1 - len(apart) / len(usual), float(error))


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


def within(value: float, error: float, count: int | None = None) -> list[float]:
    """95 % of a figure that is never below 0, by its standard error.

    That of a share of `count` pictures is never narrower than for draws of a share that is the same for all (Wilson, 1927): at 0
    and 1 no half differs from another.
    """
    low, high = value - 1.96 * error, value + 1.96 * error
    if count is None:
        return [max(0.0, low), high]
    least = proportion(value, count)
    return [max(0.0, min(low, least[0])), min(1.0, max(high, least[1]))]


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
    errors = errors_of_truth(its.held, its.drawn, seed) if min(len(its.held), count) >= 2 * (NEAREST + 1) else None
    for key in Truth._fields:
        value, share = getattr(truth, key), key != "density"
        more: dict[str, Any] = {"reference": {REAL: getattr(best, key), REBUILT: getattr(decoder, key)}}
        if errors:  # half of the pictures have neighbours enough
            more["interval"] = within(value, getattr(errors, key), count if share else None)
        told = f"{NEAREST} nearest neighbours (Naeem et al., 2020)"
        add(key, value, "share" if share else "", told, **more)
    known = remembered(its.drawn, its.held, its.train, seed)
    told = f"drawn pictures nearer to one of {len(its.train):,} training pictures than 99 % of held-out ones are"
    reference = {"held-out pictures": REMEMBERED, "held-out pictures that stand in training too": known.doubles}
    more = {"reference": reference, "nearness": known.nearness, "interval": within(known.copies, known.error, count)}
    add("copies", known.copies, "share", told, **more)
    return found
