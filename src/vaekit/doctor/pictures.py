"""The checks of the pictures themselves."""

from collections.abc import Iterator
from hashlib import blake2b
from math import prod

import numpy as np

from ..data import Dataset
from ..data.quarantine import printable
from ..train import chunks
from .exam import Exam
from .said import Finding

DUPLICATES = 0.05  # of the held-out pictures, that stand in the training split too
READ = 32 << 20  # bytes of pictures at once
DARK = 64  # of 255: pictures that never get brighter were scaled twice
GREY = 0.05  # of pixel values between black and white, from which pictures are not black and white
ENOUGH = 20  # pictures, of which it is no accident that a place shows the same in all of them
MARKED = 0.01  # of the places, that never change and are not of the ground's colour


def wrong_range(exam: Exam) -> Finding | None:
    pixels = exam.given.take(exam.rows["train"])
    low, high = np.quantile(pixels, (0.001, 0.999))
    if high >= DARK and low <= 255 - DARK and high > low:
        return None
    told = f"nearly all pixel values lie between {low:.0f} and {high:.0f} of 255"
    cause = (
        "nearly every pixel is the same"
        if high == low
        else "the pictures were scaled twice, or are in another range than they say"
    )
    return Finding(
        "wrong range",
        told,
        "from dark to bright",
        cause,
        "write the pictures as uint8 from 0 to 255, or float from 0 to 1",
    )


def constant_pixels(exam: Exam) -> Finding | None:
    rows = exam.rows["train"]
    low, high = ends(exam.given, rows)
    if len(rows) < ENOUGH or low.min() == high.max():  # of a single value `wrong_range` tells
        return None
    still = low == high  # (C, H, W)
    dead = [str(number) for number, channel in enumerate(still, 1) if channel.all()]
    marked = share_marked(low, still.all(0))
    if not dead and marked < MARKED:
        return None
    if dead:
        told = f"channel {' and '.join(dead)} of {len(still)} is the same"
        cause = "a channel that says nothing: an opaque one of transparency, or one that was lost"
        mend = "fewer --channels, or write the pictures again"
    else:
        told = f"{marked:.0%} of the places, beside a ground of one colour, are the same"
        cause = "a mark, a frame or a scene that all pictures have"
        mend = "cut it off, or remember it beside figures per pixel value: it is learnt at once, and makes them better"
    return Finding(
        "constant pixels",
        f"{told} in all of {len(rows):,} training pictures",
        "every channel varies, and what never changes has one colour, as the ground of digits",
        cause,
        mend,
    )


def share_marked(colours: np.ndarray, places: np.ndarray) -> float:
    """The share of a picture that is among `places` (H, W) and has not the colour (C, H, W) that most of these have."""
    if not places.any():
        return 0.0
    _, counts = np.unique(colours[:, places], axis=1, return_counts=True)
    return float(counts.sum() - counts.max()) / places.size


def ends(data: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest value that each pixel has in these pictures, (C, H, W) both."""
    low, high = np.full(data.image, 255, np.uint8), np.zeros(data.image, np.uint8)
    for pictures in read(data, rows):
        np.minimum(low, pictures.min(0), out=low)
        np.maximum(high, pictures.max(0), out=high)
    return low, high


def read(data: Dataset, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures of these rows, never many of them at once."""
    for part in chunks(len(rows), max(1, READ // prod(data.image))):
        yield data.take(rows[part])


def wrong_likelihood(exam: Exam) -> Finding | None:
    pixels = exam.data.take(exam.rows["train"][:500])
    grey = float(((pixels > 12) & (pixels < 243)).mean())
    if exam.model.likelihood.support != "bits" or grey < GREY:
        return None
    return Finding(
        "wrong likelihood",
        f"{grey:.0%} of pixel values are neither black nor white, and the likelihood is Bernoulli",
        "Bernoulli for black and white alone",
        "the cross-entropy of grey values is no density: its ELBO compares with nothing",
        "--binarize dynamic, or --likelihood continuous-bernoulli or gaussian",
    )


def leaked(exam: Exam) -> Finding | None:
    """Of all pictures; in memory are the prints of the held-out ones."""
    data, told = exam.given, []
    held = {split: list(prints(data, data.splits[split])) for split in ("test", "validation")}
    wanted = {each for its in held.values() for each in its}
    there = {each for each in prints(data, data.splits["train"]) if each in wanted}
    for split, its in held.items():
        copies = [row for row, each in zip(data.splits[split], its, strict=True) if each in there]
        if copies and len(copies) >= DUPLICATES * len(its):
            first = printable(data.files[int(copies[0])])
            told.append(f"{len(copies) / len(its):.1%} of {len(its):,} {split} pictures, such as {first},")
    if not told:
        return None
    return Finding(
        "leaked",
        f"{' and '.join(told)} stand in the training split too, pixel for pixel",
        f"below {DUPLICATES:.0%}",
        "copies of pictures: figures on held-out ones are too good, and validation picks weights that know them by heart",
        "take the copies out, or keep them on one side: --group COLUMN",
    )


def prints(data: Dataset, rows: np.ndarray) -> Iterator[bytes]:
    """Of each picture a hash of its pixels."""
    for pictures in read(data, rows):
        yield from (blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures)
