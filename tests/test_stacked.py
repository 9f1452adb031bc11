"""Steps of several models at once are the steps of each alone."""

import itertools
import math
import shutil

import numpy as np
import pytest
import torch

import tiny
from conformance import VARIANTS
from test_step import plain
from tiny import CPU, pictures
from vaekit import schedules
from vaekit.batches import Batches
from vaekit.errors import UsageError
from vaekit.execution import Execution
from vaekit.objectives import Objective
from vaekit.part import describe
from vaekit.schedules import Linear, Schedule
from vaekit.state import State
from vaekit.terms import distortion
from vaekit.train import NonFinite, train, train_together

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),  # torch's own compiler, on its import
]
compiled = pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")


def begin(seed: int, make=plain, **given) -> tuple[State, Batches, object]:
    torch.manual_seed(seed)
    settings = tiny.training(
        **{"images": 8 * 8, "learning_rate": 3e-3, "clip": 0.01, "weight_decay": 0.1, "seed": seed, "flip": False} | given
    )
    state = State.start(*make(), settings, CPU)
    pixels, known = pictures(40, state.model.image), tiny.known(state.model, 40)
    return state, Batches(pixels, np.arange(40), 8, seed, CPU, known=known), settings


def step_together(members, compile: str = "off") -> list[list]:
    states, batches, trainings = zip(*members, strict=True)
    return list(zip(*train_together(states, batches, trainings, Execution(CPU, compile=compile)), strict=True))


@pytest.mark.parametrize(("count", "compile"), [(1, "off"), (3, "off"), pytest.param(3, "whole", marks=compiled)])
def test_steps_together_are_those_alone(count, compile):
    """Without noise: an autoencoder. One shape of the weights that the objective does not use, a rate that is clipped, decay."""
    alone, joint = ([begin(seed) for seed in range(count)] for _ in range(2))
    found = step_together(joint, compile)
    for its, ours, (theirs, _, _) in zip(alone, found, joint, strict=True):
        expected = [step.values for step in train(*its, Execution(CPU))]
        assert len(ours) == len(expected) == 8
        for step, values in zip(ours, expected, strict=True):
            assert step.values.keys() == values.keys()
            assert list(step.values.values()) == pytest.approx(list(values.values()), rel=1e-4, abs=1e-5)
        state, tensors = its[0], theirs.tensors()
        assert (theirs.step, theirs.images) == (state.step, state.images) == (8, 64)
        for name, value in state.tensors().items():
            torch.testing.assert_close(tensors[name], value, rtol=1e-3, atol=1e-5, msg=lambda told, name=name: f"{name}: {told}")


class Weighted(Objective):
    """A test objective with numbers, and without noise."""

    weight: float | Schedule
    offset: float = 0.0

    def forward(self, t, at):
        return {"weighted": schedules.at(self.weight, at.images) * distortion(t), "offset": distortion(t) * 0 + self.offset}


@pytest.mark.parametrize(
    ("make", "compile"),
    [
        pytest.param(float, "off", id="number"),
        pytest.param(lambda end: Linear(images=80, end=end), "off", id="schedule"),
        pytest.param(lambda end: Linear(images=80, end=end), "whole", id="compiled schedule", marks=compiled),
    ],
)
def test_each_has_its_own_numbers_of_the_objective(make, compile):
    weights = (0.0, 0.5, 2.0)

    def members(number: float):
        return begin(0, lambda: (plain()[0], Weighted(weight=make(number), offset=10 * number)), images=8 * 5)

    alone, joint = ([members(number) for number in weights] for _ in range(2))
    found = step_together(joint, compile)
    for its, ours, number in zip(alone, found, weights, strict=True):
        expected = [step.values for step in train(*its, Execution(CPU))]
        assert len(ours) == len(expected) == 5
        for step, values in zip(ours, expected, strict=True):
            assert step.values == pytest.approx(values, rel=1e-4, abs=1e-5)
        assert ours[0].values["loss/offset"] == 10 * number
    kept = [describe(state.objective) for state, _, _ in joint]
    assert kept == [describe(state.objective) for state, _, _ in alone]


PULLING = [name for name, make in VARIANTS.items() if make()[1].pulls]  # gradients within the step


@pytest.mark.parametrize("name", PULLING)
def test_what_takes_a_gradient_within_the_step_goes_alone(name):
    """It would find none there, and train as if its term were nothing."""
    with pytest.raises(UsageError, match="one by one"):
        step_together([begin(seed, VARIANTS[name]) for seed in (0, 1)])


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - PULLING))
def test_every_variant_steps_together(name):
    members = [begin(seed, VARIANTS[name], flip=True, images=8 * 3) for seed in (0, 1, 2)]
    losses = [[step.values["loss"] for step in steps] for steps in step_together(members)]
    assert np.isfinite(losses).all()
    assert len({tuple(its) for its in losses}) == 3
    again = [begin(seed, VARIANTS[name], flip=True, images=8 * 3) for seed in (0, 1, 2)]
    assert [[step.values["loss"] for step in steps] for steps in step_together(again)] == losses


QUIET = [name for name in VARIANTS if name.startswith("autoencoder ") and name not in PULLING]  # of which nothing is drawn


@pytest.mark.parametrize("name", QUIET)
def test_every_variant_without_noise_steps_together_as_alone(name):
    alone, joint = ([begin(seed, VARIANTS[name], images=8 * 3) for seed in (0, 1)] for _ in range(2))
    for its, ours in zip(alone, step_together(joint), strict=True):
        expected = [value for step in train(*its, Execution(CPU)) for value in step.values.values()]
        found = [value for step in ours for value in step.values.values()]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - PULLING))
def test_every_variant_steps_together_compiled(name):
    """With torch's own random numbers in the graph, it draws the noise of the step that is not compiled."""

    def losses(compile: str) -> list[float]:
        members = [begin(seed, VARIANTS[name], flip=True, images=8 * 3) for seed in (0, 1)]
        return [value for steps in step_together(members, compile) for step in steps for value in step.values.values()]

    with torch._inductor.config.patch(fallback_random=True):
        assert losses("whole") == pytest.approx(losses("off"), rel=1e-3, abs=1e-3)


def test_models_of_one_seed_that_see_the_same_pictures_draw_other_noise():
    """Noise is drawn for each model; else five seeds would share an accident."""
    members = [begin(0, VARIANTS["vae bernoulli elbo"]) for _ in range(2)]
    (a, *_), (b, *_) = step_together(members)
    assert a.values["rate"] == pytest.approx(b.values["rate"], rel=1e-4)
    assert a.values["distortion"] != b.values["distortion"]


def test_a_step_that_is_not_finite_for_one_is_taken_by_the_others():
    members = [begin(seed) for seed in (0, 1, 2)]
    with torch.no_grad():
        members[1][0].model.decoder.first[0].bias[0] = math.nan
    states, batches, trainings = zip(*members, strict=True)
    good, bad, fine = next(train_together(states, batches, trainings, Execution(CPU)))
    assert isinstance(bad, NonFinite)
    assert "decoder.first" in bad.where
    np.testing.assert_array_equal(bad.batch.rows, batches[1].at(0).rows)
    assert math.isfinite(good.values["loss"] + fine.values["loss"])
    assert all(torch.isfinite(t).all() for state in (states[0], states[2]) for t in state.tensors().values())


def test_minutes_are_each_models_own(monkeypatch):
    """By a clock that moves by one at every look, three models of nearly ten each have 30 steps."""
    ticks = itertools.count()
    monkeypatch.setattr("vaekit.train.time.monotonic", lambda: next(ticks))
    members = [begin(seed, images=None, minutes=9.9 / 60, deterministic=False) for seed in (0, 1, 2)]
    assert [len(its) for its in step_together(members)] == [30, 30, 30]
    assert [state.seconds for state, _, _ in members] == [10, 10, 10]
