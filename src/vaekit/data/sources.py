"""The door of the data: a path or a name becomes a `Dataset`."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..errors import DataError, UsageError, VaekitError
from ..files import cache_folder, write_json
from . import arrays, celeba, named
from .arrays import CHANNELS, Arrays
from .cache import kept_json, key_of, locked, writing
from .dataset import Dataset, digest_of, pixel_hash
from .decode import Broken, Recipe, decode, finished
from .folder import open_folder
from .index import Wish
from .ingest import Progress
from .quarantine import Quarantine
from .scan import TAR
from .shards import BRACES, expanded, is_address
from .splits import check_fractions, split, usual_fractions
from .tars import open_tars

NAMES = ("digits", "shapes", "drawn-faces", "mnist", "fashion-mnist", "kmnist", "celeba")
T = TypeVar("T")
CROPS = ("center", "stretch", "pad")
LARGE = 64 << 20  # bytes of pixels that are not hashed at every opening


def open_data(
    source: str | os.PathLike[str],
    *,
    size: int | Sequence[int] | None = None,
    crop: str = "center",
    channels: int | None = None,
    attributes: str | os.PathLike[str] | None = None,
    group: str | None = None,
    seed: int = 0,
    splits: Sequence[float] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Dataset:
    """Open a folder of pictures, a CelebA-layout folder, WebDataset tars, idx, .npy or .npz files, or one of `NAMES`.

    Tars are a .tar or .tar.gz file, a folder of them, a pattern such as "shards/{000..009}.tar", or an address or a pattern of
    addresses behind http or https. They are streamed once; a value of a .json is a cell of a table, a .cls the label.

    size: pixels, one number or (height, width). None: arrays keep theirs; a folder keeps the size that nine in ten of its
    pictures have, up to 128 pixels, and takes 64 x 64 otherwise. crop: "center" cuts the largest centred window of that shape,
    "stretch" ignores the shape, "pad" adds black. channels: 1, 3 or 4; None: 1 where all is grey, else 3, transparency on white.
    attributes: a csv, tsv or txt table, first column file names. group: its column whose equal values stay on one side of the
    split (CelebA: "identity", taken by itself where the table is there); a cell that is empty, na or ? is no group. splits:
    train, validation and test fractions, by default .8/.1/.1. Official sides (folders called train, val and test, CelebA's
    partition, the test set of idx and .npz files) stay; one that is missing takes its fraction, by default 1/12, of the official
    training set; a `group` that they part is refused. seed: of the split. cache: where decoded pictures are kept (default
    $VAEKIT_CACHE, $XDG_CACHE_HOME/vaekit or ~/.cache/vaekit). progress(done, total) is called while files are decoded, in
    `workers` processes (default: one per core; 0: this one).

    Raises DataError for pictures or tables that cannot be used, UsageError for wrong arguments, VaekitError for a cache that
    cannot be written. Single bad files raise nothing: they are named in `Dataset.quarantine`.
    """
    wish = Wish(
        checked_size(size),
        checked_choice("crop", crop, CROPS),
        channels if channels is None else checked_choice("channels", channels, CHANNELS),
        None if attributes is None else str(Path(attributes).expanduser().absolute()),
        group,
        seed,
        None if splits is None else check_fractions(splits),
    )
    source, folder = os.fspath(source), cache_folder(cache)
    how = {"progress": progress, "workers": workers}
    if is_address(source):
        return open_tars(expanded(source), wish, folder, name=slug(source), source=source, **how)
    if source in NAMES and source != "celeba":
        return from_arrays(source, source, named_arrays(source, wish, folder), wish, folder)
    path = celeba_copy(folder) if source == "celeba" else Path(source).expanduser().absolute()
    name = source if source == "celeba" else slug(path.name)
    described = source if source == "celeba" else str(path)
    if path.is_dir() and not arrays.idx_files(path):
        return open_folder(path.resolve(), wish, folder, name=name, source=described, **how)
    if TAR.search(path.name) and (path.exists() or BRACES.search(str(path))):
        tars = [str(path)] if path.exists() else expanded(str(path))
        return open_tars(tars, wish, folder, name=name, source=described, **how)
    return from_arrays(name, described, file_arrays(path), wish, folder)


def check_data(source: str | os.PathLike[str], **options) -> Quarantine:
    """Open the data as `open_data` does, with its options, and report what was left out and why.

    Empty for arrays and generated data. Raises as `open_data`.
    """
    return open_data(source, **options).quarantine or Quarantine()


def read_image(path: str | os.PathLike[str], shape: Sequence[int], crop: str = "center") -> np.ndarray:
    """One picture file as uint8 of `shape` (C, H, W), treated as `open_data` treats those of a folder. Raises DataError."""
    channels, height, width = shape
    try:
        recipe = Recipe(height, width, channels, crop)
        return recipe.array(decode(Path(path).expanduser().read_bytes(), recipe))[0].copy()
    except OSError as error:
        told = error.strerror or error
        raise DataError(f"The picture {path} cannot be read: {told}. Expected a picture file. Check the path.") from None
    except Broken as broken:
        told = f"{broken.reason}{f' ({broken.detail})' if broken.detail else ''}"
        raise DataError(
            f"{path} is no good picture: {told}. Expected a jpg, png, webp, bmp, gif or tiff. Give another."
        ) from None


def named_arrays(name: str, wish: Wish, cache: Path) -> Arrays:
    if name in named.DOWNLOADS:
        return named.downloaded(name, cache)
    if name == "drawn-faces":
        return named.drawn_faces(cache, face_side(wish))
    return named.digits() if name == "digits" else named.shapes()


def face_side(wish: Wish) -> int:
    """Pixels at which faces are drawn, before they are brought into another shape."""
    return wish.size[0] if wish.size is not None and wish.size[0] == wish.size[1] else 64


def file_arrays(path: Path) -> Arrays:
    if not path.exists():
        names = ", ".join(NAMES)
        raise DataError(
            f"There is no {path}. Expected a folder, a tar, an idx, .npy or .npz file, or one of: {names}. Check the path."
        )
    if path.is_dir():
        return arrays.idx_folder(path)
    plain = path.name.lower().removesuffix(".gz")
    if path.suffix.lower() == ".npy":
        return arrays.npy_file(path)
    if path.suffix.lower() == ".npz":
        return arrays.npz_file(path)
    if re.search(r"(-|\.)idx\d|-ubyte$|\.idx$", plain):
        return arrays.idx_file(path)
    raise DataError(
        f"{path} is one file of another kind. Expected a folder, a tar, or an idx, .npy or .npz file. Name the folder."
    )


def from_arrays(name: str, source: str, found: Arrays, wish: Wish, cache: Path) -> Dataset:
    """Arrays as a Dataset, resized where another size or channel count is asked for."""
    for option in ("attributes", "group"):
        if (given := getattr(wish, option)) is not None:
            raise UsageError(f"{option}={given!r} was given for {name}, which is an array. Expected a folder. Leave it out.")
    pixels = reshaped(found.pixels, wish)
    fractions = wish.splits or usual_fractions(found.official)
    files = tuple(f"{i:06d}" for i in range(len(pixels)))
    splits = split(files, fractions, wish.seed, found.official, exact=True)
    labels, attributes = (found.labels, found.label_names), (found.attributes, found.attribute_names)
    digest = digest_of(hash_of(pixels, found, cache), pixels.shape, splits, labels, attributes)
    wish = replace(wish, size=(pixels.shape[2], pixels.shape[3]), channels=pixels.shape[1], splits=tuple(fractions))
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(wish).items()}
    return Dataset(name, pixels, files, *labels, *attributes, splits, digest, {"source": source, **options}, None, found.factors)


def hash_of(pixels: np.ndarray, found: Arrays, cache: Path) -> str:
    """`pixel_hash`; that of a large file is kept under its state, so that only the first to open it reads all of it.

    Where it cannot be kept, it is found anew each time.
    """
    if found.state is None or pixels is not found.pixels or pixels.size < LARGE:
        return pixel_hash(pixels)
    kept = cache / "arrays" / f"{key_of(found.state)}.json"
    stored = kept_json(kept, "hash")
    if stored is None:
        try:
            with writing(kept.parent), locked(kept.with_suffix(".lock")):
                stored = kept_json(kept, "hash")  # another process may have read it while this one waited
                if stored is None:
                    stored = {"hash": pixel_hash(pixels)}
                    write_json(kept, stored)
        except VaekitError:
            return stored["hash"] if stored else pixel_hash(pixels)
    return stored["hash"]


def reshaped(pixels: np.ndarray, wish: Wish) -> np.ndarray:
    _, channels, height, width = pixels.shape
    height, width = wish.size or (height, width)
    recipe = Recipe(height, width, wish.channels or channels, wish.crop)
    if recipe.shape == pixels.shape[1:]:
        return pixels
    out = np.empty((len(pixels), *recipe.shape), np.uint8)
    for i, picture in enumerate(pixels):
        image = Image.fromarray(picture[0] if channels == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
        out[i] = recipe.array(finished(image, recipe))[0]
    return out


def celeba_copy(cache: Path) -> Path:
    path = named.own_copy("celeba", "CelebA")
    if path is None and (cache / "downloads" / "celeba").is_dir():
        path = cache / "downloads" / "celeba"
    if path is None or celeba.pictures(path) is None:
        home = path or os.environ.get("VAEKIT_DATA")
        told = f"{home} holds none" if home else "VAEKIT_DATA is not set"
        raise DataError(f"celeba was asked for, but there is no copy on this machine ({told}).\n{celeba.INSTRUCTIONS}")
    return path


def checked_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and 1 <= side <= 8192 for side in pair):
        raise UsageError(
            f"size={size!r} was given. Expected one number or (height, width), 1 to 8192 pixels. Write for example 64."
        )
    return pair


def checked_choice(name: str, given: T, choices: tuple[T, ...]) -> T:
    if given not in choices:
        raise UsageError(f"{name}={given!r} was given. Expected one of {', '.join(map(repr, choices))}. Choose one of these.")
    return given


def slug(name: str) -> str:
    """A short name for folder names, of the last part of a path or an address."""
    stem = BRACES.sub("", name.lower().partition("?")[0].rpartition("/")[2])
    stem = re.sub(r"([-.]idx\d.*)?(\.(npy|npz|gz|idx|tar|tgz))*$", "", stem)
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "data"
