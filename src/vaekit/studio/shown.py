"""A run as the studio shows it: its bundle, made when somebody asks, and its model behind batched calls.

Shapes: n codes, D latents, Y columns of what a conditional model is told.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import Dataset
from ..data.decode import Recipe
from ..errors import UsageError, VaekitError
from ..latent import codes, decode, path
from ..latent.encode import likeliest
from ..model import Model
from ..run import Run
from ..stored import Stored
from ..training import Training
from .batching import Batcher
from .bundle import MOST_POINTS, SEEDED, Bundle, as_bytes, bundle_of, facts, renewed
from .draws import DRAWS, Densities, prior_codes, told_of
from .kept import Stamp, kept_bundle, stamp_of
from .lanes import Lane
from .logs import Log
from .nearest import NEAR, neighbours_of
from .thinned import Columns
from .uploads import UPLOADS, picture_of

MAPS = ThreadPoolExecutor(1, "maps")  # makes bundles, which takes long; what is there already is answered meanwhile
ANSWERS = Lane("answers", threads=2, most=8)  # makes codes and pictures into what others read
MOST_CODES = 1024  # in one request
MOST_NUMBERS = 400_000  # of codes in one answer, which is text
MOST_BYTES = 64 << 20  # of pictures in one answer
FARTHEST = 1e6  # a number of a code from 0: of larger ones a network makes no numbers any more
FEW = 4, 0  # codes and their seed, whose pictures are kept of all states of the weights


class Wish(NamedTuple):
    """How runs are shown."""

    points: int = MOST_POINTS  # on the map, at most
    layout: str = "pca"  # of the map
    batch: int = 64  # codes or pictures of several requests that share a forward pass, at most
    device: str = "auto"  # where models compute


class NotYet(VaekitError):
    """A training has not come as far as this."""


class Changed(VaekitError):
    """The weights are others than those that a page was made for."""


class Made(NamedTuple):
    """A model with its bundle, and the state of the files that they were made from."""

    stamp: Stamp
    model: Model
    bundle: Bundle
    data: Dataset


class Shown:
    """One run. Its model encodes and decodes on `executor`, which has one thread: torch uses all cores by itself."""

    def __init__(self, run: Run, executor: Executor, wish: Wish):
        self.run, self.wish = run, wish
        self.name = run.path.resolve().name
        self.made: Made | None = None
        self.making: asyncio.Task[Made] | None = None
        self.latest: tuple[str, Model] | None = None  # the weights as they are now, of a run that trains
        self.log, self.densities, self.columns = Log(run.path / "log.jsonl"), Densities(run), Columns()
        self.training: Training = run.build("training")
        self.comparable: bool = run.build("objective").comparable
        self.encoder = Batcher(self.encoded, executor, most=wish.batch)
        self.decoder = Batcher(self.decoded, executor, most=wish.batch)

    # What is known of it

    @property
    def status(self) -> dict[str, Any]:
        """What changes while it trains."""
        about, stamp = self.run.description, self.stamp
        reached = self.run.position() if self.run.snapshot.exists() else None
        with self.log.read():
            images = (reached or self.log.last).get("images", 0)
            spent = self.training.fraction(images, self.log.last.get("seconds", 0))
            findings, damage = self.log.signs.of_trouble(spent, self.comparable), self.log.damage
        return {
            "name": self.name,
            "path": str(self.run.path),
            "status": about.get("status"),
            "images": images,
            "state": stamp.weights,
            "parts": stamp.parts,
            "error": damage,
            "findings": [its._asdict() for its in findings],
            "metrics": {name: facts(metric) for name, metric in self.run.metrics.items()},
            "data": about["data"]["name"],
            "image": about["data"]["image"],
        }

    @property
    def stamp(self) -> Stamp:
        """What tells one state of the run from another."""
        return stamp_of(self.run)

    # Its bundle: one that is there is kept until somebody opens the run again

    async def ready(self, version: str | None = None) -> Made:
        """Model and bundle. Raises NotYet before there are weights, Changed where a page was made for another version."""
        made = self.made or await self.opened()
        if version not in (None, made.stamp.weights):
            raise Changed(f"{self.name} has other weights now than when this page was opened. Open it again.")
        return made

    async def opened(self) -> Made:
        """As `ready`, made anew where weights, vectors or densities are others than before."""
        stamp = self.stamp
        if stamp.weights is None:
            raise NotYet(f"{self.name} has no weights yet. Wait for its first validation.")
        if self.made is not None and self.made.stamp == stamp:
            return self.made
        if self.making is None or self.making.done():
            self.making = asyncio.create_task(self.make(stamp))
        return await asyncio.shield(self.making)

    async def make(self, stamp: Stamp) -> Made:
        made = await asyncio.get_running_loop().run_in_executor(MAPS, made_of, self.run, stamp, self.wish, self.made)
        self.made = made
        return made

    # The model, asked by batches

    @property
    def model(self) -> Model:
        assert self.made is not None
        return self.made.model

    def encoded(self, pictures: np.ndarray) -> np.ndarray:
        """mu, of categories the likeliest ones, and log_var beside each other, (n, 2, D)."""
        mu, log_var = codes(self.model, pictures)
        return np.stack([likeliest(self.model, mu), log_var], 1)

    def decoded(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, H, W, C) of codes, beside which stands what a conditional model is told, (n, D + Y)."""
        z, c = np.split(rows, [self.model.latent], axis=1)
        return as_bytes(decode(self.model, z, c if c.shape[1] else None))

    async def encode(self, file: bytes, version: str | None = None) -> np.ndarray:
        """mu and log_var of a picture file, (2, D), for somebody who holds a place of UPLOADS. Raises as `picture_of`."""
        made = await self.ready(version)
        channels, height, width = made.bundle.manifest["image"]
        recipe = Recipe(height, width, channels, self.run.description["data"]["open"].get("crop") or "center")
        found = (await self.encoder(await UPLOADS.run(picture_of, file, recipe)))[0]
        await self.ready(made.stamp.weights)  # else it may be the code of another model
        return found

    async def decode(self, z: np.ndarray, given: Sequence[str] = (), version: str | None = None) -> np.ndarray:
        """uint8 (n, H, W, C) of codes (n, D), of a conditional model given these. Raises UsageError where they are none of it."""
        made = await self.ready(version)
        z, told = self.checked(z), told_of(made.model, given)
        if len(z) * math.prod(made.model.image) > MOST_BYTES:
            raise UsageError(f"{len(z)} pictures are more than {MOST_BYTES >> 20} MiB. Ask for fewer at once.")
        pictures = await self.decoder(np.concatenate([z, np.broadcast_to(told, (len(z), len(told)))], 1))
        await self.ready(made.stamp.weights)  # else some of several passes may be those of another model
        return pictures

    def checked(self, z: np.ndarray) -> np.ndarray:
        latent = self.model.latent
        if z.ndim != 2 or z.shape[1] != latent or not 1 <= len(z) <= MOST_CODES:
            raise UsageError(f"Codes of shape {z.shape} were given. Expected 1 to {MOST_CODES} of {latent} numbers each.")
        if not (np.abs(z) <= FARTHEST).all():
            raise UsageError(f"A code has a number that is not finite, or beyond {FARTHEST:,.0f}. Expected numbers nearer to 0.")
        return z.astype(np.float32)

    def allowed(self, n: int) -> int:
        """n, where so many codes may be in one answer. Raises UsageError."""
        most = max(1, MOST_NUMBERS // self.model.latent)
        if n > most:
            raise UsageError(f"{n:,} codes were asked for. Expected {most:,} at most. Ask for fewer at once.")
        return n

    async def sample(
        self, n: int, seed: int, temperature: float, prior: str, given: Sequence[str] = (), *, version: str | None = None
    ) -> np.ndarray:
        """Codes from the model's prior, or from a density that was fitted to its codes, (n, D)."""
        made = await self.ready(version)
        self.allowed(n)
        if prior == "own":
            if not made.model.has_prior:
                raise UsageError("A plain autoencoder has no prior. Draw from a fitted density: vaekit fit-prior.")
            return await DRAWS(prior_codes, made.model, n, seed, temperature, told_of(made.model, given))
        if prior != "fitted" and prior not in made.bundle.manifest["priors"]:
            known = ", ".join(["own", "fitted", *made.bundle.manifest["priors"]])
            raise UsageError(f"There is no prior {prior!r}. Expected one of {known}.")
        which = None if prior == "fitted" else prior
        how: dict[str, Any] = {"n": n, "seed": seed, "temperature": temperature, "given": given}
        return await DRAWS(lambda: self.densities.draw(which, made.model, **how))

    async def edit(self, z: np.ndarray, add: dict[str, float], sigmas: bool, version: str | None = None) -> np.ndarray:
        """z + alpha * vector, (n, D), for somebody who holds a place of ANSWERS."""
        vectors = (await self.ready(version)).bundle.manifest["vectors"]
        z = self.checked(z)
        self.allowed(len(z))
        steps: list[tuple[np.float32, list[float]]] = []
        for name, alpha in add.items():
            if name not in vectors:
                raise UsageError(f"There is no vector {name!r}. Known: {', '.join(vectors) or 'none'}.")
            unit = vectors[name]["sigmas"] if sigmas and vectors[name]["sigmas"] else 1.0
            steps.append((np.float32(alpha / unit), vectors[name]["vector"]))
        return await ANSWERS.run(moved, z, steps)

    async def morph(self, stops: np.ndarray, steps: int, kind: str, version: str | None = None) -> np.ndarray:
        """Codes from each stop to the next, `steps` for each, (n, D), for somebody who holds a place of ANSWERS."""
        await self.ready(version)
        stops = self.checked(stops)
        if len(stops) < 2:
            raise UsageError("A morph needs two codes or more.")
        self.allowed((len(stops) - 1) * steps)
        return await ANSWERS.run(way, stops, steps, kind)

    async def neighbours(self, z: np.ndarray, k: int, version: str | None = None) -> list[list[dict[str, Any]]]:
        """The nearest pictures of the map to each code: place on the map, distance, split."""
        bundle = (await self.ready(version)).bundle
        return await NEAR(neighbours_of, bundle, self.checked(z), k)

    async def picture(self, place: int, kind: str, version: str | None = None) -> np.ndarray:
        """The picture at a place of the map, or what the model makes of it, uint8 (C, H, W)."""
        made = await self.ready(version)
        picture = made.data.take(made.bundle.rows[[place]])
        if kind == "original":
            return picture[0]
        mu = (await self.encoder(picture))[:, 0]
        return (await self.decode(mu, version=version))[0].transpose(2, 0, 1)

    async def now(self, n: int, seed: int) -> tuple[np.ndarray, int]:
        """Pictures of the same few codes from the prior by the weights as they are now, uint8 (n, H, W, C), and how many images
        these have seen. Without a prior there are none."""
        stamp = self.stamp.weights
        if stamp is None:
            raise NotYet(f"{self.name} has no weights yet. Wait for its first validation.")
        pictures, images = await DRAWS(self.drawn_now, stamp, n, seed)
        if (n, seed) == FEW and self.stamp.weights == stamp:  # else the images may be those of other weights
            self.columns.add(images, pictures)
        return pictures, images

    def drawn_now(self, stamp: str, n: int, seed: int) -> tuple[np.ndarray, int]:
        images, model = images_of(self.run), self.model_at(stamp)
        z = prior_codes(model, n, seed, 1.0, told_of(model, ())) if model.has_prior else np.empty((0, model.latent), np.float32)
        return as_bytes(decode(model, z)), images

    def model_at(self, stamp: str) -> Model:
        """The model of that state, which may be newer than the bundle."""
        if self.made is not None and self.made.stamp.weights == stamp:
            self.latest = None  # one in memory is enough
            return self.made.model
        if self.latest is None or self.latest[0] != stamp:
            with SEEDED:
                self.latest = stamp, self.run.load_model(self.wish.device)
        return self.latest[1]


def moved(z: np.ndarray, steps: Sequence[tuple[np.float32, list[float]]]) -> np.ndarray:
    """z + alpha * vector for all of these, (n, D)."""
    for alpha, vector in steps:
        z = z + alpha * np.asarray(vector, np.float32)
    return z


def way(stops: np.ndarray, steps: int, kind: str) -> np.ndarray:
    """Codes on the way from each stop to the next, (n, D)."""
    legs = [path(a, b, steps, kind) for a, b in pairwise(stops)]
    return np.concatenate([legs[0], *(leg[1:] for leg in legs[1:])])


def made_of(run: Run, stamp: Stamp, wish: Wish, before: Made | None) -> Made:
    """A model with its bundle; where only vectors and densities have changed, the model and the codes that there were before."""
    if before and before.stamp.weights == stamp.weights:
        return before._replace(stamp=stamp, bundle=renewed(before.bundle, run))
    data = before.data if before else run.as_measured(run.open_data())
    with SEEDED:
        model = run.load_model(wish.device)
    how: dict[str, Any] = {"most": wish.points, "layout": wish.layout}
    return Made(stamp, model, kept_bundle(run, data, lambda: bundle_of(run, model, data, **how), **how), data)


def images_of(run: Run) -> int:
    """How many images its weights have seen: those with the best validation, which may be older than the last snapshot."""
    return json.loads(Stored(run.path / "weights.safetensors").metadata["notes"])["images"]


def shown_of(paths: list[Path], executor: Executor, wish: Wish) -> dict[str, Shown]:
    """Runs by a name of their own: that of the folder, numbered where two have the same."""
    found: dict[str, Shown] = {}
    for place in paths:
        its = Shown(Run.open(place), executor, wish)
        name, number = its.name, 1
        while its.name in found:
            number += 1
            its.name = f"{name}-{number}"
        found[its.name] = its
    return found
