"""Pictures and data sets small enough to train on in a test."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vaekit.data import Dataset
from vaekit.likelihoods import Likelihood, OptimalGaussian
from vaekit.model import VAE, Model
from vaekit.nets import MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO, Objective
from vaekit.posteriors import DiagonalGaussian
from vaekit.priors import StandardNormal
from vaekit.recipes import Recipe
from vaekit.state import State
from vaekit.training import Training

CPU = torch.device("cpu")


def pictures(count: int, image: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> np.ndarray:
    """Bright rectangles at random places on a dim ground, uint8 (count, C, H, W)."""
    rng = np.random.default_rng(seed)
    _, height, width = image
    found = np.full((count, *image), 20, np.uint8)
    for picture in found:
        top, left = rng.integers(0, max(1, height // 2)), rng.integers(0, max(1, width // 2))
        picture[:, top : top + (height + 1) // 2, left : left + (width + 1) // 2] = rng.integers(150, 250)
    return found


def dataset(count: int = 40, image: tuple[int, int, int] = (1, 8, 8), pixels: np.ndarray | None = None, digest: str = "a" * 64):
    """A Dataset of `count` pictures, three quarters of them to train on."""
    pixels = pictures(count, image) if pixels is None else pixels
    cuts = [len(pixels) * 3 // 4, len(pixels) * 7 // 8]
    parts = np.split(np.arange(len(pixels)), cuts)
    return Dataset(
        name="tiny",
        pixels=pixels,
        files=[f"{i:06d}" for i in range(len(pixels))],
        labels=None,
        label_names=(),
        attributes=None,
        attribute_names=(),
        splits=dict(zip(("train", "validation", "test"), parts, strict=True)),
        digest=digest,
        description={"source": "tiny"},
        quarantine=None,
    )


def known(model: Model, count: int) -> np.ndarray:
    """What `count` images of a conditional model are told, a third of them nothing; (count, 0) for any other model."""
    condition = getattr(model, "condition", None)
    if condition is None:
        return np.empty((count, 0), np.float32)
    rng, labels = np.random.default_rng(0), len(condition.labels)
    c = rng.normal(size=(count, len(condition.names))).astype(np.float32)
    c[:, :labels] = np.eye(labels)[rng.integers(max(labels, 1), size=count)] if labels else 0
    c[::3] = np.nan
    return c


def model(
    image: tuple[int, int, int] = (1, 8, 8), latent: int = 3, likelihood: Likelihood | None = None, width: int = 16, **parts: Any
) -> VAE:
    """A small VAE from fully connected nets; `parts` replace its own."""
    likelihood = likelihood or OptimalGaussian()
    return VAE(
        **{
            "encoder": MLPEncoder(image=image, features=width, depth=1),
            "posterior": DiagonalGaussian(features=width, latent=latent),
            "decoder": MLPDecoder(image=image, latent=latent, width=width, depth=1, per_pixel=likelihood.per_pixel),
            "likelihood": likelihood,
            "prior": StandardNormal(latent=latent),
        }
        | parts
    )


def training(**given: Any) -> Training:
    """Settings under which a step is a function of its number alone: one thread, fp32, nothing chosen by the clock."""
    fixed = {"batch_size": 8, "precision": "fp32", "compile": "off", "threads": 1, "device": "cpu", "deterministic": True}
    return Training(**{"epoch": 30, "warmup": 16, "half_life": 100} | fixed | given)


def recipe(objective: Objective | None = None, make: Callable[[], VAE] = model, **given: Any) -> Recipe:
    """A small model and how to train it; `given` are settings."""
    return Recipe(make(), objective or ELBO(), training(**given))


def state(
    seed: int = 0, make: Callable[[], tuple[VAE, Objective]] = lambda: (model(), ELBO()), **given: Any
) -> tuple[State, Training]:
    """A fresh training state and its settings."""
    torch.manual_seed(seed)
    settings = training(**{"images": 1000} | given)
    return State.start(*make(), settings, CPU), settings
