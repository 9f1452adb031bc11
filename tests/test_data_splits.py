import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaekit.data.splits import SPLITS, TEST, TRAIN, UNKNOWN, VALIDATION, parted, split, usual_fractions
from vaekit.errors import DataError, UsageError

names = st.lists(st.text(st.characters(), max_size=12), unique=True, max_size=120)
seeds = st.integers(0, 2**40)


def sides(keys, *args, **options):
    """{place: side} and the check that the splits are sorted, disjoint and cover all."""
    splits = split(keys, *args, **options)
    assert tuple(splits) == SPLITS
    assert all(indices.dtype == np.int64 and (np.diff(indices) > 0).all() for indices in splits.values())
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(keys)))
    return {int(i): side for side, indices in splits.items() for i in indices}


@given(names, seeds, st.booleans())
def test_every_picture_is_on_one_side_and_none_is_empty(keys, seed, exact):
    side = sides(keys, seed=seed, exact=exact)
    assert side == sides(keys, seed=seed, exact=exact)
    if len(keys) >= 3:
        assert set(side.values()) == set(SPLITS)


@given(names, names, seeds)
def test_adding_pictures_moves_none(old, new, seed):
    few = [key for key in old if key not in new]
    many = sorted(few + new)
    before, after = sides(few, seed=seed), sides(many, seed=seed)
    if len(set(before.values())) == 3 and len(few) >= 40:  # few pictures are shared out by hand
        moved = [key for i, key in enumerate(few) if before[i] != after[many.index(key)]]
        assert len(moved) <= 2


def test_adding_pictures_to_a_usual_folder_moves_none():
    few, many = [f"{i}.png" for i in range(500)], [f"{i}.png" for i in range(3, 2000)]
    before, after = sides(few), sides(many)
    assert all(before[i] == after[i - 3] for i in range(3, 500))


@given(st.lists(st.integers(0, 20), min_size=3, max_size=80), seeds)
def test_groups_are_never_parted(groups, seed):
    keys = [f"person {group}" for group in groups]
    if len(set(keys)) == 1:
        with pytest.raises(DataError, match="one group"):
            split(keys, seed=seed)
        return
    side = sides(keys, seed=seed)
    assert len({(key, side[i]) for i, key in enumerate(keys)}) == len(set(keys))
    assert "validation" in side.values()
    assert "train" in side.values()


@given(st.lists(st.sampled_from([TRAIN, VALIDATION, TEST, UNKNOWN]), min_size=1, max_size=60), seeds)
def test_official_sides_are_kept(official, seed):
    side = sides([f"{i}" for i in range(len(official))], seed=seed, official=np.array(official))
    assert all(side[i] == SPLITS[its] for i, its in enumerate(official) if its in (VALIDATION, TEST))
    if TEST in official:
        assert all(official[i] == TEST for i, its in side.items() if its == "test")


def test_fractions_hold_and_seeds_differ():
    keys = [f"{i:05d}.jpg" for i in range(10_000)]
    for fractions in ((0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.9, 0.1, 0.0)):
        for exact in (False, True):
            splits = split(keys, fractions, exact=exact)
            shares = np.array([len(splits[side]) for side in SPLITS]) / len(keys)
            np.testing.assert_allclose(shares, fractions, atol=0 if exact else 0.02)
    assert not np.array_equal(split(keys, seed=1)["test"], split(keys, seed=2)["test"])


@pytest.mark.parametrize("wrong", [(1.0, 0.5, -0.5), (0.0, 0.5, 0.5), (0.5, 0.5), (0.5, 0.2, 0.2), (float("nan"), 0.1, 0.1)])
def test_wrong_fractions(wrong):
    with pytest.raises(UsageError, match="three fractions"):
        split(["a", "b", "c"], wrong)


def test_groups_that_official_sides_part_are_found():
    keys, official = ["a", "b", "a", "b", "c", "c"], np.array([TRAIN, TRAIN, TEST, UNKNOWN, VALIDATION, VALIDATION])
    assert parted(keys, official) == {"a": (0, 2)}
    assert parted(keys, None) == {}


def test_a_missing_official_side_takes_a_twelfth_of_the_training_set():
    for official, missing in (
        ([TRAIN, TEST], ["validation"]),
        ([TRAIN, VALIDATION], ["test"]),
        ([TRAIN], ["validation", "test"]),
    ):
        given = np.repeat(official, 1200)
        splits = split([f"{i}" for i in range(len(given))], usual_fractions(given), official=given, exact=True)
        assert [len(splits[side]) for side in missing] == [100] * len(missing)
