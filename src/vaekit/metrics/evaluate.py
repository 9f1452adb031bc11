"""One evaluation of a model on one split: the bound, the errors, the latents, the labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..data import Dataset
from ..execution import Execution
from ..latent import codes, decode, kl_per_latent, neighbour_accuracy
from ..model import VAE
from ..objectives import Objective
from ..priors import StandardNormal
from ..train import validate
from .bounds import importance_bound
from .weights import weights_of

ACTIVE = 0.01  # nats; a latent that carries less is not in use
NEIGHBOURS = 5
MOST_FITTED = 60_000  # codes of the training split that the neighbour classifier learns from

Metric = dict[str, Any]


def evaluate(model: VAE, objective: Objective, data: Dataset, split: str = "test", seed: int = 0) -> dict[str, Metric]:
    """Metrics by name: {"value", "unit", "count", "split", "how"}. Raises nothing for what a model or data set cannot have: a
    plain autoencoder has no rate, unlabelled pictures no neighbour accuracy."""
    if not len(data.splits[split]):
        split = "validation"
    rows = data.splits[split]
    device = next(model.parameters()).device
    bound = validate(model, objective, lambda part: torch.from_numpy(data.take(rows[part])).to(device), len(rows), seed)
    found: dict[str, Metric] = {}

    def add(name: str, value: float, unit: str, how: str) -> None:
        found[name] = {"value": value, "unit": unit, "count": len(rows), "split": split, "how": how}

    closed = isinstance(model.prior, StandardNormal)
    add("distortion", bound["distortion"], "nats per image", f"-log p(x|z), one z per image, seed {seed}")
    if "rate" in bound:
        add(
            "rate",
            bound["rate"],
            "nats per image",
            "KL(q(z|x) || p(z)), " + ("closed form" if closed else f"one z per image, seed {seed}"),
        )
        add("elbo", bound["elbo"], "nats per image", "-(distortion + rate)")
    add("loss", bound["loss"], "nats per image", "the objective at its final weights")
    add("residual", bound["mse"] ** 0.5, "pixel value in [0, 1]", f"root mean squared error, z drawn, seed {seed}")

    codes_here = codes(model, data.pixels, rows)
    add(
        "rmse", squared_error(model, codes_here.mu, data, rows) ** 0.5, "pixel value in [0, 1]", "root mean squared error, z = mu"
    )
    if "rate" in bound:
        kl = kl_per_latent(model, codes_here)
        against = "" if closed else " to the codes' own Gaussian"
        add("active_latents", int((kl > ACTIVE).sum()), "latents", f"mean KL{against} above {ACTIVE} nats, of {len(kl)}")
        found["active_latents"]["kl_per_latent"] = np.round(kl, 4).tolist()
    learn = data.some("train", MOST_FITTED, seed)
    accuracy = label_accuracy(data, learn, codes(model, data.pixels, learn).mu, rows, codes_here.mu)
    if accuracy is not None:
        add("neighbour_accuracy", accuracy, "share", f"{NEIGHBOURS} nearest neighbours on mu, fitted on {len(learn)} of train")
    weights = weights_of(model.image, objective, model.likelihood)
    if weights:
        for name, value in weights._asdict().items():
            found[f"weight_{name}"] = {"value": value, "unit": "", "how": "what the loss amounts to at this resolution"}
    return found


def likelihood(
    model: VAE,
    data: Dataset,
    samples: int,
    split: str = "test",
    *,
    seed: int = 0,
    execution: Execution | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Metric]:
    """ "nll": the importance-sampled bound on -log p(x) of a split, with all that another number must share to be compared."""
    rows = data.splits[split if len(data.splits[split]) else "validation"]
    device = next(model.parameters()).device
    found = importance_bound(
        model,
        lambda part: torch.from_numpy(data.take(rows[part])).to(device),
        len(rows),
        samples,
        seed=seed,
        execution=execution,
        progress=progress,
    )
    how = f"IS-{samples} (Burda et al., 2016, eq. 8), an upper bound on -log p(x), seed {seed}, decoder in {found.precision}"
    low, high = found.interval
    return {
        "nll": {
            "value": -found.value,
            "unit": "nats per image",
            "count": len(rows),
            "split": split if len(data.splits[split]) else "validation",
            "how": how,
            "interval": [-high, -low],
            "curve": {str(k): round(-value, 4) for k, value in found.curve.items()},
            "effective_samples": {"median": found.effective.median().item(), "lowest": found.effective.min().item()},
            "seconds": round(found.seconds, 1),
        }
    }


def label_accuracy(data: Dataset, learn: np.ndarray, learn_mu: np.ndarray, rows: np.ndarray, mu: np.ndarray) -> float | None:
    """Nearest-neighbour accuracy on mu, learnt on some rows, scored on others; None where labels are too few on either side."""
    if data.labels is None or (data.labels[learn] >= 0).sum() < NEIGHBOURS or not (data.labels[rows] >= 0).any():
        return None
    return neighbour_accuracy(learn_mu, data.labels[learn], mu, data.labels[rows], NEIGHBOURS)


def squared_error(model: VAE, mu: np.ndarray, data: Dataset, rows: np.ndarray, batch: int = 512) -> float:
    """Mean over images and pixel values, in batches: the pictures are never all in memory as floats."""
    total = 0.0
    for start in range(0, len(rows), batch):
        part = slice(start, start + batch)
        total += np.square(decode(model, mu[part]) - data.take(rows[part]) / 255.0).mean((1, 2, 3)).sum()
    return float(total / len(rows))
