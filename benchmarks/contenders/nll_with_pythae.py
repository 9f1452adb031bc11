"""pythae's own VAE by its own trainer on dynamically binarised pictures for some minutes, then the same bound as vaekit's.

    python nll_with_pythae.py PICTURES.npz --minutes 4 --samples 5000

PICTURES.npz holds uint8 `train` (grey) and `test` (black and white), (N, C, H, W). Prints one line of JSON.
"""

import argparse
import json
import tempfile
import time
from contextlib import suppress

import numpy as np
import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.distributions import Density, Gaussian
from vaekit.metrics import importance_bound
from vaekit.priors import StandardNormal

LATENT, BATCH, RATE = 40, 128, 1e-3


class Drawn(BaseDataset):
    """Black or white pixels, anew whenever a picture is asked for; pythae's loader asks for a batch picture by picture."""

    def __getitem__(self, index: int) -> DatasetOutput:
        x = self.data[index]
        return DatasetOutput(data=(torch.rand_like(x) < x).float(), labels=self.labels[index])


class Enough(Exception):
    """The minutes are over."""


class Watch(TrainingCallback):
    """Ends the training when its minutes are over."""

    def __init__(self, seconds: float):
        self.until, self.steps = time.monotonic() + seconds, 0

    def on_train_step_end(self, training_config, **kwargs):
        self.steps += 1
        if time.monotonic() >= self.until:
            raise Enough


class Pixels(Density):
    """pythae's own -log p(x | z): the binary cross-entropy of the probabilities that its decoder gives."""

    def __init__(self, probability: Tensor):
        self.probability = probability
        super().__init__(probability, 3)

    def log_prob(self, value: Tensor) -> Tensor:
        return -F.binary_cross_entropy(self.probability, value.expand_as(self.probability), reduction="none").sum((-3, -2, -1))


class Theirs(nn.Module):
    """pythae's model as the bound asks for one."""

    def __init__(self, model: VAE):
        super().__init__()
        self.model, self.prior = model, StandardNormal(latent=LATENT)

    def encode(self, x: Tensor) -> Gaussian:
        found = self.model.encoder(x)
        return Gaussian(found.embedding, found.log_covariance)

    def decode(self, z: Tensor) -> Pixels:
        return Pixels(self.model.decoder(z.flatten(0, 1))["reconstruction"].unflatten(0, z.shape[:2]))


def train(pixels: np.ndarray, minutes: float) -> tuple[VAE, int]:
    """The model after so many minutes of its trainer, and the images it saw."""
    data = Drawn(torch.from_numpy(pixels).float() / 255, torch.zeros(len(pixels)))
    model = VAE(VAEConfig(input_dim=pixels.shape[1:], latent_dim=LATENT, reconstruction_loss="bce"))
    with tempfile.TemporaryDirectory() as place:
        settings = BaseTrainerConfig(output_dir=place, num_epochs=10**6, learning_rate=RATE, per_device_train_batch_size=BATCH)
        watch = Watch(60 * minutes)
        with suppress(Enough):
            BaseTrainer(model, data, training_config=settings, callbacks=[watch]).train()
    return model.eval(), watch.steps * BATCH


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--samples", type=int, default=5000)
    given = parser.parse_args()
    pictures = np.load(given.pictures)
    model, images = train(pictures["train"], given.minutes)
    test = torch.from_numpy(pictures["test"])
    found = importance_bound(Theirs(model), lambda part: test[part], len(test), given.samples)  # pyright: ignore[reportArgumentType]
    low, high = found.interval
    about = {"nll": -found.value, "interval": [-high, -low], "curve": {k: -v for k, v in found.curve.items()}, "images": images}
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps(about | {"parameters": parameters, "effective": found.effective.median().item(), "seconds": found.seconds}))


if __name__ == "__main__":
    main()
