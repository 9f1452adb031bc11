"""plot, sample, fit-prior, judge, reconstruct, encode."""

import csv
import io
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from matplotlib.figure import Figure
from PIL import Image

from .. import draw, world
from ..code_priors import LabelMixture
from ..conditional import Condition
from ..data import read_image
from ..data.quarantine import printable
from ..distributions import Space
from ..errors import Stopped, UsageError
from ..files import file_name, write_atomic
from ..finish import STAGE_STEPS, densities_for, fit_second_stage
from ..latent import Codes, codes, decode, fit_gaussian
from ..latent import encode as encode_images
from ..latent import reconstruct as rebuild
from ..latent import sample as draw_samples
from ..latent.second_stage import draw_codes
from ..metrics.evaluate import stand_ins
from ..metrics.quality import STEPS, accuracy_of, judge_of
from ..model import Model
from ..nets.judge import judge_from
from ..report import write_report
from ..run import Run
from ..stored import save_part
from .answer import Answer, table
from .places import writable
from .progress import console, counting, doing
from .reading import Count, OptionalWhole, Seed, Several, opened, parse_size, reopened
from .stopping import code_of

LOWER = "of nats and distance, lower is better"


def plot(run: Path, /, *, beside: Path | None = None, seed: Seed = 0) -> Answer:
    """Draw every figure into RUN/figures and RUN/report.html.

    Parameters
    ----------
    run
        The run folder.
    beside
        Another run on the same data, to be drawn side by side: a plain autoencoder for a VAE, both with --latent 2.
    seed
        Of samples and of the choice of points.
    """
    found, data = reopened(run, kept=True)
    with doing("drawing"):
        page = write_report(found, data, Run.open(beside) if beside else None, seed)
    figures = sorted(str(path) for path in found.figures.glob("*.png"))
    return Answer({"report": str(page), "figures": figures}, "\n".join([*figures, str(page)]))


def sample(
    run: Path,
    /,
    *,
    n: Annotated[Count, Parameter(name=["-n", "--n"])] = 64,
    out: Path | None = None,
    prior: str = "own",
    given: Annotated[list[str] | None, Several] = None,
    temperature: float = 1.0,
    seed: Seed = 0,
    grid: bool = True,
) -> Answer:
    """New pictures from the model's prior, or from a density fitted to the codes of the training split.

    Parameters
    ----------
    run
        The run folder.
    n
        How many.
    out
        A png for the grid; with --no-grid a folder for one png each. Default: RUN/figures.
    prior
        own: the model's, N(0, 1) if nothing else was trained. fitted: the best density that `vaekit fit-prior` found; before it
        was run, one Gaussian fitted to the codes now. Or the name of one that it found: gaussian, mixture, diagonal, labels,
        exemplar, flow, spline, vae, diffusion, vamp, transformer.
    given
        What a conditional model is told of them: --given label=3, --given Smiling=1 Male=0. With --prior labels: of which label
        the codes are, of any model.
    temperature
        Below 1: closer to the mean.
    seed
        The same seed gives the same pictures.
    grid
        All on one sheet, or one file each.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise UsageError(f"--temperature {temperature:g} scales nothing; give a number from 0 on, 1 for the prior itself.")
    png(out if grid else None)
    found, name = Run.open(run), file_name("-".join([f"sampled-{prior}", *(given or [])]))
    out = writable(out or found.figures / (f"{name}.png" if grid else name), folder=not grid)
    model = found.load_model()
    conditional = hasattr(model, "condition")
    c = np.repeat(condition_from(model, given)[None], n, 0) if given and (conditional or prior == "own") else None
    if prior == "own":
        if not model.has_prior:
            raise UsageError("A plain autoencoder has no prior to sample from. Use --prior fitted.")
        if model.space is Space.CODES:
            better = "--prior fitted" if found.priors else f"vaekit fit-prior {run}"
            console.print(f"To the model's own prior every code is as likely as any other. Better: {better}", soft_wrap=True)
        pictures = draw_samples(model, n, seed, temperature, c)
        source = "N(0, 1)" if model.is_standard else "the model's own prior"
    elif prior == "fitted" and not found.priors and not given and model.space is Space.NUMBERS:
        data = found.as_measured(reopened(run)[1])
        learnt = stand_ins(model, data, "train", seed)
        pictures = decode(model, fit_gaussian(codes(model, data.pixels, learnt)).sample(n, seed, temperature))
        source = "the Gaussian fitted to the codes"
    else:
        which, density = found.load_prior(None if prior == "fitted" else prior)
        asked = given if isinstance(density, LabelMixture) or not conditional else ()  # else the decoder alone is told
        pictures = decode(model, draw_codes(density, model, n, seed, temperature, given=asked or ()), c)
        source = f"the density {which!r} fitted to the codes"
    words = f", given {', '.join(given)}" if given else ""
    how = f"z from {source}{words}, temperature {temperature:g}, seed {seed}"
    paths = write_sheet(draw.samples(pictures, how), name, out) if grid else write_each(pictures, out)
    return Answer({"files": paths, "how": how}, "\n".join(paths))


def condition_from(model: Model, given: list[str]) -> np.ndarray:
    """c (Y,) of --given label=3 Smiling=1."""
    condition: Condition | None = getattr(model, "condition", None)
    if condition is None:
        raise UsageError(f"--given {' '.join(given)}: this model was told nothing of its pictures. Train with --condition label.")
    pairs = [text.rpartition("=") for text in given]
    for text, (name, _, value) in zip(given, pairs, strict=True):
        if not name or not value:
            raise UsageError(f"--given {text!r} has no value. Write --given label=3 or --given Smiling=1.")
    return condition.of({name: value for name, _, value in pairs}).cpu().numpy()


def fit_prior(
    run: Path,
    /,
    *,
    kinds: Annotated[list[str] | None, Several] = None,
    steps: Count = STAGE_STEPS,
    judge: Path | None = None,
    seed: Seed = 0,
) -> Answer:
    """Fit densities to the codes of a run, ranked on held-out pictures; `vaekit sample RUN --prior fitted` uses the best.

    Parameters
    ----------
    run
        The run folder.
    kinds
        Some of gaussian, mixture and labels (one Gaussian for each), these three for 512 latents at most, diagonal, exemplar,
        flow, spline, vae, diffusion, vamp; of discrete codes and categories: transformer. Codes on a sphere have none.
        Default: all but vamp, which encodes 200 pictures in every step.
    steps
        Of the optimiser, where a kind needs one.
    judge
        The file of a judge of pictures, see `vaekit judge`, or a convolutional or fully connected net as .onnx; transformers are
        not read. Default: a net with random weights, which sees more than what labels tell apart.
    seed
        The same seed gives the same densities.
    """
    found, data = reopened(run, kept=True)
    wanted, kept = densities_for(found, data, kinds), []
    eye = judge_from(judge, data.image) if judge else None
    many = f"{len(wanted)} densities" if len(wanted) > 1 else "one density"
    console.print(f"{many}, in {len(wanted) * steps:,} steps at most: {', '.join(wanted)}", soft_wrap=True)
    try:
        with counting("fitted to the codes:", "steps") as show:
            how = {"steps": steps, "seed": seed, "judge": eye, "progress": show, "kept": kept.append}
            about = fit_second_stage(found, data, wanted, **how)
    except KeyboardInterrupt as stop:
        rest = [name for name in wanted if name not in kept]
        options = ["--steps", steps, "--seed", seed, *(["--judge", judge] if judge else [])]
        again = shlex.join(map(str, ["vaekit", "fit-prior", run, "--kinds", *(rest or wanted[-1:]), *options]))
        told = f"Stopped. Fitted and kept: {', '.join(kept) or 'none yet'}. To go on: {again}"
        raise Stopped(told, code_of(stop)) from stop
    columns = (("nats", ",.2f"), ("frechet", ",.4g"), ("seconds", ",.1f"))
    rows = [(name, *(format(its[key], form) if key in its else "" for key, form in columns)) for name, its in about.items()]
    hole = about.get("own", {}).get("hole")
    told = [table([("density", "nats per held-out code", "distance of new pictures", "seconds"), *rows]), LOWER]
    told += [f"distances in the features of {judge.name if judge else f'a net with random weights, seed {seed}'}"]
    told += [] if hole is None else [f"{hole:.1%} of the prior's draws fall where next to no code is"]
    told += [f"best by both ranks together: {next(iter(about))}, which `vaekit sample {run} --prior fitted` draws from"]
    return Answer(about, "\n".join(told))


def judge(
    data: str,
    /,
    *,
    out: Path,
    size: str | None = None,
    crop: str | None = None,
    channels: OptionalWhole = None,
    cache: Path | None = None,
    steps: Count = STEPS,
    seed: Seed = 0,
) -> Answer:
    """Teach a net the labels of pictures, for recipes that ask it how far a reconstruction is off.

    Parameters
    ----------
    data
        As for `vaekit train`; subfolders are labels.
    out
        Where it is kept: a .safetensors file.
    size
        Pixels, those that the model will be trained on.
    crop
        center, stretch or pad.
    channels
        1, 3 or 4.
    cache
        Where decoded pictures are kept.
    steps
        Of 128 pictures.
    seed
        Of weights and pictures.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: a judge is kept in a .safetensors file. Write --out judge.safetensors")
    writable(out)
    found = opened(data, size=parse_size(size), crop=crop, channels=channels, cache=cache)
    if found.labels is None or len(found.label_names) < 2:
        raise UsageError(f"{found.name} has no two labels to tell apart. Put each kind of picture into a subfolder of its own.")
    with counting("taught", "steps") as show:
        made, about = judge_of(found, seed, steps, show)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_part(out, made)
    right = accuracy_of(made, found)
    scored = "" if right is None else f"; {right:.3f} of the test labels right"
    return Answer({"file": str(out), "how": about, "accuracy": right}, f"{out}: {about}{scored}")


def reconstruct(run: Path, images: list[Path], /, *, out: Path | None = None) -> Answer:
    """Pictures above their reconstructions, with the error of each; nothing is drawn at random.

    Parameters
    ----------
    run
        The run folder.
    images
        Picture files; they are cropped and resized as the training pictures were.
    out
        The png. Default: RUN/figures/reconstructed.png.
    """
    png(out)
    found = Run.open(run)
    out = writable(out or found.figures / "reconstructed.png")
    originals = read(found, images)
    pictures = rebuild(found.load_model(), originals)
    errors = np.sqrt(np.square(originals / 255.0 - pictures).mean((1, 2, 3)))
    paths = write_sheet(draw.reconstructions(originals, pictures, errors), "reconstructed", out)
    names = [printable(str(path)) for path in images]
    listed = [(name, f"{error:.4f}") for name, error in zip(names, errors, strict=True)]
    data = {"files": paths, "rmse": dict(zip(names, errors.tolist(), strict=True))}
    return Answer(data, table([("image", "RMSE"), *listed]) + "\n" + "\n".join(paths))


def encode(
    run: Path,
    data: str,
    /,
    *,
    out: Path,
    mode: Literal["mean", "sample", "distribution"] = "mean",
    seed: Seed = 0,
) -> Answer:
    """The codes of pictures: .npz with mu (or z, or mu and log_var) and file names, or .csv with a row for each picture.

    Parameters
    ----------
    run
        The run folder.
    data
        What `vaekit train` takes: a folder, tars, files or a name.
    out
        A .npz or .csv file.
    mode
        mean: mu. sample: z drawn from q(z|x). distribution: mu and log_var.
    seed
        Of the draw.
    """
    if out.suffix not in (".npz", ".csv"):
        raise UsageError(f"--out {out} ends in {out.suffix or 'nothing'}; give a name that ends in .npz or .csv.")
    found, out = Run.open(run), writable(out)
    model = found.load_model()
    channels, height, width = model.image
    dataset = opened(data, size=(height, width), channels=channels, crop=found.description["data"]["open"].get("crop"))
    coded = encode_images(model, dataset.pixels, mode, seed)
    arrays = coded._asdict() if isinstance(coded, Codes) else {"mu" if mode == "mean" else "z": coded}
    files = [str(name) for name in dataset.files]
    out.parent.mkdir(parents=True, exist_ok=True)
    if not world.here.first:
        pass
    elif out.suffix == ".npz":
        write_atomic(out, lambda file: np.savez(file, allow_pickle=False, files=np.array(files), **arrays))
    else:
        write_atomic(out, lambda file: file.write(as_csv(files, arrays).encode(errors="surrogateescape")))
    shape = {name: list(array.shape) for name, array in arrays.items()}
    return Answer({"file": str(out), "arrays": shape}, f"{out}  {', '.join(f'{name} {size}' for name, size in shape.items())}")


def as_csv(files: Sequence[str], arrays: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", *(f"{name}{i}" for name, array in arrays.items() for i in range(array.shape[1]))])
    writer.writerows(
        [file, *values.tolist()] for file, values in zip(files, np.concatenate(list(arrays.values()), 1), strict=True)
    )
    return text.getvalue()


def read(run: Run, images: Sequence[Path]) -> np.ndarray:
    """Picture files as the run's model takes them, uint8 (N, C, H, W)."""
    about = run.description["data"]
    return np.stack([read_image(path, about["image"], about["open"].get("crop", "center")) for path in images])


def png(out: Path | None) -> None:
    """Raises UsageError where the name of a picture to write says that it is something else."""
    if out and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out} ends in {out.suffix or 'nothing'}; give a name that ends in .png.")


def write_sheet(figure: Figure, name: str, path: Path) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    png = draw.save_png(figure, name)
    write_atomic(path, lambda file: file.write(png))
    return [str(path)]


def write_each(pictures: np.ndarray, folder: Path) -> list[str]:
    return [write_one(picture, folder / f"{number:05d}.png") for number, picture in enumerate(pictures)]


def write_one(picture: np.ndarray, path: Path) -> str:
    """A picture (C, H, W) in [0, 1] as a png of its own size."""
    pixels = np.round(picture * 255).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: image.save(file, "PNG"))
    return str(path)
