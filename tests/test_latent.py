"""Codes are deterministic unless asked, paths reach their ends, directions point where they should."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

import tiny
from vaekit.errors import UsageError
from vaekit.latent import (
    Codes,
    attribute_vectors,
    codes,
    combine,
    decode,
    encode,
    fit_gaussian,
    kl_per_latent,
    neighbour_accuracy,
    path,
    plane,
    project,
    reconstruct,
    traverse,
)
from vaekit.latent.encode import as_pictures
from vaekit.model import MOST, VAE
from vaekit.posteriors import Deterministic
from vaekit.terms import rate

VECTORS = arrays(np.float64, 4, elements=st.floats(-1e3, 1e3, width=32))


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    return tiny.model().eval()


@pytest.fixture
def autoencoder() -> VAE:
    torch.manual_seed(0)
    return tiny.model(posterior=Deterministic(features=16, latent=3), prior=None).eval()


# Encoding


def test_codes_are_the_mean_unless_asked_otherwise(model):
    pixels = tiny.pictures(5)
    torch.manual_seed(0)
    first = encode(model, pixels)
    torch.manual_seed(1)
    np.testing.assert_array_equal(encode(model, pixels), first)
    q = model.encode(torch.from_numpy(pixels).float() / 255)
    np.testing.assert_array_equal(first, q.mean.detach().numpy())
    found = encode(model, pixels, "distribution")
    np.testing.assert_array_equal(found.mu, first)
    np.testing.assert_allclose(found.log_var, q.log_var.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_draw_depends_on_the_seed_alone(model):
    pixels = tiny.pictures(5)
    torch.manual_seed(0)
    first = encode(model, pixels, "sample", seed=4)
    torch.manual_seed(1)
    np.testing.assert_array_equal(encode(model, pixels, "sample", seed=4), first)
    assert not np.array_equal(encode(model, pixels, "sample", seed=5), first)
    assert first.dtype == np.float32


def test_draws_have_the_moments_of_the_posterior(model):
    pixels = np.repeat(tiny.pictures(1), 20_000, 0)
    found = encode(model, pixels[:1], "distribution")
    z = encode(model, pixels, "sample")
    sigma = np.exp(found.log_var[0] / 2)
    assert (np.abs(z.mean(0) - found.mu[0]) < 5 * sigma / math.sqrt(len(z))).all()
    np.testing.assert_allclose(z.std(0), sigma, rtol=0.03)


def test_many_images_are_encoded_as_one_is(model):
    pixels = tiny.pictures(MOST + 3)
    whole = encode(model, pixels)
    assert whole.shape == (MOST + 3, 3)
    np.testing.assert_allclose(whole[-1:], encode(model, pixels[-1:]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decode(model, whole)[-1:], decode(model, whole[-1:]), rtol=1e-5, atol=1e-6)


def test_no_image_gives_no_code(model):
    assert encode(model, tiny.pictures(0)).shape == (0, 3)
    assert decode(model, np.empty((0, 3))).shape == (0, 1, 8, 8)
    assert reconstruct(model, tiny.pictures(0)).shape == (0, 1, 8, 8)


def test_the_codes_of_an_autoencoder_have_no_spread(autoencoder):
    pixels = tiny.pictures(4)
    found = codes(autoencoder, pixels)
    assert (found.log_var == -np.inf).all()
    np.testing.assert_array_equal(encode(autoencoder, pixels, "sample"), found.mu)
    assert fit_gaussian(found).sample(2).shape == (2, 3)


def test_reconstructing_goes_through_the_mean(model):
    pixels = tiny.pictures(3)
    np.testing.assert_array_equal(reconstruct(model, pixels), decode(model, encode(model, pixels)))
    pictures = reconstruct(model, pixels)
    assert pictures.dtype == np.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_the_kl_of_every_latent_adds_up_to_the_rate(model):
    pixels = tiny.pictures(6)
    expected = rate(model(torch.from_numpy(pixels).float() / 255)).mean().item()
    assert kl_per_latent(model, codes(model, pixels)).sum() == pytest.approx(expected, rel=1e-5)
    nothing = Codes(np.zeros((4, model.latent), np.float32), np.zeros((4, model.latent), np.float32))
    np.testing.assert_array_equal(kl_per_latent(model, nothing), np.zeros(model.latent))


@pytest.mark.parametrize("writable", [True, False])
def test_bytes_and_floats_are_the_same_pictures(model, writable):
    pixels = tiny.pictures(4)
    pixels.flags.writeable = writable  # as a memory map that was opened to be read
    floats = pixels.astype(np.float32) / 255
    for images in (floats, floats.astype(np.float64), torch.from_numpy(pixels.copy()), pixels[::-1][::-1]):
        np.testing.assert_allclose(encode(model, images), encode(model, pixels), rtol=1e-6, atol=1e-7)


def test_a_model_in_double_precision_encodes_and_decodes(model):
    pixels = tiny.pictures(4)
    expected = reconstruct(model, pixels)
    np.testing.assert_allclose(reconstruct(model.double(), pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8), np.uint8), r"shape \(2, 8, 8\); expected \(N, C, H, W\)"),
        (np.zeros((2, 1, 8, 8), np.int64), "type torch.int64; expected uint8"),
        (np.zeros((2, 1, 8, 8), bool), "type torch.bool; expected uint8"),
        (np.full((2, 1, 8, 8), 255.0), "range from 255 to 255; expected float"),
        (np.linspace(-1, 1, 128).reshape(2, 1, 8, 8), "range from -1 to 1"),
        (np.full((2, 1, 8, 8), np.nan), "range from nan to nan"),
    ],
)
def test_pictures_in_another_range_or_type_are_refused(images, words):
    with pytest.raises(UsageError, match=words):
        as_pictures(images)


def test_what_cannot_be_encoded_or_decoded_is_refused(model):
    with pytest.raises(UsageError, match=r"images of shape \(1, 8, 8\), got \(3, 8, 8\)"):
        encode(model, tiny.pictures(2, (3, 8, 8)))
    with pytest.raises(UsageError, match="no mode 'meen'; choose 'mean', 'sample' or 'distribution'"):
        encode(model, tiny.pictures(2), "meen")
    for z in (np.zeros(3), np.zeros((2, 4)), np.full((2, 3), np.nan)):
        with pytest.raises(UsageError, match=r"finite codes of shape \(N, 3\)"):
            decode(model, z)


# Paths


@pytest.mark.parametrize("kind", ["lerp", "slerp"])
@given(a=VECTORS, b=VECTORS, steps=st.integers(2, 9))
def test_a_path_reaches_both_ends_exactly(kind, a, b, steps):
    found = path(a, b, steps, kind)
    assert found.shape == (steps, 4)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], a.astype(np.float32))
    np.testing.assert_array_equal(found[-1], b.astype(np.float32))


@pytest.mark.parametrize("kind", ["lerp", "slerp"])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-170, 1e30])
def test_special_paths_reach_both_ends(kind, scale):
    one, zero = scale * np.array([3.0, 4.0]), np.zeros(2)
    for a, b in ((one, zero), (zero, one), (zero, zero), (one, one), (one, -one), (one, 2 * one), (one, one[::-1])):
        found = path(a, b, 5, kind)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[[0, -1]], np.array([a, b], np.float32))


@given(VECTORS, VECTORS)
def test_lerp_is_even_and_straight(a, b):
    found = path(a, b, 5).astype(np.float64)
    np.testing.assert_allclose(np.diff(found, axis=0), np.tile((b - a) / 4, (4, 1)), rtol=1e-3, atol=1e-3)


@given(VECTORS, VECTORS)
def test_slerp_keeps_the_length_and_turns_evenly(a, b):
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    assume(min(length_a, length_b) > 1e-3)
    b = b * length_a / length_b
    cosine = a @ b / length_a**2
    assume(abs(cosine) < 0.999)
    found = path(a, b, 7, "slerp").astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), length_a, rtol=1e-5)
    turns = [found[i] @ found[i + 1] / length_a**2 for i in range(6)]
    np.testing.assert_allclose(turns, math.cos(math.acos(cosine) / 6), rtol=1e-4)


def test_slerp_goes_evenly_from_one_length_to_the_other():
    found = path(np.array([2.0, 0.0]), np.array([0.0, 4.0]), 5, "slerp")
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [2, 2.5, 3, 3.5, 4], rtol=1e-6)


def test_a_path_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="'spline'; choose lerp or slerp"):
        path(np.zeros(2), np.ones(2), 5, "spline")
    with pytest.raises(UsageError, match="cannot reach both ends"):
        path(np.zeros(2), np.ones(2), 1)
    with pytest.raises(UsageError, match=r"\(2,\) to \(3,\)"):
        path(np.zeros(2), np.ones(3), 5)


# The codes' own Gaussian, and the plane


def test_the_fitted_gaussian_has_the_moments_of_the_aggregate_posterior():
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [0.0, 0.0, 2.0]])
    mu = (rng.standard_normal((5000, 3)) @ mix.T + [1.0, -2.0, 0.0]).astype(np.float32)
    log_var = np.log(np.tile(np.float32([0.1, 0.2, 0.3]), (5000, 1)))
    fitted = fit_gaussian(Codes(mu, log_var))
    np.testing.assert_allclose(fitted.mean, mu.mean(0), atol=1e-5)
    covariance = np.cov(mu.T) + np.diag([0.1, 0.2, 0.3])
    np.testing.assert_allclose(fitted.root.T @ fitted.root + np.diag(fitted.scale**2), covariance, rtol=1e-5, atol=1e-5)
    draws = fitted.sample(40_000)
    np.testing.assert_allclose(draws.mean(0), fitted.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.05, atol=0.05)
    np.testing.assert_array_equal(fitted.sample(3, seed=1), fitted.sample(3, seed=1))
    np.testing.assert_allclose(fitted.sample(3, temperature=0.0), np.tile(fitted.mean, (3, 1)), rtol=1e-6)


def test_few_codes_of_very_many_latents_have_a_gaussian_too():
    """A full covariance of 20,000 latents would take 3 GB."""
    mu = np.random.default_rng(0).standard_normal((40, 20_000)).astype(np.float32)
    fitted = fit_gaussian(Codes(mu, np.full_like(mu, np.log(0.25))))
    assert fitted.root.shape == (40, 20_000)
    draws = fitted.sample(500)
    np.testing.assert_allclose(draws.var(0).mean(), mu.var(0, ddof=1).mean() + 0.25, rtol=0.02)


@pytest.mark.parametrize("count", [0, 1])
def test_one_code_has_no_gaussian(count):
    with pytest.raises(UsageError, match="needs 2 or more"):
        fit_gaussian(Codes(np.zeros((count, 2), np.float32), np.zeros((count, 2), np.float32)))


def test_one_latent_has_a_gaussian_too():
    mu = np.arange(10, dtype=np.float32)[:, None]
    fitted = fit_gaussian(Codes(mu, np.full_like(mu, -np.inf)))
    assert fitted.scale == 0
    assert fitted.root.item() ** 2 == pytest.approx(np.var(mu, ddof=1))


def test_a_projection_shows_the_two_widest_directions():
    rng = np.random.default_rng(0)
    mu = (rng.standard_normal((200, 5)) * [0.1, 3.0, 0.1, 1.0, 0.1]).astype(np.float32)
    found = project(mu)
    assert found.points.shape == (200, 2)
    assert abs(np.corrcoef(found.points[:, 0], mu[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(found.points[:, 1], mu[:, 3])[0, 1]) > 0.99
    assert found.explained > 0.99
    assert all("of variance" in axis for axis in found.axes)


def test_two_latents_are_shown_as_they_are_and_one_beside_zeros():
    mu = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    np.testing.assert_array_equal(project(mu).points, mu)
    assert project(mu).explained == 1
    lone = project(mu[:, :1]).points
    np.testing.assert_array_equal(lone, np.column_stack([mu[:, 0], np.zeros(6)]))


def test_codes_that_are_all_the_same_can_be_shown():
    found = project(np.ones((6, 4), np.float32))
    np.testing.assert_array_equal(found.points, np.ones((6, 2)))
    assert math.isnan(found.explained)


def test_neighbours_tell_separable_clusters_apart():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    labels, others = rng.integers(0, 3, 90), rng.integers(0, 3, 60)
    mu, other_mu = centres[labels] + rng.standard_normal((90, 2)), centres[others] + rng.standard_normal((60, 2))
    assert neighbour_accuracy(mu, labels, other_mu, others) == 1
    assert neighbour_accuracy(mu, labels, other_mu, (others + 1) % 3) == 0
    half = np.where(np.arange(60) % 2, others, -1)
    assert neighbour_accuracy(mu, labels, other_mu, half) == 1  # unknown labels are left out
    with pytest.raises(UsageError, match="labelled codes to learn from"):
        neighbour_accuracy(mu, np.full(90, -1), other_mu, others)
    with pytest.raises(UsageError, match="and 0 to score"):
        neighbour_accuracy(mu, labels, other_mu, np.full(60, -1))


# Attributes


def planted(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes in which attribute 0 is a step along `direction` and attribute 1 is nothing."""
    rng = np.random.default_rng(0)
    has = rng.integers(0, 2, (count, 2)).astype(np.float32)
    direction = np.array([2.0, -1.0, 0.0, 0.5])
    return (rng.standard_normal((count, 4)) * 0.3 + has[:, :1] * direction).astype(np.float32), has, direction


def test_an_attribute_vector_is_the_planted_direction():
    mu, has, direction = planted()
    real, idle = attribute_vectors(mu, has, ("real", "idle"))
    np.testing.assert_allclose(real.vector, direction, atol=0.15)
    np.testing.assert_allclose(real.vector, mu[has[:, 0] == 1].mean(0) - mu[has[:, 0] == 0].mean(0), atol=1e-5)
    assert real.norm == pytest.approx(np.linalg.norm(real.vector), rel=1e-5)
    assert real.interval[0] < real.norm < real.interval[1]
    assert real.interval[1] - real.interval[0] < 0.3
    assert idle.norm < 0.2
    assert (real.count_with, real.count_without) == (int(has[:, 0].sum()), int((1 - has[:, 0]).sum()))
    assert "vector" not in real.about()
    again, _ = attribute_vectors(mu, has, ("real", "idle"))
    assert again.interval == real.interval
    np.testing.assert_array_equal(again.vector, real.vector)


def test_an_unknown_attribute_counts_on_neither_side():
    mu, has, _ = planted()
    known = np.arange(len(has)) % 3 > 0
    with_holes = np.where(known[:, None], has, np.nan)
    (found,) = attribute_vectors(mu, with_holes[:, :1], ("real",))
    (expected,) = attribute_vectors(mu[known], has[known, :1], ("real",))
    np.testing.assert_array_equal(found.vector, expected.vector)
    assert found.count_with + found.count_without == known.sum()


def test_an_attribute_that_all_or_none_have_gives_no_vector():
    mu, has, _ = planted()
    columns = np.column_stack([has[:, 0], np.ones(len(has)), np.zeros(len(has)), np.full(len(has), np.nan)])
    assert [vector.name for vector in attribute_vectors(mu, columns, ("real", "all", "none", "unknown"))] == ["real"]
    assert attribute_vectors(mu, columns[:, 1:3], ("all", "none")) == []


def test_a_graded_attribute_is_split_at_its_median():
    mu, _, _ = planted()
    (found,) = attribute_vectors(mu, mu[:, :1] * 7 + 3, ("first",))
    assert abs(found.count_with - found.count_without) <= 1
    assert np.argmax(np.abs(found.vector)) == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (1, 2), (0, 5)])
def test_any_two_values_are_without_and_with(share, low, high):
    mu, _, _ = planted(100)
    has = np.arange(100) < 100 * share
    (found,) = attribute_vectors(mu, np.where(has, high, low).astype(np.float32)[:, None], ("two",))
    assert (found.count_with, found.count_without) == (has.sum(), (~has).sum())


def test_vectors_add_up():
    vectors = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 2.0])}
    np.testing.assert_allclose(combine(vectors, {"a": 2.0, "b": -0.5}), [2, -1])
    with pytest.raises(UsageError, match="No attribute is named 'c'"):
        combine(vectors, {"a": 1.0, "c": 1.0})


# Walks


def test_a_traverse_moves_one_latent_at_a_time(model):
    start, values = np.array([0.3, -0.2, 0.1], np.float32), np.array([-2.0, 0.0, 1.0, 2.0])
    pictures = traverse(model, start, np.array([2, 0]), values)
    assert pictures.shape == (2, 4, 1, 8, 8)
    expected = decode(model, np.array([[0.3, -0.2, 1.0], [2.0, -0.2, 0.1]]))
    np.testing.assert_allclose(pictures[0, 2], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pictures[1, 3], expected[1], rtol=1e-5, atol=1e-6)


def test_the_plane_has_equal_shares_of_the_prior(model):
    pictures, values = plane(model, 5, np.zeros(3), axes=(2, 0))
    assert pictures.shape == (5, 5, 1, 8, 8)
    np.testing.assert_allclose(norm.cdf(values), [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-6)
    corner = decode(model, np.array([[values[-1], 0, values[0]]]))  # top left: highest second axis, lowest first
    np.testing.assert_allclose(pictures[0, 0], corner[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(0, 3), (-1, 0), (1, 1)])
def test_a_plane_needs_two_latents(model, axes):
    with pytest.raises(UsageError, match="two different latents"):
        plane(model, 3, np.zeros(3), axes=axes)
