"""Trainings that begin with weights: those of another run, and those of a judge of pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from conformance import LABELS, a_judge, coded, conditional
from tiny import dataset, recipe
from vaekit.adjusting import adjusted
from vaekit.errors import DataError, UsageError
from vaekit.execution import Execution
from vaekit.finish import measure
from vaekit.fitting import Silent, fit
from vaekit.known import condition_of, shown_of
from vaekit.objectives import Perceptual
from vaekit.planning import start
from vaekit.recipes import Recipe, cook, going_on
from vaekit.run import Run
from vaekit.stacked import Stacked
from vaekit.step import Apart, Whole
from vaekit.train import looking

pytestmark = pytest.mark.usefixtures("quick")
FP32 = Execution(tiny.CPU)


@pytest.fixture
def before(tmp_path) -> Run:
    """A run that is finished."""
    run = start(tmp_path / "before", dataset(), recipe(images=80))
    fit(run, dataset())
    return run


def begun(path, before: Run, recipe_name: str = "vae", **settings) -> Run:
    """A run that begins with the weights of another."""
    made = going_on(recipe_name, before.load_model(), {"images": 80})
    return start(path, dataset(), made._replace(training=tiny.training(images=80, seed=5, **settings)))


def weights_of(model) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


def test_a_run_begins_with_the_weights_of_another(before, tmp_path):
    run = begun(tmp_path / "run", before)
    model = run.build("model")
    assert run.begin(model=model)
    old = weights_of(before.load_model())
    assert all(torch.equal(weight, old[name]) for name, weight in weights_of(model).items())
    fit(run, dataset())
    assert any(not torch.equal(weight, old[name]) for name, weight in weights_of(run.load_model()).items())
    assert not before.begin(model=model)  # it began with random ones


def test_frozen_parts_stay_what_they_were_and_so_do_the_codes(before, tmp_path):
    free, frozen = begun(tmp_path / "free", before), begun(tmp_path / "frozen", before, freeze=("codes",))
    found = {}
    for run in (free, frozen):
        fit(run, dataset())
        found[run.path.name] = measure(run, dataset())["drift"]["value"]
    assert found["frozen"] == 0 < found["free"]
    old, new = weights_of(before.load_model()), weights_of(frozen.load_model())
    still = {name for name in old if torch.equal(old[name], new[name])}
    assert still == {name for name in old if name.startswith(("encoder.", "posterior."))}
    assert "drift" not in measure(before, dataset())


@pytest.mark.parametrize(("make", "name"), [(coded("vector-quantized"), "vq-vae"), (conditional(LABELS), "conditional")])
def test_frozen_codes_stay_where_they_were_for_models_of_every_kind(make, name, tmp_path):
    """A codebook that learns by averages, and what a conditional encoder is told."""
    model, objective = make()
    pictures = dataset()
    if name == "conditional":
        pictures = replace(pictures, labels=np.arange(40) % 2, label_names=("a", "b"))
    before = start(tmp_path / "before", pictures, Recipe(model, objective, tiny.training(images=80)))
    fit(before, pictures)
    made = going_on(name, before.load_model(), {"images": 80})._replace(objective=objective)
    for freeze in ((), ("codes",)):
        chosen = made._replace(training=tiny.training(images=80, learning_rate=1e-2, freeze=freeze))
        run = start(tmp_path / f"run{len(freeze)}", pictures, chosen)
        fit(run, pictures)
        assert (measure(run, pictures)["drift"]["value"] == 0) == bool(freeze)


@pytest.mark.parametrize("kind", [Apart, Whole, lambda state, *rest: Stacked([state], *rest)], ids=["apart", "whole", "stacked"])
def test_every_way_to_take_a_step_leaves_frozen_parts_alone(kind):
    state, settings = tiny.state(images=1000, freeze=("encoder",))
    take = kind(state, settings, FP32, looking(settings, FP32))
    seen = torch.from_numpy(tiny.pictures(8)), torch.zeros(8, 0)
    old = {name: p.clone() for name, p in state.model.named_parameters()}
    take(tuple(t[None] for t in seen) if isinstance(take, Stacked) else seen, 0, rate=1e-2, keep=0.5)
    assert all(torch.equal(p, old[name]) == name.startswith("encoder.") for name, p in state.model.named_parameters())


def test_a_run_that_was_stopped_goes_on_with_its_frozen_parts(before, tmp_path):
    class Stop(Silent):
        def logged(self, record, fraction):
            if record["step"] == 5:
                raise RuntimeError("stopped")

    stopped, whole = (begun(tmp_path / name, before, freeze=("decoder",), validate_every=40) for name in ("stopped", "whole"))
    fit(whole, dataset())
    with pytest.raises(RuntimeError, match="stopped"):
        fit(stopped, dataset(), Stop(), snapshot_seconds=0)
    fit(stopped, dataset())
    ours, theirs = (weights_of(run.load_model(last=True)) for run in (stopped, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_weights_of_a_judge_travel_with_the_run(tmp_path):
    judge = a_judge()
    made = recipe(Perceptual(judge=judge), images=80)
    made = made._replace(weights={f"objective.judge.{name}": tensor for name, tensor in judge.state_dict().items()})
    run = start(tmp_path / "run", dataset(), made)
    fit(run, dataset())
    kept = run.load_objective().judge.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in judge.state_dict().items())


def test_numbers_beside_trained_weights_can_be_set_and_those_within_cannot(before):
    judge = a_judge()
    made = adjusted(cook("perceptual", (1, 8, 8), {"features": judge, "net": "mlp"}), ["objective.weight=5"])
    assert made.objective.weight == 5
    with pytest.raises(UsageError, match="do not fit"):
        adjusted(made, ["objective.judge.width=4"])
    with pytest.raises(UsageError, match="do not fit"):
        adjusted(going_on("vae", before.load_model(), {"images": 80}), ["model.decoder.width=8"])


def test_weights_that_are_gone_or_others(before, tmp_path):
    run = begun(tmp_path / "run", before)
    with pytest.raises(UsageError, match="it began with other weights"):
        start(run.path, dataset(), recipe(images=80, seed=5))
    first = run.path / "first.safetensors"
    kept = first.read_bytes()
    first.write_bytes(kept[:-4] + b"\0\0\0\0")
    with pytest.raises(DataError, match="not what this training began with"):
        fit(run, dataset())
    first.unlink()
    with pytest.raises(DataError, match="not what this training began with"):
        fit(run, dataset())


def test_what_cannot_be_gone_on_with(before, tmp_path):
    model = before.load_model()
    for options, told in (
        ({"latent": 3}, "brings its latent"),
        ({"freeze": ("encodr",)}, "Did you mean 'encoder'"),
        ({"freeze": ("encoder", "posterior", "decoder", "likelihood")}, "nothing of the model is left"),
    ):
        with pytest.raises(UsageError, match=told):
            start(tmp_path / "run", dataset(), going_on("vae", model, {"images": 80} | options))
    with pytest.raises(UsageError, match="Choose a recipe that fits it"):
        going_on("vq-vae", model, {})
    with pytest.raises(UsageError, match="nothing in encoder to keep"):
        start(tmp_path / "run", dataset(), recipe(images=80, freeze=("encoder",)))


def test_labels_that_nobody_would_see_are_refused():
    data = replace(dataset(), labels=np.arange(40) % 4 - 1, label_names=tuple("abc"))  # the first of four has none
    with pytest.raises(UsageError, match=r"tiny has 3 labels.*shown=2 .*Show 3 or more"):
        condition_of(data, shown=2)
    condition = condition_of(data, shown=3)
    assert sorted(data.labels[shown_of(data, condition)]) == [0, 1, 2]
    assert condition_of(replace(data, attributes=np.zeros((40, 1)), attribute_names=("size",)), ("size",), 1).shown == 1


def test_data_of_which_nothing_is_known_are_told_both_ways_to_know():
    with pytest.raises(UsageError, match=r"neither labels nor attributes.*into a subfolder of its own.*--attributes FILE"):
        condition_of(dataset())
    with pytest.raises(UsageError, match=r"no labels.*into a subfolder of its own\.$"):
        condition_of(dataset(), ("label",))
