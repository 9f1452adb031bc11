"""The checks of how a training went, by its log and by what else the run folder tells."""

from collections.abc import Sequence
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
ROSE = 0.05  # of what validation gained, that it lost again
GAP = 1.3  # times the training pictures' error


def diverged(exam: Exam) -> Finding | None:
    left_out = dropped(exam.run.records)
    if exam.run.description.get("status") != "diverged":
        return left_out
    return unsteady(", ".join([f"status diverged, {counted(kept_of(exam))}", *([left_out.measured] if left_out else [])]))


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
