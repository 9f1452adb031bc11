"""Pictures that are arrays already: idx and idx.gz (the MNIST format), .npy and .npz."""

import gzip
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .cache import stamp
from .splits import TEST, TRAIN
from .tables import RESERVED

CHANNELS = (1, 3, 4)
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGE_KEYS = ("images", "x", "data", "pixels", "imgs", "image", "arr_0")
LABEL_KEYS = ("labels", "y", "label", "targets", "target")
ATTRIBUTE_KEYS = ("attributes", "attrs", "factors", "latents_values")
MOST_LABELS = 100_000
CHUNK = 4096  # pictures converted at once


@dataclass(frozen=True)
class Arrays:
    """Pictures (N, C, H, W) uint8 and what came with them; `official` (N,) says which side of an official split each is on;
    `factors` are the attributes that say all of a picture, where some do; `state` is that of the file alone which the pixels come
    from, as `cache.stamp` tells it."""

    pixels: np.ndarray
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    official: np.ndarray | None = None
    factors: tuple[str, ...] = ()
    state: list[Any] | None = None


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file, plain or gzipped (http://yann.lecun.com/exdb/mnist). Raises DataError."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. Expected a whole idx or idx.gz file. Fetch it again.") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or len(data) < 4 + 4 * data[3]:
        start = data[:4].hex() or "nothing"
        raise DataError(f"{path} is no idx file: it begins with {start}. Expected 0000, a type, a rank. Check the path.")
    dtype, rank = np.dtype(IDX_TYPES[data[2]]), data[3]
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    body = len(data) - 4 - 4 * rank
    if body != (wanted := int(np.prod(shape, dtype=object)) * dtype.itemsize):
        raise DataError(f"{path} has {body:,} bytes of values. Expected {wanted:,}, for its header says {shape}. Fetch it again.")
    array = np.frombuffer(data, dtype, offset=4 + 4 * rank).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def idx_files(folder: Path) -> dict[str, Path]:
    """{"train-images": path, ...} of the idx files in a folder; empty where it holds none. Raises DataError on a closed one."""
    found = {}
    try:
        listed = sorted(folder.iterdir(), reverse=True)  # a plain file wins over its .gz
    except PermissionError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Expected a folder of pictures. Check its rights.") from None
    for path in listed:
        plain = path.name.lower().removesuffix(".gz").replace(".", "-")
        for part in ("train", "t10k", "test"):
            for kind in ("images", "labels"):
                if plain.startswith(f"{part}-{kind}-idx"):
                    found[f"{'test' if part == 't10k' else part}-{kind}"] = path
    return found


def idx_folder(folder: Path) -> Arrays:
    """train-images-idx3-ubyte(.gz), train-labels-, t10k-images-, t10k-labels-...; labels and the test set may be missing."""
    files = idx_files(folder)
    parts = [part for part in ("train", "test") if f"{part}-images" in files]
    if not parts:
        raise DataError(f"{folder} has idx labels but no idx images. Expected train-images-idx3-ubyte or its .gz. Add that file.")
    pictures = [to_pixels(read_idx(files[f"{part}-images"]), str(files[f"{part}-images"])) for part in parts]
    if len({its.shape[1:] for its in pictures}) > 1:
        shapes = " and ".join(str(its.shape[1:]) for its in pictures)
        raise DataError(f"{folder} has pictures of shapes {shapes}. Expected one shape for both. Name one file alone.")
    labels, names = None, ()
    if all(f"{part}-labels" in files for part in parts):
        several = [read_idx(files[f"{part}-labels"]) for part in parts]
        for part, its, of in zip(parts, several, pictures, strict=True):
            check_count(its, len(of), str(files[f"{part}-labels"]))
        labels, names = to_labels(np.concatenate(several), str(folder))
    official = np.repeat([TRAIN, TEST], [len(its) for its in pictures]) if len(parts) == 2 else None
    return Arrays(np.concatenate(pictures) if len(pictures) > 1 else pictures[0], labels, names, official=official)


def idx_file(path: Path) -> Arrays:
    """One idx file of pictures."""
    return Arrays(to_pixels(read_idx(path), str(path)))


def npy_file(path: Path) -> Arrays:
    """One .npy file of pictures, memory-mapped where its values can stay as they are."""
    try:
        state = stamp(path)  # before it is read: what changes meanwhile is seen the next time
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}. Expected numbers, no objects. Save them with numpy.save.") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays. Expected one, as numpy.save writes it. Name it .npz.")
    return Arrays(to_pixels(array, str(path)), state=state)


def npz_file(path: Path) -> Arrays:
    """images (or x, data, pixels, imgs), labels (or y, targets), attributes, attribute_names; or x_train, y_train, x_test, ..."""
    try:
        with open(path, "rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise DataError(
                    f"{path} holds one array without a name. Expected several, as numpy.savez writes them. Name it .npy."
                )
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}. Expected numbers, no objects. Save them with numpy.savez.") from None
    official = joined(arrays, path) if "x_train" in arrays else None
    images = pick(arrays, IMAGE_KEYS)
    if images is None:
        told = ", ".join(arrays) or "none"
        raise DataError(f"{path} has the arrays {told}. Expected one of {', '.join(IMAGE_KEYS)}. Rename the pictures.")
    pixels = to_pixels(images, str(path))
    labels, label_names = None, ()
    if (given := pick(arrays, LABEL_KEYS)) is not None:
        check_count(given, len(pixels), f"the labels of {path}")
        labels, label_names = to_labels(given, str(path))
        if "label_names" in arrays:
            label_names = texts(arrays["label_names"], f"the label_names of {path}")
            if labels.max() >= len(label_names):
                told = f"label {labels.max()} but {len(label_names)} label_names"
                raise DataError(f"{path} has {told}. Expected a name for each label. Add the missing ones.")
    attributes, attribute_names = None, ()
    if (given := pick(arrays, ATTRIBUTE_KEYS)) is not None:
        check_count(given, len(pixels), f"the attributes of {path}")
        names = arrays.get("attribute_names")
        names = None if names is None else texts(names, f"the attribute_names of {path}")
        attributes, attribute_names = to_attributes(given, names, str(path))
    return Arrays(pixels, labels, label_names, attributes, attribute_names, official)


def joined(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Put x and y, made of x_train, x_test and so on, beside these; the answer is the official side of each picture."""
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    for kind, what in (("x", "pictures"), ("y", "labels")):
        several = [arrays[key] for part in parts if (key := f"{kind}_{part}") in arrays]
        if len(several) < len(parts):
            continue
        if any(its.ndim == 0 for its in several) or len({its.shape[1:] for its in several}) > 1:
            told = f"{what} of shapes {' and '.join(str(its.shape) for its in several)} in {kind}_{f' and {kind}_'.join(parts)}"
            raise DataError(f"{path} has {told}. Expected (N, ...), alike but for N. Reshape and save them again.")
        for part, its in zip(parts, several, strict=True):
            check_count(its, len(arrays[f"x_{part}"]), f"{kind}_{part} of {path}")
        arrays[kind] = np.concatenate(several)
    return np.repeat([TRAIN, TEST][: len(parts)], [len(arrays[f"x_{part}"]) for part in parts])


def texts(array: np.ndarray, what: str) -> tuple[str, ...]:
    if array.ndim != 1:
        raise DataError(f"{what} have shape {array.shape}. Expected a list of texts. Save them as numpy.array(['a', 'b']).")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in array.tolist())


def pick(arrays: Mapping[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    lower = {key.lower(): array for key, array in arrays.items()}
    return next((lower[key] for key in keys if key in lower), None)


def check_count(array: np.ndarray, count: int, what: str) -> None:
    if array.ndim == 0 or len(array) != count:
        told = f"shape {array.shape}, there are {count} pictures"
        raise DataError(f"{what} have {told}. Expected one row per picture. Save matching arrays.")


def to_pixels(array: np.ndarray, what: str) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4, to uint8 (N, C, H, W).

    uint8 stays (0/1 masks become 0/255, like bool); floats must be in [0, 1]. Raises DataError.
    """
    return to_bytes(to_layout(array, what), what)


def to_layout(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 3 and array.size:
        return array[:, None]
    last = array.ndim == 4 and array.shape[3] in CHANNELS
    second = array.ndim == 4 and array.shape[1] in CHANNELS
    if array.size and last and second and array.shape[1] != array.shape[3]:
        second = array.shape[2] == array.shape[3]  # (N, 3, 4, 4) against (N, 3, 3, 4): square pictures decide
        last = array.shape[1] == array.shape[2]
    if not array.size or last == second:
        told = "(N, H, W), (N, H, W, C) or (N, C, H, W) with N at least 1 and C = 1, 3 or 4"
        raise DataError(f"{what} holds an array of shape {array.shape}. Expected pictures as {told}. Reshape and save it again.")
    return array if second else array.transpose(0, 3, 1, 2)


def to_bytes(array: np.ndarray, what: str) -> np.ndarray:
    kind = array.dtype.kind
    if not (array.dtype == np.uint8 or kind in "bf"):
        raise DataError(
            f"{what} holds {array.dtype} values. Expected uint8, bool, or float in [0, 1]. Convert and save it again."
        )
    parts = [slice(start, start + CHUNK) for start in range(0, len(array), CHUNK)]
    if kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # also where either is nan
            raise DataError(
                f"{what} holds {array.dtype} values from {low:g} to {high:g}. Expected float in [0, 1]. "
                "Rescale, (x + 1) / 2 for [-1, 1] or x / 255 for 0 to 255, and save it again."
            )
    elif kind == "u" and any((array[part] > 1).any() for part in parts):  # most are known by their first pictures
        mapped = isinstance(array, np.memmap) and array.strides[0] == array[0].nbytes  # each picture's bytes lie together
        return array if mapped or array.flags.c_contiguous else np.ascontiguousarray(array)
    out = np.empty(array.shape, np.uint8)
    for part in parts:
        out[part] = np.rint(array[part].astype(np.float32) * 255)
    return out


def to_labels(array: np.ndarray, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) whole numbers or texts to int64 labels, -1 unknown, and their names."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1 and array.dtype.kind in "US":
        names, labels = np.unique(array.astype(str), return_inverse=True)
        return labels.astype(np.int64), tuple(str(name) for name in names)
    whole = array.ndim == 1 and (array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool((array == np.rint(array)).all())))
    if not whole or array.min() < -1 or array.max() >= MOST_LABELS:
        told = f"shape {array.shape}, {array.dtype}"
        raise DataError(f"{what} has labels of {told}. Expected (N,) whole numbers from 0 (-1: unknown) or texts. Convert them.")
    labels = array.astype(np.int64)
    return labels, tuple(str(label) for label in range(max(int(labels.max()) + 1, 0)))


def to_attributes(array: np.ndarray, names: Sequence[str] | None, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, A) numbers to float32, nan where one is unknown; -1/1 columns become 0/1."""
    if array.ndim == 1:
        array = array[:, None]
    names = tuple(names) if names is not None else tuple(f"attribute_{j}" for j in range(array.shape[-1]))
    if array.ndim != 2 or array.dtype.kind not in "iubf" or len(names) != array.shape[1]:
        told = f"shape {array.shape}, {array.dtype}, and {len(names)} names"
        raise DataError(f"{what} has attributes of {told}. Expected (N, A) numbers and A names. Convert and save them again.")
    if bad := [name for name, count in Counter(names).items() if count > 1 or name == RESERVED or not name.strip()]:
        told = f"{names.count(bad[0])} attributes called {bad[0]!r}"
        raise DataError(f"{what} has {told}. Expected a name of its own for each, not {RESERVED!r}. Rename and save them again.")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if (infinite := np.argwhere(np.isinf(values))).size:
        row, column = infinite[0].tolist()
        first = f"{array[row, column]} of {names[column]!r}, row {row}"
        told = f"{len(infinite)} attribute values that are not finite in fp32: first {first}"
        raise DataError(f"{what} has {told}. Expected finite numbers, or nan where one is unknown. Replace and save them again.")
    signs = np.isin(values, (-1, 1)).all(axis=0)
    values[:, signs] = values[:, signs] > 0
    return values, names
