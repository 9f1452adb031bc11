"""A search over latent sizes and betas for the rate-distortion front of a data set, and what to train on it.

Alemi et al. (2018), Fixing a Broken ELBO, https://arxiv.org/abs/1711.00464: beta moves a model along the front, and no single
figure says where on it a use lies.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .data import Dataset
from .errors import UsageError
from .finish import measure
from .fitting import Silent, Watcher, fit
from .planning import plan, start
from .recipes import Recipe
from .run import Run

if TYPE_CHECKING:  # who does not search may do without it
    import optuna
    from optuna.trial import FrozenTrial

JOURNAL = "sweep.journal"
NEAR = 0.005  # of what the bound gained over the worst model: as good as the best


class Tried(NamedTuple):
    """One model of the search: validation figures in nats per image. Models are numbered as they ended, from 1."""

    number: int
    latent: int
    beta: float
    rate: float
    distortion: float
    active: int
    path: str

    @property
    def bound(self) -> float:
        """-ELBO, lower is better."""
        return self.rate + self.distortion


def sweep(
    data: Dataset,
    make: Callable[[int, float], Recipe],
    place: Path,
    *,
    trials: int,
    latents: tuple[int, int],
    betas: tuple[float, float],
    seed: int = 0,
    watch: Callable[[int, int, float], Watcher] = lambda *_: Silent(),
    ended: Callable[[Tried], None] = lambda _: None,
) -> list[Tried]:
    """Train `trials` models, `make(latent, beta)`, each a run folder in `place`; a search that was stopped goes on there.

    `watch` is asked for a watcher when a model, by number, latents and beta, is begun; `ended` hears of each when it is measured,
    and first of those from before a stop.

    Which ones is left to Optuna's sampler for two aims, the rate and the distortion of the validation split. Another search in
    this place, of another recipe, other ranges or other pictures, has folders of its own. Raises UsageError where Optuna is not
    installed or the search cannot be, VaekitError where another process searches there.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UsageError("A sweep needs Optuna: pip install optuna") from error
    check(trials, latents, betas)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mark = mark_of(plan(data, make(latents[0], betas[0])), latents, betas, seed)

    def tried(trial: "optuna.Trial") -> tuple[float, float]:
        latent, beta = trial.suggest_int("latent", *latents, log=True), trial.suggest_float("beta", *betas, log=True)
        run = start(place / folder_of(trial, mark), data, make(latent, beta))
        if run.description.get("status") != "finished":
            fit(run, data, watch(len(done()) + 1, latent, beta))
        found = measure(run, data, "validation")
        run.add_metrics(found)
        trial.set_user_attr("active", int(found.get("active_latents", {"value": latent})["value"]))
        return found["rate"]["value"], found["distortion"]["value"]

    def done() -> list[Tried]:
        complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        return [told_of(trial, number, place, mark) for number, trial in enumerate(sorted(complete, key=end_of), 1)]

    with Run(place).lock():  # whoever came second would take the trials of the first for those of a kill
        study = optuna.create_study(
            study_name=mark,
            storage=JournalStorage(JournalFileBackend(str(place / JOURNAL))),
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, trials // 3)),
            directions=["minimize", "minimize"],
            load_if_exists=True,
        )
        for cut in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # by a kill; its run folder goes on
            study.enqueue_trial(cut.params, user_attrs={"folder": folder_of(cut, mark)})
            study.tell(cut.number, state=optuna.trial.TrialState.FAIL)
        before = done()
        for each in before if len(before) < trials else ():
            ended(each)
        study.optimize(tried, n_trials=max(0, trials - len(before)), callbacks=[lambda *_: ended(done()[-1])])
        return done()


def told_of(trial: "FrozenTrial", number: int, place: Path, mark: str) -> Tried:
    rate, distortion = trial.values
    path, active = str(place / folder_of(trial, mark)), trial.user_attrs["active"]
    return Tried(number, trial.params["latent"], trial.params["beta"], rate, distortion, active, path)


def end_of(trial: "FrozenTrial") -> datetime:
    return trial.datetime_complete or datetime.max


def mark_of(planned: dict[str, Any], *search: Any) -> str:
    """What tells a search from others: eight letters of the sha256 of what its first model is, its ranges and its seed."""
    return hashlib.sha256(json.dumps([planned, *search], sort_keys=True).encode()).hexdigest()[:8]


def folder_of(trial, mark: str) -> str:
    return trial.user_attrs.get("folder", f"trial-{mark}-{trial.number:03d}")


def check(trials: int, latents: tuple[int, int], betas: tuple[float, float]) -> None:
    if not 1 <= latents[0] < latents[1]:
        raise UsageError(
            f"--latents {latents[0]} {latents[1]}: give the smallest and the largest number of latents: --latents 2 64"
        )
    if not 0 < betas[0] < betas[1]:
        raise UsageError(f"--betas {betas[0]:g} {betas[1]:g}: give the smallest and the largest beta, above 0: --betas 0.1 10")
    if trials < 2:
        raise UsageError(f"--trials {trials}: a front needs 2 or more models.")


def front(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other one is at least as good as in both rate and distortion, by rate."""
    best: list[Tried] = []
    for each in sorted(tried, key=lambda its: (its.rate, its.distortion)):
        if not best or each.distortion < best[-1].distortion:
            best.append(each)
    return best


def proposed(tried: Sequence[Tried]) -> Tried:
    """The model with the fewest latents whose bound is as good as the best one's, but for NEAR of what there was to gain."""
    bounds = [its.bound for its in tried]
    enough = min(bounds) + NEAR * (max(bounds) - min(bounds))
    return min((its for its in tried if its.bound <= enough), key=lambda its: (its.latent, its.bound))
