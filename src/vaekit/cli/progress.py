"""What a person sees on stderr while work goes on: a bar on a terminal, plain lines elsewhere."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..doctor.live import Signs
from ..metrics.weights import Weights, weights_of
from ..objectives import ELBO, Reconstruction
from ..objectives.classic import r_loss_factor_of
from ..run import Run
from ..state import State
from ..training import Training
from ..trials import Estimate
from ..tuner import Choice

console = Console(stderr=True, highlight=False, markup=False, quiet=os.environ.get("RANK", "0") != "0")  # the first one speaks
PLAIN_SECONDS = {"train": 10.0, "validation": 5.0}  # at least, between a line and the one before it
SHOWN = ("distortion", "rate", "elbo", "loss")


class Terms(ProgressColumn):
    """images/s and every term in nats."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("terms", ""))


class Bar:
    """Watches a training (see fitting.Watcher)."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            Terms(),
        )
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.progress.add_task("training", total=1.0)
        self.spoke, self.held = -math.inf, ""
        self.signs = Signs()
        self.comparable, self.told = True, set[str]()

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        self.say_held()

    def started(self, run: Run, training: Training, state: State, choice: Choice, needs: Estimate) -> None:
        self.say_held()
        self.signs, self.comparable, self.told = Signs(run.records), state.objective.comparable, set()
        if state.notes["finished"]:
            console.print(f"{run.path}: trained already, {state.images:,} images seen", soft_wrap=True)
            return
        console.print(
            f"{run.path}: {needs.parameters / 1e6:.2f} M parameters, {training.batch_size:,} images a step, about "
            f"{needs.memory / 1e6:,.0f} MB while training, about {duration(needs.seconds)} at {needs.speed:,.0f} images/s "
            f"({choice.execution}: {choice.gain:.1f} times the plain step{', as known from an earlier run' * choice.remembered})",
            soft_wrap=True,
        )
        console.print(weights_line(state), soft_wrap=True)
        if state.step:
            console.print(f"going on after {state.images:,} images seen")

    def logged(self, record: dict[str, Any], fraction: float) -> None:
        self.show(record, fraction)
        self.signs.add(record)
        if record["split"] == "validation":
            for finding in self.signs.of_trouble(fraction, self.comparable):
                if finding.name not in self.told:
                    self.told.add(finding.name)
                    self.said(f"doctor: {finding.name}: {finding.measured}. Try {finding.mend}")

    def show(self, record: dict[str, Any], fraction: float) -> None:
        terms = "  ".join(f"{name} {record[name]:,.2f}" for name in SHOWN if name in record)
        speed = f"{record['images_per_second']:,.0f} images/s  " if "images_per_second" in record else ""
        if console.is_terminal:
            if record["split"] == "train":
                self.progress.update(self.task, completed=min(fraction, 1.0), terms=f"{speed}{terms} nats")
            return
        line = f"{min(fraction, 1):4.0%}  {record['images']:>10,} images  {record['split']:<10}  {speed}{terms} nats"
        if time.monotonic() - self.spoke >= PLAIN_SECONDS[record["split"]]:
            self.spoke, self.held = time.monotonic(), ""
            console.print(line, soft_wrap=True)
        elif record["split"] == "validation":
            self.held = line

    def say_held(self) -> None:
        """The last validation of a training, which came too soon after the line before it; the next one speaks at once."""
        if self.held:
            console.print(self.held, soft_wrap=True)
        self.spoke, self.held = -math.inf, ""

    def said(self, message: str) -> None:
        console.print(message, soft_wrap=True)


def weights_line(state: State) -> str:
    """r_loss_factor, beta and sigma for this resolution, beside each other."""
    image = "x".join(str(n) for n in (*state.model.image[1:], state.model.image[0]))
    weights = weights_of(state.model.image, state.objective, state.model.likelihood)
    if weights is None:
        return f"loss weights at {image}: {unweighed(state)}"
    if hasattr(state.model.likelihood, "observe") and not state.step:
        return (
            f"loss weights at {image}: sigma is the optimal one, found while training; were it 0.1, that would be r_loss_factor "
            f"{r_loss_factor_of(0.1, prod(state.model.image)):,.0f} (x MSE) = beta 0.02 (beside a sum of squared errors)"
        )
    return (
        f"loss weights at {image}: r_loss_factor {weights.r_loss_factor:,.0f} (x MSE) = beta {weights.beta:.4g} "
        f"(beside a sum of squared errors) = sigma {weights.sigma:.4g}"
    )


def unweighed(state: State) -> str:
    """What weighs pixels where r_loss_factor, beta and sigma are not one number."""
    objective, likelihood, name = state.objective, state.model.likelihood, type(state.objective).__name__
    if not objective.asks_density:
        return f"the loss of {name} has no -log p(x|z), so sigma weighs nothing in it; it has weights of its own"
    if likelihood.sigma is None:
        return "-log p(x|z) is no weighted squared error, so r_loss_factor and sigma do not apply"
    found = hasattr(likelihood, "observe") and not state.step
    sigma = "sigma is the optimal one, found while training" if found else f"sigma {likelihood.sigma:.4g}"
    if isinstance(objective, ELBO | Reconstruction):
        return f"{sigma}; no rate stands beside it, against which r_loss_factor or beta could weigh it"
    return f"{sigma}; {name} has weights of its own beside it, so no r_loss_factor or beta says the same"


def residual_line(metrics: dict[str, Any]) -> str:
    """The measured residual beside what the loss weight said."""
    residual = metrics["residual"]
    told = f"measured residual {residual['value']:.4f} in pixel values from 0 to 1 ({residual['split']})"
    if "weight_sigma" not in metrics:
        return told
    r_loss_factor, beta, sigma = (metrics[f"weight_{name}"]["value"] for name in Weights._fields)
    return f"{told}; the loss weighs as r_loss_factor {r_loss_factor:,.0f} (x MSE) = beta {beta:.4g} = sigma {sigma:.4g}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def decoding():
    """A progress callback for an ingest: (pictures done, pictures in all)."""
    return counting("decoded")


@contextmanager
def counting(what: str, of: str = "pictures") -> Iterator[Callable[[int, int], None]]:
    """A progress callback: (pictures done, pictures in all), or of something else."""
    columns = (
        TextColumn(what),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task, tell = progress.add_task(what, total=1, visible=False), telling(what, of)

    def show(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total, visible=True)
        if not console.is_terminal:
            tell(done, total)

    with progress:
        yield show


def telling(what: str, of: str) -> Callable[[int, int], None]:
    """A progress callback that prints a line now and then."""
    spoke = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal spoke
        if time.monotonic() - spoke >= PLAIN_SECONDS["train"]:
            spoke = time.monotonic()
            console.print(f"{what} {done:,} of {total:,} {of}")

    return show


@contextmanager
def doing(what: str) -> Iterator[None]:
    """A line while something without steps goes on."""
    if not console.is_terminal:
        console.print(what)
        yield
        return
    with console.status(what):
        yield
