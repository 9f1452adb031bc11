"""What was found out about a run after its training: metrics, attribute vectors, densities fitted to its codes."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import DataError, UsageError
from .files import read_json, write_json
from .part import known
from .priors import Prior
from .stored import Stored, load_part, save_part, save_tensors

METRICS = 1  # the format of metrics.json
ATTRIBUTES = "attributes.safetensors"


class Findings:
    """The part of a run folder that is about what its weights are worth; all of it can be made again."""

    path: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """name -> {value, unit, count, split, ...}, as docs/metrics.schema.json has it, of these weights."""
        path = self.path / "metrics.json"
        about = read_json(path) if path.exists() else {"format": METRICS, "metrics": {}}
        found = about.get("metrics")
        if about.get("format") != METRICS or not isinstance(found, dict) or not all(map(is_metric, found.values())):
            raise DataError(f"{path} is damaged: not every metric has a value. Measure again: vaekit evaluate {self.path}")
        weights = self.weights_digest
        return {name: its for name, its in found.items() if its.get("weights", weights) == weights}

    def add_metrics(self, values: dict[str, Any]) -> None:
        """Add to metrics.json; what was measured of other weights than these leaves it."""
        weights = self.weights_digest
        kept = {name: its for name, its in self.metrics.items() if its.get("weights") == weights}
        new = {name: its | {"weights": weights} for name, its in values.items()}
        write_json(self.path / "metrics.json", {"format": METRICS, "metrics": kept | new})

    def save_attributes(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """Write the attribute vectors, name -> (D,), and what is known about each; attributes.json says it to people."""
        told = {"weights": self.weights_digest, "about": json.dumps(about, allow_nan=False)}
        save_tensors(self.path / ATTRIBUTES, tensors, told)
        write_json(self.path / "attributes.json", about)

    @property
    def has_attributes(self) -> bool:
        """Whether there are attribute vectors in the codes of these weights."""
        path = self.path / ATTRIBUTES
        return path.exists() and Stored(path).metadata.get("weights") == self.weights_digest

    def load_attributes(self, file: Path | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The vectors, and what is known of them: the run's own, or those of a file from somewhere else.

        Raises UsageError before `save_attributes`, and for vectors that were not made in the codes of these weights.
        """
        path = file or self.path / ATTRIBUTES
        if not path.exists():
            told = f"{self.path} has no attribute vectors" if file is None else f"There is no {file}"
            raise UsageError(f"{told}. A run that was trained with --attributes gets them: vaekit attributes {self.path}")
        stored = Stored(path)
        if stored.metadata.get("weights") != self.weights_digest:
            raise UsageError(
                f"{path} holds no vectors for the codes of the weights in {self.path}: a direction means nothing to another "
                f"model. Compute them: vaekit attributes {self.path}"
            )
        return dict(stored), json.loads(stored.metadata["about"])

    def save_priors(self, priors: Mapping[str, Prior], about: dict[str, Any]) -> None:
        """Write densities fitted to the codes; `about` is what is known of these and of those that were kept, best first."""
        (self.path / "priors").mkdir(exist_ok=True)
        for name, prior in priors.items():
            save_part(self.path / "priors" / f"{name}.safetensors", prior)
        write_json(self.path / "priors" / "priors.json", {"weights": self.weights_digest, "densities": about})

    @property
    def priors(self) -> dict[str, Any]:
        """What is known of each density fitted to the codes of these weights, best first: {name: {"nats": ...}}."""
        path = self.path / "priors" / "priors.json"
        about = read_json(path) if path.exists() else {}
        return about["densities"] if about.get("weights") == self.weights_digest else {}

    @property
    def weights_digest(self) -> str:
        """sha256 of the best weights' file; "" before there is one."""
        path = self.path / "weights.safetensors"
        if not path.exists():
            return ""
        state = path.stat()
        return sha256_of(path, state.st_size, state.st_mtime_ns, state.st_ino)

    def load_prior(self, name: str | None = None) -> tuple[str, Prior]:
        """A density fitted to the codes, by default the best one, and its name. Raises UsageError where there is none."""
        about = self.priors
        if not about:
            raise UsageError(f"No density is fitted to the codes of these weights yet. Fit some: vaekit fit-prior {self.path}")
        if name not in (None, *about):
            told = f"No density {name!r} is fitted to the codes of these weights. {known(name, about)}"
            raise UsageError(f"{told} To fit others: vaekit fit-prior {self.path}")
        name = name or next(iter(about))
        return name, load_part(self.path / "priors" / f"{name}.safetensors")


def is_metric(value: object) -> bool:
    return isinstance(value, dict) and "value" in value


@lru_cache(maxsize=64)
def sha256_of(path: Path, *_: int) -> str:
    """sha256 of a file, read once for each of its states: a studio asks every second, and weights may be gigabytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
