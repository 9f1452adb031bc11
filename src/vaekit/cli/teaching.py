"""The net that an objective asks about pictures, where nobody gives one: it is taught what is known of them, once for a run."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import world
from ..data import Dataset, binarized
from ..errors import DataError, UsageError
from ..execution import settle
from ..finish import lesson_of, own_judge
from ..metrics.quality import STEPS
from ..nets.judge import FeatureNet
from ..run import Run
from ..training import Training
from .progress import console, counting, duration

APART = 1000  # from the training's seed: whoever learns from a net is not scored by the same one, as `finish.own_judge` makes it

Taught = tuple[FeatureNet, dict[str, Any]]  # and what run.json says of it


def judge_for(
    data: Dataset, training: Training, runs: Iterable[Path], cooked: Callable[[None], object]
) -> Taught | tuple[None, None]:
    """A net that was taught the labels of the training pictures, else their attributes; None where they have neither.

    The first of these runs that began with such a net gives it: whoever goes on with a run gets the run's own. Raises UsageError
    where several processes would have to teach one, and where there is none for a recipe that cannot be `cooked` without.
    """
    lesson = lesson_of(data)
    if lesson == "random":
        told = f"{data.name} has neither labels nor attributes that a net could be taught. Give one that has learned elsewhere"
        try:
            cooked(None)
        except UsageError as error:
            raise UsageError(
                f"This recipe compares features of a net, and {told}: --judge FILE, see vaekit judge --help"
            ) from error
        console.print(f"No features are compared: {told}: --features FILE", soft_wrap=True)
        return None, None
    asked = {"lesson": lesson, "steps": STEPS, "seed": training.seed + APART, "pixels": training.binarize}
    for path in runs:
        if found := kept(Run(path), data, asked):
            console.print(f"features are compared by the net of {path}, {found[1]['how']}", soft_wrap=True)
            return found
    if world.here.size > 1:
        raise UsageError(
            f"Several processes teach no net the {lesson} of {data.name}. Give one, --features FILE (`vaekit judge` makes one of "
            "labels), or begin with one process: several can go on with the run, and with its net."
        )
    settle(training).apply()  # its threads, and whether it is deterministic
    seen, began = binarized(data, training.binarize) if training.binarize else data, time.monotonic()
    with counting("taught", "steps") as show:
        _, judge, how = own_judge(seen, training.seed + APART, progress=show)
    took = duration(time.monotonic() - began)
    console.print(f"features are compared by a net {how}, in {took}; another one: --features FILE", soft_wrap=True)
    return judge, asked | {"how": how}


def kept(run: Run, data: Dataset, asked: dict[str, Any]) -> Taught | None:
    """The net that a run began with, where it was taught on these pictures as asked."""
    with suppress(DataError):  # another program's run, or a damaged one: not ours to ask
        about = run.description if run.exists else {}
        taught = about.get("judge")
        if isinstance(taught, dict) and asked.items() <= taught.items() and about["data"].get("digest") == data.digest:
            objective = run.build("objective")
            if run.begin(objective=objective):
                return objective.judge, taught
    return None
