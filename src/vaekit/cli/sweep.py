"""sweep."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .. import draw
from ..files import write_atomic
from ..recipes import Recipe, Shape, cook
from ..sweeping import Tried, front, proposed
from ..sweeping import sweep as search
from .answer import Answer, number, table
from .places import writable
from .progress import Bar, console
from .reading import Binarize, Count, OptionalCount, OptionalWhole, Seed, Whole, opened, parse_size

SORTED = "by -ELBO, which is rate + distortion, in nats per image of the validation split: lower is better"


def sweep(
    data: str,
    /,
    *,
    out: Path,
    recipe: str = "vae",
    trials: Count = 16,
    latents: Annotated[tuple[Whole, Whole], Parameter(negative=())] = (2, 64),
    betas: Annotated[tuple[float, float], Parameter(negative=())] = (0.1, 10.0),
    images: Count = 200_000,
    net: str | None = None,
    likelihood: str | None = None,
    binarize: Binarize | None = None,
    batch_size: OptionalCount = None,
    attributes: Path | None = None,
    size: str | None = None,
    crop: str | None = None,
    channels: OptionalWhole = None,
    cache: Path | None = None,
    seed: Seed = 0,
) -> Answer:
    """Train models of several latent sizes and betas, draw the rate-distortion front, propose one; the same command goes on.

    Parameters
    ----------
    data
        What `vaekit train` takes.
    out
        The folder of all its runs, with front.png.
    recipe
        See `vaekit recipes`; one that takes --latent and --beta, so none with an objective of its own.
    trials
        Models.
    latents
        The smallest and the largest number of latents.
    betas
        The smallest and the largest beta.
    images
        Each is trained on so many.
    net
        As for `vaekit train`.
    likelihood
        As for `vaekit train`.
    binarize
        As for `vaekit train`.
    batch_size
        As for `vaekit train`.
    attributes
        A table beside the pictures.
    size
        As for `vaekit train`.
    crop
        As for `vaekit train`.
    channels
        As for `vaekit train`.
    cache
        As for `vaekit train`.
    seed
        Of the search and of every training.
    """
    given = {"images": images, "net": net, "likelihood": likelihood, "binarize": binarize, "batch_size": batch_size, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    made(recipe, options, (3, 64, 64), *latents[:1], *betas[:1])  # mistakes are told before decoding
    writable(out, folder=True)
    dataset = opened(data, attributes=attributes, size=parse_size(size), crop=crop, channels=channels, cache=cache)
    with Bar() as bar:

        def said(number: int, latent: int, beta: float, what: str) -> None:
            bar.say_held()  # what is left to say of the model before
            console.print(f"model {number} of {trials}, {latent} latents, beta {beta:.3g}: {what}", soft_wrap=True)

        def watch(number: int, latent: int, beta: float) -> Bar:
            said(number, latent, beta, "training")
            return bar

        def ended(its: Tried) -> None:
            rate, distortion, bound = (f"{value:,.2f}" for value in (its.rate, its.distortion, its.bound))
            told = f"rate {rate} + distortion {distortion} = -ELBO {bound} nats of validation"
            said(its.number, its.latent, its.beta, told)

        make = partial(made, recipe, options, dataset.image)
        how = {"trials": trials, "latents": latents, "betas": betas, "seed": seed, "watch": watch, "ended": ended}
        tried = search(dataset, make, out, **how)
    best, along = proposed(tried), front(tried)
    figure = draw.front([its._asdict() for its in tried], [tried.index(its) for its in along], tried.index(best), dataset.name)
    png = draw.save_png(figure, "Rate and distortion")
    write_atomic(out / "front.png", lambda file: file.write(png))
    rows = [("model", "latents", "active", "beta", "rate", "distortion", "-ELBO", "on the front", "run")]
    rows += [row(its, its in along) for its in sorted(tried, key=lambda its: its.bound)]
    opening = {"attributes": attributes, "size": size, "crop": crop, "channels": channels, "cache": cache}
    command = training_of(data, recipe, best, options | opening)
    text = f"{table(rows)}\n{SORTED}\n\nfront     {out / 'front.png'}\nproposed  {command}"
    listed = [its._asdict() | {"front": its in along} for its in tried]
    return Answer({"tried": listed, "proposed": best._asdict(), "command": command, "figure": str(out / "front.png")}, text)


def made(recipe: str, options: dict, image: Shape, latent: int, beta: float) -> Recipe:
    return cook(recipe, image, options | {"latent": latent, "beta": beta})


def training_of(data: str, recipe: str, its: Tried, options: dict[str, Any]) -> str:
    """The command line that trains a model of the search again; options that are None were not given."""
    given = {"recipe": recipe, "latent": its.latent, "beta": f"{its.beta:.3g}"} | options
    words = [[f"--{name.replace('_', '-')}", str(value)] for name, value in given.items() if value is not None]
    return shlex.join(["vaekit", "train", data, *(word for pair in words for word in pair)])


def row(its: Tried, on_front: bool) -> tuple[str, ...]:
    numbers = (number(value) for value in (its.rate, its.distortion, its.bound))
    return str(its.number), str(its.latent), str(its.active), f"{its.beta:.3g}", *numbers, "yes" if on_front else "", its.path
