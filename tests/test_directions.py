"""Directions of attributes by every method, on codes whose true directions are known."""

import numpy as np
import pytest

from vaekit.errors import UsageError
from vaekit.latent import attribute_vectors
from vaekit.latent.attributes import held_out_interval
from vaekit.latent.directions import METHODS, directions, leaks, orthogonal

TRUE = np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 1.5, 0.0, 0.0]])  # of two attributes that come together


def confounded(count: int = 6000, together: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Codes to which each attribute adds its own direction; the second repeats the first in most pictures."""
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=count)
    second = np.where(rng.random(count) < together, first, rng.integers(2, size=count))
    has = np.stack([first, second], 1)
    return has @ TRUE + rng.standard_normal((count, 4)), has


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


@pytest.mark.parametrize("method", METHODS)
def test_alpha_1_is_the_distance_between_the_groups_along_the_vector(method):
    mu, has = confounded()
    for vector, column in zip(directions(mu, has, method), has.T, strict=True):
        difference = mu[column == 1].mean(0) - mu[column == 0].mean(0)
        assert vector @ difference / np.linalg.norm(vector) == pytest.approx(np.linalg.norm(vector))


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
    mu, has = confounded(together=0)
    found = leaks(directions(mu, has, "mean"), mu, has)
    spread = np.sqrt(1 + np.diag(TRUE[:, :2]) ** 2 / 4)  # of the codes along each attribute's own direction
    np.testing.assert_allclose(np.diag(found), np.diag(TRUE[:, :2]) / spread, rtol=0.03)
    assert np.abs(found - np.diag(np.diag(found))).max() < 0.1
    mu, has = confounded()
    assert leaks(directions(mu, has, "mean"), mu, has)[0, 1] > 0.5
    assert abs(leaks(directions(mu, has, "ridge"), mu, has)[0, 1]) < 0.1


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
    mu, has = confounded()
    first, second = attribute_vectors(mu, has.astype(np.float32), ("first", "second"), method="ridge")
    assert first.method == "ridge"
    assert first.leak.keys() == {"first", "second"}
    along = mu @ first.vector / first.norm
    assert first.sigmas == pytest.approx(first.norm / along.std(), rel=1e-3)
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
