"""Distances between sets of pictures, against what they are by definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

import tiny
from vaekit.data import open_data
from vaekit.errors import UsageError
from vaekit.finish import own_judge
from vaekit.latent.encode import as_pictures
from vaekit.metrics.quality import (
    accuracy_of,
    another,
    auc_of,
    features_of,
    frechet_distance,
    judge_of,
    kernel_distance,
    print_of,
    quality,
)

rng = np.random.default_rng(0)


def test_frechet_distance_is_that_of_the_gaussians():
    a, b = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(300, 6)) * 2 + 1
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_is_the_mean_over_all_pairs():
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    among = [np.mean([k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    assert kernel_distance(a, b) == pytest.approx(sum(among) - 2 * np.mean([k(x, y) for x in a for y in b]))
    same = [kernel_distance(rng.normal(size=(60, 3)), rng.normal(size=(60, 3))) for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 200**0.5  # without bias


def test_a_judge_learns_labels_and_sees_what_is_wrong_with_pictures():
    data = open_data("digits")
    judge, about = judge_of(data, steps=300)
    assert "taught 10 labels" in about
    rows = data.splits["test"]
    with torch.no_grad():
        named = judge(as_pictures(data.take(rows)))[1].argmax(1).numpy()
    assert (named == data.labels[rows]).mean() > 0.9
    real, others = data.take(data.splits["train"][:300]), data.take(data.splits["train"][300:600])
    noise = rng.integers(0, 256, real.shape, np.uint8)
    blurred = (real // 2 + np.roll(real, 1, 3) // 2).astype(np.uint8)
    found = [quality(judge, real, drawn) for drawn in (others, blurred, noise)]
    assert [its.frechet for its in found] == sorted(its.frechet for its in found)
    assert [its.kernel for its in found] == sorted(its.kernel for its in found)
    assert found[0].counts == (300, 300)


def test_without_labels_its_weights_are_random_and_always_the_same():
    data = tiny.dataset()
    (judge, about), (again, _) = judge_of(data), judge_of(data)
    assert "random" in about
    np.testing.assert_array_equal(features_of(judge, data.take(range(4))), features_of(again, data.take(range(4))))


def test_too_few_pictures_are_refused():
    with pytest.raises(UsageError, match="2 or more rows"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


def test_a_judge_is_taught_what_is_known():
    rng = np.random.default_rng(0)
    plain = tiny.dataset()
    assert own_judge(plain, steps=5)[0] == "random"
    has = rng.integers(0, 2, (len(plain), 2)).astype(np.float32)
    told = replace(plain, attributes=has, attribute_names=("A", "B"))
    name, _, how = own_judge(told, steps=5)
    assert (name, "taught 2 attributes" in how) == ("attributes", True)
    labelled = replace(told, labels=has[:, 0].astype(np.int64), label_names=("a", "b"))
    assert own_judge(labelled, steps=5)[0] == "labels"
    rare = replace(plain, attributes=np.eye(len(plain), 1, dtype=np.float32), attribute_names=("A",))
    assert own_judge(rare, steps=5)[0] == "random"


def test_how_a_judge_was_made_says_how_much_it_learned_and_which_it_is():
    data = open_data("digits")
    _, judge, how = own_judge(data, steps=60)
    assert f"{accuracy_of(judge, data):.3f} of the test labels right" in how
    assert print_of(judge) in how
    assert own_judge(data, seed=1, steps=60)[2].partition("sha256")[2] != how.partition("sha256")[2]


def test_the_auc_of_attributes():
    """By a judge of brightness: of bright pictures, of dark ones, and of what no picture has."""
    data = tiny.dataset(160)
    light = data.pixels.mean((1, 2, 3))
    bright = light > np.median(light)
    has = np.stack([bright, ~bright, np.zeros_like(bright)], 1).astype(int)
    has[::7] = -1

    def judge(x):
        return None, x.mean((1, 2, 3))[:, None].expand(-1, 3)

    assert auc_of(judge, data, has[:, [0]]) == 1
    assert auc_of(judge, data, has[:, [1]]) == 0
    assert auc_of(judge, data, has) == 0.5
    assert auc_of(judge, data, has[:, [2]]) is None


@pytest.mark.parametrize("count", [2, 3, 100])
def test_another_picture_is_never_the_same_and_not_the_next_in_a_sorted_folder(count):
    places = another(count, 0)
    assert sorted(places) == list(range(count))
    assert (places != np.arange(count)).all()
    kinds = np.arange(count) // 50
    assert count < 100 or (kinds[places] != kinds).mean() > 0.3
