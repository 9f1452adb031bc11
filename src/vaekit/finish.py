"""What follows a training: its metrics, its attribute vectors, its report, all kept in the run folder."""

from pathlib import Path
from typing import Any

import torch

from . import world
from .data import Dataset
from .errors import UsageError
from .latent import attribute_vectors, codes
from .library import build
from .metrics import Metric, evaluate
from .report import write_report
from .run import Run


def finish(run: Run, data: Dataset) -> Path:
    """What every training ends with: metrics, attribute vectors where attributes give any, the report."""
    measure(run, data)
    if data.attributes is not None:
        compute_attributes(run, data)
    return write_report(run, data)


def measure(run: Run, data: Dataset, split: str = "test", seed: int = 0) -> dict[str, Metric]:
    """Evaluate a run's best weights; those of the test split go into metrics.json."""
    metrics = evaluate(run.load_model(), build(run.description["objective"]), data, split, seed)
    if split == "test" and world.here.first:
        run.add_metrics(metrics)
    return metrics


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
