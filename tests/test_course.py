"""What the log of a training tells the doctor, at its end and while it goes on."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from vaekit.cli.progress import Bar
from vaekit.doctor import course, examine, signs_of_trouble
from vaekit.doctor.course import Course
from vaekit.fitting import fit
from vaekit.planning import start

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("norms", "explodes"),
    [
        ([1.0] * 90 + [500.0] * 10, True),
        ([1.0] * 90 + [50.0] * 10, False),
        ([1.0] * 99 + [1e9], False),  # a single spike
        ([5e3] * 10 + [1.0] * 90, False),  # at first alone
        ([1.0, 1.0, 500.0, 500.0], False),  # too few lines to judge by
        ([0.0] * 20 + [np.nan], False),
    ],
)
def test_gradients_explode_where_late_ones_are_far_above_the_usual(norms, explodes):
    exam = SimpleNamespace(run=SimpleNamespace(records=[{"split": "train", "gradient_norm": norm} for norm in norms]))
    assert (course.exploding_gradients(exam) is not None) == explodes


@pytest.mark.parametrize(("status", "name"), [("diverged", "diverged"), ("finished", "recovered"), ("running", "recovered")])
def test_a_batch_that_was_no_number_is_no_end(status, name, tmp_path):
    run = SimpleNamespace(path=tmp_path, description={"status": status}, records=[], weights_digest="")
    exam = SimpleNamespace(run=run)
    assert course.recovered(exam) is None
    (tmp_path / "diverged").mkdir()
    (tmp_path / "diverged" / "step-0000007.json").touch()
    (found,) = filter(None, (course.diverged(exam), course.recovered(exam)))
    assert found.name == name
    assert "1 batch with a loss that is no number" in found.measured


def lines(losses: list[float], rate: float = 5.0, skipped: float = 0.0) -> list[dict]:
    """A log with these validation losses."""
    each = [({"split": "train", "skipped": skipped}, {"split": "validation", "loss": loss, "rate": rate}) for loss in losses]
    return [line for pair in each for line in pair]


@pytest.mark.parametrize(
    ("log", "names"),
    [
        (lines([9, 5, 4, 3]), []),
        (lines([9, 5, 4, 4.5]), ["overfit"]),
        (lines([4, 5, 6, 7]), ["overfit"]),
        (lines([9, 4, 4, 4.002]), []),
        (lines([9, 5, 4, 3], rate=0.1), ["collapsed"]),
        (lines([9, 5, 4, 3], skipped=0.1), ["diverged"]),
        (lines([9], rate=0.1), []),
        ([], []),
    ],
)
def test_a_log_tells_of_trouble_while_it_goes_on(log, names):
    found = signs_of_trouble(log, 0.5)
    assert [finding.name for finding in found] == names
    assert all(all(finding) for finding in found)


def test_codes_may_be_on_their_way_at_first_and_some_losses_do_not_compare():
    assert not signs_of_trouble(lines([9, 8, 7], rate=0.1), 0.1)
    assert not signs_of_trouble(lines([4, 5, 6, 7]), 0.1)
    assert not signs_of_trouble(lines([9, 5, 4, 4.5]), 0.5, comparable=False)


def training(*lines: tuple[float, float], split: str = "train") -> list[dict]:
    """Lines of a log with these losses and rates; what is not rate is distortion."""
    return [{"split": split, "loss": loss, "distortion": loss - rate, "rate": rate} for loss, rate in lines]


WELL = [(40.0, 1.0), (20.0, 5.0), (-5.0, 9.0), (-30.0, 14.0)]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (training(*WELL), None),
        (training(*WELL, (9e9, 9e9)), None),  # a single spike, which the next steps forget
        (training(*WELL[:2], (90, 70), (99, 75), (95, 74)), "ended at a loss of 95 with a rate of 74 nats"),
        (training((40, 1), (4.7e14, 4.7e14)), "ended at a loss of 4.7e+14 with a rate of 4.7e+14 nats"),
        (training(*WELL) + training((3600, 3540), split="validation"), "came in validation to a loss of 3.6e+03"),
        (training(*WELL) + training((300, 20), split="validation"), None),  # as pictures that training never saw may
        (training((1, 1), (9, 2), (9, 2), (9, 2)), None),  # of a loss about 0 a few times more is not much
        ([its | {"loss": 300 * its["rate"] + 40} for its in training(*WELL)], None),  # a weight that rises
        ([its | {"loss": 25.0} for its in training((40, 1), (9e3, 9e3), (9e3, 9e3), (9e3, 9e3))], None),  # one that is small
        (training((40, 1), (math.nan, math.nan)), None),  # of which others tell
        (training(*WELL, split="validation"), None),
        ([], None),
    ],
)
def test_a_loss_that_ends_above_its_beginning_has_blown_up(log, told):
    found = Course(log).rose()
    assert (found is None) if told is None else (found.name == "diverged" and told in found.measured)
    assert found is None or "lower --learning-rate" in found.mend


def test_losses_that_do_not_compare_have_blown_up_where_the_bound_is_out_of_all_proportion():
    critic = [its | {"loss": 3 * its["loss"]} for its in training((40, 1), (90, 60), (99, 65), (95, 64))]
    assert Course(critic).rose() is not None
    assert Course(critic).rose(comparable=False) is None
    assert Course(training((40, 1), (4e3, 4e3))).rose(comparable=False) is not None


def test_a_training_that_blew_up_is_told_that_and_nothing_that_follows_from_it(tmp_path, capsys):
    """Neither overfit, nor underfit, nor anything about its codes, whose mends would contradict each other."""
    data = tiny.dataset()
    run = start(tmp_path / "run", data, tiny.recipe(images=640, learning_rate=50.0, validate_every=80))
    with Bar() as bar:
        fit(run, data, bar)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("doctor: ")]
    assert [line.split(":")[1].strip() for line in told] == ["diverged"]
    assert "--learning-rate" in told[0]
    findings, signs = examine(run, data)
    assert [finding.name for finding in findings] == ["diverged"]
    assert all(np.isfinite(sign.value) for sign in signs.values())
