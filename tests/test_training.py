"""Batches, steps, and whole trainings in a run folder: what stops, goes on, fails and says so."""

import dataclasses
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import CPU, dataset, pictures, recipe, training

from vaekit.batches import Batches, mix
from vaekit.errors import DataError, Diverged, Stopped, UsageError, VaekitError
from vaekit.estimate import COPIES, estimate
from vaekit.execution import Execution, choose, find_device
from vaekit.fitting import Silent, fit, signals, start
from vaekit.likelihoods import FixedGaussian
from vaekit.nets import MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO, Classic, Objective, Reconstruction
from vaekit.part import build, describe
from vaekit.run import Run, load_tensors, next_path
from vaekit.schedules import Linear
from vaekit.train import NonFinite, State, picture, train, validate
from vaekit.training import Training

FP32 = Execution(CPU)


@pytest.fixture(autouse=True)
def process_as_it_was():
    """A fit sets what torch keeps per process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(autouse=True)
def no_timing(monkeypatch):
    """One repeat is enough where nothing hangs on the speed, and every step is logged."""
    monkeypatch.setattr(importlib.import_module("vaekit.execution"), "SECONDS_EACH", 1e-9)
    monkeypatch.setattr(importlib.import_module("vaekit.fitting"), "LOG_EVERY", 1)


# Batches


def all_rows(batches: Batches, first: int, steps: int) -> list[np.ndarray]:
    return [batches.at(step).rows for step in range(first, first + steps)]


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 3))
def test_an_epoch_visits_every_image_once(count, size, seed):
    rows = np.arange(100, 100 + count)
    batches = Batches(np.zeros((200, 1, 1, 1), np.uint8), rows, size, seed, CPU)
    assert batches.size == min(size, count)
    for epoch in range(2):
        seen = np.concatenate(all_rows(batches, epoch * batches.per_epoch, batches.per_epoch))
        assert len(set(seen)) == len(seen) > count - batches.size  # a rest too small for a batch waits for the next epoch
        assert set(seen) <= set(rows)


def test_a_batch_is_a_function_of_seed_and_step():
    pixels = pictures(30)
    rows = np.arange(0, 30, 2)
    one, other = (Batches(pixels, rows, 4, seed, CPU) for seed in (0, 1))
    forwards = all_rows(one, 0, 9)
    backwards = [one.at(step).rows for step in reversed(range(9))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(forwards, all_rows(other, 0, 9), strict=True))
    assert not np.array_equal(forwards[0], one.at(one.per_epoch).rows)  # the next epoch has another order
    batch = one.at(5)
    assert batch.pixels.dtype == torch.uint8
    np.testing.assert_array_equal(batch.pixels.numpy(), pixels[batch.rows])


def gatherers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vaekit-gather"]


@pytest.fixture
def too_big(monkeypatch):
    """No image may stay on the device."""
    monkeypatch.setattr(importlib.import_module("vaekit.batches"), "SHARE_OF_MEMORY", 0.0)


def test_images_gathered_by_the_thread_are_those_that_would_have_been_resident(monkeypatch, tmp_path):
    np.save(tmp_path / "pixels.npy", pictures(21))
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = np.arange(3, 21)
    at_hand = Batches(pixels, rows, 4, 0, CPU)
    assert at_hand.resident is not None
    monkeypatch.setattr(importlib.import_module("vaekit.batches"), "SHARE_OF_MEMORY", 0.0)
    fetched = Batches(pixels, rows, 4, 0, CPU)
    assert fetched.resident is None
    here, there = at_hand.since(3), fetched.since(3)
    for _ in range(10):
        a, b = next(here), next(there)
        assert np.array_equal(a.rows, b.rows)
        assert torch.equal(a.pixels, b.pixels)
    assert len(gatherers()) == 1
    there.close()
    assert not gatherers()


@pytest.mark.usefixtures("too_big")
def test_an_error_while_gathering_surfaces_where_the_batch_is_asked_for():
    class Disk:
        shape = (12, 1, 2, 2)
        reads = 0

        def __getitem__(self, rows):
            self.reads += 1
            if self.reads > 2:
                raise OSError("the disk has gone")
            return np.zeros((len(rows), 1, 2, 2), np.uint8)

    stream = Batches(Disk(), np.arange(12), 4, 0, CPU).since(0)
    next(stream), next(stream)
    with pytest.raises(OSError, match="the disk has gone"):
        next(stream)
    assert not gatherers()


@pytest.mark.usefixtures("too_big")
def test_a_training_that_ends_leaves_no_thread_behind():
    state, settings = tiny.state(images=24)
    steps = list(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))
    assert [step.number for step in steps] == [1, 2, 3]
    assert not gatherers()


def test_mixed_seeds_have_no_neighbours():
    seeds = {mix(seed, step) for seed in range(20) for step in range(20)}
    assert len(seeds) == 400
    assert mix(1, 2) != mix(2, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


# Settings


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({}, "has no end"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": math.inf}, "epochs is inf"),
        ({"images": -5}, "images is -5"),
        ({"epochs": 1, "batch_size": 0}, "batch_size is 0"),
        ({"epochs": 1, "learning_rate": math.nan}, "learning_rate is nan"),
        ({"epochs": 1, "precision": "fp16"}, "'fp16'; choose one of auto, fp32, bf16"),
        ({"epochs": 1, "compile": "yes"}, "choose one of auto, on, off"),
        ({"minutes": 1, "deterministic": True}, "cannot be deterministic"),
    ],
)
def test_settings_that_cannot_be_are_refused(given_, words):
    with pytest.raises(UsageError, match=words):
        Training(**given_)


def test_the_budget_reached_first_ends_the_run():
    both = Training(epochs=2, minutes=1, epoch=100)
    assert both.fraction(100, 0) == 0.5
    assert both.fraction(100, 45) == 0.75
    assert Training(images=50, epochs=1, epoch=100).fraction(50, 0) == 1


def test_the_rate_warms_up_and_decays_to_a_hundredth():
    settings = Training(images=10_000, warmup=1000, batch_size=100, learning_rate=1.0)
    assert settings.rate_at(0, 0) == pytest.approx(0.1)
    assert settings.rate_at(900, 0) == pytest.approx(1.0)
    assert settings.rate_at(5000, 0.5) == pytest.approx(0.505)
    assert settings.rate_at(10_000, 1) == settings.rate_at(10_000, 1.2) == pytest.approx(0.01)


def test_the_average_forgets_half_in_a_half_life():
    settings = Training(images=1, half_life=1000)
    assert settings.keep(1000, 10**9) == pytest.approx(0.5)
    assert settings.keep(250, 10**9) ** 4 == pytest.approx(0.5)
    assert settings.keep(100, 100) < 1e-5  # at first it is the model itself
    assert Training(images=1, half_life=0).keep(8, 8) == 0


def test_a_validation_interval_is_an_epoch_of_at_least_ten_thousand():
    assert Training(epochs=1, epoch=60_000).validation_interval == 60_000
    assert Training(epochs=1, epoch=500).validation_interval == 10_000
    assert Training(epochs=1, epoch=500, validate_every=64).validation_interval == 64


# Steps


def test_a_step_reports_what_it_did():
    state, settings = tiny.state(images=32)
    steps = list(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))
    assert [step.images for step in steps] == [8, 16, 24, 32]
    assert steps[-1].fraction == 1
    assert steps[0].learning_rate < steps[1].learning_rate  # warm-up
    values = steps[0].values
    assert values.keys() == {"loss", "loss/distortion", "loss/rate", "distortion", "rate", "elbo", "gradient_norm"}
    assert values["loss"] == pytest.approx(values["loss/distortion"] + values["loss/rate"])
    assert values["elbo"] == pytest.approx(-values["distortion"] - values["rate"])


def test_epochs_need_no_word_from_whoever_calls_train():
    state, settings = tiny.state(images=None, epochs=2.0, epoch=0)
    assert len(list(train(state, Batches(pictures(16), np.arange(16), 8, 0, CPU), settings, FP32))) == 4


def test_the_average_follows_the_weights_and_takes_the_buffers():
    state, settings = tiny.state(images=400)
    begun = {name: t.clone() for name, t in state.average.state_dict().items()}
    list(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))
    assert not state.average.training
    for name, mean in state.average.state_dict().items():
        live = state.model.state_dict()[name]
        if name.startswith("likelihood."):
            assert torch.equal(mean, live)
        elif live.dim() > 1:
            assert 0 < (mean - live).norm() < (begun[name] - live).norm()


def test_mirrored_pictures_are_mirrored_whole_and_about_half_of_them():
    pixels = torch.arange(2000 * 6, dtype=torch.float32).remainder(251).to(torch.uint8).reshape(2000, 1, 2, 3)
    torch.manual_seed(0)
    found, plain = picture(pixels, flip=True), picture(pixels)
    mirrored = (found == plain.flip(-1)).flatten(1).all(1)
    assert ((found == plain).flatten(1).all(1) | mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6
    assert plain.max() <= 1


class Chosen(Objective):
    """A test objective that is `bad` once `images` have been seen."""

    images: float = 16
    bad: str = "nan"

    def __post_init__(self):
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, t, at):
        terms = ELBO()(t, at)
        if at.images < self.images:
            return terms
        if self.bad == "gradient":
            return terms | {"odd": (0 * t.groups[0].z.sum()).sqrt().expand(len(t.x))}
        if self.bad == "own gradient":
            return terms | {"odd": self.weight.sqrt().expand(len(t.x))}
        return terms | {"odd": terms["rate"] * math.nan}


class CrackedEncoder(MLPEncoder):
    """A test encoder in which one layer fails at pictures whose first pixel is white."""

    def __post_init__(self):
        super().__post_init__()
        self.crack = Crack()

    def forward(self, x):
        return self.crack(super().forward(x), x)


class Crack(torch.nn.Module):
    def forward(self, h, x):
        return h.where(x[:, :1, 0, 0] < 1, math.nan)


@pytest.mark.parametrize("bad", ["nan", "gradient", "own gradient"])
def test_a_non_finite_step_is_named_and_not_taken(bad):
    state, settings = tiny.state(make=lambda: (tiny.model(), Chosen(bad=bad)))
    steps = train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32)
    next(steps), next(steps)
    before = {name: t.clone() for name, t in state.tensors().items()}
    with pytest.raises(NonFinite) as caught:
        next(steps)
    named = {"nan": "non-finite term: loss/odd", "gradient": "its gradient is not", "own gradient": "its gradient is not"}
    assert named[bad] in caught.value.where
    assert caught.value.step == state.step == 2
    assert all(torch.equal(t, before[name]) for name, t in state.tensors().items())
    assert caught.value.batch.pixels.shape == (8, 1, 8, 8)


def test_a_non_finite_layer_is_named():
    white = pictures(20)
    white[:, 0, 0, 0] = 255
    make = lambda: (tiny.model(encoder=CrackedEncoder(image=(1, 8, 8), features=16, depth=1)), ELBO())  # noqa: E731
    state, settings = tiny.state(make=make)
    with pytest.raises(NonFinite, match=r"loss/distortion.*first non-finite layer: encoder\.crack"):
        next(train(state, Batches(white, np.arange(20), 8, 0, CPU), settings, FP32))


def test_a_layer_is_named_where_the_weights_themselves_are_gone():
    state, settings = tiny.state()
    with torch.no_grad():
        state.model.decoder.last.bias[0] = math.nan
    with pytest.raises(NonFinite, match=r"layer: decoder\.last"):
        next(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))


# Validation


def test_a_validation_measures_one_thing_whatever_is_optimised():
    torch.manual_seed(0)
    model = tiny.model().eval()
    pixels = torch.from_numpy(pictures(300))  # more than a validation batch
    objectives = (ELBO(), ELBO(beta=Linear(images=100, end=4.0)), Classic(), Reconstruction())
    found = [validate(model, objective, lambda part: pixels[part], 300, seed=7) for objective in objectives]
    for name in ("distortion", "rate", "elbo", "mse"):
        assert len({values[name] for values in found}) == 1
    assert found[1]["loss"] == pytest.approx(found[1]["distortion"] + 4 * found[1]["rate"], rel=1e-5)  # at its final weight
    assert found[0]["loss"] != found[3]["loss"]
    whole = model(picture(pixels)).px.mean[0]
    assert found[0]["mse"] == pytest.approx((whole - picture(pixels)).square().mean().item(), rel=0.05)


def test_a_validation_leaves_the_generator_as_it_was():
    model, pixels = tiny.model().eval(), torch.from_numpy(pictures(10))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    validate(model, ELBO(), lambda part: pixels[part], 10)
    assert torch.equal(torch.rand(4), expected)


# Execution and estimate


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="'gpu' cannot be used"):
        find_device("gpu")
    assert find_device("cpu") == CPU


def test_nothing_is_chosen_by_the_clock_in_deterministic_mode():
    ran = []

    def step(execution: Execution):
        return lambda: ran.append(execution)

    chosen, speed = choose(training(images=10, precision="auto", compile="auto"), step, 8)
    assert set(ran) == {chosen} == {Execution(CPU, "fp32", False, 1, True)}
    assert speed > 0


def test_the_fastest_precision_is_chosen():
    clock = {"fp32": 3, "bf16": 1}

    def step(execution: Execution):
        rounds = clock[execution.precision]
        return lambda: [threading.Event().wait(0.01) for _ in range(rounds)]

    open_choice = training(images=10, precision="auto", deterministic=False)
    assert choose(open_choice, step, 8)[0].precision == "bf16"
    clock.update(fp32=1, bf16=3)
    assert choose(open_choice, step, 8)[0].precision == "fp32"


def test_the_estimate_counts():
    state, settings = tiny.state(images=1000)
    batches = Batches(pictures(20), np.arange(20), 8, 0, CPU)
    needs = estimate(state.model, state.objective, settings, batches, speed=50.0)
    weights = sum(p.numel() for p in state.model.parameters())
    assert needs.parameters == weights
    assert needs.seconds == pytest.approx(20)
    assert needs.memory > COPIES * 4 * weights + batches.resident.numel()
    smaller = estimate(state.model, state.objective, training(images=1000), Batches(pictures(20), np.arange(20), 2, 0, CPU), 50.0)
    assert smaller.memory < needs.memory


# Whole trainings


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
    best, last = (load_tensors(run.path / f"weights{suffix}.safetensors")[0] for suffix in ("", "-last"))
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
    assert {"loss", "loss/rate", "distortion", "rate", "elbo", "gradient_norm", "learning_rate", "images_per_second"} < train_lines[0].keys()
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
    _, metadata = load_tensors(undisturbed.path / "weights.safetensors")
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
        "import importlib, sys\n"
        "import tiny\n"
        "from vaekit.errors import Stopped\n"
        "from vaekit.fitting import Silent, fit, start\n"
        "importlib.import_module('vaekit.fitting').LOG_EVERY = 1\n"
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
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
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
        fit(run, dataset(), Notes(crash))  # the only snapshots are the first and those after a validation
    fit(run, dataset())
    same(run, undisturbed)


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


def test_a_second_ctrl_c_interrupts_at_once_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with signals() as caught:
        signal.raise_signal(signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


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


# Divergence


class Ray(torch.nn.Module):
    """Fails once for every hit that is left, while training."""

    hits_left: ClassVar[int] = 0

    def forward(self, h):
        if not (self.training and Ray.hits_left):
            return h
        Ray.hits_left -= 1
        return h * math.nan


class HitDecoder(MLPDecoder):
    """A test decoder that a cosmic ray can hit."""

    def __post_init__(self):
        super().__post_init__()
        self.ray = Ray()

    def forward(self, z):
        return self.ray(super().forward(z))


def hit_model():
    return tiny.model(decoder=HitDecoder(image=(1, 8, 8), latent=3, width=16, depth=1))


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
    (kept,) = (load_tensors(path)[0]["pixels"] for path in (run.path / "diverged").glob("*.safetensors"))
    np.testing.assert_array_equal(kept.numpy(), pixels[[int(name) for name in about["files"]]])
    model = run.load_state()[0]
    assert all(torch.isfinite(t).all() for t in model.values())


# Folders


def test_two_trainings_may_not_write_into_one_folder(tmp_path):
    run = start(tmp_path / "run", dataset(), recipe(images=16))
    with Run(run.path).lock(), pytest.raises(VaekitError, match=rf"being written by process {os.getpid()}"):
        fit(run, dataset())
    fit(run, dataset())
    with run.lock():  # let go of afterwards
        pass


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: (dataset(), recipe(images=16, learning_rate=0.5)), "training differs in learning_rate"),
        (lambda: (dataset(), recipe(images=17, seed=3)), "training differs in images, seed"),
        (lambda: (dataset(), recipe(Classic(), images=16)), "objective differs in .*part"),
        (lambda: (dataset(), recipe(images=16, make=lambda: tiny.model(latent=2))), "model differs in decoder, posterior, prior"),
        (lambda: (dataset(digest="b" * 64), recipe(images=16)), "data differs in digest"),
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
    for splits in ({"train": np.arange(1), "validation": np.arange(1, 3)}, {"train": np.arange(3), "validation": np.arange(0)}):
        with pytest.raises(DataError, match="training needs 2 or more, and 1 to validate"):
            start(tmp_path / "run", dataclasses.replace(data, splits=splits | {"test": np.arange(0)}), recipe(images=16))
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_nothing_yet_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"no run\.json.*vaekit train"):
        Run.open(tmp_path / "none")
    run = start(tmp_path / "0001-tiny", dataset(), recipe(images=16))
    with pytest.raises(UsageError, match=r"Runs beside it: 0001-tiny"):
        Run.open(tmp_path / "0002-tiny")
    with pytest.raises(UsageError, match=r"no weights\.safetensors yet"):
        run.load_model()
    with pytest.raises(UsageError, match="no attribute vectors yet"):
        run.load_attributes()
    assert next_path(tmp_path, "my pictures!").name == "0002-my-pictures"


def test_damaged_files_are_named(undisturbed):
    weights = undisturbed.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"weights\.safetensors is damaged"):
        undisturbed.load_model()
    undisturbed.save_weights(tiny.model(latent=2))
    with pytest.raises(DataError, match="does not belong to"):
        undisturbed.load_model()
    (undisturbed.path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json cannot be read"):
        undisturbed.load_model()
    (undisturbed.path / "run.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="run format 99"):
        undisturbed.load_model()


def test_a_last_line_cut_off_by_a_crash_is_left_out(undisturbed):
    lines = len(undisturbed.records)
    with open(undisturbed.path / "log.jsonl", "a") as file:
        file.write('{"split": "tra')
    assert len(undisturbed.records) == lines


def test_what_was_measured_is_added_up(tmp_path):
    run = Run(tmp_path)
    assert run.metrics == {}
    run.add_metrics({"mse": {"value": 0.1, "unit": "1"}})
    run.add_metrics({"elbo": {"value": -3.0, "unit": "nats"}})
    assert run.metrics.keys() == {"mse", "elbo"}
    run.save_attributes({"Smiling": torch.arange(3.0)}, {"Smiling": {"norm": 1.0}})
    vectors, about = run.load_attributes()
    assert torch.equal(vectors["Smiling"], torch.arange(3.0))
    assert about["Smiling"]["norm"] == 1.0


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


def test_restoring_a_state_leaves_the_source_alone():
    state, settings = tiny.state()
    steps = train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32)
    next(steps)
    stored, position = {name: t.clone() for name, t in state.tensors().items()}, json.loads(json.dumps(state.position()))
    twin, _ = tiny.state(seed=1)
    twin.restore(stored, position)
    next(train(twin, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))
    assert all(torch.equal(t, state.tensors()[name]) for name, t in stored.items())


def test_the_position_is_plain_json():
    state, _ = tiny.state()
    assert isinstance(state, State)
    assert json.loads(json.dumps(state.position(), allow_nan=False)) == state.position()
    assert Stopped("", 130).code == 130
