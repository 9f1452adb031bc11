"""What is to be trained, and where: run.json is written here, once, and `fitting.py` carries it out."""

import contextlib
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import execution as running
from . import world
from .data import Dataset
from .errors import DataError, UsageError
from .library import build, describe
from .priors import Prior
from .recipes import BUDGETS, Recipe
from .run import Run
from .state import freeze
from .stored import digest_of

LEAST = {"train": 2, "validation": 1}  # pictures
DISTRIBUTIONS = ("vaekit", "torch", "numpy", "pillow", "safetensors", "scikit-learn")


def start(
    path: str | Path,
    data: Dataset,
    recipe: Recipe,
    command: str = "",
    group: Sequence[str] = (),
    *,
    cache: str | Path | None = None,
    judge: dict[str, Any] | None = None,
) -> Run:
    """A run folder whose run.json has all that is needed to do the training, or to do it again.

    `group`: the names of the folders beside it, itself included, that were begun together. `cache`: where the data were decoded
    to, if not in the usual place. `judge`: how the net that the objective asks about pictures was taught for this run, if it was.
    Raises UsageError where the folder already holds another training, VaekitError where another process writes into it, DataError
    where there is nothing to train on.
    """
    run, planned = Run(path), plan(data, recipe)
    begun = planned | provenance(command) | ({"group": list(group)} if group else {})
    begun |= {"cache": str(Path(cache).expanduser().absolute())} if cache else {}
    begun |= {"judge": judge} if judge else {}
    with run.lock() if world.here.first else contextlib.nullcontext():  # two may start at once, with other settings
        if world.agree(run.exists):
            check_same(run, planned)
        elif world.here.first:
            if recipe.weights:
                run.save_first_weights(recipe.weights)
            run.describe(begun)
        world.meet()
    return run


def plan(data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """What is to be trained, and how: the part of run.json that decides the result."""
    check_enough(data)
    if recipe.training.patience is not None and not recipe.objective.comparable:
        raise UsageError(
            f"The losses of {type(recipe.objective).__name__} at two moments do not compare, because what they are weighed by "
            f"changes, so patience={recipe.training.patience} waits for nothing. Leave it out."
        )
    recipe.training.epoch = len(data.splits["train"])
    for part in recipe.model.modules():
        if isinstance(part, Prior):
            part.check_pictures(len(data.splits["train"]))
    check_frozen(recipe)
    return {
        "data": {"open": data.description, "name": data.name, "digest": data.digest, "image": list(data.image)},
        "model": describe(recipe.model),
        "objective": describe(recipe.objective),
        "training": describe(recipe.training),
        "weights": digest_of(recipe.weights) if recipe.weights else None,
        "second_stage": list(recipe.second) or None,
    }


def check_frozen(recipe: Recipe) -> None:
    """Raises UsageError where a part that is to be frozen is not there, or has nothing to keep."""
    if not recipe.training.freeze:
        return
    freeze(build(describe(recipe.model)), recipe.training.freeze)
    if not any(name.startswith("model.") for name in recipe.weights):
        frozen = ", ".join(recipe.training.freeze)
        raise UsageError(f"With random weights there is nothing in {frozen} to keep. Freeze parts of a trained model.")


def check_enough(data: Dataset) -> None:
    """Raises DataError where a split has fewer pictures than training needs."""
    counts = {split: len(rows) for split, rows in data.splits.items()}
    few = {split: least for split, least in LEAST.items() if counts[split] < least}
    if few:
        wanted = " and ".join(f"{least} in {split}, which has {counts[split]}" for split, least in few.items())
        least = sum(max(count, LEAST.get(split, 0)) for split, count in counts.items())
        told = ", ".join(f"{split} {count}" for split, count in counts.items())
        raise DataError(
            f"{data.name} has {sum(counts.values())} pictures ({told}). Expected at least {wanted}: {least} or more in all. "
            "Add pictures."
        )


def find_unfinished(root: Path, planned: Sequence[dict[str, Any]], report: bool) -> list[Path]:
    """The newest folders under `root` of runs that began together with these plans and have not all come to their end.

    Where a `report` is wanted, it belongs to that.
    """
    found: list[tuple[str, list[Path]]] = []
    for path in root.glob("*/run.json"):
        with contextlib.suppress(DataError):  # another program's, or another version's: not ours to go on with
            about = Run(path.parent).description
            places = [path.parent.with_name(name) for name in about.get("group") or [path.parent.name]]
            alike = len(places) == len(planned) and all(map(began_as, map(Run, places), planned))
            unread = about.get("status") == "finished" and report and not Run(path.parent).report.exists()
            if alike and (unread or about.get("status") not in ("finished", "diverged")):
                found.append((about.get("created", ""), places))
    return max(found)[1] if found else []


def began_as(run: Run, planned: dict[str, Any]) -> bool:
    """Whether a folder holds a run of this plan, or none yet."""
    return not run.exists or {key: run.description.get(key) for key in planned} == planned


def check_same(run: Run, planned: dict[str, Any]) -> None:
    """A run folder holds one training: the same command goes on with it, another one must not."""
    old = run.description
    for key, value in planned.items():
        if old.get(key) != value:
            told = f"{run.path} already holds another training: {difference(key, old.get(key), value)}."
            if old["status"] == "finished":
                raise UsageError(f"{told} It is finished. Train into another folder.")
            raise UsageError(f"{told} Train into another folder, or go on with it as it was: vaekit resume {run.path}")


def difference(key: str, old: Any, new: Any) -> str:
    """What of a plan is not the same, as somebody may have asked for it."""
    if key == "weights":
        return "it began with other weights"
    if key == "second_stage":
        return f"the densities fitted at its end are {old or 'none'}, not {new or 'none'}"
    if key == "data":
        changed = differing(old["open"], new["open"])
        return f"its data were opened with another {', '.join(changed)}" if changed else "its pictures were others"
    changed = differing(old, new)
    fixed = ", and a budget is fixed: the rate of learning follows it to its end" if set(changed) & set(BUDGETS) else ""
    return f"its {key} differs in {', '.join(changed)}{fixed}"


def differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


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
    """The commit of a source checkout, None for an installed package, which may lie in somebody's own repository."""
    git = ["git", "-C", str(folder)]
    try:
        ours = subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False).returncode == 0
        asked = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False) if ours else None
    except FileNotFoundError:
        return None
    return (asked and asked.stdout.strip()) or None
