"""Measures of edits on models and judges that are linear, where every number can be worked out; and true counterfactuals."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from vaekit.data import drawn_faces, drawn_shapes, open_data
from vaekit.data.counterfactuals import counterfactuals
from vaekit.distributions import Gaussian
from vaekit.editing import bench, choose_attributes, compute_attributes
from vaekit.errors import UsageError
from vaekit.fitting import fit
from vaekit.latent import codes, edited
from vaekit.likelihoods import BernoulliPixels
from vaekit.metrics.edits import GOAL, against_truth, guided, interaction, judged, reached, rows_of_edits, seen
from vaekit.planning import start


class Linear(nn.Module):
    """Codes are the pixels; what is decoded is a share of them."""

    image, latent, at_once = (1, 2, 3), 6, 256

    def __init__(self, share: float = 1.0):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share))

    def encode(self, x):
        return Gaussian(x.flatten(1), torch.full_like(x.flatten(1), -10.0))

    def decode(self, z, c=None):
        return Gaussian((self.share * z).unflatten(-1, self.image), torch.zeros(*z.shape[:2], *self.image))


class LinearJudge(nn.Module):
    """Each attribute's logit is a sum of pixels."""

    def __init__(self, weights: np.ndarray):
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights).float())

    def forward(self, x):
        return x.flatten(1), (x.flatten(1) - 0.5) @ self.weights.T


DELTA = np.array([30, 0, 0, 10, 0, 0])
PICTURES = np.random.default_rng(0).integers(80, 120, size=(50, 1, 2, 3)).astype(np.uint8)
CHANGE = np.where(np.arange(50) % 2, 1.0, -1.0)
TRUTH = (PICTURES + CHANGE[:, None, None, None] * DELTA.reshape(1, 2, 3)).astype(np.uint8)


def test_the_edit_that_is_the_truth():
    """A model that loses nothing: ES is 1. One that loses a tenth: the edit is as good as a reconstruction, CRE is 1."""
    found = against_truth(Linear(), DELTA / 255, PICTURES, TRUTH, CHANGE)
    assert (found.es, found.best_es) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    found = against_truth(Linear(0.9), DELTA / 255, PICTURES, TRUTH, CHANGE)
    assert found.cre == pytest.approx(1, abs=1e-5)
    assert found.cre_interval == pytest.approx((1, 1), abs=1e-5)
    assert found.es == pytest.approx(found.best_es)
    assert found.count == 50


def test_details_that_the_decoder_loses_stay_where_they_are_kept():
    """A decoder that draws nine tenths of the change leaves a hundredth of the error, however much of the picture it loses."""
    found = against_truth(Linear(0.9), DELTA / 255, PICTURES, TRUTH, CHANGE)
    assert found.es_details == pytest.approx(0.99, abs=1e-5)
    assert found.es_details_interval == pytest.approx((0.99, 0.99), abs=1e-5)
    assert found.es < 0.9
    same = edited(Linear(0.9), PICTURES, np.zeros(6), details=True)
    np.testing.assert_allclose(same, PICTURES / 255.0, atol=1e-6)
    bounds = edited(Linear(), PICTURES, np.full(6, 9.0), details=True)
    assert bounds.max() == 1


def test_the_edit_that_does_nothing():
    found = against_truth(Linear(0.9), np.zeros(6), PICTURES, TRUTH, CHANGE)
    assert (found.es, found.es_details) == (pytest.approx(0, abs=1e-7), pytest.approx(0, abs=1e-7))
    assert found.cre > 1


def test_half_the_edit_leaves_a_quarter_of_the_error():
    found = against_truth(Linear(), DELTA / 510, PICTURES, TRUTH, CHANGE)
    assert found.es == pytest.approx(0.75, abs=1e-5)
    low, high = found.es_interval
    assert low <= found.es <= high


def test_an_edit_in_a_wrong_direction_is_worse_than_none():
    assert against_truth(Linear(), -DELTA / 255, PICTURES, TRUTH, CHANGE).es == pytest.approx(-3, abs=1e-5)


def test_pictures_that_do_not_change_are_left_out():
    change = np.where(np.arange(50) < 10, CHANGE, 0)
    assert against_truth(Linear(), DELTA / 255, PICTURES, TRUTH, change).count == 10
    with pytest.raises(UsageError, match="None of the 50 pictures changes"):
        against_truth(Linear(), DELTA / 255, PICTURES, TRUTH, np.zeros(50))


WEIGHTS = np.array([[10.0, 0, 0, 0, 0, 0], [0, 10, 0, 0, 0, 0], [0, 0, 10, 0, 0, 0]])
SCALE = np.array([1.0, 2.0, 4.0])


def test_dependency_at_the_strength_that_reaches_the_goal():
    """Alpha moves logit 0 by 10 * 0.1 alpha / 1, logit 1 by 10 * 0.04 alpha / 2, logit 2 not at all."""
    mu, vector, sign = PICTURES.reshape(50, 6) / 255.0, np.array([0.1, 0.04, 0, 0, 0, 0]), CHANGE
    found = judged(Linear(), LinearJudge(WEIGHTS), SCALE, mu, vector, sign=sign, target=0)
    assert found is not None
    assert found.alpha == pytest.approx(GOAL, rel=1e-3)
    assert found.dependency == pytest.approx((0.2 * GOAL + 0) / 2 / GOAL, rel=1e-3)
    np.testing.assert_allclose(found.by_attribute, [GOAL, 0.2 * GOAL, 0], atol=1e-3)
    assert found.undone == pytest.approx(0, abs=1e-4)
    logits = sign * (mu[:, 0] - 0.5) * 10
    unchanged = logits < 0  # the judge sees the attribute changed already in the others
    assert 0 < unchanged.sum() < 50
    assert found.success == pytest.approx((logits[unchanged] + GOAL > 0).mean(), abs=0.03)


def test_dependency_is_that_at_the_goal_where_the_target_does_not_move_evenly():
    """Logit 0 is 60 times the square of pixel 0, 0.1 alpha: 1.5 where alpha is 1.5811, half way between two looked at."""

    class Curved(LinearJudge):
        def forward(self, x):
            features, logits = super().forward(x)
            return features, torch.cat([60 * features[:, :1].square(), logits[:, 1:]], 1)

    mu, vector, alpha = PICTURES.reshape(50, 6) / 255.0, np.array([0.1, 0.04, 0, 0, 0, 0]), (GOAL / 0.6) ** 0.5
    mu[:, 0] = 0
    found = judged(Linear(), Curved(WEIGHTS), SCALE, mu, vector, sign=np.ones(50), target=0)
    assert found is not None
    assert found.alpha == pytest.approx(alpha, rel=1e-3)
    assert found.by_attribute[0] == pytest.approx(GOAL, rel=2e-3)
    assert found.dependency == pytest.approx(0.2 * alpha / 2 / GOAL, rel=1e-3)


def test_an_attribute_without_others_depends_on_none():
    mu = PICTURES.reshape(50, 6) / 255.0
    found = judged(Linear(), LinearJudge(WEIGHTS[:1]), SCALE[:1], mu, np.array([0.1, 0.04, 0, 0, 0, 0]), sign=CHANGE, target=0)
    assert found is not None
    assert (found.dependency, found.flipped) == (0, 0)
    assert found.identity > 0


def test_what_is_linear_adds_up_and_what_is_not_does_not():
    """A judge that squares pixel 0: both at once are 2 * 0.1 * 0.2 more than one after the other."""
    mu, one, other = PICTURES.reshape(50, 6) / 255.0, np.zeros((50, 6)), np.zeros((50, 6))
    one[:, 0], other[:, 0] = 0.1, 0.2

    class Square(LinearJudge):
        def forward(self, x):
            return x.flatten(1), x.flatten(1)[:, :3].square()

    found = [interaction(Linear(), judge(WEIGHTS), 2 * SCALE, mu, (one, other), target=0) for judge in (LinearJudge, Square)]
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[1] == pytest.approx(0.04 / 2 / GOAL, rel=1e-3)


def test_a_table_of_edits_says_what_was_measured():
    assert rows_of_edits({"Hat": {"norm": 1.0}}) is None
    judged_edit = {"dependency": 0.2, "success": 0.9, "flipped": 0.1, "identity": 0.3, "undone": 0.01, "interaction": 0.05}
    edits = {"how": "a judge", "test": {"mean": judged_edit, "ridge": None}}
    (heads, *rows), how = rows_of_edits({"Hat": {"edits": edits}, "Male": {}})
    assert how == "a judge"
    assert all(len(row) == len(heads) for row in rows)
    assert rows[0][:3] == ("Hat", "mean", "0.200")
    assert rows[0][-1] == "0.05"
    assert rows[1][2] == "never gets there"
    true = {"es": 0.5, "es_interval": (0.4, 0.6), "es_details": 0.7, "es_details_interval": (0.6, 0.8), "cre": 1.2}
    (heads, row), _ = rows_of_edits({"Hat": {"edits": {"how": "", "test": {"mean": true}}}})
    assert row == ("Hat", "mean", "0.500 (0.400 to 0.600)", "0.700 (0.600 to 0.800)", "1.20")


def test_an_edit_that_never_gets_there():
    mu = PICTURES.reshape(50, 6) / 255.0
    assert judged(Linear(), LinearJudge(WEIGHTS), SCALE, mu, np.array([0, 0.01, 0, 0, 0, 0]), sign=CHANGE, target=0) is None


def test_the_strength_lies_between_those_looked_at():
    assert reached(lambda alpha: 3 * alpha) == pytest.approx(GOAL / 3, rel=2e-4)
    assert reached(lambda alpha: 20 * alpha) == pytest.approx(GOAL / 20, rel=2e-4)  # below the first
    assert reached(lambda alpha: 0.6 * alpha**2) == pytest.approx((GOAL / 0.6) ** 0.5, rel=2e-4)
    assert reached(lambda alpha: -alpha) is None


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_guided_vector_leaves_the_other_logits_alone(kind):
    """Logit 0 hears pixels 0 and 1, logit 1 pixel 1 alone: the way to move the first is along pixel 0.

    Codes and judges go where the model is, be it another type or another device, and the judges are asked there afterwards.
    """
    weights = np.array([[6.0, 6, 0, 0, 0, 0], [0, 6, 0, 0, 0, 0], [0, 0, 6, 0, 0, 0]])
    mu = np.random.default_rng(0).normal(0.5, 0.03, (500, 6))
    sign, start = np.where(np.arange(500) % 2, 1.0, -1.0), np.array([0.05, 0.05, 0.02, 0, 0, 0])
    model, judge = Linear().to(kind), LinearJudge(weights)
    found = weights @ guided(model, [(judge, np.full(3, 0.2, np.float32))], mu, sign, start, target=0)
    before = weights @ start
    assert found[0] > 0
    assert abs(found[1]) / found[0] < 0.2 < before[1] / before[0]
    assert abs(found[2]) / found[0] < 0.1
    assert judge.weights.dtype == kind
    assert seen(judge, PICTURES)[0].shape == (50, 3)


# The benchmark


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("edits")


def edits_of(*dependencies: float | None):
    return tuple(None if each is None else {"dependency": each} for each in dependencies)


def test_a_verdict_is_over_attributes_where_both_vectors_get_there(script):
    tests = {"Hat": edits_of(0.4, 0.2), "Male": edits_of(0.2, 0.18), "Young": edits_of(None, 9.0)}
    found = script.compared(tests, seed=0)
    assert found["dependency, ratio of means"]["value"] == pytest.approx(0.38 / 0.6)
    assert found["dependency, ratio of means"]["interval"] == pytest.approx((0.5, 0.9))  # one of the two alone, in pairs
    assert found["dependency, mean of ratios"]["value"] == pytest.approx(0.7)
    assert found["verdict"].startswith("met")
    assert "over 2 of 3 attributes; worse than the mean difference: none" in found["verdict"]


@pytest.mark.parametrize(
    ("tests", "verdict", "worse"),
    [
        ({"Hat": edits_of(0.4, 0.33)}, "missed", "none"),
        ({"Hat": edits_of(0.4, 0.1), "Male": edits_of(0.2, 0.21)}, "missed", "Male"),
        ({"Hat": edits_of(0.4, 0.1), "Male": edits_of(0.2, None)}, "missed", "Male"),
        ({"Hat": edits_of(0.4, 0.1), "Male": edits_of(0.1, 0.1)}, "met", "none"),
        ({"Hat": edits_of(0.0, 0.0)}, "none", "get there"),
        ({"Hat": edits_of(0.4, None)}, "none", "get there"),
    ],
)
def test_a_verdict_asks_for_a_fifth_less_and_for_none_that_is_worse(script, tests, verdict, worse):
    told = script.compared(tests, seed=0)["verdict"]
    assert told.startswith(verdict)
    assert told.endswith(worse)


def test_what_else_an_edit_moves_is_never_its_target(script):
    moves = {"Goatee": -1.6, "No_Beard": 1.5, "Mustache": -1.3, "Male": 0.2, "Young": 0.1}
    numbers = dict.fromkeys(("dependency", "alpha", "success", "flipped", "identity", "undone"), 0.5)
    assert script.row("No_Beard", "ridge", numbers | {"moves": moves}).endswith("| Goatee -1.60, Mustache -1.30, Male +0.20 |")


# Counterfactuals


def faces(count: int = 6, size: tuple[int, int] = (32, 32)):
    pixels, attributes, names = drawn_faces.draw_faces(count, size=32)
    about = {"source": "drawn-faces", "size": list(size), "crop": "center", "channels": 3, "attributes": None, "group": None}
    data = tiny.dataset(pixels=pixels)
    return replace(data, attributes=attributes, attribute_names=names, description=about | {"seed": 0, "splits": [0.8, 0.1, 0.1]})


def test_a_face_with_the_other_expression():
    data, rows = faces(), np.array([4, 1])
    found, change = counterfactuals(data, rows, "Smiling")
    assert data.attributes is not None
    np.testing.assert_array_equal(change, 1 - 2 * data.attributes[rows, 0])
    for row, picture in zip(rows, found, strict=True):
        np.testing.assert_array_equal(picture, drawn_faces.counterfactual(int(row), "Smiling", size=32))


def test_counterfactuals_have_the_shape_of_the_pictures():
    found, _ = counterfactuals(faces(size=(24, 32)), [0], "Eyeglasses")
    assert found.shape == (1, 3, 24, 32)


def test_a_shape_on_the_other_side():
    data = open_data("shapes", size=32)
    assert data.attributes is not None
    rows = np.array([3, 10, 500])
    found, change = counterfactuals(data, rows, "x")
    mirrored = data.attributes[rows].copy()
    mirrored[:, 3] = 1 - mirrored[:, 3]
    np.testing.assert_allclose(data.attributes[rows, 3] + change, mirrored[:, 3], atol=1e-6)
    again = drawn_shapes.render_shapes(drawn_shapes.factor_classes(mirrored))
    assert found.shape == (3, 1, 32, 32)
    assert np.abs(found.mean((1, 2, 3)) - again.mean((1, 2, 3))).max() < 2


def test_what_nobody_knows_is_told():
    with pytest.raises(UsageError, match="Of tiny nobody knows"):
        counterfactuals(tiny.dataset(), [0], "Smiling")
    with pytest.raises(UsageError, match="no attribute 'Grin'"):
        counterfactuals(faces(), [0], "Grin")


# Of a run


@pytest.fixture
def chosen(tmp_path, quick, monkeypatch):
    """Choose the best vectors of a run on pictures with these attributes, and of these splits; what is kept of them."""
    monkeypatch.setattr("vaekit.metrics.edits.STEPS", 3)

    def choose(columns: dict[str, np.ndarray], **splits: np.ndarray) -> dict:
        data = attributed(columns)
        data = replace(data, splits=data.splits | splits)
        run = start(tmp_path / "run", data, tiny.recipe(images=80))
        fit(run, data)
        choose_attributes(run, data, steps=10)
        return json.loads((run.path / "attributes.json").read_text(), parse_constant=pytest.fail)["attributes"]

    return choose


def attributed(columns: dict[str, np.ndarray]):
    values = np.stack(list(columns.values()), 1).astype(np.float32)
    return replace(tiny.dataset(), attributes=values, attribute_names=tuple(columns))


BRIGHT = (tiny.dataset().pixels.max((1, 2, 3)) > 200).astype(float)


def test_the_choice_of_vectors_says_how_far_it_is_and_refuses_unknown_names_first(tmp_path):
    data = attributed({"bright": BRIGHT, "left": (np.arange(len(BRIGHT)) % 2).astype(float)})
    run = start(tmp_path / "run", data, tiny.recipe(images=80))
    fit(run, data)
    seen_ = []
    with pytest.raises(UsageError, match="No vector for 'brigth'"):
        choose_attributes(run, data, ["brigth"], steps=10, progress=lambda *_: seen_.append(0))
    assert not seen_
    choose_attributes(run, data, steps=10, progress=lambda done, of: seen_.append((done, of)))
    done, totals = zip(*seen_, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert 0.3 * totals[0] < done[-1] < totals[0]


def test_the_best_vector_of_a_single_attribute(chosen):
    about = chosen({"Bright": BRIGHT})["Bright"]
    assert about["method"] == about["edits"]["best"]
    assert about["edits"]["how"].endswith("on test")


def test_an_attribute_of_which_held_out_pictures_say_nothing(chosen):
    """Of one nothing is known beyond training, of another nothing in the test split."""
    train, tested = np.arange(40) < 30, np.arange(40) >= 35
    about = chosen(
        {"Bright": BRIGHT, "Early": np.where(train, np.arange(40) % 2, np.nan), "Seen": np.where(tested, np.nan, BRIGHT)}
    )
    early, seen_ = about["Early"]["edits"], about["Seen"]["edits"]
    assert not any([*early["validation"].values(), *early["test"].values()])
    assert "no test picture tells of Seen" in seen_["how"]
    assert about["Early"]["method"] == "mean"


def test_edits_without_a_test_split_are_scored_where_they_were_chosen(chosen):
    about = chosen({"Bright": BRIGHT}, validation=np.arange(30, 40), test=np.arange(0))
    assert "on validation" in about["Bright"]["edits"]["how"]


def test_edits_are_not_chosen_on_a_single_picture(chosen):
    with pytest.raises(UsageError, match="it takes 2 or more"):
        chosen({"Bright": BRIGHT}, validation=np.arange(30, 31), test=np.arange(31, 40))


def test_vectors_are_those_of_pixels_as_the_model_saw_them_and_of_so_many_codes_at_most(tmp_path, quick, monkeypatch):
    data = attributed({"Bright": BRIGHT})
    made = tiny.recipe(make=lambda: tiny.model(likelihood=BernoulliPixels()), images=80, binarize="dynamic")
    run = start(tmp_path / "run", data, made)
    fit(run, data)
    compute_attributes(run, data)
    rows = data.splits["train"]
    mu, has = codes(run.load_model("cpu"), run.as_measured(data).pixels, rows).mu, BRIGHT[rows]
    expected = mu[has == 1].mean(0) - mu[has == 0].mean(0)
    np.testing.assert_allclose(run.load_attributes()[0]["Bright"], expected, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(sys.modules["vaekit.metrics.evaluate"], "MOST_FITTED", 24)  # a function of that name hides it
    assert compute_attributes(run, data)["images"] == 24
    assert bench(run, data, (), 0).mu.shape == (24, 3)
