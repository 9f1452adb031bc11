"""compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..metrics.paired import difference, per_image
from ..model import Model
from ..run import Run
from .answer import Answer, number, table
from .progress import doing
from .reading import Seed, reopened

DENSITIES = ("distortion", "elbo", "loss", "nll", "nll_annealed")  # of pixels: those of other kinds are other quantities
PROBABILITIES = {
    "density": "a density of pixel values",
    "levels": "probabilities of 256 levels",
    "bits": "probabilities of black and white",
}
PROTOCOL = ("unit", "split", "count", "pixels", "trained_on")
PLAIN = (  # measured in one way alone: what their `how` says besides is about the model
    "distortion",
    "elbo",
    "loss",
    "rate",
    "bits_per_dim",
    "residual",
    "rmse",
    "psnr",
    "ssim",
    "active_latents",
    "code_perplexity",
    "neighbour_accuracy",
)


def compare(run: Path, others: list[Path], /, *, seed: Seed = 0) -> Answer:
    """Runs side by side, and which differences to the first exceed the noise: on the same held-out images, with 95 % over them.

    Parameters
    ----------
    run
        The run that others are compared with.
    others
        One or more, trained on the same pictures.
    seed
        Of the draws of z and the bootstrap.
    """
    first, data = reopened(run)
    runs = [first, *map(Run.open, others)]
    names = [str(path) for path in (run, *others)]
    for other in runs[1:]:
        check_same(first, other)
    rows = data.splits["test" if len(data.splits["test"]) else "validation"]
    models = [each.load_model() for each in runs]
    with doing("comparing"):
        seen = [per_image(model, each.as_measured(data), rows, seed) for model, each in zip(models, runs, strict=True)]
    strange = unlike(names, [kind_of(model) for model in models], runs)
    metrics = {name: each.metrics for name, each in zip(names, runs, strict=True)}
    shared = [key for key in metrics[names[0]] if all(key in its for its in metrics.values())]
    common = [key for key in shared if key not in strange and alike(key, [its[key] for its in metrics.values()])]
    if "nll" in common and all("per_image" in its["nll"] for its in metrics.values()):
        seen = [its | {"nll": np.array(metrics[name]["nll"]["per_image"])} for name, its in zip(names, seen, strict=True)]
    found: dict[str, Any] = {
        name: {key: difference(seen[0][key], its[key], seed) for key in its if key in seen[0] and key not in strange}
        for name, its in zip(names[1:], seen[1:], strict=True)
    }
    beside = [(key, *(number(metrics[name][key]["value"]) for name in names), metrics[names[0]][key]["unit"]) for key in common]
    left_out = [key for key in shared if key not in common]
    apart = [
        (
            name,
            key,
            f"{its['difference']:+.4g}",
            "{:+.4g} to {:+.4g}".format(*its["interval"]),
            "yes" if its["beyond_noise"] else "no",
        )
        for name, about in found.items()
        for key, its in about.items()
    ]
    tables = [
        [("metric", *names, "unit"), *beside],
        [(f"beside {names[0]}", f"of {len(rows):,} images", "difference", "95 %", "beyond the noise"), *apart],
        rows_apart(left_out, metrics, strange),
    ]
    values = {name: {key: its[key]["value"] for key in common} for name, its in metrics.items()}
    answer = {"metrics": values, "differences": found, "images": len(rows), "not_compared": left_out}
    return Answer(answer, "\n\n".join(table(each) for each in tables if len(each) > 1))


def rows_apart(
    keys: Sequence[str], metrics: dict[str, dict[str, Any]], strange: dict[str, dict[str, str]]
) -> list[tuple[str, ...]]:
    """Under a heading, the figures of every run that do not compare, and why."""
    rows = [
        (key, name, number(its[key]["value"]), strange[key][name] if key in strange else told(its[key]))
        for key in keys
        for name, its in metrics.items()
    ]
    return [("does not compare", "run", "value", "measured"), *rows]


def unlike(names: Sequence[str], densities: Sequence[str], runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """The figures that are other quantities in some of the runs: what they are in each, where `densities` are of these kinds."""
    kinds = dict(zip(names, densities, strict=True))
    wholes = [run.description["objective"] for run in runs]
    other = {key for whole in wholes for key in whole if any(its.get(key) != whole[key] for its in wholes)} | {"part"}
    objectives = {
        name: ", ".join(f"{key}={short(whole[key])}" for key in whole if key in other)
        for name, whole in zip(names, wholes, strict=True)
    }
    found = dict.fromkeys(DENSITIES, kinds) if len(set(kinds.values())) > 1 else {}
    return found | ({"loss": objectives} if len(set(objectives.values())) > 1 else {})


def short(described: Any, within: bool = False) -> str:
    """A description in few words: a part with its numbers, of the parts in it their names alone."""
    if isinstance(described, dict):
        numbers = ", ".join(f"{key}={short(value, True)}" for key, value in described.items() if key != "part")
        return described["part"] if within else f"{described['part']}({numbers})"
    return f"{described:g}" if isinstance(described, float) else str(described)


def kind_of(model: Model) -> str:
    """What its densities are of."""
    return f"log p(x{'|c' if hasattr(model, 'condition') else ''}), {PROBABILITIES[model.likelihood.support]}"


def alike(key: str, metrics: Sequence[dict[str, Any]]) -> bool:
    """Whether figures of one name were measured by one protocol."""
    same = PROTOCOL if key in PLAIN else (*PROTOCOL, "how")
    return all(its.get(part) == metrics[0].get(part) for its in metrics for part in same)


def told(metric: dict[str, Any]) -> str:
    of = f"{metric['split']} N={metric['count']:,}; " if "count" in metric else ""
    return f"{of}{metric['how']}"


def check_same(one: Run, other: Run) -> None:
    """Raises UsageError unless both saw the same pictures, and saw them alike."""
    if one.description["data"]["digest"] != other.description["data"]["digest"]:
        raise UsageError(
            f"{other.path} was trained on other pictures, splits or sizes than {one.path}: their figures do not compare. "
            "Train both on the same."
        )
    if one.binarization != other.binarization:
        told = [f"{run.path} had pixels {run.pixels}" for run in (one, other)]
        raise UsageError(f"{told[0]}; {told[1]}: their figures do not compare. Train both alike.")
