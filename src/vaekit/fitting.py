"""Carry out a training in a run folder: log, validate, save, resume, survive.

start(run, data, recipe) writes run.json;  fit(run, data) trains from there, or goes on from the last snapshot.
"""

import contextlib
import importlib.metadata
import math
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from . import execution as running
from . import tuner, world
from .batches import Batches, fits
from .data import Dataset, binarized
from .data.quarantine import printable
from .errors import DataError, Diverged, Stopped, UsageError
from .execution import Execution
from .library import build, describe
from .model import VAE
from .objectives import Objective
from .recipes import Recipe
from .run import Follower, Run
from .state import State
from .train import NonFinite, Step, calibrate, train, validate
from .training import Training
from .trials import Estimate, best_batch, estimate, peak_memory, trial
from .tuner import Choice

LOG_EVERY = 50  # steps
SNAPSHOT_SECONDS = 60.0
VALIDATIONS = 10  # at least, spread over the budget, where no interval is given
CALIBRATION = 1024  # training images that the averaged weights' own statistics are taken from
DISTRIBUTIONS = ("vaekit", "torch", "numpy", "pillow", "safetensors", "scikit-learn")


class Watcher(Protocol):
    """Whoever wants to see a training go by: the progress bar, a logger, the studio."""

    def started(self, run: Run, training: Training, state: State, choice: Choice, needs: Estimate) -> None: ...

    def logged(self, record: dict[str, Any], fraction: float) -> None: ...

    def said(self, message: str) -> None: ...


class Silent:
    """Watches nothing."""

    def started(self, run: Run, training: Training, state: State, choice: Choice, needs: Estimate) -> None: ...

    def logged(self, record: dict[str, Any], fraction: float) -> None: ...

    def said(self, message: str) -> None: ...


def start(path: str | Path, data: Dataset, recipe: Recipe, command: str = "") -> Run:
    """A run folder whose run.json has all that is needed to do the training, or to do it again.

    Raises UsageError where the folder already holds another training, DataError where there is nothing to train on.
    """
    run, planned = Run(path), plan(data, recipe)
    if world.agree(run.exists):
        check_same(run, planned)
    elif world.here.first:
        run.describe(planned | provenance(command))
    world.meet()
    return run


def plan(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What is to be trained, and how: the part of run.json that decides the result."""
    rows = data.splits["train"]
    if len(rows) < 2 or not len(data.splits["validation"]):
        counts = {name: len(split) for name, split in data.splits.items()}
        raise DataError(f"{data.name} has {counts} pictures; training needs 2 or more, and 1 to validate. Add pictures.")
    recipe.training.epoch = len(rows)
    return {
        "data": {"open": data.description, "name": data.name, "digest": data.digest, "image": list(data.image)},
        "model": describe(recipe.model),
        "objective": describe(recipe.objective),
        "training": describe(recipe.training),
    }


def find_unfinished(root: Path, planned: dict[str, Any]) -> Run | None:
    """The newest run under `root` that began with the same plan and has not come to its end."""
    found: list[tuple[str, Run]] = []
    for path in root.glob("*/run.json"):
        run = Run(path.parent)
        with contextlib.suppress(DataError):  # another program's, or another version's: not ours to go on with
            about = run.description
            if about["status"] not in ("finished", "diverged") and all(about[key] == value for key, value in planned.items()):
                found.append((about["created"], run))
    return max(found, key=lambda item: item[0])[1] if found else None


def check_same(run: Run, planned: dict[str, Any]) -> None:
    """A run folder holds one training: the same command goes on with it, another one must not."""
    old = run.description
    for key, value in planned.items():
        if old[key] != value:
            parts = (old[key], value)
            changed = sorted({name for part in parts for name in part if parts[0].get(name) != parts[1].get(name)})
            told = f"{run.path} already holds another training: its {key} differs in {', '.join(changed)}."
            if old["status"] == "finished":
                raise UsageError(f"{told} It is finished. Train into another folder.")
            raise UsageError(f"{told} Train into another folder, or go on with it as it was: vaekit resume {run.path}")


def provenance(command: str) -> dict[str, Any]:
    """Where and with what a run was made."""
    return {
        "command": command,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {name: importlib.metadata.version(name) for name in DISTRIBUTIONS} | {"python": platform.python_version()},
        "commit": commit_of(Path(__file__).parent),
        "machine": {"platform": platform.platform(), "processors": running.available_threads()},
        "status": "new",
    }


def commit_of(folder: Path) -> str | None:
    """The commit of a source checkout, None for an installed package."""
    try:
        asked = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return asked.stdout.strip() or None


def fit(
    run: Run,
    data: Dataset,
    watcher: Watcher | None = None,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    shard: bool = False,
) -> None:
    """Train what run.json describes until its budget is spent, from the last snapshot where there is one.

    Under torchrun every process calls it: they take each step together, and the first one writes. `shard`: each of them holds
    only a piece of weights, moments and averages. The steps, and what is written, are the same.

    Raises Stopped (130 after SIGINT, 75 after SIGTERM) with everything saved, Diverged after a second non-finite step, DataError
    when the data are not those that the run began with, UsageError when there is nothing to shard among, VaekitError when
    another process writes into the folder.
    """
    run = run if world.here.first else Follower(run.path)
    with run.lock(), signals() as caught:
        Fitting(run, data, watcher or Silent(), snapshot_seconds, caught, shard=shard).finish()


class Fitting:
    """One sitting of a training."""

    def __init__(
        self, run: Run, data: Dataset, watcher: Watcher, snapshot_seconds: float, caught: list[int], *, shard: bool = False
    ):
        self.run, self.data, self.watcher, self.snapshot_seconds, self.caught = run, data, watcher, snapshot_seconds, caught
        description = run.description
        if data.digest != description["data"]["digest"]:
            raise DataError(
                f"{run.path} was begun on data with digest {description['data']['digest'][:12]}, these have {data.digest[:12]}. "
                "Restore the pictures as they were, or train into another folder."
            )
        self.training: Training = build(description["training"])
        self.training.batch_size = self.training.batch_size or description.get("batch_size", 0)
        if shard:
            running.check_sharding(self.training)
        self.measured = binarized(data) if self.training.binarize else data  # what validations see
        torch.manual_seed(self.training.seed)
        model: VAE = build(description["model"])
        objective: Objective = build(description["objective"])
        device = running.find_device(description["execution"]["device"] if "execution" in description else self.training.device)
        self.state = State.start(model, objective, self.training, device, shard)
        rows = data.splits["train"]
        windowed = world.agree(description.get("windowed", not fits(data.pixels, rows, device)))
        self.batches = Batches(
            data.pixels, rows, self.training.batch_size or world.here.size, self.training.seed, device, windowed=windowed
        )
        choice, memory = self.choose(description)
        self.execution = choice.execution
        self.execution.apply(self.state.model, self.state.average)
        snapshot = run.load_state()
        world.meet()  # before the first process writes the next one
        if snapshot:
            self.state.restore(*snapshot)
            run.rewind_log(self.state.notes["log_size"])
            self.tally = Tally(**self.state.notes["tally"])
        else:
            self.state.notes |= {"best": None, "stale": 0, "validated": 0, "retries": 0, "finished": False}
            self.tally = Tally()
            self.save()
        needs = estimate(self.state.model, self.training, choice.speed, memory)
        watcher.started(run, self.training, self.state, choice, needs)

    def choose(self, description: dict[str, Any]) -> tuple[Choice, int]:
        """How to run a step, as the run began, so that it can go on with the same bits, else the fastest way; and its memory."""
        state, training, batches = self.state, self.training, self.batches
        if "execution" in description:
            plain = {"layout": "contiguous", "compile": "off"} if state.sharded else {}
            known = Execution(**description["execution"] | {"device": batches.device} | plain)
            memory = description.get("memory") or peak_memory(batches.device)
            return Choice(known, description["speed"], description["gain"], remembered=True), memory
        training.batch_size = training.batch_size or best_batch(state, training, batches)
        about = [description["model"], description["objective"]]
        convolves = any(weight.dim() == 4 for weight in state.model.parameters())
        tried = trial(state, training, batches)
        share = batches.size // world.here.size
        found = tuner.choose(
            training, tried, share, about=about, convolves=convolves, sharded=state.sharded, say=self.watcher.said
        )
        speed = sum(world.gathered(found.speed))  # images per second, of all processes
        agreed = world.agree(found.execution.describe()) | {"threads": found.execution.threads}
        choice = replace(found, execution=Execution(**agreed | {"device": found.execution.device}), speed=speed)
        memory = max(world.gathered(peak_memory(batches.device)))  # of the trial's steps, which are those of the training
        chosen = {"execution": agreed, "speed": round(speed, 1), "gain": round(found.gain, 2), "memory": memory}
        kept = {"windowed": batches.windowed, "batch_size": training.batch_size, "status": "running"}
        self.run.describe(description | chosen | kept)
        return choice, memory

    def finish(self) -> None:
        """Train to the end of the budget; on a non-finite step, once more from the last snapshot at half the rate."""
        if not self.state.notes["finished"]:
            self.mark("running")
        with world.prompt():
            while not self.state.notes["finished"]:
                try:
                    self.go_on()
                except NonFinite as error:
                    self.roll_back(error)
        self.mark("finished")

    def go_on(self) -> None:
        state, run = self.state, self.run
        saved = state.seconds  # the same in all processes, which may all be needed to save
        interval, passed = self.training.validation_interval, self.training.fraction(state.images, state.seconds)
        steps = train(state, self.batches, self.training, self.execution)
        if self.training.threads is None and not self.training.deterministic and self.execution.device.type == "cpu":
            most = running.available_threads()
            steps = tuner.Attention(self.execution.threads, most, self.watcher.said).watch(steps)
        for step in steps:
            self.tally.add(step)
            if step.number % LOG_EVERY == 0 or step.number == 1:
                self.log("train", self.tally.flush(), step.fraction, learning_rate=step.learning_rate)
            due = state.images // interval > (state.images - self.batches.size) // interval
            if self.training.validate_every is None:
                due = due or int(VALIDATIONS * step.fraction) > int(VALIDATIONS * passed)
            passed = step.fraction
            if due:
                self.validate(step.fraction)
                saved = -math.inf
                if self.training.patience is not None and state.notes["stale"] >= self.training.patience:
                    self.watcher.said(f"No better validation loss in {state.notes['stale']} validations: stopped early.")
                    break
            if world.some(bool(self.caught)):
                self.save()
                self.stop()  # after the snapshot: what it does leaves no trace in the training
            if state.seconds - saved >= self.snapshot_seconds:
                self.save()
                saved = state.seconds
        if state.notes.get("validated") != state.step:
            self.validate(1.0)
        run.save_weights(state.average, last=True, images=state.images)
        state.notes["finished"] = True
        self.save()

    def validate(self, fraction: float) -> None:
        """Measure the averaged weights; keep them where their loss is the best so far."""
        state, seed = self.state, self.training.seed
        rows, own = self.data.splits["validation"], self.data.some("train", CALIBRATION, seed)
        state.averaged(calibrate, state.average, self.pixels_of(own), len(own), seed)
        checked = state.average, state.objective, self.pixels_of(rows), len(rows), seed
        values = state.together(state.averaged, validate, *checked)
        if not all(math.isfinite(value) for value in values.values()):
            self.mark("diverged")
            bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            raise Diverged(f"Validation after {state.images:,} images gives a non-finite {bad}. Try a smaller --learning-rate.")
        self.log("validation", values, fraction)
        state.notes |= {"validated": state.step, "retries": 0}
        best = state.notes["best"]
        if best is None or values["loss"] < best:
            state.notes |= {"best": values["loss"], "stale": 0}
            self.run.save_weights(state.average, images=state.images, validation=values)
        else:
            state.notes["stale"] += 1

    def pixels_of(self, rows: np.ndarray) -> Callable[[slice], Tensor]:
        def pixels(part: slice) -> Tensor:
            return torch.from_numpy(self.measured.take(rows[part])).to(self.execution.device)

        return pixels

    def log(self, split: str, values: dict[str, float], fraction: float, **more: float) -> None:
        state = self.state
        record = {
            "split": split,
            "step": state.step,
            "images": state.images,
            "seconds": round(state.seconds, 2),
            **values,
            **more,
        }
        self.run.append(record)
        self.watcher.logged(record, fraction)

    def save(self) -> None:
        self.state.notes |= {"log_size": self.run.sync_log(), "tally": self.tally.describe()}
        self.run.save_state(self.state.tensors(), self.state.position())

    def stop(self) -> None:
        number = next(number for caught in world.gathered(self.caught) for number in caught)
        self.mark("stopped")
        if self.state.notes["best"] is None:  # something to look at; the first validation will replace it
            own = self.data.some("train", CALIBRATION, self.training.seed)
            self.state.averaged(calibrate, self.state.average, self.pixels_of(own), len(own), self.training.seed)
            self.run.save_weights(self.state.average, images=self.state.images)
        code = 130 if number == signal.SIGINT else 75
        raise Stopped(f"Stopped after {self.state.images:,} images, all saved. Go on: vaekit resume {self.run.path}", code)

    def mark(self, status: str) -> None:
        self.run.describe({**self.run.description, "status": status})

    def roll_back(self, error: NonFinite) -> None:
        rows = np.concatenate(world.gathered(error.batch.rows))
        files = [printable(self.data.files[int(row)]) for row in rows]
        about = {"step": error.step, "where": error.where, "files": files, "rate_scale": self.state.rate_scale}
        kept = self.run.save_diverged({"pixels": torch.from_numpy(self.data.take(rows))}, about)
        told = f"{error} The batch is in {kept}, its first files: {', '.join(files[:3])}."
        snapshot = self.run.load_state()
        world.meet()  # before the first process writes the next one
        if self.state.notes["retries"] or snapshot is None:
            self.mark("diverged")
            raise Diverged(
                f"{told} It happened again at half the learning rate. Try a smaller --learning-rate or --precision fp32."
            )
        self.state.restore(*snapshot)
        self.state.notes["retries"] += 1
        self.state.rate_scale *= 0.5
        self.run.rewind_log(self.state.notes["log_size"])
        self.tally = Tally(**self.state.notes["tally"])
        self.save()
        self.watcher.said(f"{told} Rolled back to {self.state.images:,} images; trying once more at half the rate.")


class Tally:
    """Means of what steps computed since the last line of the log, summed on the device, and the speed since then."""

    def __init__(self, count: int = 0, names: list[str] | None = None, sums: list[float] | None = None, images: int = 0):
        self.count, self.names, self.images = count, names or [], images
        self.sums = torch.tensor(sums or 0.0)  # fp32, as the steps are: a resumed log has the same digits
        self.steps: list[Step] = []  # that are not in the sums yet
        self.began, self.before = time.monotonic(), images

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def flush(self) -> dict[str, float]:
        """The means and images per second; starts again from nothing."""
        self.sum_up()
        means = dict(zip(self.names, (self.sums / self.count).tolist(), strict=True))
        speed = (self.images - self.before) / max(time.monotonic() - self.began, 1e-9)
        self.__init__(images=self.images)
        return means | {"images_per_second": round(speed, 1)}

    def sum_up(self) -> None:
        for step in self.steps:
            self.sums = self.sums.to(step.tensor.device) + step.tensor
            self.count, self.names, self.images = self.count + 1, list(step.names), step.images
        self.steps.clear()

    def describe(self) -> dict[str, Any]:
        self.sum_up()
        return {
            "count": self.count,
            "names": self.names,
            "sums": self.sums.tolist() if self.count else None,
            "images": self.images,
        }


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step; a second Ctrl-C interrupts at once."""
    caught: list[int] = []

    def catch(number: int, _frame: object) -> None:
        if number in caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever owns it decides
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
