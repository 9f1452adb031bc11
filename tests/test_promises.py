"""Defects that were found once, each kept away by a test: what a run promises at its edges."""

import math

import numpy as np
import pytest
import torch

import tiny
from vaekit.batches import Batches
from vaekit.errors import DataError, UsageError
from vaekit.execution import Execution
from vaekit.files import file_name
from vaekit.fitting import fit
from vaekit.latent import attribute_vectors, codes, sample
from vaekit.likelihoods import FixedGaussian, OptimalGaussian
from vaekit.metrics import evaluate, weights_of
from vaekit.objectives import ELBO, Classic
from vaekit.planning import start
from vaekit.recipes import cook
from vaekit.run import Run
from vaekit.schedules import Cosine
from vaekit.train import NonFinite, train
from vaekit.training import Training

IMAGE = (1, 28, 28)


@pytest.mark.usefixtures("quick")
def test_the_optimal_sigma_is_the_residual_of_the_weights_that_are_kept(tmp_path):
    """It is taken from the averaged weights at every validation, not from what training passed through on its way."""
    data = tiny.dataset(count=200)
    run = start(tmp_path / "run", data, tiny.recipe(images=3000))
    fit(run, data)
    model = run.load_model("cpu")
    measured = evaluate(model, ELBO(), data, "train")["residual"]["value"]
    assert model.likelihood.sigma == pytest.approx(measured, rel=0.05)


def test_a_recipe_budget_gives_way_to_any_other():
    assert cook("faces", (3, 64, 64), {}).training.minutes == 30
    chosen = cook("faces", (3, 64, 64), {"epochs": 5, "deterministic": True}).training
    assert (chosen.epochs, chosen.minutes) == (5, None)


def test_the_rmse_form_has_a_density_of_its_own():
    """The sigma that an r_loss_factor implies is that of the MSE form."""
    assert isinstance(cook("book", IMAGE, {"error": "rmse"}).model.likelihood, OptimalGaussian)
    assert isinstance(cook("book", IMAGE, {"error": "mse"}).model.likelihood, FixedGaussian)


@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "laplace", "sigma": 0.1},
        {"likelihood": "bernoulli", "r_loss_factor": 100},
        {"beta_schedule": "linear"},
        {"beta_images": 1000},
        {"beta_schedule": "cubic", "beta_images": 1000},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(UsageError):
        cook("vae", IMAGE, options)


def test_schedules_and_free_bits_are_options_of_recipes():
    objective = cook("vae", IMAGE, {"beta": 4.0, "beta_schedule": "cosine", "beta_images": 100, "free_bits": 0.1}).objective
    assert isinstance(objective, ELBO)
    assert isinstance(objective.beta, Cosine)
    assert (objective.beta(0), objective.beta(math.inf), objective.free_bits) == (0.0, 4.0, 0.1)


def test_no_weight_is_told_where_the_loss_has_none():
    assert weights_of(IMAGE, ELBO(beta=0.0), FixedGaussian(scale=0.1)) is None
    assert weights_of(IMAGE, Classic(error="rmse"), OptimalGaussian()) is None


@pytest.mark.parametrize("name", ["validate_every", "clip", "half_life", "patience", "warmup", "weight_decay", "seed", "threads"])
def test_settings_below_their_bounds_are_refused(name):
    with pytest.raises(UsageError, match=name):
        Training(epochs=1, **{name: -1})


def test_any_attribute_name_is_a_file_name():
    names = ["Smiling", "Rock/Pop", "Rock-Pop", "../../up", "x" * 300, "hair=brown"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all("/" not in file and len(file) < 100 for file in files)
    assert files[0] == "Smiling"


def test_a_gradient_that_breaks_names_the_layer_where_it_began():
    state, settings = tiny.state(images=100)
    state.model.decoder.last.bias.register_hook(lambda gradient: gradient * math.nan)
    batches = Batches(tiny.pictures(30), np.arange(30), 8, 0, tiny.CPU)
    with pytest.raises(NonFinite, match=r"decoder\.last"):
        next(iter(train(state, batches, settings, Execution(tiny.CPU))))


def test_some_rows_of_a_split_are_spread_over_all_of_it():
    data = tiny.dataset(count=400)
    rows = data.some("train", 50, seed=1)
    assert len(rows) == 50
    assert np.array_equal(rows, data.some("train", 50, seed=1))
    assert rows[-1] > len(data.splits["train"]) * 0.8
    assert np.array_equal(data.some("test", 10**6), data.splits["test"])


def test_codes_of_rows_are_those_of_the_images_picked():
    model, images = tiny.model(), tiny.pictures(12)
    rows = np.array([7, 0, 3])
    assert np.array_equal(codes(model, images, rows).mu, codes(model, images[rows]).mu)


def test_the_interval_of_a_random_attribute_holds_zero():
    """The norm of noise is never 0; the distance along a direction that other images gave is."""
    rng = np.random.default_rng(3)
    mu, columns = rng.standard_normal((2000, 64)), rng.integers(0, 2, (2000, 20)).astype(np.float32)
    found = attribute_vectors(mu, columns, tuple(f"noise{i}" for i in range(20)))
    missed = [vector.name for vector in found if not vector.interval[0] <= 0 <= vector.interval[1]]
    assert len(missed) <= 3
    assert min(vector.norm for vector in found) > 0.2


def test_samples_depend_on_the_seed_alone():
    model = tiny.model()
    torch.manual_seed(1)
    first = sample(model, 5, seed=7)
    torch.manual_seed(2)
    assert np.array_equal(first, sample(model, 5, seed=7))
    assert not np.array_equal(first, sample(model, 5, seed=8))


@pytest.mark.parametrize("damage", ["[]", '{"format": 1}', "{", "\x00\x00"])
def test_a_damaged_description_is_named(damage, tmp_path):
    (tmp_path / "run.json").write_text(damage)
    with pytest.raises(DataError, match=r"run\.json"):
        _ = Run.open(tmp_path).description
