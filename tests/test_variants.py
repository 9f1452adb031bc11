"""Every variant of the table trains from its recipe, is told in the documents, and has a place in the conformance table."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import conformance
import tiny
from vaekit.batches import Batches
from vaekit.catalogue import catalogue, reached
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.latent.second_stage import KINDS
from vaekit.recipes import RECIPES, cook
from vaekit.state import State
from vaekit.train import train
from vaekit.variants import VARIANTS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", VARIANTS)
def test_its_recipe_trains(name):
    torch.manual_seed(0)
    net = {} if VARIANTS[name].spatial else {"net": "mlp"}
    made = cook(name, (1, 12, 10), {"images": 32, "batch_size": 8, **net, **conformance.needs(name, (1, 12, 10))})
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


def test_every_part_and_objective_of_a_variant_is_in_the_conformance_table():
    used = {type(part) for make in conformance.VARIANTS.values() for whole in make() for part in whole.modules()}
    for name in VARIANTS:
        made = cook(name, (1, 12, 10), conformance.needs(name, (1, 12, 10)))
        parts = (made.objective, made.model.posterior, made.model.prior)
        assert {type(part) for part in parts if part is not None} <= used, name


def test_the_page_is_that_of_the_table():
    spec = importlib.util.spec_from_file_location("variants_page", DOCS / "variants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "variants.md").read_text() == module.page(), "python docs/variants.py"


def test_a_weight_that_says_nothing_is_refused():
    with pytest.raises(UsageError, match=r"objective of its own, to which beta says nothing.*--set, see vaekit recipes iwae"):
        cook("iwae", (1, 8, 8), {"beta": 2.0})
    with pytest.raises(UsageError, match="keeps no places"):
        cook("vq-vae", (1, 8, 8), {"net": "mlp"})


def test_recipes_whose_papers_have_a_second_stage_end_with_it():
    second = {name: cook(name, (1, 8, 8), {"net": "mlp"}).second for name in ("two-stage", "rae-l2", "rae-gp", "vae")}
    assert second == {"two-stage": ("vae",), "rae-l2": ("mixture",), "rae-gp": ("mixture",), "vae": ()}
    assert {kind for its in second.values() for kind in its} <= set(KINDS)


def test_every_recipe_is_listed():
    assert catalogue().keys() == RECIPES.keys()
    assert all(about["figures"].keys() <= RECIPES.keys() for about in reached().values())
