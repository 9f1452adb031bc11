"""Dynamic binarisation: anew at every training step, once for whatever is measured."""

import numpy as np
import pytest
import torch

import tiny
from vaekit.batches import Batches
from vaekit.data import BINARIZED, binarized, trained_on
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.finish import measure
from vaekit.fitting import fit
from vaekit.likelihoods import BernoulliPixels
from vaekit.objectives import ELBO
from vaekit.planning import start
from vaekit.train import picture, train


def test_a_measured_picture_is_one_draw_with_the_grey_value_as_probability():
    grey = np.repeat(np.arange(256, dtype=np.uint8), 64).reshape(256, 1, 8, 8)
    data = tiny.dataset(pixels=np.concatenate([grey] * 20))
    drawn = binarized(data).pixels
    assert set(np.unique(drawn)) == {0, 255}
    shares = drawn.reshape(20, 256, 64).mean((0, 2)) / 255
    np.testing.assert_allclose(shares, np.arange(256) / 255, atol=0.07)
    assert not drawn.reshape(20, 256, 64)[:, 0].any()
    assert drawn.reshape(20, 256, 64)[:, 255].all()
    np.testing.assert_array_equal(drawn, binarized(data).pixels)
    assert (drawn != binarized(data, seed=1).pixels).any()
    assert data.pixels.max() > 200 > np.sort(np.unique(data.pixels))[1], "the data themselves stay grey"


def test_a_threshold_draws_nothing():
    data = tiny.dataset(pixels=np.repeat(np.arange(256, dtype=np.uint8), 64).reshape(256, 1, 8, 8))
    np.testing.assert_array_equal(binarized(data, "threshold").pixels[:, 0, 0, 0], [0] * 128 + [255] * 128)


@pytest.mark.parametrize("how", [None, *BINARIZED])
def test_a_run_is_trained_and_measured_by_its_protocol(tmp_path, quick, how):
    data = tiny.dataset()
    make = lambda: tiny.model(likelihood=BernoulliPixels())  # noqa: E731
    run = start(tmp_path / "run", data, tiny.recipe(make=make, images=60, binarize=how))
    drawn_anew = how == "dynamic"
    measured = run.as_measured(data).pixels
    assert (set(np.unique(measured)) == {0, 255}) == (how is not None)
    np.testing.assert_array_equal(trained_on(data, how).pixels, data.pixels if drawn_anew else measured)
    fit(run, data)
    metrics = measure(run, data)
    assert {metric["pixels"] for metric in metrics.values() if "count" in metric} == {run.pixels}
    assert {metric["trained_on"] for metric in metrics.values() if "count" in metric} == {30}
    assert (how is None) == (run.pixels not in BINARIZED.values())


def test_what_is_no_protocol_is_refused():
    for how in BINARIZED:
        assert tiny.training(images=60, binarize=how).binarize == how
    with pytest.raises(UsageError, match="choose one of None, dynamic, static, threshold"):
        tiny.training(images=60, binarize="random")


def test_a_training_picture_is_drawn_anew_at_every_call():
    pixels = torch.from_numpy(tiny.pictures(400))
    torch.manual_seed(0)
    first, second = picture(pixels, binarize=True), picture(pixels, binarize=True)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)
    assert (first.mean() - pixels.float().mean() / 255).abs() < 0.01
    torch.manual_seed(0)
    assert torch.equal(first, picture(pixels, binarize=True))


def test_the_draw_of_a_step_depends_on_its_number_alone():
    def losses(skip: int) -> list[float]:
        state, settings = tiny.state(
            make=lambda: (tiny.model(likelihood=BernoulliPixels()), ELBO()), binarize="dynamic", images=64
        )
        batches = Batches(tiny.pictures(20), np.arange(20), 8, 0, tiny.CPU)
        found = [next(train(state, batches, settings, Execution(tiny.CPU))).values["loss"] for _ in range(skip)]
        torch.manual_seed(123)  # what happens between two sittings
        return found + [step.values["loss"] for step in train(state, batches, settings, Execution(tiny.CPU))]

    assert losses(0) == losses(3)


def test_validations_of_a_run_see_the_one_draw(tmp_path, quick, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "vaekit.train.picture", lambda pixels, *more, **flags: seen.append(pixels) or picture(pixels, *more, **flags)
    )
    data = tiny.dataset()
    run = start(
        tmp_path / "run", data, tiny.recipe(make=lambda: tiny.model(likelihood=BernoulliPixels()), images=60, binarize="dynamic")
    )
    assert run.description["training"]["binarize"] == "dynamic"
    fit(run, data)
    assert {0, 255} in [set(pixels.unique().tolist()) for pixels in seen]
    assert np.isfinite([record["elbo"] for record in run.records]).all()


@pytest.mark.parametrize("binarize", [False, True])
def test_other_trainings_see_grey(binarize):
    x = picture(torch.full((2, 1, 4, 4), 127, dtype=torch.uint8), binarize=binarize)
    assert (set(x.unique().tolist()) == {0.0, 1.0}) == binarize
