"""What grows for days is kept evenly thinned, from its beginning to its end."""

import numpy as np
import pytest

from vaekit.studio import thinned
from vaekit.studio.thinned import Columns, Thinned


@pytest.mark.parametrize("most", [2, 7, 24])
def test_first_and_last_and_even_steps_between(most):
    series = Thinned(most)
    assert series.some == []
    for number in range(500):
        series.add(number)
        kept = series.some
        assert len(kept) <= most
        assert (kept[0], kept[-1]) == (0, number)
        steps = np.diff(kept)
        assert len(set(steps[:-1])) <= 1
        assert number < most - 1 or 2 * len(kept) >= most - 1, "half of the places are in use"
        assert number >= most - 1 or kept == list(range(number + 1)), "a short one is whole"


def pictures(shade: int, height: int = 2) -> np.ndarray:
    return np.full((4, height, 3, 1), shade, np.uint8)


def test_columns_are_those_of_one_training_each_once():
    columns = Columns()
    for images in (0, 0, 10, 10, 25):
        columns.add(images, pictures(images))
    images, kept = columns.all
    assert (images, kept.shape, kept[:, 0, 0, 0, 0].tolist()) == ([0, 10, 25], (3, 4, 2, 3, 1), [0, 10, 25])
    columns.add(5, pictures(5))
    assert columns.all[0] == [5], "another training began in this folder"
    columns.add(6, pictures(6, height=5))
    assert (columns.all[0], columns.all[1].shape) == ([6], (1, 4, 5, 3, 1))


def test_a_model_that_draws_nothing_has_no_columns():
    columns = Columns()
    columns.add(10, pictures(1)[:0])
    assert columns.all[0] == []
    assert columns.all[1].shape == (0, 0, 0, 0, 0)


def test_columns_of_large_pictures_are_fewer(monkeypatch):
    for most, count in ((1 << 20, 24), (10 * pictures(0).nbytes, 10), (1, 2)):
        monkeypatch.setattr(thinned, "MOST_BYTES", most)
        columns, largest = Columns(), 0
        for images in range(100):
            columns.add(images, pictures(images))
            largest = max(largest, len(columns.all[0]))
        assert largest == count
        assert (columns.all[0][0], columns.all[0][-1]) == (0, 99)
