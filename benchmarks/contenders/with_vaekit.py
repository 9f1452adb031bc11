"""vaekit's own training, `start` and `fit`, on networks with exactly pythae's layers; how a step runs is left to its tuner."""

import tempfile
from math import sqrt
from pathlib import Path

import nets
import numpy as np
import torch
from contest import BATCH, Clock, Task, enter

from vaekit import VAE, Part, Recipe, Run, Training, fit, fitting, open_data, start
from vaekit.likelihoods import FixedGaussian
from vaekit.objectives import ELBO
from vaekit.posteriors import DiagonalGaussian
from vaekit.priors import StandardNormal


class PythaeEncoder(Part):
    """(B, C, H, W) -> (B, features)."""

    name: str
    image: tuple[int, int, int]

    def __post_init__(self):
        self.body, self.features = nets.encoder(self.name, tuple(self.image))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class PythaeDecoder(Part):
    """(B, D) -> (B, C, H, W)."""

    name: str
    image: tuple[int, int, int]
    latent: int

    def __post_init__(self):
        self.body = nets.decoder(self.name, tuple(self.image), self.latent)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.body(z)


class Watch(fitting.Silent):
    """Marks every line of the log."""

    def __init__(self, clock: Clock):
        self.clock, self.messages = clock, []

    def logged(self, record, fraction):
        if record["split"] == "train":
            self.clock.mark(record["images"])

    def said(self, message):
        self.messages.append(message)


def recipe(task: Task) -> Recipe:
    """pythae's loss: the sum of squared errors plus KL."""
    encoder = PythaeEncoder(name=task.name, image=task.image)
    model = VAE(
        encoder=encoder,
        posterior=DiagonalGaussian(features=encoder.features, latent=task.latent),
        decoder=PythaeDecoder(name=task.name, image=task.image, latent=task.latent),
        likelihood=FixedGaussian(scale=sqrt(0.5)),
        prior=StandardNormal(latent=task.latent),
    )
    return Recipe(model, ELBO(), Training(images=10**9, batch_size=BATCH, validate_every=10**12))


def train(task: Task, pixels: np.ndarray, clock: Clock) -> dict:
    if task.name != "mlp":  # seconds a step: fifty of them would take minutes
        fitting.LOG_EVERY = 1
    with tempfile.TemporaryDirectory() as place:
        np.save(Path(place) / "pictures.npy", pixels)
        cooked, watch = recipe(task), Watch(clock)
        run = start(Path(place) / "run", open_data(Path(place) / "pictures.npy", splits=(0.98, 0.01, 0.01)), cooked)
        with clock:
            fit(run, run.open_data(), watch, snapshot_seconds=10**9)
        execution = Run.open(run.path).description["execution"]
    parameters = sum(weight.numel() for weight in cooked.model.parameters())
    how = ", ".join([*(f"{name} {value}" for name, value in execution.items()), *watch.messages])
    return {"parameters": parameters, "how": how}


if __name__ == "__main__":
    enter(train)
