"""The checks of how a training went, by its log and by what else the run folder tells."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..model import VAE
from .exam import Exam
from .mends import carrying
from .said import Finding

FEW_STEPS = 200
SKIPPED = 0.01  # of the steps
EXPLODED = 100.0  # times a run's median: gradients grow as sigma shrinks, but by far less
LINES = 10  # of a log, by which gradients are judged
LATE = 3  # lines of training, whose middle one is where it ended
SIZE = 10.0  # nats, that a loss at the beginning counts for at least
RISEN = 1.0  # times its size, that a loss may lie above the beginning at the end: a model that knew nothing did better
BLOWN = 50.0  # the same at any validation, and of what is only weighed by parts that learn as well
ROSE = 0.05  # of what validation gained, that it lost again
GAP = 1.3  # times the training pictures' error


def diverged(exam: Exam) -> Finding | None:
    left_out = dropped(exam.run.records)
    if exam.run.description.get("status") == "diverged":
        return unsteady(", ".join([f"status diverged, {counted(kept_of(exam))}", *([left_out.measured] if left_out else [])]))
    return blown_up(exam) or left_out


def came_to_nothing(exam: Exam) -> bool:
    """Whether training diverged, so that whatever else ails the model follows from that."""
    return exam.run.description.get("status") == "diverged" or blown_up(exam) is not None


def blown_up(exam: Exam) -> Finding | None:
    return Course(exam.run.records).rose(exam.objective.comparable if exam.run.weights_digest else True)


class Course:
    """How far a training came from its beginning: as little of its log as tells that."""

    def __init__(self, records: Iterable[Mapping[str, Any]] = ()):
        self.first: Mapping[str, Any] | None = None  # the line of the first step, of weights that know nothing
        self.late: deque[Mapping[str, Any]] = deque(maxlen=LATE)  # of training
        self.worst: Mapping[str, Any] | None = None  # of all validations
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        if "loss" not in record:
            return
        if record["split"] == "validation":
            self.worst = record if self.worst is None or record["loss"] > self.worst["loss"] else self.worst
        elif self.first is None:
            self.first = record
        else:
            self.late.append(record)

    def rose(self, comparable: bool = True) -> Finding | None:
        """Whether the loss ended above where it began, or was out of all proportion on the way. `comparable`: whether losses at
        two moments are."""
        first, found = self.first, []
        if first is None:
            return None
        late = sorted(self.late, key=lambda record: record["loss"])
        if late and above(middle := late[len(late) // 2], first, comparable) > (RISEN if comparable else BLOWN):
            found.append(("ended at", middle))
        if self.worst and above(self.worst, first, comparable) > BLOWN:
            found.append(("came in validation to", self.worst))
        told = [f"{how} {loss_and_rate(record)}" for how, record in found]
        return risen(f"training began at {loss_and_rate(first)}, and {' and '.join(told)}") if told else None


def above(record: Mapping[str, Any], first: Mapping[str, Any], comparable: bool) -> float:
    """How far a line of a log lies above the first one, in sizes of that: by its loss, where losses compare, and by the bound
    without any weight, whichever is less. A weight that rises makes a loss larger, one that is small a rate, and neither is odd.
    """
    both = zip(heights(record, comparable), heights(first, comparable), strict=True)
    return min((now - then) / max(abs(then), SIZE) for now, then in both)


def heights(record: Mapping[str, Any], comparable: bool) -> list[float]:
    bound = [record["distortion"] + record.get("rate", 0.0)] if "distortion" in record else []
    return [record["loss"]] * (comparable or not bound) + bound


def loss_and_rate(record: Mapping[str, Any]) -> str:
    return f"a loss of {record['loss']:.3g}" + (f" with a rate of {record['rate']:.3g}" if "rate" in record else "") + " nats"


def risen(measured: str) -> Finding:
    return Finding(
        "diverged",
        measured,
        "a loss that falls from where it began",
        "the learning rate is far too high for this model: steps jump over what they look for, and whatever else is odd follows",
        "a lower --learning-rate, a tenth of what it was or less; 0.001 is usual",
    )


def kept_of(exam: Exam) -> list[str]:
    """The batches that training was rolled back for, oldest first."""
    return sorted(path.stem for path in exam.run.path.glob("diverged/step-*.json"))


def counted(kept: Sequence[str]) -> str:
    return f"{len(kept)} batch{'es' * (len(kept) != 1)} with a loss that is no number"


def unsteady(measured: str) -> Finding:
    return Finding(
        "diverged",
        measured,
        "every step finite, next to none left out",
        "the learning rate is too high for this model, or pictures are broken",
        "--learning-rate at a third of what it was, or --skip-above",
    )


def dropped(records: Sequence[dict[str, Any]]) -> Finding | None:
    """Of the lines of a log: whether many steps were left out."""
    skipped = [record["skipped"] for record in records if record["split"] == "train" and "skipped" in record]
    share = float(np.mean(skipped)) if skipped else 0.0
    return unsteady(f"{share:.1%} of steps left out for their gradient") if share > SKIPPED else None


def recovered(exam: Exam) -> Finding | None:
    status, kept = exam.run.description.get("status"), kept_of(exam)
    if status == "diverged" or not kept:
        return None
    return Finding(
        "recovered",
        f"status {status}, {counted(kept)}, the last one {kept[-1]}",
        "every step finite",
        "the learning rate is near the highest that this model bears, or pictures are broken; the rate was halved each time",
        f"nothing, if the curves look well; else see the pictures of diverged/{kept[-1]}.json, or halve --learning-rate",
    )


def exploding_gradients(exam: Exam) -> Finding | None:
    norms = [record["gradient_norm"] for record in exam.run.records if "gradient_norm" in record]
    norms = [norm for norm in norms if np.isfinite(norm)]
    if len(norms) < LINES:
        return None
    usual, late = float(np.median(norms)), float(np.median(norms[-max(3, len(norms) // 10) :]))  # a median: no single spike
    if not usual or late <= EXPLODED * usual:
        return None
    return Finding(
        "exploding gradients",
        f"the gradient's norm was {late:.3g} at the end, {late / usual:,.0f} times the run's median",
        f"below {EXPLODED:g} times",
        "training has become unsteady: steps are cut to one length, so the loss stays finite while their direction is noise",
        f"--learning-rate at a third of what it was, or --skip-above {10 * usual:.2g}",
    )


def underfit(exam: Exam) -> Finding | None:
    steps = exam.run.reached["step"]
    few, falling = steps < FEW_STEPS, exam.objective.comparable and still_improving(exam.run.records)
    if exam.run.description.get("status") != "finished" or not (few or falling):
        return None
    return Finding(
        "underfit",
        f"{steps:,} steps" + ("" if few else "; the validation loss was still falling when the budget ended"),
        f"{FEW_STEPS} steps or more, and a loss that has levelled off",
        "the budget ended too early",
        "more --minutes, --images or --epochs",
    )


def still_improving(records: list[dict[str, Any]]) -> bool:
    """Whether the last validation gained a fiftieth or more of what all of them moved."""
    losses = [record["loss"] for record in records if record["split"] == "validation"]
    return len(losses) > 2 and losses[-2] - losses[-1] > max(0.02 * (max(losses) - min(losses)), noise_of(losses))


def noise_of(losses: Sequence[float]) -> float:
    """What one validation may differ from the next by and mean nothing."""
    return 1e-3 * max(abs(min(losses)), 1.0)


def overfit(exam: Exam) -> Finding | None:
    losses = [record["loss"] for record in exam.run.records if record["split"] == "validation"]
    ratio = exam.rmse[exam.split] / max(exam.rmse["train"], 1e-9)
    lost = relapse(losses) if exam.objective.comparable else None
    if not lost and ratio < GAP:
        return None
    told = [f"the error of {exam.split} pictures is {ratio:.2f} times that of the training split"]
    ways = ["--patience 5"] * exam.objective.comparable + ["fewer --latent"] * isinstance(exam.model, VAE)
    less = carrying(exam.objective, more=False) if exam.model.has_rate else ""
    return learnt_by_heart("; ".join([*told, lost.measured] if lost else told), [*ways, less])


def relapse(losses: Sequence[float]) -> Finding | None:
    """Of the losses of all validations: whether the last ones are worse than the best, be it the first one."""
    if len(losses) < 3:
        return None
    lost, gained = losses[-1] - min(losses), losses[0] - min(losses)
    if lost < max(noise_of(losses), ROSE * gained):
        return None
    told = f"lost {lost / gained:.0%} of its gain again" if lost <= gained else f"ended {lost - gained:.3g} above the first one"
    return learnt_by_heart(f"the validation loss {told} (the best weights were kept)")


def learnt_by_heart(measured: str, ways: Sequence[str] = ("--patience 5",)) -> Finding:
    return Finding(
        "overfit",
        measured,
        f"below {GAP} times, and no more than {ROSE:.0%} lost",
        "the training pictures are few for this model and this many steps",
        ", or ".join(["more pictures", "--flip", *filter(None, ways)]),
    )
