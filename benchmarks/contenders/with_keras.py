"""Keras 3 on torch: the variational autoencoder of its own examples (a custom `train_step`) with pythae's layers."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from contest import BATCH, Clock, Task, enter
from keras import layers, ops


def down(x, *channels: int):
    for width in channels:
        x = layers.ZeroPadding2D(1)(x)
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 4, strides=2)(x)))
    return x


def lift(x, width: int, kernel: int, stride: int, padding: int, extra: int):  # noqa: PLR0917 - as the layer has them
    """torch's transposed convolution with this padding: all of it, cropped."""
    x = layers.Conv2DTranspose(width, kernel, strides=stride)(x)
    return layers.Cropping2D(((padding, padding - extra),) * 2)(x)


def up(x, *lifts: tuple[int, int, int, int, int]):
    for lifted in lifts:
        x = layers.ReLU()(layers.BatchNormalization()(lift(x, *lifted)))
    return x


def networks(task: Task) -> tuple[keras.Model, keras.Model]:
    """Encoder and decoder; pictures are (H, W, C), as Keras has them."""
    channels, height, width = task.image
    x = pictures = keras.Input((height, width, channels))
    z = codes = keras.Input((task.latent,))
    if task.name == "mlp":
        x = layers.Dense(512, "relu")(layers.Flatten()(x))
        z = layers.Dense(height * width * channels, "sigmoid")(layers.Dense(512, "relu")(z))
        z = layers.Reshape((height, width, channels))(z)
    else:
        x = layers.Flatten()(down(x, 128, 256, 512, 1024))
        side = 8 if height == 64 else 4
        z = layers.Reshape((side, side, 1024))(layers.Dense(1024 * side * side)(z))
        if height == 64:
            z = up(z, (512, 5, 2, 2, 0), (256, 5, 2, 1, 0), (128, 5, 2, 2, 1))
            z = lift(z, channels, 5, 1, 1, 0)
        else:
            z = up(z, (512, 3, 2, 1, 0), (256, 3, 2, 1, 1))
            z = lift(z, channels, 3, 2, 1, 1)
        z = layers.Activation("sigmoid")(z)
    heads = [layers.Dense(task.latent)(x), layers.Dense(task.latent)(x)]
    return keras.Model(pictures, heads), keras.Model(codes, z)


class VAE(keras.Model):
    def __init__(self, encoder: keras.Model, decoder: keras.Model):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.built = True  # its networks are
        self.seeds = keras.random.SeedGenerator(0)
        self.losses_seen = {name: keras.metrics.Mean(name) for name in ("loss", "reconstruction_loss", "kl_loss")}

    @property
    def metrics(self):
        return list(self.losses_seen.values())

    def train_step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        mu, log_var = self.encoder(x, training=True)
        z = mu + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mu), seed=self.seeds)
        reconstruction = ops.mean(ops.sum(ops.square(x - self.decoder(z, training=True)), axis=(1, 2, 3)))
        kl = ops.mean(ops.sum(-0.5 * (1 + log_var - ops.square(mu) - ops.exp(log_var)), axis=1))
        loss = reconstruction + kl
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        for metric, value in zip(self.metrics, (loss, reconstruction, kl), strict=True):
            metric.update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


class Watch(keras.callbacks.Callback):
    def __init__(self, clock: Clock):
        super().__init__()
        self.clock, self.images = clock, 0

    def on_train_batch_end(self, batch, logs=None):
        self.images += BATCH
        self.clock.mark(self.images)


def train(task: Task, pixels: np.ndarray, clock: Clock) -> dict:
    model = VAE(*networks(task))
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    x = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).astype("float32") / 255
    with clock:
        model.fit(x, epochs=10**6, batch_size=BATCH, callbacks=[Watch(clock)], verbose=0)
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return {"parameters": parameters, "how": f"model.fit, fp32, threads {torch.get_num_threads()}"}


if __name__ == "__main__":
    enter(train)
