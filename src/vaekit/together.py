"""Carry out trainings that differ in their seeds, or in numbers of the objective such as beta.

All of them in one step where that is faster, else one after another.

fit_together(runs, data) is to several runs what fit(run, data) is to one; each stays a run like any other.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from . import tuner, world
from .data import Dataset
from .errors import Diverged, Stopped, UsageError
from .execution import flushed, settle
from .fitting import SNAPSHOT_SECONDS, Fitting, Silent, Watcher, attended, fit, signals, stopped
from .library import build, describe
from .part import numbers_of
from .run import PLANNED, Run
from .state import State
from .train import NonFinite, Step, train_together
from .training import Training
from .trials import Estimate, peak_memory, trial, trial_together
from .tuner import Choice

WORTH_IT = 1.05  # times the images a second of one run after another


def fit_together(
    runs: Sequence[Run],
    data: Dataset,
    watcher: Watcher | None = None,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    *,
    together: bool | None = None,
) -> None:
    """Train what several run.json describe, each from its last snapshot. They differ in seeds and numbers of the objective alone.

    `together`: whether their steps are taken at once where that is possible; None: where the clock says that it is faster. A run
    that ends early leaves the others; so does one that meets a non-finite step, and is finished alone. A budget in minutes is
    each run's own. The noise is drawn for all at once, so it is not that of a run alone, but a function of the seeds. Raises
    UsageError where runs differ in more than that; Stopped, DataError and VaekitError as `fit`; Diverged when the other
    runs are finished.
    """
    watcher = watcher or Silent()
    check_alike(runs)
    if all(run.description["status"] == "finished" for run in runs):
        watcher.said(f"{len(runs)} runs, trained already")
    elif world.here.size == 1:
        train_jointly(runs, data, watcher, snapshot_seconds, together)
    elif len(runs) > 1:
        watcher.said(f"Several processes share every step, so the {len(runs)} runs train one after another.")
    diverged: list[Diverged] = []
    for run in runs:
        if run.description["status"] == "finished":
            continue
        try:
            fit(run, data, watcher, snapshot_seconds)
        except Diverged as error:
            diverged.append(error)
        except Stopped as error:
            raise Stopped(f"{error} All runs: the same command again.", error.code) from error
    if diverged:
        raise diverged[0]


def check_alike(runs: Sequence[Run]) -> None:
    first, *others = (plan_but_for_numbers(run) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        differing = [key for key in first if other[key] != first[key]]
        if differing:
            raise UsageError(
                f"{runs[0].path} and {run.path} differ in {', '.join(differing)}; runs that train together may differ in their "
                "seeds, and in numbers of the objective such as beta. Train them one by one."
            )


def plan_but_for_numbers(run: Run) -> dict[str, Any]:
    """What a run is to be, without that in which those that train together may differ."""
    planned: dict[str, Any] = {key: run.description.get(key) for key in (*PLANNED, "weights")}
    objective = build(planned["objective"])
    for name in numbers_of(objective):
        place, _, field = name.rpartition(".")
        setattr(objective.get_submodule(place), field, 0.0)
    return planned | {"objective": describe(objective), "training": planned["training"] | {"seed": None}}


def train_jointly(runs: Sequence[Run], data: Dataset, watcher: Watcher, snapshot_seconds: float, together: bool | None) -> None:
    """Train those runs together that are at the same step, until fewer than two are left that can."""
    with contextlib.ExitStack() as held, flushed(), signals() as caught:
        for run in runs:
            held.enter_context(run.lock())
        abreast = line_up(runs)
        if len(abreast) < 2:
            return
        group = Group(abreast, data, watcher, snapshot_seconds, caught)
        if group.begin(together):
            group.finish()


def line_up(runs: Sequence[Run]) -> list[Run]:
    """The runs that can go on together: at the same step, unfinished, and never rolled back.

    Where a kill came between their snapshots, those that already had the new one return to the one before.
    """
    at = {run: run.position() or BEGINNING for run in runs if run.description["status"] != "finished"}
    waiting = [its["step"] for run, its in at.items() if steady(run, its)]
    for run in at:
        kept = run.position(kept=True)
        if kept and waiting and kept["step"] == min(waiting) < at[run]["step"]:
            run.return_to_kept()
            at[run] = kept
        run.forget_kept()
    able = [run for run in at if steady(run, at[run])]
    common = Counter(at[run]["step"] for run in able).most_common(1)
    return [run for run in able if at[run]["step"] == common[0][0]]


BEGINNING: dict[str, Any] = {"step": 0, "rate_scale": 1.0, "notes": {"finished": False}}


def steady(run: Run, at: dict[str, Any]) -> bool:
    return not at["notes"]["finished"] and at["rate_scale"] == 1 and run.description["status"] != "diverged"


class Among(Silent):
    """Hears of one run of a group: passes on what it says, and all the rest of the first run."""

    def __init__(self, group: "Group", run: Run):
        self.group, self.run = group, run

    def started(self, run: Run, training: Training, state: State, choice: Choice, needs: Estimate) -> None:
        if run is self.group.members[0].run:
            self.group.watcher.started(run, training, state, choice, needs)

    def logged(self, record: dict[str, Any], fraction: float) -> None:
        if self.run is self.group.members[0].run:
            self.group.watcher.logged(record, fraction)

    def said(self, message: str) -> None:
        self.group.watcher.said(f"{self.run.path.name}: {message}")


class Group:
    """One sitting of several trainings whose steps are taken at once."""

    def __init__(self, runs: Sequence[Run], data: Dataset, watcher: Watcher, snapshot_seconds: float, caught: list[int]):
        self.watcher, self.caught = watcher, caught
        self.members: list[Fitting] = []
        for run in runs:
            beside = self.members[0] if self.members else None
            self.members.append(Fitting(run, data, Among(self, run), snapshot_seconds, caught, beside=beside))
        self.lost: dict[Fitting, NonFinite | Diverged] = {}

    def begin(self, together: bool | None) -> bool:
        """Choose how to train, as the runs began where they have and nothing else is asked for; whether it is together."""
        known = next((member for member in self.members if "jointly" in member.description), None)
        if known and together in (None, known.description["jointly"]):
            chosen = known.remembered() if known.description["jointly"] else None
        else:
            chosen = self.choose(together)
        for member in self.members:
            if chosen:
                member.keep(*chosen, jointly=True)
                member.begin(*chosen, runs=len(self.members))
            else:
                member.run.describe(member.description | {"jointly": False})
        return chosen is not None

    def choose(self, together: bool | None) -> tuple[Choice, int] | None:
        """The fastest way to train together, and its memory; None where one after another is as fast, or the only way."""
        first, training = self.members[0], self.members[0].training
        if together is False:
            return self.apart("as was asked")
        timed = training.tune and not training.deterministic
        if together is None and not timed:
            return self.apart("nothing is timed")
        try:
            found = self.try_together()
        except Exception as error:  # noqa: BLE001 - a part that cannot be stacked must not end trainings that can do without
            reason = (str(error).splitlines() or [""])[0]
            return self.apart(f"their step cannot be taken together ({type(error).__name__}: {reason})")
        if found is None:
            return None
        told = [f"{len(self.members)} runs train together", *["as was asked"] * bool(together)]
        if timed:
            times = found.speed / first.find()[0].speed
            if not together and times < WORTH_IT:
                return self.apart(f"together they would be {times:.2f} times as fast")
            told.append(f"{times:.1f} times as fast as one after another")
        self.watcher.said(", ".join(told) + ".")
        return found, peak_memory(first.batches.device)

    def try_together(self) -> Choice | None:
        """The fastest way to step together that computes what stepping alone computes."""
        first, training = self.members[0], self.members[0].training
        if training.layout not in ("auto", "contiguous"):
            return self.apart(f"steps that are taken together know no layout {training.layout!r}")
        plain, batches = settle(training), [member.batches for member in self.members]
        jointly = trial_together([member.state for member in self.members], training, batches)
        alone = tuple(trial(member.state, training, member.batches)(plain)(0) for member in self.members)
        if wrong := tuner.differing(jointly(plain)(0), alone):
            return self.apart(f"together their {wrong}")
        about = [first.description["model"], first.description["objective"], len(batches)]
        images = sum(its.size for its in batches)
        return tuner.choose(training, jointly, images, about=about, runs=len(batches), say=self.watcher.said)

    def apart(self, why: str) -> None:
        self.watcher.said(f"{len(self.members)} runs train one after another: {why}.")

    def finish(self) -> None:
        """Train until fewer than two are left."""
        for member in self.members:
            member.mark("running")
        while len(self.members) > 1:
            self.go_on()

    def go_on(self) -> None:
        """Train until the budget is spent, or one leaves: because its patience has ended, or something went wrong."""
        members, first = self.members, self.members[0]
        for member in members:
            member.sit_down()
        states, batches, trainings = zip(*((member.state, member.batches, member.training) for member in members), strict=True)
        steps = train_together(states, batches, trainings, first.execution)
        over: list[Fitting] = []
        for several in attended(steps, first.training, first.execution, self.watcher.said, lambda: first.passed):
            over = [member for member, step in zip(members, several, strict=True) if self.safely(member, after, step)]
            stopping = bool(self.caught)  # asked once: a signal may come while they are saved, which is for the next step
            if not (over or self.lost or stopping or any(member.unsaved for member in members)):
                continue
            self.look(several)  # what is saved is finite
            if over or self.lost:
                break
            self.save(members)
            if stopping:
                self.stop()
        else:
            over = list(members)
        self.leave(over)
        if self.caught and self.members:  # of which all are saved
            self.stop()

    def look(self, steps: Sequence[Step | NonFinite]) -> None:
        """Lose those of which a step was not finite, up to these; a GPU is not waited for at every step."""
        for member, step in zip(self.members, steps, strict=True):
            if isinstance(step, Step) and member not in self.lost:
                self.safely(member, lambda _, look: look(), step.look)

    def leave(self, over: list[Fitting]) -> None:
        """Save all; those that are over are finished, and those that are lost wait to be finished alone."""
        for member in over:
            self.safely(member, Fitting.end)
        self.save([member for member in self.members if member not in self.lost])
        for member in self.members:
            error = self.lost.get(member)
            if isinstance(error, NonFinite):
                member.roll_back(error)
            elif member in over and not error:
                member.mark("finished")
        self.members = [member for member in self.members if member not in over and member not in self.lost]
        self.lost.clear()

    def safely(self, member: Fitting, act: Callable[..., Any], *given: Any) -> Any:
        """What a member does; where it goes wrong, it is lost for the others."""
        try:
            return act(member, *given)
        except (NonFinite, Diverged) as error:
            self.lost[member] = error
            return None

    def save(self, members: Sequence[Fitting]) -> None:
        """Snapshots of the same step, whenever a kill comes: see `line_up`."""
        for member in members:
            member.run.keep_snapshot()
        for member in members:
            member.save()
        for member in members:
            member.run.forget_kept()

    def stop(self) -> None:
        for member in self.members:
            member.put_down()
        images = self.members[0].state.images
        raise stopped(self.caught[0], f"{images:,} images in each of {len(self.members)} runs", "the same command again")


def after(member: Fitting, step: Step | NonFinite) -> bool:
    """A member's bookkeeping after a step; whether it is over."""
    if isinstance(step, NonFinite):
        raise step
    return member.after(step)
