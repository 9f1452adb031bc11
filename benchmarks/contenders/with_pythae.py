"""pythae's own trainer on its own networks, as its documentation shows it.

Measured are its training epochs: the data loader, the steps, the progress bar. Left out is what it does between two epochs
(a deep copy of the best model); it neither evaluates nor saves.
"""

import tempfile

import numpy as np
import torch
from contest import BATCH, Clock, Task, enter
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.nn.benchmarks.celeba import Decoder_Conv_AE_CELEBA, Encoder_Conv_VAE_CELEBA
from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback


class Watch(TrainingCallback):
    """Marks every step; the time between two epochs does not count."""

    def __init__(self, clock: Clock, count: int):
        self.clock, self.count, self.images = clock, count, 0

    def on_train_step_begin(self, training_config, **kwargs):  # called once an epoch
        self.clock.resume()

    def on_train_step_end(self, training_config, **kwargs):
        self.images += BATCH
        self.clock.mark(self.images)
        if self.images % self.count == 0:
            self.clock.leave()


def network(task: Task) -> VAE:
    config = VAEConfig(input_dim=task.image, latent_dim=task.latent)
    if task.name == "conv64":
        return VAE(config, Encoder_Conv_VAE_CELEBA(config), Decoder_Conv_AE_CELEBA(config))
    if task.name == "conv28":
        return VAE(config, Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config))
    return VAE(config)


def train(task: Task, pixels: np.ndarray, clock: Clock) -> dict:
    model = network(task)
    data = BaseDataset(torch.from_numpy(np.array(pixels)).float() / 255, torch.zeros(len(pixels)))
    with tempfile.TemporaryDirectory() as place:
        settings = BaseTrainerConfig(output_dir=place, num_epochs=10**6, learning_rate=1e-3, per_device_train_batch_size=BATCH)
        with clock:
            BaseTrainer(model, data, training_config=settings, callbacks=[Watch(clock, len(pixels))]).train()
    parameters = sum(weight.numel() for weight in model.parameters())
    return {"parameters": parameters, "how": f"BaseTrainer, fp32, threads {torch.get_num_threads()}"}


if __name__ == "__main__":
    enter(train)
