"""evaluate, plot, sample, reconstruct, encode."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter
from matplotlib.figure import Figure
from PIL import Image

from .. import draw, world
from ..data import Dataset, read_image
from ..errors import UsageError
from ..execution import Execution, available_threads, find_device
from ..files import write_atomic
from ..finish import measure
from ..latent import Codes, codes, decode, fit_gaussian
from ..latent import encode as encode_images
from ..latent import reconstruct as rebuild
from ..latent import sample as draw_samples
from ..metrics.evaluate import MOST_FITTED
from ..priors import StandardNormal
from ..report import write_report
from ..run import Run
from .answer import Answer, metric_rows, nll_lines, table
from .progress import console, counting, decoding, doing
from .reading import Count, OptionalCount, Seed, opened
from .stopping import reason


def evaluate(
    run: Path,
    /,
    *,
    split: Literal["train", "validation", "test"] = "test",
    samples: OptionalCount = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    compile: bool = False,
    seed: Seed = 0,
) -> Answer:
    """Measure the bound, the errors and the latents; writes metrics.json. With --samples, the tighter bound on log p(x) as well.

    Parameters
    ----------
    run
        The run folder.
    split
        train, validation or test.
    samples
        Draws of z for each image, in the importance-sampled bound; the literature's number is 5000.
    precision
        Of the decoder in that bound; bf16 is compared with fp32 first.
    compile
        Compile the decoder for it: half a minute that pays from some minutes on.
    seed
        Of the draws of z.
    """
    found, data = reopened(run)
    execution = Execution(find_device("auto"), precision, compile="on" if compile else "off", threads=available_threads())
    execution.apply()
    status = found.description.get("status")
    if status != "finished":
        console.print(f"{run} is not finished (status: {status}): these are its best weights so far.", soft_wrap=True)
    if not len(data.splits[split]):
        have = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits.items())
        raise UsageError(f"{data.name} has no {split} pictures ({have}). Give another split: --split validation")
    with counting("bounded") if samples else doing("measuring") as show:
        metrics = measure(found, data, split, seed, samples=samples, execution=execution, progress=show)
    answer = Answer(metrics, "\n".join([table(metric_rows(metrics)), *nll_lines(metrics)]))
    if split == "test" and world.here.first:
        try:
            found.add_metrics(metrics)
        except OSError as error:
            console.print(f"Measured, but not kept: {reason(error)}", soft_wrap=True)
    return answer


def plot(run: Path, /, *, beside: Path | None = None, seed: Seed = 0) -> Answer:
    """Draw every figure into RUN/figures and RUN/report.html.

    Parameters
    ----------
    run
        The run folder.
    beside
        Another run on the same data, a plain autoencoder for a VAE, to be drawn side by side.
    seed
        Of samples and of the choice of points.
    """
    found, data = reopened(run)
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
    prior: Literal["normal", "fitted"] = "normal",
    temperature: float = 1.0,
    seed: Seed = 0,
    grid: bool = True,
) -> Answer:
    """New pictures from the prior N(0, 1), or from one Gaussian fitted to the codes of the training split.

    Parameters
    ----------
    run
        The run folder.
    n
        How many.
    out
        A png for the grid; with --no-grid a folder for one png each. Default: RUN/figures.
    prior
        normal: N(0, 1). fitted: a full-covariance Gaussian fitted to the codes, which is not the prior.
    temperature
        Below 1: closer to the mean.
    seed
        The same seed gives the same pictures.
    grid
        All on one sheet, or one file each.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise UsageError(f"--temperature {temperature:g} scales nothing; give a number from 0 on, 1 for the prior itself.")
    if grid:
        png(out)
    found = Run.open(run)
    model = found.load_model()
    if prior == "fitted":
        data = reopened(run)[1]
        learnt = data.some("train", MOST_FITTED, seed)
        pictures = decode(model, fit_gaussian(codes(model, data.pixels, learnt)).sample(n, seed, temperature))
    else:
        if model.prior is None:
            raise UsageError("A plain autoencoder has no prior to sample from. Use --prior fitted.")
        pictures = draw_samples(model, n, seed, temperature)
    own = "N(0, 1)" if isinstance(model.prior, StandardNormal) else "the learned prior"
    source = own if prior == "normal" else "the Gaussian fitted to the codes"
    told = f"z from {source}, temperature {temperature:g}, seed {seed}"
    name = f"sampled-{prior}"
    paths = (
        write_sheet(found, draw.samples(pictures, told), name, out) if grid else write_each(pictures, out or found.figures / name)
    )
    return Answer({"files": paths, "how": told}, "\n".join(paths))


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
    found, out = Run.open(run), png(out)
    originals = read(found, images)
    pictures = rebuild(found.load_model(), originals)
    errors = np.sqrt(np.square(originals / 255.0 - pictures).mean((1, 2, 3)))
    paths = write_sheet(found, draw.reconstructions(originals, pictures, errors), "reconstructed", out)
    listed = [(str(path), f"{error:.4f}") for path, error in zip(images, errors, strict=True)]
    data = {"files": paths, "rmse": {path: float(error) for path, error in listed}}
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
    found = Run.open(run)
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


def reopened(path: Path) -> tuple[Run, Dataset]:
    """A run and the data it was trained on."""
    run = Run.open(path)
    with decoding() as show:
        return run, run.open_data(show)


def read(run: Run, images: Sequence[Path]) -> np.ndarray:
    """Picture files as the run's model takes them, uint8 (N, C, H, W)."""
    about = run.description["data"]
    return np.stack([read_image(path, about["image"], about["open"].get("crop", "center")) for path in images])


def png(out: Path | None) -> Path | None:
    """The name of a picture to write. Raises UsageError on one that says it is something else."""
    if out and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out} ends in {out.suffix or 'nothing'}; give a name that ends in .png.")
    return out


def write_sheet(run: Run, figure: Figure, name: str, out: Path | None) -> list[str]:
    path = out or run.figures / f"{name}.png"
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
