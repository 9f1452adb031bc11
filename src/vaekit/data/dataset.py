"""What training sees: pictures, what is known of each, and the three splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from ..windows import let_go, rows_of
from .quarantine import Quarantine, printable
from .splits import SPLITS

HASH_BYTES = 32 << 20  # hashed at once, so that a memory map is not loaded whole


@dataclass(frozen=True, eq=False)
class Dataset:
    """N decoded pictures of C channels, height H and width W, and what is known of each."""

    name: str  # short, for folder names: "mnist", "my-pictures"
    pixels: np.ndarray  # (N, C, H, W) uint8, memory-mapped, in memory, or made when asked for (see `binarized`)
    files: Sequence[str]  # N names, relative to the source (array data: "000012")
    labels: np.ndarray | None  # (N,) int64, -1 unknown
    label_names: tuple[str, ...]
    attributes: np.ndarray | None  # (N, A) float32; nan unknown; binary ones are 0/1
    attribute_names: tuple[str, ...]
    splits: dict[str, np.ndarray]  # "train", "validation", "test": sorted int64 indices, disjoint, covering all N
    digest: str  # content hash of pixels, tables and splits (hex)
    description: dict[str, Any]  # plain JSON: the keyword arguments for open_data that open the same data again
    quarantine: Quarantine | None  # what was left out and why (folders), None for array and generated data
    factors: tuple[str, ...] = ()  # the attributes that say all of a picture, where some do

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """The pictures with these indices, a uint8 copy (n, C, H, W)."""
        return rows_of(self.pixels, np.asarray(indices, np.int64))

    def some(self, split: str, most: int, seed: int = 0) -> np.ndarray:
        """At most so many indices of a split, sorted; where it has more, a random choice that depends on the seed alone."""
        rows = self.splits[split]
        return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))

    def labels_of(self, split: str) -> np.ndarray | None:
        """The labels (n,) of one split, None where there are none."""
        return None if self.labels is None else self.labels[self.splits[split]]

    def summary(self) -> str:
        """One screen: counts, shape, splits, labels, attributes, what was left out."""
        channels, height, width = self.image
        colour = {1: "grey", 3: "colour", 4: "colour with transparency"}[channels]
        lines = [
            f"{self.name}: {len(self):,} pictures, {height} x {width} (height x width), {colour}",
            "splits: " + ", ".join(f"{name} {len(self.splits[name]):,}" for name in SPLITS),
        ]
        if self.labels is not None:
            counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.label_names))
            named = [f"{name} {count:,}" for name, count in zip(self.label_names, counts, strict=True)]
            without = len(self) - counts.sum()
            lines.append(
                f"labels: {len(self.label_names)}: {shortened(named)}" + (f"; without one {without:,}" if without else "")
            )
        if self.attributes is not None:
            lines.append(f"attributes: {len(self.attribute_names)}: " + shortened(self.attribute_names))
        if self.quarantine is not None:
            lines.append(self.quarantine.summary())
        lines.append(f"digest: {self.digest[:16]}")
        return "\n".join(lines)


def shortened(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(map(printable, words[:most])) + (f", ... {len(words) - most} more" if len(words) > most else "")


def pixel_hash(pixels: np.ndarray) -> str:
    """SHA-256 of the pixel bytes."""
    running = sha256()
    step = max(1, HASH_BYTES // max(1, int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(pixels), step):
        running.update(np.ascontiguousarray(pixels[start : start + step]).data)
        let_go(pixels)
    return running.hexdigest()


def digest_of(
    pixel_digest: str,
    shape: Sequence[int],
    splits: dict[str, np.ndarray],
    *tables: tuple[np.ndarray | None, Sequence[str]],
) -> str:
    """Content hash of all that training sees; file names, dates and folders do not enter.

    `tables` are labels and attributes, each with its names.
    """
    running = sha256(repr((pixel_digest, tuple(shape), [tuple(names) for _, names in tables])).encode())
    for array in (*(array for array, _ in tables), *(splits[name] for name in SPLITS)):
        running.update(b"none" if array is None else repr((array.dtype.str, array.shape)).encode() + array.tobytes())
    return running.hexdigest()
