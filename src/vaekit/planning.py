"""What is to be trained, and where: run.json is written here, once, and `fitting.py` carries it out."""

import contextlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch

from . import execution as running
from . import world
from .batches import free_memory
from .data import Dataset
from .errors import DataError, UsageError
from .library import build, describe
from .model import Model
from .objectives import Objective
from .priors import Prior
from .recipes import BUDGETS, Recipe
from .run import Run
from .state import check_fit, freeze
from .stored import digest_of
from .trace import At
from .training import Training

LEAST = {"train": 2, "validation": 1}  # pictures
PARTS: dict[str, tuple[type, str]] = {
    "model": (Model, "vaekit.model"),
    "objective": (Objective, "vaekit.objectives"),
    "training": (Training, "vaekit.training"),
}
HELD = 5  # times the trained weights: themselves, their average, their gradients and both moments
SUSPECT = 100  # times what a model holds and a batch takes, that a step hardly ever takes more than
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
    Raises UsageError where the recipe cannot be trained here, or the folder already holds another training; VaekitError where
    another process writes into it; DataError where there is nothing to train on.
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
    check_parts(recipe)
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
    model = check_frozen(recipe)
    check_fit(model, recipe.objective)
    check_memory(model, recipe.objective, recipe.training, len(data.splits["train"]))
    return {
        "data": {"open": data.description, "name": data.name, "digest": data.digest, "image": list(data.image)},
        "model": describe(recipe.model),
        "objective": describe(recipe.objective),
        "training": describe(recipe.training),
        "weights": digest_of(recipe.weights) if recipe.weights else None,
        "second_stage": list(recipe.second) or None,
    }


def check_parts(recipe: Recipe) -> None:
    """Raises UsageError where model, objective or training is of another kind, or could not be described in run.json."""
    for name, (base, place) in PARTS.items():
        part = getattr(recipe, name)
        if not isinstance(part, base):
            what = f"the class {part.__name__}" if isinstance(part, type) else f"a {type(part).__name__}"
            raise UsageError(
                f"The {name} of a recipe is made from a class that derives from {place}.{base.__name__}; this is {what}."
            )
        try:
            json.dumps(describe(part))
        except TypeError as error:
            raise UsageError(
                f"The {name} {type(part).__name__} cannot be written to run.json: {error}. The fields of a part are numbers, "
                "words, tuples of them and other parts; make what else it needs in __post_init__."
            ) from error


def check_frozen(recipe: Recipe) -> Model:
    """The recipe's model, or one like it in which the parts are frozen that are to be.

    Raises UsageError where one is not there, or has nothing to keep.
    """
    if not recipe.training.freeze:
        return recipe.model
    model = build(describe(recipe.model))
    freeze(model, recipe.training.freeze)
    if not any(name.startswith("model.") for name in recipe.weights):
        names = ", ".join(recipe.training.freeze)
        raise UsageError(f"With random weights there is nothing in {names} to keep. Freeze parts of a trained model.")
    return model


def check_memory(model: Model, objective: Objective, training: Training, pictures: int) -> None:
    """Raises UsageError where the memory that is free is too little, before the system ends the training without a word.

    At least so much is taken. It is counted on tensors without numbers, and only where a look at the sizes says that it may
    matter.
    """
    try:
        device = running.find_device(training.device)
    except UsageError:
        return  # who trains says so
    images = max(1, min(training.batch_size or 1, pictures) // world.here.size)
    tensors = [t for part in (model, objective) for t in (*part.parameters(), *part.buffers())]
    batch, free = 4 * images * prod(model.image), free_memory(device)
    if SUSPECT * (sum(t.nbytes for t in tensors) + batch) < free:
        return
    weights = HELD * sum(t.nbytes for t in tensors if t.requires_grad) // world.here.size
    kept = 0 if training.freeze else kept_by_step(json.dumps(describe(model)), json.dumps(describe(objective)), images)
    kept = kept // 2 if training.precision == "bf16" else kept
    if weights + kept > free:
        needed, step, left = (f"{size / 1e9:,.1f} GB" for size in (weights + kept, kept, free))
        components = hasattr(getattr(model, "prior", None), "components")
        fewer = ", or fewer --set model.prior.components" * components
        raise UsageError(
            f"This training takes at least {needed} of memory, {step} of it for a step over {images:,} images; {device} has "
            f"{left} free. Give smaller nets or pictures, a smaller --batch-size{fewer}."
        )


@lru_cache(maxsize=16)
def kept_by_step(model: str, objective: str, images: int) -> int:
    """Bytes that a step over so many images keeps for its gradient beside the weights, by descriptions in JSON.

    0 where that cannot be told without numbers, because sizes depend on them.
    """
    kept: dict[int, Any] = {}  # held, so that no other takes its place
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode  # which takes its seconds at the first use

        with FakeTensorMode(), torch.device("cpu"), world.alone(), torch.random.fork_rng(devices=[]):
            its, aim = build(json.loads(model)), build(json.loads(objective))
            own = {t.untyped_storage()._cdata for part in (its, aim) for t in (*part.parameters(), *part.buffers())}

            def keep(t: torch.Tensor) -> torch.Tensor:
                storage = t.untyped_storage()
                if storage._cdata not in own:
                    kept[storage._cdata] = storage
                return t

            told = len(its.condition.names) if hasattr(its, "condition") else None
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                c = None if told is None else torch.full((images, told), torch.nan)
                trace = aim.look(its, torch.zeros(images, *its.image), c)
                terms = aim(trace, At(torch.zeros(()), images))
        del trace, terms
    except (ImportError, RuntimeError, TypeError, ValueError):
        return 0
    return sum(storage.nbytes() for storage in kept.values())


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
