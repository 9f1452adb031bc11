"""train, resume."""

import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from cyclopts import Parameter

from .. import world
from ..adjusting import adjusted
from ..errors import UsageError
from ..execution import check_sharding, find_device
from ..fitting import SNAPSHOT_SECONDS
from ..known import STAND_IN, condition_of
from ..model import Model
from ..nets.judge import FeatureNet, Judge, judge_from, shape_for
from ..planning import check_frozen, find_unfinished, plan, start
from ..recipes import Recipe, Shape, cook, going_on
from ..run import FIRST, Run, claim_paths
from ..variants import VARIANTS
from .answer import Answer
from .carrying import TOGETHER, carry_out, carry_out_together, watched
from .places import writable
from .progress import console, decoding
from .reading import BatchSize, Binarize, OptionalCount, OptionalSeed, OptionalWhole, Several, opened, parse_size
from .teaching import judge_for

Off = Parameter(negative=())


def train(
    data: str,
    /,
    *,
    recipe: str = "vae",
    out: Path | None = None,
    runs: Path = Path("runs"),
    new: Annotated[bool, Off] = False,
    attributes: Path | None = None,
    group: str | None = None,
    size: str | None = None,
    crop: str | None = None,
    channels: OptionalWhole = None,
    cache: Path | None = None,
    net: str | None = None,
    latent: OptionalCount = None,
    spatial: OptionalCount = None,
    likelihood: str | None = None,
    beta: float | None = None,
    sigma: float | None = None,
    r_loss_factor: float | None = None,
    beta_schedule: Literal["linear", "cosine", "cyclical"] | None = None,
    beta_images: float | None = None,
    free_bits: float | None = None,
    error: str | None = None,
    condition: Annotated[list[str] | None, Several] = None,
    shown: OptionalCount = None,
    features: Annotated[Path | None, Parameter(name=["--features", "--judge"])] = None,
    init: Path | None = None,
    freeze: Annotated[list[str] | None, Several] = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=1, negative=())] = None,
    epochs: float | None = None,
    images: OptionalCount = None,
    minutes: float | None = None,
    batch_size: BatchSize = None,
    learning_rate: float | None = None,
    skip_above: float | None = None,
    flip: bool | None = None,
    binarize: Binarize | None = None,
    validate_every: OptionalCount = None,
    patience: OptionalCount = None,
    precision: str | None = None,
    layout: str | None = None,
    compile: str | None = None,
    threads: OptionalCount = None,
    tune: Literal["on", "off"] | None = None,
    device: str | None = None,
    deterministic: Annotated[bool, Off] = False,
    shard: Annotated[bool, Off] = False,
    seed: OptionalSeed = None,
    seeds: OptionalCount = None,
    betas: Annotated[list[float] | None, Several] = None,
    together: Literal["auto", "on", "off"] = "auto",
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    report: bool = True,
    studio: Annotated[bool, Off] = False,
) -> Answer:
    """Train on DATA, then measure, compute attribute vectors where there are attributes, and draw the report.

    Stopped runs go on when the same command is given again: with --out the run in that folder, else the newest unfinished run
    under --runs with the same data and settings.

    Parameters
    ----------
    data
        A folder of pictures (subfolders are labels), a CelebA-layout folder, WebDataset tars (a file, a folder, a pattern such as
        'train-{000..009}.tar', http), idx, .npy or .npz files, or a name: digits, shapes, drawn-faces, mnist, fashion-mnist,
        kmnist, celeba.
    recipe
        See `vaekit recipes`.
    out
        The run folder, or with --seeds or --betas the folder of all of them. Default: a new numbered one under --runs.
    runs
        Where numbered run folders are made.
    new
        Begin anew where an unfinished run of the same command would go on; never over a run that --out names.
    attributes
        A table beside the pictures: csv, tsv or txt, first column file names.
    group
        A column of the table, or a key of the .json files in tars: pictures with the same value stay on one side of the split.
    size
        Pixels: 64, or height x width as 48x64.
    crop
        center, stretch or pad.
    channels
        1, 3 or 4.
    cache
        Where decoded pictures are kept.
    net
        mlp, conv, resnet or mixer. Default: mostly mlp up to 16 x 16 pixels, else conv.
    latent
        Number of latents; of each place, where they lie at places of the picture. Default: mostly 32.
    spatial
        Latents at each of so many places a side of the picture at most, instead of latents of the whole: 8.
    likelihood
        bernoulli, continuous-bernoulli, gaussian (optimal sigma), learned-gaussian, per-pixel-gaussian, laplace, student-t;
        logistic, categorical (probabilities of 8-bit levels).
    beta
        Weight of the KL beside -log p(x|z), whatever sigma is; 1, the default, is the ELBO. It is not the beta beside a sum of
        squared errors: for that one give --sigma, the root of half of it.
    sigma
        Standard deviation of a Gaussian decoder, in pixel values from 0 to 1. Default: mostly the optimal one.
    r_loss_factor
        Weight of the mean squared error in r_loss_factor * MSE + KL.
    beta_schedule
        Bring beta from 0 to its value over --beta-images.
    beta_images
        Images seen until the schedule ends.
    free_bits
        Nats that each latent may carry at no cost.
    error
        mse or rmse, for the recipe `book`.
    condition
        What the model is told of every picture, so that it is a conditional VAE: label, attributes, or names of attributes.
    shown
        Of how many training pictures it is told that, evenly many of each label. Default: all.
    features
        A net that looks at pictures, for the recipes `perceptual` and `kl-autoencoder`: a file of `vaekit judge`, or a
        convolutional or fully connected net as .onnx. Default: one that is taught the labels before the first step, else the
        attributes.
    init
        A run: begin with its model and its best weights instead of random ones.
    freeze
        Parts of that model that learn nothing more, by name; codes: those that decide where an image's code lies.
    set_
        Other numbers in the recipe's parts, by their places: --recipe factor-vae --set objective.gamma=5 training.half_life=1e5.
        `vaekit recipes NAME` shows them all.
    epochs
        Budget in passes over the training split.
    images
        Budget in images seen.
    minutes
        Budget in minutes.
    batch_size
        Images a step; auto: the smallest batch at which the machine is at its best, found by measuring. Default: mostly 128.
    learning_rate
        The highest, after warm-up. Default: mostly 0.001.
    skip_above
        Take no step whose gradient is longer, in nats per pixel value; the log says how many were skipped.
    flip
        Mirror half of the pictures.
    binarize
        Black or white pixels: dynamic draws anew at every step with the grey value as probability of white, static once for all;
        threshold: white from 128 on.
    validate_every
        Images between two validations. Default: a training split, 10,000 or more, and ten validations or more in all.
    patience
        Stop after so many validations without a better loss.
    precision
        auto, fp32 or bf16.
    layout
        auto, contiguous, channels_last, or patches: how images lie in memory, and small maps in convolutions.
    compile
        auto, off, on, whole (forward, backward and update as one), reduce-overhead (CUDA graphs) or max-autotune.
    threads
        Processor threads. Default: as many as help.
    tune
        off: time nothing; what is left open runs the plain way.
    device
        auto, cpu, cuda, mps.
    deterministic
        Bit-exact: fp32, nothing chosen by the clock.
    shard
        Under torchrun: each process holds only a piece of weights, moments and averages, for a model that does not fit.
    seed
        Of weights, batches and noise; the split of the pictures does not move with it.
    seeds
        Train so many runs, with the seeds from --seed on, and tell the spread of their metrics.
    betas
        Train a run, or with --seeds several, for each of these values of beta: --betas 0.5 1 4.
    together
        on, off, or auto: whether the steps of several runs are taken at once; auto: where the clock says that it is faster.
    snapshot_seconds
        Seconds between two snapshots to resume from.
    report
        Measure and draw at the end, and fit the second stage of a recipe that has one.
    studio
        Open the studio of the run while it trains, and until Ctrl-C once it is done.
    """
    options = {
        "net": net,
        "latent": latent,
        "spatial": spatial,
        "likelihood": likelihood,
        "beta": beta,
        "sigma": sigma,
        "r_loss_factor": r_loss_factor,
        "beta_schedule": beta_schedule,
        "beta_images": beta_images,
        "free_bits": free_bits,
        "error": error,
        "features": features,
        "freeze": tuple(freeze) if freeze else None,
        "epochs": epochs,
        "images": images,
        "minutes": minutes,
        "batch_size": 0 if batch_size == "auto" else batch_size,
        "learning_rate": learning_rate,
        "skip_above": skip_above,
        "flip": flip,
        "binarize": binarize,
        "validate_every": validate_every,
        "patience": patience,
        "precision": precision,
        "layout": layout,
        "compile": compile,
        "threads": threads,
        "tune": None if tune is None else tune == "on",
        "device": device,
        "deterministic": deterministic or None,
        "seed": seed,
    }
    if batch_size == 0:
        raise UsageError("--batch-size 0 is no batch. Give its images, or auto.")
    given = {name: value for name, value in options.items() if value is not None}
    begun_with = Run.open(init).load_model("cpu") if init else None
    told = condition is not None or (recipe in VARIANTS and VARIANTS[recipe].told and not init)
    if told:
        given["condition"] = STAND_IN
    elif shown is not None and init:
        raise UsageError("--shown is fixed by the run of --init, which brings its model with it. Leave it out.")
    elif shown is not None:
        raise UsageError("--shown says of how many pictures a conditional model is told something. Add --condition label.")
    several = variations(given, seeds, betas)
    made = partial(made_of, recipe, set_ or (), begun_with)
    asks = not features and recipe in VARIANTS and VARIANTS[recipe].asks
    image = begun_with.image if begun_with else (features and shape_for(features)) or (3, 64, 64)
    eye, taught = judge_from(features, image) if features else Judge(image=image) if asks else None, None
    cooked = look_at(made, image, several.values(), eye)  # mistakes are told before decoding
    settings = cooked.training
    find_device(settings.device)
    if shard:
        check_sharding(settings, cooked.objective)
    many = bool(seeds or betas)
    check_several(many, shard, together)
    own = [out / name for name in several] if out else []
    check_places(own, out, runs, many, new)
    dataset = opened(data, attributes=attributes, group=group, size=parse_size(size), crop=crop, channels=channels, cache=cache)
    console.print(dataset.summary(), soft_wrap=True)
    if told:
        wanted = condition_of(dataset, condition or (), shown)
        several = {name: its | {"condition": wanted} for name, its in several.items()}
    look = partial(look_at, made, dataset.image, several.values())
    plan(dataset, look(Judge(image=dataset.image) if asks else eye))  # mistakes, before anything is taught or takes memory
    if asks:
        eye, taught = judge_for(dataset, settings, own or sorted(runs.glob("*"), reverse=True), look)
        several = {name: its | {"features": eye} for name, its in several.items()}
    cooked = [made(dataset.image, its) for its in several.values()]
    names = ["-".join(filter(None, (dataset.name, recipe, name))) for name in several]
    plans = [plan(dataset, its) for its in cooked]
    paths = own or ([] if new else find_unfinished(runs, plans, report))
    paths, begun = world.agree(paths or (claim_paths(runs, names) if world.here.first else [])), []
    for path, its in zip(paths, cooked, strict=True):
        beside = [each.name for each in paths] if many else []
        command = shlex.join(["vaekit", *sys.argv[1:]])
        begun.append(start(path, dataset, its, command=command, group=beside, cache=cache, judge=taught))
    after = watched(paths, cache, studio)
    if not many:
        return carry_out(begun[0], dataset, snapshot_seconds, report, shard)._replace(after=after)
    sets = {beta_name(beta, " "): begun[i :: len(betas)] for i, beta in enumerate(betas)} if betas else {"": begun}
    return carry_out_together(sets, dataset, snapshot_seconds, report, TOGETHER[together])._replace(after=after)


def made_of(name: str, changes: Sequence[str], model: Model | None, image: Shape, options: dict[str, Any]) -> Recipe:
    """The recipe for images of this shape, as it is asked for; with a model, from that model on."""
    if model and tuple(model.image) != tuple(image):
        raise UsageError(f"The run of --init was trained on images of shape {model.image}, these have {image}. Give its --size.")
    return adjusted(going_on(name, model, options) if model else cook(name, image, options), changes)


def look_at(
    make: Callable[[Shape, dict[str, Any]], Recipe], image: Shape, several: Collection[dict[str, Any]], judge: FeatureNet | None
) -> Recipe:
    """The first of the recipes that are asked for, all of them made to find mistakes in, with this judge where there is one.

    Weights have no numbers: those of a net for an image that is only guessed may take gigabytes.
    """
    eye = {"features": judge} if judge else {}

    def look() -> Recipe:
        cooked, *_ = [make(image, its | eye) for its in several]
        check_frozen(cooked)
        return cooked

    try:
        with torch.device("meta"):
            return look()
    except (RuntimeError, TypeError):  # a part that is made out of its numbers
        return look()


def check_places(own: Sequence[Path], out: Path | None, runs: Path, many: bool, new: bool) -> None:
    """Raises UsageError where a run's own place holds something else, or a run that must not be trained over, and where nothing
    can be written."""
    for place in own:
        if holds_other_things(place) or (many and out and Run(out).exists):
            raise UsageError(f"{out} holds something {'else' if many else 'that is no run'}. Give another place: --out RUN")
        if new and Run(place).exists:
            raise UsageError(f"{place} holds a run, and --new never trains over one. Give another place: --out RUN")
        writable(place, folder=True)
    if not own:
        writable(runs, "--runs", folder=True)


def check_several(many: bool, shard: bool, together: str) -> None:
    """Raises UsageError on what is about one run where there are several, and the other way round."""
    if shard and many:
        raise UsageError("--shard is for one large model, --seeds and --betas for several small ones. Leave out one of them.")
    if together != "auto" and not many:
        raise UsageError(f"--together {together} is about several runs, and this is one. Add --seeds or --betas.")


def variations(given: dict[str, Any], seeds: int | None, betas: list[float] | None) -> dict[str, dict[str, Any]]:
    """The options of each run, by what is its own: {"": ...} for one alone, {"beta-4-seed-0": ...}."""
    if betas is not None and ("beta" in given or len(set(betas)) < len(betas) or not betas):
        raise UsageError(f"--betas {' '.join(map(str, betas))}: give each value once, and no --beta beside them: --betas 0.5 1 4")
    first = given.get("seed", 0)
    return {
        "-".join([beta_name(beta, "-")] * (beta is not None) + [f"seed-{seed}"] * (seeds is not None)): given
        | ({} if beta is None else {"beta": beta})
        | ({} if seeds is None else {"seed": seed})
        for seed in range(first, first + (seeds or 1))
        for beta in (betas or [None])
    }


def beta_name(beta: float | None, gap: str) -> str:
    return f"beta{gap}{beta!r}".removesuffix(".0")


def resume(
    run: Path,
    /,
    *,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    report: bool = True,
    shard: Annotated[bool, Off] = False,
    studio: Annotated[bool, Off] = False,
) -> Answer:
    """Go on with a stopped or killed run, from its last snapshot, with the settings it began with.

    Parameters
    ----------
    run
        The run folder.
    snapshot_seconds
        Seconds between two snapshots.
    report
        Measure and draw at the end.
    shard
        Under torchrun: each process holds only a piece of weights, moments and averages, however the run began.
    studio
        Open the studio of the run while it trains, and until Ctrl-C once it is done.
    """
    found = Run.open(run)
    with decoding() as show:
        dataset = found.open_data(show)
    after = watched([run], None, studio)
    return carry_out(found, dataset, snapshot_seconds, report, shard)._replace(after=after)


def holds_other_things(out: Path) -> bool:
    """Whether a run folder there would mix with something else; what a killed start left behind is nothing else."""
    if not out.is_dir():
        return out.exists()
    return not Run(out).exists and any(not path.name.startswith((".lock", "run.json", FIRST)) for path in out.iterdir())
