"""pythae's own VAE by its own trainer on dynamically binarised pictures, then the same bound as vaekit's.

    python nll_with_pythae.py train PICTURES.npz --minutes 1.5 4 12 60 --out FOLDER
    python nll_with_pythae.py measure PICTURES.npz --model FOLDER/60.safetensors --samples 5000

Its rate never changes, so one training is at every minute what a training of so many minutes would have come to: its weights are
kept there. PICTURES.npz holds uint8 `train` (grey) and `test` (black and white), (N, C, H, W). Prints one line of JSON.
"""

import argparse
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from safetensors import safe_open
from safetensors.torch import load_file, save_file
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
    """Keeps the weights at each of some minutes, and ends the training at the last; what keeping them takes is no training."""

    def __init__(self, model: VAE, minutes: list[float], out: Path):
        self.model, self.left, self.out = model, sorted(minutes), out
        self.began, self.steps = time.monotonic(), 0

    def on_train_step_end(self, training_config, **kwargs):
        self.steps += 1
        now = time.monotonic()
        if now - self.began < 60 * self.left[0]:
            return
        save_file(self.model.state_dict(), self.out / f"{self.left.pop(0):g}.safetensors", {"images": str(self.steps * BATCH)})
        self.began += time.monotonic() - now
        if not self.left:
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

    has_prior, at_once = True, 256

    def __init__(self, model: VAE):
        super().__init__()
        self.model, self.prior = model, StandardNormal(latent=LATENT)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Gaussian:
        found = self.model.encoder(x)
        return Gaussian(found.embedding, found.log_covariance)

    def p_z(self, c: Tensor | None = None) -> Gaussian:
        return self.prior()

    def decode(self, z: Tensor, c: Tensor | None = None) -> Pixels:
        return Pixels(self.model.decoder(z.flatten(0, 1))["reconstruction"].unflatten(0, z.shape[:2]))


def fresh(image: tuple[int, ...]) -> VAE:
    return VAE(VAEConfig(input_dim=image, latent_dim=LATENT, reconstruction_loss="bce"))


def train(pixels: np.ndarray, minutes: list[float], out: Path) -> dict[str, Any]:
    """By its trainer; the weights at each of the minutes lie in `out`."""
    data = Drawn(torch.from_numpy(pixels).float() / 255, torch.zeros(len(pixels)))
    model = fresh(pixels.shape[1:])
    with tempfile.TemporaryDirectory() as place:
        settings = BaseTrainerConfig(output_dir=place, num_epochs=10**6, learning_rate=RATE, per_device_train_batch_size=BATCH)
        watch = Watch(model, minutes, out)
        with suppress(Enough):
            BaseTrainer(model, data, training_config=settings, callbacks=[watch]).train()
    return {"images": watch.steps * BATCH}


def measure(pixels: np.ndarray, weights: Path, samples: int) -> dict[str, Any]:
    """The bound on black and white pictures."""
    model, test = fresh(pixels.shape[1:]).eval(), torch.from_numpy(pixels)
    with safe_open(weights, framework="pt") as file:
        images = int(file.metadata()["images"])
    model.load_state_dict(load_file(weights))
    found = importance_bound(Theirs(model), lambda part: test[part], len(test), samples)  # pyright: ignore[reportArgumentType]
    low, high = found.interval
    about = {"nll": -found.value, "interval": [-high, -low], "curve": {k: -v for k, v in found.curve.items()}, "images": images}
    parameters = sum(p.numel() for p in model.parameters())
    return about | {"parameters": parameters, "effective": found.effective.median().item(), "seconds": found.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("pictures")
    parser.add_argument("--minutes", type=float, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--samples", type=int, default=5000)
    given = parser.parse_args()
    pictures = np.load(given.pictures)
    if given.what == "train":
        print(json.dumps(train(pictures["train"], given.minutes, given.out)))
    else:
        print(json.dumps(measure(pictures["test"], given.model, given.samples)))


if __name__ == "__main__":
    main()
