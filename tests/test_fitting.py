"""Whole trainings in a run folder: what stops, goes on, fails and says so."""

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from breaking import CrackedEncoder, Ray, hit_model
from tiny import dataset, pictures, recipe, training
from vaekit.errors import DataError, Diverged, UsageError, VaekitError
from vaekit.finish import measure
from vaekit.fitting import Silent, fit
from vaekit.likelihoods import FixedGaussian
from vaekit.objectives import ELBO, Classic, FactorVAE
from vaekit.part import build, describe
from vaekit.planning import start
from vaekit.run import Run
from vaekit.stored import Stored
from vaekit.train import picture, validate

pytestmark = pytest.mark.usefixtures("quick")


class Notes(Silent):
    """Keeps what it hears, and acts when a training line has been logged."""

    def __init__(self, act=lambda step: None):
        self.heard, self.messages, self.act = [], [], act

    def logged(self, record, fraction):
        self.heard.append((record["split"], record["step"], fraction))
        if record["split"] == "train":
            self.act(record["step"])

    def said(self, message):
        self.messages.append(message)


def content(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[dict]]:
    """All that must not depend on how often a run was stopped."""
    clocks = ("seconds", "images_per_second")
    records = [{name: value for name, value in record.items() if name not in clocks} for record in run.records]
    best, last = (Stored(run.path / f"weights{suffix}.safetensors") for suffix in ("", "-last"))
    return best, last, records


def same(a: Run, b: Run) -> None:
    for mine, yours in zip(content(a)[:2], content(b)[:2], strict=True):
        assert mine.keys() == yours.keys()
        assert [name for name in mine if not torch.equal(mine[name], yours[name])] == []
    assert content(a)[2] == content(b)[2]


LONG = {"images": 160, "validate_every": 48, "flip": True}


@pytest.fixture
def undisturbed(tmp_path) -> Run:
    run = start(tmp_path / "undisturbed", dataset(), recipe(**LONG))
    fit(run, dataset())
    return run


def test_a_training_leaves_a_run_folder(undisturbed):
    run, data = undisturbed, dataset()
    assert run.description["status"] == "finished"
    train_lines = [record for record in run.records if record["split"] == "train"]
    assert [record["step"] for record in train_lines] == list(range(1, 21))
    assert {
        "loss",
        "loss/rate",
        "distortion",
        "rate",
        "elbo",
        "gradient_norm",
        "learning_rate",
        "images_per_second",
    } < train_lines[0].keys()
    checks = [record for record in run.records if record["split"] == "validation"]
    assert [record["images"] for record in checks] == [48, 96, 144, 160]
    assert all(math.isfinite(record["elbo"]) and math.isfinite(record["mse"]) for record in checks)
    best, last = run.load_model(), run.load_model(last=True)
    assert best.encode(picture(torch.from_numpy(data.pixels[:2]))).mean.shape == (2, 3)
    assert last.likelihood.sigma < 0.5
    assert not list(run.path.rglob("*.tmp*"))
    assert {".json", ".jsonl", ".safetensors", ""} >= {path.suffix for path in run.path.rglob("*") if path.is_file()}


def test_the_best_weights_are_those_of_the_best_validation(undisturbed):
    checks = [record for record in undisturbed.records if record["split"] == "validation"]
    best = min(checks, key=lambda record: record["loss"])
    metadata = Stored(undisturbed.path / "weights.safetensors").metadata
    assert json.loads(metadata["notes"])["images"] == best["images"]
    rows = dataset().splits["validation"]
    pixels = torch.from_numpy(dataset().take(rows))
    again = validate(undisturbed.load_model(), ELBO(), lambda part: pixels[part], len(rows), 0)
    assert {name: best[name] for name in again} == again


def test_a_budget_that_ends_with_a_validation_validates_once(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=48, validate_every=24))
    fit(run, dataset())
    assert [record["images"] for record in run.records if record["split"] == "validation"] == [24, 48]


def test_a_finished_run_stays_as_it_is(undisturbed):
    before = content(undisturbed)
    notes = Notes()
    fit(undisturbed, dataset(), notes)
    assert notes.heard == []
    assert content(undisturbed)[2] == before[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_run_stopped_by_a_signal_goes_on_with_the_same_bits(number, code, undisturbed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import tiny\n"
        "from vaekit.errors import Stopped\n"
        "from vaekit import fitting\n"
        "from vaekit.fitting import Silent, fit\n"
        "from vaekit.planning import start\n"
        "fitting.LOG_EVERY = 1\n"
        "class Told(Silent):\n"
        "    def logged(self, record, fraction):\n"
        "        if record['split'] == 'train' and record['step'] == 7:\n"
        "            print('seven', flush=True)\n"
        "            sys.stdin.readline()\n"
        f"run = start(sys.argv[1], tiny.dataset(), tiny.recipe(**{LONG!r}))\n"
        "try:\n"
        "    fit(run, tiny.dataset(), Told())\n"
        "except Stopped as stop:\n"
        "    print(stop)\n"
        "    sys.exit(stop.code)\n"
    )
    path = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout.readline() == "seven\n"
    os.kill(process.pid, number)
    said, _ = process.communicate("go on\n")
    assert process.returncode == code
    assert "Stopped after 56 images, all saved. Go on: vaekit resume" in said
    run = Run.open(path)
    assert run.description["status"] == "stopped"

    seen = set()
    fit(run, dataset(), Notes(lambda step: seen.add(run.description["status"])))
    assert seen == {"running"}
    same(run, undisturbed)


@pytest.mark.parametrize("step", [1, 6, 7, 13, 20])
def test_a_run_that_crashed_goes_on_from_its_snapshot_with_the_same_bits(step, undisturbed, tmp_path):
    def crash(number: int) -> None:
        if number == step:
            raise OSError("no space left")

    run = start(tmp_path / "crashed", dataset(), recipe(**LONG))
    with pytest.raises(OSError, match="no space left"):
        fit(run, dataset(), Notes(crash))  # the only snapshots are the first and those after a better validation
    fit(run, dataset())
    same(run, undisturbed)


def test_a_snapshot_between_two_lines_of_the_log_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.fitting.LOG_EVERY", 4)  # a line is the mean of steps 5 to 8, the snapshot is after step 6

    def crash(number: int) -> None:
        if number == 8:
            raise OSError("no space left")

    straight, crashed = (start(tmp_path / name, dataset(), recipe(**LONG)) for name in ("straight", "crashed"))
    fit(straight, dataset())
    with pytest.raises(OSError, match="no space left"):
        fit(crashed, dataset(), Notes(crash))
    fit(crashed, dataset())
    same(crashed, straight)


def test_a_run_that_takes_no_step_any_more_ends_and_says_why(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=8 * 200, skip_above=1e-9))
    with pytest.raises(Diverged, match=r"50 steps in a row were skipped.*larger --skip-above"):
        fit(run, dataset())
    assert run.description["status"] == "diverged"
    assert run.records[-1]["skipped"] == 1


def test_an_objective_that_learns_is_measured_with_what_it_learned(tmp_path):
    """The best weights and the critic of that moment: the loss that the log said then."""
    data = dataset()
    run = start(tmp_path / "run", data, recipe(FactorVAE(latent=3, width=8, depth=1), images=160, learning_rate=1e-2))
    fit(run, data)
    logged = [record["loss"] for record in run.records if record["split"] == "validation"][-1]  # losses do not compare: the last
    assert measure(run, data, "validation")["loss"]["value"] == pytest.approx(logged, rel=1e-6)
    learned = run.load_objective(last=True).state_dict()
    assert learned.keys() == FactorVAE(latent=3, width=8, depth=1).state_dict().keys()
    saved, _ = run.load_state()
    assert all(torch.equal(value, saved[f"objective.{name}"]) for name, value in learned.items())


@pytest.mark.usefixtures("too_big")
def test_a_run_too_big_for_the_device_has_the_same_bits(undisturbed, tmp_path):
    run = start(tmp_path / "streamed", dataset(), recipe(**LONG))
    fit(run, dataset())
    same(run, undisturbed)


def test_patience_ends_a_run_that_no_longer_gets_better(tmp_path):
    make = lambda: tiny.model(likelihood=FixedGaussian())  # noqa: E731 - an optimal sigma would still move
    settings = recipe(make=make, images=10_000, validate_every=8, patience=3, learning_rate=1e-30)
    run, notes = start(tmp_path / "run", dataset(), settings), Notes()
    fit(run, dataset(), notes)
    assert run.description["status"] == "finished"
    assert [record["images"] for record in run.records if record["split"] == "validation"] == [8, 16, 24, 32]
    assert any("stopped early" in message for message in notes.messages)
    assert (run.path / "weights-last.safetensors").exists()


def test_away_from_the_main_thread_signals_are_left_alone(tmp_path):
    run, errors = start(tmp_path / "run", dataset(), recipe(images=16)), []

    def work() -> None:
        try:
            fit(run, dataset())
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
    assert run.description["status"] == "finished"


def test_the_description_alone_makes_the_training_again(undisturbed, tmp_path):
    described = undisturbed.description
    again = start(
        tmp_path / "again",
        dataset(),
        type(recipe(images=1))(build(described["model"]), build(described["objective"]), build(described["training"])),
    )
    fit(again, dataset())
    assert describe(build(described["training"])) == described["training"]
    same(again, undisturbed)


# Divergence


def test_one_bad_step_is_rolled_back_and_retried_at_half_the_rate(tmp_path, monkeypatch):
    run = start(tmp_path / "run", dataset(), recipe(images=160, validate_every=48, make=hit_model))
    seen = []

    def hit_the_step_after_the_ninth(step: int) -> None:
        seen.append(step)
        if seen.count(9) == 1 and step == 9:
            monkeypatch.setattr(Ray, "hits_left", 2)  # the step, and the look at what went wrong

    notes = Notes(hit_the_step_after_the_ninth)
    fit(run, dataset(), notes)
    assert run.description["status"] == "finished"
    assert seen == [*range(1, 10), *range(7, 21)]  # back to the snapshot after the validation at step 6
    (message,) = [message for message in notes.messages if "half the rate" in message]
    assert "Step 9" in message
    assert "decoder.ray" in message
    assert [record["step"] for record in run.records if record["split"] == "train"] == list(range(1, 21))  # the log too
    rates = {record["step"]: record["learning_rate"] for record in run.records if record["split"] == "train"}
    settings = training(images=160)
    assert rates[6] == pytest.approx(settings.rate_at(40, 40 / 160))
    assert rates[9] == pytest.approx(settings.rate_at(64, 64 / 160) / 2)
    assert list((run.path / "diverged").glob("*.json"))


def test_a_picture_that_breaks_the_model_ends_the_run_and_is_named(tmp_path):
    pixels = pictures(40)
    pixels[:, 0, 0, 0] = 0
    pixels[11, 0, 0, 0] = 255
    data = dataset(pixels=pixels)
    make = lambda: tiny.model(encoder=CrackedEncoder(image=(1, 8, 8), features=16, depth=1))  # noqa: E731
    run, notes = start(tmp_path / "run", data, recipe(images=400, make=make)), Notes()
    with pytest.raises(Diverged, match=r"encoder\.crack.*again at half the learning rate") as caught:
        fit(run, data, notes)
    assert caught.value.code == 4
    assert run.description["status"] == "diverged"
    assert sum("half the rate" in message for message in notes.messages) == 1
    (about,) = (json.loads(path.read_text()) for path in (run.path / "diverged").glob("*.json"))
    assert "000011" in about["files"]
    (kept,) = (Stored(path)["pixels"] for path in (run.path / "diverged").glob("*.safetensors"))
    np.testing.assert_array_equal(kept.numpy(), pixels[[int(name) for name in about["files"]]])
    model = run.load_state()[0]
    assert all(torch.isfinite(t).all() for t in model.values())


# Folders


def test_two_trainings_may_not_write_into_one_folder(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=16))
    for begin in (lambda: fit(run, dataset()), lambda: start(run.path, dataset(), recipe(images=32))):
        with Run(run.path).lock(), pytest.raises(VaekitError, match=rf"being written by process {os.getpid()}"):
            begin()
    fit(run, dataset())
    with run.lock():  # let go of afterwards
        pass


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: (dataset(), recipe(images=16, learning_rate=0.5)), "training differs in learning_rate"),
        (lambda: (dataset(), recipe(images=17, seed=3)), "training differs in images, seed, and a budget is fixed"),
        (lambda: (dataset(), recipe(Classic(), images=16)), "objective differs in .*part"),
        (lambda: (dataset(), recipe(images=16, make=lambda: tiny.model(latent=2))), "model differs in decoder, posterior, prior"),
        (lambda: (dataset(digest="b" * 64), recipe(images=16)), "pictures were others"),
        (
            lambda: (dataclasses.replace(dataset(), description={"source": "tiny", "crop": "pad"}), recipe(images=16)),
            "data were opened with another crop",
        ),
    ],
)
def test_another_training_in_the_same_folder_is_refused(other, words, tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=16))
    before = (run.path / "run.json").read_bytes()
    assert start(run.path, dataset(), recipe(images=16)).path == run.path
    with pytest.raises(UsageError, match=rf"already holds another training: its {words}"):
        start(run.path, *other())
    assert (run.path / "run.json").read_bytes() == before


def test_a_run_does_not_go_on_with_other_pictures(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=16))
    with pytest.raises(DataError, match="begun on data with digest aaaaaaaaaaaa, these have bbbbbbbbbbbb"):
        fit(run, dataset(digest="b" * 64))


def test_too_few_pictures_are_refused(tmp_path):
    data = dataset()
    for train, validation, test, words in (
        (1, 1, 1, r"3 pictures \(train 1, validation 1, test 1\)\..* 2 in train, which has 1: 4 or more in all"),
        (1, 2, 0, "2 in train, which has 1: 4 or more in all"),
        (3, 0, 0, "1 in validation, which has 0: 4 or more in all"),
        (0, 0, 5, "2 in train, which has 0 and 1 in validation, which has 0: 8 or more"),
    ):
        ends = np.cumsum([train, validation, test])
        splits = dict(zip(data.splits, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
        with pytest.raises(DataError, match=words):
            start(tmp_path / "run", dataclasses.replace(data, splits=splits), recipe(images=16))
    assert not (tmp_path / "run").exists()


def test_validations_leave_a_budget_in_minutes_to_training(tmp_path, monkeypatch):
    """Each takes a thousand seconds here, so the second one is the last: what was trained is measured in any case."""
    ticks = itertools.count(step=1000)
    monkeypatch.setattr("vaekit.world.clock", lambda: next(ticks))
    run = start(tmp_path / "run", dataset(), recipe(images=None, minutes=0.02, deterministic=False, validate_every=None))
    fit(run, dataset())
    assert sum(record["split"] == "validation" for record in run.records) == 2
