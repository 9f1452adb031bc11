"""The nearest pictures of the map, however many are asked for and wherever their codes are."""

import tracemalloc
from contextlib import ExitStack

import numpy as np
from scipy.spatial import cKDTree

from vaekit.studio import nearest as searching
from vaekit.studio.nearest import NEAR, nearest


def made(count: int, n: int, latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a map, and codes that are asked about."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, latent)).astype(np.float32), rng.standard_normal((n, latent)).astype(np.float32)


def test_the_nearest_are_the_nearest():
    mu, z = made(500, 4, 6)
    places, distances = nearest(mu, z, 9)
    all_of_them = np.linalg.norm(mu[None] - z[:, None], axis=2)
    np.testing.assert_array_equal(places, np.argsort(all_of_them, 1)[:, :9])
    np.testing.assert_allclose(distances, np.sort(all_of_them, 1)[:, :9], rtol=1e-4)
    assert nearest(mu[:3], z, 9)[0].shape == (4, 3)


def test_many_codes_on_a_large_map_need_little_memory():
    mu, z = made(40_000, 1024, 2)
    tracemalloc.start()
    try:
        places, distances = nearest(mu, z, 5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150 << 20  # bytes; all distances at once are 328 MB, and as much again for their order
    expected, where = cKDTree(mu).query(z, 5)
    np.testing.assert_array_equal(places, where)
    np.testing.assert_allclose(distances, expected)


def test_parts_are_put_together_in_order(monkeypatch):
    mu, z = made(300, 50, 3)
    at_once = nearest(mu, z, 4)
    monkeypatch.setattr(searching, "AT_ONCE", 2000)  # 6 codes at a time
    for one, other in zip(nearest(mu, z, 4), at_once, strict=True):
        np.testing.assert_array_equal(one, other)


def test_codes_far_from_0_keep_their_distances():
    mu, z = made(500, 20, 6)
    mu, z = 1000 + 0.01 * mu, 1000 + 0.01 * z
    places, distances = nearest(mu, z, 9)
    expected, _ = cKDTree(mu).query(z, 9)
    np.testing.assert_allclose(distances, expected)
    own = np.linalg.norm(mu[places].astype(np.float64) - z[:, None], axis=2)
    np.testing.assert_allclose(distances, own)


def test_who_finds_too_many_waiting_is_told(client):
    with ExitStack() as waiting:
        for _ in range(NEAR.most):
            waiting.enter_context(NEAR.place())
        got = client.post("/api/runs/shapes/neighbours", json={"z": [[0, 0, 0, 0]]})
        assert got.status_code == 429
        assert "Try again" in got.json()["error"]
    assert client.post("/api/runs/shapes/neighbours", json={"z": [[0, 0, 0, 0]]}).status_code == 200
