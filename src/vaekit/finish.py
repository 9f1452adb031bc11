"""What follows a training: its metrics, its attribute vectors, its report, all kept in the run folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data import Dataset, binarized
from .errors import UsageError
from .execution import Execution
from .latent import attribute_vectors, codes
from .metrics import Metric, evaluate, likelihood
from .run import Run

SAMPLES = 100  # of z, for a first look at log p(x) where training was about nothing else


def finish(run: Run, data: Dataset) -> Path:
    """What every training ends with: metrics, attribute vectors where attributes give any, the report."""
    run.add_metrics(measure(run, data, samples=SAMPLES if is_binarized(run) else None))
    if data.attributes is not None:
        compute_attributes(run, data)
    from .report import write_report  # matplotlib's second is not for those who wait for a training to begin

    return write_report(run, data)


def is_binarized(run: Run) -> bool:
    """Whether it was trained on black-or-white draws of grey pictures."""
    return run.description["training"].get("binarize", False)


def measure(
    run: Run,
    data: Dataset,
    split: str = "test",
    seed: int = 0,
    *,
    samples: int | None = None,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Metric]:
    """Evaluate a run's best weights. With `samples`, the bound on log p(x) too; a split without pictures is that of validation.

    A run that was trained on draws of black and white is measured on one draw, the same for every run.
    """
    model, objective = run.load_model(), run.build("objective")
    data = binarized(data) if is_binarized(run) else data
    metrics = evaluate(model, objective, data, split, seed)
    if samples:
        metrics |= likelihood(model, data, samples, split, seed=seed, execution=execution, progress=progress)
        metrics["nll"]["pixels"] = (
            "dynamic binarisation: x ~ Bernoulli(pixel / 255), anew at every training step, once (seed 0) for what is measured"
            if is_binarized(run)
            else "as they are, in [0, 1]"
        )
        metrics["nll"]["trained_on"] = len(data.splits["train"])
    return metrics


def spread(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Median and quartiles over several runs, such as seeds, of every metric that all of them have."""
    metrics = [run.metrics for run in runs]
    found: dict[str, dict[str, Any]] = {}
    for name, about in metrics[0].items():
        if all(name in its for its in metrics):
            values = [its[name]["value"] for its in metrics]
            low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
            found[name] = {"median": middle, "iqr": high - low, "quartiles": [low, high], "unit": about["unit"], "values": values}
    return found


def compute_attributes(run: Run, data: Dataset, seed: int = 0) -> dict[str, Any]:
    """Attribute vectors on mu of the training split, saved with the run where there are any; what is known of each."""
    if data.attributes is None:
        raise UsageError(
            f"{data.name} has no attributes. Train with a table beside the pictures: vaekit train DATA --attributes FILE"
        )
    rows = data.splits["train"]
    mu = codes(run.load_model(), data.pixels, rows).mu
    vectors = attribute_vectors(mu, data.attributes[rows], data.attribute_names, seed)
    about = {
        "how": "mean(mu | has it) - mean(mu | has it not), on the training split",
        "images": len(rows),
        "seed": seed,
        "attributes": {vector.name: vector.about() for vector in vectors},
    }
    if vectors:
        run.save_attributes({vector.name: torch.from_numpy(vector.vector) for vector in vectors}, about)
    return about
