"""Models made sick on purpose, each in one way, and healthy ones: what the doctor must say of each.

All are small and trained on scikit-learn's digits, so that the whole ward takes a minute or two. Those that differ only in what
training does not see are one training.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vaekit.adjusting import adjusted
from vaekit.data import Dataset, open_data
from vaekit.doctor import Finding
from vaekit.doctor.checks import ACTIVATIONS
from vaekit.errors import Diverged
from vaekit.fitting import Watcher, fit
from vaekit.known import condition_of, known_of
from vaekit.ladder import Ladder
from vaekit.likelihoods import OptimalGaussian
from vaekit.model import Model
from vaekit.objectives import ELBO
from vaekit.planning import plan, start
from vaekit.recipes import Recipe, cook
from vaekit.run import Run
from vaekit.training import Training

IMAGES = 60_000
FIXED: dict[str, Any] = {"batch_size": 128, "threads": 1, "compile": "off", "precision": "fp32", "tune": False, "device": "cpu"}
NARROW = [f"model.{place}=128" for place in ("encoder.features", "posterior.features", "decoder.width")]  # of an mlp
TRAINED: dict[str, Path] = {}  # finished runs by the print of their training; whoever made one may have removed it


def digits() -> Dataset:
    return open_data("digits")


def print_of(data: Dataset, made: Recipe) -> str:
    """Of all that decides a training: what is planned, and what it sees of the data."""
    found, known = sha256(json.dumps(plan(data, made), sort_keys=True).encode()), known_of(data, made.model)
    for split in ("train", "validation"):
        rows = data.splits[split]
        for array in (rows, data.take(rows), known[rows]):
            found.update(array.tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Patient:
    """A model, its training, and what was done to it."""

    finding: str | None  # that the doctor must make; None: none at all
    about: str
    recipe: str = "vae"
    options: dict[str, Any] = field(default_factory=dict)
    data: Callable[[Dataset], Dataset] = lambda data: data
    afterwards: Callable[[Model], None] | None = None  # surgery on the trained weights
    make: Callable[[Dataset], Recipe] | None = None
    retold: Callable[[Run], None] | None = None  # surgery on what the run folder tells of its training
    also: tuple[str, ...] = ()  # findings that may follow from what was done

    def admit(self, place: Path, watcher: Watcher | None = None) -> tuple[Run, Dataset]:
        """Train it, or where nobody watches copy what the same training has made already; then do to it what was done."""
        data = self.data(digits())
        made = self.make(data) if self.make else self.cooked(data)
        run, key = Run(place), print_of(data, made)
        if watcher is None and key in TRAINED and TRAINED[key].is_dir():
            shutil.copytree(TRAINED[key], place)
        else:
            try:
                fit(start(place, data, made), data, watcher)
            except Diverged:
                return run, data
            TRAINED[key] = shutil.copytree(place, place.with_name(f"{place.name}-trained"))
        if self.afterwards:
            model = run.load_model("cpu")
            self.afterwards(model)
            run.save_weights(model, images=run.reached["images"])
        if self.retold:
            self.retold(run)
        return run, data

    def surplus(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those that nothing was done for."""
        return [found for found in findings if found.name not in (self.finding, *self.also)]

    def cooked(self, data: Dataset) -> Recipe:
        options = {"images": IMAGES, "net": "mlp", "latent": 8} | FIXED | self.options
        made = cook(self.recipe, data.image, {k: v for k, v in options.items() if v is not None})
        return adjusted(made, NARROW) if options["net"] == "mlp" else made


def scaled_twice(data: Dataset) -> Dataset:
    return replace(data, pixels=data.pixels // 64)


def copied(data: Dataset) -> Dataset:
    """Half of the test pictures are training pictures."""
    pixels = data.pixels.copy()
    test = data.splits["test"][::2]
    pixels[test] = pixels[data.splits["train"][: len(test)]]
    return replace(data, pixels=pixels)


def marked(data: Dataset) -> Dataset:
    """A chessboard of four pixels in a corner."""
    pixels = data.pixels.copy()
    pixels[..., :2, :2] = 255 * np.eye(2, dtype=np.uint8)
    return replace(data, pixels=pixels)


def few(data: Dataset) -> Dataset:
    """A hundred pictures to learn from."""
    return replace(data, splits=data.splits | {"train": data.splits["train"][:100]})


def shuffled(data: Dataset) -> Dataset:
    assert data.labels is not None
    return replace(data, labels=np.random.default_rng(0).permutation(data.labels))


@torch.no_grad()
def deafen(model: Model) -> None:
    """The decoder's first layer no longer hears z."""
    next(iter(model.decoder.parameters())).zero_()  # pyright: ignore[reportAttributeAccessIssue]


@torch.no_grad()
def silence(model: Model) -> None:
    """Half of the units of every hidden layer never fire."""
    for part in (model.encoder, model.decoder):  # pyright: ignore[reportAttributeAccessIssue]
        for layer, after in pairwise(part.modules()):
            if isinstance(layer, nn.LayerNorm) and isinstance(after, ACTIVATIONS):
                layer.weight[::2], layer.bias[::2] = 0, -30


def ladder(data: Dataset) -> Recipe:
    model = Ladder(image=data.image, likelihood=OptimalGaussian(), width=16, latents=2, blocks=1, smallest=2)
    return Recipe(model, ELBO(), Training(images=40_000, learning_rate=2e-3, **FIXED))


def told(data: Dataset) -> Recipe:
    given = {"images": IMAGES, "net": "mlp", "latent": 8, "condition": condition_of(data)}
    return adjusted(cook("label-prior", data.image, given | FIXED), NARROW)


@torch.no_grad()
def kill_group(model: Model) -> None:
    """The second group's posterior is its prior, whatever the picture."""
    steps = [step for stage in model.steps for step in stage]  # pyright: ignore
    for weight in steps[1].posterior[-1].parameters():
        weight.zero_()


def thrown_about(run: Run) -> None:
    """The gradients of the last third of the log are ten thousand times longer."""
    lines = run.records
    for line in lines[-(len(lines) // 3) :]:
        if "gradient_norm" in line:
            line["gradient_norm"] *= 1e4
    (run.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def rolled_back(run: Run) -> None:
    """As if the loss of one batch had been no number, and training had gone on from the snapshot before it."""
    about = {"step": 100, "where": "distortion", "files": ["000012"], "rate_scale": 1.0}
    run.save_diverged({"pixels": torch.zeros(1)}, about)


SICK = {
    "collapsed": Patient("collapsed", "beta 300", options={"beta": 300.0}),
    "ignoring z": Patient("ignores z", "the decoder's first layer is zero", afterwards=deafen, also=("dead units",)),
    "prior hole": Patient("prior hole", "beta 0.0003: codes far from the prior", options={"beta": 0.0003}),
    "too smooth": Patient(
        "too smooth", "a fixed sigma of 0.6", options={"likelihood": "gaussian", "sigma": 0.6}, also=("collapsed",)
    ),
    "range mismatch": Patient("wrong range", "pixels divided twice", data=scaled_twice, also=("collapsed",)),
    "leaked duplicates": Patient("leaked", "half of the test pictures are training pictures", data=copied),
    "diverged": Patient("diverged", "a learning rate of 1e6", options={"learning_rate": 1e6}, also=("exploding gradients",)),
    "underfit": Patient("underfit", "8 steps", options={"images": 1024}, also=("collapsed", "ignores z", "prior hole")),
    "overfit": Patient("overfit", "100 training pictures", data=few, options={"latent": 32}),
    "dead group": Patient("dead group", "a group whose posterior is its prior", make=ladder, afterwards=kill_group),
    "wrong likelihood": Patient("wrong likelihood", "Bernoulli on grey values", options={"likelihood": "bernoulli"}),
    "dead units": Patient(
        "dead units", "half of the units of each layer are far below zero", afterwards=silence, also=("prior hole",)
    ),
    "shuffled labels": Patient("strange labels", "labels of other pictures", data=shuffled),
    "watermark": Patient("constant pixels", "a small chessboard in a corner of all pictures", data=marked),
    "thrown about": Patient("exploding gradients", "late gradients in the log ten thousand times longer", retold=thrown_about),
    "rolled back": Patient("recovered", "a batch that gave no number, and was gone on from", retold=rolled_back),
}
HEALTHY = {
    "vae": Patient(None, "optimal sigma"),
    "two latents": Patient(None, "optimal sigma", options={"latent": 2}),
    "autoencoder": Patient(None, "without a prior", "autoencoder"),
    "binarized": Patient(
        None, "Bernoulli on draws of black and white", options={"likelihood": "bernoulli", "binarize": "dynamic"}
    ),
    "beta-vae": Patient(None, "a rate that is weighed on purpose", "beta-vae", {"sigma": 0.25}),
    "classic": Patient(None, "the book's loss", "book", {"latent": 8}),
    "ladder": Patient(None, "a hierarchy", make=ladder),
    "conditional": Patient(None, "a prior for each label", make=told),
    "codes": Patient(
        None,
        "a VQ-VAE, whose own prior knows nothing",
        "vq-vae",
        {"net": None, "latent": None, "images": 20_000, "batch_size": 64},
    ),
}
