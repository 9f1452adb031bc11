"""Drawn pictures beside real ones, on heaps of features whose figures are known."""

import numpy as np
import pytest

from vaekit.errors import UsageError
from vaekit.metrics.pictures import (
    REAL,
    REBUILT,
    Heaps,
    beside_real,
    errors_of_truth,
    halved,
    remembered,
    resampled,
    sliced_distance,
    surroundings,
    within,
)
from vaekit.metrics.quality import frechet_distance, kernel_distance

rng = np.random.default_rng(0)


def heap(count: int, mean: float = 0.0, width: int = 4) -> np.ndarray:
    return np.random.default_rng(count).normal(mean, 1, (count, width))


def test_surroundings_by_their_definition():
    """Every count by loops over pairs."""
    real, drawn, k = rng.normal(size=(40, 3)), rng.normal(0.5, 1, (30, 3)), 3

    def radius(points: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(points[i] - other) for j, other in enumerate(points) if j != i)[k - 1]

    inside = np.array([[np.linalg.norm(x - y) < radius(real, i) for y in drawn] for i, x in enumerate(real)])
    around = np.array([[np.linalg.norm(x - y) < radius(drawn, j) for j, y in enumerate(drawn)] for x in real])
    found = surroundings(real, drawn, k)
    assert found.precision == pytest.approx(inside.any(0).mean())
    assert found.recall == pytest.approx(around.any(1).mean())
    assert found.density == pytest.approx(inside.sum() / k / len(drawn))
    assert found.coverage == pytest.approx(inside.any(1).mean())


def test_half_of_two_clusters():
    """Drawn pictures of one cluster alone are true, and cover half."""
    far = np.where(np.arange(600)[:, None] % 2, 0.0, 50.0)
    real, drawn = heap(600) + far, heap(400)
    found = surroundings(real, drawn)
    assert found.precision > 0.9
    assert found.density == pytest.approx(1, abs=0.15)
    assert found.recall == pytest.approx(0.5, abs=0.06)
    assert found.coverage == pytest.approx(0.5, abs=0.06)


def test_pictures_that_are_nothing_like_it():
    assert surroundings(heap(300), heap(300, 100)) == (0, 0, 0, 0)


def test_the_sliced_distance_of_a_shift():
    """Along a random unit vector a shift d has the mean square |d|^2 / F."""
    a = heap(2000, width=6)
    assert sliced_distance(a, a) == 0
    assert sliced_distance(a, a + 2) == pytest.approx(4, rel=0.15)
    assert sliced_distance(a, heap(1500, width=6)) < 0.01


def test_copies_of_training_pictures_are_seen():
    train, held = heap(1000), heap(500)
    assert remembered(train[:200] + 1e-6, held, train)[0] == 1
    share, near, doubles, _ = remembered(heap(400), held, train)
    assert doubles == 0
    assert share == pytest.approx(0.01, abs=0.015)
    assert near == pytest.approx(1, abs=0.1)


def test_the_interval_lies_around_the_value():
    real, drawn = heap(500), heap(400, 0.5)
    low, high = resampled(frechet_distance, real, drawn, 0)
    assert low < frechet_distance(real, drawn) < high
    assert high - low < 0.9


def test_halves_spread_as_means_do():
    """The standard error of a difference of means is known."""
    draws = np.random.default_rng(3)
    a, b = draws.exponential(size=300), draws.normal(size=500)
    (found,) = halved(lambda i, j: [a[i].mean() - b[j].mean()], (300, 500), draws)
    assert found == pytest.approx((a.var() / 300 + b.var() / 500) ** 0.5, rel=0.35)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """What other pictures of both kinds come to on average; nor are they much wider than they need be."""
    draws = np.random.default_rng(1)
    heaps = [(draws.normal(size=(120, 3)), draws.normal(0.5, 0.8, (120, 3))) for _ in range(80)]
    values = np.array([surroundings(*both) for both in heaps])
    errors = np.array([errors_of_truth(*both, seed=0) for both in heaps])
    for value, error, count in zip(values.T, errors.T, (120, 120, None, 120), strict=True):
        ends = [within(*its, count) for its in zip(value, error, strict=True)]
        assert np.mean([low < value.mean() < high for low, high in ends]) > 0.88
        assert error.mean() < 2 * value.std()


def test_how_sure_a_share_of_copies_is():
    """Each of 400 pictures is a copy with probability 0.3: the share is binomial."""
    train, draws = heap(1000), np.random.default_rng(2)
    drawn = np.where(draws.random(400)[:, None] < 0.3, train[:400] + 1e-6, 50.0)
    found = remembered(drawn, heap(500), train)
    assert found.error == pytest.approx((found.copies * (1 - found.copies) / 400) ** 0.5, rel=0.35)


def test_where_all_halves_agree_an_interval_is_no_point():
    assert within(0.0, 0.0, 50) == pytest.approx([0, 0.071], abs=1e-3)  # Wilson: z^2 / (n + z^2)
    assert within(0.5, 0.2, 50) == pytest.approx([0.5 - 0.392, 0.5 + 0.392])
    assert within(0.2, 0.2) == pytest.approx([0, 0.592])


def test_figures_say_whose_they_are():
    heaps = Heaps(drawn=heap(300, 0.3), held=heap(301), others=heap(302), rebuilt=heap(303, 0.1), train=heap(1000))
    found = beside_real(heaps, name="labels", how="a judge")
    assert set(found) == {
        f"{key}_labels@300" for key in ("fd", "kd", "sd", "precision", "recall", "density", "coverage", "copies")
    }
    fd = found["fd_labels@300"]
    assert fd["reference"][REAL] < fd["reference"][REBUILT] < fd["value"]
    assert fd["interval"][0] < fd["value"] < fd["interval"][1]
    assert "features of a judge" in fd["how"]
    assert all("interval" in metric for metric in found.values())
    few = beside_real(Heaps(*(its[:11] for its in heaps)), name="labels", how="a judge")
    assert "interval" not in few["coverage_labels@11"]  # half of them have no 5 neighbours
    fitted = beside_real(heaps, name="labels", how="a judge", density="flow")
    assert set(fitted) == {f"{key}_flow" for key in found}
    assert "fitted density 'flow'" in fitted["fd_labels@300_flow"]["how"]


def test_too_few_pictures_are_told():
    with pytest.raises(UsageError, match="6 or more"):
        surroundings(heap(5), heap(100))


def test_doubled_pictures_do_not_hide_copies():
    """Where some held-out pictures stand in training too, the others set the measure."""
    train, held = heap(1000), np.concatenate([heap(500), heap(1000)[:20]])
    found = remembered(train[:200], held, train)
    assert found.copies == 1
    assert found.doubles == pytest.approx(20 / 520)
    assert remembered(heap(400), held, train).copies == pytest.approx(0.01, abs=0.015)


def test_large_heaps_are_measured_block_by_block(monkeypatch):
    real, drawn = heap(700), heap(600, 0.3)
    whole = surroundings(real, drawn), kernel_distance(real, drawn), remembered(drawn, real, heap(900))
    for place in ("pictures", "quality"):
        monkeypatch.setattr(f"vaekit.metrics.{place}.BLOCK", 37)
    assert surroundings(real, drawn) == whole[0]
    assert kernel_distance(real, drawn) == pytest.approx(whole[1], rel=1e-9)
    assert remembered(drawn, real, heap(900)) == whole[2]
