"""Directions of attributes by every method, on codes whose true directions are known."""

import numpy as np
import pytest

from vaekit.errors import UsageError
from vaekit.latent import attribute_vectors
from vaekit.latent.attributes import held_out_interval
from vaekit.latent.directions import METHODS, along, directions, held_out_leaks, mean_difference, orthogonal

TRUE = np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 1.5, 0.0, 0.0]])  # of two attributes that come together


def confounded(count: int = 6000, together: float = 0.8, effects: np.ndarray = TRUE) -> tuple[np.ndarray, np.ndarray]:
    """Codes to which each attribute adds its own direction; the second repeats the first in most pictures."""
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=count)
    second = np.where(rng.random(count) < together, first, rng.integers(2, size=count))
    has = np.stack([first, second], 1)
    return has @ effects + rng.standard_normal((count, 4)), has


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def leaked(method: str, mu: np.ndarray, has: np.ndarray, seed: int = 0) -> np.ndarray:
    return held_out_leaks(mu, has, [(method, np.empty(0))] * has.shape[1], seed)


@pytest.mark.parametrize("method", METHODS)
def test_alpha_1_is_the_distance_between_the_groups_along_the_vector(method):
    mu, has = confounded(40_000)
    for vector, difference in zip(directions(mu, has, method), mean_difference(mu, has), strict=True):
        assert vector @ difference / np.linalg.norm(vector) == pytest.approx(np.linalg.norm(vector), rel=0.05)


@pytest.mark.parametrize("method", ["balanced", "ridge", "shrunk"])
@pytest.mark.parametrize(("other", "apart"), [(-5.0, -2.0), (-2.5, 0.0)])
def test_a_step_adds_what_the_means_of_the_groups_turn_round_or_hide(method, other, apart):
    """Simpson's paradox: an attribute adds 2 e1, and those with it lie 2 + 0.8 * other further along e1 than those without."""
    mu, has = confounded(effects=np.array([[2.0, 0, 0, 0], [other, 0, 0, 0]]))
    assert directions(mu, has, "mean")[0, 0] == pytest.approx(apart, abs=0.2)
    vector = directions(mu, has, method)[0]
    assert angle(vector, TRUE[0]) < 10
    assert np.linalg.norm(vector) == pytest.approx(2, rel=0.1)


def test_a_vector_keeps_its_direction_and_is_as_long_as_the_longest_step_along_it():
    vectors = np.array([[3.0, 0.0], [0.0, -5.0], [0.0, 0.0], [1.0, 1.0]])
    one = np.array([[-2.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    other = np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(along(vectors, one, other), [[2, 0], [0, -0.5], [0, 0], [1, 1]])


def test_the_mean_difference_takes_along_what_comes_along():
    mu, has = confounded()
    assert angle(directions(mu, has, "mean")[0], TRUE[0]) > 25
    assert angle(directions(mu, has, "mean")[1], TRUE[1]) > 35


@pytest.mark.parametrize("method", ["balanced", "ridge", "shrunk", "logistic", "lda"])
def test_others_find_what_the_attribute_itself_does(method):
    """Codes of unit spread: the normals are the effects themselves for logistic and lda only where attributes are independent."""
    mu, has = confounded(together=0.8 if method in ("balanced", "ridge", "shrunk") else 0)
    for vector, true in zip(directions(mu, has, method), TRUE, strict=True):
        assert angle(vector, true) < 5


def test_the_discriminant_leaves_what_varies_anyway():
    """Within groups the codes vary along (1, 1): the plane that parts them lies along it."""
    rng = np.random.default_rng(0)
    has = rng.integers(2, size=(8000, 1))
    mu = has * [1.0, 0.0] + rng.standard_normal((8000, 1)) * [1.0, 1.0] + 0.1 * rng.standard_normal((8000, 2))
    within = np.cov((mu - has * [1.0, 0.0]).T)
    assert angle(directions(mu, has, "lda")[0], np.linalg.solve(within, [1.0, 0.0])) < 3
    assert angle(directions(mu, has, "mean")[0], np.array([1.0, 0.0])) < 3


@pytest.mark.parametrize("method", METHODS)
def test_pictures_of_which_nothing_is_known_change_little(method):
    mu, has = confounded(3000)
    unknown = np.concatenate([has, np.full_like(has, -1)])
    doubled = np.concatenate([mu, mu])
    found = directions(doubled, unknown, method)
    assert np.isfinite(found).all()
    for vector, plain in zip(found, directions(mu, has, method), strict=True):
        assert angle(vector, plain) < 5


def test_leaks_count_in_standard_deviations_of_the_other_score():
    mu, has = confounded(40_000, together=0)
    found = leaked("mean", mu, has)
    spread = np.sqrt(1 + np.diag(TRUE[:, :2]) ** 2 / 4)  # of the codes along each attribute's own direction
    np.testing.assert_allclose(np.diag(found), np.diag(TRUE[:, :2]) / spread, rtol=0.06)
    assert np.abs(found - np.diag(np.diag(found))).max() < 0.1
    mu, has = confounded(40_000, together=0.5)
    assert leaked("mean", mu, has)[0, 1] == pytest.approx(0.5 * 1.5 / spread[1], abs=0.1)
    assert abs(leaked("ridge", mu, has)[0, 1]) < 0.1
    given = held_out_leaks(mu, has, [("guided", TRUE[0]), ("guided", TRUE[0] + TRUE[1])])
    np.testing.assert_allclose(given, [[2 / spread[0], 0], [2 / spread[0], 1.5 / spread[1]]], atol=0.1)


def test_a_ridge_regression_leaks_what_its_few_codes_got_wrong():
    """Effects of two halves of 300 are compared; of an attribute's variance, 0.25, the other leaves 1 - 0.8^2, which is 0.09."""
    mu, has = confounded(600)
    found = [leaked("ridge", mu, has, seed)[0, 1] for seed in range(40)]
    expected = np.sqrt(2 / (300 * 0.09)) / np.sqrt(1 + 1.5**2 / 4)
    assert expected / 2 < np.sqrt(np.mean(np.square(found))) < 2 * expected


def test_a_ridge_regression_leaks_where_effects_do_not_add_up():
    """The first attribute hides the second: mu = 3 (a, b (1 - a)) + noise.

    Over all pictures a takes away P(b) = 0.6 of what b adds, b adds P(not a) = 0.5. Least squares over the four groups of
    shares 0.45, 0.05, 0.15 and 0.35 say 0.72 and 0.7.
    """
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=40_000)
    second = (rng.random(40_000) < np.where(first == 1, 0.9, 0.3)).astype(int)
    mu, has = 3 * np.stack([first, second * (1 - first)], 1) + rng.standard_normal((40_000, 2)), np.stack([first, second], 1)
    ridge, scores = 3 * np.array([[1, -0.72], [0, 0.7]]), np.linalg.inv(3 * np.array([[1, -0.6], [0, 0.5]]))
    expected = along(ridge, mean_difference(mu, has), ridge) @ scores / (mu @ scores).std(0)
    assert expected[0, 1] < -0.2
    np.testing.assert_allclose(leaked("ridge", mu, has), expected, atol=0.12)
    assert abs(leaked("balanced", mu, has)[0, 1]) < 0.12


def test_an_attribute_that_a_half_of_the_codes_hardly_has_tells_of_no_leak():
    mu, has = confounded(400)
    found = leaked("ridge", mu, np.column_stack([has, np.arange(400) < 3]).astype(int))  # one half has one of the three at most
    assert np.isfinite(found[:2, :2]).all()
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()
    rare = np.column_stack([has, np.arange(400) < 4]).astype(np.float32)
    told = [attribute_vectors(mu, rare, ("first", "second", "rare"), seed)[2].leak for seed in range(10)]
    assert {} in told
    assert all(np.isfinite(list(leak.values())).all() for leak in told)


def test_an_attribute_that_does_nothing_has_next_to_no_shrunk_vector():
    rng = np.random.default_rng(0)
    has = rng.integers(2, size=(400, 2))
    mu = has[:, :1] * np.r_[1.0, np.zeros(29)] + rng.standard_normal((400, 30))
    real, idle = METHODS["shrunk"](mu, has)
    plain, noise = METHODS["ridge"](mu, has)
    assert np.linalg.norm(idle) < 0.6 * np.linalg.norm(noise)
    assert np.linalg.norm(real[1:]) < 0.6 * np.linalg.norm(plain[1:])
    assert real[0] == pytest.approx(plain[0], rel=0.1)


def test_an_edit_can_be_kept_from_moving_along_others():
    vector, others = np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    kept = orthogonal(vector, others)
    np.testing.assert_allclose(others @ kept, 0, atol=1e-12)
    np.testing.assert_allclose(orthogonal(kept, others), kept)


def test_what_is_known_of_a_vector():
    mu, has = confounded(40_000, together=0.5)
    first, second = attribute_vectors(mu, has.astype(np.float32), ("first", "second"), method="ridge")
    assert first.method == "ridge"
    assert first.leak.keys() == {"first", "second"}
    projected = mu @ first.vector / first.norm
    assert first.sigmas == pytest.approx(first.norm / projected.std(), rel=1e-3)
    assert second.leak["first"] == pytest.approx(0, abs=0.1)


def test_a_method_that_is_none_is_told():
    with pytest.raises(UsageError, match="No method is named 'ridg'"):
        directions(*confounded(40), method="ridg")


def test_the_interval_of_few_codes_is_as_wide_as_it_must_be():
    """Groups of four, ten standard deviations apart: in at least 95 of 100 cases it holds that."""
    rng = np.random.default_rng(0)
    held = [held_out_interval(10 + rng.standard_normal((4, 1)), rng.standard_normal((4, 1)), seed) for seed in range(500)]
    assert np.mean([low < 10 < high for low, high in held]) > 0.93
    assert held_out_interval(np.ones((4, 2)), np.ones((5, 2)), 0) == (0, 0)
