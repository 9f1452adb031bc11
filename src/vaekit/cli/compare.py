"""compare."""

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..metrics.paired import difference, per_image
from ..run import Run
from .answer import Answer, number, table
from .progress import doing
from .reading import Seed, reopened


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
    with doing("comparing"):
        seen = [per_image(each.load_model(), each.as_measured(data), rows, seed) for each in runs]
    found: dict[str, Any] = {
        name: {key: difference(seen[0][key], its[key], seed) for key in its if key in seen[0]}
        for name, its in zip(names[1:], seen[1:], strict=True)
    }
    metrics = {name: each.metrics for name, each in zip(names, runs, strict=True)}
    common = [key for key in metrics[names[0]] if all(key in its for its in metrics.values())]
    beside = [(key, *(number(metrics[name][key]["value"]) for name in names), metrics[names[0]][key]["unit"]) for key in common]
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
    text = [
        table([("metric", *names, "unit"), *beside]),
        table([(f"beside {names[0]}", f"of {len(rows):,} images", "difference", "95 %", "beyond the noise"), *apart]),
    ]
    values = {name: {key: its[key]["value"] for key in common} for name, its in metrics.items()}
    return Answer({"metrics": values, "differences": found, "images": len(rows)}, "\n\n".join(text if beside else text[1:]))


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
