"""What a report draws of models of several kinds: no figure says of one prior what is true of another."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

import tiny
from conformance import ladder
from vaekit.categorical import CategoricalLatents, UniformCategories
from vaekit.errors import UsageError
from vaekit.fitting import fit
from vaekit.latent import decode, traverse
from vaekit.latent.second_stage import FITTED
from vaekit.objectives import Reconstruction
from vaekit.planning import start
from vaekit.posteriors import Deterministic
from vaekit.priors import Mixture
from vaekit.report import figures, write_report
from vaekit.report.sight import Picture, Sight
from vaekit.run import Run
from vaekit.sphere import Spherical, UniformSphere

pytestmark = pytest.mark.usefixtures("quick")

OF_THE_STANDARD_NORMAL = {"unit-square", "manifold", "latent-histograms"}
MODELS = {
    "standard": lambda: tiny.model(latent=2),
    "learned": lambda: tiny.model(latent=2, prior=Mixture(latent=2, components=3)),
    "sphere": lambda: tiny.model(latent=2, posterior=Spherical(features=16, latent=2), prior=UniformSphere(latent=2)),
    "categorical": lambda: tiny.model(
        latent=2,
        posterior=CategoricalLatents(features=16, latent=2, categories=2),
        prior=UniformCategories(latent=2, categories=2),
    ),
}


def trained(path, make, objective=None) -> Run:
    run = start(path, tiny.dataset(), tiny.recipe(objective, make, images=16))
    fit(run, tiny.dataset())
    return run


def drawn(path, kind: str) -> dict[str, Picture]:
    sight = Sight(trained(path, MODELS[kind]), tiny.dataset())
    chapters = (figures.samples, figures.latent_space, figures.decoded_plane, figures.latents)
    return {picture.name: picture for chapter in chapters for picture in chapter(sight)}


def texts(picture: Picture) -> set[str]:
    return {text.get_text() for text in picture.figure.findobj(mpl.text.Text)}


def test_a_standard_normal_prior_has_circles_a_square_and_sigmas(tmp_path):
    found = drawn(tmp_path / "run", "standard")
    assert found.keys() >= OF_THE_STANDARD_NORMAL | {"samples", "samples-fitted", "traversals"}
    assert "1σ" in texts(found["latent-nothing"])
    assert "+3σ" in texts(found["traversals"])
    assert "the prior N(0, 1)" in found["samples"].caption


def test_a_learned_prior_is_walked_over_where_codes_are(tmp_path):
    found = drawn(tmp_path / "run", "learned")
    assert not found.keys() & OF_THE_STANDARD_NORMAL
    assert "1σ" not in texts(found["latent-nothing"])
    assert {"50%", "99%"} <= texts(found["traversals"])
    assert "the model's own prior" in found["samples"].caption
    assert "samples-fitted" in found


@pytest.mark.parametrize("kind", ["sphere", "categorical"])
def test_where_not_any_numbers_are_a_code_none_are_made_up(kind, tmp_path):
    found = drawn(tmp_path / "run", kind)
    assert found.keys() == {"samples", "latent-nothing"}
    assert "1σ" not in texts(found["latent-nothing"])


def test_a_traverse_may_go_another_way_for_each_latent():
    model, start_ = tiny.model().eval(), np.array([0.3, -0.2, 0.1], np.float32)
    pictures = traverse(model, start_, np.array([2, 0]), np.array([[-1.0, 1.0], [5.0, 7.0]]))
    expected = decode(model, np.array([[0.3, -0.2, -1], [0.3, -0.2, 1], [5, -0.2, 0.1], [7, -0.2, 0.1]]))
    np.testing.assert_allclose(pictures.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("share", "left", "words"),
    [
        (0.3, 0.012, "It mends a hole: 30.0% of the prior's own draws are less probable, 1.2% of this density's"),
        (0.3, 0.2, "It narrows a hole: 30.0%"),
        (0.3, 0.4, "own prior has a hole: 30.0%"),
        (0.01, 0.01, "has no hole: 1.0%"),
    ],
)
def test_a_hole_is_one_above_what_would_be_without(share, left, words, monkeypatch):
    monkeypatch.setattr(figures, "draw_codes", lambda *_: np.zeros((4, 3), np.float32))
    metrics = {"prior_hole": {"value": share, "how": "less probable", "reference": {FITTED: left}}}
    run = SimpleNamespace(load_prior=lambda: ("flow", None), metrics=metrics)
    picture = figures.second_stage(SimpleNamespace(run=run, model=tiny.model().eval(), seed=0))
    assert words in picture.caption
    assert "without a hole it would be 1 %" in picture.caption


def test_a_ladder_is_not_drawn_beside_an_autoencoder(tmp_path):
    """Nor anything else, before that is told."""
    hierarchy = trained(tmp_path / "ladder", lambda: ladder()()[0])
    flat = lambda: tiny.model(latent=2, posterior=Deterministic(features=16, latent=2), prior=None)  # noqa: E731
    plain = trained(tmp_path / "plain", flat, Reconstruction())
    with pytest.raises(UsageError, match="can be seen in two"):
        write_report(hierarchy, tiny.dataset(), plain)
    assert not hierarchy.figures.exists()
