"""Every variant of the table trains from its recipe, is told in the documents, and has a place in the conformance table."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import conformance
import tiny
from vaekit.batches import Batches
from vaekit.catalogue import SHOWN, catalogue, reached, reached_by
from vaekit.cli.recipes import recipes
from vaekit.data import open_data
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.known import condition_of, known_of
from vaekit.latent.second_stage import KINDS
from vaekit.metrics.quality import judge_of
from vaekit.recipes import RECIPES, cook
from vaekit.state import State
from vaekit.terms import mmd, mse
from vaekit.train import train
from vaekit.variants import VARIANTS

ALONE = Execution(tiny.CPU, threads=1)
DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("places", [None, 3], ids=["whole", "places"])
@pytest.mark.parametrize("name", VARIANTS)
def test_its_recipe_trains(name, places):
    torch.manual_seed(0)
    net = {"spatial": places} if places else {} if VARIANTS[name].spatial else {"net": "mlp"}
    given = {"images": 32, "batch_size": 8, **net, **conformance.needs(name, (1, 12, 10))}
    made = cook(name, (1, 12, 10), given)
    if name == "sphere" and places:
        with pytest.raises(UsageError, match="one sphere for an image"):
            made.model(torch.rand(2, 1, 12, 10))
        return
    assert getattr(made.model.encoder, "spatial", 0) == (places or VARIANTS[name].spatial)
    state = State.start(made.model, made.objective, made.training, tiny.CPU)
    pixels = tiny.pictures(20, (1, 12, 10))
    steps = list(
        train(
            state,
            Batches(pixels, np.arange(20), 8, 0, tiny.CPU, known=tiny.known(made.model, 20)),
            made.training,
            Execution(tiny.CPU),
        )
    )
    assert np.isfinite([step.values["loss"] for step in steps]).all()
    assert len(steps) == 4


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", size=28)  # of so many pixels that the weights of papers mean what they meant there


@pytest.fixture(scope="module")
def judge(digits):
    return judge_of(digits, seed=1)[0]


def images_for(variant):
    """So many images that they take some seconds."""
    return 5_000 if variant.spatial else 10_000 if variant.told else 20_000 if "decod" in variant.cost else 40_000


MATCHED = ("info-vae", "wae-mmd", "wae-gan", "adversarial-autoencoder")  # whose codes together are to follow the prior


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_its_defaults_learn(name, digits, judge):
    """Pictures that say more of an image than the mean picture does; and codes where the prior's draws are."""
    torch.manual_seed(0)
    variant, rows = VARIANTS[name], digits.splits["test"]
    told = {"condition": condition_of(digits)} if variant.told else {}
    given = told | ({"features": judge} if name == "perceptual" else {}) | ({} if variant.spatial else {"net": "mlp"})
    made = cook(name, digits.image, {"images": images_for(variant), "batch_size": 128, **given})
    state, known = State.start(made.model, made.objective, made.training, tiny.CPU), known_of(digits, made.model)
    for step in train(state, Batches(digits.pixels, digits.splits["train"], 128, 0, tiny.CPU, known=known), made.training, ALONE):
        assert np.isfinite(step.values["loss"])
    x, c = torch.from_numpy(digits.pixels[rows]) / 255, torch.from_numpy(known[rows])
    mean = torch.from_numpy(digits.pixels[digits.splits["train"]].mean(0) / 255)
    with torch.no_grad():
        t = state.average(x, 1, c)
        assert mse(t).mean().sqrt() < 0.8 * (x - mean).square().mean().sqrt()
        if name in MATCHED:
            z = t.group.z[0]
            assert mmd(t, "imq") < 0.1
            assert z.mean(0).abs().max() < 0.5
            assert ((z.std(0) > 0.4) & (z.std(0) < 1.6)).all()


def test_every_part_and_objective_of_a_variant_is_in_the_conformance_table():
    used = {type(part) for make in conformance.VARIANTS.values() for whole in make() for part in whole.modules()}
    for name in VARIANTS:
        made = cook(name, (1, 12, 10), conformance.needs(name, (1, 12, 10)))
        parts = (made.objective, made.model.posterior, made.model.prior)
        assert {type(part) for part in parts if part is not None} <= used, name


def variants_page():
    spec = importlib.util.spec_from_file_location("variants_page", DOCS / "variants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_table():
    assert (DOCS / "variants.md").read_text() == variants_page().page(), "python docs/variants.py"


def test_a_weight_that_says_nothing_is_refused():
    with pytest.raises(UsageError, match=r"objective of its own, to which beta says nothing.*--set, see vaekit recipes iwae"):
        cook("iwae", (1, 8, 8), {"beta": 2.0})
    with pytest.raises(UsageError, match="keeps no places"):
        cook("vq-vae", (1, 8, 8), {"net": "mlp"})


def test_recipes_whose_papers_have_a_second_stage_end_with_it():
    second = {name: cook(name, (1, 8, 8), conformance.needs(name, (1, 8, 8))).second for name in RECIPES}
    codes = dict.fromkeys(("vq-vae", "rvq-vae", "fsq", "lfq"), ("transformer",))
    expected = {"two-stage": ("vae",), "rae-l2": ("mixture",), "rae-gp": ("mixture",), **codes}
    assert {name: its for name, its in second.items() if its} == expected
    assert {kind for its in expected.values() for kind in its} <= {*KINDS, "transformer"}


def test_every_recipe_is_listed():
    assert catalogue().keys() == RECIPES.keys()


@pytest.mark.skipif(not reached(), reason="reached.json is empty: benchmarks/variants.py has not filled it yet")
def test_every_recipe_has_its_figures_on_every_data_set():
    for name, about in reached().items():
        assert about["how"], name
        assert about["figures"].keys() == RECIPES.keys(), name
        assert all(SHOWN.keys() & its.keys() for its in about["figures"].values()), name


def test_what_was_reached_is_told_in_the_list_and_on_the_page(monkeypatch):
    made_up = {"digits": {"how": "10,000 images", "figures": {"vae": {"nll": 101.234, "rmse": 0.1}, "fsq": {"frechet": 12.345}}}}
    for module in ("catalogue", "cli.recipes"):
        monkeypatch.setattr(f"vaekit.{module}.reached", lambda: made_up)
    assert reached_by("vae") == {"digits": "-log p(x) <= 101.23, RMSE 0.100"}
    assert reached_by("beta-vae") == {}
    answer = recipes()
    assert answer.data["recipes"]["fsq"]["reached"] == {"digits": "FD 12.3"}
    assert answer.data["budgets"] == {"digits": "10,000 images"}
    page = variants_page().page()
    (row,) = [line for line in page.splitlines() if line.startswith("| `vae` ")]
    assert "\ndigits: 10,000 images\n" in page
    assert row.endswith("| none | -log p(x) <= 101.23, RMSE 0.100 |")
