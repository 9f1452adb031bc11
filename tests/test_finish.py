"""What follows a training: what is there already stays, and what was measured of other pictures is measured again."""

import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from conformance import coded, vae
from vaekit.editing import compute_attributes
from vaekit.errors import UsageError
from vaekit.finish import densities_for, finish, fit_second_stage, is_finished, measure, places_of
from vaekit.fitting import fit
from vaekit.latent import decode
from vaekit.latent.second_stage import ASKED, FITTED, RANGES, codes_for, codes_of_prior, draw_codes, halves, hole_of, nats_of
from vaekit.metrics import evaluate
from vaekit.metrics.quality import random_judge
from vaekit.objectives import ELBO
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


def test_a_recipe_with_a_second_stage_ends_with_it(tmp_path, monkeypatch):
    made = start(tmp_path / "staged", DATA, tiny.recipe(images=80)._replace(second=("gaussian",)))
    fit(made, DATA)
    finish(made, DATA)
    (name, _), about = made.load_prior(), made.priors
    assert (name, set(about)) == ("gaussian", {"gaussian"})
    assert "prior_hole" in made.metrics
    with monkeypatch.context() as patch:
        for work in ("fit_second_stage", "measure", "compute_attributes"):
            patch.setattr(f"vaekit.finish.{work}", None)  # none is called again
        finish(made, DATA)
    assert made.priors == about
    assert is_finished(made, DATA)
    shutil.rmtree(made.path / "priors")
    assert not is_finished(made, DATA)
    finish(made, DATA)
    assert is_finished(made, DATA)


def test_what_a_finished_run_may_lack(run):
    assert not is_finished(run, DATA)
    run.add_metrics(measure(run, DATA, "validation"))  # as a search does
    finish(run, DATA)
    assert run.metrics["distortion"]["split"] == "test"
    assert is_finished(run, DATA)
    report = run.report.stat()
    os.utime(run.path / "metrics.json", ns=(report.st_mtime_ns + 1, report.st_mtime_ns + 1))  # measured since, by more samples
    assert not is_finished(run, DATA)
    finish(run, DATA)
    assert is_finished(run, DATA)
    run.report.unlink()
    assert not is_finished(run, DATA)


def test_another_second_stage_is_another_training(tmp_path):
    start(tmp_path / "run", DATA, tiny.recipe(images=80))
    with pytest.raises(UsageError, match=r"fitted at its end are none, not \['vae'\]"):
        start(tmp_path / "run", DATA, tiny.recipe(images=80)._replace(second=("vae",)))


def test_labels_that_one_picture_each_has_are_no_kind_of_density(run):
    count = len(DATA.pixels)
    names = tuple(map(str, range(count)))
    each, two = (replace(DATA, labels=labels, label_names=names) for labels in (np.arange(count), np.arange(count) // 2))
    assert "labels" not in densities_for(run, each, None)
    assert "labels" in densities_for(run, two, None)
    with pytest.raises(UsageError, match="No density 'labels'"):
        densities_for(run, each, ["labels"])


def test_of_many_latents_the_second_stage_has_no_full_covariances(tmp_path, monkeypatch):
    monkeypatch.setitem(RANGES, "mixture", (1, 2))
    monkeypatch.setattr("vaekit.finish.STAGE_STEPS", 2)
    made = start(tmp_path / "wide", DATA, tiny.recipe(images=80)._replace(second=("mixture",)))
    fit(made, DATA)
    finish(made, DATA)
    assert made.priors.keys() == {"diagonal"}


def test_densities_of_before_are_asked_about_the_same_codes_as_the_new_ones(run):
    before = fit_second_stage(run, DATA, ["gaussian"], steps=1, seed=0)["gaussian"]["nats"]
    about = fit_second_stage(run, DATA, ["exemplar"], steps=1, seed=1)
    model = run.load_model("cpu")
    _, held = halves(codes_for(model, DATA.pixels, DATA.some("validation", ASKED, 1), 1))
    for name in ("gaussian", "exemplar"):
        expected = nats_of(run.load_prior(name)[1], torch.from_numpy(held), 1, model)
        assert about[name]["nats"] == pytest.approx(expected, rel=1e-5)
    assert about["gaussian"]["nats"] != before
    its = run.metrics["prior_hole"]["reference"]
    assert its["without a hole"] == 0.01
    name, best = run.load_prior()
    held = codes_for(model, DATA.pixels, DATA.some("validation", ASKED, 1), 1)
    assert its[FITTED] == hole_of(best, held, codes_of_prior(model, len(held), 1, best), 1, model)
    assert run.metrics["prior_hole"]["count"] == len(DATA.splits["validation"])


@pytest.mark.parametrize(
    "make",
    [
        coded("finite-scalar"),
        coded("vector-quantized"),
        vae("bernoulli", posterior="categorical", prior="categories"),
    ],
)
def test_whole_numbers_have_a_second_stage(make, tmp_path):
    """Beside which the model's own prior takes all of them for equally probable."""
    made = start(tmp_path / "run", DATA, tiny.recipe(images=80, make=lambda: make()[0], objective=make()[1]))
    fit(made, DATA)
    about = fit_second_stage(made, DATA, ["transformer"], steps=1)
    model = made.load_model("cpu")
    places = model.latent // model.posterior.entry
    assert about["own"]["nats"] == pytest.approx(places * sum(math.log(size) for size in model.posterior.levels), rel=1e-5)
    assert 0 <= about["own"]["hole"] <= 1
    assert decode(model, draw_codes(made.load_prior()[1], model, 3)).shape == (3, *DATA.image)


def test_another_judge_ranks_those_that_are_kept_anew(run):
    fit_second_stage(run, DATA, ["gaussian", "exemplar"], steps=1)
    kept = {name: (run.path / "priors" / f"{name}.safetensors").read_bytes() for name in run.priors}
    before = {name: its["frechet"] for name, its in run.priors.items()}
    about = fit_second_stage(run, DATA, [], steps=1, judge=random_judge(DATA.image, 3))
    assert about.keys() == {"gaussian", "exemplar", "own"}
    for name, its in run.priors.items():
        assert its["frechet"] != before[name]
        assert (run.path / "priors" / f"{name}.safetensors").read_bytes() == kept[name]


def test_what_is_learnt_from_training_pictures_is_not_scored_on_them(run):
    model, labelled = run.load_model("cpu"), replace(DATA, labels=BRIGHT.astype(np.int64), label_names=("dim", "bright"))
    assert "neighbour_accuracy" in evaluate(model, ELBO(), labelled)
    assert "neighbour_accuracy" not in evaluate(model, ELBO(), labelled, "train")
    with pytest.raises(UsageError, match="--split validation"):
        measure(run, DATA, "train", factors=("Bright", "Bright"))
    with pytest.raises(UsageError, match="--split test"):
        measure(run, DATA, "train", pictures=20)


def test_new_pictures_are_put_beside_as_many_as_two_splits_have():
    data = tiny.dataset(80)
    assert places_of(data, "test", 100) == ("test", "validation", 10)
    assert places_of(data, "validation", 7) == ("validation", "test", 7)
    no_test = replace(data, splits=data.splits | {"test": np.arange(0)})
    assert places_of(no_test, "test", 100) == ("validation", "train", 10)
    with pytest.raises(UsageError, match=r"3 new pictures .* 10 of test and 10 of validation"):
        places_of(data, "test", 3)
    with pytest.raises(UsageError, match="5 of test and 5 of validation"):
        places_of(DATA, "test", 100)
