"""What follows a training: what is better already stays, and what was measured by another protocol is measured again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from vaekit.editing import compute_attributes
from vaekit.finish import finish, fit_second_stage
from vaekit.fitting import fit
from vaekit.latent.second_stage import ASKED, codes_for, halves, nats_of
from vaekit.planning import start
from vaekit.run import Run

pytestmark = pytest.mark.usefixtures("quick")

BRIGHT = (tiny.dataset().pixels.max((1, 2, 3)) > 200).astype(np.float32)
DATA = replace(tiny.dataset(), attributes=BRIGHT[:, None], attribute_names=("Bright",))


@pytest.fixture
def run(tmp_path) -> Run:
    made = start(tmp_path / "run", DATA, tiny.recipe(images=80))
    fit(made, DATA)
    return made


def test_vectors_by_a_better_method_outlive_another_finish_but_not_other_weights(run):
    def method() -> str:
        page = finish(run, DATA).read_text()
        found = run.load_attributes()[1]["attributes"]["Bright"]["method"]
        assert ("held-out distance of the mean difference, 95 %" in page) == (found != "mean")
        return found

    assert method() == "mean"
    compute_attributes(run, DATA, method="ridge")
    assert method() == "ridge"
    run.save_weights(tiny.model())
    assert not run.has_attributes
    assert method() == "mean"


def test_densities_of_before_are_asked_about_the_same_codes_as_the_new_ones(run):
    before = fit_second_stage(run, DATA, ["gaussian"], steps=1, seed=0)["gaussian"]["nats"]
    about = fit_second_stage(run, DATA, ["exemplar"], steps=1, seed=1)
    model = run.load_model("cpu")
    _, held = halves(codes_for(model, DATA.pixels, DATA.some("validation", ASKED, 1), 1))
    for name in ("gaussian", "exemplar"):
        expected = nats_of(run.load_prior(name)[1], torch.from_numpy(held), 1, model)
        assert about[name]["nats"] == pytest.approx(expected, rel=1e-5)
    assert about["gaussian"]["nats"] != before
    assert run.metrics["prior_hole"]["reference"] == {"without a hole": 0.01}
