"""Where codes lie on a map."""

import numpy as np
import pytest

from vaekit.errors import UsageError
from vaekit.latent import arrange, project


def test_neighbours_stay_neighbours_on_a_map():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), 30)
    mu = (rng.standard_normal((4, 10))[kinds] * 6 + rng.standard_normal((120, 10))).astype(np.float32)
    found = arrange(mu, "tsne")
    near = np.linalg.norm(found.points[:, None] - found.points, axis=2) + 1e9 * np.eye(120)
    assert (kinds[near.argmin(1)] == kinds).mean() > 0.95
    assert np.isnan(found.explained)
    np.testing.assert_array_equal(arrange(mu).points, project(mu).points)
    np.testing.assert_array_equal(arrange(mu[:, :2], "tsne").points, mu[:, :2])
    with pytest.raises(UsageError, match="Choose one of pca, tsne, umap"):
        arrange(mu, "isomap")
