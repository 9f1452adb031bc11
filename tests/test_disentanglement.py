"""Disentanglement scores of codes made by hand, whose scores are known, and against values computed another way."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import entropy, norm

import tiny
from vaekit.data import open_data
from vaekit.errors import UsageError
from vaekit.metrics.disentanglement import (
    BINS,
    HOW,
    Known,
    binned_information,
    classes,
    dci,
    disentanglement,
    evenness_gap,
    factors_of,
    gap,
    modularity,
    neighbour_information,
    separations,
)
from vaekit.metrics.evaluate import disentangled

SIZES = (3, 4, 5)
BY_CHANCE = ("factor_vae_score", "beta_vae_score")  # a third of three factors


def grid(seed: int, repeats: int = 40) -> np.ndarray:
    """Every combination of three factors, many times, shuffled: (N, 3)."""
    points = np.array(list(product(*map(range, SIZES))) * repeats)
    return np.random.default_rng(seed).permutation(points)


def codes(factors: np.ndarray, seed: int) -> np.ndarray:
    """One latent for each factor, and one that collapsed: (N, 4)."""
    noise = np.random.default_rng(seed).normal(size=(len(factors), 4)) * [0.02, 0.02, 0.02, 0.001]
    return np.pad(factors[:, [2, 0, 1]].astype(float), ((0, 0), (0, 1))) + noise


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    return grid(0), grid(1)


def test_perfect_codes_have_perfect_scores(halves):
    scores = disentanglement(*(Known(codes(factors, seed), factors) for seed, factors in enumerate(halves)))
    assert scores.keys() == HOW.keys()
    for name, value in scores.items():
        assert value == pytest.approx(1, abs=0.05), name


def test_shuffled_codes_tell_nothing(halves):
    rng = np.random.default_rng(5)
    scores = disentanglement(*(Known(rng.permutation(codes(factors, 0)), factors) for factors in halves))
    for name, value in scores.items():
        assert value == pytest.approx(1 / 3 if name in BY_CHANCE else 0, abs=0.08), name


def test_rotated_codes_know_all_and_are_not_disentangled(halves):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    scores = disentanglement(*(Known(codes(factors, 0)[:, :3] @ turn, factors) for factors in halves))
    assert scores["infoe"] > 0.8
    for name in ("mig", "sap", "dci_disentanglement", "modularity", "infom", "infoc"):
        assert scores[name] < 0.8, name


def test_codes_that_collapsed_altogether(halves):
    scores = disentanglement(*(Known(np.zeros((len(factors), 4)), factors) for factors in halves))
    for name, value in scores.items():
        assert value == pytest.approx(1 / 3 if name in BY_CHANCE else 0), name


def test_a_latent_that_rests_in_all_held_out_pictures(halves):
    learn, held = (Known(codes(factors, seed), factors) for seed, factors in enumerate(halves))
    rests = held.mu.copy()
    rests[:, 0] = learn.mu.mean(0)[0]
    scores = disentanglement(learn, Known(rests, held.factors))
    assert all(np.isfinite(value) for value in scores.values())
    assert scores["factor_vae_score"] < 0.9


def test_scale_and_order_of_latents_do_not_matter(halves):
    def scores(change):
        return disentanglement(*(Known(change(codes(factors, 0)[:, :3]), factors) for factors in halves))

    plain, changed = scores(lambda mu: mu), scores(lambda mu: mu[:, ::-1] * [5, 0.7, 3])
    for name in HOW:
        assert changed[name] == pytest.approx(plain[name], abs=0.03), name


def test_binned_information_is_that_of_the_joint_table(halves):
    """I = H(a) + H(b) - H(a, b), from the tables of counts."""
    known = Known(codes(halves[0], 0) @ np.random.default_rng(0).normal(size=(4, 4)), halves[0])
    found = binned_information(known)
    for d, k in product(range(4), range(3)):
        table = np.histogram2d(known.mu[:, d], known.factors[:, k], bins=(BINS, SIZES[k]))[0]
        expected = entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table.ravel())
        assert found[d, k] == pytest.approx(expected, abs=1e-9)


def test_neighbour_information_of_a_gaussian_channel():
    """A binary factor and a latent of two Gaussians: h(mu) - h(mu | v), by quadrature."""
    rng = np.random.default_rng(0)
    factor = rng.integers(2, size=4000)
    latent = np.stack([factor * 2.0 + rng.normal(size=4000), rng.normal(size=4000)], 1)
    found = neighbour_information(Known(latent, np.stack([factor, factor], 1)))
    x = np.linspace(-8, 10, 20001)
    density = (norm.pdf(x) + norm.pdf(x, 2)) / 2
    expected = -(density * np.log(density)).sum() * (x[1] - x[0]) - norm.entropy()
    assert found[0, 0] == pytest.approx(expected, abs=0.03)
    assert found[1, 0] == pytest.approx(0, abs=0.03)


def test_sap_is_the_error_of_the_best_threshold():
    """Two Gaussians d apart: the best threshold is right with probability Phi(d / 2)."""
    rng = np.random.default_rng(1)

    def drawn() -> Known:
        factors = rng.integers(2, size=(20_000, 2))
        return Known(factors * [3.0, 1.0] + rng.normal(size=factors.shape), factors)

    found = separations(drawn(), drawn())
    expected = 2 * norm.cdf([1.5, 0.5]) - 1
    np.testing.assert_allclose(np.diag(found), expected, atol=0.02)
    np.testing.assert_allclose(gap(found), expected, atol=0.03)


def test_dci_of_a_factor_in_two_latents():
    """Two bits of four values weigh alike: completeness is 1 - log 2 / log 3 for that factor, 1 for the other."""
    rng = np.random.default_rng(2)

    def drawn() -> Known:
        factors = np.stack([rng.integers(4, size=4000), rng.integers(2, size=4000)], 1)
        bits = np.stack([factors[:, 0] % 2, factors[:, 0] // 2, factors[:, 1]], 1)
        return Known(bits + 0.01 * rng.normal(size=bits.shape), factors)

    found = dci(drawn(), drawn(), seed=0)
    assert found["dci_disentanglement"] == pytest.approx(1, abs=0.01)
    assert found["dci_completeness"] == pytest.approx((2 - np.log(2) / np.log(3)) / 2, abs=0.02)
    assert found["dci_informativeness"] == pytest.approx(1, abs=0.01)


def test_sums_by_hand():
    assert modularity(np.array([[2.0, 1.0, 0.0]])) == pytest.approx(1 - 1 / 8)
    assert modularity(np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])) == pytest.approx(0)
    assert evenness_gap(np.array([[3.0, 1.0], [1.0, 1.0]]), axis=1) == pytest.approx((0.75 + 0.5) / 2 * 2 - 1)
    assert evenness_gap(np.array([[3.0, 0.0], [1.0, 0.0]]), axis=0) == pytest.approx((0.75 + 0.5) / 2 * 2 - 1)


def test_the_same_seed_gives_the_same_scores(halves):
    known = [Known(codes(factors, 0)[:, :3] @ np.full((3, 3), 0.4), factors) for factors in halves]
    assert disentanglement(*known, seed=3) == disentanglement(*known, seed=3)


@pytest.mark.parametrize(
    ("mu", "factors", "told"),
    [
        (np.zeros((6, 3)), np.zeros((6, 1), int), "two or more factors"),
        (np.zeros((6, 1)), np.zeros((6, 2), int), "two or more latents"),
        (np.zeros((6, 3)), np.zeros((5, 2), int), r"codes \(6, 3\) and factors \(5, 2\)"),
        (np.full((6, 3), np.nan), np.arange(12).reshape(6, 2), "not finite"),
        (np.zeros((6, 3)), np.stack([np.arange(6), np.zeros(6, int)], 1), "Factors 1 never vary"),
    ],
)
def test_what_has_no_scores_is_told(mu, factors, told):
    with pytest.raises(UsageError, match=told):
        disentanglement(Known(mu, factors), Known(mu, factors))


def test_values_become_classes():
    assert classes(np.array([0.5, np.nan, -1, 0.5, 7])).tolist() == [1, -1, 0, 1, 2]
    many = classes(np.random.default_rng(0).normal(size=2000))
    assert (np.bincount(many) == 100).all()


def test_the_factors_of_shapes_are_known():
    data = open_data("shapes")
    assert data.factors == ("shape", "scale", "orientation", "x", "y")
    found = factors_of(data, ("label", *data.factors))
    assert found.max(0).tolist() == [2, 2, 5, 39, 31, 31]
    assert (found[:, 0] == found[:, 1]).all()
    with pytest.raises(UsageError, match="does not know 'size'"):
        factors_of(data, ("size",))


def test_a_model_is_scored_where_factors_are_known_of_its_pictures():
    """Pictures of which some factors are unknown are left out."""
    data = tiny.dataset(400)
    shown = np.where(data.pixels[:, 0] > 100, 1, 0)
    places = np.stack([shown.any(2).argmax(1), shown.any(1).argmax(1)], 1).astype(np.float32)
    places[::7] = np.nan
    data = replace(data, attributes=places, attribute_names=("top", "left"))
    found = disentangled(tiny.model(), data, ("top", "left"))
    assert found.keys() == HOW.keys()
    assert 0 < found["mig"]["count"] < 50
    assert "of top, left" in found["mig"]["how"]
    with pytest.raises(UsageError, match="'size'"):
        disentangled(tiny.model(), data, ("top", "size"))
    with pytest.raises(UsageError, match="300 latents"):
        disentangled(tiny.model(latent=300), data, ("top", "left"))
