"""Train, validation and test: which side a picture is on depends on its name (or group) and the seed, never on its neighbours."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ..errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
UNKNOWN = -1  # official side of a picture that the official partition does not name
FRACTIONS = (0.8, 0.1, 0.1)
CARVED = (10 / 12, 1 / 12, 1 / 12)  # of an official training set, for a side that is missing: 5,000 of MNIST's 60,000


def usual_fractions(official: np.ndarray | None) -> tuple[float, float, float]:
    """The fractions where none were asked for."""
    return FRACTIONS if official is None else CARVED


def split(
    keys: Sequence[str],
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    official: np.ndarray | None = None,
    exact: bool = False,
) -> dict[str, np.ndarray]:
    """Sorted, disjoint int64 indices that cover all N pictures; equal keys stay on one side, unless `parted`.

    A key's side is its hash in [0, 1) against the fractions, so adding pictures moves none of the others. `official` (N,) holds
    `TRAIN`, `VALIDATION`, `TEST` or `UNKNOWN` per picture: official sides are kept, and a side that no picture has is carved out
    of the official training pictures. `exact` takes the exact number of keys (for data that never grows). A wanted side is
    never empty while there are enough keys: train first, then validation, then test.
    Raises UsageError for fractions that are none, DataError where three pictures or more share one key.
    """
    shares = check_fractions(fractions)
    side = np.full(len(keys), TRAIN) if official is None else with_training(official)
    carved = [s for s in (VALIDATION, TEST) if shares[s] > 0 and not (side == s).any()]
    pool = np.flatnonzero(side == TRAIN)
    place = {key: position(key, seed) for key in {keys[i] for i in pool.tolist()}}
    if carved and len(place) == 1 and len(pool) >= 3:
        raise DataError(
            f"all {len(pool)} training pictures belong to one group, {keys[int(pool[0])]!r}, so no validation split can be made. "
            "Expected a group column with two values or more. Choose another column, or leave the group out."
        )
    chosen = by_rank(place, shares, carved) if exact else by_position(place, shares, carved)
    fill_empty(chosen, place, [TRAIN, *carved])
    side[pool] = [chosen[keys[i]] for i in pool.tolist()]
    return {name: np.flatnonzero(side == s).astype(np.int64) for s, name in enumerate(SPLITS)}


def with_training(official: np.ndarray) -> np.ndarray:
    """Official sides (N,), the unknown ones as training."""
    return np.where(official == UNKNOWN, TRAIN, official)


def parted(keys: Sequence[str], official: np.ndarray | None) -> dict[str, tuple[int, int]]:
    """The keys whose pictures official sides part, each with two pictures on different sides."""
    if official is None:
        return {}
    side = with_training(official).tolist()
    first: dict[str, int] = {}
    found: dict[str, tuple[int, int]] = {}
    for i, key in enumerate(keys):
        if side[i] != side[first.setdefault(key, i)]:
            found.setdefault(key, (first[key], i))
    return found


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    good = len(fractions) == 3 and min(fractions) >= 0 and fractions[0] > 0 and abs(sum(fractions) - 1) <= 1e-6
    if not good:  # also where one is nan
        raise UsageError(
            f"splits={tuple(fractions)} was given. Expected three fractions (train, validation, test) that sum to 1, "
            "none below 0, train above 0. Write for example splits=(0.8, 0.1, 0.1)."
        )
    return tuple(fractions)  # type: ignore[return-value]


def position(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on the key and the seed alone."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, salt=(seed % 2**64).to_bytes(8, "little")).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def by_position(place: dict[str, float], shares: Sequence[float], carved: list[int]) -> dict[str, int]:
    test = shares[TEST] if TEST in carved else 0.0
    held = test + (shares[VALIDATION] if VALIDATION in carved else 0.0)
    return {key: TEST if u < test else VALIDATION if u < held else TRAIN for key, u in place.items()}


def by_rank(place: dict[str, float], shares: Sequence[float], carved: list[int]) -> dict[str, int]:
    ranked = sorted(place, key=lambda key: (place[key], key))
    test = round(shares[TEST] * len(ranked)) if TEST in carved else 0
    held = test + (round(shares[VALIDATION] * len(ranked)) if VALIDATION in carved else 0)
    return {key: TEST if i < test else VALIDATION if i < held else TRAIN for i, key in enumerate(ranked)}


def fill_empty(chosen: dict[str, int], place: dict[str, float], wanted: list[int]) -> None:
    """Give an empty wanted side the first key of the side that can best spare one, in place; only small data need it."""
    needed = wanted[: len(place)]
    for s in needed:
        if s not in chosen.values():
            sides = {other: [key for key, its in chosen.items() if its == other] for other in range(3)}
            richest = max(sides, key=lambda other: len(sides[other]) - (other in needed))
            chosen[min(sides[richest], key=lambda key: (place[key], key))] = s
