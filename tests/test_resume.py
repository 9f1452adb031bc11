"""A run that goes on: on another machine than it began on, from snapshots that are few, and past a step that failed."""

import numpy as np
import pytest
import torch

import tiny
from breaking import CrackedEncoder
from test_fitting import LONG, Notes
from tiny import CPU, dataset, pictures, recipe
from vaekit.errors import Diverged, UsageError
from vaekit.execution import Execution, as_it_was, find_device
from vaekit.fitting import fit
from vaekit.likelihoods import FixedGaussian
from vaekit.planning import start
from vaekit.run import Run
from vaekit.training import Training

pytestmark = pytest.mark.usefixtures("quick")
GONE = "cuda:99"


@pytest.fixture
def bare(monkeypatch):
    """A machine with two processors and no compiler."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("given", "threads", "compile"),
    [
        ({}, 2, "off"),
        ({"threads": 8}, 8, "off"),
        ({"compile": "whole"}, 2, "whole"),
        ({"threads": 8, "compile": "whole"}, 8, "whole"),
        ({"deterministic": True}, 8, "whole"),
    ],
)
def test_a_run_takes_what_this_machine_has_unless_it_was_asked_for(given, threads, compile):
    before, heard = Execution(CPU, threads=8, compile="whole"), []
    now = as_it_was(before, Training(images=8, **given), heard.append)
    assert (now.threads, now.compile) == (threads, compile)
    assert len(heard) == (now != before)
    assert all("its bits may differ" in line for line in heard)


def moved(run: Run, **change) -> Run:
    """The run crashes at its seventh step, and finds itself on a machine unlike the one that its steps ran on."""

    def crash(step: int) -> None:
        if step == 7:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fit(run, dataset(), Notes(crash))
    about = run.description
    run.describe(about | {"execution": about["execution"] | change})
    return run


@pytest.mark.usefixtures("bare")
def test_a_run_goes_on_without_the_compiler_and_the_processors_that_it_had(tmp_path):
    settings = recipe(**LONG, deterministic=False, threads=None, compile="auto")
    run = moved(start(tmp_path / "run", dataset(), settings), threads=8, compile="whole")
    used = set()
    notes = Notes(lambda step: used.add(torch.get_num_threads()))
    fit(run, dataset(), notes)
    (told,) = notes.messages
    assert told == "Here the run goes on with threads 2 instead of 8, compile off instead of whole: its bits may differ."
    assert used == {2}
    assert run.description["status"] == "finished"


def test_a_run_whose_device_is_gone_goes_on_where_it_can(tmp_path):
    settings = recipe(**LONG, deterministic=False, device="auto")
    run, notes = moved(start(tmp_path / "run", dataset(), settings), device=GONE, threads=3), Notes()
    fit(run, dataset(), notes)
    here = str(find_device("auto"))
    assert notes.messages[0] == f"The run began on {GONE}, which is not here. It goes on on {here}: its bits may differ."
    about = run.description
    assert (about["status"], about["execution"]["device"], about["execution"]["threads"]) == ("finished", here, 1)
    assert [record["step"] for record in run.records if record["split"] == "train"] == list(range(1, 21))


@pytest.mark.parametrize(
    ("asked", "given"), [("--deterministic", {"device": "auto"}), ("--device cpu", {"deterministic": False})]
)
def test_a_device_that_was_asked_for_is_not_replaced(asked, given, tmp_path):
    run = moved(start(tmp_path / "run", dataset(), recipe(**LONG, **given)), device=GONE)
    with pytest.raises(UsageError, match=rf"began on {GONE} with {asked}, and .*another folder") as caught:
        fit(run, dataset())
    assert "Try --device" not in str(caught.value)  # no option of `vaekit resume`


def test_a_finished_run_stays_what_it_was_on_a_machine_without_its_device(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=16))
    fit(run, dataset())
    about = run.description
    run.describe(about | {"execution": about["execution"] | {"device": GONE, "threads": 8}})
    before, notes = run.description, Notes()
    fit(run, dataset(), notes)
    assert run.description == before
    assert notes.messages == notes.heard == []


# Snapshots


def still(**parts):
    """A model whose validations have one loss as long as its weights stay as they are."""
    return tiny.model(likelihood=FixedGaussian(), **parts)


def test_a_snapshot_follows_a_better_validation_and_no_other(tmp_path, monkeypatch):
    saved, save = [], Run.save_state

    def noted(run: Run, tensors, position) -> None:
        saved.append(position["step"])
        save(run, tensors, position)

    monkeypatch.setattr(Run, "save_state", noted)
    run = start(tmp_path / "run", dataset(), recipe(make=still, images=80, validate_every=8, learning_rate=1e-30))
    fit(run, dataset())
    assert sum(record["split"] == "validation" for record in run.records) == 10
    assert saved == [0, 1, 10]


def test_a_step_that_fails_again_after_validations_without_a_snapshot_ends_the_run(tmp_path):
    """Rolled back behind them, they pass once more; that must not count as having come further."""
    pixels = pictures(80)
    pixels[:, 0, 0, 0] = 0
    fifth = np.random.default_rng([0, 0]).permutation(60)[4 * 8 : 5 * 8]  # rows of the fifth batch
    pixels[fifth[0], 0, 0, 0] = 255
    data, seen = dataset(pixels=pixels), []

    def count(step: int) -> None:
        seen.append(step)
        assert len(seen) < 50, "rolled back without end"

    make = lambda: still(encoder=CrackedEncoder(image=(1, 8, 8), features=16, depth=1))  # noqa: E731
    run = start(tmp_path / "run", data, recipe(make=make, images=400, validate_every=8, learning_rate=1e-30))
    notes = Notes(count)
    with pytest.raises(Diverged, match=r"Step 4: .*again at half the learning rate"):
        fit(run, data, notes)
    assert seen == [1, 2, 3, 4, 2, 3, 4]  # back to the snapshot after the first validation, which was the best
    assert sum("half the rate" in message for message in notes.messages) == 1


def test_what_validations_write_counts_as_their_time(tmp_path, monkeypatch):
    """Of a budget in minutes they take a tenth: here writing takes all of it, so the next one is the last."""
    now, save = [0.0], Run.save_weights

    def slow(run: Run, *given, **notes) -> None:
        now[0] += 1000
        save(run, *given, **notes)

    monkeypatch.setattr("vaekit.world.clock", lambda: now[0])
    monkeypatch.setattr(Run, "save_weights", slow)
    run = start(tmp_path / "run", dataset(), recipe(images=None, minutes=0.02, deterministic=False, validate_every=None))
    fit(run, dataset())
    assert sum(record["split"] == "validation" for record in run.records) == 2
