"""From pictures to codes and back, in batches, deterministic unless asked otherwise.

Shapes: N images, D latents; images are uint8 or float in [0, 1], (N, C, H, W).
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import world
from ..batches import mix
from ..categorical import CategoricalLatents, OneHots
from ..distributions import Gaussian
from ..errors import UsageError
from ..model import Model
from ..posteriors import Discrete
from ..run import Run
from ..train import chunks
from ..windows import rows_of

BLOCK = 512  # codes
Mode = Literal["mean", "sample", "distribution"]


class Codes(NamedTuple):
    """q(z | x) of every image: mu and log_var, (N, D). Where nothing is left to chance, log_var is minus infinity."""

    mu: np.ndarray
    log_var: np.ndarray

    @property
    def certain(self) -> bool:
        """Whether each image has one code, as in a plain autoencoder or a VQ-VAE."""
        return bool(np.isneginf(self.log_var).all())


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
def codes(model: Model, images: np.ndarray, rows: np.ndarray | None = None) -> Codes:
    """mu and log_var of every image, or of the rows (n,) alone; a memory map is read batch by batch.

    Under torchrun the processes share the work, and each has all codes.
    """
    rows = np.arange(len(images)) if rows is None else rows
    found = np.empty((2, len(rows), model.latent), np.float32)
    like = next(model.parameters())  # its device and type
    cuts = np.linspace(0, len(rows), world.here.size + 1).astype(int)  # a run of images for each process
    for start in range(cuts[world.here.rank], cuts[world.here.rank + 1], model.at_once):
        part = slice(start, min(start + model.at_once, cuts[world.here.rank + 1]))
        q = model.encode(as_pictures(rows_of(images, rows[part])).to(like))
        found[0, part], found[1, part] = q.mean.float().cpu(), q.variance.log().float().cpu()
    for rank, its in enumerate(world.gathered(found[:, cuts[world.here.rank] : cuts[world.here.rank + 1]])):
        found[:, cuts[rank] : cuts[rank + 1]] = its
    return Codes(*found)


@torch.no_grad()
def code_numbers(model: Model, images: np.ndarray, rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """For a model of discrete codes: those of a draw z ~ q(z | x) of the rows, (n, places * codes of a place) int64.

    Raises UsageError for any other model.
    """
    coder, like = getattr(model, "posterior", None), next(model.parameters())
    if not isinstance(coder, Discrete):
        raise UsageError(f"Codes are numbers in a model of codes; this one has {type(coder).__name__}.")
    found = []
    with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
        for number, part in enumerate(np.split(rows, range(model.at_once, len(rows), model.at_once))):
            torch.manual_seed(mix(seed, number))
            q = model.encode(as_pictures(rows_of(images, part)).to(like))
            found.append(coder.codes_of(q).cpu().numpy())
    return np.concatenate(found)


def code_counts(model: Model, images: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """For a model of discrete codes: how often each value of each of a place's codes occurs in the rows, (levels,) each.

    Raises UsageError for any other model.
    """
    levels: tuple[int, ...] = getattr(getattr(model, "posterior", None), "levels", ())
    found = code_numbers(model, images, rows).reshape(-1, max(len(levels), 1))
    return [np.bincount(column, minlength=size) for column, size in zip(found.T, levels, strict=True)]


def encode(model: Model, images: np.ndarray, mode: Mode = "mean", seed: int = 0) -> np.ndarray | Codes:
    """Codes of images (N, C, H, W): mu (N, D), a draw z ~ q(z | x) (N, D), or mean and log variance as Codes.

    The same images give the same codes; a draw depends on `seed` and on the place of its image among them. Raises UsageError on
    images that the model cannot take, and on a mode that there is not.
    """
    if mode == "sample":
        return draws(model, images, seed)
    found = codes(model, images)
    if mode == "mean":
        return found.mu
    if mode == "distribution":
        return found
    raise UsageError(f"encode knows no mode {mode!r}; choose 'mean', 'sample' or 'distribution'.")


@torch.no_grad()
def draws(model: Model, images: np.ndarray, seed: int, rows: np.ndarray | None = None, c: np.ndarray | None = None) -> np.ndarray:
    """z ~ q(z | x) of every image, or of the rows (n,) alone, (n, D); c (n, Y): what a conditional model is told of them."""
    rows = np.arange(len(images)) if rows is None else rows
    found = np.empty((len(rows), model.latent), np.float32)
    like = next(model.parameters())
    with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
        for start in range(0, len(rows), model.at_once):
            torch.manual_seed(mix(seed, start))
            part = slice(start, start + model.at_once)
            told = None if c is None else torch.from_numpy(c[part]).to(like)
            found[part] = model.encode(as_pictures(rows_of(images, rows[part])).to(like), told).rsample().float().cpu()
    return found


@torch.no_grad()
def decode(model: Model, z: np.ndarray, c: np.ndarray | None = None, *, seed: int | None = None) -> np.ndarray:
    """The mean pictures of codes (N, D): float32 (N, C, H, W) in [0, 1]. c (N, Y): what a conditional model is told of them.

    With a seed, draws x ~ p(x | z) instead, which depend on it and on their place. Raises UsageError on codes of another shape or
    that are not finite.
    """
    z = np.asarray(z, np.float32)
    if z.ndim != 2 or z.shape[1] != model.latent or not np.isfinite(z).all():
        raise UsageError(f"decode takes finite codes of shape (N, {model.latent}), got {z.shape}.")
    like = next(model.parameters())
    told = None if c is None else torch.from_numpy(np.asarray(c, np.float32)).to(like)
    pictures = []
    for start in range(0, len(z), model.at_once):
        part = slice(start, start + model.at_once)
        px = model.decode(torch.tensor(z[None, part]).to(like), None if told is None else told[part])
        if seed is None:
            pictures.append(px.mean[0].float().cpu().numpy())
            continue
        with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
            torch.manual_seed(mix(seed, start))
            pictures.append(px.sample()[0].float().cpu().numpy())
    return np.concatenate(pictures) if pictures else np.empty((0, *model.image), np.float32)


def reconstruct(model: Model, images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) through their likeliest codes and back, float32 (N, C, H, W) in [0, 1]; nothing is drawn.

    Raises as `encode`.
    """
    return decode(model, likeliest(model, codes(model, images).mu))


def likeliest(model: Model, mu: np.ndarray) -> np.ndarray:
    """The codes that a decoder learned to decode, of mu (N, D): of categories the likeliest ones, else mu itself."""
    return likeliest_of(model, torch.from_numpy(mu)).numpy()


def likeliest_of(model: Model, mu: Tensor) -> Tensor:
    """As `likeliest`."""
    coder = getattr(model, "posterior", None)
    if not isinstance(coder, CategoricalLatents):
        return mu
    chosen = mu.unflatten(1, (-1, coder.categories)).argmax(-1)
    return F.one_hot(chosen, coder.categories).flatten(1).to(mu.dtype)


def edited(model: Model, images: np.ndarray, moves: np.ndarray, *, details: bool = False) -> np.ndarray:
    """Images (N, C, H, W) with mu moved by `moves` (N, D) or (D,), decoded: float32 (N, C, H, W) in [0, 1].

    With `details` x + dec(mu + moves) - dec(mu) instead, within [0, 1]: what the decoder cannot draw stays as it was. Raises as
    `encode`.
    """
    mu = codes(model, images).mu
    moved = decode(model, mu + moves)
    if not details:
        return moved
    x = as_pictures(images).numpy()
    return np.clip(x + moved - decode(model, mu), 0, 1)


@torch.no_grad()
def picture_of(run: Run, model: Model, seed: int) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What stands for pictures of codes beside real ones, and in words: where those are black and white, grey ones would not."""
    if run.binarization and model.likelihood.support == "bits":
        return partial(decode, model, seed=seed), "pictures are draws x ~ p(x|z)"
    return partial(decode, model), "pictures are means of p(x|z)"


def prior_codes(model: Model, n: int, seed: int = 0, temperature: float = 1.0, c: np.ndarray | None = None) -> np.ndarray:
    """n codes z ~ p(z), (n, D), scaled by `temperature` around the prior's mean; c (n, Y). Raises as `Model.draw`."""
    like = next(model.parameters())
    told = None if c is None else torch.from_numpy(np.asarray(c, np.float32)).to(like)
    with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return model.draw(n, temperature, told).float().cpu().numpy()


def sample(model: Model, n: int, seed: int = 0, temperature: float = 1.0, c: np.ndarray | None = None) -> np.ndarray:
    """n pictures from the prior, (n, C, H, W) in [0, 1]: z ~ p(z), scaled by `temperature` around its mean, decoded.

    c (n, Y): what a conditional model is told of them.

    Raises UsageError for a plain autoencoder.
    """
    return decode(model, prior_codes(model, n, seed, temperature, c), c)


@torch.no_grad()
def kl_per_latent(model: Model, found: Codes) -> np.ndarray:
    """The mean KL(q(z_d | x) || p(z_d)) of every latent over N images, in nats, (D,); 0 for a latent that carries nothing.

    A learned prior has no such terms: there p(z_d) is the Gaussian with the mean and the variance of all these codes, which makes
    it an upper bound on what the latent tells of the image. Categories of one choice tell the same thing: with each stands the KL
    of the choice.
    """
    if not model.has_rate:
        raise UsageError("KL per latent needs a prior and a posterior that is a density; this autoencoder has points.")
    p = model.p_z()
    if isinstance(p, OneHots):
        return kl_of_choices(p, found.mu)
    if isinstance(p, Gaussian):
        p = Gaussian(p.loc.double().cpu(), p.log_var.double().cpu())
    else:
        spread = found.mu.var(0, dtype=np.float64) + np.exp(found.log_var).mean(0, dtype=np.float64)
        p = Gaussian(torch.from_numpy(found.mu.mean(0, dtype=np.float64)), torch.from_numpy(spread).log())
    total = torch.zeros(found.mu.shape[1], dtype=torch.float64)
    for part in chunks(len(found.mu), BLOCK):  # a hierarchy has thousands of latents: never all of them as float64
        mu, log_var = (torch.from_numpy(each[part]).double() for each in found)
        total += Gaussian(mu, log_var).kl_per_latent(p).sum(0)
    return (total / len(found.mu)).numpy()


def kl_of_choices(p: OneHots, probabilities: np.ndarray) -> np.ndarray:
    """The mean KL to p of every choice over N images, told at each of its categories; of the probabilities of these, (N, D)."""
    from scipy.special import rel_entr

    prior, categories = p.mean.double().cpu().numpy(), p.logits.shape[-1]
    total = np.zeros(probabilities.shape[1])
    for part in chunks(len(probabilities), BLOCK):
        total += rel_entr(probabilities[part].astype(np.float64), prior).sum(0)
    return np.repeat((total / len(probabilities)).reshape(-1, categories).sum(1), categories)
