"""Data with a name: embedded (digits, shapes, drawn-faces) or fetched once and checked (mnist, fashion-mnist, kmnist)."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import sweep, write_atomic
from . import arrays
from .arrays import Arrays
from .cache import kept_arrays, key_of, locked, writing

FACES = 10_000  # how many faces "drawn-faces" draws
FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Download:
    """Four idx.gz files: mirrors tried in order, the SHA-256 of each of `FILES`, and what the ten labels mean."""

    folders: tuple[str, ...]  # inside VAEKIT_DATA
    mirrors: tuple[str, ...]
    sha256: tuple[str, ...]
    label_names: tuple[str, ...]


DOWNLOADS = {
    "mnist": Download(
        ("mnist",),
        ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        tuple("0123456789"),
    ),
    "fashion-mnist": Download(
        ("fashion_mnist", "fashion-mnist"),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        CLOTHES,
    ),
    "kmnist": Download(
        ("kmnist",),
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}


def own_copy(*folders: str) -> Path | None:
    """The first of these folders inside $VAEKIT_DATA."""
    home = os.environ.get("VAEKIT_DATA")
    if not home:
        return None
    return next((path for folder in folders if (path := Path(home).expanduser() / folder).is_dir()), None)


def digits() -> Arrays:
    """scikit-learn's 1,797 handwritten digits, 8x8, 17 grey levels (UCI, Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    return Arrays(
        np.rint(values.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8), labels.astype(np.int64), tuple("0123456789")
    )


def shapes() -> Arrays:
    """20,000 points of the dSprites factor grid, drawn by code; the shape is the label, the five factors are the attributes."""
    from .drawn_shapes import SHAPES, draw_shapes

    pixels, factors, names = draw_shapes()
    return Arrays(pixels, factors[:, 0].astype(np.int64), SHAPES, factors, names, factors=names)


def drawn_faces(cache: Path, size: int) -> Arrays:
    """10,000 faces, drawn by code once and kept in the cache, with exact attributes."""
    from .drawn_faces import draw_faces

    kept = cache / "drawn" / f"faces-{key_of(FACES, size)}.npz"
    keys = ("pixels", "attributes", "names")
    stored = kept_arrays(kept, *keys)
    if stored is None:
        with writing(kept.parent), locked(kept.with_suffix(".lock")):
            stored = kept_arrays(kept, *keys)  # another process may have drawn them while this one waited
            if stored is None:
                sweep(kept.parent)
                stored = dict(zip(keys, map(np.asarray, draw_faces(FACES, size=size)), strict=True))
                write_atomic(kept, lambda file: np.savez(file, allow_pickle=False, **stored))
    return Arrays(stored["pixels"], None, (), stored["attributes"], tuple(str(name) for name in stored["names"]))


def downloaded(name: str, cache: Path) -> Arrays:
    """The user's own copy in $VAEKIT_DATA, else fetched into the cache and checked. Raises DataError with what to do offline."""
    its = DOWNLOADS[name]
    folder = own_copy(*its.folders) or fetched(name, its, cache / "downloads" / name)
    found = arrays.idx_folder(folder)
    if found.pixels.shape != (70_000, 1, 28, 28) or found.labels is None:
        raise DataError(
            f"{folder} holds {found.pixels.shape[0]:,} pictures of shape {found.pixels.shape[1:]}"
            f"{'' if found.labels is not None else ' and no labels'}. Expected {name}'s 70,000 of (1, 28, 28) with labels. "
            f"Put its four files there again: {', '.join(FILES)}."
        )
    return Arrays(found.pixels, found.labels, its.label_names, official=found.official)


def fetched(name: str, its: Download, folder: Path) -> Path:
    """The folder with the four files; one that is missing, or has not the SHA-256 known for it, is fetched (again)."""
    with writing(folder), locked(folder / "lock"):
        for file, sha256 in zip(FILES, its.sha256, strict=True):
            fetch(name, its, file, sha256, folder)
    return folder


def fetch(name: str, its: Download, file: str, sha256: str, folder: Path) -> None:
    """Hash the file, and fetch it only where that does not give the SHA-256. Raises DataError."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    failures = []
    for mirror in its.mirrors:
        try:
            pooch.retrieve(mirror + file, f"sha256:{sha256}", file, folder)
        except (requests.RequestException, ValueError) as error:  # ValueError: the bytes have another hash
            failures.append(f"{mirror}: {error}")
        else:
            return
    raise DataError(
        f"{name} is not on this machine, or {file} is not the known one, and it could not be fetched ({'; '.join(failures)}). "
        "Expected a connection, or the files "
        f"{', '.join(FILES)}. Fetch them from {its.mirrors[0]} elsewhere and put them into {folder}, "
        f"or into a folder {its.folders[0]!r} inside a folder that VAEKIT_DATA names, or pass their folder instead of the name."
    )
