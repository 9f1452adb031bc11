"""From pictures to codes and back, in batches, deterministic unless asked otherwise.

Shapes: N images, D latents; images are uint8 or float in [0, 1], (N, C, H, W).
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import world
from ..distributions import Gaussian
from ..errors import UsageError
from ..model import VAE

BATCH = 256
Mode = Literal["mean", "sample", "distribution"]


class Codes(NamedTuple):
    """q(z | x) of every image: mu and log_var, (N, D). A plain autoencoder's log_var is minus infinity."""

    mu: np.ndarray
    log_var: np.ndarray


def as_pictures(images: np.ndarray | Tensor) -> Tensor:
    """uint8 or float images as float in [0, 1]. Raises UsageError on any other range or type."""
    pictures = torch.as_tensor(np.require(images, requirements=("C", "W")) if isinstance(images, np.ndarray) else images)
    if pictures.dim() != 4:
        raise UsageError(f"Images have shape {tuple(pictures.shape)}; expected (N, C, H, W). Add the missing axis.")
    if pictures.dtype == torch.uint8:
        return pictures.float() / 255
    if not pictures.is_floating_point():
        raise UsageError(f"Images have type {pictures.dtype}; expected uint8, or float in [0, 1].")
    if len(pictures) and not (pictures.min() >= 0 and pictures.max() <= 1):
        low, high = pictures.min().item(), pictures.max().item()
        raise UsageError(f"Images range from {low:g} to {high:g}; expected float in [0, 1]. Rescale them, or pass uint8.")
    return pictures.float()


@torch.no_grad()
def codes(model: VAE, images: np.ndarray, rows: np.ndarray | None = None) -> Codes:
    """mu and log_var of every image, or of the rows (n,) alone; a memory map is read batch by batch.

    Under torchrun the processes share the work, and each has all codes.
    """
    rows = np.arange(len(images)) if rows is None else rows
    found = np.empty((2, len(rows), model.latent), np.float32)
    like = next(model.parameters())  # its device and type
    cuts = np.linspace(0, len(rows), world.here.size + 1).astype(int)  # a run of images for each process
    for start in range(cuts[world.here.rank], cuts[world.here.rank + 1], BATCH):
        part = slice(start, min(start + BATCH, cuts[world.here.rank + 1]))
        q = model.encode(as_pictures(images[rows[part]]).to(like))
        found[0, part], found[1, part] = q.mean.float().cpu(), q.variance.log().float().cpu()
    for rank, its in enumerate(world.gathered(found[:, cuts[world.here.rank] : cuts[world.here.rank + 1]])):
        found[:, cuts[rank] : cuts[rank + 1]] = its
    return Codes(*found)


def encode(model: VAE, images: np.ndarray, mode: Mode = "mean", seed: int = 0) -> np.ndarray | Codes:
    """Codes of images: mu (N, D), a draw z = mu + exp(log_var / 2) * eps (N, D), or both parameters as Codes.

    The same images give the same codes; a draw depends on `seed` alone.
    """
    found = codes(model, images)
    if mode == "mean":
        return found.mu
    if mode == "distribution":
        return found
    if mode == "sample":
        eps = np.random.default_rng(seed).standard_normal(found.mu.shape, np.float32)
        return found.mu + np.exp(found.log_var / 2) * eps
    raise UsageError(f"encode knows no mode {mode!r}; choose 'mean', 'sample' or 'distribution'.")


@torch.no_grad()
def decode(model: VAE, z: np.ndarray) -> np.ndarray:
    """The mean pictures of codes (N, D): float32 (N, C, H, W) in [0, 1]."""
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or z.shape[1] != model.latent or not np.isfinite(z).all():
        raise UsageError(f"decode takes finite codes of shape (N, {model.latent}), got {z.shape}.")
    like = next(model.parameters())
    pieces = [torch.from_numpy(z[start : start + BATCH]).to(like) for start in range(0, len(z), BATCH)]
    pictures = [model.decode(piece[None]).mean[0].float().cpu().numpy() for piece in pieces]
    return np.concatenate(pictures) if pictures else np.empty((0, *model.image), np.float32)


def reconstruct(model: VAE, images: np.ndarray) -> np.ndarray:
    """Pictures through mu and back, (N, C, H, W) in [0, 1]; nothing is drawn."""
    return decode(model, codes(model, images).mu)


def sample(model: VAE, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
    """n pictures from the prior, (n, C, H, W) in [0, 1]: z ~ p(z), scaled by `temperature` around its mean, decoded.

    Raises UsageError for a plain autoencoder.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        z = model.draw(n, temperature)
    return decode(model, z.float().cpu().numpy())


def kl_per_latent(model: VAE, found: Codes) -> np.ndarray:
    """The mean KL(q(z_d | x) || p(z_d)) of every latent over N images, in nats, (D,); 0 for a latent that carries nothing.

    A learned prior has no such terms: there p(z_d) is the Gaussian with the mean and the variance of all these codes, which makes
    it an upper bound on what the latent tells of the image.
    """
    q = Gaussian(torch.from_numpy(found.mu).double(), torch.from_numpy(found.log_var).double())
    if model.prior is None:
        raise UsageError("KL per latent needs a prior; a plain autoencoder has none.")
    p = model.prior()
    if not isinstance(p, Gaussian):
        p = Gaussian(q.loc.mean(0), (q.loc.var(0, correction=0) + q.variance.mean(0)).log())
    return q.kl_per_latent(Gaussian(p.loc.double().cpu(), p.log_var.double().cpu())).mean(0).numpy()
