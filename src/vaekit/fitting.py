"""Carry out a training in a run folder: log, validate, save, resume, survive.

start(run, data, recipe) of `planning.py` writes run.json;  fit(run, data) trains from there, or goes on from the last snapshot.
"""

import contextlib
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from . import execution as running
from . import tuner, world
from .batches import Batches, fits
from .data import Dataset, trained_on
from .data.quarantine import printable
from .errors import DataError, Diverged, Stopped
from .execution import Execution
from .known import known_of, revisited, told_of
from .model import Model
from .objectives import Objective
from .run import Follower, Run
from .state import State
from .step import Seen
from .tally import Tally
from .train import NonFinite, Step, calibrate, train, validate
from .training import Training
from .trials import Estimate, best_batch, estimate, peak_memory, rehearse, trial
from .tuner import Choice, attended

LOG_EVERY = 50  # steps
MOST_SKIPPED = 50  # steps in a row
SNAPSHOT_SECONDS = 60.0
VALIDATIONS = 10  # at least, spread over the budget, where no interval is given
SHARE_OF_VALIDATIONS = 0.1  # of the time, that they may take from a budget in minutes
CALIBRATION = 1024  # training images that the averaged weights' own statistics are taken from


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


def fit(
    run: Run,
    data: Dataset,
    watcher: Watcher | None = None,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    shard: bool = False,
) -> None:
    """Train what run.json describes until its budget is spent, from the last snapshot where there is one.

    `watcher` hears what goes by; a snapshot is taken every `snapshot_seconds`, and at the end. Under torchrun every process
    calls it: they take each step together, and the first one writes. `shard`: each of them holds only a piece of weights,
    moments and averages. The steps, and what is written, are the same.

    Raises Stopped (130 after SIGINT, 75 after SIGTERM) with everything saved; Diverged after a second non-finite step, a
    non-finite validation, or MOST_SKIPPED steps in a row that were left out; DataError when the data are not those that the run
    began with, or files of its folder are damaged; UsageError when there is nothing to shard among; VaekitError when another
    process writes into the folder.
    """
    run = run if world.here.first else Follower(run.path)
    if run.description.get("status") == "finished" and not run.snapshot.exists():
        return  # somebody made room: what was trained is there, and needs it no more
    with run.lock(), running.flushed(), signals() as caught:
        run.forget_kept()
        fitting = Fitting(run, data, watcher or Silent(), snapshot_seconds, caught, shard=shard)
        fitting.begin(*fitting.choose())
        fitting.finish()


class Fitting:
    """One sitting of a training. `beside`: that of a training on the same pictures, which are then held once for both."""

    def __init__(
        self,
        run: Run,
        data: Dataset,
        watcher: Watcher,
        snapshot_seconds: float,
        caught: list[int],
        *,
        shard: bool = False,
        beside: "Fitting | None" = None,
    ):
        self.run, self.data, self.watcher, self.snapshot_seconds, self.caught = run, data, watcher, snapshot_seconds, caught
        description = run.description
        if data.digest != description["data"]["digest"]:
            raise DataError(
                f"{run.path} was begun on data with digest {description['data']['digest'][:12]}, these have {data.digest[:12]}. "
                "Restore the pictures as they were, or train into another folder."
            )
        self.training: Training = run.build("training")
        self.description = description = running.where_it_was(description, self.training, watcher.said)
        self.training.batch_size = self.training.batch_size or description.get("batch_size", 0)
        self.measured = run.as_measured(data)  # what validations see
        torch.manual_seed(self.training.seed)
        model: Model = run.build("model")
        objective: Objective = run.build("objective")
        run.begin(model=model, objective=objective)
        self.known = known_of(data, model)
        self.training.known = int(told_of(self.known[data.splits["train"]]).sum())
        if shard:
            running.check_sharding(self.training, objective)
        device = running.find_device(description["execution"]["device"] if "execution" in description else self.training.device)
        self.state = State.start(model, objective, self.training, device, shard)
        if beside:
            self.training.batch_size = beside.training.batch_size
            self.batches = beside.batches.reseeded(self.training.seed)
            return
        rows, pixels = revisited(data.splits["train"], self.known, objective), trained_on(data, self.training.binarize).pixels
        windowed = world.agree(description.get("windowed", not fits(pixels, rows, device)))
        size, seed = self.training.batch_size or world.here.size, self.training.seed
        self.batches = Batches(pixels, rows, size, seed, device, windowed=windowed, known=self.known)
        self.training.batch_size = self.training.batch_size or best_batch(self.state, self.training, self.batches)

    def choose(self) -> tuple[Choice, int]:
        """How to run a step, as the run began, so that it can go on with the same bits, else the fastest way; and its memory."""
        return self.remembered() or self.keep(*self.find())

    def remembered(self) -> tuple[Choice, int] | None:
        if "execution" not in self.description:
            return None
        plain = {"layout": "contiguous", "compile": "off"} if self.state.sharded else {}
        try:
            known = Execution(**self.description["execution"] | {"device": self.batches.device} | plain)
            if self.description.get("status") != "finished":  # else it takes no step any more
                known = running.as_it_was(known, self.training, self.watcher.said)
        except TypeError as error:
            raise DataError(f"{self.run.path / 'run.json'}: {error}. Restore it from a copy, or train again.") from error
        memory = self.description.get("memory") or peak_memory(known.device)
        return Choice(known, self.description["speed"], self.description["gain"], remembered=True), memory

    def find(self) -> tuple[Choice, int]:
        """The fastest way to run a step, the same in every process, and the most memory that one of them took."""
        found = tuner.choose(
            self.training,
            trial(self.state, self.training, self.batches),
            self.batches.size // world.here.size,
            about=[self.description["model"], self.description["objective"]],
            convolves=any(weight.dim() == 4 for weight in self.state.model.parameters()),
            sharded=self.state.sharded,
            say=self.watcher.said,
        )
        agreed = world.agree(found.execution.describe()) | {"threads": found.execution.threads}
        speed = sum(world.gathered(found.speed))  # images per second, of all processes
        choice = replace(found, execution=Execution(**agreed | {"device": found.execution.device}), speed=speed)
        rows = self.data.splits["validation"]
        rehearse(self.state, self.training, choice.execution, self.seen_of(rows), len(rows))
        return choice, max(world.gathered(peak_memory(self.batches.device)))  # of all that was tried, which is what will be done

    def keep(self, choice: Choice, memory: int, **more: Any) -> tuple[Choice, int]:
        """Write down how steps run from now on."""
        chosen = {"execution": choice.execution.describe(), "speed": round(choice.speed, 1), "gain": round(choice.gain, 2)}
        kept = {"windowed": self.batches.windowed, "batch_size": self.training.batch_size, "status": "running"}
        self.run.describe(self.description | chosen | kept | {"memory": memory} | more)
        return choice, memory

    def begin(self, choice: Choice, memory: int, runs: int = 1) -> None:
        """Take up the last snapshot, or make the first one. `runs`: how many share the machine's time."""
        self.execution, self.runs = choice.execution, runs
        self.execution.apply(self.state.model, self.state.average)
        snapshot = self.run.load_state()
        world.meet()  # before the first process writes the next one
        if snapshot:
            self.take_up(snapshot)
        else:
            self.state.notes |= {"best": None, "stale": 0, "validated": 0, "retries": 0, "finished": False}
            self.tally = Tally()
            self.save()
        needs = estimate(self.state.model, self.training, choice.speed, memory, runs)
        self.watcher.started(self.run, self.training, self.state, choice, needs)

    def take_up(self, snapshot: tuple[Mapping[str, Tensor], dict[str, Any]]) -> None:
        """Become what was saved, the log too."""
        self.state.restore(*snapshot)
        self.run.rewind_log(self.state.notes["log_size"])
        self.tally = Tally(**self.state.notes["tally"])

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
        self.sit_down()
        steps = train(self.state, self.batches, self.training, self.execution)
        for step in attended(steps, self.training, self.execution, self.watcher.said, lambda: self.passed):
            if self.after(step):
                break
            if world.some(bool(self.caught)):
                step.look()  # what is saved is finite
                self.save()
                self.put_down()  # after the snapshot: what it does leaves no trace in the training
                number = next(number for caught in world.gathered(self.caught) for number in caught)
                raise stopped(number, f"{self.state.images:,} images", f"vaekit resume {self.run.path}")
            if self.unsaved:
                step.look()
                self.save()
        self.end()
        self.save()

    def sit_down(self) -> None:
        """Begin to count what `after` counts."""
        self.began, self.validating = self.state.seconds, 0.0
        self.saved = self.state.seconds  # the same in all processes, which may all be needed to save
        self.passed = self.training.fraction(self.state.images, self.state.seconds)

    def after(self, step: Step) -> bool:
        """Log a step, and validate where that is due; whether the run's patience is at its end."""
        state, interval = self.state, self.training.validation_interval
        self.tally.add(step)
        if step.number % LOG_EVERY == 0 or step.number == 1:
            means = self.tally.flush()
            self.log("train", means, step.fraction, learning_rate=step.learning_rate)
            self.count_skipped(means, min(step.number, LOG_EVERY))
        due = state.images // interval > (state.images - self.batches.size) // interval
        if self.training.validate_every is None:
            due = due or int(VALIDATIONS * step.fraction) > int(VALIDATIONS * self.passed)
            if self.training.minutes:
                due = due and self.validating <= SHARE_OF_VALIDATIONS * (state.seconds - self.began)
        self.passed = step.fraction
        if not due:
            return False
        step.look()
        self.validate(step.fraction)
        if self.training.patience is None or state.notes["stale"] < self.training.patience:
            return False
        self.watcher.said(f"No better validation loss in {state.notes['stale']} validations: stopped early.")
        return True

    def count_skipped(self, means: dict[str, float], steps: int) -> None:
        """Of so many steps; raises Diverged where none is taken any more."""
        if "skipped" not in means:
            return
        notes = self.state.notes
        notes["skipped"] = notes.get("skipped", 0) + steps if means["skipped"] == 1 else 0
        if notes["skipped"] >= MOST_SKIPPED:
            self.mark("diverged")
            raise Diverged(
                f"{notes['skipped']} steps in a row were skipped: the gradient's norm, lately {means['gradient_norm']:.3g}, was "
                f"above skip_above={self.training.skip_above:g}. Try a larger --skip-above or a smaller --learning-rate."
            )

    @property
    def unsaved(self) -> bool:
        return self.runs * (self.state.seconds - self.saved) >= self.snapshot_seconds

    def end(self) -> None:
        """Validate the last weights and keep them; what follows is `save`."""
        if self.state.notes.get("validated") != self.state.step:
            self.validate(1.0)
        with world.patient():
            self.run.save_weights(self.state.average, self.state.objective, last=True, images=self.state.images)
        self.state.notes["finished"] = True

    def validate(self, fraction: float) -> None:
        """Measure the averaged weights; keep them where their loss is the best so far."""
        state, seed, began = self.state, self.training.seed, world.clock()
        rows, own = self.data.splits["validation"], self.data.some("train", CALIBRATION, seed)
        state.averaged(calibrate, state.average, self.seen_of(own), len(own), seed)
        seen, measured = self.seen_of(rows), partial(validate, at=self.training.at(math.inf))
        values = state.together(state.averaged, measured, state.average, state.objective, seen, len(rows), seed)
        if not all(math.isfinite(value) for value in values.values()):
            self.mark("diverged")
            bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            raise Diverged(f"Validation after {state.images:,} images gives a non-finite {bad}. Try a smaller --learning-rate.")
        self.log("validation", values, fraction)
        state.notes["validated"] = state.step
        if state.step > state.notes.get("failed", -1):  # training has come past the step that it was rolled back for
            state.notes["retries"] = 0
        best = state.notes["best"]
        if best is None or values["loss"] < best or not state.objective.comparable:
            state.notes |= {"best": values["loss"], "stale": 0}
            with world.patient():
                self.run.save_weights(state.average, state.objective, images=state.images, validation=values)
            self.saved = -math.inf  # a snapshot follows: whoever goes on from it knows that these are the best
        else:
            state.notes["stale"] += 1
        self.validating += world.clock() - began

    def seen_of(self, rows: np.ndarray) -> Callable[[slice], Seen]:
        def seen(part: slice) -> Seen:
            found = self.measured.take(rows[part]), self.known[rows[part]]
            pixels, known = (torch.from_numpy(array).to(self.batches.device) for array in found)
            return pixels, known

        return seen

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
        with world.patient():
            self.run.save_state(self.state.tensors(), self.state.position())
        self.saved = self.state.seconds

    def put_down(self) -> None:
        """What is left to do for a run that is stopped."""
        self.mark("stopped")
        if self.state.notes["best"] is None:  # something to look at; the first validation will replace it
            own = self.data.some("train", CALIBRATION, self.training.seed)
            self.state.averaged(calibrate, self.state.average, self.seen_of(own), len(own), self.training.seed)
            self.run.save_weights(self.state.average, self.state.objective, images=self.state.images)

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
        self.take_up(snapshot)
        self.state.notes |= {"retries": self.state.notes["retries"] + 1, "failed": error.step}
        self.state.rate_scale *= 0.5
        self.save()
        self.watcher.said(f"{told} Rolled back to {self.state.images:,} images; trying once more at half the rate.")


def stopped(number: int, after: str, how: str) -> Stopped:
    """What a signal ends a training with; `how` it goes on."""
    return Stopped(f"Stopped after {after}, all saved. Go on: {how}", 130 if number == signal.SIGINT else 75)


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step; a second Ctrl-C interrupts at once.

    Not a second SIGTERM, of which schedulers send several. What comes after the last look is passed on to who heard it before.
    """
    caught: list[int] = []

    def catch(number: int, _frame: object) -> None:
        if number in caught and number == signal.SIGINT:
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
    if caught:
        signal.raise_signal(caught[0])
