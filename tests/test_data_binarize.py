"""Black and white pictures that are drawn when they are asked for: those that are drawn all at once."""

import numpy as np
import pytest

import tiny
from vaekit.data import BINARIZED, binarize, binarized, trained_on
from vaekit.data.binarize import Drawn
from vaekit.fitting import fit
from vaekit.likelihoods import BernoulliPixels
from vaekit.planning import start


def drawn_at_once(grey: np.ndarray, how: str, seed: int, block: int) -> np.ndarray:
    """The protocol, written out: a generator for each block of pictures."""
    if how == "threshold":
        return np.where(grey >= 128, 255, 0)
    starts = range(0, len(grey), block)
    parts = [grey[start : start + block] for start in starts]
    noise = [np.random.default_rng([seed, at]).random(part.shape, np.float32) for at, part in zip(starts, parts, strict=True)]
    return np.where(255 * np.concatenate(noise) < grey, 255, 0)


@pytest.mark.parametrize("how", BINARIZED)
@pytest.mark.parametrize("image", [(1, 3, 3), (1, 1, 1), (3, 4, 8)])
@pytest.mark.parametrize("at_once", [1, 40, 10_000])
def test_a_picture_is_the_same_in_whatever_company_it_is_asked_for(image, how, at_once, monkeypatch):
    """An odd number of values a picture, so that some begin in the middle of what the generator gives at once."""
    monkeypatch.setattr(binarize, "DRAWN", 16)
    monkeypatch.setattr(binarize, "AT_ONCE", at_once)
    grey = np.random.default_rng(0).integers(0, 256, (50, *image), np.uint8)
    expected, drawn = drawn_at_once(grey, how, 7, 16), Drawn(grey, how, 7)
    some = np.array([3, 4, 5, 30, 2, 2, 49, 15, 16, 17])
    for rows in (slice(None), slice(5, 41), slice(40, 2, -3), some, some.tolist(), np.arange(50)[::-1], [], 17, -1):
        np.testing.assert_array_equal(drawn[rows], expected[rows])
    np.testing.assert_array_equal(drawn, expected)
    assert (len(drawn), drawn.shape, drawn[some].dtype) == (50, (50, *image), np.uint8)
    for wrong in (np.ones(50, bool), [[1, 2]], [0.5]):
        with pytest.raises(IndexError, match="by their rows"):
            drawn[wrong]


def test_only_small_data_are_held(monkeypatch):
    grey = tiny.pictures(30)
    monkeypatch.setattr(binarize, "HELD", grey.nbytes)
    data = tiny.dataset(pixels=grey)
    held = binarized(data, "static")
    assert isinstance(held.pixels, np.ndarray)
    assert held is trained_on(data, "static"), "once for what is trained on and measured"
    monkeypatch.setattr(binarize, "HELD", grey.nbytes - 1)
    asked = binarized(tiny.dataset(pixels=grey), "static")
    assert isinstance(asked.pixels, Drawn)
    rows = np.array([7, 3, 29])
    np.testing.assert_array_equal(asked.take(rows), held.take(rows))


@pytest.mark.parametrize("how", BINARIZED)
@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.usefixtures("quick")
def test_a_training_is_the_same_whether_its_pictures_are_held_or_not(tmp_path, monkeypatch, how, fits):
    monkeypatch.setattr("vaekit.batches.SHARE_OF_MEMORY", 0.25 if fits else 0.0)
    losses = []
    for held in (1 << 20, 0):
        monkeypatch.setattr(binarize, "HELD", held)
        data = tiny.dataset()
        recipe = tiny.recipe(make=lambda: tiny.model(likelihood=BernoulliPixels()), images=60, binarize=how)
        run = start(tmp_path / f"{held}", data, recipe)
        fit(run, data)
        losses.append([record["loss"] for record in run.records])
    assert losses[0] == losses[1]
